"""The bytes of a transposed array, copied tile by tile.

Copied whole, a large transposed matrix misses the cache at every value: rows that follow each other in the target lie
far apart in the source. Within a tile both sides' lines stay in the cache; nor is there a second array of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from resport.formats.base import Buffer, bytes_of

if TYPE_CHECKING:
    import numpy as np

TILE = 64
"""Rows and columns of a tile: some cache lines wide in both directions, 16 KB of float32."""

SLAB_BYTES = 8 << 20
"""The most that is handed on at once."""


def tiles_of(array: np.ndarray) -> Iterator[Buffer]:
    """The bytes of an array in C order, in pieces; each is valid until the next is asked for.

    Args:
        array: of any order in memory, (rows, columns, ...).
    """
    import numpy as np

    if array.ndim < 2 or not array.size or array.flags.c_contiguous:
        yield bytes_of(np.ascontiguousarray(array))
        return
    n_rows = max(1, min(TILE, SLAB_BYTES // array[0].nbytes))
    slab = np.empty((n_rows, *array.shape[1:]), array.dtype)
    for row in range(0, len(array), n_rows):
        rows = array[row : row + n_rows]
        filled = slab[: len(rows)]
        for column in range(0, array.shape[1], TILE):
            filled[:, column : column + TILE] = rows[:, column : column + TILE]
        yield bytes_of(filled)
