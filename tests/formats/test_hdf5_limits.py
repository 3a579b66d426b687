"""The limits of single HDF5 messages and structures: what is just beyond them is refused, what is within is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from resport.errors import FormatError
from resport.formats.file_window import FileWindow
from resport.formats.hdf5 import open_file
from resport.formats.hdf5_file.chunk_arrays import _Shape
from resport.formats.hdf5_file.dataspace import parse_dataspace
from resport.formats.hdf5_file.datatype import TEXT, Datatype, parse_datatype
from resport.formats.hdf5_file.file_bytes import Cursor, FileBytes
from resport.formats.hdf5_file.filters import MAX_FILTERS, parse_filters
from resport.formats.hdf5_file.fractal_heap import FractalHeap
from resport.formats.hdf5_file.global_heap import GlobalHeap
from resport.formats.hdf5_file.layout import parse_layout
from resport.formats.hdf5_file.lzf import expand_lzf
from resport.formats.hdf5_file.texts import texts_of
from tests.formats.hdf5_crafted import UNDEFINED, message, number, old_file
from tests.fuzz.hdf5_attacks import heap, sealed


def cursor(data: bytes) -> Cursor:
    return Cursor(FileBytes(FileWindow(-1, 0, len(data))), data, 0, "a message")


class InMemory(FileWindow):
    """A file that is nowhere else."""

    def __init__(self, data: bytes) -> None:
        super().__init__(-1, 0, len(data))
        self._data = data

    def pread(self, size: int, position: int) -> bytes:
        return self._data[position : position + size]


def of_bytes(data: bytes) -> FileBytes:
    return FileBytes(InMemory(data))


@pytest.mark.parametrize(("kind", "flags"), [(0x91, 0), (0x91, 0x7F), (0x02, 0x80), (0x18, 0x80)])
def test_messages_that_may_be_unknown(tmp_path: Path, kind: int, flags: int) -> None:
    """Unknown ones that need not be known, and known ones that must."""
    info = message(2, bytes([0, 0]) + UNDEFINED * 2)
    other = message(kind, bytes([0, 0]) + UNDEFINED * 2, flags)
    (tmp_path / "m.h5").write_bytes(old_file(info + other))
    with open_file(str(tmp_path / "m.h5")) as file:
        assert list(file) == []


def test_a_message_that_must_be_known(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes(old_file(message(0x19, b"", 0x80)))
    with pytest.raises(FormatError, match="must be known"):
        open_file(str(tmp_path / "m.h5"))


@pytest.mark.parametrize(
    ("rank", "flags", "kind"), [(33, 0, 1), (0, 0, 3), (1, 0, 3), (1, 0, 0), (1, 0, 2), (1, 2, 1)], ids=str
)
def test_dataspaces(rank: int, flags: int, kind: int) -> None:
    assert parse_dataspace(cursor(bytes([2, 32, 0, 1]) + number(1) * 32)).shape == (1,) * 32
    with pytest.raises(FormatError, match="is damaged"):
        parse_dataspace(cursor(bytes([2, rank, flags, kind]) + number(1) * 80))


@pytest.mark.parametrize("axes", [(4,), (1,) * 34, (0, 4), (1 << 16, 1 << 16), ()], ids=str)
def test_chunks_of_impossible_axes(axes: tuple[int, ...]) -> None:
    def layout(axes: tuple[int, ...]) -> Cursor:
        return cursor(bytes([3, 2, len(axes)]) + number(64) + b"".join(number(axis, 4) for axis in axes))

    assert parse_layout(layout((1,) * 33)).chunk == (1,) * 32
    assert parse_layout(layout(((1 << 32) - 1, 1))).chunk == ((1 << 32) - 1,)
    with pytest.raises(FormatError, match="impossible chunks"):
        parse_layout(layout(axes))


def test_too_many_filters() -> None:
    def filters(count: int) -> Cursor:
        return cursor(bytes([2, count]) + (number(1, 2) + bytes(4)) * count)

    assert len(parse_filters(filters(MAX_FILTERS))) == MAX_FILTERS
    with pytest.raises(FormatError, match="too many filters"):
        parse_filters(filters(MAX_FILTERS + 1))


def test_references_to_texts_have_one_size() -> None:
    def kind(size: int) -> Cursor:
        return cursor(bytes([0x19, 1, 0, 0]) + number(size, 4) + bytes([0x13, 0, 0, 0]) + number(1, 4))

    assert parse_datatype(kind(16)).size == 16
    with pytest.raises(FormatError, match="another size"):
        parse_datatype(kind(12))


def test_an_unknown_padding() -> None:
    heap_of_none = GlobalHeap(FileBytes(FileWindow(-1, 0, 0)))
    for padding, text in enumerate([b"a", b"a", b"a"]):
        assert texts_of(
            Datatype(TEXT, 2, "", padding=padding), b"a" + b"\0\0 "[padding : padding + 1], 1, heap_of_none
        ) == [text]
    with pytest.raises(FormatError, match="unknown way"):
        texts_of(Datatype(TEXT, 2, "", padding=3), b"a\0", 1, heap_of_none)


def test_lzf_that_refers_to_what_is_not_there() -> None:
    assert expand_lzf(b"\x00a\x20\x00", 100) == b"aaaa"
    with pytest.raises(FormatError, match="refer to what is not there"):
        expand_lzf(b"\x00a\x20\x01", 100)


@pytest.mark.parametrize(
    "fields",
    [(0, 32, 4, 16, 4, 10), (8, 65, 4, 16, 4, 10), (8, 32, 4, 15, 4, 10), (8, 32, 4, 16, 0, 10), (8, 32, 4, 16, 4, 31)],
)
def test_extensible_arrays(fields: tuple[int, ...]) -> None:
    assert _Shape(cursor(bytes([8, 64, 4, 16, 4, 30]))).per_page == 1 << 30
    with pytest.raises(FormatError, match="impossible sizes"):
        _Shape(cursor(bytes(fields)))


# The width of an id, of a row, the sizes of blocks, the bits of an offset, and the rows of the root.
HEAP_FIELDS = {
    "ids": (5, number(65, 2)),
    "no row": (110, number(0, 2)),
    "a row of three": (110, number(3, 2)),
    "blocks of three": (112, number(3)),
    "first blocks larger than any": (112, number(1024)),
    "blocks of eight megabytes": (120, number(1 << 23)),
    "offsets": (128, number(65, 2)),
    "rows": (140, number(65, 2)),
}


@pytest.mark.parametrize("field", HEAP_FIELDS)
def test_fractal_heaps(field: str) -> None:
    sound = heap(7, 512, None)
    FractalHeap(of_bytes(sound), 0)
    place, value = HEAP_FIELDS[field]
    changed = sound[:place] + value + sound[place + len(value) : -4]
    with pytest.raises(FormatError, match=r"larger than any|impossible sizes"):
        FractalHeap(of_bytes(sealed(changed)), 0)


def test_global_heaps() -> None:
    def collection(*objects: tuple[int, int, bytes]) -> GlobalHeap:
        body = b"".join(number(n, 2) + bytes(6) + number(size) + data.ljust(8, b"\0") for n, size, data in objects)
        return GlobalHeap(of_bytes(b"GCOL\1\0\0\0" + number(16 + len(body)) + body))

    def text(of: GlobalHeap) -> list[bytes]:
        return of.texts(number(1, 4) + number(0) + number(2, 4), 1)

    assert text(collection((1, 1, b"a"), (2, 1, b"b"))) == [b"b"]
    for objects in ([(2, 1, b"a"), (2, 1, b"b")], [(2, 99, b"b")]):
        with pytest.raises(FormatError, match="is damaged"):
            text(collection(*objects))
