"""docs/formats.md: its tables are made from the registry, every format has a section, and its figures are those of the code.

``python -m tests.formats.test_docs`` puts the tables into the page.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resport.dtypes import DTYPES, OPAQUE
from resport.formats import npy_header, registry, shard_index, sharded_safetensors, tensor_bundle, zip_directory
from resport.formats.registry import FORMATS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"


def formats_table() -> str:
    """Which format is read and written, and under which names."""
    rows = [["format", "`--format`", "read", "written", "names of targets"], ["---"] * 5]
    for format in FORMATS:
        prefix = "any other name" if format is registry.PREFIX_FORMAT else ""
        # A single .npy is read, and has a suffix so that nobody gets a TensorFlow checkpoint of that name.
        written = [suffix for suffix in format.suffixes if format.writer and suffix != ".npy"]
        suffixes = ", ".join(f"`{suffix}`" for suffix in written)
        rows.append([format.title, f"`{format.id}`", "yes", "yes" if format.writer else "no", suffixes or prefix])
    return table(rows)


def dtypes_table() -> str:
    """Which format can hold which dtype."""
    writers = {format.id: format.load_writer().dtypes for format in FORMATS if format.writer}
    rows = [["dtype", *(f"`{id}`" for id in writers)], ["---"] * (len(writers) + 1)]
    for dtype in DTYPES:
        if dtype.name not in OPAQUE:
            rows.append([dtype.name, *("yes" if dtype.name in held else "" for held in writers.values())])
    return table(rows)


def table(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |").replace("|  |", "| |") for row in rows)


TABLES = {"formats": formats_table, "dtypes": dtypes_table}
FIGURES = {
    "An index of at most 24 MiB and": tensor_bundle.BUNDLE_MAX_INDEX_BYTES == 24 << 20,
    "and 262,144 entries": tensor_bundle.BUNDLE_MAX_TENSORS == 1 << 18,
    "A header of at most 24 MiB": registry.SAFETENSORS_MAX_HEADER_BYTES == 24 << 20,
    "An index of at most 24 MiB, whose": shard_index.INDEX_MAX_BYTES == 24 << 20,
    "at most 512 shards": sharded_safetensors.MAX_WRITTEN_SHARDS == 512,
    "262,144 members": zip_directory.ZIP_MAX_MEMBERS == 1 << 18,
    "24 MiB of zip directory": zip_directory.ZIP_MAX_DIRECTORY_BYTES == 24 << 20,
    "64 KiB of header": npy_header.NPY_MAX_HEADER_BYTES == 64 << 10,
}


def with_tables(page: str) -> str:
    """The page with its tables made anew."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        head, _, rest = page.partition(begin)
        page = f"{head}{begin}\n{make()}\n\n{end}{rest.partition(end)[2]}"
    return page


def test_tables_are_those_of_the_registry() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "run `python -m tests.formats.test_docs`"
    assert "bfloat16 | yes" in page and "`safetensors-sharded`" in page


def test_every_format_has_a_section() -> None:
    sections = re.findall(r"^## .*: `([\w-]+)`$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(sections) == sorted(format.id for format in FORMATS)


@pytest.mark.parametrize("figure", FIGURES)
def test_figures(figure: str) -> None:
    assert figure in PAGE.read_text(encoding="utf-8") and FIGURES[figure]


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
