"""Slices: how a variable that was partitioned over several devices is stored in pieces.

A partitioned variable has one entry that names its full shape and its slices, and each slice has its data under a key
of its own. That key is an *ordered code* of (0, name, rank, start and length for each axis): an encoding whose bytes
sort as the tuples do. It is computed here from the slice, never taken apart: the entry of the whole tensor says which
slices there are, and a key that no entry claims is nobody's.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from resport.errors import FormatError

FULL_EXTENT = -1
"""Length of an axis that a slice takes whole."""
SLICE_MAX_CELLS = 1_000_000
SLICE_CELLS_EACH = 16
"""Partitioning makes one cell of each slice; slices that are shifted against each other can make its square."""
SLICE_CELLS_ALLOWED = 1024


class Extent(NamedTuple):
    """What a slice takes of one axis: ``length`` elements from ``start`` on, or all (0, ``FULL_EXTENT``)."""

    start: int
    length: int


Slice = tuple[Extent, ...]
"""One extent for each axis of the full tensor."""


def slice_key(name: str, extents: Slice) -> bytes:
    """The key under which a table holds the data of one slice.

    Args:
        name: the name of the whole tensor.
        extents: the slice as its entry spells it: a full axis as ``FULL_EXTENT`` and one with the same length given
            in numbers are different keys.
    """
    parts = [_ordered_unsigned(0), _ordered_string(name), _ordered_unsigned(len(extents))]
    for extent in extents:
        parts += [_ordered_signed(extent.start), _ordered_signed(extent.length)]
    return b"".join(parts)


def _ordered_unsigned(value: int) -> bytes:
    """The number of bytes, then the bytes, the highest first, without leading zeros."""
    size = (value.bit_length() + 7) // 8
    return bytes([size]) + value.to_bytes(size, "big")


def _ordered_string(text: str) -> bytes:
    """The string with 0 escaped, then a terminator that sorts before every continuation."""
    # The encoding escapes 255 as well, a byte that UTF-8 never has.
    return text.encode().replace(b"\x00", b"\x00\xff") + b"\x00\x01"


def _ordered_signed(value: int) -> bytes:
    """Big-endian two's complement, whose leading bits that equal the sign count the bytes that follow.

    In n bytes there are n bits for the sign and the count, one that ends the count, and 7n - 1 for the value.
    """
    magnitude = ~value if value < 0 else value
    n_bytes = magnitude.bit_length() // 7 + 1
    header = ((1 << n_bytes) - 1) << 7 * n_bytes  # n ones, then a zero, in front of the value
    bits = header | magnitude
    if value < 0:
        bits ^= (1 << 8 * n_bytes) - 1
    return bits.to_bytes(n_bytes, "big")


def resolve_slice(shape: tuple[int, ...], extents: Slice) -> tuple[tuple[int, int], ...]:
    """Start and stop of a slice on each axis of the full tensor.

    Raises:
        FormatError: the slice has another rank than the tensor, or reaches beyond it.
    """
    if len(extents) != len(shape):
        raise FormatError("a slice has another rank than its tensor", expected=len(shape), got=len(extents))
    bounds = []
    for extent, size in zip(extents, shape, strict=True):
        stop = size if extent.length == FULL_EXTENT else extent.start + extent.length
        if not 0 <= extent.start <= stop <= size:
            raise FormatError(
                "a slice reaches beyond its tensor", expected=f"within 0 to {size}", got=f"{extent.start} to {stop}"
            )
        bounds.append((extent.start, stop))
    return tuple(bounds)


def check_cover(shape: tuple[int, ...], slices: Sequence[tuple[tuple[int, int], ...]]) -> None:
    """Check that slices hold every element of a tensor exactly once.

    The bounds of all slices cut the tensor into cells; no slice may take a cell that another has. Slices that don't
    overlap, lie in the tensor and have its number of elements together leave nothing out.

    Args:
        shape: the full tensor's.
        slices: start and stop on each axis, within the tensor, one for each slice.

    Raises:
        FormatError: an element is missing or held twice, or there are more cells than any partitioning makes.
    """
    n_elements = math.prod(shape)
    n_held = sum(math.prod(stop - start for start, stop in bounds) for bounds in slices)
    if n_held != n_elements:
        raise FormatError("the slices do not make up the tensor", expected=f"{n_elements} elements", got=n_held)
    cuts = [sorted({bound for bounds in slices for bound in bounds[axis]}) for axis in range(len(shape))]
    taken: set[tuple[int, ...]] = set()
    n_allowed = min(SLICE_MAX_CELLS, SLICE_CELLS_ALLOWED + SLICE_CELLS_EACH * len(slices))
    for bounds in slices:
        spans = [
            range(bisect_left(cut, start), bisect_left(cut, stop))
            for cut, (start, stop) in zip(cuts, bounds, strict=True)
        ]
        if len(taken) + math.prod(map(len, spans)) > n_allowed:
            raise FormatError("the slices cut the tensor into too many cells", expected=f"at most {n_allowed}")
        for cell in product(*spans):
            if cell in taken:
                raise FormatError("two slices overlap", got=f"{bounds}"[:200])
            taken.add(cell)
