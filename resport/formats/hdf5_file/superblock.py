"""The superblock: where an HDF5 file begins, how wide its addresses are, and where its root is (section II)."""

from __future__ import annotations

from resport.errors import FormatError
from resport.formats.file_window import FileWindow
from resport.formats.hdf5_file.file_bytes import CHECKSUM_BYTES, Cursor, FileBytes
from resport.formats.hdf5_file.signature import HDF5_SIGNATURE, find_signature

# Where all versions have their two widths, and the longest of them with addresses of eight bytes.
_WIDTHS_END = {0: 16, 1: 16, 2: 12, 3: 12}
_MAX_BYTES = 100
_KNOWN_WIDTHS = (2, 4, 8)
# Only the third version says it in a way that can be trusted.
_BEING_WRITTEN = 0b101


def read_superblock(window: FileWindow) -> tuple[FileBytes, int]:
    """Open the bytes of a file.

    Args:
        window: the file.

    Returns:
        Its bytes by address, and the address of the root's object header.

    Raises:
        FormatError: it is no HDF5 file, of an unknown version, damaged, or not whole.
    """
    base = find_signature(window)
    if base is None:
        raise FormatError("it has no signature of HDF5", offset=0, expected=repr(HDF5_SIGNATURE))
    unknown = FileBytes(window, base)
    cursor = unknown.cursor(0, min(_MAX_BYTES, unknown.size), "the superblock")
    cursor.take(len(HDF5_SIGNATURE))
    version = cursor.version(0, 1, 2, 3)
    cursor.position = _WIDTHS_END[version] - 3 if version < 2 else 9
    address_bytes, length_bytes = cursor.uint(1), cursor.uint(1)
    if address_bytes not in _KNOWN_WIDTHS or length_bytes not in _KNOWN_WIDTHS:
        raise cursor.damaged(
            "has addresses or lengths of a width that is not read",
            expected="2, 4 or 8 bytes",
            got=f"{address_bytes} and {length_bytes} bytes",
        )
    source = FileBytes(window, base, address_bytes, length_bytes)
    cursor.source = source
    root = _read_old(cursor, version) if version < 2 else _read_new(cursor, version)
    return source, root


def _read_old(cursor: Cursor, version: int) -> int:
    # Up to here nothing but the sizes of nodes, which count their entries themselves.
    cursor.position = 24 if version == 0 else 28
    base = cursor.needed_address()
    cursor.address_or_none()
    end = cursor.needed_address()
    cursor.address_or_none()
    # The root's entry in a symbol table: the offset of its name, and its header.
    cursor.length()
    root = cursor.needed_address()
    _check_end(cursor, base, end)
    return root


def _read_new(cursor: Cursor, version: int) -> int:
    flags = cursor.uint(1)
    base = cursor.needed_address()
    cursor.address_or_none()
    end = cursor.needed_address()
    root = cursor.needed_address()
    body = cursor.data[: cursor.position]
    cursor.source.check_sum(body, cursor.uint(CHECKSUM_BYTES), 0, "the superblock")
    if version == 3 and flags & _BEING_WRITTEN:
        raise FormatError(
            "it was not closed by the program that wrote it", hint="if nothing writes it any more: `h5clear -s FILE`"
        )
    _check_end(cursor, base, end)
    return root


def _check_end(cursor: Cursor, base: int, end: int) -> None:
    """Refuse a file of which the end is missing; it may have got a user block after it was written."""
    n_bytes = end - base
    if n_bytes > cursor.source.size:
        raise FormatError(
            "its end is missing",
            offset=cursor.source.base + cursor.source.size,
            expected=f"{n_bytes} bytes",
            got=f"{cursor.source.size} bytes",
            hint="download or copy it again",
        )
