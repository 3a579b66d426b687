"""Datatypes in bytes (section IV.A.2.d), in the first version of each; all numbers are little-endian."""

from __future__ import annotations

import struct
from functools import cache

from resport.dtypes import BY_NAME
from resport.formats.hdf5_file.datatype import (
    COMPOUND_CLASS,
    ENUM_CLASS,
    FLOAT_CLASS,
    FLOATS,
    INTEGER_CLASS,
    OPAQUE_CLASS,
    STRING_CLASS,
    TRUTH_VALUES,
    VLEN_CLASS,
)

# Those that HDF5 can describe by itself.
_NATIVE = frozenset(
    "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64 complex64 complex128".split()
)
_PARTS = {"complex64": "float32", "complex128": "float64"}
_FLOAT_FIELDS = {name: fields for fields, name in FLOATS.items()}

_VERSION = 1 << 4
_IS_SIGNED = 0x08
_FIRST_BIT_LEFT_OUT = 0x20
_IS_TEXT = 0x01
_PADDED_WITH_NUL = 0x01
_UTF8 = 0x01
REFERENCE_BYTES = 16
"""What stands for a text of variable length: its length, and its place in a heap."""


def is_told_by_type(dtype: str) -> bool:
    """Whether elements in a file say by themselves of which dtype they are."""
    return dtype in _NATIVE


@cache
def encode_datatype(dtype: str) -> bytes:
    """The type of the elements that a tensor of a dtype is stored as; opaque ones where HDF5 has none."""
    stored, size = BY_NAME[dtype].numpy or dtype, BY_NAME[dtype].itemsize
    if stored not in _NATIVE:
        return _head(OPAQUE_CLASS, 0, size)
    if stored in _PARTS:
        return _encode_pair(_PARTS[stored], size)
    if stored == "bool":
        return _encode_truth_value()
    return _encode_float(stored, size) if stored in _FLOAT_FIELDS else _encode_integer(size, stored[0] != "u")


def encode_fixed_text(width: int) -> bytes:
    """The type of texts that take as many bytes each."""
    return _head(STRING_CLASS, _PADDED_WITH_NUL, width)


@cache
def encode_text(is_ascii: bool) -> bytes:
    """The type of texts of variable length."""
    bits = _IS_TEXT | (0 if is_ascii else _UTF8) << 8
    return _head(VLEN_CLASS, bits, REFERENCE_BYTES) + _encode_integer(1, False)


def _head(kind: int, bits: int, size: int) -> bytes:
    return struct.pack("<II", _VERSION | kind | bits << 8, size)


def _encode_integer(size: int, is_signed: bool) -> bytes:
    return _head(INTEGER_CLASS, _IS_SIGNED * is_signed, size) + struct.pack("<2H", 0, 8 * size)


def _encode_float(name: str, size: int) -> bytes:
    precision, sign, *fields, bias = _FLOAT_FIELDS[name]
    bits = _FIRST_BIT_LEFT_OUT | sign << 8
    return _head(FLOAT_CLASS, bits, size) + struct.pack("<2H4BI", 0, precision, *fields, bias)


def _encode_pair(part: str, size: int) -> bytes:
    """A record of two floats, as h5py stores complex numbers; each has an empty list of axes."""
    members = [
        struct.pack("<8sI28x", name, offset) + encode_datatype(part) for name, offset in ((b"r", 0), (b"i", size // 2))
    ]
    return _head(COMPOUND_CLASS, len(members), size) + b"".join(members)


def _encode_truth_value() -> bytes:
    """An enumeration of bytes, as h5py stores truth values."""
    names = b"".join(struct.pack("<8s", name) for name in TRUTH_VALUES)
    return _head(ENUM_CLASS, len(TRUTH_VALUES), 1) + _encode_integer(1, True) + names + bytes(TRUTH_VALUES.values())
