"""The messages in a V1 checkpoint: the list of its tensors, and the values of one slice.

Both are a SavedTensorSlices {1 meta, 2 data}, the first under the empty key, the second under that of its slice. A
SavedSlice's TensorProto has values and neither dtype nor shape: these are in the list alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from resport.dtypes import BY_NAME
from resport.errors import FormatError
from resport.formats.bundle_entry import parse_shape, parse_slice
from resport.formats.protobuf import (
    Buffer,
    as_bytes,
    as_int,
    as_signed,
    as_text,
    bytes_field,
    read_fields,
    varint_field,
)
from resport.formats.tensor_proto import parse_dtype
from resport.formats.tensor_slice import FULL_EXTENT, Slice
from resport.tensors import TensorSpec

V1_VERSION = 1
"""Version of the format that is read and written; TensorFlow has had no other."""
V1_MAX_TENSORS = 1 << 18
V1_MAX_SLICES = 1 << 18
"""Of all tensors of a file together."""
V1_MAX_LIST_BYTES = 12 << 20
"""A hundred bytes for each of the most tensors, and as much as is parsed in a few seconds."""
V1_METADATA_FIELD = 15_000
"""Number of the field of SavedTensorSliceMeta with resport's metadata: repeated {1 key, 2 value}."""


@dataclass(frozen=True, slots=True)
class V1Meta:
    """What a file lists.

    Attributes:
        tensors: the spec of each tensor as a whole, and its slices that are in this file.
        metadata: text that resport keeps with the checkpoint.
    """

    tensors: tuple[tuple[TensorSpec, tuple[Slice, ...]], ...]
    metadata: Mapping[str, str]


def parse_meta(data: Buffer) -> V1Meta:
    """Parse the SavedTensorSlices under the empty key: {1 SavedTensorSliceMeta {1 repeated tensor, 2 versions}}.

    Raises:
        FormatError: it is damaged, holds something else, or is of a later version.
    """
    tensors: list[tuple[TensorSpec, tuple[Slice, ...]]] = []
    metadata, n_slices = {}, 0
    if len(data) > V1_MAX_LIST_BYTES:
        raise FormatError("it is too long", expected=f"at most {V1_MAX_LIST_BYTES} bytes", got=f"{len(data)} bytes")
    messages = [as_bytes(number, value) for number, _, value in read_fields(data) if number == 1]
    if len(messages) != 1:
        raise FormatError("it is not there", expected="one list", got=f"{len(messages)}")
    for number, _, value in read_fields(messages[0]):
        if number == 1:
            tensors.append(_parse_tensor(as_bytes(number, value), V1_MAX_SLICES - n_slices))
            n_slices += len(tensors[-1][1])
            if len(tensors) > V1_MAX_TENSORS:
                raise FormatError("it has more tensors than any network", expected=f"at most {V1_MAX_TENSORS}")
        elif number == 2:
            _check_version(as_bytes(number, value))
        elif number == V1_METADATA_FIELD:
            pair = {n: as_text(n, text) for n, _, text in read_fields(as_bytes(number, value))}
            metadata[pair.get(1, "")] = pair.get(2, "")
    return V1Meta(tuple(tensors), metadata)


def _parse_tensor(data: Buffer, most_slices: int) -> tuple[TensorSpec, tuple[Slice, ...]]:
    """Parse a SavedSliceMeta {1 name, 2 shape, 3 type, 4 repeated slice}."""
    name, dtype = "", 0
    shape: tuple[int, ...] = ()
    slices = []
    for number, _, value in read_fields(data):
        if number == 1:
            name = as_text(number, value)
        elif number == 2:
            shape = parse_shape(as_bytes(number, value))
        elif number == 3:
            dtype = as_int(number, value)
        elif number == 4:
            slices.append(parse_slice(as_bytes(number, value)))
            if len(slices) > most_slices:
                raise FormatError("it has more slices than any network", expected=f"at most {V1_MAX_SLICES}")
    return TensorSpec(name, shape, parse_dtype(dtype)), tuple(slices)


def _check_version(data: Buffer) -> None:
    """Check VersionDef {1 producer, 2 min_consumer, 3 bad_consumers}."""
    for number, _, value in read_fields(data):
        if number == 2 and as_signed(number, value) > V1_VERSION:
            raise FormatError(
                "it asks for a later reader",
                expected=f"format version {V1_VERSION}",
                got=f"version {as_signed(number, value)}",
            )


def encode_meta(specs: Iterable[TensorSpec], metadata: Mapping[str, str]) -> bytes:
    """The SavedTensorSlices that lists whole tensors; the metadata is written in the order of its keys."""
    tensors = b"".join(
        bytes_field(
            1,
            bytes_field(1, spec.name.encode())
            + bytes_field(2, b"".join(bytes_field(2, varint_field(1, size)) for size in spec.shape))
            + varint_field(3, BY_NAME[spec.dtype].tensorflow or 0)
            + bytes_field(4, encode_slice(((0, FULL_EXTENT),) * len(spec.shape))),
        )
        for spec in specs
    )
    pairs = b"".join(
        bytes_field(V1_METADATA_FIELD, bytes_field(1, key.encode()) + bytes_field(2, text.encode()))
        for key, text in sorted(metadata.items())
    )
    return bytes_field(1, tensors + bytes_field(2, varint_field(1, V1_VERSION)) + pairs)


def encode_slice(extents: Iterable[tuple[int, int]]) -> bytes:
    """The TensorSliceProto of starts and lengths; a full axis is an empty message."""
    return b"".join(
        bytes_field(1, b"" if length == FULL_EXTENT else varint_field(1, start) + varint_field(2, length))
        for start, length in extents
    )


def parse_saved_slice(data: Buffer) -> tuple[str, Buffer]:
    """Parse SavedTensorSlices {2 SavedSlice {1 name, 2 slice, 3 data}}.

    Returns:
        The tensor's name and the TensorProto with the slice's values.

    Raises:
        FormatError: it is damaged, or holds something else.
    """
    for number, _, value in read_fields(data):
        if number == 2:
            fields = {n: as_bytes(n, piece) for n, _, piece in read_fields(as_bytes(number, value)) if n in {1, 3}}
            if 3 in fields:
                return str(fields.get(1, b""), "utf-8", "replace"), fields[3]
    raise FormatError("its entry has no values")
