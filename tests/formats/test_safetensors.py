"""SafetensorsReader and SafetensorsWriter, against the safetensors library and against files no library would write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from safetensors.numpy import _TYPES as LIBRARY_DTYPES

from resport.dtypes import BY_SAFETENSORS, to_numpy
from resport.errors import FormatError
from resport.formats.safetensors import SafetensorsReader, SafetensorsWriter
from resport.tensors import TensorSpec
from tests.contracts import FormatContract, assert_same_bits, random_array


class TestSafetensors(FormatContract):
    reader, writer, filename = SafetensorsReader, SafetensorsWriter, "model.safetensors"

    def oracle_read(self, path: str) -> dict[str, np.ndarray]:
        # `deserialize` gives the bytes of every dtype; the library's numpy module lacks float8.
        entries = safetensors.deserialize(Path(path).read_bytes())
        return {
            name: np.frombuffer(entry["data"], to_numpy(BY_SAFETENSORS[entry["dtype"]].name)).reshape(entry["shape"])
            for name, entry in entries
        }


def container(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_golden_bytes(tmp_path: Path) -> None:
    path = tmp_path / "golden.safetensors"
    specs = [TensorSpec("n", (3,), "uint8"), TensorSpec("w", (2,), "float32")]
    with SafetensorsWriter(str(path), specs, metadata={"b": "2", "a": "é"}) as writer:
        writer.write("w", np.array([1.0, -2.0], np.float32))
        writer.write("n", np.array([1, 2, 3], np.uint8))
    header = (
        '{"__metadata__":{"a":"é","b":"2"},"n":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},'
        '"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    ).encode()
    padded = header + b" " * (-len(header) % 8)
    assert path.read_bytes() == (
        len(padded).to_bytes(8, "little") + padded + bytes.fromhex("0000803f 000000c0") + b"\x01\x02\x03"
    )


def test_library_reads_our_metadata_and_order(tmp_path: Path) -> None:
    path = str(tmp_path / "m.safetensors")
    specs = [TensorSpec(name, (1,), "float32") for name in ("b", "a", "c")]
    with SafetensorsWriter(path, specs, metadata={"format": "tf", "größe": "1\n2"}) as writer:
        for index, name in enumerate("cab"):
            writer.write(name, np.full((1,), index, np.float32))
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "tf", "größe": "1\n2"}
        assert sorted(file.keys()) == ["a", "b", "c"]
        assert file.get_tensor("a")[0] == 1
    with SafetensorsReader(path) as reader:
        assert list(reader.manifest) == ["b", "a", "c"]


@pytest.mark.parametrize("code", sorted(LIBRARY_DTYPES))
def test_reads_what_the_library_writes(tmp_path: Path, code: str) -> None:
    array = random_array(BY_SAFETENSORS[code].name, (3, 2))
    path = tmp_path / "m.safetensors"
    safetensors.numpy.save_file({"x": array, "empty": array[:0].copy()}, path, metadata={"k": "v"})
    with SafetensorsReader(path) as reader:
        assert_same_bits(reader.read("x"), array)
        assert reader.read("empty").shape == (0, 2)
        assert reader.metadata == {"k": "v"}


def test_every_tensor_is_aligned_to_its_items(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    specs = [TensorSpec(f"{dtype}_{i}", (3,), dtype) for i in range(2) for dtype in ("int8", "float64", "float16")]
    with SafetensorsWriter(path, specs) as writer:
        for spec in specs:
            writer.write(spec.name, random_array(spec.dtype, spec.shape))
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    assert length % 8 == 0
    for spec in specs:
        assert header[spec.name]["data_offsets"][0] % to_numpy(spec.dtype).itemsize == 0


HOSTILE = {
    "empty": b"",
    "seven bytes": b"\x02\0\0\0\0\0\0",
    "length over file": container(b"{}", length=3),
    "length over 2**63": container(b"{}", length=2**64 - 1),
    "not json": container(b"{nonsense"),
    "not utf-8": container(b'{"\xff": 1}'),
    "a list": container(b"[]"),
    "space before the brace": container(b" {}"),
    "nested deeply": container(b'{"a":' * 100_000),
    "key twice": container(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}'),
    "inner key twice": container(b'{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}'),
    "surrogate in a name": container(rb'{"\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
    "metadata of numbers": container({"__metadata__": {"a": 1}}),
    "metadata a list": container({"__metadata__": ["a"]}),
    "entry is text": container({"x": "F32"}),
    "no dtype": container({"x": {"shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8),
    "unknown dtype": container({"x": entry("F31")}, b"\0" * 8),
    "dtype is a list": container({"x": entry(["F32"])}, b"\0" * 8),
    "negative axis": container({"x": entry(shape=[-2])}, b"\0" * 8),
    "axis is true": container({"x": entry(shape=[True], offsets=(0, 4))}, b"\0" * 4),
    "axis is a float": container({"x": entry(shape=[2.0])}, b"\0" * 8),
    "shape is a number": container({"x": entry(shape=2)}, b"\0" * 8),
    "a thousand axes": container({"x": entry(shape=[1] * 1000, offsets=(0, 4))}, b"\0" * 4),
    "axis over 2**63": container({"x": entry(shape=[0, 2**64], offsets=(0, 0))}),
    "product over 2**63": container({"x": entry(shape=[0, 2**40, 2**40], offsets=(0, 0))}),
    "a number of 5000 digits": container(b'{"x":{"dtype":"U8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,0]}}'),
    "three offsets": container({"x": entry(offsets=(0, 4, 8))}, b"\0" * 8),
    "end before begin": container({"x": entry(offsets=(8, 0))}, b"\0" * 8),
    "size is not the shape's": container({"x": entry(offsets=(0, 4))}, b"\0" * 4),
    "data missing": container({"x": entry()}, b"\0" * 7),
    "data left over": container({"x": entry()}, b"\0" * 9),
    "hole at the begin": container({"x": entry(offsets=(4, 12))}, b"\0" * 12),
    "hole": container({"x": entry(), "y": entry(offsets=(12, 20))}, b"\0" * 20),
    "overlap": container({"x": entry(), "y": entry(offsets=(4, 12))}, b"\0" * 12),
    "same bytes twice": container({"x": entry(), "y": entry()}, b"\0" * 8),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_file_is_refused(tmp_path: Path, attack: str) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[attack])
    with pytest.raises(FormatError, match=r"hostile\.safetensors") as caught:
        SafetensorsReader(path)
    assert caught.value.path == str(path)


def test_library_refuses_none_of_what_we_accept(tmp_path: Path) -> None:
    accepted = container({"x": entry(), "e": entry(shape=[0, 7], offsets=(8, 8)), "__metadata__": {}}, b"\0" * 8)
    path = tmp_path / "m.safetensors"
    path.write_bytes(accepted)
    with SafetensorsReader(path) as reader:
        assert dict(reader.manifest) == {
            "x": TensorSpec("x", (2,), "float32"),
            "e": TensorSpec("e", (0, 7), "float32"),
        }
    assert {name for name, _ in safetensors.deserialize(accepted)} == {"x", "e"}


@pytest.mark.parametrize("name", ["__metadata__", "lone\ud800surrogate"])
def test_name_that_a_header_cannot_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match="cannot hold"):
        SafetensorsWriter(tmp_path / "m.safetensors", [TensorSpec(name, (), "float32")])
    assert list(tmp_path.iterdir()) == []


def test_metadata_that_is_not_unicode(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="Unicode"):
        SafetensorsWriter(tmp_path / "m.safetensors", [], metadata={"a": "\ud800"})
    assert list(tmp_path.iterdir()) == []


def test_file_cut_while_open(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(container({"x": entry()}, b"\0" * 8))
    with SafetensorsReader(path) as reader:
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(FormatError, match="ends inside tensor `x`"):
            reader.read("x")
