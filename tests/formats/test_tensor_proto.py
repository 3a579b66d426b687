"""TensorProto: every dtype, packed and not, filled up and damaged; TensorFlow's own conversion as oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resport.dtypes import BY_NAME, to_numpy
from resport.errors import FormatError
from resport.formats.protobuf import bytes_field, encode_varint, varint_field
from resport.formats.tensor_proto import (
    RAW_FIELDS,
    TENSOR_PROTO_DTYPES,
    TENSOR_PROTO_MAX_FILL_BYTES,
    decode_tensor,
    decode_varints,
    encode_values,
    encode_varints,
    max_value_bytes,
    parse_spec,
    value_field,
)
from resport.tensors import TensorSpec
from tests.contracts import SPECIAL_BITS, assert_same_bits, peak_bytes, random_array, special_array

DTYPES = sorted(TENSOR_PROTO_DTYPES)


def payload(array: np.ndarray, dtype: str) -> bytes:
    return b"".join(bytes(piece) for piece in encode_values(array, dtype))


def head(dtype: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(bytes_field(2, varint_field(1, size)) for size in shape)
    return varint_field(1, BY_NAME[dtype].tensorflow or 0) + bytes_field(2, dims)


@pytest.mark.parametrize("dtype", DTYPES)
def test_packed_and_content(dtype: str) -> None:
    for shape in [(2, 3), (), (0, 3), (70_001,)]:
        array = random_array(dtype, shape)
        spec = TensorSpec("w", shape, dtype)
        stored = payload(array, dtype)
        assert len(stored) <= array.size * max_value_bytes(dtype)
        for values in (bytes_field(value_field(dtype), stored), bytes_field(4, array.tobytes())):
            message = head(dtype, shape) + values
            assert parse_spec("w", message) == spec
            for data in (message, memoryview(message)):
                decoded = decode_tensor(data, spec, is_complete=True)
                assert_same_bits(decoded, array)
                assert decoded.base is None and decoded.flags.writeable


@pytest.mark.parametrize("dtype", sorted(TENSOR_PROTO_DTYPES & set(SPECIAL_BITS)))
def test_special_values(dtype: str) -> None:
    array = special_array(dtype)
    assert_same_bits(
        decode_tensor(bytes_field(value_field(dtype), payload(array, dtype)), spec_of(array, dtype)), array
    )


def spec_of(array: np.ndarray, dtype: str) -> TensorSpec:
    return TensorSpec("w", array.shape, dtype)


def singly(array: np.ndarray, dtype: str) -> list[bytes]:
    """The values of an array as fields of their own; of a complex number two."""
    number = value_field(dtype)
    if dtype in RAW_FIELDS:
        width = 4 if dtype in {"float32", "complex64"} else 8
        raw = array.tobytes()
        tag = encode_varint(number << 3 | (5 if width == 4 else 1))
        return [tag + raw[start : start + width] for start in range(0, len(raw), width)]
    integers = np.concatenate([*decode_varints(payload(array, dtype))]) if array.size else []
    return [encode_varint(number << 3) + encode_varint(int(value)) for value in integers]


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if value_field(dtype) != 18])
def test_unpacked_and_mixed(dtype: str) -> None:
    array = random_array(dtype, (3, 4))
    spec = spec_of(array, dtype)
    fields = singly(array, dtype)
    assert_same_bits(decode_tensor(b"".join(fields), spec, is_complete=True), array)
    half = len(fields) // 2
    mixed = bytes_field(value_field(dtype), payload(array.reshape(-1)[:6], dtype)) + b"".join(fields[half:])
    assert_same_bits(decode_tensor(mixed, spec, is_complete=True), array)
    other = b"".join(fields[:half]) + bytes_field(value_field(dtype), payload(array.reshape(-1)[6:], dtype))
    assert_same_bits(decode_tensor(other, spec, is_complete=True), array)


def test_many_single_values() -> None:
    array = random_array("int32", (150_000,))
    assert_same_bits(decode_tensor(b"".join(singly(array, "int32")), spec_of(array, "int32")), array)
    floats = random_array("float32", (150_000,))
    assert_same_bits(decode_tensor(b"".join(singly(floats, "float32")), spec_of(floats, "float32")), floats)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_last_value_fills_the_rest(dtype: str) -> None:
    array = random_array(dtype, (3,))
    spec = TensorSpec("w", (2, 4), dtype)
    field = value_field(dtype)
    filled = decode_tensor(bytes_field(field, payload(array, dtype)), spec)
    assert filled.reshape(-1)[:3].tobytes() == array.tobytes()
    assert filled.reshape(-1)[3:].tobytes() == array[2:].tobytes() * 5
    assert decode_tensor(b"", spec).tobytes() == bytes(8 * array.itemsize)
    for data in (b"", bytes_field(field, payload(array, dtype))):
        with pytest.raises(FormatError, match="number of its values"):
            decode_tensor(data, spec, is_complete=True)


def test_too_many_values() -> None:
    array = random_array("float32", (5,))
    for data in (bytes_field(5, array.tobytes()), b"".join(singly(array, "float32"))):
        with pytest.raises(FormatError, match="number of its values"):
            decode_tensor(data, TensorSpec("w", (4,), "float32"))


@pytest.mark.parametrize("dtype", ["float32", "bool", "int64", "string"])
def test_a_few_bytes_get_little_memory(dtype: str) -> None:
    for shape in [(1 << 34,), (1 << 20, 1 << 20), (0x7FFFFFFF,) * 2]:
        with peak_bytes() as peak, pytest.raises(FormatError, match=r"far more|more texts|cannot be"):
            decode_tensor(b"\x50\x01", TensorSpec("w", shape, dtype))
        assert peak[0] < 16 << 20
    size = TENSOR_PROTO_MAX_FILL_BYTES // 4
    assert decode_tensor(bytes_field(5, b"\0\0\x80\x3f"), TensorSpec("w", (size,), "float32"))[-1] == 1
    with pytest.raises(FormatError, match="far more"):
        decode_tensor(bytes_field(5, b"\0\0\x80\x3f"), TensorSpec("w", (size + 1,), "float32"))


def test_impossible_rank() -> None:
    with pytest.raises(FormatError, match="cannot be"):
        decode_tensor(b"", TensorSpec("w", (1,) * 99, "float32"))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int8", 128), ("uint8", -1), ("int16", -40_000), ("int32", 1 << 31), ("float16", 1 << 16), ("uint4", 16)],
)
def test_a_value_that_does_not_fit(dtype: str, value: int) -> None:
    message = encode_varint(value_field(dtype) << 3) + encode_varint(value)
    with pytest.raises(FormatError, match="does not fit") as caught:
        decode_tensor(message, TensorSpec("w", (1,), dtype))
    assert caught.value.got == value


@pytest.mark.parametrize(
    ("data", "spec", "message"),
    [
        (bytes_field(4, b"\0" * 7), TensorSpec("w", (2,), "float32"), "content"),
        (bytes_field(5, b"\0" * 7), TensorSpec("w", (2,), "float32"), "end within"),
        (b"\x2d\0\0\0\0", TensorSpec("w", (1,), "complex64"), None),
        (encode_varint(9 << 3 | 5) + b"\0\0\0\0", TensorSpec("w", (1,), "complex64"), "end within"),
        (b"\x28\x01", TensorSpec("w", (1,), "float32"), "wrong type"),
        (bytes_field(7, b"\x80"), TensorSpec("w", (1,), "int32"), "end within a varint"),
        (bytes_field(7, b"\xff" * 9 + b"\x02"), TensorSpec("w", (1,), "int32"), "64 bits"),
        (bytes_field(7, b"\xff" * 12 + b"\x01"), TensorSpec("w", (1,), "int32"), "64 bits"),
        (b"", TensorSpec("w", (), "resource"), "no values"),
    ],
)
def test_damage(data: bytes, spec: TensorSpec, message: str | None) -> None:
    if message is None:  # a field of another dtype is none of this one
        assert decode_tensor(data, spec).tolist() == [0]
        return
    with pytest.raises(FormatError, match=message):
        decode_tensor(data, spec)


@pytest.mark.parametrize(
    "message", [b"", b"\x08\x63", b"\x08\x01\x12\x02\x18\x01", b"\x08\x01\x12\x0d\x12\x0b\x08" + b"\xff" * 9 + b"\x01"]
)
def test_no_spec(message: bytes) -> None:
    with pytest.raises(FormatError):
        parse_spec("w", message)


def test_strings() -> None:
    message = head("string", (2, 2)) + b"".join(bytes_field(8, text) for text in (b"a", b"\xff\0", b""))
    spec = parse_spec("w", message)
    assert decode_tensor(message, spec).tolist() == [[b"a", b"\xff\0"], [b"", b""]]
    with pytest.raises(FormatError, match="number"):
        decode_tensor(message, spec, is_complete=True)
    with pytest.raises(FormatError, match="number"):
        decode_tensor(message, TensorSpec("w", (2,), "string"))


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300), max_size=50))
def test_varints(values: list[int]) -> None:
    encoded = encode_varints(np.array(values, "<u8"))
    assert encoded == b"".join(encode_varint(value) for value in values)
    assert [int(value) for chunk in decode_varints(encoded) for value in chunk] == values


def test_many_varints() -> None:
    values = np.random.default_rng(0).integers(0, 2**64, 100_000, np.uint64) >> np.arange(100_000, dtype=np.uint64) % 64
    assert_same_bits(np.concatenate([*decode_varints(encode_varints(values))]), values)


# TensorFlow

# TensorFlow's Python makes no TensorProto of the others.
TF_DTYPES = [dtype for dtype in DTYPES if not dtype.endswith("fnuz") and not dtype.startswith("q")]


@pytest.mark.tf
@pytest.mark.parametrize("dtype", TF_DTYPES)
def test_tensorflow_makes_them(dtype: str) -> None:
    import tensorflow as tf

    for shape in [(), (1,), (2, 3)]:
        array = random_array(dtype, shape)
        proto = tf.make_tensor_proto(array)
        assert parse_spec("w", proto.SerializeToString()) == spec_of(array, dtype)
        assert_same_bits(decode_tensor(proto.SerializeToString(), spec_of(array, dtype)), array)
    one = random_array(dtype, ())
    filled = tf.make_tensor_proto(one, shape=[2, 3])
    expected = np.ascontiguousarray(np.broadcast_to(one, (2, 3)))
    assert_same_bits(decode_tensor(filled.SerializeToString(), spec_of(expected, dtype)), expected)


@pytest.mark.tf
@pytest.mark.parametrize("dtype", TF_DTYPES)
def test_tensorflow_reads_the_values(dtype: str) -> None:
    import tensorflow as tf
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    array = (
        random_array(dtype, (2, 3)) if "complex" not in dtype else np.arange(6).reshape(2, 3).astype(to_numpy(dtype))
    )
    proto = TensorProto.FromString(head(dtype, (2, 3)) + bytes_field(value_field(dtype), payload(array, dtype)))
    assert proto.ListFields()[-1][0].number == value_field(dtype)
    parsed = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(BY_NAME[dtype].tensorflow))
    read = np.asarray(parsed.numpy()).view(array.dtype)
    if dtype in {"int2", "int4"}:  # of their byte the sign is in the low bits, and what is above means nothing
        read, array = read.astype(np.int8), array.astype(np.int8)
    assert_same_bits(read, array)
