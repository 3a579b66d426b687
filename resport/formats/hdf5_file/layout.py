"""Layouts: where the values of a dataset are (section IV.A.2.i)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from resport.formats.hdf5_file.dataspace import MAX_RANK
from resport.formats.hdf5_file.file_bytes import Cursor

COMPACT, CONTIGUOUS, CHUNKED, VIRTUAL = range(4)
TREE_V1, SINGLE, IMPLICIT, FIXED_ARRAY, EXTENSIBLE_ARRAY, TREE_V2 = range(6)
"""How chunks are found. All but the first are of version 4, which numbers them so."""
_SINGLE_IS_FILTERED = 2
_PARAMETER_BYTES = {FIXED_ARRAY: 1, EXTENSIBLE_ARRAY: 5, TREE_V2: 6}
_MAX_CHUNK_BYTES = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Layout:
    """Where values are.

    Attributes:
        kind: one of the four.
        address: of the values, or of the index of chunks; None where nothing was stored.
        size: bytes of contiguous values, and of a filtered chunk that is the only one; None where the shape says it.
        data: the values themselves, where they are compact.
        chunk: lengths of a chunk's axes.
        element_bytes: what the layout takes for the size of an element, where there are chunks.
        index: how chunks are found.
        mask: the filters that were left out for the only chunk.
    """

    kind: int
    address: int | None = None
    size: int | None = None
    data: bytes = b""
    chunk: tuple[int, ...] = ()
    element_bytes: int = 0
    index: int = TREE_V1
    mask: int = 0


def parse_layout(cursor: Cursor) -> Layout:
    """Parse the message.

    Raises:
        FormatError: it is damaged, or of an unknown version.
    """
    version = cursor.version(1, 2, 3, 4)
    if version < 3:
        return _parse_old(cursor)
    kind = cursor.uint(1)
    if kind == COMPACT:
        return Layout(COMPACT, data=cursor.take(cursor.uint(2)))
    if kind == CONTIGUOUS:
        return Layout(CONTIGUOUS, cursor.address_or_none(), cursor.length())
    if kind == VIRTUAL and version == 4:
        return Layout(VIRTUAL)
    if kind != CHUNKED:
        raise cursor.damaged("is of an unknown kind", got=kind)
    if version == 4:
        return _parse_indexed(cursor)
    n_axes = cursor.uint(1)
    address = cursor.address_or_none()
    return _chunked(cursor, address, [cursor.uint(4) for _ in range(n_axes)])


def _parse_old(cursor: Cursor) -> Layout:
    n_axes, kind = cursor.uint(1), cursor.uint(1)
    cursor.take(5)
    address = None if kind == COMPACT else cursor.address_or_none()
    axes = [cursor.uint(4) for _ in range(n_axes)]
    if kind == CHUNKED:
        return _chunked(cursor, address, axes)
    if kind == CONTIGUOUS:
        return Layout(CONTIGUOUS, address)
    if kind == COMPACT:
        return Layout(COMPACT, data=cursor.take(cursor.uint(4)))
    raise cursor.damaged("is of an unknown kind", got=kind)


def _parse_indexed(cursor: Cursor) -> Layout:
    flags, n_axes, width = cursor.uint(1), cursor.uint(1), cursor.uint(1)
    if not 1 <= width <= 8 or flags & ~_SINGLE_IS_FILTERED:
        raise cursor.damaged("is of an unknown kind", got=f"flags {flags:#x}, axes of {width} bytes")
    axes = [cursor.uint(width) for _ in range(n_axes)]
    index, size, mask = cursor.uint(1), None, 0
    if not SINGLE <= index <= TREE_V2:
        raise cursor.damaged("has an unknown index of chunks", got=index)
    if index == SINGLE and flags & _SINGLE_IS_FILTERED:
        size, mask = cursor.length(), cursor.uint(4)
    # The arrays and the tree say it themselves.
    cursor.take(_PARAMETER_BYTES.get(index, 0))
    return _chunked(cursor, cursor.address_or_none(), axes, index, size, mask)


def _chunked(
    cursor: Cursor, address: int | None, axes: list[int], index: int = TREE_V1, size: int | None = None, mask: int = 0
) -> Layout:
    """A layout of chunks; the last axis is the size of an element."""
    if not 2 <= len(axes) <= MAX_RANK + 1 or not 0 < math.prod(axes) <= _MAX_CHUNK_BYTES:
        raise cursor.damaged("has impossible chunks", expected=f"1 to {_MAX_CHUNK_BYTES} bytes", got=f"axes {axes}")
    return Layout(CHUNKED, address, size, b"", tuple(axes[:-1]), axes[-1], index, mask)
