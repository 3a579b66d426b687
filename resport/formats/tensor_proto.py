"""Tensors inside protobuf messages: the TensorProto of V1 checkpoints and of the Const nodes of a graph.

A TensorProto holds its values in one of two ways. ``tensor_content`` is the memory of the array. Otherwise each dtype
has a repeated field: floats of 4 or 8 bytes, varints for integers (of 8, 16 and 32 bits alike), bools and the bits of
the two half-precision types, strings, raw bytes for float8. A repeated field comes packed in one piece, or value by
value from old writers, or mixed. A message with fewer values than its shape has elements means that the last one fills
the rest, and one with none means zeros: so a few bytes can ask for any amount of memory, and what they may ask for is
bounded (``TENSOR_PROTO_MAX_FILL_BYTES``).

Varints are decoded and encoded with numpy, some tens of thousands at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from resport.dtypes import BY_NAME, BY_TENSORFLOW, to_numpy
from resport.errors import FormatError
from resport.formats.bundle_entry import parse_shape
from resport.formats.damage import check_text_count
from resport.formats.protobuf import FIXED64, LENGTH_DELIMITED, VARINT, Buffer, as_bytes, as_int, read_fields
from resport.tensors import TensorSpec

if TYPE_CHECKING:
    import numpy as np

DTYPE_FIELD, SHAPE_FIELD, CONTENT_FIELD = 1, 2, 4
TENSOR_PROTO_MAX_FILL_BYTES = 64 << 20
"""How large an array may become by repeating its last value: a larger constant of zeros is not found in a network."""

_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "qint8", "quint8", "qint16", "quint16", "qint32")
_SUB_BYTE = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}
VARINT_FIELDS: dict[str, int] = {
    **dict.fromkeys((*_INTEGERS, *_SUB_BYTE), 7),
    "int64": 10,
    "bool": 11,
    "float16": 13,
    "bfloat16": 13,
    "uint32": 16,
    "uint64": 17,
}
# What is stored here is the array's memory, in words of 4 or 8 bytes or, for float8, in one piece.
RAW_FIELDS: dict[str, int] = {
    "float32": 5,
    "float64": 6,
    "complex64": 9,
    "complex128": 12,
    **dict.fromkeys(
        ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e4m3b11fnuz", "float4_e2m1fn"),
        18,
    ),
}
STRING_FIELD = 8
TENSOR_PROTO_DTYPES = frozenset({*VARINT_FIELDS, *RAW_FIELDS})
"""The dtypes whose values a TensorProto holds, but for strings."""

# The longest varint of a value; all others are 64 bits of two's complement, which take ten bytes when negative.
_LONGEST_VARINT = {
    **dict.fromkeys(("bool", "uint4", "uint2"), 1),
    **dict.fromkeys(("uint8", "quint8"), 2),
    **dict.fromkeys(("uint16", "quint16", "float16", "bfloat16"), 3),
    "uint32": 5,
}
_VARINTS_AT_ONCE = 1 << 16
_VARINT_MAX_BYTES = 10


def parse_dtype(number: int) -> str:
    """The name of the dtype with a number of TensorFlow's.

    Raises:
        FormatError: no dtype has that number.
    """
    # From 101 on the same types stand for references to a variable.
    known = BY_TENSORFLOW.get(number - 100 if number > 100 else number)
    if known is None:
        raise FormatError("its dtype is unknown", got=f"TensorFlow's DataType {number}")
    return known.name


def parse_spec(name: str, data: Buffer) -> TensorSpec:
    """Dtype and shape of a TensorProto.

    Raises:
        FormatError: the message is damaged, its dtype unknown, or its shape incomplete.
    """
    dtype = 0
    shape: tuple[int, ...] = ()
    for number, _, value in read_fields(data):
        if number == DTYPE_FIELD:
            dtype = as_int(number, value)
        elif number == SHAPE_FIELD:
            shape = parse_shape(as_bytes(number, value))
    return TensorSpec(name, shape, parse_dtype(dtype))


def decode_tensor(data: Buffer, spec: TensorSpec, *, is_complete: bool = False) -> np.ndarray:
    """The values of a TensorProto.

    Args:
        data: the message; a view where it is large.
        spec: shape and dtype, which the caller takes from where the format keeps them.
        is_complete: whether every value must be there (a V1 checkpoint), rather than the last one fill the rest.

    Returns:
        An array of its own, of the spec's shape and dtype; strings as ``bytes`` objects.

    Raises:
        FormatError: the message is damaged, the values don't fit the dtype, or there are too many or too few.
    """
    if spec.dtype == "string":
        return _decode_strings(data, spec, is_complete)
    if spec.dtype not in TENSOR_PROTO_DTYPES:
        raise FormatError(f"it is a {spec.dtype}, which has no values")
    content = _content_of(data)
    if content is not None and len(content) != spec.nbytes:
        raise FormatError(
            "its content is not as long as its shape says",
            expected=f"{spec.nbytes} bytes for {spec.shape} {spec.dtype}",
            got=f"{len(content)} bytes",
        )
    array = _allocate(spec, len(data), is_complete)
    flat = array.reshape(-1)
    if content is not None:
        flat.view("u1")[:] = memoryview(content)
        return array
    n_values = 0
    for chunk in _chunks(data, spec.dtype):
        if n_values + len(chunk) > len(flat):
            raise _count_error(spec, f"{n_values + len(chunk)} or more")
        flat[n_values : n_values + len(chunk)] = chunk
        n_values += len(chunk)
    if n_values < len(flat):
        if is_complete:
            raise _count_error(spec, n_values)
        flat[n_values:] = flat[n_values - 1 : n_values] if n_values else 0
    return array


def memory_of(data: Buffer, spec: TensorSpec) -> Buffer | None:
    """The piece of a TensorProto that is the array's memory, all of it; None where it lies there in another way.

    Args:
        data: the message.
        spec: shape and dtype.

    Raises:
        FormatError: the message is damaged.
    """
    wanted = (CONTENT_FIELD, RAW_FIELDS.get(spec.dtype))
    found: Buffer | None = None
    for number, _, value in read_fields(data):
        if number in wanted:
            if found is not None or isinstance(value, int):
                return None
            found = value
    return found if found is not None and len(found) == spec.nbytes else None


def _content_of(data: Buffer) -> Buffer | None:
    """The field ``tensor_content``, or None where it is absent or empty."""
    content: Buffer = b""
    for number, _, value in read_fields(data):
        if number == CONTENT_FIELD:
            content = as_bytes(number, value)
    return content if len(content) else None


def _allocate(spec: TensorSpec, n_bytes: int, is_complete: bool) -> np.ndarray:
    """The array for a tensor of which a message of so many bytes holds the values."""
    import numpy as np

    # No value takes less than a byte, and one that is stored as memory takes all of its own.
    held = n_bytes if spec.dtype in VARINT_FIELDS else n_bytes // to_numpy(spec.dtype).itemsize
    if is_complete and spec.size > held:
        raise _count_error(spec, f"at most {held}")
    if spec.size > held and spec.nbytes > TENSOR_PROTO_MAX_FILL_BYTES:
        raise FormatError(
            "its shape asks for far more than its values are",
            expected=f"at most {TENSOR_PROTO_MAX_FILL_BYTES} bytes from a repeated value",
            got=f"{spec.nbytes} bytes from {n_bytes}",
        )
    try:
        return np.empty(spec.shape, to_numpy(spec.dtype))
    except ValueError as error:  # more axes than numpy has, or a size beside a 0 that no address reaches
        raise FormatError(f"its shape {spec.shape} cannot be: {error}") from None


def _count_error(spec: TensorSpec, got: object) -> FormatError:
    return FormatError("the number of its values is wrong", expected=f"{spec.size} for {spec.shape}", got=got)


def _chunks(data: Buffer, dtype: str) -> Iterator[np.ndarray]:
    """The values in the repeated field of a dtype, some at a time."""
    if dtype in RAW_FIELDS:
        yield from _raw_chunks(data, dtype)
        return
    import numpy as np

    single: list[int] = []
    for number, wire_type, value in read_fields(data):
        if number != VARINT_FIELDS[dtype]:
            continue
        if wire_type == VARINT:
            single.append(as_int(number, value))
        if single and (wire_type != VARINT or len(single) == _VARINTS_AT_ONCE):
            yield _from_varints(np.array(single, "<u8"), dtype)
            single.clear()
        if wire_type != VARINT:
            for words in decode_varints(as_bytes(number, value)):
                yield _from_varints(words, dtype)
    if single:
        yield _from_varints(np.array(single, "<u8"), dtype)


def _raw_chunks(data: Buffer, dtype: str) -> Iterator[np.ndarray]:
    """The values of a field that holds the array's memory."""
    import numpy as np

    kind = to_numpy(dtype)
    single = bytearray()  # words that came one by one; of a complex number there are two
    for number, wire_type, value in read_fields(data):
        if number != RAW_FIELDS[dtype]:
            continue
        if isinstance(value, int):
            if wire_type == VARINT or number == 18:
                raise FormatError(f"protobuf field {number} is of the wrong type", expected="floats", got="a varint")
            single += value.to_bytes(8 if wire_type == FIXED64 else 4, "little")
        if len(single) >= 8 * _VARINTS_AT_ONCE or (single and wire_type == LENGTH_DELIMITED):
            yield np.frombuffer(bytes(single), kind, _whole(len(single), kind))
            single.clear()
        if wire_type == LENGTH_DELIMITED:
            piece = as_bytes(number, value)
            if len(piece):
                yield np.frombuffer(piece, kind, _whole(len(piece), kind))
    if single:
        yield np.frombuffer(bytes(single), kind, _whole(len(single), kind))


def _whole(n_bytes: int, kind: np.dtype) -> int:
    """How many values are in some bytes."""
    if n_bytes % kind.itemsize:
        raise FormatError(
            "its values end within one", expected=f"a multiple of {kind.itemsize}", got=f"{n_bytes} bytes"
        )
    return n_bytes // kind.itemsize


def _from_varints(words: np.ndarray, dtype: str) -> np.ndarray:
    """Values of a dtype from varints: two's complement of 64 bits, the bits of a half, or 0 and 1."""
    import numpy as np

    kind = to_numpy(dtype)
    values: np.ndarray
    if dtype in {"bool", "uint64", "int64"}:
        values = words != 0 if dtype == "bool" else words.view(kind)
        return values
    signed = words.view("<i8")
    if dtype in {"float16", "bfloat16"}:
        low, high = 0, 0xFFFF
    elif dtype in _SUB_BYTE:
        low, high = _SUB_BYTE[dtype]
    else:
        low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    if len(signed) and (int(signed.min()) < low or int(signed.max()) > high):
        worst = signed.min() if signed.min() < low else signed.max()
        raise FormatError(f"a value does not fit {dtype}", expected=f"{low} to {high}", got=int(worst))
    values = signed.astype("<u2").view(kind) if high == 0xFFFF else signed.astype(kind)
    return values


def _decode_strings(data: Buffer, spec: TensorSpec, is_complete: bool) -> np.ndarray:
    """The string tensor of a message."""
    import numpy as np

    check_text_count(spec.size)
    strings = [bytes(as_bytes(number, value)) for number, _, value in read_fields(data) if number == STRING_FIELD]
    if len(strings) > spec.size or (is_complete and len(strings) < spec.size):
        raise _count_error(spec, len(strings))
    array = np.empty(spec.shape, object)
    flat = array.reshape(-1)
    flat[: len(strings)] = strings
    flat[len(strings) :] = strings[-1] if strings else b""
    return array


def value_field(dtype: str) -> int:
    """The number of the repeated field that holds the values of a dtype, which is not string."""
    return RAW_FIELDS[dtype] if dtype in RAW_FIELDS else VARINT_FIELDS[dtype]


def encode_values(array: np.ndarray, dtype: str) -> Iterator[Buffer]:
    """The content of the packed field with the values of an array, in pieces.

    Args:
        array: C-contiguous, of the numpy type that holds the dtype.
        dtype: one of ``TENSOR_PROTO_DTYPES``.

    Yields:
        Bytes, or views of the array's own memory.
    """
    import numpy as np

    flat = array.reshape(-1)
    if not flat.size:
        return
    if dtype in RAW_FIELDS:
        yield flat.view("u1").data
        return
    for start in range(0, flat.size, _VARINTS_AT_ONCE):
        values = flat[start : start + _VARINTS_AT_ONCE]
        if dtype in {"float16", "bfloat16"}:
            values = values.view("<u2")
        elif dtype == "uint64":
            values = values.view("<i8")
        yield encode_varints(values.astype(np.int64).view("<u8"))


def decode_varints(data: Buffer) -> Iterator[np.ndarray]:
    """Decode varints that stand back to back.

    Yields:
        uint64 arrays.

    Raises:
        FormatError: the bytes end within a varint, or one has more than 64 bits.
    """
    import numpy as np

    raw = np.frombuffer(data, np.uint8)
    start = 0
    while start < len(raw):
        piece = raw[start : start + _VARINTS_AT_ONCE]
        ends = np.flatnonzero(piece < 0x80)
        if not len(ends):
            problem = "the bytes end within a varint" if len(piece) < _VARINT_MAX_BYTES else "a varint is too long"
            raise FormatError(problem, offset=start)
        starts = np.concatenate([[0], ends[:-1] + 1])
        lengths = ends - starts + 1
        longest = int(lengths.max())
        is_long = lengths == _VARINT_MAX_BYTES
        if longest > _VARINT_MAX_BYTES or (piece[ends[is_long]] > 1).any():
            raise FormatError("a varint has more than 64 bits", offset=start)
        words = np.zeros(len(ends), "<u8")
        for position in range(longest):
            has = lengths > position
            septets = piece[starts[has] + position] & np.uint8(0x7F)
            words[has] |= septets.astype(np.uint64) << np.uint64(7 * position)
        yield words
        start += int(ends[-1]) + 1


def encode_varints(words: np.ndarray) -> bytes:
    """The varints of uint64 values, back to back."""
    import numpy as np

    lengths = np.ones(len(words), np.int64)
    for position in range(1, _VARINT_MAX_BYTES):
        lengths += words >= np.uint64(1 << 7 * position)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    encoded = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    for position in range(int(lengths.max(initial=0))):
        has = lengths > position
        septets = (words[has] >> np.uint64(7 * position)).astype(np.uint8) & np.uint8(0x7F)
        septets[lengths[has] > position + 1] |= np.uint8(0x80)
        encoded[starts[has] + position] = septets
    return encoded.tobytes()


def max_value_bytes(dtype: str) -> int:
    """The most bytes that one value of a dtype takes in a packed field."""
    return BY_NAME[dtype].itemsize if dtype in RAW_FIELDS else _LONGEST_VARINT.get(dtype, _VARINT_MAX_BYTES)
