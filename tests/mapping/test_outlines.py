"""Outlines stand for the tables in detection: always those of the tables that are there, kept or not."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from resport.mapping import Table, expand, load_table, shipped_tables, table_paths, tables_folder
from resport.mapping import kept as kept_module
from resport.mapping import outlines as outlines_module
from resport.mapping import parsing as parsing_module
from resport.mapping.folding import fold_digits
from resport.mapping.outlines import Outline, ShippedTables, outline_of, outlines_of
from tests.mapping.toy import TOY

Load = Callable[[str], Table]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where outlines are kept, in a folder that nothing else uses, and Python allowed to keep things."""
    monkeypatch.setattr(kept_module, "_place", lambda name: tmp_path / name)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return tmp_path / "outlines.json"


def refuse(*_: object) -> None:
    raise AssertionError("a table was read")


def test_kept_outlines_are_those_of_the_tables(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ShippedTables().outlines
    assert made == tuple(outline_of(load_table(path)) for path in table_paths())
    monkeypatch.setattr(outlines_module, "load_table", refuse)
    tables = ShippedTables()
    assert tables.outlines == made
    with pytest.raises(AssertionError, match="a table was read"):
        tables[0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-1],
        lambda text: "[]",
        lambda text: "\x00",
        lambda text: json.dumps({**json.loads(text), "stamp": "0" * 64, "value": []}),
        lambda text: json.dumps({**json.loads(text), "value": [{"family": 3}]}),
        lambda text: json.dumps({**json.loads(text), "value": 3}),
    ],
)
def test_kept_outlines_that_are_not_ours_are_made_again(place: Path, damage: Callable[[str], str]) -> None:
    made = ShippedTables().outlines
    text = place.read_text()
    place.write_text(damage(text))
    assert ShippedTables().outlines == made
    assert place.read_text() == text


def test_a_changed_table_changes_the_stamp(tmp_path: Path) -> None:
    table = tmp_path / "a.toml"
    stamps = set()
    for text, changed in [("a = 1", 1), ("a = 2", 2), ("a = 10", 2)]:
        table.write_text(text)
        os.utime(table, ns=(changed, changed))
        stamps.add(outlines_module._stamp([table]))
    assert len(stamps) == 3


def test_shipped_tables_are_read_as_they_are(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of TOML everything is kept: what is read the second time, without TOML, is what was read the first time."""
    paths = [tables_folder() / "_common.toml", *table_paths()]
    first = [parsing_module.read_toml(path) for path in paths]
    assert [values for values, _ in first] == [tomllib.loads(path.read_text()) for path in paths]
    with monkeypatch.context() as patched:
        patched.setattr(parsing_module, "_parsed", refuse)
        assert [parsing_module.read_toml(path) for path in paths] == first
    kept = place.parent / f"{paths[1].name}.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "stamp": "0" * 64, "value": {"family": "other"}}))
    assert parsing_module.read_toml(paths[1]) == first[1]


def test_a_table_of_ones_own_is_not_kept(place: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(TOY)
    parsing_module.read_toml(own)
    assert [file.name for file in tmp_path.iterdir()] == ["own.toml"]


def test_nothing_is_kept_where_python_keeps_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert ShippedTables().outlines
    assert list(place.parent.iterdir()) == []


def test_a_folder_that_cannot_be_written_to(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "_place", lambda name: place / "nowhere" / name)
    assert ShippedTables().outlines
    assert not place.exists()


def test_texts_are_what_every_name_ends_with(load: Load) -> None:
    table = load(TOY)
    outline = outline_of(table)
    assert (outline.family, outline.dialects, outline.variants) == (table.family, table.dialects, (*table.variants,))
    for variant in table.variants:
        for dialect, parameters in expand(table, variant).by_name.items():
            for name in parameters:
                assert any(fold_digits(name).endswith(text) for text in outline.texts[dialect]), name


def test_outlines_of_any_tables(load: Load) -> None:
    table = load(TOY)
    assert list(outlines_of([table])) == [outline_of(table)]
    assert Outline.from_dict(json.loads(json.dumps(outline_of(table).to_dict()))) == outline_of(table)


def test_shipped_tables_are_a_sequence() -> None:
    tables = shipped_tables()
    assert len(tables) == len(table_paths())
    assert tables[-1] is tables[len(tables) - 1]
    assert [table.family for table in tables[1:3]] == [path.stem for path in table_paths()[1:3]]
    with pytest.raises(IndexError):
        tables[len(tables)]
