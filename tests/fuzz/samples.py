"""Small sound checkpoints of every format that is read: what damage is done to, and where fuzzing begins."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

from resport.dtypes import from_numpy
from resport.formats import open_writer
from resport.formats.bundle_entry import BundleEntry, encode_entry
from resport.formats.leveldb_table import mask_crc32c
from resport.formats.leveldb_writer import encode_table
from resport.formats.protobuf import bytes_field, encode_varint, varint_field
from resport.formats.tensor_slice import Extent, slice_key
from resport.tensors import TensorSpec

TENSORS = {
    "conv/kernel": np.arange(6, dtype="float32").reshape(1, 1, 2, 3) - 2.5,
    "conv/bias": np.array([1, -2, 3], "float32"),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A checkpoint in memory.

    Attributes:
        name: what it is a sample of; the format's id, and a word where there are several.
        files: the content of its files by their names, which may lie in folders.
        opened: what is passed to ``open_reader``, in the folder of the files.
        damaged: which of the files are worth damaging.
    """

    name: str
    files: Mapping[str, bytes]
    opened: str
    damaged: tuple[str, ...]

    @property
    def format(self) -> str:
        """The id of the format."""
        return self.name.partition(":")[0]

    def write(self, folder: Path, changed: Mapping[str, bytes] | None = None) -> Path:
        """Write the files into a folder, some of them with other content; returns what is to be opened."""
        for name, content in {**self.files, **(changed or {})}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder / self.opened


def all_samples() -> list[Sample]:
    """One sample or more of each format; the same bytes on every call."""
    made = [make(name) for name, make in WRITTEN.items()]
    return [*made, _deflated(), _npy(), _partitioned(), _with_strings(), _frozen(), _saved_model(), _keras_sharded()]


def _written(name: str, filename: str, **options: object) -> Sample:
    """What the project's own writer makes of the two tensors."""
    with tempfile.TemporaryDirectory() as folder:
        specs = [TensorSpec(key, array.shape, from_numpy(array.dtype)) for key, array in TENSORS.items()]
        metadata = {} if name == "keras-archive" else {"key": "text"}
        writer = open_writer(
            Path(folder) / filename, specs, metadata=metadata, format=name.partition(":")[0], **options
        )
        with writer:
            for key, array in TENSORS.items():
                writer.write(key, array)
        files = {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}
    return Sample(name, files, filename, tuple(files))


_CONFIG = json.dumps(
    {"class_name": "Functional", "config": {"layers": [{"class_name": "Conv2D", "config": {"name": "conv"}}]}}
)
WRITTEN: dict[str, Callable[[str], Sample]] = {
    "safetensors": lambda name: _written(name, "m.safetensors"),
    "safetensors-sharded": lambda name: _written(name, "m.safetensors.index.json"),
    "npz": lambda name: _written(name, "m.npz"),
    "keras-archive": lambda name: _written(name, "m.keras", config=_CONFIG),
    "keras-legacy-h5": lambda name: _written(name, "m.h5"),
    "keras-weights-h5": lambda name: _written(name, "m.weights.h5"),
    "tensorflow-v1": lambda name: _written(name, "m.ckpt"),
    "tensorflow-v2": lambda name: _written(name, "m.ckpt"),
}


def _deflated() -> Sample:
    stream = io.BytesIO()
    np.savez_compressed(stream, **TENSORS, words=np.array(["a", "bc"]), order=np.asfortranarray(np.eye(3)))
    return Sample("npz:deflated", {"m.npz": stream.getvalue()}, "m.npz", ("m.npz",))


def _npy() -> Sample:
    stream = io.BytesIO()
    np.save(stream, TENSORS["conv/kernel"])
    return Sample("npz:npy", {"m.npy": stream.getvalue()}, "m.npy", ("m.npy",))


def bundle(
    name: str, entries: Mapping[bytes, tuple[TensorSpec, bytes, int]], extra: Mapping[bytes, bytes] | None = None
) -> Sample:
    """A V2 checkpoint of one shard.

    Args:
        name: the sample's name.
        entries: for each key the spec, the stored bytes, and their plain checksum.
        extra: entries of the index without data.
    """
    items = {b"": varint_field(1, 1), **(extra or {})}
    data = b""
    for key, (spec, stored, crc) in entries.items():
        items[key] = encode_entry(BundleEntry(spec, 0, len(data), len(stored), mask_crc32c(crc)))
        data += stored
    files = {"m.ckpt.index": encode_table(sorted(items.items())), "m.ckpt.data-00000-of-00001": data}
    return Sample(name, files, "m.ckpt", tuple(files))


def _partitioned() -> Sample:
    """A variable in two slices."""
    whole = TENSORS["conv/kernel"]
    slices = [(Extent(0, -1), Extent(0, -1), Extent(start, 1), Extent(0, -1)) for start in (0, 1)]
    entries = {}
    message = b""
    for start, extents in enumerate(slices):
        stored = whole[:, :, start : start + 1].tobytes()
        spec = TensorSpec("", (1, 1, 1, 3), "float32")
        entries[slice_key("p", extents)] = (spec, stored, google_crc32c.value(stored))
        message += bytes_field(7, b"".join(bytes_field(1, _extent(extent)) for extent in extents))
    named = encode_entry(BundleEntry(TensorSpec("p", whole.shape, "float32"))) + message
    return bundle("tensorflow-v2:partitioned", entries, {b"p": named})


def _extent(extent: Extent) -> bytes:
    return b"" if extent.length < 0 else varint_field(1, extent.start) + varint_field(2, extent.length)


def stored_strings(*strings: bytes) -> tuple[bytes, int]:
    """String values as a V2 checkpoint stores them, and their plain checksum."""
    crc = google_crc32c.value(b"".join(len(each).to_bytes(4, "little") for each in strings))
    tail = mask_crc32c(crc).to_bytes(4, "little") + b"".join(strings)
    return b"".join(encode_varint(len(each)) for each in strings) + tail, google_crc32c.extend(crc, tail)


def object_graph(*variables: tuple[bytes, bytes]) -> bytes:
    """A TrackableObjectGraph of variables, each a key and the name it had."""
    attributes = (bytes_field(2, bytes_field(2, name) + bytes_field(3, key)) for key, name in variables)
    return bytes_field(1, b"".join(attributes))


def _with_strings() -> Sample:
    """A checkpoint of TF2 with an object graph."""
    key = b"model/conv/bias/.ATTRIBUTES/VARIABLE_VALUE"
    values = TENSORS["conv/bias"].tobytes()
    graph, crc = stored_strings(object_graph((key, b"conv/bias")))
    entries = {
        b"_CHECKPOINTABLE_OBJECT_GRAPH": (TensorSpec("", (), "string"), graph, crc),
        key: (TensorSpec("", (3,), "float32"), values, google_crc32c.value(values)),
    }
    return bundle("tensorflow-v2:objects", entries)


def const(name: bytes, array: np.ndarray) -> bytes:
    """A Const node and the Identity that reads it."""
    dims = b"".join(bytes_field(2, varint_field(1, size)) for size in array.shape)
    tensor = varint_field(1, 1) + bytes_field(2, dims) + bytes_field(4, array.tobytes())
    value = bytes_field(5, bytes_field(1, b"value") + bytes_field(2, bytes_field(8, tensor)))
    reads = bytes_field(1, name + b"/read") + bytes_field(2, b"Identity") + bytes_field(3, name)
    return bytes_field(1, bytes_field(1, name) + bytes_field(2, b"Const") + value) + bytes_field(1, reads)


GRAPH = b"".join(const(name.encode(), array) for name, array in TENSORS.items()) + bytes_field(4, varint_field(1, 24))


def _frozen() -> Sample:
    return Sample("frozen-graph", {"m.pb": GRAPH}, "m.pb", ("m.pb",))


def _saved_model() -> Sample:
    """A model that was frozen before it was saved: all of it is in one file."""
    meta_graph = bytes_field(1, bytes_field(4, b"serve") + bytes_field(5, b"1.4.0")) + bytes_field(2, GRAPH)
    model = varint_field(1, 1) + bytes_field(2, meta_graph)
    return Sample("saved-model", {"saved_model.pb": model}, "saved_model.pb", ("saved_model.pb",))


def _keras_sharded() -> Sample:
    weights = WRITTEN["keras-weights-h5"]("keras-weights-h5").files["m.weights.h5"]
    index = json.dumps({"metadata": {"total_size": 1}, "weight_map": {"/layers/conv2d/vars": "m_00000.weights.h5"}})
    files = {"m.weights.json": index.encode(), "m_00000.weights.h5": weights}
    return Sample("keras-weights-sharded", files, "m.weights.json", ("m.weights.json",))


def zip_members(content: bytes) -> list[str]:
    """The names of a zip file's members, by the standard library."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.namelist()
