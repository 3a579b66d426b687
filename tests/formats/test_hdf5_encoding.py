"""HDF5 files laid out without the library, against the library: what it makes of the same tree, reads and changes."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resport.dtypes import BY_NAME, OPAQUE
from resport.errors import FormatError
from resport.formats.hdf5_encoding import file as encoding
from resport.formats.hdf5_encoding.datatype import encode_datatype
from resport.formats.hdf5_encoding.file import encode_file
from resport.formats.hdf5_encoding.text_heap import TextHeap
from resport.formats.hdf5_encoding.tree import Names, NewDataset, NewGroup
from resport.formats.hdf5_file.objects import Group, HDF5File
from resport.formats.hdf5_writer import name_list
from resport.tensors import TensorSpec
from tests.formats.hdf5_library import (
    datasets,
    head_of,
    library_type,
    look,
    values_of,
    write_by_encoder,
    write_by_library,
)
from tests.formats.hdf5_oracle import check_same

DTYPES = sorted(frozenset(BY_NAME) - OPAQUE)
quick = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def many(names: list[str]) -> NewGroup:
    """A root with a scalar for each name, in their order."""
    root = NewGroup()
    for name in names:
        root.add_dataset(name, TensorSpec(name, (), "int32"), {})
    return root


def check_by_library(tree: NewGroup, folder: Path) -> Path:
    """What the library says of our file is what it says of its own, and our own reader says the same.

    Returns:
        Our file.
    """
    ours, theirs = folder / "ours.h5", folder / "theirs.h5"
    write_by_encoder(tree, ours)
    write_by_library(tree, theirs)
    assert look(ours) == look(theirs)
    check_same(ours)
    return ours


# Trees


def names() -> st.SearchStrategy[str]:
    letters = st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
    return st.text(letters, min_size=1, max_size=20).filter(lambda name: name not in {".", ".."})


def attribute_values() -> st.SearchStrategy[str | bytes | Names]:
    texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
    listed = st.lists(st.text("abc", max_size=9), max_size=5).map(lambda texts: name_list("x", texts)["x"])
    return st.one_of(texts, st.text("abc", max_size=20).map(str.encode), listed)


def attributes() -> st.SearchStrategy[dict[str, str | bytes | Names]]:
    return st.dictionaries(names(), attribute_values(), max_size=3)


@st.composite
def trees(draw: st.DrawFn) -> NewGroup:
    """A tree of up to three levels."""
    shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)
    counter = iter(range(1000))

    def group(depth: int) -> NewGroup:
        made = NewGroup(attributes=draw(attributes()))
        for name in draw(st.lists(names(), unique=True, max_size=12 if depth else 4)):
            if depth < 2 and draw(st.booleans()):
                made.members[name] = group(depth + 1)
            else:
                spec = TensorSpec(f"t{next(counter)}", draw(shapes), draw(st.sampled_from(DTYPES)))
                made.members[name] = NewDataset(spec, draw(attributes()))
        return made

    return group(0)


@quick
@given(trees())
def test_any_tree(tmp_path: Path, tree: NewGroup) -> None:
    check_by_library(tree, tmp_path)


@quick
@given(st.sets(names(), max_size=300))
def test_members_are_found_whatever_their_names(tmp_path: Path, found: set[str]) -> None:
    path = tmp_path / "m.h5"
    write_by_encoder(many(sorted(found)), path)
    with h5py.File(path) as file, HDF5File(str(path)) as ours:
        assert set(file) == found == set(ours)
        # The tree is searched for each name, and for some that are not there.
        assert all(name in file for name in found)
        assert not any(f"{name}x" in file for name in found if f"{name}x" not in found)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 255, 256, 257, 1024, 8191, 8192, 8193])
def test_group_of(tmp_path: Path, count: int) -> None:
    """A node of symbols holds 8, one of the tree 32."""
    path = tmp_path / "m.h5"
    expected = [f"x{number}" for number in range(count)]
    write_by_encoder(many(expected[::-1]), path)
    with h5py.File(path) as file:
        assert list(file) == sorted(expected)
        assert all(name in file for name in expected[:: max(1, count // 500)])
        assert "x" not in file and "y" not in file and "x0x" not in file


@pytest.mark.parametrize("count", [0, 8, 9, 256, 257, 8193])
def test_tree_of(count: int) -> None:
    """As the specification has it: each node lies between two names of the one above it, and knows its neighbours."""
    data = head_of(encode_file(many([f"x{number:04}" for number in range(count)])))
    root, heap = struct.unpack("<2Q", data[80:96])
    names_at = struct.unpack("<Q", data[heap + 24 : heap + 32])[0]

    def name(offset: int) -> bytes:
        return data[names_at + offset : data.index(b"\0", names_at + offset)]

    found: list[bytes] = []
    # From the root down: address, and the names that bound it.
    row = [(root, b"", f"x{count - 1:04}".encode() if count else b"")]
    for level in range(data[root + 5], -1, -1):
        below = []
        neighbours = [2**64 - 1, *(address for address, _, _ in row), 2**64 - 1]
        for (address, least, most), left, right in zip(row, neighbours, neighbours[2:], strict=False):
            magic, kind, its_level, n_children, *beside = struct.unpack("<4sBBH2Q", data[address : address + 24])
            assert (magic, kind, its_level, beside) == (b"TREE", 0, level, [left, right])
            assert n_children <= 32 and (n_children or not count)
            numbers = struct.unpack(f"<{2 * n_children + 1}Q", data[address + 24 :][: 16 * n_children + 8])
            keys = [name(number) for number in numbers[::2]]
            assert keys[0] == least and keys[-1] == most and keys == sorted(set(keys))
            below += list(zip(numbers[1::2], keys, keys[1:], strict=False))
        row = below
    for address, least, most in row:
        magic, n_symbols = struct.unpack("<4sxxH", data[address : address + 8])
        symbols = [name(*struct.unpack("<Q", data[address + 8 + 40 * at :][:8])) for at in range(n_symbols)]
        assert magic == b"SNOD" and 0 < n_symbols <= 8 and least < symbols[0] and symbols[-1] == most
        found += symbols
    assert found == [f"x{number:04}".encode() for number in range(count)]


def test_group_of_twenty_thousand(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    tree = many([f"größe_{number * 7919 % 20_000}" for number in range(20_000)])
    write_by_encoder(tree, path)
    with HDF5File(str(path)) as ours:
        root_node = struct.unpack("<Q", path.read_bytes()[80:88])[0]
        assert path.read_bytes()[root_node : root_node + 6] == b"TREE\0\2", "three levels"
        assert len(ours) == 20_000
    with h5py.File(path, "r+") as file:
        for name in list(file)[::97]:
            assert file[name][()].tobytes() == values_of(TensorSpec(name, (), "int32"))
        for name in list(tree.members)[::3]:
            del file[name]
        for number in range(500):
            file[f"new_{number}"] = number
    with h5py.File(path) as file:
        assert len(file) == 20_000 - 6667 + 500
        assert all((name in file) == (position % 3 > 0) for position, name in enumerate(tree.members))
        assert all(file[f"new_{number}"][()] == number for number in range(500))
    with HDF5File(str(path)) as ours:
        assert len(ours) == 13_833 and "new_499" in ours and "größe_0" not in ours


# Elements and attributes


@pytest.mark.parametrize("dtype", DTYPES)
def test_elements_are_those_of_the_library(tmp_path: Path, dtype: str) -> None:
    tree = NewGroup()
    for number, shape in enumerate([(), (5,), (2, 3), (0,), (3, 0, 2), (1,) * 32]):
        tree.add_dataset(f"d{number}", TensorSpec(f"t{number}", shape, dtype), {})
    ours = check_by_library(tree, tmp_path)
    with h5py.File(ours) as file:
        assert file["d2"].id.get_type() == library_type(dtype)
        assert file["d2"].id.get_offset() % 8 == 0
    assert len(encode_datatype(dtype)) >= 8


def test_attributes_of_all_kinds(tmp_path: Path) -> None:
    attributes = {
        "text": "größe",
        "empty": "",
        "long": "x" * 200_000,
        "ascii": b"2.15.0",
        "names": Names((b"a", b"", b"abc", "größe".encode()), 7),
        "none": Names((), 1),
        "größe": "umlaut in the name",
        "n" * 3000: "a long name",
    }
    tree = NewGroup(attributes=dict(attributes))
    tree.group("a/b").attributes.update(attributes)
    tree.add_dataset("a/d", TensorSpec("d", (2,), "float32"), attributes)
    check_by_library(tree, tmp_path)


@pytest.mark.parametrize(
    "length", [0, 1, 7, 8, 4040, 4056, 4064, 4072, 4080, 4088, 65_000, 65_480, 65_504, 65_520, 70_000]
)
def test_texts_of(tmp_path: Path, length: int) -> None:
    """Whatever room they leave in their heap."""
    texts = {f"a{number}": f"{number}".ljust(length, "x")[:length] for number in range(4)}
    check_by_library(NewGroup(attributes=dict(texts)), tmp_path)


def test_names_of_all_lengths(tmp_path: Path) -> None:
    """Each ends with a NUL and begins at a multiple of eight."""
    lengths = [*range(1, 40), 255, 256, 65_000]
    path = tmp_path / "m.h5"
    write_by_encoder(many(["x" * length for length in lengths]), path)
    with h5py.File(path) as file:
        assert sorted(map(len, file)) == lengths


def test_heaps_of_texts_are_small() -> None:
    """Elements count what is in a heap with two bytes, and a reader reads a heap as a whole."""
    heap = TextHeap(4096)
    references = [struct.unpack("<IQI", heap.add(b"x" * (number % 50))) for number in range(9000)]
    data = heap.finish()
    places = sorted({place for _, place, _ in references})
    assert len(places) > 5 and places[0] == 4096
    for place, end in itertools.pairwise([*places, 4096 + len(data)]):
        magic, size = struct.unpack("<4s4xQ", data[place - 4096 :][:16])
        assert magic == b"GCOL" and 4096 <= size == end - place <= 65_536
    for number, (length, _, index) in enumerate(references):
        assert length == number % 50 and index < 4096


def test_thousands_of_texts(tmp_path: Path) -> None:
    tree = NewGroup()
    for number in range(2000):
        tree.add_dataset(
            f"d{number}", TensorSpec(f"t{number}", (), "bfloat16"), {"dtype": "bfloat16", "name": f"n{number}"}
        )
    path = tmp_path / "m.h5"
    write_by_encoder(tree, path)
    with h5py.File(path, "r+") as file:
        assert all(
            node.attrs["name"] == f"n{name[1:]}" and node.attrs["dtype"] == "bfloat16" for name, node in file.items()
        )
        # No text is another's: what is removed takes nothing with it.
        for number in range(0, 2000, 2):
            del file[f"d{number}"].attrs["dtype"]
    with h5py.File(path) as file:
        assert all(("dtype" in node.attrs) == (int(name[1:]) % 2 == 1) for name, node in file.items())
        assert all(node.attrs["name"] == f"n{name[1:]}" for name, node in file.items())


# What others do with the file


def changed(path: Path, change: Callable[[h5py.File], object]) -> None:
    """A change by the library leaves all else as it was."""
    before = look(path)
    with h5py.File(path, "r+") as file:
        change(file)
    after = look(path)
    for name in before.keys() & after.keys() - {"/", "a", "a/d3", "a/d4"}:
        assert after[name] == before[name]


def sample() -> NewGroup:
    tree = NewGroup(attributes={"text": "of the root", "list": Names((b"a", b"bc"), 2)})
    for number in range(20):
        tree.add_dataset(f"a/d{number}", TensorSpec(f"t{number}", (number, 2), "float32"), {"name": f"n{number}"})
    tree.group("empty")
    return tree


def test_library_adds_replaces_and_removes(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    write_by_encoder(sample(), path)

    def add(file: h5py.File) -> None:
        for number in range(100):
            file[f"empty/new_{number}/x"] = np.arange(number)
            file["a"].attrs[f"a{number}"] = "x" * number
            file.attrs[f"b{number}"] = np.arange(number)
            file["a/d3"].attrs[f"c{number}"] = number

    def replace(file: h5py.File) -> None:
        file["a/d3"][...] = 7
        file.attrs["text"] = "a longer one than the first"
        del file["a/d4"]
        file["a/d4"] = np.arange(1000)

    def remove(file: h5py.File) -> None:
        for name in list(file["a"])[::2]:
            del file["a"][name]
        del file["empty/new_50"], file.attrs["list"]
        file.move("a/d3", "moved")

    for change in (add, replace, remove):
        changed(path, change)
        check_same(path)
    with h5py.File(path) as file:
        assert (
            (file["moved"][()] == 7).all() and file["moved"].attrs["c99"] == 99 and file["moved"].attrs["name"] == "n3"
        )
        assert file.attrs["text"] == "a longer one than the first" and len(file.attrs) == 101
        assert len(file["empty"]) == 99 and (file["empty/new_99/x"][()] == np.arange(99)).all()
    remove_all(path)


def remove_all(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for name in list(file):
            del file[name]
        file["a"] = 1
    with h5py.File(path) as file:
        assert list(file) == ["a"]


@pytest.mark.parametrize("libver", ["earliest", "latest", ("v108", "v110"), ("v112", "v112")])
def test_every_version_of_the_library_goes_on(tmp_path: Path, libver: str | tuple[str, str]) -> None:
    path = tmp_path / "m.h5"
    write_by_encoder(sample(), path)
    with h5py.File(path, "r+", libver=libver) as file:
        file.create_dataset("new", data=np.arange(5.0), chunks=(2,), compression="gzip")
        file["a"].attrs["new"] = "x"
        file.copy("a", "copy")
    with h5py.File(path, libver=libver) as file:
        assert len(file["copy"]) == 20 and file["copy"].attrs["new"] == "x"
        assert (file["copy/d19"][()].tobytes(), file["new"][4]) == (
            values_of(TensorSpec("t19", (19, 2), "float32")),
            4.0,
        )
    check_same(path)


# Places


def test_beyond_four_gigabytes(tmp_path: Path) -> None:
    """Without the values in between: the file has a hole."""
    tree = NewGroup()
    specs = [
        TensorSpec("a", (5 << 30,), "uint8"),
        TensorSpec("b", (3,), "float64"),
        TensorSpec("c", (1 << 31,), "uint16"),
    ]
    for spec in specs:
        tree.add_dataset(spec.name, spec, {})
    file = encode_file(tree)
    assert file.offsets["b"] > 5 << 30 and file.n_bytes == file.offsets["c"] + (1 << 32)
    path = tmp_path / "m.h5"
    with path.open("wb") as handle:
        handle.write(head_of(file))
        handle.seek(file.offsets["b"])
        handle.write(np.array([1.5, -2.0, 3.25]).tobytes())
        handle.seek(file.n_bytes - 2)
        handle.write(b"\x07\x01")
    with h5py.File(path) as opened:
        assert opened["b"][()].tolist() == [1.5, -2.0, 3.25]
        assert opened["c"][-1] == 0x107 and opened["a"].shape == (5 << 30,)
    path.unlink()


def test_values_are_aligned_apart_and_within_the_file() -> None:
    tree = NewGroup()
    for number in range(40):
        tree.add_dataset(f"d{number}", TensorSpec(f"t{number}", (number % 13,), "int8"), {})
    file = encode_file(tree)
    n_head = len(head_of(file))
    assert all(offset % 8 == 0 and offset >= n_head for offset in file.offsets.values())
    ends = {name: file.offsets[name] + number % 13 for number, name in enumerate(file.offsets)}
    used = sorted((file.offsets[name], ends[name]) for name in ends if ends[name] > file.offsets[name])
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(used))
    assert file.n_bytes == used[-1][1]


def test_nothing_behind_the_last_value(tmp_path: Path) -> None:
    """A file must not be shorter than it says: what has no values takes no room."""
    tree = NewGroup()
    tree.add_dataset("a", TensorSpec("a", (3,), "int8"), {})
    tree.add_dataset("b", TensorSpec("b", (0,), "float64"), {})
    path = tmp_path / "m.h5"
    write_by_encoder(tree, path)
    with h5py.File(path) as file:
        assert file["b"].shape == (0,) and file["a"].shape == (3,)


def test_same_tree_same_bytes() -> None:
    first, second = sample(), sample()
    second.group("a").members = dict(reversed(second.group("a").members.items()))
    assert head_of(encode_file(first)) == head_of(encode_file(sample()))
    # Values come in the order of the tree, members in that of their names.
    assert len(head_of(encode_file(second))) == len(head_of(encode_file(first)))


# What cannot be


def test_paths_that_cannot_be() -> None:
    tree = sample()
    for path in ("", "b//c", "./b", "b/..", "/b", "b/"):
        with pytest.raises(FormatError, match="empty or only dots"):
            sample().add_dataset(path, TensorSpec("x", (), "int8"), {})
    with pytest.raises(FormatError, match="`a/d1` would be there twice"):
        tree.add_dataset("a/d1", TensorSpec("x", (), "int8"), {})
    with pytest.raises(FormatError, match="`a/d1/x` leads through a dataset"):
        tree.group("a/d1/x")


def test_attributes_that_cannot_be(tmp_path: Path) -> None:
    # The longest that there can be, and one more.
    most = 65_528 - 8 - 8 - 8 - 24
    tree = NewGroup(attributes={"x": Names((b"y" * most,), most)})
    check_by_library(tree, tmp_path)
    with pytest.raises(FormatError, match="the attribute `x` is longer than HDF5 can hold"):
        encode_file(NewGroup(attributes={"x": Names((b"y" * (most + 1),), most + 1)}))
    with pytest.raises(FormatError, match="longer than HDF5 can hold"):
        encode_file(NewGroup(attributes={"x" * 70_000: "y"}))
    with pytest.raises(FormatError, match="more attributes than HDF5 can hold"):
        encode_file(NewGroup(attributes={f"a{number}": "" for number in range(65_536)}))


def test_deep_groups(tmp_path: Path) -> None:
    """Deeper than Python's functions can call one another."""
    depth = 2000
    tree = NewGroup()
    tree.add_dataset("/".join(["g"] * depth), TensorSpec("x", (2,), "float32"), {})
    file = encode_file(tree)
    path = tmp_path / "m.h5"
    path.write_bytes(head_of(file) + values_of(TensorSpec("x", (2,), "float32")))
    with h5py.File(path) as opened:
        assert opened["/".join(["g"] * depth)][()].tobytes() == values_of(TensorSpec("x", (2,), "float32"))
    with HDF5File(str(path)) as ours:
        node = ours.member("g")
        assert isinstance(node, Group) and list(node) == ["g"]


def test_every_tensor_is_placed() -> None:
    tree = sample()
    assert encode_file(tree).offsets.keys() == {dataset.spec.name for dataset in datasets(tree)}


def test_the_head_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = head_of(encode_file(sample()))
    monkeypatch.setattr(encoding, "GATHERED_BYTES", 300)
    file = encode_file(sample())
    pieces = list(file.rest)
    assert len(pieces) > 3 and file.front + b"".join(pieces) == whole
