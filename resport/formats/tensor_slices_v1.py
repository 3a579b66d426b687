"""TensorFlow's V1 checkpoints: one table that holds names and values alike, or several as shards.

The entry under the empty key lists the tensors of the file, each with its whole shape and the slices that are here.
Every slice has an entry of its own, under a key computed from name and slice (``tensor_slice``), with its values as a
TensorProto. All of 2016's slim networks were published so.

Reading: opening parses the list alone. A tensor is found through the table's index, and one block is read for it,
which holds little besides. Slices, which TensorFlow's own reader refuses, are put together from all shards. Without one
of its shards a checkpoint can still be listed, but not read: no other shard tells which tensors the missing one holds
whole, and whoever copied the rest would lose these without a word.

Writing: the table is sorted by key, and how long an entry is depends on the values where they are varints. Values may
come in any order, so they go to a temporary file as they come, encoded, and are copied into the table on commit: once
more the size of the checkpoint on disk, and nothing in memory. TensorFlow's own reader knows float32 and float64, bool,
uint8 and the signed integers; of the dtypes beyond, which resport reads back, it says that it doesn't support them.

resport keeps metadata in the list, under a field number that TensorFlow doesn't use and skips.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from resport.errors import FormatError, OptionError
from resport.formats.atomic import remove_file
from resport.formats.base import Buffer, Reader, Writer
from resport.formats.bundle_data import empty_array
from resport.formats.bundle_entry import name_problems
from resport.formats.damage import located, quoted
from resport.formats.leveldb_table import LevelDBTable
from resport.formats.leveldb_writer import TableWriter
from resport.formats.positioned import PIECE_BYTES
from resport.formats.protobuf import LENGTH_DELIMITED, bytes_field, encode_varint
from resport.formats.source import not_found, regular_file_size
from resport.formats.staging import Staging
from resport.formats.system_errors import write_errors
from resport.formats.tensor_proto import (
    RAW_FIELDS,
    TENSOR_PROTO_DTYPES,
    decode_tensor,
    encode_values,
    max_value_bytes,
    memory_of,
    value_field,
)
from resport.formats.tensor_slice import FULL_EXTENT, Extent, Slice, check_cover, resolve_slice, slice_key
from resport.formats.v1_meta import encode_meta, encode_slice, parse_meta, parse_saved_slice
from resport.formats.v1_path import shard_set
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import numpy as np

V1_FORMAT = "tensorflow-v1"
V1_META_KEY = b""
V1_MAX_MESSAGE_BYTES = (1 << 31) - 1
"""A message of protobuf, which every tensor of a V1 checkpoint is, cannot be longer."""
V1_COPY_BYTES = 1 << 20

_MESSAGE_HEAD_BYTES = 1 << 10
_BLOCK_SLACK_BYTES = 64 << 20
_MOST_VALUES_PER_BYTE = 32  # one byte each at least, and Snappy makes 21 bytes of one


@dataclass(slots=True)
class _Pieces:
    """Where the slices of a tensor are: the shard and the slice as its key spells it."""

    spec: TensorSpec
    slices: list[tuple[int, Slice]] = field(default_factory=list)


class TensorSlicesReader(Reader):
    """An open V1 checkpoint.

    Args:
        path: the file, one of its shards, their pattern (``NAME-?????-of-00002``), or the name in front of them.
        verify_checksums: whether the blocks of the file are checked against their checksums.

    Attributes:
        missing: the shards that are not there.

    Raises:
        SourceNotFoundError: there is no such file, and no shard.
        FormatError: a file is no V1 checkpoint, or its list of tensors is damaged.
    """

    format: ClassVar[str] = V1_FORMAT

    def __init__(self, path: str, *, verify_checksums: bool = True) -> None:
        self.path = path
        self.files = shard_set(path).files
        self.missing = tuple(file for file in self.files if not os.path.lexists(file))
        if len(self.missing) == len(self.files):
            raise not_found(path)
        self._tables: dict[int, LevelDBTable] = {}
        self._is_closed = False
        self._tensors: dict[str, _Pieces] = {}
        metadata: dict[str, str] = {}
        try:
            for shard, file in enumerate(self.files):
                if file not in self.missing:
                    regular_file_size(file)
                    self._tables[shard] = LevelDBTable(file, verify_checksums=verify_checksums)
                    metadata |= self._list_shard(shard, file)
        except BaseException:
            self.close()
            raise
        self.metadata = metadata
        self.manifest = Manifest(tensor.spec for tensor in self._tensors.values())

    def read(self, name: str) -> np.ndarray:
        """Read one tensor; see ``Reader.read``. Slices are put together."""
        tensor, bounds = self._find(name)
        spec = tensor.spec
        if len(bounds) == 1:
            return self._read_slice(spec, *tensor.slices[0], spec.shape)
        most = _MOST_VALUES_PER_BYTE * sum(table.size_bytes for table in self._tables.values())
        if spec.size > most:
            raise FormatError(
                f"{quoted(name)} in `{self.path}` is larger than its files can hold",
                path=self.path,
                expected=f"at most {most} values",
                got=f"{spec.size} values",
            )
        array = empty_array(spec, self.path)
        for place, (shard, extents) in zip(bounds, tensor.slices, strict=True):
            shape = tuple(stop - start for start, stop in place)
            piece = self._read_slice(spec, shard, extents, shape)
            array[tuple(slice(start, stop) for start, stop in place)] = piece
        return array

    def pieces(self, name: str) -> Iterator[Buffer]:
        """Read one tensor piece by piece; see ``Reader.pieces``. What lies there as it is needs no array."""
        tensor, bounds = self._find(name)
        memory = None
        if len(bounds) == 1 and tensor.spec.dtype in RAW_FIELDS:
            file = self.files[tensor.slices[0][0]]
            proto = self._find_values(tensor.spec, *tensor.slices[0])
            with located("the tensor", file, name):
                memory = memory_of(proto, tensor.spec)
        if memory is None:
            yield from super().pieces(name)
            return
        for start in range(0, len(memory), PIECE_BYTES):
            yield memory[start : start + PIECE_BYTES]

    def close(self) -> None:
        """Close the files. Closing twice is allowed."""
        self._is_closed = True
        for table in self._tables.values():
            table.close()

    def _list_shard(self, shard: int, file: str) -> Mapping[str, str]:
        """Add the tensors that a shard lists to those of the others, and return its metadata."""
        listing = self._tables[shard].first_value(V1_META_KEY)
        if listing is None:
            raise FormatError(f"`{file}` is no V1 checkpoint, it has no list of tensors", path=file, offset=0)
        with located("the list of tensors", file):
            meta = parse_meta(listing)
        for spec, slices in meta.tensors:
            known = self._tensors.setdefault(spec.name, _Pieces(spec))
            if known.spec != spec or (known.slices and known.slices[-1][0] == shard):
                raise FormatError(
                    f"{quoted(spec.name)} is listed twice in `{self.path}`", path=file, expected=known.spec, got=spec
                )
            # A tensor without slices is whole, in one piece.
            known.slices += [(shard, extents) for extents in slices or (_full_extents(spec),)]
        if not any(spec.dtype == "string" for spec, _ in meta.tensors):
            # A block ends with the first entry that makes it long enough, so none is much longer than its longest.
            longest = max((_max_entry_bytes(spec) for spec, _ in meta.tensors), default=0)
            self._tables[shard].limit_blocks(longest + _BLOCK_SLACK_BYTES)
        return meta.metadata

    def _missing_error(self) -> FormatError:
        """The error for a checkpoint without all shards, with the tensors that are known to lie there in part."""
        cut = []
        for name, tensor in self._tensors.items():
            try:
                self._bounds(tensor)
            except FormatError:
                cut.append(quoted(name))
        parts = (
            f"parts of {', '.join(cut[:5])}{f' and {len(cut) - 5} more' if len(cut) > 5 else ''}, and " if cut else ""
        )
        return FormatError(
            f"{len(self.missing)} of the {len(self.files)} shards of `{self.path}` are missing, "
            f"with {parts}all tensors that lie there alone",
            path=self.missing[0],
            expected="all shards in one folder",
            got=f"no {', '.join(f'`{file}`' for file in self.missing[:5])}{', ...' if len(self.missing) > 5 else ''}",
        )

    def _find(self, name: str) -> tuple[_Pieces, list[tuple[tuple[int, int], ...]]]:
        """A tensor that can be read, and start and stop of each of its slices."""
        if self._is_closed:
            raise OptionError(f"`{self.path}` is closed")
        if self.missing:
            raise self._missing_error()
        tensor = self._tensors[name]
        return tensor, self._bounds(tensor)

    def _bounds(self, tensor: _Pieces) -> list[tuple[tuple[int, int], ...]]:
        """Start and stop of each slice of a tensor, which are checked to make it up."""
        with located("the list of slices of", self.path, tensor.spec.name):
            bounds = [resolve_slice(tensor.spec.shape, extents) for _, extents in tensor.slices]
            check_cover(tensor.spec.shape, bounds)
        return bounds

    def _read_slice(self, spec: TensorSpec, shard: int, extents: Slice, shape: tuple[int, ...]) -> np.ndarray:
        """Read the values of one slice."""
        proto = self._find_values(spec, shard, extents)
        with located("the tensor", self.files[shard], spec.name):
            return decode_tensor(proto, TensorSpec(spec.name, shape, spec.dtype), is_complete=True)

    def _find_values(self, spec: TensorSpec, shard: int, extents: Slice) -> Buffer:
        """The TensorProto of one slice."""
        file = self.files[shard]
        data = self._tables[shard].view(slice_key(spec.name, extents))
        if data is None:
            raise FormatError(
                f"`{file}` does not have the values of {quoted(spec.name)}, which it lists",
                path=file,
                got=f"no slice {[(extent.start, extent.length) for extent in extents]}",
            )
        with located("the tensor", file, spec.name):
            name, proto = parse_saved_slice(data)
            if name != spec.name:
                raise FormatError("its values are those of another tensor", expected=spec.name, got=name)
        return proto


class TensorSlicesWriter(Writer):
    """A V1 checkpoint of one file being written; see ``Writer``, and the module's text for where values wait."""

    format: ClassVar[str] = V1_FORMAT
    dtypes: ClassVar[frozenset[str]] = TENSOR_PROTO_DTYPES

    def __init__(self, path: str, specs: Iterable[TensorSpec], *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(path, specs, metadata=metadata)
        self._places: dict[str, tuple[int, int]] = {}
        self.staging = Staging(path)
        try:
            self._values_path, self._table_path = self.staging.create(), self.staging.create(path)
        except BaseException:
            self.abort()
            raise

    @classmethod
    def problems(cls, manifest: Manifest) -> list[str]:
        """What of a manifest cannot be written: foreign dtypes, names that are no text, tensors over 2 GB."""
        sizes = [
            f"{quoted(spec.name)} can take more than the {V1_MAX_MESSAGE_BYTES} bytes that a tensor may have"
            for spec in manifest.values()
            if spec.dtype in cls.dtypes and _max_entry_bytes(spec) > V1_MAX_MESSAGE_BYTES
        ]
        return super().problems(manifest) + name_problems(manifest) + sizes

    def _write(self, spec: TensorSpec, array: np.ndarray) -> None:
        with Path(self._values_path).open("ab") as file:
            start = file.tell()
            for piece in encode_values(array, spec.dtype):
                file.write(piece)
            self._places[spec.name] = (start, file.tell() - start)

    def _write_pieces(self, spec: TensorSpec, pieces: Iterator[Buffer]) -> None:
        if spec.dtype not in RAW_FIELDS:
            super()._write_pieces(spec, pieces)
            return
        with write_errors(self.path):
            handle = os.open(self._values_path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            start = os.fstat(handle).st_size
            self._write_pieces_at(handle, pieces, start)
        finally:
            os.close(handle)
        self._places[spec.name] = (start, spec.nbytes)

    def _finish(self) -> None:
        keys = {_full_key(spec): spec for spec in self.manifest.values()}
        meta = encode_meta(self.manifest.values(), self.metadata)
        with Path(self._table_path).open("wb") as target, Path(self._values_path).open("rb") as values:
            table = TableWriter(target)
            table.add(V1_META_KEY, [meta], len(meta))
            for key in sorted(keys):
                start, n_bytes = self._places[keys[key].name]
                head = _entry_head(keys[key], n_bytes)
                table.add(key, _with_head(head, values, start, n_bytes), len(head) + n_bytes)
            table.finish()
        remove_file(self._values_path)


def _full_extents(spec: TensorSpec) -> Slice:
    """The slice that is the whole tensor."""
    return (Extent(0, FULL_EXTENT),) * len(spec.shape)


def _full_key(spec: TensorSpec) -> bytes:
    return slice_key(spec.name, _full_extents(spec))


def _max_entry_bytes(spec: TensorSpec) -> int:
    return spec.size * max_value_bytes(spec.dtype) + 2 * len(spec.name.encode("utf-8", "replace")) + _MESSAGE_HEAD_BYTES


def _entry_head(spec: TensorSpec, n_bytes: int) -> bytes:
    """What stands in front of the values in the SavedTensorSlices {2 SavedSlice {1 name, 2 slice, 3 TensorProto}}."""
    extents = encode_slice((0, FULL_EXTENT) for _ in spec.shape)
    head = _opened(value_field(spec.dtype), n_bytes) if n_bytes else b""
    head = bytes_field(1, spec.name.encode()) + bytes_field(2, extents) + _opened(3, len(head) + n_bytes) + head
    return _opened(2, len(head) + n_bytes) + head


def _opened(number: int, n_bytes: int) -> bytes:
    """The beginning of a field whose content follows."""
    return encode_varint(number << 3 | LENGTH_DELIMITED) + encode_varint(n_bytes)


def _with_head(head: bytes, file: BinaryIO, start: int, n_bytes: int) -> Iterator[bytes]:
    """A head, and behind it a part of a file in pieces."""
    yield head
    file.seek(start)
    while piece := file.read(min(n_bytes, V1_COPY_BYTES)):
        n_bytes -= len(piece)
        yield piece
