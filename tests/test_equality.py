"""``python -m benchmarks.equality`` and the page that it made: what contradicts a table is found, and nothing does."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.equality import HEADINGS, Row, document, main, there_and_back
from resport.architectures.registry import BUILDERS, variants
from resport.mapping import shipped_tables

PAGE = Path(__file__).resolve().parents[1] / "docs" / "equality.md"
ROW = Row("resnet_v1", "resnet_v1_50", ("slim", "keras"), "equal", 267, 53, True, 3e-15, 2e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"kind": "transformed"}, None),
        ({"float64": 2e-9}, "declared equal, and the outputs differ by 2.0e-09 in float64"),
        ({"kind": "transformed", "float64": 1e-7}, "declared transformed, and the outputs differ by 1.0e-07"),
        ({"kind": "graph"}, "declared graph, and the outputs differ by 3.0e-15"),
        ({"kind": "graph", "float64": 1e-2}, None),
        ({"kind": "different", "float64": 1e-2}, None),
        ({"kind": "graph", "float64": float("nan")}, None),
        ({"float64": float("nan")}, "declared equal"),
        ({"is_exact": False}, "the bits that came back are others"),
        ({"is_exact": None}, None),
        ({"kind": "graph", "float64": None, "float32": None}, None),
    ],
)
def test_what_contradicts_a_table(changes, message):
    found = replace(ROW, **changes).contradiction
    assert (found is None) if message is None else (message in found and "slim and keras" in found)


def test_rows_of_a_file_are_judged_and_made_a_page(tmp_path, capsys):
    rows = [
        ROW,
        replace(ROW, pair=("slim", "torch"), kind="graph", filled=0, is_exact=None, float64=None, float32=None),
    ]
    file, page = tmp_path / "rows.jsonl", tmp_path / "page.md"
    later = replace(ROW, variant="resnet_v1_101")
    file.write_text("".join(f"{json.dumps(asdict(row))}\n" for row in [later, *rows]))
    rows.append(later)
    assert main(["--rows", str(file), "--markdown", str(page)]) == 0
    assert page.read_text() == document(rows)
    assert page.read_text().splitlines()[-3:-1] == [
        "| resnet_v1_50 | slim → keras | equal | 267, 53 filled | equal | 3.0e-15 | 2.0e-06 |",
        "| resnet_v1_50 | slim → torch | graph | 267 | folds both ways | no builder | no builder |",
    ]
    assert capsys.readouterr().err == ""
    file.write_text(json.dumps(asdict(replace(ROW, float64=0.5))))
    assert main(["--rows", str(file)]) == 1
    assert "declared equal, and the outputs differ by 5.0e-01" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "target", "moved"), [("taki", "slim", 771), ("slim_split", "keras", 834), ("slim", "slim_dense", 141)]
)
def test_bits_there_and_back(source, target, moved, tmp_path):
    assert there_and_back("resnext29_8x64d", source, target, tmp_path) == (moved, 0, True, (source, target))


def _page_rows():
    """Family, and cells by heading, of every row of the page."""
    family = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            family = line[3:]
        elif line.startswith("| ") and not line.startswith((f"| {HEADINGS[0]}", "| ---")):
            yield family, dict(zip(HEADINGS, line.strip("| ").split(" | "), strict=True))


def test_the_page_says_what_the_tables_declare():
    """Each pair of a variant once; a variant that is new is measured before it comes onto the page."""
    tables = {table.family: table for table in shipped_tables()}
    built = {name: {each.dialect for each in BUILDERS if name in each.variants} for name in variants()}
    rows = list(_page_rows())
    assert rows
    listed = [(family, cells["variant"], frozenset(cells["dialects"].split(" → "))) for family, cells in rows]
    assert len(set(listed)) == len(listed)
    for family, variant in dict.fromkeys((family, variant) for family, variant, _ in listed):
        expected = {(family, variant, frozenset(pair)) for pair in itertools.combinations(tables[family].dialects, 2)}
        assert {each for each in listed if each[:2] == (family, variant)} == expected
    for family, cells in rows:
        source, target = cells["dialects"].split(" → ")
        assert tables[family].relation(source, target).kind == cells["declared"]
        assert re.fullmatch(r"[1-9]\d*(, [1-9]\d* filled)?", cells["moved"])
        float64 = None if cells["float64"] == "no builder" else float(cells["float64"])
        row = Row(family, cells["variant"], (source, target), cells["declared"], 0, 0, True, float64, None)
        assert row.contradiction is None
        assert (float64 is None) == (not {source, target} <= built[cells["variant"]])
        assert cells["bits there and back"] in ("equal", "folds both ways")
