"""Object headers and the messages that they are made of (section IV.A), in the versions of HDF5 1.0 to 1.6."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache

from resport.errors import FormatError
from resport.formats.damage import quoted
from resport.formats.hdf5_encoding.datatype import encode_datatype, encode_fixed_text, encode_text
from resport.formats.hdf5_encoding.text_heap import TextHeap
from resport.formats.hdf5_encoding.tree import Names, Value
from resport.formats.hdf5_file.dataspace import HAS_MAXIMUM
from resport.formats.hdf5_file.layout import CONTIGUOUS
from resport.formats.hdf5_file.object_header import (
    ATTRIBUTE,
    DATASPACE,
    DATATYPE,
    FILL_VALUE,
    IS_CONSTANT,
    LAYOUT,
    OLD_HEADER_VERSION,
    OLD_MESSAGE_PREFIX,
    SYMBOL_TABLE,
)

NOWHERE = (1 << 64) - 1
"""The address of what is not there."""
MAX_MESSAGES = (1 << 16) - 1
# The length is a multiple of eight, and has two bytes.
MAX_MESSAGE_BYTES = (1 << 16) - 8
_HEADER = struct.Struct("<BxHII4x")
_ATTRIBUTE = struct.Struct("<Bx3H")
_LAYOUT = struct.Struct("<HHB3xBBQQ6x")
_SYMBOL_TABLE = struct.Struct("<HHB3xQQ")
# Version 2; room is taken at once, nothing is ever filled in, and zeros would be.
_FILL_VALUE = struct.pack("<4BI", 2, 1, 1, 1, 0)
LAYOUT_MESSAGE_BYTES = _LAYOUT.size
SYMBOL_TABLE_MESSAGE_BYTES = _SYMBOL_TABLE.size


def encode_header(messages: Sequence[bytes]) -> bytes:
    """An object's header, in one block.

    Args:
        messages: what it is made of.

    Raises:
        FormatError: they are too many.
    """
    check_count(len(messages))
    body = b"".join(messages)
    return _HEADER.pack(OLD_HEADER_VERSION, len(messages), 1, len(body)) + body


def check_count(n_messages: int) -> None:
    """Refuse more messages than a header can have.

    Raises:
        FormatError: they are too many.
    """
    if n_messages > MAX_MESSAGES:
        raise FormatError("an object has more attributes than HDF5 can hold", expected=MAX_MESSAGES, got=n_messages)


def header_bytes(messages: Sequence[bytes]) -> int:
    """How many bytes a header has."""
    return _HEADER.size + sum(map(len, messages))


@lru_cache(maxsize=1024)
def describe_elements(dtype: str, shape: tuple[int, ...]) -> tuple[bytes, ...]:
    """The messages that tell a dataset's shape and elements."""
    return (
        _encode_message(DATASPACE, _encode_dataspace(shape)),
        _encode_message(DATATYPE, encode_datatype(dtype), IS_CONSTANT),
        _encode_message(FILL_VALUE, _FILL_VALUE, IS_CONSTANT),
    )


def encode_layout(address: int, n_bytes: int) -> bytes:
    """The message that tells where a dataset's values are; without any, they are nowhere."""
    data_bytes = LAYOUT_MESSAGE_BYTES - OLD_MESSAGE_PREFIX.size
    if n_bytes == 0:
        return _LAYOUT.pack(LAYOUT, data_bytes, 0, 3, CONTIGUOUS, NOWHERE, 0)
    return _LAYOUT.pack(LAYOUT, data_bytes, IS_CONSTANT, 3, CONTIGUOUS, address, n_bytes)


def encode_symbol_table(tree: int, heap: int) -> bytes:
    """The message that tells where the members of a group are."""
    return _SYMBOL_TABLE.pack(SYMBOL_TABLE, SYMBOL_TABLE_MESSAGE_BYTES - OLD_MESSAGE_PREFIX.size, 0, tree, heap)


def encode_attributes(attributes: Mapping[str, Value], texts: TextHeap) -> tuple[bytes, ...]:
    """The messages of an object's attributes.

    Args:
        attributes: their values by their names.
        texts: gets those of variable length.

    Raises:
        FormatError: one of them is too long.
    """
    return tuple(_encode_attribute(name, value, texts) for name, value in attributes.items())


def _encode_attribute(name: str, value: Value, texts: TextHeap) -> bytes:
    if isinstance(value, Names):
        kind, shape = encode_fixed_text(value.width), _encode_dataspace((len(value.texts),))
        elements = b"".join(text.ljust(value.width, b"\0") for text in value.texts)
    else:
        is_ascii = isinstance(value, bytes)
        kind, shape = encode_text(is_ascii), _encode_dataspace(())
        elements = texts.add(value if isinstance(value, bytes) else value.encode())
    label = name.encode() + b"\0"
    data = b"".join((_padded(label), _padded(kind), _padded(shape), elements))
    if _ATTRIBUTE.size + len(data) > MAX_MESSAGE_BYTES:
        raise FormatError(
            f"the attribute {quoted(name)} is longer than HDF5 can hold",
            expected=f"at most {MAX_MESSAGE_BYTES - _ATTRIBUTE.size} bytes",
            got=f"{len(data)} bytes",
        )
    return _encode_message(ATTRIBUTE, _ATTRIBUTE.pack(1, len(label), len(kind), len(shape)) + data)


@lru_cache(maxsize=1024)
def _encode_dataspace(shape: tuple[int, ...]) -> bytes:
    """A shape that cannot grow; a scalar has no axes."""
    axes = struct.pack(f"<{len(shape)}Q", *shape)
    return struct.pack("<BBB5x", 1, len(shape), HAS_MAXIMUM * bool(shape)) + 2 * axes


def _encode_message(kind: int, data: bytes, flags: int = 0) -> bytes:
    padded = _padded(data)
    return OLD_MESSAGE_PREFIX.pack(kind, len(padded), flags) + padded


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)
