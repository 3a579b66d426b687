"""HDF5 read without its library, compared with what h5py reads, over all that h5py can write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings

import resport
from resport.errors import FormatError
from resport.formats.file_window import FileWindow
from resport.formats.hdf5 import open_file
from resport.formats.hdf5_dataset import dataset_spec, read_dataset
from resport.formats.hdf5_file import file_bytes, objects
from resport.formats.hdf5_file.datatype import parse_datatype
from resport.formats.hdf5_file.file_bytes import Cursor, FileBytes
from resport.formats.hdf5_file.fill_value import parse_fill_value
from resport.formats.hdf5_file.filters import Filter, undo_filters
from resport.formats.hdf5_file.layout import (
    CHUNKED,
    COMPACT,
    CONTIGUOUS,
    EXTENSIBLE_ARRAY,
    FIXED_ARRAY,
    IMPLICIT,
    SINGLE,
    TREE_V1,
    TREE_V2,
    parse_layout,
)
from resport.formats.hdf5_file.links import read_links
from resport.formats.hdf5_file.object_header import Message, read_shared
from resport.formats.hdf5_file.objects import Dataset
from resport.formats.hdf5_file.values import read_numbers
from tests.formats.hdf5_oracle import check_same

LIBVERS = ["earliest", "v108", "v110", "latest"]
NUMBERS = [
    "?",
    "i1",
    "u1",
    "<i2",
    ">i2",
    "<u4",
    ">i4",
    "<i8",
    ">u8",
    "<f2",
    ">f2",
    "<f4",
    ">f4",
    "<f8",
    ">f8",
    "<c8",
    ">c16",
]
FILTERS = [
    {},
    {"compression": "gzip"},
    {"compression": "lzf", "shuffle": True},
    {"fletcher32": True},
    {"compression": "gzip", "compression_opts": 9, "shuffle": True, "fletcher32": True},
]


def numbers(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Some values, many of them small so that they compress, of any type."""
    return (np.random.default_rng(3).normal(size=shape) * 9).astype(dtype)


@pytest.mark.parametrize("libver", LIBVERS)
@pytest.mark.parametrize("track_order", [False, True])
@pytest.mark.parametrize("n_members", [2, 40])
def test_groups_and_attributes(tmp_path: Path, libver: str, track_order: bool, n_members: int) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver=libver, track_order=track_order, userblock_size=512) as file:
        for name in ("", "group", "group/größe"):
            group = file.require_group(name) if name else file
            for number in range(n_members):
                group.create_group(f"member {number}", track_order=track_order).attrs["number"] = number
                group.attrs[f"text {number}"] = f"value {number}"
            group.attrs["numbers"] = np.arange(5, dtype=">i4")
            group.attrs["empty"] = h5py.Empty("f4")
            group.attrs["none"] = np.array([])
            group.attrs["record"] = np.zeros(2, [("x", "f4"), ("y", "i4"), ("z", "f8")])
        file["half"] = np.dtype(">f2")
        file.attrs.create("shared", 3.0, dtype=file["half"])
        file["group/again"] = file["group"]["größe"]
        file["group/soft"] = h5py.SoftLink("/group")
        file["group/external"] = h5py.ExternalLink("other.h5", "/group")
        if libver != "earliest":
            # Longer than a header can hold.
            file.attrs["long"] = np.arange(100_000)
            file["group"].attrs["long"] = "x" * 70_000
    # The group with two names, once under each.
    assert check_same(path) == 4 + 4 * n_members


def test_links_in_tables_of_tables(tmp_path: Path) -> None:
    """More than the blocks of a heap's first table hold, which are half a megabyte."""
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for number in range(900):
            file.create_group(f"{number:04d}" + "x" * 1000)
    assert check_same(path) == 901


def test_many_members_of_an_old_group(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        for number in range(1200):
            file[f"{number * 7919 % 1200}"] = np.int8(number % 100)
    assert check_same(path) == 1201


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers(tmp_path: Path, libver: str, dtype: str) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["type"] = np.dtype(dtype)
        for shape in [(), (0,), (3, 0), (7,), (2, 3, 4), (1,) * 32]:
            file[f"of {shape}"] = numbers(dtype, shape)
        file.create_dataset("committed", data=numbers(dtype, (5,)), dtype=file["type"])
        file.create_dataset("chunks", data=numbers(dtype, (5, 7)), chunks=(2, 3), shuffle=True, compression="gzip")
        file["nothing"] = h5py.Empty(dtype)
    assert check_same(path) == 10


@pytest.mark.parametrize("libver", LIBVERS)
@pytest.mark.parametrize("filters", FILTERS)
def test_chunks(tmp_path: Path, libver: str, filters: dict[str, object]) -> None:
    path = tmp_path / "m.h5"
    array = numbers("f4", (13, 9))
    bounds = [None, (13, 9), (20, 30), (None, 9), (13, None), (None, None), (None, 40), (40, None)]
    with h5py.File(path, "w", libver=libver) as file:
        for bound in bounds:
            for chunks in [(3, 2), (13, 9)] if bound != (None, None) else [(3, 2), (20, 11)]:
                options = {"maxshape": bound, "chunks": chunks, **filters}
                file.create_dataset(f"whole {bound} {chunks}", data=array, **options)
                part = file.create_dataset(f"part {bound} {chunks}", (13, 9), "f4", fillvalue=7.5, **options)
                part[4:6, 3:5] = array[4:6, 3:5]
                file.create_dataset(f"never {bound} {chunks}", (13, 9), "f4", **options)
        grown = file.create_dataset("grown", data=array, chunks=(3, 2), maxshape=(None, None), **filters)
        grown.resize((5, 20))
        grown.resize((8, 4))
    assert check_same(path) == 2 + 3 * 2 * len(bounds)


INDEXES = {
    "tree of the first version": ("earliest", (40, 40), (3, 3), (40, 40), False, TREE_V1),
    "only chunk": ("latest", (40, 40), (40, 40), (40, 40), False, SINGLE),
    "row": ("latest", (40, 40), (3, 3), (40, 45), True, IMPLICIT),
    "array": ("latest", (40, 40), (3, 3), (40, 45), False, FIXED_ARRAY),
    "array of pages": ("latest", (40, 100), (1, 1), (40, 100), False, FIXED_ARRAY),
    "array that grows": ("latest", (40, 40), (3, 3), (40, None), False, EXTENSIBLE_ARRAY),
    "array that grew": ("latest", (1000, 4), (1, 2), (None, 4), False, EXTENSIBLE_ARRAY),
    "tree": ("latest", (40, 40), (3, 3), (None, None), False, TREE_V2),
    "deep tree": ("latest", (90, 90), (1, 1), (None, None), False, TREE_V2),
}


@pytest.mark.parametrize("is_filtered", [False, True])
@pytest.mark.parametrize("way", INDEXES)
def test_every_index_of_chunks(tmp_path: Path, way: str, is_filtered: bool) -> None:
    libver, shape, chunks, bound, is_early, index = INDEXES[way]
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver=libver) as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk(chunks)
        if is_early:
            creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        elif is_filtered:
            creation.set_shuffle()
            creation.set_deflate(1)
        limits = tuple(h5py.h5s.UNLIMITED if most is None else most for most in bound)
        space = h5py.h5s.create_simple(shape, limits)
        array = numbers("i2", shape)
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I16LE, space, creation).write(h5py.h5s.ALL, h5py.h5s.ALL, array)
    with open_file(str(path)) as file:
        dataset = file.member("x")
        assert isinstance(dataset, Dataset) and dataset.layout.index == index
    assert check_same(path) == 2


@pytest.mark.parametrize("filters", FILTERS[:2])
def test_pages_that_were_never_written(tmp_path: Path, filters: dict[str, object]) -> None:
    """A few chunks in arrays of a million, in blocks whose pages are mostly missing."""
    path = tmp_path / "m.h5"
    places = (3, 200_000, 200_900, 210_000, 700_001, (1 << 20) - 1)
    with h5py.File(path, "w", libver="latest") as file:
        for name, bound in (("grows", (None,)), ("fixed", (1 << 20,))):
            dataset = file.create_dataset(name, (1 << 20,), "u1", chunks=(1,), maxshape=bound, fillvalue=9, **filters)
            for place in places:
                dataset[place] = place % 97
    expected = np.full(1 << 20, 9, "u1")
    for place in places:
        expected[place] = place % 97
    with open_file(str(path)) as file:
        for name in ("fixed", "grows"):
            dataset = file.member(name)
            assert isinstance(dataset, Dataset) and len(dataset.chunks) == len(places)
            array = np.empty(1 << 20, "u1")
            read_numbers(dataset, array)
            assert array.tobytes() == expected.tobytes()


@pytest.mark.parametrize("sizes", [(4, 4), (8, 4), (2, 8)])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_narrow_addresses(tmp_path: Path, sizes: tuple[int, int], libver: str) -> None:
    path = tmp_path / "m.h5"
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_sizes(*sizes)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    version = h5py.h5f.LIBVER_EARLIEST if libver == "earliest" else h5py.h5f.LIBVER_LATEST
    access.set_libver_bounds(version, h5py.h5f.LIBVER_LATEST)
    with h5py.File(h5py.h5f.create(bytes(path), fcpl=creation, fapl=access)) as file:
        for number in range(20):
            file.attrs[f"text {number}"] = "value"
            file[f"group/{number}"] = numbers("f4", (3, 2))
        # The library itself cannot open new datasets without a bound where lengths are narrow.
        for bound in [(9, 9), (9, 12)] + [(None, 9), (None, None)] * (libver == "earliest" or sizes[1] == 8):
            file.create_dataset(f"{bound}", data=numbers("f4", (9, 9)), chunks=(2, 2), maxshape=bound, shuffle=True)
    assert check_same(path) >= 24


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in {".", ".."}
)
ARRAYS = st.builds(numbers, st.sampled_from(NUMBERS), st.lists(st.integers(0, 5), max_size=3).map(tuple))
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
VALUES = st.one_of(ARRAYS, TEXTS, st.lists(TEXTS, min_size=1, max_size=4))
TREES = st.recursive(
    st.dictionaries(NAMES, VALUES, max_size=4),
    lambda inner: st.dictionaries(NAMES, st.one_of(inner, VALUES), max_size=12),
    max_leaves=25,
)


@given(
    TREES,
    st.dictionaries(NAMES, VALUES, max_size=12),
    st.sampled_from(LIBVERS),
    st.sampled_from([0, 512, 1024]),
    st.booleans(),
    st.sampled_from([{}, *({"chunks": True, **filters} for filters in FILTERS)]),
)
@settings(max_examples=60)
def test_any_tree(
    tmp_path_factory: pytest.TempPathFactory,
    tree: dict[str, object],
    attributes: dict[str, object],
    libver: str,
    userblock_size: int,
    track_order: bool,
    options: dict[str, object],
) -> None:
    def fill(group: h5py.Group, members: dict[str, object]) -> None:
        for name, member in members.items():
            if isinstance(member, dict):
                fill(group.create_group(name, track_order=track_order), member)
            elif isinstance(member, np.ndarray) and member.size and member.ndim:
                group.create_dataset(name, data=member, **options)
            else:
                group[name] = member
            for key, value in attributes.items():
                group[name].attrs[key] = value

    path = tmp_path_factory.mktemp("tree") / "m.h5"
    with h5py.File(path, "w", libver=libver, userblock_size=userblock_size, track_order=track_order) as file:
        fill(file, tree)
    assert check_same(path) >= 1


# What h5py gives otherwise


def test_half_of_a_float_is_bfloat16(tmp_path: Path) -> None:
    """h5py widens such floats to float32; here not one of their bits changes."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_ebias(127)
    kind.set_precision(16)
    kind.set_size(2)
    array = numbers("f4", (5, 7))
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple(array.shape)
        h5py.h5d.create(file.id, b"x", kind, space).write(h5py.h5s.ALL, h5py.h5s.ALL, array)
        expected = file["x"][()]
    with open_file(str(path)) as file:
        dataset = file.member("x")
        spec = dataset_spec(dataset, "x", str(path))
        read = read_dataset(dataset, spec, str(path))
    assert spec.dtype == "bfloat16" and read.dtype == ml_dtypes.bfloat16
    assert read.astype("f4").tobytes() == expected.tobytes()


def test_wide_truth_values(tmp_path: Path) -> None:
    kind = h5py.h5t.enum_create(h5py.h5t.STD_I32BE)
    for name, value in ((b"FALSE", 0), (b"TRUE", 1)):
        kind.enum_insert(name, value)
    for values in ([0, 1, 1], [0, 2, 1]):
        path = tmp_path / "m.h5"
        with h5py.File(path, "w") as file:
            dataset = h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((3,)))
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(values, ">i4"), mtype=kind)
        with open_file(str(path)) as file:
            dataset = file.member("x")
            spec = dataset_spec(dataset, "x", str(path))
            assert spec.dtype == "bool"
            if 2 in values:
                with pytest.raises(FormatError, match="neither true nor false"):
                    read_dataset(dataset, spec, str(path))
            else:
                assert read_dataset(dataset, spec, str(path)).tolist() == [False, True, True]


@pytest.mark.parametrize("compression", ["szip", "scaleoffset"])
def test_other_filters_are_named(tmp_path: Path, compression: str) -> None:
    options = {"scaleoffset": 0} if compression == "scaleoffset" else {"compression": compression}
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(4096).reshape(64, 64), chunks=(64, 64), **options)
    with open_file(str(path)) as file:
        dataset = file.member("x")
        spec = dataset_spec(dataset, "x", str(path))
        with pytest.raises(FormatError, match=compression) as caught:
            read_dataset(dataset, spec, str(path))
    assert "h5repack" in str(caught.value.hint)


def test_a_file_that_was_not_closed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = 1
        file.swmr_mode = True
        file.flush()
        copy = path.read_bytes()
    path.write_bytes(copy)
    with pytest.raises(FormatError, match="not closed"):
        open_file(str(path))


@pytest.mark.parametrize("command", ["list(reader.manifest)", "reader.read('layer/kernel')"])
@pytest.mark.parametrize("name", ["m.h5", "m.weights.h5"])
def test_reading_leaves_the_library_alone(tmp_path: Path, root: Path, name: str, command: str) -> None:
    values = numbers("f4", (3, 4))
    with resport.open_writer(
        tmp_path / name, [resport.tensors.TensorSpec("layer/kernel", (3, 4), "float32")]
    ) as writer:
        writer.write("layer/kernel", values)
    code = f"import sys, resport\nwith resport.open_reader({name!r}) as reader: {command}\n"
    code += "print(sorted({'h5py', 'tensorflow', 'keras'} & set(sys.modules)))"
    if "read(" not in command:
        code += "\nassert 'numpy' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


# What no h5py writes any more: messages by hand, from the specification


def cursor(data: bytes) -> Cursor:
    return Cursor(source_of(data), data, 0, "a message")


def source_of(data: bytes) -> FileBytes:
    return FileBytes(FileWindow(-1, 0, len(data)))


ADDRESS = (0x1234).to_bytes(8, "little")


def number(*values: int, width: int = 4) -> bytes:
    return b"".join(value.to_bytes(width, "little") for value in values)


@pytest.mark.parametrize("version", [1, 2])
def test_old_layouts(version: int) -> None:
    compact = parse_layout(cursor(bytes([version, 2, 0, 0, 0, 0, 0, 0]) + number(2, 4, 3) + b"abc"))
    assert (compact.kind, compact.data) == (COMPACT, b"abc")
    contiguous = parse_layout(cursor(bytes([version, 2, 1, 0, 0, 0, 0, 0]) + ADDRESS + number(2, 4)))
    assert (contiguous.kind, contiguous.address, contiguous.size) == (CONTIGUOUS, 0x1234, None)
    chunked = parse_layout(cursor(bytes([version, 3, 2, 0, 0, 0, 0, 0]) + ADDRESS + number(5, 6, 4)))
    assert (chunked.kind, chunked.address, chunked.chunk, chunked.element_bytes) == (CHUNKED, 0x1234, (5, 6), 4)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (bytes([1, 0, 0, 1]) + number(2) + b"ab", b"ab"),
        (bytes([1, 0, 0, 0]) + number(0), b""),
        (bytes([2, 0, 0, 1]) + number(2) + b"ab", b"ab"),
        (bytes([2, 0, 0, 1]) + b"\xff\xff\xff\xff", b""),
        (bytes([2, 0, 0, 1]) + b"\0\0\0\x80", b""),
        (bytes([2, 0, 0, 0]), b""),
        (bytes([3, 0x20]) + number(2) + b"ab", b"ab"),
        (bytes([3, 0x10]), b""),
    ],
)
def test_fill_values(message: bytes, expected: bytes) -> None:
    assert parse_fill_value(cursor(message)) == expected


def test_old_pairs_are_complex_numbers() -> None:
    real = bytes([0x11, 0x20, 0x1F, 0]) + number(4) + bytes([0, 0, 32, 0, 23, 8, 0, 23]) + number(127)
    members = b"".join(
        name.ljust(8, b"\0") + number(offset) + bytes(28) + real for name, offset in ((b"r", 0), (b"i", 4))
    )
    assert parse_datatype(cursor(bytes([0x16, 2, 0, 0]) + number(8) + members)).element == "complex64"
    other = members.replace(b"i\0", b"j\0")
    assert parse_datatype(cursor(bytes([0x16, 2, 0, 0]) + number(8) + other)).element == ""


def test_old_shared_messages() -> None:
    assert read_shared(cursor(bytes([1, 0]) + bytes(6) + bytes(8) + ADDRESS)) == 0x1234
    assert read_shared(cursor(bytes([2, 0]) + ADDRESS)) == 0x1234
    assert read_shared(cursor(bytes([3, 2]) + ADDRESS)) == 0x1234
    with pytest.raises(FormatError, match="table of shared messages"):
        read_shared(cursor(bytes([3, 1]) + ADDRESS))


def test_links_of_a_users_own_kind_are_not_followed() -> None:
    message = bytes([1, 8, 70, 1]) + b"x" + bytes(10)
    (link,) = read_links(source_of(message), [Message(6, 0, message, 0)]).values()
    assert link.address is None and "user's own kind" in link.shown


def test_swapped_fletcher32() -> None:
    """Releases before 1.6.3 had the bytes of each half in the other order."""
    body = bytes(range(7))
    # 0x0001 + 0x0203 + 0x0405 + 0x0600, and the sums of the sums.
    first, second = 0x0C09, 4 * 0x0001 + 3 * 0x0203 + 2 * 0x0405 + 0x0600
    plain = first.to_bytes(2, "little") + second.to_bytes(2, "little")
    swapped = bytes((plain[1], plain[0], plain[3], plain[2]))
    for stored in (plain, swapped):
        assert undo_filters(body + stored, [Filter(3, ())], 0, 7) == body
    with pytest.raises(FormatError, match="checksum"):
        undo_filters(body + bytes(4), [Filter(3, ())], 0, 7)


def test_filters_that_were_left_out() -> None:
    assert undo_filters(b"abcd", [Filter(2, (4,)), Filter(1, (6,)), Filter(32001, ())], 0b111, 4) == b"abcd"


def test_what_is_read_does_not_depend_on_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers that others came between are parsed again, and structures go on from one block in the next."""
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        for number in range(30):
            group = file.create_group(f"group {number}")
            group.attrs["text"] = "x" * number
            group["numbers"] = np.arange(number, dtype=">i4")
            if number:
                group["first"] = file["group 0"]
    monkeypatch.setattr(objects, "MAX_HEADERS", 2)
    monkeypatch.setattr(file_bytes, "MAX_BLOCKS", 3)
    monkeypatch.setattr(file_bytes, "MAX_MEANINGS", 2)
    for block_bytes in (1, 24, 100):
        monkeypatch.setattr(file_bytes, "BLOCK_BYTES", block_bytes)
        assert check_same(path) == 1 + 30 * 2 + 29 * 2
