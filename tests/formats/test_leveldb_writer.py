"""Tables written piece by piece; that the bytes are TensorFlow's is shown where whole checkpoints are compared."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from resport.formats.leveldb_table import LevelDBTable
from resport.formats.leveldb_writer import TABLE_LARGE_ENTRY, TableWriter, encode_table
from tests.contracts import peak_bytes


def test_pieces_make_the_same_bytes(tmp_path: Path) -> None:
    items = [(f"key{n:03d}".encode(), bytes([n]) * (n * 37 % 500)) for n in range(200)]
    file = io.BytesIO()
    table = TableWriter(file, block_bytes=300)
    for key, value in items:
        table.add(key, [value[:5], memoryview(value)[5:7], value[7:]], len(value))
    table.finish()
    assert file.getvalue() == encode_table(items, block_bytes=300)
    (tmp_path / "t").write_bytes(file.getvalue())
    with LevelDBTable(str(tmp_path / "t")) as reader:
        assert list(reader.items()) == items
        for key, value in items:
            view = reader.view(key)
            assert view == value and isinstance(view, memoryview)
        assert reader.view(b"key") is None


@pytest.mark.parametrize(
    ("value_bytes", "n_blocks"), [(TABLE_LARGE_ENTRY * 100 - 2, 1), (TABLE_LARGE_ENTRY * 100 - 1, 2)]
)
def test_a_large_entry_begins_a_block(tmp_path: Path, value_bytes: int, n_blocks: int) -> None:
    (tmp_path / "t").write_bytes(encode_table([(b"a", b"x"), (b"b", b"y" * value_bytes)], block_bytes=100))
    with LevelDBTable(str(tmp_path / "t")) as reader:
        assert len(reader._index) == n_blocks
        assert reader.get(b"b") == b"y" * value_bytes


def test_no_value_is_held(tmp_path: Path) -> None:
    piece = bytes(1 << 20)
    with peak_bytes() as peak, (tmp_path / "t").open("wb") as file:
        table = TableWriter(file)
        table.add(b"a", [b"x"], 1)
        table.add(b"b", (piece for _ in range(64)), 64 << 20)
        table.finish()
    assert peak[0] < 8 << 20


def test_mistakes() -> None:
    table = TableWriter(io.BytesIO())
    with pytest.raises(ValueError, match=r"-2 bytes"):
        table.add(b"a", [b"xyz"], 5)
    table = TableWriter(io.BytesIO())
    table.add(b"b", [b""], 0)
    for key in (b"a", b"b"):
        with pytest.raises(ValueError, match="ascend"):
            table.add(key, [b""], 0)
