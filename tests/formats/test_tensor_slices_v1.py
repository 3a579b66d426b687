"""V1 checkpoints: the contract of all formats, TensorFlow writing for us and reading ours, slices, shards and damage."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import pytest

from resport.dtypes import BY_NAME
from resport.errors import FormatError, OptionError, SourceNotFoundError, TargetExistsError
from resport.formats import format_of_source, open_reader, open_writer
from resport.formats import tensor_slices_v1 as v1_module
from resport.formats.leveldb_table import (
    TABLE_FOOTER_BYTES,
    TABLE_MAGIC,
    TABLE_SNAPPY,
    LevelDBTable,
    masked_crc32c,
)
from resport.formats.leveldb_writer import encode_table
from resport.formats.protobuf import bytes_field, encode_varint, varint_field
from resport.formats.tensor_proto import encode_values, value_field
from resport.formats.tensor_slice import FULL_EXTENT, Extent, Slice, slice_key
from resport.formats.tensor_slices_v1 import TensorSlicesReader, TensorSlicesWriter
from resport.formats.v1_meta import encode_slice
from resport.tensors import TensorSpec
from tests.contracts import FormatContract, assert_same_bits, open_files, peak_bytes, random_array, specs_of

Tensors = dict[str, np.ndarray]
Bounds = tuple[tuple[int, int], ...]


def save(path: Path, tensors: Mapping[str, np.ndarray], **options: Any) -> str:
    with TensorSlicesWriter(str(path), specs_of(tensors), **options) as writer:
        for name, array in tensors.items():
            writer.write(name, array)
    return str(path)


def load(path: str | Path) -> Tensors:
    with TensorSlicesReader(str(path)) as reader:
        found = {name: reader.read(name) for name in reader.manifest}
        for name, array in found.items():
            if array.dtype != object:
                assert b"".join(map(bytes, reader.pieces(name))) == array.tobytes(), name
        return found


def assert_same(actual: Tensors, expected: Mapping[str, np.ndarray]) -> None:
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert_same_bits(actual[name], array)


def some_tensors(seed: int = 0) -> Tensors:
    return {
        "conv1/weights": random_array("float32", (3, 3, 2, 4), seed),
        "conv1/biases": random_array("float32", (4,), seed + 1),
        "global_step": random_array("int64", (), seed),
        "empty": random_array("float32", (0, 3), seed),
    }


class TestTensorSlicesV1(FormatContract):
    reader, writer, filename = TensorSlicesReader, TensorSlicesWriter, "model.ckpt-7"
    has_checksums = True

    def test_registry_finds_the_format(self, tmp_path: Path) -> None:
        tensors = self.small_tensors()
        path = self.target(tmp_path)
        with open_writer(path, specs_of(tensors), format="tensorflow-v1") as writer:
            assert type(writer) is self.writer
            for name, array in tensors.items():
                writer.write(name, array)
        with open_reader(path) as reader:
            assert type(reader) is self.reader
        with pytest.raises(TargetExistsError):
            open_writer(path, specs_of(tensors), format="tensorflow-v1")
        open_writer(path, specs_of(tensors), format="tensorflow-v1", force=True).abort()
        self.check(path, tensors)


# Slices, put together by hand: TensorFlow writes them in this form, and its reader refuses them.


def cut(shape: tuple[int, ...], n_pieces: tuple[int, ...]) -> list[Bounds]:
    """The bounds of a grid of pieces, the first of each axis one longer where they don't come out even."""
    axes = []
    for size, n in zip(shape, n_pieces, strict=True):
        ends = [0, *itertools.accumulate(size // n + (i < size % n) for i in range(n))]
        axes.append(list(itertools.pairwise(ends)))
    return list(itertools.product(*axes))


def compose(
    pieces: Mapping[str, list[Bounds]],
    tensors: Tensors,
    proto: Callable[[np.ndarray, str], bytes] | None = None,
    listed: Mapping[str, list[Bounds]] | None = None,
) -> bytes:
    """The bytes of one shard with some pieces of some tensors."""
    entries, meta = {}, b""
    for name, bounds in pieces.items():
        array = tensors[name]
        for bound in bounds:
            extents = extents_of(bound, array.shape)
            piece = np.ascontiguousarray(array[tuple(slice(*b) for b in bound)])
            data = proto(piece, array.dtype.name) if proto else packed(piece, array.dtype.name)
            entries[slice_key(name, extents)] = bytes_field(
                2, bytes_field(1, name.encode()) + bytes_field(2, encode_extents(extents)) + bytes_field(3, data)
            )
        dims = b"".join(bytes_field(2, varint_field(1, size)) for size in array.shape)
        slices = [bytes_field(4, encode_extents(extents_of(b, array.shape))) for b in (listed or pieces)[name]]
        number = BY_NAME[array.dtype.name].tensorflow or 0
        meta += bytes_field(
            1, bytes_field(1, name.encode()) + bytes_field(2, dims) + varint_field(3, number) + b"".join(slices)
        )
    entries[b""] = bytes_field(1, meta + bytes_field(2, varint_field(1, 1)))
    return encode_table(sorted(entries.items()))


def extents_of(bound: Bounds, shape: tuple[int, ...]) -> Slice:
    return tuple(
        Extent(0, FULL_EXTENT) if (start, stop) == (0, size) else Extent(start, stop - start)
        for (start, stop), size in zip(bound, shape, strict=True)
    )


def encode_extents(extents: Slice) -> bytes:
    return encode_slice((extent.start, extent.length) for extent in extents)


def packed(array: np.ndarray, dtype: str) -> bytes:
    return bytes_field(value_field(dtype), b"".join(bytes(piece) for piece in encode_values(array, dtype)))


@pytest.mark.parametrize("n_pieces", [(3, 1, 1), (1, 5, 1), (1, 1, 2), (2, 3, 2), (1, 1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "int16", "bool", "complex64", "bfloat16"])
def test_slices_of_any_axis(tmp_path: Path, n_pieces: tuple[int, ...], dtype: str) -> None:
    tensors = {"w": random_array(dtype, (7, 5, 4)), "b": random_array(dtype, (4,))}
    pieces = {"w": cut((7, 5, 4), n_pieces)[::-1], "b": cut((4,), (1,))}
    (tmp_path / "m").write_bytes(compose(pieces, tensors))
    assert_same(load(tmp_path / "m"), tensors)


def shard_up(folder: Path, tensors: Tensors) -> str:
    """Three shards: `w` in all of them, `b` whole in the second, `c` cut between the first two."""
    grid = cut((7, 5), (3, 2))
    halves = cut((6,), (2,))
    contents = [
        {"w": grid[:1], "c": halves[1:]},
        {"w": grid[1:3], "b": cut((4,), (1,)), "c": halves[:1]},
        {"w": grid[3:]},
    ]
    for shard, pieces in enumerate(contents):
        (folder / f"m.ckpt-{shard:05d}-of-00003").write_bytes(compose(pieces, tensors))
    return str(folder / "m.ckpt")


@pytest.fixture
def tensors() -> Tensors:
    return {
        "w": random_array("float32", (7, 5)),
        "b": random_array("int64", (4,)),
        "c": random_array("float64", (6,)),
    }


@pytest.mark.parametrize("suffix", ["", "-?????-of-00003", "-00000-of-00003", "-00002-of-00003"])
def test_slices_over_shards(tmp_path: Path, tensors: Tensors, suffix: str) -> None:
    name = shard_up(tmp_path, tensors)
    assert_same(load(name + suffix), tensors)
    with open_reader(name + suffix) as reader:
        assert reader.format == "tensorflow-v1"
        assert [Path(file).name for file in reader.files] == [f"m.ckpt-{i:05d}-of-00003" for i in range(3)]
        assert_same({name: reader.read(name) for name in reader.manifest}, tensors)
        assert ("one of the 3 shards" in (reader.note or "")) == ("0-of" in suffix or "2-of" in suffix)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_missing_shard(tmp_path: Path, tensors: Tensors, gone: int) -> None:
    name = shard_up(tmp_path, tensors)
    missing = tmp_path / f"m.ckpt-{gone:05d}-of-00003"
    missing.unlink()
    cut_off = [{"w", "c"}, {"w", "c"}, {"w"}][gone]
    with open_reader(f"{name}-?????-of-00003") as reader:
        assert set(reader.manifest) == {"w", "c"} | ({"b"} if gone != 1 else set())
        assert reader.missing == (str(missing),)  # type: ignore[attr-defined]
        for tensor in reader.manifest:  # those that are whole too: nothing tells what else is gone
            with pytest.raises(FormatError, match="1 of the 3 shards") as caught:
                reader.read(tensor)
            assert str(missing) in str(caught.value)
            assert {tensor for tensor in tensors if f"`{tensor}`" in caught.value.message} == cut_off


def test_shards_of_two_saves(tmp_path: Path, tensors: Tensors) -> None:
    name = shard_up(tmp_path, tensors)
    shutil.copy(f"{name}-00000-of-00003", f"{name}-00000-of-00002")
    with pytest.raises(OptionError, match="2 saves"):
        open_reader(name)
    assert_same(load(f"{name}-?????-of-00003"), tensors)


def test_nothing_there(tmp_path: Path) -> None:
    for name in ("m.ckpt", "m.ckpt-?????-of-00002", "m.ckpt-00001-of-00002"):
        with pytest.raises(SourceNotFoundError, match=re.escape(name)):
            TensorSlicesReader(str(tmp_path / name))


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([((0, 2),), ((2, 4),)], "make up"),
        ([((0, 3),), ((2, 5),), ((5, 6),)], "make up|overlap"),
        ([((0, 3),), ((0, 3),)], "overlap"),
        ([((0, 3),), ((3, 9),)], "beyond"),
        ([((0, 4),), ((4, 6),)], "does not have the values"),
    ],
)
def test_slices_that_do_not_make_up_the_tensor(tmp_path: Path, listed: list[Bounds], message: str) -> None:
    tensors = {"c": random_array("float32", (6,))}
    (tmp_path / "m").write_bytes(compose({"c": cut((6,), (2,))}, tensors, listed={"c": listed}))
    with TensorSlicesReader(str(tmp_path / "m")) as reader, pytest.raises(FormatError, match=message) as caught:
        reader.read("c")
    assert "`c`" in str(caught.value) and str(tmp_path / "m") in str(caught.value)


def test_a_tensor_listed_twice(tmp_path: Path) -> None:
    tensors = {"c": random_array("float32", (6,)), "d": random_array("float32", (3,))}
    one = compose({"c": cut((6,), (1,))}, tensors)
    for shard, content in enumerate((one, compose({"c": cut((6,), (1,))}, {"c": tensors["c"][:, None]} | tensors))):
        (tmp_path / f"m-{shard:05d}-of-00002").write_bytes(content)
    with TensorSlicesReader(str(tmp_path / "m")) as reader, pytest.raises(FormatError, match=r"overlap|make up"):
        reader.read("c")
    other = {"c": random_array("float32", (7,))}
    (tmp_path / "m-00001-of-00002").write_bytes(compose({"c": cut((7,), (1,))}, other))
    with pytest.raises(FormatError, match="listed twice"):
        TensorSlicesReader(str(tmp_path / "m"))
    tensor = bytes_field(1, bytes_field(1, b"c") + varint_field(3, 1))
    (tmp_path / "twice").write_bytes(encode_table([(b"", bytes_field(1, tensor + tensor))]))
    with pytest.raises(FormatError, match=r"`c` is listed twice"):
        TensorSlicesReader(str(tmp_path / "twice"))


# What old writers wrote


def unpacked(array: np.ndarray, dtype: str) -> bytes:
    number = value_field(dtype)
    if dtype == "float32":
        return b"".join(encode_varint(number << 3 | 5) + value.tobytes() for value in array.reshape(-1))
    if dtype == "float64":
        return b"".join(encode_varint(number << 3 | 1) + value.tobytes() for value in array.reshape(-1))
    return b"".join(encode_varint(number << 3) + encode_varint(int(value)) for value in array.reshape(-1))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "int8", "bool"])
def test_unpacked_values(tmp_path: Path, dtype: str) -> None:
    tensors = {"w": random_array(dtype, (5, 3))}
    (tmp_path / "m").write_bytes(compose({"w": cut((5, 3), (2, 1))}, tensors, unpacked))
    assert_same(load(tmp_path / "m"), tensors)


def in_two(array: np.ndarray, dtype: str) -> bytes:
    values = array.tobytes()
    middle = len(values) // 2 // array.itemsize * array.itemsize
    return b"".join(bytes_field(value_field(dtype), part) for part in (values[:middle], values[middle:]))


def in_both(array: np.ndarray, dtype: str) -> bytes:
    """What is in the content counts."""
    return as_content(array, dtype) + packed(array[::-1].copy(), dtype)


def as_content(array: np.ndarray, dtype: str) -> bytes:
    return bytes_field(4, array.tobytes())


@pytest.mark.parametrize(
    ("proto", "is_memory"), [(packed, True), (as_content, True), (in_two, False), (in_both, False), (unpacked, False)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_that_lie_there_as_memory_are_handed_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    proto: Callable[[np.ndarray, str], bytes],
    is_memory: bool,
    dtype: str,
) -> None:
    tensors = {"w": random_array(dtype, (300, 251))}  # of more than one piece
    (tmp_path / "m").write_bytes(compose({"w": cut((300, 251), (1, 1))}, tensors, proto))
    decoded = []
    decode = v1_module.decode_tensor
    monkeypatch.setattr(v1_module, "decode_tensor", lambda *a, **o: decoded.append(a) or decode(*a, **o))
    with TensorSlicesReader(str(tmp_path / "m")) as reader:
        found = [bytes(piece) for piece in reader.pieces("w")]
        assert b"".join(found) == tensors["w"].tobytes() == reader.read("w").tobytes()
    assert len(decoded) == 1 + (not is_memory) and (len(found) > 1) == is_memory


@pytest.mark.parametrize("lengths", [(56,), (64,), (60, 60)])
def test_memory_of_another_length_is_refused(tmp_path: Path, lengths: Sequence[int]) -> None:
    def longer(array: np.ndarray, dtype: str) -> bytes:
        return b"".join(bytes_field(value_field(dtype), (array.tobytes() + bytes(4))[:length]) for length in lengths)

    tensors = {"w": random_array("float32", (5, 3))}
    (tmp_path / "m").write_bytes(compose({"w": cut((5, 3), (1, 1))}, tensors, longer))
    with (
        TensorSlicesReader(str(tmp_path / "m")) as reader,
        pytest.raises(FormatError, match="the number of its values"),
    ):
        list(reader.pieces("w"))


def compress(table: bytes) -> bytes:
    """The same table of one block with every block compressed."""
    with_blocks = bytearray()
    handles = []
    footer = table[-TABLE_FOOTER_BYTES:]
    numbers = [int(number) for number in _varints(footer[:40])[:4]]
    (meta, meta_size), (index, index_size) = (numbers[0], numbers[1]), (numbers[2], numbers[3])
    for start, size in ((0, meta - 5), (meta, meta_size)):
        handles.append((len(with_blocks), *_append(with_blocks, table[start : start + size])))
    entry = table[index : index + index_size]
    key_size = entry[1]
    handle = encode_varint(handles[0][0]) + encode_varint(handles[0][1])
    new_index = bytes([0, key_size, len(handle)]) + entry[3 : 3 + key_size] + handle + b"\0\0\0\0\1\0\0\0"
    handles.append((len(with_blocks), *_append(with_blocks, new_index)))
    ends = b"".join(encode_varint(n) for place in handles[1:] for n in place)
    return bytes(with_blocks) + ends.ljust(40, b"\0") + TABLE_MAGIC


def _append(target: bytearray, block: bytes) -> tuple[int]:
    raw = bytes(cramjam.snappy.compress_raw(block)) + bytes([TABLE_SNAPPY])
    target += raw + masked_crc32c(raw).to_bytes(4, "little")
    return (len(raw) - 1,)


def _varints(data: bytes) -> list[int]:
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value)
            value = shift = 0
    return values


def test_snappy_blocks(tmp_path: Path) -> None:
    tensors = some_tensors() | {"zeros": np.zeros((100, 100), "float32")}
    table = compress(Path(save(tmp_path / "plain", tensors)).read_bytes())
    (tmp_path / "m").write_bytes(table)
    assert len(table) < 10_000
    assert_same(load(tmp_path / "m"), tensors)
    assert format_of_source(tmp_path / "m")[0].id == "tensorflow-v1"
    (tmp_path / "m").write_bytes(table[:9] + bytes([table[9] ^ 1]) + table[10:])
    with pytest.raises(FormatError, match="checksum"):
        open_reader(tmp_path / "m")


# Layout


def test_golden_bytes(tmp_path: Path) -> None:
    """The first entry, the list, and the entry of one tensor, written down byte by byte."""
    content = Path(save(tmp_path / "m", {"a": np.array([[1.0, -2.0]], "float32")})).read_bytes()
    shape, whole = "1208" + "12020801" + "12020802", "04" + "0a00" + "0a00"
    listing = "0a1b" + "0a15" + "0a0161" + shape + "1801" + "22" + whole + "12020801"
    data = "1215" + "0a0161" + "12" + whole + "1a0a" + "2a08" + "0000803f" + "000000c0"
    key = "00" + "610001" + "0102" + "807f" + "807f"
    entries = "00001d" + listing + "000a17" + key + data + "00000000" + "01000000"
    assert content.hex().startswith(entries)
    assert len(content) == len(entries) // 2 + 5 + (8 + 5) + (3 + 1 + 2 + 8 + 5) + TABLE_FOOTER_BYTES


def test_listing_reads_no_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "m", {"a": random_array("float32", (4_000_000,)), "b": random_array("float32", (9,))})
    with peak_bytes() as peak, TensorSlicesReader(path) as reader:
        assert list(reader.manifest) == ["a", "b"]
    assert peak[0] < 4 << 20
    keys: list[bytes] = []
    view = LevelDBTable.view
    monkeypatch.setattr(LevelDBTable, "view", lambda table, key: keys.append(key) or view(table, key))
    with TensorSlicesReader(path) as reader:
        assert keys == [b""]
        reader.read("b")
    assert len(keys) == 2


def test_too_large_for_a_message(tmp_path: Path) -> None:
    specs = [TensorSpec("w", (1 << 29,), "float32"), TensorSpec("i", (1 << 28,), "int32"), TensorSpec("", (), "int8")]
    with pytest.raises(FormatError) as caught:
        TensorSlicesWriter(str(tmp_path / "m"), specs)
    assert all(part in str(caught.value) for part in ("`w` can take", "`i` can take", "`` is empty"))
    assert list(tmp_path.iterdir()) == []


def test_closed_reader(tmp_path: Path) -> None:
    with TensorSlicesReader(save(tmp_path / "m", some_tensors())) as reader:
        pass
    with pytest.raises(OptionError, match="closed"):
        reader.read("global_step")
    assert not any(str(tmp_path) in name for name in open_files())


# Hostile files


def test_a_later_version(tmp_path: Path) -> None:
    meta = bytes_field(1, bytes_field(2, varint_field(1, 9) + varint_field(2, 2)))
    (tmp_path / "m").write_bytes(encode_table([(b"", meta)]))
    with pytest.raises(FormatError, match="later reader"):
        TensorSlicesReader(str(tmp_path / "m"))


@pytest.mark.parametrize(
    "items",
    [
        [],
        [(b"", b"")],
        [(b"", b"\x08\x01")],
        [(b"", bytes_field(1, bytes_field(1, bytes_field(1, b"a"))))],  # no dtype
        [(b"", bytes_field(1, bytes_field(1, b"\x0a\x01\xff\x18\x01")))],  # a name that is no text
        [(b"a", bytes_field(1, b""))],
    ],
)
def test_no_list_of_tensors(tmp_path: Path, items: list[tuple[bytes, bytes]]) -> None:
    (tmp_path / "m").write_bytes(encode_table(items))
    with pytest.raises(FormatError, match=re.escape(str(tmp_path / "m"))):
        TensorSlicesReader(str(tmp_path / "m"))


@pytest.mark.parametrize(
    "shape", [(1 << 40,), (1 << 20, 1 << 20), (1 << 62, 4), (30_000_000,), (0, 1 << 62), (1,) * 64]
)
def test_a_shape_without_values(tmp_path: Path, shape: tuple[int, ...]) -> None:
    for n_pieces in (1, 2):
        bounds: list[Bounds] = [tuple((0, size) for size in shape)]
        if n_pieces == 2:
            bounds = [((0, 1), *bounds[0][1:]), ((1, shape[0]), *bounds[0][1:])]
        dims = b"".join(bytes_field(2, varint_field(1, size)) for size in shape)
        slices = b"".join(bytes_field(4, encode_extents(extents_of(bound, shape))) for bound in bounds)
        meta = bytes_field(1, bytes_field(1, bytes_field(1, b"w") + bytes_field(2, dims) + varint_field(3, 1) + slices))
        entries = {
            slice_key("w", extents_of(bound, shape)): bytes_field(2, bytes_field(1, b"w") + bytes_field(3, b""))
            for bound in bounds
        }
        (tmp_path / "m").write_bytes(encode_table(sorted({b"": meta, **entries}.items())))
        with peak_bytes() as peak, TensorSlicesReader(str(tmp_path / "m")) as reader:
            try:
                assert reader.read("w").shape == shape
            except FormatError as error:
                assert "`w`" in str(error)
        assert peak[0] < 32 << 20


def test_values_of_another_tensor(tmp_path: Path) -> None:
    tensors = {"c": random_array("float32", (6,))}
    (tmp_path / "m").write_bytes(compose({"c": cut((6,), (1,))}, tensors))
    with LevelDBTable(str(tmp_path / "m")) as table:
        entries = dict(table.items())
    key = slice_key("c", (Extent(0, FULL_EXTENT),))
    entries[key] = entries[key].replace(b"\x0a\x01c", b"\x0a\x01d")
    (tmp_path / "m").write_bytes(encode_table(sorted(entries.items())))
    with TensorSlicesReader(str(tmp_path / "m")) as reader, pytest.raises(FormatError, match="another tensor"):
        reader.read("c")


def test_every_changed_byte(tmp_path: Path) -> None:
    tensors = {"a": random_array("float32", (3,)), "b": random_array("int16", ())}
    content = Path(save(tmp_path / "whole", tensors)).read_bytes()
    for at in range(len(content)):
        for bit in (1, 0x80):
            (tmp_path / "m").write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
            try:
                with open_reader(tmp_path / "m") as reader:
                    loaded = {name: reader.read(name) for name in reader.manifest}
            except FormatError as error:
                assert str(error)
            else:  # the table's footer has bytes that mean nothing
                assert_same(loaded, tensors)


# TensorFlow


def tf_save(path: Path, tensors: Mapping[str, Any], **options: Any) -> str:
    """Have TensorFlow save variables; a value that is a pair is an array and the partitioner to cut it with."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default():
        for number, (name, value) in enumerate(tensors.items()):
            array, partitioner = value if isinstance(value, tuple) else (value, None)
            with v1.device(f"/cpu:{number % 2}" if options.get("sharded") else ""):
                if partitioner is None:
                    v1.get_variable(name, initializer=tf.constant(array), use_resource=False)
                else:
                    v1.get_variable(
                        name,
                        array.shape,
                        initializer=partially(array),
                        dtype=array.dtype,
                        partitioner=partitioner,
                        use_resource=False,
                    )
        saver = v1.train.Saver(write_version=v1.train.SaverDef.V1, **options)
        with v1.Session(config=v1.ConfigProto(device_count={"CPU": 2})) as session:
            session.run(v1.global_variables_initializer())
            saved: str = saver.save(session, str(path), write_meta_graph=False)
    return saved


def partially(array: np.ndarray) -> Callable[..., Any]:
    """An initializer that gives each partition of a variable its part of an array."""
    import tensorflow as tf

    def initialize(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        offsets = partition_info.var_offset
        return tf.constant(array[tuple(slice(at, at + size) for at, size in zip(offsets, shape, strict=True))])

    return initialize


TF_WRITES = [
    *("bool", "uint8", "int8", "uint16", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
]
TF_READS = ["bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"]


@pytest.mark.tf
def test_the_bytes_are_those_of_tensorflow(tmp_path: Path) -> None:
    shapes = {"a": (2, 3, 5), "b": (7,), "c": (), "d": (0, 3), "e": (1, 70_000)}
    tensors = {
        # TensorFlow makes signalling NaNs of complex numbers quiet before it saves them.
        f"{dtype}/{key}": np.nan_to_num(array) if dtype.startswith("complex") else array
        for dtype in sorted(TF_WRITES)
        for key, shape in shapes.items()
        for array in [random_array(dtype, shape)]
    }
    theirs = Path(tf_save(tmp_path / "theirs", tensors))
    ours = Path(save(tmp_path / "ours", tensors))
    assert_same(load(theirs), tensors)
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.tf
def test_tensorflow_reads_ours(tmp_path: Path) -> None:
    import tensorflow as tf

    tensors = {f"{dtype}/w": random_array(dtype, (300, 400)) for dtype in TF_READS} | some_tensors()
    path = save(tmp_path / "m", tensors, metadata={"resport": "{}"})
    theirs = tf.train.load_checkpoint(path)
    assert set(theirs.get_variable_to_shape_map()) == set(tensors)
    for name, array in tensors.items():
        assert_same_bits(np.asarray(theirs.get_tensor(name)), array)


@pytest.mark.tf
def test_strings_are_read(tmp_path: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable("labels", initializer=tf.constant([[b"a", b"\xff\0"], [b"", b"long" * 99]]), use_resource=False)
        session.run(v1.global_variables_initializer())
        path = v1.train.Saver(write_version=v1.train.SaverDef.V1).save(session, str(tmp_path / "m"))
    with open_reader(path) as reader:
        assert reader.manifest["labels"] == TensorSpec("labels", (2, 2), "string")
        assert reader.read("labels").tolist() == [[b"a", b"\xff\0"], [b"", b"long" * 99]]


@pytest.mark.tf
def test_restore_into_a_slim_graph(tmp_path: Path) -> None:
    import tensorflow as tf

    from resport.architectures.slim_compat import import_slim

    slim = import_slim()
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        images = v1.placeholder("float32", (1, 8, 8, 3))
        with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params={"is_training": False}):
            slim.conv2d(slim.conv2d(images, 4, 3, scope="conv1"), 5, 1, scope="conv2")
        variables = v1.global_variables()
        tensors = {v.op.name: random_array("float32", tuple(v.shape), 3) for v in variables}
        path = save(tmp_path / "m", tensors)
        with v1.Session() as session:
            v1.train.Saver().restore(session, path)
            for variable, value in zip(variables, session.run(variables), strict=True):
                assert_same_bits(value, tensors[variable.op.name])


@pytest.mark.tf
@pytest.mark.parametrize("sharded", [False, True])
def test_partitioned_variables(tmp_path: Path, sharded: bool) -> None:
    import tensorflow as tf

    cutters = {
        "rows": tf.compat.v1.fixed_size_partitioner(3, axis=0),
        "columns": tf.compat.v1.fixed_size_partitioner(5, axis=1),
    }
    rng = np.random.default_rng(0)
    whole = {f"net/{name}": rng.normal(size=(7, 11, 2)).astype("float32") for name in (*cutters, "whole", "other")}
    parts = {name: (array, cutters.get(name[4:])) for name, array in whole.items()}
    path = tf_save(tmp_path / "m", parts, sharded=sharded)
    assert path.endswith("m-?????-of-00002" if sharded else "m")
    for given in [path, str(tmp_path / "m")]:
        with open_reader(given) as reader:
            assert len(reader.files) == (2 if sharded else 1)
            assert_same({name: reader.read(name) for name in reader.manifest}, whole)
