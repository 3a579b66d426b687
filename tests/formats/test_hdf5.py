"""Opening HDF5: which files are taken, which datasets are believed, and that no link leads out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest

from resport.errors import ChecksumError, FormatError, SourceNotFoundError
from resport.formats import open_reader
from resport.formats.hdf5 import (
    HDF5_MAX_ATTRIBUTE_BYTES,
    open_file,
    read_texts,
    text_attribute,
)
from resport.formats.hdf5_encoding.file import encode_file
from resport.formats.hdf5_encoding.tree import NewGroup
from resport.formats.hdf5_file.signature import HDF5_SIGNATURE, has_signature
from resport.formats.hdf5_writer import name_list
from resport.formats.keras_legacy import KerasLegacyReader, KerasLegacyWriter
from resport.formats.source import read_head
from resport.tensors import TensorSpec
from tests.contracts import assert_same_bits, random_array, special_array
from tests.formats.hdf5_library import head_of


def keras_file(path: Path, fill: Callable[[h5py.Group], object]) -> Path:
    """A file of one layer ``a`` with one weight ``a/w``, which ``fill`` puts into the group ``a/a``."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"a"]
        group = file.create_group("a")
        group.attrs["weight_names"] = [b"a/w"]
        fill(group.create_group("a"))
    return path


def read_one(path: Path) -> np.ndarray:
    with KerasLegacyReader(path) as reader:
        assert list(reader.manifest) == ["a/w"]
        return reader.read("a/w")


# Datasets that are read


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"compression": "lzf", "shuffle": True},
        {"chunks": (3, 2)},
        {"chunks": (7, 5), "fletcher32": True},
        {"compression": "gzip", "shuffle": True, "fletcher32": True, "maxshape": (None, None)},
    ],
)
def test_chunked_and_compressed_datasets(tmp_path: Path, options: dict[str, object]) -> None:
    array = random_array("float32", (7, 5))
    path = keras_file(tmp_path / "m.h5", lambda group: group.create_dataset("w", data=array, **options))
    assert_same_bits(read_one(path), array)


def test_a_wrong_fletcher32_is_an_error(tmp_path: Path) -> None:
    array = random_array("float32", (7, 5))
    path = keras_file(tmp_path / "m.h5", lambda group: group.create_dataset("w", data=array, fletcher32=True))
    data = path.read_bytes()
    at = data.index(array.tobytes())
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with KerasLegacyReader(path) as reader, pytest.raises(ChecksumError, match=r"`/a/a/w` in .*m\.h5"):
        reader.read("a/w")


def test_a_damaged_compressed_chunk_is_an_error(tmp_path: Path) -> None:
    array = random_array("float32", (64, 64))
    path = keras_file(tmp_path / "m.h5", lambda group: group.create_dataset("w", data=array, compression="gzip"))
    with h5py.File(path) as file:
        chunk = file["a/a/w"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    path.write_bytes(data)
    with KerasLegacyReader(path) as reader, pytest.raises(FormatError, match=r"`/a/a/w` in .*m\.h5") as caught:
        reader.read("a/w")
    # No checksum was there to be wrong.
    assert not isinstance(caught.value, ChecksumError)


def test_a_filter_that_is_missing_is_an_error(tmp_path: Path) -> None:
    array = random_array("float32", (7, 5))

    def fill(group: h5py.Group) -> None:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk(array.shape)
        # Blosc's number, as an optional filter: it is passed over when writing, and noted as used.
        creation.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (1,))
        space = h5py.h5s.create_simple(array.shape)
        dataset = h5py.h5d.create(group.id, b"w", h5py.h5t.NATIVE_FLOAT, space, creation)
        # A mask of zero says that every filter was applied.
        dataset.write_direct_chunk((0, 0), array.tobytes(), 0)

    path = keras_file(tmp_path / "m.h5", fill)
    with KerasLegacyReader(path) as reader, pytest.raises(FormatError, match=r"`/a/a/w` in .*filter"):
        reader.read("a/w")


def test_compact_datasets(tmp_path: Path) -> None:
    array = random_array("float32", (7, 5))

    def fill(group: h5py.Group) -> None:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(array.shape)
        h5py.h5d.create(group.id, b"w", h5py.h5t.NATIVE_FLOAT, space, creation).write(h5py.h5s.ALL, h5py.h5s.ALL, array)

    path = keras_file(tmp_path / "m.h5", fill)
    with h5py.File(path) as file:
        assert file["a/a/w"].id.get_create_plist().get_layout() == h5py.h5d.COMPACT
    assert_same_bits(read_one(path), array)


def test_committed_types_of_elements(tmp_path: Path) -> None:
    array = random_array("float16", (7, 5))

    def fill(group: h5py.Group) -> None:
        group.file["types/half"] = np.dtype(">f2")
        group.create_dataset("w", data=array, dtype=group.file["types/half"])

    assert_same_bits(read_one(keras_file(tmp_path / "m.h5", fill)), array)


def test_truth_values_are_an_enumeration(tmp_path: Path) -> None:
    array = random_array("bool", (7, 5))
    path = keras_file(tmp_path / "m.h5", lambda group: group.create_dataset("w", data=array))
    with h5py.File(path) as file:
        assert file["a/a/w"].id.get_type().get_class() == h5py.h5t.ENUM
    assert_same_bits(read_one(path), array)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_many_and_long_attributes(tmp_path: Path, libver: str) -> None:
    path = tmp_path / "m.h5"
    layers = [f"layer_{number:05d}" for number in range(300)]
    with h5py.File(path, "w", libver=libver) as file:
        for number in range(20):
            # From the ninth on, new files keep attributes outside of the object's header.
            file.attrs[f"extra_{number}"] = np.arange(3)
        file.attrs["layer_names"] = np.array([layer.encode() for layer in layers])
        for layer in layers:
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([b"w:0"])
            group["w:0"] = np.float32(1)
        if libver == "latest":
            # Longer than a header can hold.
            file.attrs["long"] = np.zeros(100_000, np.uint8)
    with KerasLegacyReader(path) as reader:
        assert list(reader.manifest) == [f"{layer}/w" for layer in layers]


def test_zeros_compress_well_and_are_read_all_the_same(tmp_path: Path) -> None:
    array = np.zeros((1 << 20,), np.float32)
    path = keras_file(
        tmp_path / "m.h5", lambda group: group.create_dataset("w", data=array, compression="gzip", compression_opts=9)
    )
    with h5py.File(path) as file:
        assert file["a/a/w"].id.get_storage_size() < array.nbytes / 500
    assert_same_bits(read_one(path), array)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16", "int64", "uint32", "complex64"])
def test_big_endian_datasets_come_out_native(tmp_path: Path, dtype: str) -> None:
    is_float = dtype.startswith("float")
    array = (
        np.concatenate([special_array(dtype), random_array(dtype, (20,))]) if is_float else random_array(dtype, (9,))
    )
    swapped = array.astype(array.dtype.newbyteorder(">"))
    path = keras_file(tmp_path / "m.h5", lambda group: group.create_dataset("w", data=swapped))
    loaded = read_one(path)
    assert loaded.dtype.isnative
    # numpy's conversion of complex numbers and of signalling NaNs is no oracle: swap the bytes.
    width = array.dtype.itemsize // (2 if dtype.startswith("complex") else 1)
    big = np.frombuffer(swapped.tobytes(), f">u{width}").astype(f"<u{width}")
    assert loaded.tobytes() == big.tobytes()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,)])
def test_small_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = random_array("float64", shape)
    path = keras_file(tmp_path / "m.h5", lambda group: group.create_dataset("w", data=array))
    assert_same_bits(read_one(path), array)


def test_opaque_elements_are_read_by_their_attribute(tmp_path: Path) -> None:
    array = random_array("float8_e4m3fn", (5,))

    def fill(group: h5py.Group) -> None:
        group.create_dataset("w", data=array.view("V1")).attrs["dtype"] = "float8_e4m3fn"

    assert_same_bits(read_one(keras_file(tmp_path / "m.h5", fill)), array)


def test_opaque_pairs_of_bytes_are_bfloat16(tmp_path: Path) -> None:
    # What the legacy writer of Keras 3 leaves of a bfloat16 model.
    array = special_array("bfloat16")
    path = keras_file(tmp_path / "m.h5", lambda group: group.create_dataset("w", array.shape, array.dtype, data=array))
    loaded = read_one(path)
    assert loaded.dtype == ml_dtypes.bfloat16
    assert_same_bits(loaded, array)


def test_strings_are_listed_and_read_as_bytes(tmp_path: Path) -> None:
    texts = ["größe", "", "b"]
    vlen = keras_file(tmp_path / "v.h5", lambda group: group.create_dataset("w", data=texts))
    fixed = keras_file(tmp_path / "f.h5", lambda group: group.create_dataset("w", data=np.array([b"ab", b"c"])))
    with KerasLegacyReader(vlen) as reader:
        assert reader.manifest["a/w"] == TensorSpec("a/w", (3,), "string")
        assert reader.read("a/w").tolist() == [text.encode() for text in texts]
    with KerasLegacyReader(fixed) as reader:
        assert reader.manifest["a/w"].dtype == "string"
        assert reader.read("a/w").tolist() == [b"ab", b"c"]


def test_user_block(tmp_path: Path) -> None:
    path = tmp_path / "block.h5"
    with h5py.File(path, "w", userblock_size=2048) as file:
        file.attrs["layer_names"] = [b"a"]
        file.create_group("a").attrs["weight_names"] = [b"w:0"]
        file["a/w:0"] = np.arange(3.0)
    path.write_bytes(b"x" * 2048 + path.read_bytes()[2048:])
    assert has_signature(read_head(str(path)), str(path))
    with open_reader(path) as reader:
        assert_same_bits(reader.read("a/w"), np.arange(3.0))


@pytest.mark.parametrize(
    "content", [b"", b"\x89HDF\r\n\x1a", b"x" * 511 + HDF5_SIGNATURE, b"x" * 1536 + HDF5_SIGNATURE, b"x" * 5000]
)
def test_no_signature(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    assert not has_signature(content[:4096], str(path))


# Datasets that are refused


def outside(folder: Path) -> Path:
    """Another file with the weight that the links point at, so that following them would succeed."""
    with h5py.File(folder / "other.h5", "w") as file:
        file["w"] = np.arange(4.0)
        file.create_group("a")["w"] = np.arange(4.0)
    (folder / "raw").write_bytes(np.arange(4.0).tobytes())
    return folder


def virtual(folder: Path) -> Callable[[h5py.Group], object]:
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "w", (4,))
    return lambda group: group.create_virtual_dataset("w", layout)


def soft(group: h5py.Group) -> None:
    group.file["elsewhere"] = np.arange(4.0)
    group["w"] = h5py.SoftLink("/elsewhere")


LEADING_OUT: dict[str, Callable[[Path], Callable[[h5py.Group], object]]] = {
    "external link": lambda folder: lambda group: group.__setitem__("w", h5py.ExternalLink("other.h5", "/w")),
    "soft link": lambda folder: soft,
    "external storage": lambda folder: (
        lambda group: group.create_dataset("w", (4,), "f8", external=[(str(folder / "raw"), 0, 32)])
    ),
    "virtual dataset": virtual,
}


@pytest.mark.parametrize("way", LEADING_OUT)
def test_nothing_leads_out_of_the_file(tmp_path: Path, way: str) -> None:
    fill = LEADING_OUT[way](outside(tmp_path))
    path = keras_file(tmp_path / "m.h5", fill)
    with h5py.File(path) as file:
        # h5py follows it: what is refused is there.
        assert file["a/a/w"][()].tolist() == [0, 1, 2, 3]
    with pytest.raises(FormatError, match=r"m\.h5") as caught:
        KerasLegacyReader(path)
    assert way in str(caught.value)


@pytest.mark.parametrize("link", [h5py.ExternalLink("other.h5", "/a"), h5py.SoftLink("/b")])
def test_a_group_behind_a_link_is_refused(tmp_path: Path, link: object) -> None:
    outside(tmp_path)
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"a"]
        file["b/w"] = np.arange(4.0)
        file["b"].attrs["weight_names"] = [b"w"]
        file["a"] = link
    with pytest.raises(FormatError, match="link"):
        KerasLegacyReader(path)


@pytest.mark.parametrize(
    "kind",
    [
        np.dtype([("x", "f4"), ("y", "i4")]),
        h5py.vlen_dtype(np.dtype("f4")),
        h5py.ref_dtype,
        h5py.regionref_dtype,
        np.dtype("V3"),
        np.dtype("V1"),
        np.dtype(("f4", (2,))),
        np.dtype("longdouble"),
    ],
)
def test_elements_that_are_no_numbers(tmp_path: Path, kind: np.dtype) -> None:
    def fill(group: h5py.Group) -> None:
        space = h5py.h5s.create_simple((2,))
        h5py.h5d.create(group.id, b"w", h5py.h5t.py_create(kind, logical=True), space)

    with pytest.raises(FormatError, match=r"`/a/a/w`"):
        KerasLegacyReader(keras_file(tmp_path / "m.h5", fill))


def test_a_dataset_without_a_shape_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.h5", lambda group: group.create_dataset("w", data=h5py.Empty("f4")))
    with pytest.raises(FormatError, match="is not an array"):
        KerasLegacyReader(path)


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (4,)},
        {"shape": (1 << 40,)},
        {"shape": (1 << 40,), "chunks": (1 << 10,), "compression": "gzip"},
        {"shape": (4,), "maxshape": (None,), "chunks": (1 << 28,)},
    ],
)
def test_values_that_were_never_stored(tmp_path: Path, options: dict[str, object]) -> None:
    path = keras_file(tmp_path / "m.h5", lambda group: group.create_dataset("w", dtype="f4", **options))
    with pytest.raises(FormatError, match="has not the values"):
        KerasLegacyReader(path)


def test_a_bomb_with_one_chunk_filled(tmp_path: Path) -> None:
    def fill(group: h5py.Group) -> None:
        group.create_dataset("w", (1 << 36,), "f4", chunks=(1 << 10,), compression="gzip")[:10] = 1

    with pytest.raises(FormatError, match="has not the values"):
        KerasLegacyReader(keras_file(tmp_path / "m.h5", fill))


def test_group_where_a_dataset_should_be(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"`/a/a/w` in .* is not a dataset"):
        KerasLegacyReader(keras_file(tmp_path / "m.h5", lambda group: group.create_group("w")))


def test_dataset_where_a_group_should_be(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"a"]
        file["a"] = np.arange(3)
    with pytest.raises(FormatError, match=r"`/a` in .* is not a group"):
        KerasLegacyReader(path)


@pytest.mark.parametrize("name", [b"a/../a/w", b"", b"/a/w", b"a//w", b"./a/w", b"a/nothing"])
def test_weight_names_that_lead_nowhere(tmp_path: Path, name: bytes) -> None:
    path = keras_file(tmp_path / "m.h5", lambda group: group.create_dataset("w", data=np.arange(3)))
    with h5py.File(path, "a") as file:
        file["a"].attrs["weight_names"] = np.array([name])
    with pytest.raises(FormatError, match="is missing" if name == b"a/nothing" else "no path of an object"):
        KerasLegacyReader(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        open_file(str(tmp_path / "nothing.h5"))
    with pytest.raises(FormatError, match="regular file"):
        open_file(str(tmp_path))


# Attributes


@pytest.mark.parametrize("n_names", [0, 1, 5, 6500, 20_000])
def test_lists_of_names_are_split_as_keras_splits_them(tmp_path: Path, n_names: int) -> None:
    names = [f"layer_{number:04d}" for number in range(n_names)]
    path = str(tmp_path / "m.h5")
    Path(path).write_bytes(head_of(encode_file(NewGroup(attributes=name_list("names", names)))))
    with h5py.File(path) as file:
        n_bytes = n_names * 10 + (n_names > 10_000) * n_names
        n_parts = -(-n_bytes // HDF5_MAX_ATTRIBUTE_BYTES)
        expected = {"names"} if n_parts < 2 else {f"names{part}" for part in range(n_parts)}
        assert set(file.attrs) == expected
    with open_file(path) as file:
        assert read_texts(file, "names", path) == names
        assert read_texts(file, "other", path) is None


def test_texts_of_every_spelling(tmp_path: Path) -> None:
    path = str(tmp_path / "m.h5")
    with h5py.File(path, "w") as file:
        file.attrs["vlen"] = ["größe", "b"]
        file.attrs["fixed"] = np.array(["größe".encode(), b"b"])
        file.attrs["none"] = np.array([])
        file.attrs["numbers"] = [1, 2]
        file.attrs["one"] = "text"
        file.attrs["bytes"] = b"text"
        file.attrs["latin1"] = np.array([b"gr\xf6\xdfe"])
    with open_file(path) as file:
        assert read_texts(file, "vlen", path) == ["größe", "b"]
        assert read_texts(file, "fixed", path) == ["größe", "b"]
        assert read_texts(file, "none", path) == []
        assert text_attribute(file, "one", path) == text_attribute(file, "bytes", path) == "text"
        assert text_attribute(file, "numbers", path) is None
        for name in ("numbers", "one", "latin1"):
            with pytest.raises(FormatError, match=r"m\.h5"):
                read_texts(file, name, path)


# Writing


def test_bytes_do_not_depend_on_the_clock(tmp_path: Path) -> None:
    contents = []
    for number in range(2):
        path = tmp_path / f"{number}.h5"
        with KerasLegacyWriter(path, [TensorSpec("a/w", (3,), "float32")], metadata={"k": "v"}) as writer:
            writer.write("a/w", np.arange(3, dtype=np.float32))
        contents.append(path.read_bytes())
        # HDF5 counts in seconds.
        time.sleep(1.1)
    assert contents[0] == contents[1]


def test_datasets_are_contiguous_and_bfloat16_is_marked_as_keras_marks_it(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    specs = [
        TensorSpec("a/x", (2, 3), "bfloat16"),
        TensorSpec("a/y", (2,), "float32"),
        TensorSpec("a/q", (2,), "qint8"),
    ]
    with KerasLegacyWriter(path, specs) as writer:
        for spec in specs:
            writer.write(spec.name, random_array("int8" if spec.dtype == "qint8" else spec.dtype, spec.shape))
    with h5py.File(path) as file:
        x, y, q = (file[f"a/a/{name}:0"] for name in "xyq")
        assert (x.dtype, x.attrs["dtype"], x.chunks) == (np.dtype("V2"), "bfloat16", None)
        assert (y.dtype, dict(y.attrs)) == (np.dtype("<f4"), {})
        assert (q.dtype, q.attrs["dtype"]) == (np.dtype("i1"), "qint8")
        assert np.array(x, dtype=ml_dtypes.bfloat16).tobytes() == random_array("bfloat16", (2, 3)).tobytes()
