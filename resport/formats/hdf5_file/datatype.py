"""Datatypes: what the elements of a dataset or attribute are (section IV.A.2.d).

Only what weights and their names are made of is told apart: integers and floats of numpy's sizes in either byte order,
bfloat16, the pairs that h5py stores complex numbers as, its enumeration of truth values, opaque elements, and texts.
The rest is named, for a message, and its insides are never parsed.
"""

from __future__ import annotations

from typing import NamedTuple

from resport.formats.hdf5_file.file_bytes import Cursor

OPAQUE, TEXT, TEXT_REFERENCE = "opaque", "text", "text of variable length"
"""Elements that are no numbers; all others have resport's name of the type, or ``""``."""

MAX_ELEMENT_BYTES = 1 << 30

INTEGER_CLASS, FLOAT_CLASS, STRING_CLASS, OPAQUE_CLASS, COMPOUND_CLASS, ENUM_CLASS, VLEN_CLASS = 0, 1, 3, 5, 6, 8, 9
_SHOWN = {
    2: "times",
    4: "bit fields",
    6: "records",
    7: "references",
    8: "enumerations",
    9: "nested elements",
    10: "nested elements",
    11: "complex numbers of HDF5 2",
}
# Precision; place of the sign; place and width of the exponent, and of the mantissa; what is added to the exponent.
FLOATS: dict[tuple[int, ...], str] = {
    (16, 15, 10, 5, 0, 10, 15): "float16",
    (16, 15, 7, 8, 0, 7, 127): "bfloat16",
    (32, 31, 23, 8, 0, 23, 127): "float32",
    (64, 63, 52, 11, 0, 52, 1023): "float64",
}
TRUTH_VALUES = {b"FALSE": 0, b"TRUE": 1}


class Datatype(NamedTuple):
    """The type of an element.

    Attributes:
        element: resport's name of a number's type, or what else the element is; ``""`` for what is not read.
        size: bytes of an element in the file.
        is_big_endian: whether its numbers have their highest byte first.
        padding: of a text: 0 where it ends at the first NUL, 1 where NULs are behind it, 2 where blanks are.
        shown: what it is, for a message.
    """

    element: str
    size: int
    shown: str
    is_big_endian: bool = False
    padding: int = 0


def parse_datatype(cursor: Cursor) -> Datatype:
    """Parse the message.

    Raises:
        FormatError: it is damaged.
    """
    kind, version = cursor.uint(1), 0
    kind, version = kind & 0x0F, kind >> 4
    bits, size = cursor.uint(3), cursor.uint(4)
    if not 1 <= version <= 5 or kind not in {*_SHOWN, INTEGER_CLASS, FLOAT_CLASS, STRING_CLASS, OPAQUE_CLASS}:
        raise cursor.damaged("is unknown", got=f"class {kind} of version {version}")
    if not 0 < size <= MAX_ELEMENT_BYTES:
        raise cursor.damaged("has elements of an impossible size", expected=f"1 to {MAX_ELEMENT_BYTES} bytes", got=size)
    if kind == INTEGER_CLASS:
        return _integer(cursor, bits, size)
    if kind == FLOAT_CLASS:
        return _float(cursor, bits, size)
    if kind == STRING_CLASS:
        return Datatype(TEXT, size, f"texts of {size} bytes", padding=bits & 0x0F)
    if kind == OPAQUE_CLASS:
        return _opaque(cursor, bits, size)
    if kind == COMPOUND_CLASS:
        return _compound(cursor, version, bits & 0xFFFF, size)
    if kind == ENUM_CLASS:
        return _enumeration(cursor, version, bits & 0xFFFF, size)
    if kind == VLEN_CLASS and bits & 0x0F == 1:
        if size != 8 + cursor.source.address_bytes:
            raise cursor.damaged("has texts of another size", expected=8 + cursor.source.address_bytes, got=size)
        return Datatype(TEXT_REFERENCE, size, "texts of variable length", padding=0)
    return Datatype("", size, _SHOWN[kind])


def _integer(cursor: Cursor, bits: int, size: int) -> Datatype:
    offset, precision = cursor.uint(2), cursor.uint(2)
    sign = "int" if bits & 8 else "uint"
    is_plain = size in {1, 2, 4, 8} and offset == 0 and precision == 8 * size
    shown = f"{sign}{8 * size}" if is_plain else f"integers of {precision} bits in {size} bytes"
    return Datatype(shown if is_plain else "", size, shown, bool(bits & 1))


def _float(cursor: Cursor, bits: int, size: int) -> Datatype:
    offset, precision = cursor.uint(2), cursor.uint(2)
    fields = tuple(cursor.uint(1) for _ in range(4))
    bias = cursor.uint(4)
    # Big-endian without the order of the VAX, and a mantissa whose first bit is left out.
    is_plain = offset == 0 and precision == 8 * size and not bits & 0x40 and bits >> 4 & 3 == 2
    name = FLOATS.get((precision, bits >> 8 & 0xFF, *fields, bias), "") if is_plain else ""
    return Datatype(name, size, name or f"floats of {precision} bits in {size} bytes", bool(bits & 1))


def _opaque(cursor: Cursor, bits: int, size: int) -> Datatype:
    tag = cursor.take(bits & 0xFF).rstrip(b"\0")
    if tag.startswith(b"NUMPY:"):
        # h5py's way to store dates and the like.
        return Datatype("", size, f"elements of numpy's type {tag[6:]!r}")
    return Datatype(OPAQUE, size, f"opaque elements of {size} bytes")


def _compound(cursor: Cursor, version: int, n_members: int, size: int) -> Datatype:
    """Pairs of two floats called ``r`` and ``i``; every other record is only named."""
    if n_members != 2:
        return Datatype("", size, _SHOWN[COMPOUND_CLASS])
    members = []
    for _ in range(n_members):
        name = _padded_text(cursor, version)
        offset = cursor.uint(4 if version < 3 else (size.bit_length() + 7) // 8)
        if version == 1 and cursor.take(28)[0]:
            return Datatype("", size, _SHOWN[COMPOUND_CLASS])
        head = Cursor(cursor.source, cursor.data, cursor.address, cursor.what)
        head.position = cursor.position
        if head.uint(1) & 0x0F != FLOAT_CLASS:
            return Datatype("", size, _SHOWN[COMPOUND_CLASS])
        members.append((name, offset, parse_datatype(cursor)))
    (first, at, real), (second, behind, imaginary) = members
    is_complex = (first, at, second, behind, size) == (b"r", 0, b"i", real.size, 2 * real.size)
    pair = {"float32": "complex64", "float64": "complex128"}.get(real.element, "")
    if not is_complex or real != imaginary or not pair:
        return Datatype("", size, _SHOWN[COMPOUND_CLASS])
    return Datatype(pair, size, pair, real.is_big_endian)


def _enumeration(cursor: Cursor, version: int, n_members: int, size: int) -> Datatype:
    """h5py's truth values; of every other enumeration, the integers that it gives names to."""
    if cursor.data[cursor.position : cursor.position + 1] and cursor.data[cursor.position] & 0x0F != INTEGER_CLASS:
        raise cursor.damaged("enumerates what is no integer")
    base = parse_datatype(cursor)
    if base.size != size:
        raise cursor.damaged("has elements of two sizes", expected=f"{base.size} bytes", got=f"{size} bytes")
    if n_members != len(TRUTH_VALUES) or not base.element:
        return base
    names = [_padded_text(cursor, version) for _ in range(n_members)]
    values = [int.from_bytes(cursor.take(size), "big" if base.is_big_endian else "little") for _ in range(n_members)]
    if dict(zip(names, values, strict=True)) == TRUTH_VALUES:
        return Datatype("bool", size, "truth values", base.is_big_endian)
    return base


def _padded_text(cursor: Cursor, version: int) -> bytes:
    """The name of a member, filled up to a multiple of eight bytes in the older versions."""
    start = cursor.position
    name = cursor.text()
    if version < 3:
        cursor.take(-(cursor.position - start) % 8)
    return name
