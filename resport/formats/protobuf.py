"""The wire format of Protocol Buffers, as far as files of weights need it.

TensorFlow keeps its indexes, graphs and saved models as protobuf messages. The messages that resport reads have a
dozen fields between them, so it reads the wire format itself: no generated code, no schema compiled in, no library that
must match the one TensorFlow brings. A message is a run of fields; ``read_fields`` yields them in the order of the
file, and the caller picks the numbers that it knows, which is how the format itself treats fields of later versions.

Faults are raised as ``FormatError`` with the offset inside the message and without a path: the caller, who knows the
file and the tensor, catches the error once and adds them (``resport.formats.damage.located``).
"""

from __future__ import annotations

from collections.abc import Iterator

from resport.errors import FormatError

Buffer = bytes | memoryview
"""What is parsed. Pieces of ``bytes`` are copies, pieces of a ``memoryview`` are views."""

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
PROTOBUF_MAX_VARINT_BYTES = 10
PROTOBUF_MAX_FIELDS = (1 << 20) + 64
"""Of one message; the most that mean something are the texts of a tensor, with what stands beside them."""
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}


def read_varint(data: Buffer, offset: int, end: int | None = None) -> tuple[int, int]:
    """Read an unsigned integer of seven bits per byte, the lowest first.

    Args:
        data: the bytes.
        offset: where the integer starts.
        end: where the readable part of ``data`` ends; its whole length by default.

    Returns:
        The integer, below 2^64, and the offset behind it.

    Raises:
        FormatError: the bytes end within the integer, or it has more than 64 bits.
    """
    limit = len(data) if end is None else end
    value = shift = 0
    for position in range(offset, min(limit, offset + PROTOBUF_MAX_VARINT_BYTES)):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position + 1
        shift += 7
    else:
        if limit < offset + PROTOBUF_MAX_VARINT_BYTES:
            raise FormatError("the bytes end within a varint", offset=offset)
    raise FormatError("a varint has more than 64 bits", offset=offset)


def read_short_varint(data: Buffer, offset: int, end: int) -> tuple[int, int]:
    """``read_varint`` with a short way for one byte, which is what nearly all of them take."""
    if offset < end and data[offset] < 0x80:
        return data[offset], offset + 1
    return read_varint(data, offset, end)


def read_fields(data: Buffer) -> Iterator[tuple[int, int, int | Buffer]]:
    """Iterate over the fields of a message in the order of the file.

    Args:
        data: one whole message.

    Yields:
        The field's number, its wire type, and its value: an unsigned integer for ``VARINT``, ``FIXED64`` and
        ``FIXED32``, a piece of ``data`` for ``LENGTH_DELIMITED``.

    Raises:
        FormatError: the message ends within a field, a field has the number 0 or a wire type out of use, or there are
            more of them than any writer makes.
    """
    offset, end = 0, len(data)
    n_fields = 0
    while offset < end:
        start = offset
        n_fields += 1
        if n_fields > PROTOBUF_MAX_FIELDS:
            raise FormatError(
                "a protobuf message has too many fields", expected=f"at most {PROTOBUF_MAX_FIELDS}", offset=start
            )
        tag, offset = read_short_varint(data, offset, end)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise FormatError("a protobuf field has the number 0", offset=start)
        if wire_type == VARINT:
            value, offset = read_short_varint(data, offset, end)
            yield number, wire_type, value
            continue
        if wire_type == LENGTH_DELIMITED:
            size, offset = read_short_varint(data, offset, end)
        elif wire_type in _FIXED_BYTES:
            size = _FIXED_BYTES[wire_type]
        else:
            raise FormatError(f"protobuf field {number} has the wire type {wire_type}", offset=start)
        if size > end - offset:
            raise FormatError(
                f"protobuf field {number} reaches beyond its message",
                expected=f"at most {end - offset} bytes",
                got=f"{size} bytes",
                offset=start,
            )
        piece = data[offset : offset + size]
        offset += size
        yield number, wire_type, piece if wire_type == LENGTH_DELIMITED else int.from_bytes(piece, "little")


def as_int(number: int, value: int | Buffer) -> int:
    """The value of a field that must be an unsigned integer.

    Raises:
        FormatError: it is a string or message.
    """
    if isinstance(value, int):
        return value
    raise FormatError(f"protobuf field {number} is of the wrong type", expected="an integer", got="bytes")


def as_signed(number: int, value: int | Buffer) -> int:
    """The value of a field that must be an ``int32`` or ``int64``: two's complement of 64 bits on the wire.

    Raises:
        FormatError: it is a string or message.
    """
    integer = as_int(number, value)
    return integer - (1 << 64) if integer >> 63 else integer


def as_bytes(number: int, value: int | Buffer) -> Buffer:
    """The value of a field that must be a string, bytes or a message.

    Raises:
        FormatError: it is an integer.
    """
    if isinstance(value, int):
        raise FormatError(f"protobuf field {number} is of the wrong type", expected="bytes", got="an integer")
    return value


def as_text(number: int, value: int | Buffer) -> str:
    """The value of a field that must be UTF-8 text.

    Raises:
        FormatError: it is an integer, or not UTF-8.
    """
    try:
        return str(as_bytes(number, value), "utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"protobuf field {number} is not UTF-8: {error.reason}", offset=error.start) from None


def encode_varint(value: int) -> bytes:
    """The varint of an integer; a negative one is encoded in 64 bits of two's complement, which takes ten bytes.

    Raises:
        OverflowError: the integer fits neither 64 bits with a sign nor without.
    """
    if not -(1 << 63) <= value < 1 << 64:
        raise OverflowError(f"{value} has more than 64 bits")
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def varint_field(number: int, value: int) -> bytes:
    """A field with an integer; nothing at all for 0, which proto3 leaves out."""
    return encode_varint(number << 3 | VARINT) + encode_varint(value) if value else b""


def fixed32_field(number: int, value: int) -> bytes:
    """A field with an unsigned integer in four bytes; nothing at all for 0, which proto3 leaves out."""
    return encode_varint(number << 3 | FIXED32) + value.to_bytes(4, "little") if value else b""


def bytes_field(number: int, value: bytes) -> bytes:
    """A field with a string, bytes or a message; written when empty too, because an empty message counts as set."""
    return encode_varint(number << 3 | LENGTH_DELIMITED) + encode_varint(len(value)) + value
