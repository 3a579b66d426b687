"""Damaged and crafted HDF5 files: each ends in one FormatError, soon, and takes no memory to speak of."""

from __future__ import annotations

import io
import os
import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from resport.errors import ChecksumError, FormatError
from resport.formats.file_window import FileWindow
from resport.formats.hdf5 import child_names, follow, open_file, text_attribute
from resport.formats.hdf5_dataset import dataset_spec, read_dataset
from resport.formats.hdf5_file import file_bytes
from resport.formats.hdf5_file.checksum import fletcher32, lookup3
from resport.formats.hdf5_file.dataspace import parse_dataspace
from resport.formats.hdf5_file.datatype import parse_datatype
from resport.formats.hdf5_file.file_bytes import Cursor, FileBytes
from resport.formats.hdf5_file.filters import Filter, parse_filters, undo_filters
from resport.formats.hdf5_file.layout import parse_layout
from resport.formats.hdf5_file.lzf import expand_lzf
from resport.formats.hdf5_file.objects import Dataset, Group
from resport.formats.keras_legacy import KerasLegacyReader
from tests.formats.hdf5_crafted import FLOAT32, UNDEFINED, chunked, dataset, message, number, old_file, space, tree_node
from tests.formats.hdf5_damage import read_everything, write_varied
from tests.fuzz.hdf5_attacks import sealed

LIBVERS = ["earliest", "v108", "latest"]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bytes], int]]:
    """Reads all of a file of some bytes, which lies in one that is opened once."""
    path = tmp_path_factory.mktemp("damaged") / "m.h5"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)

    def read(data: bytes) -> int:
        os.ftruncate(handle, 0)
        os.pwrite(handle, data, 0)
        return read_everything(path, handle, len(data))

    yield read
    os.close(handle)


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int, int], bytes]:
    """Small files of every age, with few and with many attributes and members."""
    folder = tmp_path_factory.mktemp("varied")
    sizes = [(2, 2), (12, 2), (2, 20)]
    return {
        (libver, *size): write_varied(folder / "m.h5", libver, n_attributes=size[0], n_members=size[1]).read_bytes()
        for libver in LIBVERS
        for size in sizes
    }


def test_the_files_are_sound(varied: dict[tuple[str, int, int], bytes], target: Callable[[bytes], int]) -> None:
    """What is counted below are the two links and the texts that are no lists, or lists that are none."""
    for (_, n_attributes, _), data in varied.items():
        assert target(data) == 2 + n_attributes


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_truncated_at_every_byte(tmp_path: Path, libver: str) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["name"] = "text"
        file.create_dataset("x", data=np.arange(6.0), chunks=(4,), compression="gzip")
    data = path.read_bytes()
    handle = os.open(path, os.O_RDWR)
    # What is not written at the end of an old file was never written at all.
    for size in range(len(data) - 1, -1, -1):
        os.ftruncate(handle, size)
        with pytest.raises(FormatError) as caught:
            read_everything(path, handle, size)
        assert caught.value.offset is not None and caught.value.expected is not None
    os.close(handle)


INTERESTING = [0, 1, 2, 8, 0x7F, 0x80, 0xFF, 255, 512, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**40, 2**63, 2**64 - 1]


@given(st.randoms(use_true_random=False))
@settings(max_examples=150)
@pytest.mark.parametrize("has_checksums", [True, False])
def test_changed_bytes(
    varied: dict[tuple[str, int, int], bytes],
    target: Callable[[bytes], int],
    has_checksums: bool,
    random: random.Random,
) -> None:
    """Whatever is changed is an error, or a value; without the checksums, damage gets to where they would stop it."""
    data = bytearray(random.choice(list(varied.values())))
    for _ in range(random.choice([1, 1, 2, 5])):
        width = random.choice([1, 2, 4, 8])
        place = random.randrange(0, len(data) - 8)
        place -= place % width
        value = random.choice([*INTERESTING, random.randrange(len(data)), data[place] ^ 1 << random.randrange(8)])
        data[place : place + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    with pytest.MonkeyPatch.context() as patch:
        if not has_checksums:
            patch.setattr(FileBytes, "check_sum", lambda *arguments: None)
        try:
            target(bytes(data))
        except FormatError:
            pass


def test_wrong_checksums_of_metadata(varied: dict[tuple[str, int, int], bytes], tmp_path: Path) -> None:
    data = varied[("latest", 12, 2)]
    path = tmp_path / "m.h5"
    n_places = 0
    for magic in (b"OHDR", b"BTHD", b"BTLF", b"FRHP", b"FHDB", b"FAHD", b"FADB", b"EAHD", b"EAIB"):
        place = data.find(magic)
        assert place > 0, magic
        # Behind signature and version, in front of everything that would be noticed by itself.
        changed = bytearray(data)
        changed[place + len(magic) + 3] ^= 0x10
        path.write_bytes(changed)
        handle = os.open(path, os.O_RDONLY)
        errors: list[FormatError] = []
        collect(path, handle, len(changed), errors)
        os.close(handle)
        assert any(isinstance(error, ChecksumError) or "of another" in str(error) for error in errors), magic
        n_places += any(isinstance(error, ChecksumError) for error in errors)
    assert n_places >= 7


def collect(path: Path, handle: int, size: int, errors: list[FormatError]) -> None:
    """Keep every error that reading all of a file gives."""
    original = FormatError.__init__

    def keep(self: FormatError, *arguments: object, **details: object) -> None:
        original(self, *arguments, **details)
        errors.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FormatError, "__init__", keep)
        try:
            read_everything(path, handle, size)
        except FormatError:
            pass


# Crafted structures


def test_the_crafted_file_is_sound(tmp_path: Path) -> None:
    """h5py reads what the crafted files below are made of, as long as it is not crafted badly."""
    name = number(0)
    node = tree_node(
        1, 0, [(number(24, 4) + number(0, 4) + number(0) * 2, 8192)], number(0, 4) * 2 + number(6) + number(0)
    )
    heap = b"HEAP" + bytes(4) + number(16) + number(1) + number(4096 + 32) + b"\0x\0".ljust(16, b"\0")
    symbols = b"SNOD" + bytes([1, 0]) + number(1, 2) + number(1) + number(4096 + 256) + bytes(24)
    group = tree_node(0, 0, [(name, 4096 + 64)], number(1))
    header = dataset(6, layout=chunked(4096 + 512, 6))
    child = bytes([1, 0]) + number(3, 2) + number(1, 4) + number(len(header), 4) + bytes(4) + header
    rest = bytearray(4096 + 64)
    for place, piece in ((0, heap), (64, symbols), (128, group), (256, child), (512, node)):
        rest[place : place + len(piece)] = piece
    values = np.arange(6, dtype="<f4")
    rest[4096 : 4096 + 24] = values.tobytes()
    path = tmp_path / "m.h5"
    path.write_bytes(old_file(message(0x11, number(4096 + 128) + number(4096)), bytes(rest)))
    # Without room for the entries that a node can have, which the library reads as well.
    path.write_bytes(path.read_bytes()[:40] + number(4096 + len(rest) + 4096) + path.read_bytes()[48:] + bytes(4096))
    with h5py.File(path) as file:
        assert file["x"][()].tolist() == values.tolist()
    with open_file(str(path)) as file:
        found = file.member("x")
        assert read_dataset(found, dataset_spec(found, "x", "m"), "m").tolist() == values.tolist()


def test_a_header_that_continues_in_itself(tmp_path: Path) -> None:
    continued = message(0x10, number(96 + 16) + number(24))
    refuse(tmp_path, old_file(continued), "in a circle")


def refuse(tmp_path: Path, data: bytes, match: str) -> None:
    """The file is refused, when it is opened or when all of it is asked for."""
    path = tmp_path / "m.h5"
    path.write_bytes(data)
    start = time.process_time()
    tracemalloc.start()
    with pytest.raises(FormatError, match=match) as caught, open_file(str(path)) as file:
        ask(file, str(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.path == str(path) and "m.h5" in str(caught.value)
    assert peak < 100 << 20 and time.process_time() - start < 5


def ask(node: Group, path: str) -> None:
    for name in node.attribute_names:
        text_attribute(node, name, path)
    for name in child_names(node, path):
        found = follow(node, name, path)
        if isinstance(found, Dataset):
            read_dataset(found, dataset_spec(found, name, path), path)
        elif isinstance(found, Group):
            ask(found, path)


TREES = {
    "of nodes in a circle": (tree_node(0, 1, [(number(0), 4096 + 1024)], number(0)), "circle"),
    "that is its own child": (tree_node(0, 0, [(number(0), 4096 + 1024)], number(0)), "something else"),
    "with a child outside": (tree_node(0, 0, [(number(0), 1 << 40)], number(0)), "out of the file"),
    "with more entries than bytes": (b"TREE" + bytes([0, 0]) + b"\xff\xff" + UNDEFINED * 2, "out of the file"),
    "of chunks": (tree_node(1, 0, [], number(0)), "something else"),
    "that is none": (b"EERT" + bytes(60), "something else"),
    "with one node twice": (tree_node(0, 1, [(number(0), 4096 + 2048)] * 2, number(0)), "circle"),
    "with one child twice": (tree_node(0, 0, [(number(0), 4096 + 64)] * 2, number(0)), "twice"),
}


@pytest.mark.parametrize("way", TREES)
def test_trees_of_members(tmp_path: Path, way: str) -> None:
    node, match = TREES[way]
    heap = b"HEAP" + bytes(4) + number(16) + UNDEFINED + number(4096 + 32) + b"\0x\0".ljust(16, b"\0")
    symbols = b"SNOD" + bytes([1, 0]) + number(1, 2) + number(1) + number(96) + bytes(24)
    rest = bytearray(4096)
    for place, piece in ((0, heap), (64, symbols), (1024, node), (2048, tree_node(0, 0, [], number(0)))):
        rest[place : place + len(piece)] = piece
    refuse(tmp_path, old_file(message(0x11, number(4096 + 1024) + number(4096)), bytes(rest)), match)


@pytest.mark.parametrize(
    ("heap", "match"),
    [
        (b"HEAP" + bytes(4) + number(1 << 60) + UNDEFINED + number(4096), "out of the file"),
        (b"HEAP" + bytes(4) + number(4) + UNDEFINED + UNDEFINED, "leads nowhere"),
        (b"HEAP" + bytes(4) + number(1) + UNDEFINED + number(4096), "its heap has not"),
        # No NUL up to the end of the heap.
        (b"HEAP" + bytes(4) + number(4) + UNDEFINED + number(4096), "without an end"),
        (b"HEAP" + b"\x01" + bytes(3) + number(4) + UNDEFINED + number(4096), "version"),
    ],
)
def test_heaps_of_names(tmp_path: Path, heap: bytes, match: str) -> None:
    symbols = b"SNOD" + bytes([1, 0]) + number(1, 2) + number(1) + number(96) + bytes(24)
    rest = bytearray(4096)
    pieces = ((0, heap), (64, symbols), (1024, tree_node(0, 0, [(number(0), 4096 + 64)], number(0))))
    for place, piece in pieces:
        rest[place : place + len(piece)] = piece
    refuse(tmp_path, old_file(message(0x11, number(4096 + 1024) + number(4096)), bytes(rest)), match)


def in_group(child: bytes, rest: bytes = b"") -> bytes:
    """A file with an object ``x``; the rest begins at byte 8192."""
    header = bytes([1, 0]) + number(1, 2) + number(1, 4) + number(len(child), 4) + bytes(4) + child
    link = message(6, bytes([1, 0, 1]) + b"x" + number(4096))
    return old_file(message(2, bytes([0, 0]) + UNDEFINED * 2) + link, header.ljust(4096, b"\0") + rest)


CHUNK_KEY = number(24, 4) + number(0, 4) + number(0) * 2
DATASETS = {
    "of a terabyte": (dataset(1 << 38, layout=bytes([3, 1]) + number(8192) + number(1 << 40)), "out of the file"),
    "of a terabyte in a few bytes": (
        dataset(1 << 38, layout=bytes([3, 1]) + number(8192) + number(16)),
        "has not the values",
    ),
    "of a terabyte never stored": (
        dataset(1 << 38, layout=bytes([3, 1]) + UNDEFINED + number(16)),
        "has not the values",
    ),
    "of a terabyte in a chunk": (dataset(1 << 38, layout=chunked(8192, 6)), "has not the values"),
    "with 255 axes": (
        message(1, bytes([1, 255, 0, 0, 0, 0, 0, 0]) + bytes(255 * 8)) + dataset(6, layout=chunked(8192, 6)),
        "255 axes",
    ),
    "with an axis and an end that is none": (dataset(0, 1 << 62, layout=chunked(8192, 1, 6)), "impossible shape"),
    "of chunks without a size": (dataset(6, layout=chunked(8192, 0)), "impossible chunks"),
    "of chunks beyond all bounds": (dataset(6, layout=chunked(8192, (1 << 32) - 1)), "impossible chunks"),
    "of chunks with another rank": (dataset(6, layout=chunked(8192, 6, 1)), "not as many axes"),
    "of chunks of other elements": (
        dataset(6, layout=bytes([3, 2, 2]) + number(8192) + number(6, 4) + number(8, 4)),
        "of another size",
    ),
    "of elements without a size": (
        dataset(6, layout=chunked(8192, 6), kind=FLOAT32[:4] + number(0, 4) + FLOAT32[8:]),
        "impossible size",
    ),
    "of endless elements": (
        dataset(6, layout=bytes([3, 0]) + number(0, 2), kind=bytes([0x13, 0, 0, 0]) + number((1 << 32) - 1, 4)),
        "impossible size",
    ),
    "of nested enumerations": (
        dataset(6, layout=chunked(8192, 6), kind=bytes([0x38, 1, 0, 0]) + number(4, 4)) * 1,
        "ends too early",
    ),
    "with a fill value of four gigabytes": (
        dataset(6, layout=chunked(8192, 6)) + message(5, bytes([2, 1, 0, 1]) + number(0x7FFFFFFF, 4)),
        "fill value ends too early",
    ),
    "with an old fill value of four gigabytes": (
        dataset(6, layout=chunked(8192, 6)) + message(4, number(0x7FFFFFFF, 4)),
        "fill value ends too early",
    ),
    "in an unknown layout": (dataset(6, layout=bytes([9, 2, 2])), "unknown version"),
    "whose type is shared with itself": (
        space(6) + message(3, bytes([2, 0]) + number(4096), flags=2) + message(8, chunked(8192, 6)),
        "none of its kind",
    ),
    "whose type is shared with nothing": (
        space(6) + message(3, bytes([2, 0]) + UNDEFINED, flags=2) + message(8, chunked(8192, 6)),
        "leads nowhere",
    ),
    "without its message of a shape": (message(0x91, b"", flags=0x80) + dataset(6, layout=b""), "must be known"),
}


@pytest.mark.parametrize("way", DATASETS)
def test_datasets(tmp_path: Path, way: str) -> None:
    child, match = DATASETS[way]
    node = tree_node(1, 0, [(CHUNK_KEY, 8192 + 256)], CHUNK_KEY)
    refuse(tmp_path, in_group(child, node.ljust(4096, b"\0")), match)


CHUNKS = {
    "a circle": (1, [(CHUNK_KEY, 8192)], "circle"),
    "a chunk outside": (0, [(CHUNK_KEY, 1 << 30)], "out of the file"),
    "a chunk of 4 GB": (0, [(b"\xff" * 4 + CHUNK_KEY[4:], 8448)], "out of the file"),
    "a chunk without bytes": (0, [(bytes(4) + CHUNK_KEY[4:], 8448)], "not as large"),
    "two chunks at one place": (0, [(CHUNK_KEY, 8448)] * 2, "two chunks"),
    "a chunk between places": (0, [(CHUNK_KEY[:8] + number(1) * 2, 8448)], "impossible place"),
    "a chunk that is too short": (0, [(number(23, 4) + CHUNK_KEY[4:], 8448)], "has not the values|not as large"),
    "a chunk beyond the shape": (0, [(CHUNK_KEY[:8] + number(6 << 40) + number(0), 8448)], ""),
}


@pytest.mark.parametrize("way", CHUNKS)
def test_trees_of_chunks(tmp_path: Path, way: str) -> None:
    level, entries, match = CHUNKS[way]
    node = tree_node(1, level, entries, CHUNK_KEY).ljust(4096, b"\0")
    data = in_group(dataset(6, layout=chunked(8192, 6)), node)
    if match:
        refuse(tmp_path, data, match)
    else:
        (tmp_path / "m.h5").write_bytes(data)
        with open_file(str(tmp_path / "m.h5")) as file:
            found = file.member("x")
            assert read_dataset(found, dataset_spec(found, "x", "m"), "m").tolist() == [0] * 6


def test_a_bomb_of_zeros(tmp_path: Path) -> None:
    """A hundred kilobytes that would become a hundred megabytes."""
    stored = zlib.compress(bytes(100 << 20), 9)
    n_values = (100 << 20) // 4
    key = number(len(stored), 4) + number(0, 4) + number(0) * 2
    node = tree_node(1, 0, [(key, 12288)], key).ljust(4096, b"\0")
    filters = message(0x0B, bytes([2, 1]) + number(1, 2) + number(0, 2) + number(1, 2) + number(9, 4))
    refuse(
        tmp_path,
        in_group(dataset(n_values, layout=chunked(8192, n_values)) + filters, node + stored),
        "has not the values",
    )


def test_a_chunk_that_expands_beyond_its_size(tmp_path: Path) -> None:
    stored = zlib.compress(bytes(50 << 20), 9)
    key = number(len(stored), 4) + number(0, 4) + number(0) * 2
    node = tree_node(1, 0, [(key, 12288)], key).ljust(4096, b"\0")
    filters = message(0x0B, bytes([2, 1]) + number(1, 2) + number(0, 2) + number(1, 2) + number(9, 4))
    refuse(tmp_path, in_group(dataset(6, layout=chunked(8192, 6)) + filters, node + stored), "at most 28 bytes")


def test_datasets_at_one_place(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"a"]
        file.create_group("a").attrs["weight_names"] = [b"x", b"y", b"z"]
        for name in "xy":
            file[f"a/{name}"] = np.arange(500.0)
        # A second name of one dataset is no second dataset.
        file["a/z"] = file["a/x"]
        places = [file[f"a/{name}"].id.get_offset() for name in "xy"]
    with KerasLegacyReader(path) as reader:
        assert list(reader.manifest) == ["a/x", "a/y", "a/z"]
    data = path.read_bytes()
    for shift in (0, 8, -8):
        path.write_bytes(data.replace(number(places[1]), number(places[0] + shift)))
        with pytest.raises(FormatError, match=r"`/a/[xyz]` and of `/a/[xyz]` lie at one place"):
            KerasLegacyReader(path)


def test_two_members_of_one_name(tmp_path: Path) -> None:
    link = message(6, bytes([1, 0, 1]) + b"x" + number(96))
    refuse(tmp_path, old_file(message(2, bytes([0, 0]) + UNDEFINED * 2) + link * 2), "there twice")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    link = message(6, bytes([1, 0, 2]) + b"\xff\x1b" + number(96))
    refuse(tmp_path, old_file(message(2, bytes([0, 0]) + UNDEFINED * 2) + link), "not UTF-8")


def of_size(n_bytes: int) -> FileBytes:
    return FileBytes(FileWindow(-1, 0, n_bytes))


@pytest.mark.parametrize(
    ("n_bytes", "parts", "copied"),
    [
        (10, file_bytes.MIN_MAX_PARTS, 0),
        (1 << 30, file_bytes.MIN_MAX_PARTS + (1 << 24), 0),
        (10, 0, 4 * 10 + (1 << 20)),
        (1 << 40, file_bytes.MIN_MAX_PARTS, file_bytes.STRUCTURES_MAX_BYTES),
    ],
)
def test_what_is_parsed_is_counted(n_bytes: int, parts: int, copied: int) -> None:
    source = of_size(n_bytes)
    source.count_parts(parts // 2, copied // 2)
    source.count_parts(parts - parts // 2, copied - copied // 2)
    assert source.max_parts >= parts
    with pytest.raises(FormatError, match="too much"):
        source.count_parts(int(parts == source.max_parts), int(copied > 0))


def test_what_is_read_and_what_is_summed_up_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m").write_bytes(sealed(b"OHDR" + bytes(92)))
    with (tmp_path / "m").open("rb") as file:
        window = FileWindow(file.fileno(), 0, 100)
        monkeypatch.setattr(file_bytes, "ALL_CHECKED_MAX_BYTES", 250)
        source = FileBytes(window)
        for _ in range(2):
            source.checked(0, 100, b"OHDR", "a header")
        with pytest.raises(FormatError, match="too many like it"):
            source.checked(0, 100, b"OHDR", "a header")
        monkeypatch.setattr(file_bytes, "STRUCTURES_MAX_BYTES", 250)
        source = FileBytes(window)
        for _ in range(2):
            source.read(0, 100, "a header")
        with pytest.raises(FormatError, match="too often"):
            source.read(0, 100, "a header")


def test_chunks_are_counted() -> None:
    assert of_size(0).max_chunks == 1 << 16
    assert of_size(1 << 30).max_chunks == (1 << 16) + (1 << 16)
    assert of_size(1 << 40).max_chunks == 1 << 19
    for axes, weight in ((4, 1), (8, 2), (32, 5)):
        source = of_size(0)
        for _ in range((1 << 16) // weight):
            source.count_chunk(axes)
        with pytest.raises(FormatError, match="too many chunks"):
            source.count_chunk(axes)


def test_a_large_group_is_read_once(tmp_path: Path) -> None:
    """Its links are found through a few tables, which are not read for each of them."""
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for number_of in range(20_000):
            file[str(number_of)] = h5py.SoftLink("/x")
    with open_file(str(path)) as file:
        assert sorted(map(int, file)) == list(range(20_000))


def test_a_path_that_leads_in_a_circle_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["x"] = file["/"]
    with open_file(str(path)) as file:
        assert follow(file, "x/x/x", str(path)).address == file.address
        with pytest.raises(FormatError, match="no path"):
            follow(file, "x/" * 30_000 + "x", str(path))


def test_names_that_lead_through_a_circle_are_counted(tmp_path: Path) -> None:
    """Each takes hundreds of steps: thousands of them would be the work of minutes."""
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["x"] = file["/"]
    with open_file(str(path)) as file, pytest.raises(FormatError, match="too much"):
        for _ in range(8000):
            follow(file, "x/" * 200 + "x", str(path))


def test_structures_that_refer_to_one_place_over_and_over(tmp_path: Path) -> None:
    """Thousands of small groups, each of which lists the same large heap."""
    heap_bytes = 1 << 18
    heap = b"HEAP" + bytes(4) + number(heap_bytes) + UNDEFINED + number(4096 + 32)
    node = tree_node(0, 0, [], number(0)).ljust(64, b"\0")
    body = bytearray(heap.ljust(32 + heap_bytes, b"\0") + node)
    tree = 4096 + 32 + heap_bytes
    links, first = b"", 4096 + len(body)
    for count in range(1000):
        child = message(0x11, number(tree) + number(4096))
        body += bytes([1, 0]) + number(1, 2) + number(1, 4) + number(len(child), 4) + bytes(4) + child
        links += message(6, bytes([1, 0, 4]) + b"%04d" % count + number(first + 40 * count))
    body += links
    root = message(2, bytes([0, 0]) + UNDEFINED * 2)
    root += message(0x10, number(first + 40 * 1000) + number(len(links)))
    refuse(tmp_path, old_file(root, bytes(body)), "referred to too often")


# Messages and filters by themselves


def cursor(data: bytes) -> Cursor:
    return Cursor(FileBytes(FileWindow(-1, 0, len(data))), data, 0, "a message")


PARSERS = [parse_dataspace, parse_datatype, parse_layout, parse_filters]


@given(st.binary(max_size=80), st.sampled_from(PARSERS))
@settings(max_examples=300)
def test_any_message(data: bytes, parse: Callable[[Cursor], object]) -> None:
    # The first byte decides whether the rest is looked at.
    for first in (0x01, 0x02, 0x03, 0x04, 0x10, 0x11, 0x13, 0x15, 0x16, 0x36, 0x38, 0x19):
        try:
            parse(cursor(bytes([first]) + data))
        except FormatError as error:
            assert error.offset is not None


@given(st.binary(max_size=200), st.lists(st.sampled_from([1, 2, 3, 32000]), max_size=3), st.integers(1, 500))
@settings(max_examples=200)
def test_any_chunk(data: bytes, ids: list[int], n_bytes: int) -> None:
    try:
        assert len(undo_filters(data, [Filter(id, (4,)) for id in ids], 0, n_bytes)) == n_bytes
    except FormatError:
        pass


@given(st.binary(max_size=100), st.integers(0, 300))
@settings(max_examples=200)
def test_any_lzf(data: bytes, most: int) -> None:
    try:
        assert len(expand_lzf(data, most)) <= most
    except FormatError:
        pass


@given(st.lists(st.sampled_from([b"a", b"ab", b"abc" * 30, b"\0" * 500, b"xyz"]), max_size=60))
def test_lzf_as_h5py_makes_it(pieces: list[bytes]) -> None:
    raw = b"".join(pieces).ljust(8, b"-")
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        data = np.frombuffer(raw, np.uint8)
        dataset = file.create_dataset("x", data=data, chunks=data.shape, compression="lzf")
        mask, stored = dataset.id.read_direct_chunk((0,))
    assert mask or expand_lzf(stored, len(raw)) == raw


@given(st.binary(max_size=300))
def test_fletcher32_as_the_library_computes_it(raw: bytes) -> None:
    raw = raw or b"\0"
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        data = np.frombuffer(raw, np.uint8)
        dataset = file.create_dataset("x", data=data, chunks=data.shape, fletcher32=True)
        _, stored = dataset.id.read_direct_chunk((0,))
    assert struct.unpack("<I", stored[-4:]) == (fletcher32(raw),)


def test_lookup3_of_its_author() -> None:
    assert lookup3(b"Four score and seven years ago") == 0x17770551
    assert lookup3(b"") == 0xDEADBEEF
