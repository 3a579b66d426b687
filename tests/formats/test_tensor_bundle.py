"""V2 checkpoints: the contract of all formats, TensorFlow reading ours and writing for us, and damage of every kind."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cramjam
import google_crc32c
import numpy as np
import pytest

from resport.dtypes import BY_TENSORFLOW, OPAQUE, to_numpy
from resport.errors import ChecksumError, FormatError, OptionError, SourceNotFoundError
from resport.formats import tensor_bundle
from resport.formats.bundle_entry import BundleEntry, encode_entry, parse_entry
from resport.formats.bundle_writer import TensorBundleWriter, lay_out
from resport.formats.crc32c import extend_crc32c
from resport.formats.leveldb_table import LevelDBTable, mask_crc32c
from resport.formats.leveldb_writer import encode_table
from resport.formats.protobuf import bytes_field, fixed32_field, varint_field
from resport.formats.tensor_bundle import TensorBundleReader
from resport.formats.tensor_slice import Extent, slice_key
from resport.tensors import TensorSpec
from tests.contracts import FormatContract, assert_same_bits, random_array, special_array, specs_of

Tensors = dict[str, np.ndarray]


def save(prefix: str | Path, tensors: Tensors, dtypes: dict[str, str] | None = None, **options: Any) -> str:
    with TensorBundleWriter(str(prefix), specs_of(tensors, dtypes), **options) as writer:
        for name, array in tensors.items():
            writer.write(name, array)
    return str(prefix)


def load(prefix: str | Path, **options: Any) -> Tensors:
    with TensorBundleReader(str(prefix), **options) as reader:
        found = {name: reader.read(name) for name in reader.manifest}
        for name, array in found.items():
            if array.dtype != object:
                for pieces in (reader.pieces(name), reader.unchecked_pieces(name)):
                    assert b"".join(map(bytes, pieces)) == array.tobytes(), name
        return found


def assert_same(actual: Tensors, expected: Tensors) -> None:
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert_same_bits(actual[name], array)


def index_items(prefix: str) -> dict[bytes, bytes]:
    with LevelDBTable(f"{prefix}.index") as table:
        return dict(table.items())


def write_index(prefix: str, items: dict[bytes, bytes]) -> None:
    Path(f"{prefix}.index").write_bytes(encode_table(sorted(items.items())))


def some_tensors(seed: int = 0) -> Tensors:
    return {
        "conv1/weights": random_array("float32", (3, 3, 2, 4), seed),
        "conv1/biases": random_array("float32", (4,), seed + 1),
        "global_step": random_array("int64", (), seed),
        "empty": random_array("float32", (0, 3), seed),
    }


class TestTensorBundle(FormatContract):
    reader, writer, filename = TensorBundleReader, TensorBundleWriter, "model.ckpt-7"
    keeps_order = False
    has_checksums = True


# Layout


def test_golden_bytes(tmp_path: Path) -> None:
    """Two tensors, whose files are written down here byte by byte."""
    prefix = save(tmp_path / "m", {"b": np.array([[1.0, 2.0]], "float32"), "a": np.array(3, "int64")})
    data = b"\x03" + bytes(7) + b"\x00\x00\x80\x3f\x00\x00\x00\x40"
    assert Path(f"{prefix}.data-00000-of-00001").read_bytes() == data

    def crc(part: bytes) -> str:
        return mask_crc32c(google_crc32c.value(part)).to_bytes(4, "little").hex()

    header = "08011a020801"
    a = "0809" + "1200" + "2808" + "35" + crc(data[:8])
    b = "0801" + "1208" + "12020801" + "12020802" + "2008" + "2808" + "35" + crc(data[8:])
    entries = "000006" + header + "00010b" + "61" + a + "000115" + "62" + b
    content = bytes.fromhex(entries + "00000000" + "01000000")
    index = Path(f"{prefix}.index").read_bytes()
    assert index[: len(content)] == content
    assert len(index) == len(content) + 5 + (8 + 5) + (14 + 5) + 48


def test_manifest_is_sorted_by_bytes(tmp_path: Path) -> None:
    names = ["b", "a/z", "a", "Z", "ä", "a\0b", "\U0001f600", "\uffee"]
    prefix = save(tmp_path / "m", {name: np.float32(i) * np.ones(1, "float32") for i, name in enumerate(names)})
    with TensorBundleReader(prefix) as reader:
        assert list(reader.manifest) == ["Z", "a", "a\0b", "a/z", "b", "ä", "\uffee", "\U0001f600"]
        assert {name: reader.read(name)[0] for name in names} == {name: i for i, name in enumerate(names)}


@pytest.mark.parametrize("n_shards", [1, 2, 3, 7])
def test_shards(tmp_path: Path, n_shards: int) -> None:
    tensors = {f"layer_{i}": random_array("float32", (10 + i,), i) for i in range(20)}
    prefix = save(tmp_path / "m", tensors, n_shards=n_shards, metadata={"a": "b"})
    assert_same(load(prefix), tensors)
    with TensorBundleReader(prefix) as reader:
        assert [Path(shard).name for shard in reader.shards] == [
            f"m.data-{i:05d}-of-{n_shards:05d}" for i in range(n_shards)
        ]
        assert reader.files == (f"{prefix}.index", *reader.shards)
        assert reader.metadata == {"a": "b"}
    sizes = [Path(shard).stat().st_size for shard in reader.shards]
    assert sum(sizes) == sum(array.nbytes for array in tensors.values())
    assert max(sizes) - min(sizes) <= 2 * 4 * 29


def test_layout_is_by_name_and_leaves_no_gap() -> None:
    specs = [TensorSpec("b", (3,), "float32"), TensorSpec("a", (2,), "uint8"), TensorSpec("c", (), "float64")]
    places = {name: (e.shard, e.offset, e.size_bytes) for name, e in lay_out(specs, 2).items()}
    assert list(places.items()) == [("a", (0, 0, 2)), ("b", (0, 2, 12)), ("c", (1, 0, 8))]
    assert lay_out([], 3) == {}
    assert {e.shard for e in lay_out([TensorSpec("z", (0,), "int8")], 3).values()} == {0}


@pytest.mark.parametrize("n_shards", [0, -1, 100_000])
def test_impossible_number_of_shards(tmp_path: Path, n_shards: int) -> None:
    with pytest.raises(OptionError, match="number of shards"):
        TensorBundleWriter(str(tmp_path / "m"), [], n_shards=n_shards)


@pytest.mark.parametrize("name", ["", "\udc80"])
def test_names_that_are_no_keys(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match=r"the name .* is (empty|not UTF-8)"):
        TensorBundleWriter(str(tmp_path / "m"), [TensorSpec(name, (), "float32")])
    assert list(tmp_path.iterdir()) == []


def test_folder_is_no_prefix(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="folder"):
        TensorBundleWriter(f"{tmp_path}/", [])


def test_state_file_is_written_on_request(tmp_path: Path) -> None:
    save(tmp_path / "m-1", some_tensors())
    assert not (tmp_path / "checkpoint").exists()
    save(tmp_path / "m-2", some_tensors(), write_state=True)
    assert 'model_checkpoint_path: "m-2"' in (tmp_path / "checkpoint").read_text()


# Replacing


@pytest.mark.parametrize(("before", "after"), [(1, 1), (3, 1), (1, 3), (3, 2)])
def test_replacing_leaves_no_old_shard(tmp_path: Path, before: int, after: int) -> None:
    save(tmp_path / "m", some_tensors(1), n_shards=before)
    neighbours = ["m-2.data-00000-of-00009", "m.data-00000-of-00009.bak", "xm.data-00000-of-00009"]
    for name in neighbours:
        (tmp_path / name).write_bytes(b"not ours")
    save(tmp_path / "m", some_tensors(2), n_shards=after)
    assert_same(load(tmp_path / "m"), some_tensors(2))
    ours = ["m.index", *(f"m.data-{i:05d}-of-{after:05d}" for i in range(after))]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(ours + neighbours)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 1), (1, 2), (3, 3)])
def test_a_stop_at_any_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int) -> None:
    """Wherever a commit stops, the path holds the old checkpoint or the new one, never a mixture."""
    old, new = some_tensors(1), some_tensors(2)
    replace, seen = Path.replace, []
    for stop in range(after + 2):
        calls = iter(range(99))

        def replace_or_stop(self: Path, target: Path | str, stop: int = stop, calls: Iterator[int] = calls) -> Path:
            if next(calls) == stop:
                raise KeyboardInterrupt
            return replace(self, target)

        folder = tmp_path / str(stop)
        folder.mkdir()
        prefix = save(folder / "m", old, n_shards=before)
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(Path, "replace", replace_or_stop)
            save(prefix, new, n_shards=after)
        assert not list(folder.glob(".*.partial"))
        found = load(prefix)
        seen.append("new" if found["conv1/biases"].tobytes() == new["conv1/biases"].tobytes() else "old")
        assert_same(found, new if seen[-1] == "new" else old)
        save(prefix, old, n_shards=before)
        assert len(list(folder.iterdir())) == before + 1
    # One rename makes the difference.
    assert (seen[0], seen[-1], "".join(seen).count("oldnew")) == ("old", "new", 1)


def test_permissions_are_kept(tmp_path: Path) -> None:
    prefix = save(tmp_path / "m", some_tensors(1))
    for file in tmp_path.iterdir():
        file.chmod(0o640)
    save(prefix, some_tensors(2))
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o640}


# Reading


def test_missing_index(tmp_path: Path) -> None:
    save(tmp_path / "model.ckpt-88000", some_tensors())
    with pytest.raises(SourceNotFoundError, match=r"model\.ckpt\.index` is missing") as caught:
        TensorBundleReader(str(tmp_path / "model.ckpt"))
    assert "`model.ckpt-88000`" in str(caught.value.hint)


def test_missing_shard_can_be_listed_and_is_named(tmp_path: Path) -> None:
    tensors = {f"layer_{i}": random_array("float32", (10,), i) for i in range(4)}
    prefix = save(tmp_path / "m", tensors, n_shards=2)
    Path(f"{prefix}.data-00001-of-00002").unlink()
    with TensorBundleReader(prefix) as reader:
        assert list(reader.manifest) == list(tensors)
        assert_same_bits(reader.read("layer_0"), tensors["layer_0"])
        with pytest.raises(FormatError, match=r"m\.data-00001-of-00002` is missing, which holds `layer_3`"):
            reader.read("layer_3")


def test_closed_reader(tmp_path: Path) -> None:
    reader = TensorBundleReader(save(tmp_path / "m", some_tensors()))
    reader.close()
    with pytest.raises(OptionError, match="is closed"):
        reader.read("conv1/biases")


def test_changed_value_is_named(tmp_path: Path) -> None:
    tensors = {"a": random_array("float32", (4,)), "conv1/weights": random_array("float32", (5,))}
    prefix = save(tmp_path / "m", tensors)
    path = Path(f"{prefix}.data-00000-of-00001")
    data = bytearray(path.read_bytes())
    data[20] ^= 0x10
    path.write_bytes(data)
    with TensorBundleReader(prefix) as reader:
        assert_same_bits(reader.read("a"), tensors["a"])
        with pytest.raises(ChecksumError, match=r"checksum of `conv1/weights` in .* is wrong, bytes 16-36") as caught:
            reader.read("conv1/weights")
        with pytest.raises(ChecksumError, match="checksum of `conv1/weights`"):
            list(reader.pieces("conv1/weights"))
        # Whoever asks for it works out the checksum, and has it held against the index.
        (piece,) = map(bytes, reader.unchecked_pieces("conv1/weights"))
        with pytest.raises(ChecksumError, match="checksum of `conv1/weights`"):
            reader.check("conv1/weights", extend_crc32c(0, piece))
        reader.check("conv1/weights", extend_crc32c(0, tensors["conv1/weights"].tobytes()))
    assert caught.value.offset == 16
    assert caught.value.path == str(path)
    assert str(caught.value.expected).startswith("0x") and caught.value.expected != caught.value.got
    assert load(prefix, verify_checksums=False)["conv1/weights"].tobytes() == bytes(data[16:])


def test_threads_share_a_reader(tmp_path: Path) -> None:
    tensors = {f"layer_{i}": random_array("float32", (3000 + i,), i) for i in range(40)}
    prefix = save(tmp_path / "m", tensors, n_shards=4)
    with TensorBundleReader(prefix) as reader, ThreadPoolExecutor(8) as pool:
        barrier = threading.Barrier(8)
        starts = [pool.submit(barrier.wait) for _ in range(8)]
        assert all(start.result(10) is not None for start in starts)
        names = list(tensors) * 5
        for name, array in zip(names, pool.map(reader.read, names), strict=True):
            assert_same_bits(array, tensors[name])


def test_snappy_index(tmp_path: Path) -> None:
    """An index whose blocks were compressed by another program, as some TensorFlow builds do."""
    tensors = {f"block/unit_{i}/conv/weights": random_array("float32", (2, i), i) for i in range(60)}
    prefix = save(tmp_path / "m", tensors)
    index = Path(f"{prefix}.index").read_bytes()
    body_end = index.index(b"\0\0\0\0\1\0\0\0\0\xc0\xf2\xa1\xb0")  # the empty block of meta data
    raw = index[: body_end - 5]
    out = bytearray()

    def append(block: bytes) -> bytes:
        packed = bytes(cramjam.snappy.compress_raw(block))
        handle = tensor_bundle_varint(len(out)) + tensor_bundle_varint(len(packed))
        masked = mask_crc32c(google_crc32c.value(packed + b"\x01"))
        out.extend(packed + b"\x01" + masked.to_bytes(4, "little"))
        return handle

    handle = append(raw)
    meta = append(b"\0\0\0\0\1\0\0\0")
    top = append(b"\0\1" + bytes([len(handle)]) + b"c" + handle + b"\0\0\0\0\1\0\0\0")
    assert len(out) < len(raw)
    out += (meta + top).ljust(40, b"\0") + index[-8:]
    Path(f"{prefix}.index").write_bytes(out)
    assert_same(load(prefix), tensors)


def tensor_bundle_varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + tensor_bundle_varint(value >> 7)


def test_strings_by_hand(tmp_path: Path) -> None:
    strings = [b"", b"abc", b"\xff\x00", b"x" * 300]
    lengths = b"\x00\x03\x02\xac\x02"
    crc = google_crc32c.value(b"".join(len(s).to_bytes(4, "little") for s in strings))
    data = lengths + mask_crc32c(crc).to_bytes(4, "little") + b"".join(strings)
    total = google_crc32c.extend(crc, data[len(lengths) :])
    prefix = save(tmp_path / "m", {})
    entry = BundleEntry(TensorSpec("s", (2, 2), "string"), 0, 0, len(data), mask_crc32c(total))
    write_index(prefix, index_items(prefix) | {b"s": encode_entry(entry)})
    path = Path(f"{prefix}.data-00000-of-00001")
    path.write_bytes(data)
    array = load(prefix)["s"]
    assert array.shape == (2, 2) and array.dtype == object and array.base is None
    assert array.tolist() == [strings[:2], strings[2:]]
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :])
        with pytest.raises(FormatError) as caught:
            load(prefix)
        if position in range(len(lengths), len(lengths) + 4):
            assert "checksum of the lengths" in str(caught.value)
    path.write_bytes(data)
    for shape, size_bytes in [((2**40,), len(data)), ((3,), len(data)), ((2, 2), len(data) - 1), ((5,), len(data))]:
        changed = entry._replace(spec=TensorSpec("s", shape, "string"), size_bytes=size_bytes)
        write_index(prefix, index_items(prefix) | {b"s": encode_entry(changed)})
        with pytest.raises(FormatError, match="string"):
            load(prefix)


@pytest.mark.parametrize("dtype", sorted(OPAQUE - {"string"}))
def test_handles_are_listed_and_not_read(tmp_path: Path, dtype: str) -> None:
    prefix = save(tmp_path / "m", some_tensors())
    entry = BundleEntry(TensorSpec("handle", (), dtype), 0, 0, 8, 5)
    write_index(prefix, index_items(prefix) | {b"handle": encode_entry(entry)})
    with TensorBundleReader(prefix) as reader:
        assert reader.manifest["handle"].dtype == dtype
        with pytest.raises(FormatError, match=f"`handle` .* is a {dtype}"):
            reader.read("handle")


# Hostile indexes

SHAPE = bytes_field(2, varint_field(1, 4))


def entry_with(**fields: int | bytes) -> bytes:
    """An entry of float32 [4] at the beginning, with fields changed."""
    values = {"dtype": 1, "shape": SHAPE, "shard": 0, "offset": 0, "size": 16, "crc": 0} | fields
    numbers = {"dtype": 1, "shape": 2, "shard": 3, "offset": 4, "size": 5, "crc": 6, "slices": 7}
    return b"".join(
        bytes_field(numbers[key], value)
        if isinstance(value, bytes)
        else fixed32_field(6, value)
        if key == "crc"
        else varint_field(numbers[key], value)
        for key, value in values.items()
    )


ONE_SLICE = bytes_field(1, varint_field(2, 4))
HOSTILE_ENTRIES = {
    "unknown dtype": (entry_with(dtype=99), "dtype is unknown"),
    "no dtype": (entry_with(dtype=0), "dtype is unknown"),
    "size": (entry_with(size=12), "not that of its shape"),
    "huge shape": (entry_with(shape=bytes_field(2, varint_field(1, 2**40)) * 20), "not that of its shape"),
    "huge data": (entry_with(shape=bytes_field(2, varint_field(1, 2**40)), size=2**42), "too short for `v`"),
    "negative size": (entry_with(size=-16), "negative"),
    "negative offset": (entry_with(offset=-1), "negative"),
    "offset": (entry_with(offset=2**62), "too short for `v`"),
    "negative shape": (entry_with(shape=bytes_field(2, varint_field(1, -1))), "unknown"),
    "unknown rank": (entry_with(shape=varint_field(3, 1)), "rank is unknown"),
    "too many axes": (entry_with(shape=bytes_field(2, varint_field(1, 1)) * 100, size=4), "cannot be"),
    "empty but endless": (
        entry_with(shape=b"\x12\x00" + bytes_field(2, varint_field(1, 2**62)) * 3, size=0),
        "cannot be",
    ),
    "shard": (entry_with(shard=1), "shard does not exist"),
    "negative shard": (entry_with(shard=-1), "negative"),
    "not a message": (b"\xff\xff", "end within"),
    "shape as number": (varint_field(2, 5), "wrong type"),
    "dtype as bytes": (bytes_field(1, b"x"), "wrong type"),
    "slice without data": (entry_with(slices=ONE_SLICE), "does not have one of its slices"),
    "slice of another rank": (entry_with(slices=ONE_SLICE * 2), "another rank"),
    "slice beyond": (entry_with(slices=bytes_field(1, varint_field(1, 1) + varint_field(2, 4))), "beyond its tensor"),
}


@pytest.mark.parametrize("attack", HOSTILE_ENTRIES)
def test_hostile_entry(tmp_path: Path, attack: str) -> None:
    value, message = HOSTILE_ENTRIES[attack]
    prefix = save(tmp_path / "m", some_tensors())
    write_index(prefix, index_items(prefix) | {b"v": value})
    with pytest.raises(FormatError, match=message) as caught:
        load(prefix, verify_checksums=False)
    assert caught.value.path.startswith(prefix)
    assert "`v`" in str(caught.value)


def test_the_entry_that_attacks_change_is_sound(tmp_path: Path) -> None:
    prefix = save(tmp_path / "m", some_tensors())
    write_index(prefix, index_items(prefix) | {b"v": entry_with()})
    assert load(prefix, verify_checksums=False)["v"].shape == (4,)


HOSTILE_HEADERS = {
    "big-endian": (varint_field(1, 1) + varint_field(2, 1), "big-endian"),
    "no shards": (b"", "number of shards"),
    "many shards": (varint_field(1, 2**31 - 1), "number of shards"),
    "negative shards": (varint_field(1, -1), "number of shards"),
    "later version": (varint_field(1, 1) + bytes_field(3, varint_field(2, 2)), "later reader"),
    "cut": (b"\x08", "end within"),
    "metadata as number": (varint_field(1, 1) + varint_field(15_000, 3), "wrong type"),
    "metadata not UTF-8": (varint_field(1, 1) + bytes_field(15_000, bytes_field(1, b"\xff")), "not UTF-8"),
}


@pytest.mark.parametrize("attack", HOSTILE_HEADERS)
def test_hostile_header(tmp_path: Path, attack: str) -> None:
    value, message = HOSTILE_HEADERS[attack]
    prefix = save(tmp_path / "m", some_tensors())
    write_index(prefix, index_items(prefix) | {b"": value})
    with pytest.raises(FormatError, match=message) as caught:
        TensorBundleReader(prefix)
    assert caught.value.path == f"{prefix}.index"


def test_index_without_header(tmp_path: Path) -> None:
    prefix = save(tmp_path / "m", some_tensors())
    items = index_items(prefix)
    del items[b""]
    write_index(prefix, items)
    with pytest.raises(FormatError, match="has no header"):
        TensorBundleReader(prefix)


@pytest.mark.parametrize("value", [entry_with(), entry_with(slices=ONE_SLICE)])
def test_name_that_is_not_utf8(tmp_path: Path, value: bytes) -> None:
    prefix = save(tmp_path / "m", some_tensors())
    write_index(prefix, index_items(prefix) | {b"\xff\x1b[2J": value})
    with pytest.raises(FormatError, match="not UTF-8") as caught:
        TensorBundleReader(prefix)
    assert "\x1b" not in str(caught.value)


def test_huge_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_bundle, "BUNDLE_MAX_INDEX_BYTES", 100)
    prefix = save(tmp_path / "m", some_tensors())
    with pytest.raises(FormatError, match="too large for an index"):
        TensorBundleReader(prefix)


def test_data_file_that_is_none(tmp_path: Path) -> None:
    """A FIFO in the place of a data file would block whoever opens it."""
    prefix = save(tmp_path / "m", some_tensors())
    path = Path(f"{prefix}.data-00000-of-00001")
    path.unlink()
    os.mkfifo(path)
    with TensorBundleReader(prefix) as reader, pytest.raises(FormatError, match="missing"):
        reader.read("conv1/biases")


def test_every_cut_and_every_changed_byte(tmp_path: Path) -> None:
    tensors = some_tensors()
    prefix = save(tmp_path / "m", tensors, metadata={"a": "b"})
    for suffix in (".index", ".data-00000-of-00001"):
        path = Path(prefix + suffix)
        whole = path.read_bytes()
        for size in range(len(whole)):
            path.write_bytes(whole[:size])
            with pytest.raises(FormatError):
                load(prefix)
        n_errors = 0
        for position in range(len(whole)):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x15]) + whole[position + 1 :])
            try:
                assert_same(load(prefix), tensors)
            except FormatError:
                n_errors += 1
        assert n_errors >= len(whole) - 53  # a block that is not read, and the padding of the footer
        path.write_bytes(whole)


def test_entries_survive_any_bytes() -> None:
    """The checksums of the index are passed by: the parser alone meets every byte."""
    data = entry_with(shard=3, offset=77, crc=9, slices=ONE_SLICE)
    for position in range(len(data)):
        for byte in range(256):
            try:
                parse_entry("v", data[:position] + bytes([byte]) + data[position + 1 :])
            except FormatError:
                continue


# Partitioned variables, made by hand


def save_slices(folder: Path, shape: tuple[int, ...], slices: dict[tuple[Extent, ...], np.ndarray]) -> str:
    """A checkpoint with one partitioned float32 tensor ``p``, each slice in a data file of its own."""
    prefix = str(folder / "m")
    items = {b"": varint_field(1, max(1, len(slices)))}
    message = b""
    for shard, (extents, array) in enumerate(slices.items()):
        raw = array.tobytes()
        Path(tensor_bundle.shard_path(prefix, shard, len(slices))).write_bytes(raw)
        spec = TensorSpec("", array.shape, "float32")
        entry = BundleEntry(spec, shard, 0, len(raw), mask_crc32c(google_crc32c.value(raw)))
        items[slice_key("p", extents)] = encode_entry(entry)
        message += bytes_field(
            7,
            b"".join(
                bytes_field(
                    1, varint_field(1, e.start) + (b"" if e.length < 0 else b"\x10" + tensor_bundle_varint(e.length))
                )
                for e in extents
            ),
        )
    items[b"p"] = encode_entry(BundleEntry(TensorSpec("p", shape, "float32"))) + message
    write_index(prefix, items)
    return prefix


def cut(whole: np.ndarray, *extents: tuple[Extent, ...]) -> dict[tuple[Extent, ...], np.ndarray]:
    return {
        slices: whole[tuple(slice(e.start, e.start + e.length if e.length >= 0 else None) for e in slices)].copy()
        for slices in extents
    }


def test_partitioned_by_hand(tmp_path: Path) -> None:
    whole = random_array("float32", (4, 3))
    parts = [(Extent(a, 2), Extent(b, n)) for a in (0, 2) for b, n in ((0, 1), (1, 2))]
    prefix = save_slices(tmp_path, (4, 3), cut(whole, *parts))
    assert_same(load(prefix), {"p": whole})
    with TensorBundleReader(prefix) as reader:
        assert list(reader.manifest.values()) == [TensorSpec("p", (4, 3), "float32")]
        with pytest.raises(KeyError):
            reader.read(slice_key("p", parts[0]).decode("utf-8", "surrogateescape"))


def test_full_axes(tmp_path: Path) -> None:
    whole = random_array("float32", (4, 3))
    parts = [(Extent(0, 1), Extent(0, -1)), (Extent(1, 3), Extent(0, -1))]
    assert_same(load(save_slices(tmp_path, (4, 3), cut(whole, *parts))), {"p": whole})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([(Extent(0, 2),), (Extent(3, 1),)], "make up"),
        ([(Extent(0, 3),), (Extent(2, 2),)], "make up"),
        ([(Extent(0, 2),), (Extent(1, 2),)], "overlap"),
    ],
)
def test_slices_that_do_not_make_the_tensor(tmp_path: Path, parts: list[tuple[Extent, ...]], message: str) -> None:
    prefix = save_slices(tmp_path, (4,), cut(random_array("float32", (4,)), *parts))
    with pytest.raises(FormatError, match=message):
        TensorBundleReader(prefix)


def test_slice_of_another_shape(tmp_path: Path) -> None:
    slices = cut(random_array("float32", (4,)), (Extent(0, 2),), (Extent(2, 2),))
    slices[(Extent(2, 2),)] = random_array("float32", (1, 2))
    with pytest.raises(FormatError, match="does not fit"):
        TensorBundleReader(save_slices(tmp_path, (4,), slices))


def test_slice_without_its_file_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that add up in the index are not believed before the files have been looked at."""
    prefix = save_slices(tmp_path, (4,), cut(random_array("float32", (4,)), (Extent(0, 2),), (Extent(2, 2),)))
    Path(tensor_bundle.shard_path(prefix, 1, 2)).unlink()
    monkeypatch.setattr(tensor_bundle, "empty_array", lambda *_: pytest.fail("memory was taken"))
    with TensorBundleReader(prefix) as reader, pytest.raises(FormatError, match="00001-of-00002` is missing"):
        reader.read("p")


# TensorFlow


def save_with_tensorflow(prefix: str | Path, tensors: dict[str, Any], slices: list[str] | None = None) -> str:
    import tensorflow as tf

    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=slices or [""] * len(tensors),
        tensors=list(tensors.values()),
    )
    return str(prefix)


def tensorflow_tensors() -> dict[str, Any]:
    """A tensor of each dtype that TensorFlow can hold and resport writes, with random bits."""
    import tensorflow as tf

    tensors = {}
    for number, dtype in BY_TENSORFLOW.items():
        if dtype.name in OPAQUE:
            continue
        try:
            kind = tf.dtypes.as_dtype(number)
        except TypeError:  # a number that this TensorFlow does not have yet
            continue
        array = random_array(dtype.name, (2, 3))
        if kind.is_quantized:
            tensors[dtype.name] = tf.bitcast(tf.constant(array), kind)
        else:
            tensors[dtype.name] = tf.constant(array, dtype=kind)
    return tensors


@pytest.mark.tf
def test_every_dtype_of_tensorflow(tmp_path: Path) -> None:
    """Both ways, and with the same bytes: values, index, and the data file."""
    tensors = tensorflow_tensors()
    assert len(tensors) >= 25
    # TensorFlow keeps the order that it is given; ours is always that of the names.
    prefix = save_with_tensorflow(tmp_path / "theirs", dict(sorted(tensors.items())))
    arrays = {name: random_array(name, (2, 3)).view(to_numpy(name)) for name in tensors}
    with TensorBundleReader(prefix) as reader:
        for name, spec in reader.manifest.items():
            assert spec == TensorSpec(name, (2, 3), name)
            assert_same_bits(reader.read(name), arrays[name])
    ours = save(tmp_path / "ours", arrays, {name: name for name in arrays})
    for suffix in (".index", ".data-00000-of-00001"):
        assert Path(ours + suffix).read_bytes() == Path(prefix + suffix).read_bytes()


@pytest.mark.tf
def test_special_values_through_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    arrays = {name: special_array(name) for name in ("float16", "bfloat16", "float32", "float64", "complex64")}
    prefix = save_with_tensorflow(tmp_path / "theirs", {name: tf.constant(array) for name, array in arrays.items()})
    assert_same(load(prefix), arrays)
    reader = tf.train.load_checkpoint(save(tmp_path / "ours", arrays))
    for name, array in arrays.items():
        assert np.asarray(reader.get_tensor(name)).tobytes() == array.tobytes()


@pytest.mark.tf
@pytest.mark.parametrize("n_shards", [1, 3])
def test_tensorflow_reads_ours(tmp_path: Path, n_shards: int) -> None:
    """The metadata in the header is seen by nobody: names, values and Saver.restore are as without."""
    import tensorflow as tf

    tensors = some_tensors() | {"größe/重み": random_array("float64", (2, 2)), "a\0b": random_array("int32", (3,))}
    tensors["conv1/weights"] = np.random.default_rng(1).normal(size=(3, 3, 2, 4)).astype("float32")
    prefix = save(tmp_path / "m", tensors, n_shards=n_shards, metadata={"resport": "x" * 5000, "größe": "é"})
    assert tf.train.list_variables(prefix) == [(name, list(array.shape)) for name, array in sorted(tensors.items())]
    reader = tf.train.load_checkpoint(prefix)
    for name, array in tensors.items():
        assert np.asarray(reader.get_tensor(name)).tobytes() == array.tobytes()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        names = ["conv1/weights", "conv1/biases"]
        variables = {name: tf.compat.v1.get_variable(name, tensors[name].shape) for name in names}
        tf.compat.v1.train.Saver(variables).restore(session, prefix)
        for name in names:
            assert session.run(variables[name]).tobytes() == tensors[name].tobytes()


@pytest.mark.tf
def test_strings_of_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    strings = [[b"", b"abc"], [b"\xff\x00", b"x" * 70_000]]
    tensors = {
        "s": tf.constant(strings),
        "one": tf.constant(b"graph"),
        "none": tf.constant([], tf.string),
        "w": tf.constant(1.5),
    }
    found = load(save_with_tensorflow(tmp_path / "m", tensors))
    assert found["s"].tolist() == strings
    assert found["one"].shape == () and found["one"].item() == b"graph"
    assert found["none"].shape == (0,) and found["none"].dtype == object
    assert found["w"] == np.float32(1.5)


@pytest.mark.tf
@pytest.mark.parametrize("sharded", [False, True])
def test_partitioned_variables_of_tensorflow(tmp_path: Path, sharded: bool) -> None:
    import tensorflow as tf

    tf1 = tf.compat.v1
    rng = np.random.default_rng(5)
    whole = {
        "rows": rng.normal(size=(7, 5)).astype("float32"),
        "columns": rng.normal(size=(4, 7)).astype("float32"),
        "deep": rng.normal(size=(2, 3, 6, 2)).astype("float64"),
        "plain": rng.normal(size=(3,)).astype("float32"),
    }
    cuts = {"rows": (3, 0), "columns": (5, 1), "deep": (2, 2), "plain": (1, 0)}

    def part_of(array: np.ndarray) -> Any:
        def initializer(shape: list[int], dtype: Any, partition_info: Any) -> Any:
            starts = partition_info.var_offset
            return tf.constant(array[tuple(slice(start, start + n) for start, n in zip(starts, shape, strict=True))])

        return initializer

    with tf.Graph().as_default(), tf1.Session(config=tf1.ConfigProto(device_count={"CPU": 2})) as session:
        for number, (name, array) in enumerate(whole.items()):
            with tf1.device(f"/cpu:{number % 2}"):
                tf1.get_variable(
                    f"scope/{name}",
                    array.shape,
                    array.dtype,
                    initializer=part_of(array),
                    partitioner=tf1.fixed_size_partitioner(*cuts[name]),
                )
        session.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver(sharded=sharded).save(session, str(tmp_path / "m"))
    expected = {f"scope/{name}": array for name, array in whole.items()}
    with TensorBundleReader(prefix) as reader:
        assert len(reader.shards) == (2 if sharded else 1)
        assert set(reader.manifest.values()) == set(specs_of(expected))
    assert_same(load(prefix), expected)


@pytest.mark.tf
def test_slices_with_full_axes_of_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    whole = random_array("float32", (7, 5))
    prefix = str(tmp_path / "m")
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=["v", "v"],
        shape_and_slices=["7 5 0,3:-", "7 5 3,4:-"],
        tensors=[tf.constant(whole[:3]), tf.constant(whole[3:])],
    )
    assert_same(load(prefix), {"v": whole})
