"""Fill values: what stands in for the chunks of a dataset that were never written (sections IV.A.2.e and IV.A.2.f)."""

from __future__ import annotations

from resport.formats.hdf5_file.file_bytes import Cursor

_IS_DEFINED_NEW = 0x20
# A size below zero: there is no value, not even a default.
_NEGATIVE = 1 << 31


def parse_fill_value(cursor: Cursor) -> bytes:
    """The bytes of one element; none where the file doesn't say them, which means zeros.

    Raises:
        FormatError: the message is damaged.
    """
    version = cursor.version(1, 2, 3)
    if version == 3:
        is_there = bool(cursor.uint(1) & _IS_DEFINED_NEW)
    else:
        cursor.take(2)
        is_defined = bool(cursor.uint(1))
        is_there = is_defined or version == 1
    return parse_old_fill_value(cursor) if is_there else b""


def parse_old_fill_value(cursor: Cursor) -> bytes:
    """The bytes of one element, from the older message; none where there are none.

    Raises:
        FormatError: the message is damaged.
    """
    size = cursor.uint(4)
    return b"" if size >= _NEGATIVE else cursor.take(size)
