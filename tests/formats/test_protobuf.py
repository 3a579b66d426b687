"""The wire format against Google's own library, which the tests have through TensorFlow, and against damage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resport.errors import FormatError
from resport.formats import protobuf
from resport.formats.protobuf import (
    FIXED32,
    FIXED64,
    LENGTH_DELIMITED,
    VARINT,
    as_bytes,
    as_int,
    as_signed,
    as_text,
    bytes_field,
    encode_varint,
    fixed32_field,
    read_fields,
    read_varint,
    varint_field,
)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (2**32, "8080808010"),
        (2**64 - 1, "ffffffffffffffffff01"),
        (-1, "ffffffffffffffffff01"),
        (-(2**63), "80808080808080808001"),
    ],
)
def test_varint_golden_bytes(value: int, encoded: str) -> None:
    assert encode_varint(value).hex() == encoded
    assert read_varint(bytes.fromhex(encoded), 0) == (value % 2**64, len(encoded) // 2)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_varint_round_trip(value: int, before: bytes, after: bytes) -> None:
    encoded = encode_varint(value)
    for data in (before + encoded + after, memoryview(before + encoded + after)):
        assert read_varint(data, len(before)) == (value, len(before) + len(encoded))


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_varint_of_more_than_64_bits_is_not_written(value: int) -> None:
    with pytest.raises(OverflowError):
        encode_varint(value)


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        ("", "end within"),
        ("80", "end within"),
        ("ffffffffffffffffff", "end within"),
        ("ffffffffffffffffff02", "64 bits"),
        ("80808080808080808080", "64 bits"),
        ("8080808080808080808001", "64 bits"),
    ],
)
def test_damaged_varint(encoded: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_varint(bytes.fromhex(encoded), 0)


def test_varint_stops_at_the_given_end() -> None:
    with pytest.raises(FormatError, match="end within"):
        read_varint(b"\x80\x01", 0, end=1)


def test_fields_golden_bytes() -> None:
    data = varint_field(1, 150) + bytes_field(2, b"testing") + fixed32_field(6, 0xA1B2C3D4) + b"\x39" + b"\x08" * 8
    assert data.hex() == "089601" + "1207" + b"testing".hex() + "35d4c3b2a1" + "39" + "08" * 8
    assert list(read_fields(data)) == [
        (1, VARINT, 150),
        (2, LENGTH_DELIMITED, b"testing"),
        (6, FIXED32, 0xA1B2C3D4),
        (7, FIXED64, 0x0808080808080808),
    ]


def test_zero_is_left_out_and_empty_bytes_are_not() -> None:
    assert varint_field(1, 0) == fixed32_field(1, 0) == b""
    assert bytes_field(2, b"") == b"\x12\x00"


def test_large_field_numbers() -> None:
    assert list(read_fields(bytes_field(15_000, b"x"))) == [(15_000, LENGTH_DELIMITED, b"x")]


def test_views_are_not_copied() -> None:
    data = bytearray(bytes_field(1, b"abc"))
    ((_, _, piece),) = read_fields(memoryview(data))
    data[-1] = ord("d")
    assert as_bytes(1, piece) == b"abd"


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        ("08", "end within"),
        ("0a05616263", "beyond its message"),
        ("0affffffffffffffffff01", "beyond its message"),
        ("0d000000", "beyond its message"),
        ("0900000000000000", "beyond its message"),
        ("0001", "number 0"),
        ("0b", "wire type 3"),
        ("0c", "wire type 4"),
        ("0e", "wire type 6"),
        ("0f", "wire type 7"),
    ],
)
def test_damaged_message(encoded: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        list(read_fields(bytes.fromhex(encoded)))
    assert caught.value.offset is not None


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_one_error(data: bytes) -> None:
    try:
        fields = list(read_fields(data))
    except FormatError:
        return
    assert fields or not data


def test_values_of_the_wrong_type() -> None:
    assert as_int(1, 5) == 5
    assert as_signed(1, 2**64 - 3) == -3
    assert as_signed(1, 2**63 - 1) == 2**63 - 1
    assert as_text(1, "größe".encode()) == as_text(1, memoryview("größe".encode())) == "größe"
    with pytest.raises(FormatError, match="field 4 is of the wrong type"):
        as_int(4, b"")
    with pytest.raises(FormatError, match="field 4 is of the wrong type"):
        as_bytes(4, 0)
    with pytest.raises(FormatError, match="not UTF-8"):
        as_text(4, b"\xff")


def test_fields_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "PROTOBUF_MAX_FIELDS", 3)
    assert len(list(read_fields(varint_field(1, 7) * 3))) == 3
    with pytest.raises(FormatError, match="too many fields"):
        list(read_fields(varint_field(1, 7) * 4))


@pytest.mark.tf
def test_against_protobuf() -> None:
    from tensorflow.core.framework import tensor_shape_pb2, tensor_slice_pb2

    shape = tensor_shape_pb2.TensorShapeProto()
    for size in (3, 0, 2**40, -1):
        shape.dim.add(size=size)
    data = shape.SerializeToString()
    assert data == b"".join(bytes_field(2, varint_field(1, size)) for size in (3, 0, 2**40, -1))
    sizes = [[as_signed(n, v) for n, _, v in read_fields(as_bytes(2, dim))] for _, _, dim in read_fields(data)]
    assert sizes == [[3], [], [2**40], [-1]]
    extents = tensor_slice_pb2.TensorSliceProto.FromString(bytes_field(1, varint_field(1, 7) + varint_field(2, 300)))
    assert [(extent.start, extent.length) for extent in extents.extent] == [(7, 300)]
