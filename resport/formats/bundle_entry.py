"""The two messages in the index of a V2 checkpoint: the header, and the entry of one tensor.

Only what they mean is here; where they stand in the table, and the data that they point to, is the business of
``resport.formats.tensor_bundle``. Everything that a message can tell about itself is checked when it is parsed, so
that the rest of the code works with sizes that fit their shapes.

resport keeps the metadata of a checkpoint in the header, under a field number that TensorFlow doesn't use. Readers of
protobuf skip fields that they don't know, so TensorFlow reads such an index as any other, and no file or tensor is
added that somebody would trip over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from resport.dtypes import BY_NAME, BY_TENSORFLOW, OPAQUE
from resport.errors import FormatError
from resport.formats.damage import quoted
from resport.formats.protobuf import (
    Buffer,
    as_bytes,
    as_int,
    as_signed,
    as_text,
    bytes_field,
    fixed32_field,
    read_fields,
    varint_field,
)
from resport.formats.tensor_slice import FULL_EXTENT, Extent, Slice
from resport.tensors import TensorSpec

BUNDLE_VERSION = 1
"""Version of the format that is read and written; TensorFlow has had no other."""
BUNDLE_FORMAT = "tensorflow-v2"
BUNDLE_HEADER_KEY = b""
BUNDLE_MAX_SHARDS = 99_999
"""Shard numbers have five digits in file names."""
MAX_AXES = 64
"""numpy's own limit."""
BUNDLE_METADATA_FIELD = 15_000
"""Number of the header field with resport's metadata: repeated {1 key, 2 value}."""


class BundleHeader(NamedTuple):
    """What an index says about the checkpoint as a whole.

    Attributes:
        n_shards: number of data files.
        metadata: text that resport keeps with the checkpoint.
    """

    n_shards: int
    metadata: Mapping[str, str] = MappingProxyType({})


class BundleEntry(NamedTuple):
    """What an index says about one tensor, or about one slice of a partitioned one.

    Attributes:
        spec: name, shape and dtype.
        shard: number of the data file.
        offset: where the data starts in that file, in bytes.
        size_bytes: length of the data; that of the spec, but for strings, whose lengths the data tells.
        crc32c: masked checksum of the data.
        slices: the slices that hold the data of a partitioned tensor, which has none of its own.
    """

    spec: TensorSpec
    shard: int = 0
    offset: int = 0
    size_bytes: int = 0
    crc32c: int = 0
    slices: tuple[Slice, ...] = ()


def parse_header(data: Buffer) -> BundleHeader:
    """Parse a BundleHeaderProto.

    Raises:
        FormatError: it is damaged, of a later version, or written on a big-endian machine.
    """
    n_shards = 0
    metadata: dict[str, str] = {}
    for number, _, value in read_fields(data):
        if number == 1:
            n_shards = as_signed(number, value)
        elif number == 2 and as_int(number, value) != 0:
            raise FormatError(
                "its values are stored big-endian, which resport does not read",
                hint="save the checkpoint again on a little-endian machine (x86, ARM)",
            )
        elif number == 3:
            _check_version(as_bytes(number, value))
        elif number == BUNDLE_METADATA_FIELD:
            key, text = _parse_metadata(as_bytes(number, value))
            metadata[key] = text
    if not 1 <= n_shards <= BUNDLE_MAX_SHARDS:
        raise FormatError(
            "its number of shards cannot be", expected=f"1 to {BUNDLE_MAX_SHARDS}", got=f"{n_shards} shards"
        )
    return BundleHeader(n_shards, metadata)


def _check_version(data: Buffer) -> None:
    """Check VersionDef {1 producer, 2 min_consumer, 3 bad_consumers}."""
    for number, _, value in read_fields(data):
        if number == 2 and as_signed(number, value) > BUNDLE_VERSION:
            raise FormatError(
                "it asks for a later reader",
                expected=f"format version {BUNDLE_VERSION}",
                got=f"version {as_signed(number, value)}",
            )


def _parse_metadata(data: Buffer) -> tuple[str, str]:
    pair = {number: as_text(number, value) for number, _, value in read_fields(data)}
    return pair.get(1, ""), pair.get(2, "")


def encode_header(header: BundleHeader) -> bytes:
    """The BundleHeaderProto of a header; the metadata is written in the order of its keys."""
    pairs = sorted(header.metadata.items())
    return (
        varint_field(1, header.n_shards)
        + bytes_field(3, varint_field(1, BUNDLE_VERSION))
        + b"".join(
            bytes_field(BUNDLE_METADATA_FIELD, bytes_field(1, key.encode()) + bytes_field(2, text.encode()))
            for key, text in pairs
        )
    )


def parse_entry(name: str, data: Buffer) -> BundleEntry:
    """Parse a BundleEntryProto.

    Args:
        name: the tensor's name; empty for a slice, whose key is none.
        data: the message.

    Raises:
        FormatError: it is damaged, its dtype is unknown, or its size is not that of its shape and dtype.
    """
    dtype = 0
    shape: tuple[int, ...] = ()
    slices: list[Slice] = []
    numbers = dict.fromkeys((3, 4, 5, 6), 0)  # shard_id, offset, size, crc32c
    for number, _, value in read_fields(data):
        if number == 1:
            dtype = as_int(number, value)
        elif number == 2:
            message = as_bytes(number, value)
            shape = _known_shape(bytes(message)) if len(message) <= _KNOWN_SHAPE_BYTES else parse_shape(message)
        elif number == 7:
            slices.append(parse_slice(as_bytes(number, value)))
        elif number in numbers:
            numbers[number] = as_signed(number, value)
    if dtype not in BY_TENSORFLOW:
        raise FormatError("its dtype is unknown", got=f"TensorFlow's DataType {dtype}")
    spec = TensorSpec(name, shape, BY_TENSORFLOW[dtype].name)
    entry = BundleEntry(spec, numbers[3], numbers[4], numbers[5], numbers[6], tuple(slices))
    _check_size(entry)
    return entry


def _check_size(entry: BundleEntry) -> None:
    if min(entry.shard, entry.offset, entry.size_bytes) < 0:
        raise FormatError("its place is negative", got=f"{entry.size_bytes} bytes at {entry.offset}")
    spec = entry.spec
    if not entry.slices and spec.dtype not in OPAQUE and entry.size_bytes != spec.nbytes:
        raise FormatError(
            "its size is not that of its shape",
            expected=f"{spec.nbytes} bytes for {spec.shape} {spec.dtype}",
            got=f"{entry.size_bytes} bytes",
        )


def parse_shape(data: Buffer) -> tuple[int, ...]:
    """Parse a TensorShapeProto {2 repeated dim {1 size}, 3 unknown_rank}.

    Raises:
        FormatError: it is damaged, or the rank or a size is unknown.
    """
    shape = []
    for number, _, value in read_fields(data):
        if number == 2:
            sizes = [as_signed(n, size) for n, _, size in read_fields(as_bytes(number, value)) if n == 1]
            shape.append(sizes[-1] if sizes else 0)
            _check_rank(len(shape))
        elif number == 3 and as_int(number, value):
            raise FormatError("its rank is unknown")
    if min(shape, default=0) < 0:
        raise FormatError("a size of its shape is unknown", got=f"{tuple(shape)}")
    return tuple(shape)


# A network has some dozen shapes, and hundreds of tensors of them. What is longer is padded, and not kept.
_KNOWN_SHAPE_BYTES = 64
_known_shape = lru_cache(maxsize=256)(parse_shape)


def _check_rank(n_axes: int) -> None:
    # A longer shape could not be read, only multiplied for hours.
    if n_axes > MAX_AXES:
        raise FormatError(
            "its shape cannot be: it has more axes than an array can have", expected=f"at most {MAX_AXES}"
        )


def parse_slice(data: Buffer) -> Slice:
    """Parse a TensorSliceProto {1 repeated extent {1 start, 2 length}}; no length means the full axis.

    Raises:
        FormatError: it is damaged.
    """
    extents = []
    for number, _, value in read_fields(data):
        if number == 1:
            extent = {1: 0, 2: FULL_EXTENT}
            extent |= {n: as_signed(n, bound) for n, _, bound in read_fields(as_bytes(number, value)) if n in extent}
            extents.append(Extent(extent[1], extent[2]))
            _check_rank(len(extents))
    return tuple(extents)


def encode_entry(entry: BundleEntry) -> bytes:
    """The BundleEntryProto of an entry without slices."""
    dims = b"".join(bytes_field(2, varint_field(1, size)) for size in entry.spec.shape)
    return (
        varint_field(1, BY_NAME[entry.spec.dtype].tensorflow or 0)
        + bytes_field(2, dims)
        + varint_field(3, entry.shard)
        + varint_field(4, entry.offset)
        + varint_field(5, entry.size_bytes)
        + fixed32_field(6, entry.crc32c)
    )


def name_problems(names: Iterable[str]) -> list[str]:
    """What is wrong with those of some names that cannot be keys, one sentence each."""
    return [
        f"the name {quoted(name)} is {'not UTF-8' if name else 'empty'}"
        for name in names
        if not name or not is_utf8(name)
    ]


def is_utf8(name: str) -> bool:
    """Whether a name can be a key of the index."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
