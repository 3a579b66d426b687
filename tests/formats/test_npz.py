"""NpzReader and NpzWriter, against numpy and zipfile, and against files that neither would write."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from resport.conversion import inspect
from resport.dtypes import to_numpy
from resport.errors import ChecksumError, FormatError, OptionError, ResportError, SourceNotFoundError
from resport.formats import open_reader, zip_directory
from resport.formats.npy_header import encode_npy_header, npy_header_bytes, parse_npy_header
from resport.formats.npz import NpzReader, NpzWriter
from resport.formats.zip_directory import ZIP_STORED, ZipMember, encode_directory, encode_local
from resport.tensors import TensorSpec
from tests.contracts import FormatContract, assert_same_bits, peak_bytes, random_array, specs_of

Tensors = dict[str, np.ndarray]


class TestNpz(FormatContract):
    reader, writer, filename = NpzReader, NpzWriter, "model.npz"
    has_checksums = True

    def oracle_read(self, path: str) -> Tensors:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


def load(path: Path | str) -> Tensors:
    with NpzReader(path) as reader:
        return {name: reader.read(name) for name in reader.manifest}


def store(path: Path | str, tensors: Tensors, **options: Any) -> None:
    with NpzWriter(path, specs_of(tensors), **options) as writer:
        for name, array in tensors.items():
            writer.write(name, array)


def npy(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return file.getvalue()


def header_of(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    body = text.encode()
    return b"\x93NUMPY" + bytes(version) + len(body).to_bytes(2 if version == (1, 0) else 4, "little") + body


def some_tensors() -> Tensors:
    return {
        "conv0/W": random_array("float32", (3, 3, 2, 4), 1),
        "conv0/bn/mean/EMA": random_array("float32", (4,), 2),
        "linear/b": random_array("float64", (5,), 3),
        "step": random_array("int64", (), 4),
        "empty": random_array("float16", (0, 3), 5),
    }


# What numpy writes


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "deflated"])
def test_reads_what_numpy_writes(tmp_path: Path, save: Any) -> None:
    tensors = {f"{dtype}/x": random_array(dtype, (4, 3)) for dtype in ("bool", "uint8", "int16", "uint64", "complex64")}
    tensors |= some_tensors() | {"complex128": random_array("complex128", (2,))}
    save(tmp_path / "m.npz", **tensors)
    loaded = load(tmp_path / "m.npz")
    assert list(loaded) == list(tensors)
    for name, expected in tensors.items():
        assert_same_bits(loaded[name], expected)
    with open_reader(tmp_path / "m.npz") as reader:
        assert (type(reader), reader.note, reader.metadata) == (NpzReader, None, {})


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "deflated"])
@pytest.mark.parametrize("dtype", [">f4", ">i8", ">c16", ">u2", "<f4"])
def test_byte_and_memory_order(tmp_path: Path, save: Any, dtype: str) -> None:
    values = np.random.default_rng(7).normal(0, 1000, (2, 3, 4)).round(3).astype(dtype if "u" not in dtype else "<i8")
    values = values.astype(dtype)
    arrays = {"c": values, "f": np.asfortranarray(values), "vector": values[0, 0], "transposed": values.T}
    save(tmp_path / "m.npz", **arrays)
    loaded = load(tmp_path / "m.npz")
    for name, expected in arrays.items():
        little = np.ascontiguousarray(expected.astype(np.dtype(dtype).newbyteorder("<")))
        assert_same_bits(loaded[name], little)
        assert loaded[name].flags.c_contiguous and loaded[name].flags.writeable and loaded[name].base is None


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions_and_a_single_array(tmp_path: Path, version: tuple[int, int]) -> None:
    array = np.asfortranarray(random_array("float32", (3, 5)))
    (tmp_path / "conv1.npy").write_bytes(npy(array, version=version))
    with open_reader(tmp_path / "conv1.npy") as reader:
        assert_same_bits(reader.read("conv1"), np.ascontiguousarray(array))
        assert list(reader.manifest) == ["conv1"] and "name" in str(reader.note)
    (tmp_path / "conv1.npy").write_bytes(npy(array, version=version) + b"\0")
    with pytest.raises(FormatError, match=r"conv1\.npy"):
        open_reader(tmp_path / "conv1.npy")


def test_text_is_listed_and_read(tmp_path: Path) -> None:
    labels = np.array([["tench", "größe"], ["", "重み"]])
    np.savez(tmp_path / "m.npz", labels=labels, big=labels.astype(">U5"), ascii=np.array([b"ab", b"c"]))
    with NpzReader(tmp_path / "m.npz") as reader:
        assert reader.manifest["labels"] == TensorSpec("labels", (2, 2), "string")
        expected = [[text.encode() for text in row] for row in labels.tolist()]
        assert reader.read("labels").tolist() == reader.read("big").tolist() == expected
        assert reader.read("ascii").tolist() == [b"ab", b"c"]


@pytest.mark.parametrize("path", ["m.npz", "m.npy"])
def test_objects_are_refused_and_never_unpickled(tmp_path: Path, path: str) -> None:
    ran = tmp_path / "ran"

    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (ran,)

    evil = np.array([Touch()], object)
    if path == "m.npz":
        np.savez(tmp_path / path, good=np.ones(2), evil=evil)
    else:
        np.save(tmp_path / path, evil)
    with pytest.raises(FormatError, match=r"evil\.npy|m\.npy") as caught:
        open_reader(tmp_path / path)
    assert "Python objects" in str(caught.value) and "numpy.savez" in str(caught.value.hint)
    assert not ran.exists()


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2", "float8_e4m3fn", "int4"])
def test_dtypes_that_numpy_has_not_are_not_guessed(tmp_path: Path, dtype: str) -> None:
    np.savez(tmp_path / "m.npz", fine=np.ones(2), odd=np.ones(3).astype(getattr(ml_dtypes, dtype)))
    with pytest.raises(FormatError, match=r"`odd\.npy`.*without a dtype") as caught:
        NpzReader(tmp_path / "m.npz")
    assert "float32" in str(caught.value.hint)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, "M8[s]"),
        np.zeros(2, [("a", "<f4")]),
        np.zeros(2, "V7"),
        pytest.param(np.zeros(2, np.longdouble), id="longdouble"),
    ],
    ids=str,
)
def test_dtypes_that_weights_have_not(tmp_path: Path, array: np.ndarray) -> None:
    np.savez(tmp_path / "m.npz", odd=array)
    with pytest.raises(FormatError, match=r"odd\.npy"):
        NpzReader(tmp_path / "m.npz")


# Names


def test_output_numbers_are_cut_where_all_names_have_them(tmp_path: Path) -> None:
    arrays = {"conv0/W:0": random_array("float32", (2, 2)), "conv0/bn/mean/EMA:0": random_array("float32", (2,), 1)}
    np.savez(tmp_path / "m.npz", **arrays)
    with NpzReader(tmp_path / "m.npz") as reader:
        assert list(reader.manifest) == ["conv0/W", "conv0/bn/mean/EMA"]
        assert "`:0`" in str(reader.note)
        assert_same_bits(reader.read("conv0/W"), arrays["conv0/W:0"])
    assert inspect(tmp_path / "m.npz").roles == {"conv0/W": "weight", "conv0/bn/mean/EMA": "statistic"}


@pytest.mark.parametrize("names", [["a:0", "b"], ["a:0", "a"], ["a:1"], [":0"], ["a:0", "b:1"]])
def test_output_numbers_are_kept_otherwise(tmp_path: Path, names: list[str]) -> None:
    np.savez(tmp_path / "m.npz", **{name: np.ones(2) for name in names})
    assert list(load(tmp_path / "m.npz")) == names


def test_our_own_names_are_kept_as_they_are(tmp_path: Path) -> None:
    store(tmp_path / "m.npz", {"a:0": np.ones(2), "b:0": np.ones(2)})
    assert list(load(tmp_path / "m.npz")) == ["a:0", "b:0"]


def test_suffixes_and_members_that_are_no_arrays(tmp_path: Path) -> None:
    (tmp_path / "m.npz").write_bytes(
        archive(
            {
                "a.npy": npy(np.arange(3)),
                "b.npy.npy": npy(np.arange(4)),
                "README": b"text",
                "../up.npy": npy(np.ones(1)),
            }
        )
    )
    with NpzReader(tmp_path / "m.npz") as reader:
        assert list(reader.manifest) == ["a", "b.npy", "../up"]
        assert "`README`" in str(reader.note)
    with np.load(tmp_path / "m.npz") as file:
        assert file["b.npy"].tolist() == [0, 1, 2, 3]


def test_names_in_the_old_code_page(tmp_path: Path) -> None:
    data = archive({"gr_sse.npy": npy(np.arange(3))}).replace(b"gr_sse", b"gr\x94sse")
    (tmp_path / "m.npz").write_bytes(data)
    with np.load(tmp_path / "m.npz") as file:
        assert file.files == ["grösse"]
    assert list(load(tmp_path / "m.npz")) == ["grösse"]


@pytest.mark.parametrize("names", [["a", "a.npy"], ["lone\ud800"], ["nul\0"], ["x" * 70_000]])
def test_names_that_a_file_cannot_hold(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(FormatError, match="cannot hold"):
        NpzWriter(tmp_path / "m.npz", [TensorSpec(name, (), "float32") for name in names])
    assert list(tmp_path.iterdir()) == []


# What we write


def test_golden_bytes(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    with NpzWriter(path, [TensorSpec("w", (2,), "float32")], metadata={"b": "2", "a": "é"}) as writer:
        writer.write("w", np.array([1.0, -2.0], np.float32))
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"
    header = b"\x93NUMPY\x01\x00v\x00" + text.ljust(117) + b"\n"
    member = header + bytes.fromhex("0000803f 000000c0")
    crc, size = zlib.crc32(member).to_bytes(4, "little"), (136).to_bytes(4, "little")
    fixed = b"\x14\0" + b"\0\0" + b"\0\0" + b"\0\0\x21\0" + crc + size + size + b"\x05\0" + b"\0\0"
    local = b"PK\x03\x04" + fixed + b"w.npy" + member
    entry = b"PK\x01\x02" + b"\x14\0" + fixed + b"\0" * 14 + b"w.npy"
    comment = '{"metadata":{"a":"é","b":"2"},"resport_npz":1}'.encode()
    numbers = b"\0" * 4 + b"\x01\0" * 2 + len(entry).to_bytes(4, "little") + len(local).to_bytes(4, "little")
    assert path.read_bytes() == (local + entry + b"PK\x05\x06" + numbers + len(comment).to_bytes(2, "little") + comment)


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 4), (1, 2, 3, 4), (1, 2) * 10])
@pytest.mark.parametrize("dtype", ["float32", "bool", "uint8", "complex128"])
def test_header_is_aligned_and_read_by_numpy(shape: tuple[int, ...], dtype: str) -> None:
    header = encode_npy_header(TensorSpec("x", shape, dtype))
    assert len(header) % 64 == 0
    stream = io.BytesIO(header)
    assert np.lib.format.read_magic(stream) == (1, 0)
    assert np.lib.format.read_array_header_1_0(stream) == (shape, False, to_numpy(dtype))
    parsed = parse_npy_header(header)
    assert (parsed.shape, parsed.dtype, parsed.header_bytes) == (shape, dtype, npy_header_bytes(header[:12]))


def test_zipfile_finds_nothing_wrong(tmp_path: Path) -> None:
    store(tmp_path / "m.npz", some_tensors(), metadata={"resport": "{}"})
    with zipfile.ZipFile(tmp_path / "m.npz") as file:
        assert file.testzip() is None
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
        assert b'"resport":"{}"' in file.comment


def test_dtypes_beside_numpy_come_back_and_numpy_sees_their_bytes(tmp_path: Path) -> None:
    array = random_array("bfloat16", (5,))
    with NpzWriter(tmp_path / "m.npz", [TensorSpec("b", (5,), "bfloat16"), TensorSpec("q", (), "qint8")]) as writer:
        writer.write("b", array)
        writer.write("q", np.array(3, np.int8))
    with NpzReader(tmp_path / "m.npz") as reader:
        assert [spec.dtype for spec in reader.manifest.values()] == ["bfloat16", "qint8"]
    with np.load(tmp_path / "m.npz") as file:
        assert_same_bits(file["b"].view(ml_dtypes.bfloat16), array)


@pytest.mark.parametrize("stored_as", ["float8_e5m2", "float32", "string", "nonsense", "\xff"])
def test_a_dtype_field_that_contradicts_the_header(tmp_path: Path, stored_as: str) -> None:
    data = npy(np.ones(3, "V2"))
    extra = ((zip_directory.ZIP_DTYPE_EXTRA, stored_as.encode("latin-1")),)
    member = ZipMember("a.npy", ZIP_STORED, zlib.crc32(data), len(data), len(data), 0, extra=extra)
    local = encode_local(member) + data
    (tmp_path / "m.npz").write_bytes(local + encode_directory([member], len(local), b""))
    with pytest.raises(FormatError, match=r"a\.npy"):
        NpzReader(tmp_path / "m.npz")


@pytest.mark.parametrize("length", [60_000, 3_000_000])
def test_metadata_of_any_length(tmp_path: Path, length: int) -> None:
    metadata = {"model_config": '{"layers": ["größe"]}' * (length // 20), "resport": "PK\x05\x06"}
    store(tmp_path / "m.npz", some_tensors(), metadata=metadata)
    with NpzReader(tmp_path / "m.npz") as reader:
        assert reader.metadata == metadata
    with np.load(tmp_path / "m.npz") as file:
        assert file.files == list(some_tensors())


def test_metadata_too_long_for_a_comment(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(100_000).hex()
    for metadata in ({"a": noise}, {"a": "\ud800"}):
        with pytest.raises(FormatError, match="metadata"):
            NpzWriter(tmp_path / "m.npz", [], metadata=metadata)
    assert list(tmp_path.iterdir()) == []


def test_a_comment_of_another_program_is_no_metadata(tmp_path: Path) -> None:
    for comment in (
        b"made by hand PK\x05\x06",
        b"[1]",
        b'{"metadata":{"a":"b"}}',
        b'{"zlib":1}',
        b'{"zlib":"eJw="}',
        b"[" * 60_000,
    ):
        with zipfile.ZipFile(tmp_path / "m.npz", "w") as file:
            file.writestr("a.npy", npy(np.arange(3)))
            file.comment = comment
        with NpzReader(tmp_path / "m.npz") as reader:
            assert (list(reader.manifest), reader.metadata) == (["a"], {})


def test_target_of_one_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="one array") as caught:
        NpzWriter(tmp_path / "m.npy", [TensorSpec("a", (), "float32")])
    assert str(caught.value.hint).endswith("m.npz")
    assert list(tmp_path.iterdir()) == []


# ZIP64


def test_more_members_than_two_bytes_count(tmp_path: Path) -> None:
    data = npy(np.arange(2))
    members, body, position = [], [], 0
    for index in range(0x10001):
        member = ZipMember(f"{index:05x}.npy", ZIP_STORED, zlib.crc32(data), len(data), len(data), position)
        body.append(encode_local(member) + data)
        members.append(member)
        position += len(body[-1])
    (tmp_path / "m.npz").write_bytes(b"".join(body) + encode_directory(members, position, b""))
    with np.load(tmp_path / "m.npz") as file:
        assert len(file.files) == 0x10001
        assert file["10000"].tolist() == [0, 1]
    with NpzReader(tmp_path / "m.npz") as reader:
        assert len(reader.manifest) == 0x10001
        assert reader.read("10000").tolist() == [0, 1]


def test_offsets_over_four_gigabytes(tmp_path: Path) -> None:
    tensors = {"first": np.arange(3), **some_tensors()}
    path, members, position = tmp_path / "m.npz", [], 0
    with path.open("wb") as file:
        for name, array in tensors.items():
            data = npy(array)
            member = ZipMember(f"{name}.npy", ZIP_STORED, zlib.crc32(data), len(data), len(data), position)
            file.seek(position)
            file.write(encode_local(member) + data)
            # A hole, for which the file system needs no space.
            position = max(file.tell(), 5_000_000_000)
            members.append(member)
        file.seek(position)
        file.write(encode_directory(members, position, b""))
    loaded = load(path)
    with np.load(path) as file:
        for name, expected in tensors.items():
            assert_same_bits(loaded[name], expected)
            assert_same_bits(file[name], expected)


def test_eight_byte_sizes_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    with zipfile.ZipFile(path, "w") as target, target.open("a.npy", "w", force_zip64=True) as member:
        member.write(npy(np.arange(3)))
    assert load(path)["a"].tolist() == [0, 1, 2]


def test_a_member_over_four_gigabytes_is_described_in_eight_bytes() -> None:
    size = 5_000_000_000
    member = ZipMember("a.npy", ZIP_STORED, 7, size, size, 3)
    local = encode_local(member)
    assert struct.unpack_from("<2I", local, 18) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert local[-20:] == struct.pack("<2H2Q", 1, 16, size, size)
    # A directory alone is enough for zipfile to list.
    members = [replace(member, offset=0), replace(member, name="b.npy", offset=6_000_000_000)]
    stream = io.BytesIO(encode_directory(members, 0, b""))
    with zipfile.ZipFile(stream) as file:
        assert [info.header_offset for info in file.infolist()] == [0, 6_000_000_000]
        assert {(info.file_size, info.compress_size) for info in file.infolist()} == {(size, size)}


# Hostile files

ARRAY = npy(np.arange(6, dtype="<f4"))
GOOD = archive({"a.npy": ARRAY})


def patched(data: bytes, magic: bytes, offset: int, value: bytes) -> bytes:
    at = data.rindex(magic) + offset
    return data[:at] + value + data[at + len(value) :]


def in_both(data: bytes, offset: int, value: bytes) -> bytes:
    """Change a field of the member's own header and of the directory."""
    return patched(patched(data, b"PK\x03\x04", offset, value), b"PK\x01\x02", offset + 2, value)


def shared_bytes() -> bytes:
    """A member whose values are another member, whole and sound: each of them could be read."""
    inner = ZipMember("b.npy", ZIP_STORED, zlib.crc32(ARRAY), len(ARRAY), len(ARRAY), 0)
    outer = npy(np.frombuffer(encode_local(inner) + ARRAY, np.uint8))
    member = ZipMember("a.npy", ZIP_STORED, zlib.crc32(outer), len(outer), len(outer), 0)
    local = encode_local(member) + outer
    inner = replace(inner, offset=local.index(b"PK\x03\x04", 4))
    return local + encode_directory([member, inner], len(local), b"")


def twice() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as target:
            target.writestr("a.npy", ARRAY)
            target.writestr("a.npy", ARRAY)
        return file.getvalue()


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }"


def with_header(text: str, version: tuple[int, int] = (1, 0), data: bytes = ARRAY[128:]) -> bytes:
    return archive({"a.npy": header_of(text, version) + data})


DEFLATED = archive({"a.npy": npy(np.zeros(4096, "<f4"))}, zipfile.ZIP_DEFLATED)

HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "cut": GOOD[:-30],
    "text behind": GOOD + b"more",
    "text in front": b"more" + GOOD,
    "encrypted": in_both(GOOD, 6, b"\x01\0"),
    "bzip2": archive({"a.npy": ARRAY}, zipfile.ZIP_BZIP2),
    "lzma": archive({"a.npy": ARRAY}, zipfile.ZIP_LZMA),
    "two of one name": twice(),
    "shared bytes": shared_bytes(),
    "another name in front": patched(GOOD, b"PK\x03\x04", 30, b"b"),
    "another method in front": patched(GOOD, b"PK\x03\x04", 8, b"\x08"),
    "another checksum in front": patched(GOOD, b"PK\x03\x04", 14, b"\x01"),
    "fewer stored bytes in front": patched(GOOD, b"PK\x03\x04", 18, b"\x01"),
    "another size in front": patched(GOOD, b"PK\x03\x04", 22, b"\x01"),
    "another size in front of a streamed member": patched(in_both(GOOD, 6, b"\x08\0"), b"PK\x03\x04", 22, b"\x01"),
    "half an extra field in front": patched(GOOD, b"PK\x03\x04", 28, b"\x03\0"),
    "more extra fields in front than bytes": patched(GOOD, b"PK\x03\x04", 28, b"\xff\xff"),
    "all offsets over the end, none at one place": re.sub(
        rb"(?<=PK\x01\x02.{38}).{4}",
        lambda found: (0x70000000 + 1000 * found.start()).to_bytes(4, "little"),
        archive({"a.npy": ARRAY, "b.npy": ARRAY}),
        flags=re.DOTALL,
    ),
    "no arrays": archive({"a.txt": ARRAY}),
    "offset over the end": patched(GOOD, b"PK\x01\x02", 42, b"\xf0\xff\xff\x7f"),
    "size over the end": in_both(GOOD, 18, b"\xf0\xff\xff\x7f" * 2),
    "two sizes": in_both(GOOD, 22, b"\xf0\xff\xff\x7f"),
    "claims a terabyte": in_both(DEFLATED, 22, b"\xf0\xff\xff\x7f"),
    "claims more than it has": in_both(DEFLATED, 22, (128 + 4097 * 4).to_bytes(4, "little")),
    "count of members": patched(GOOD, b"PK\x05\x06", 8, b"\x02\0\x02\0"),
    "count of members without end": patched(GOOD, b"PK\x05\x06", 8, b"\xff\xff\xff\xff"),
    "several disks": patched(GOOD, b"PK\x05\x06", 4, b"\x01"),
    "no utf-8": patched(in_both(GOOD, 6, b"\0\x08"), b"PK\x01\x02", 46, b"\xff"),
    "half an extra field": patched(GOOD, b"PK\x01\x02", 28, b"\x03\0\x02\0"),
    "no array": archive({"a.npy": b"nonsense" * 20}),
    "short array": archive({"a.npy": b"\x93NUM"}),
    "version 4": with_header(HEADER, (4, 0)),
    "header over the end": archive({"a.npy": ARRAY[:60]}),
    "header without end": with_header(HEADER + " " * 70_000, (2, 0)),
    "code": with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }"),
    "sum": with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (5 + 1,), }"),
    "list": with_header("['<f4', False, (6,)]"),
    "key twice": with_header("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,), }"),
    "no shape": with_header("{'descr': '<f4', 'fortran_order': False, }"),
    "negative axis": with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-6,), }"),
    "two numbers": with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (6 6,), }"),
    "a separator of units": with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (6\x1f,), }"),
    "true as text": with_header("{'descr': '<f4', 'fortran_order': 'False', 'shape': (6,), }"),
    "a number of 5000 digits": with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0, {'9' * 5000}), }}"),
    "65 axes": with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'1, ' * 65}), }}", data=b"\0" * 4),
    "over 2**63": with_header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 99999999999, 99999999999), }", data=b""
    ),
    "shape is larger": with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (7,), }"),
    "shape is smaller": with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }"),
    "items of gigabytes": with_header("{'descr': '<U999999999', 'fortran_order': False, 'shape': (6,), }"),
    "text of no bytes": with_header("{'descr': '<U0', 'fortran_order': False, 'shape': (99999999999,), }", data=b""),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_file_is_refused(tmp_path: Path, attack: str) -> None:
    path = tmp_path / "hostile.npz"
    path.write_bytes(HOSTILE[attack])
    with peak_bytes() as peak, pytest.raises(FormatError, match=r"hostile\.npz") as caught:
        load(path)
    assert caught.value.path == str(path)
    assert peak[0] < 64 << 20


class Unseekable(io.BytesIO):
    """What a pipe is: sizes and checksums can be written behind the bytes alone."""

    def seekable(self) -> bool:
        return False

    def seek(self, *arguments: int) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


def streamed() -> bytes:
    stream = Unseekable()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("a.npy", ARRAY)
    return stream.getvalue()


def test_the_files_that_the_attacks_change_are_sound(tmp_path: Path) -> None:
    assert streamed()[14:26] == bytes(12)
    for data in (GOOD, DEFLATED, streamed(), with_header(HEADER), with_header(HEADER.replace("6,", "2L, 3L"))):
        (tmp_path / "m.npz").write_bytes(data)
        assert list(load(tmp_path / "m.npz")) == ["a"]
        with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
            assert file.files == ["a"]


def test_a_deflated_bomb(tmp_path: Path) -> None:
    """A tensor of a gigabyte that is a megabyte of file: refused before a byte of it is made."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    header = encode_npy_header(TensorSpec("a", (1 << 28,), "float32"))
    block = b"\0" * (1 << 22)
    body = squeeze.compress(header) + b"".join(squeeze.compress(block) for _ in range(256)) + squeeze.flush()
    size = len(header) + (1 << 30)
    member = ZipMember("a.npy", 8, 0, len(body), size, 0)
    local = encode_local(member) + body
    (tmp_path / "m.npz").write_bytes(local + encode_directory([member], len(local), b""))
    with peak_bytes() as peak, pytest.raises(FormatError, match=r"a\.npy.*proportion") as caught:
        NpzReader(tmp_path / "m.npz")
    assert "savez" in str(caught.value.hint) and peak[0] < 16 << 20


def test_honest_zeros_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "m.npz", momentum=np.zeros(1 << 20, np.float32))
    assert_same_bits(load(tmp_path / "m.npz")["momentum"], np.zeros(1 << 20, np.float32))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "deflated"])
def test_damage_is_one_clear_error(tmp_path: Path, save: Any) -> None:
    tensors = {"a": random_array("float32", (3, 2)), "b": random_array("int8", (5,), 1)}
    save(tmp_path / "whole.npz", **tensors)
    data = (tmp_path / "whole.npz").read_bytes()
    rng = np.random.default_rng(3)
    cuts = [data[:at] for at in range(len(data))]
    flips = [data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :] for at in range(len(data))]
    n_errors = 0
    for damaged in [*cuts, *flips]:
        (tmp_path / "m.npz").write_bytes(damaged)
        try:
            loaded = load(tmp_path / "m.npz")
        except ResportError:
            n_errors += 1
            continue
        for name in loaded.keys() & tensors.keys():
            assert_same_bits(loaded[name], tensors[name])
    assert n_errors > len(data) * 1.5


def test_checksum(tmp_path: Path) -> None:
    store(tmp_path / "m.npz", some_tensors())
    data = bytearray((tmp_path / "m.npz").read_bytes())
    values = some_tensors()["conv0/W"].tobytes()
    data[data.index(values) + 5] ^= 1
    (tmp_path / "m.npz").write_bytes(data)
    with NpzReader(tmp_path / "m.npz") as reader:
        reader.read("linear/b")
        with pytest.raises(ChecksumError, match="`conv0/W`"):
            reader.read("conv0/W")


def test_file_cut_while_open(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "m.npz", a=random_array("float32", (4000,)))
        with NpzReader(tmp_path / "m.npz") as reader:
            (tmp_path / "m.npz").write_bytes((tmp_path / "m.npz").read_bytes()[:5000])
            with pytest.raises(FormatError, match=r"`a\.npy`"):
                reader.read("a")


def test_other_zip_files_are_not_taken(tmp_path: Path) -> None:
    for name, members in (("m.pt", {"archive/data.pkl": b"x"}), ("m.bin", {"config.json": b"{}"})):
        (tmp_path / name).write_bytes(archive(members))
        with pytest.raises(ResportError) as caught:
            open_reader(tmp_path / name)
        assert not str(caught.value).startswith("the array")
    with pytest.raises(SourceNotFoundError):
        open_reader(tmp_path / "nowhere.npz")


def test_limit_of_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path / "m.npz", some_tensors())
    monkeypatch.setattr(zip_directory, "ZIP_MAX_MEMBERS", 4)
    with pytest.raises(FormatError, match="too large"):
        NpzReader(tmp_path / "m.npz")
