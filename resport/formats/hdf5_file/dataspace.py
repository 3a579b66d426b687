"""Dataspaces: the shape of a dataset or attribute (section IV.A.2.b)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from resport.formats.hdf5_file.file_bytes import Cursor

MAX_RANK = 32
HAS_MAXIMUM, _HAS_PERMUTATION = 1, 2
_NULL = 2


@dataclass(frozen=True, slots=True)
class Dataspace:
    """A shape.

    Attributes:
        shape: lengths of the axes; None for a space without elements, not even one.
        maximum: lengths up to which the axes can grow, None for one without a bound.
    """

    shape: tuple[int, ...] | None
    maximum: tuple[int | None, ...]

    @property
    def count(self) -> int:
        """How many elements there are."""
        return 0 if self.shape is None else math.prod(self.shape)


def parse_dataspace(cursor: Cursor) -> Dataspace:
    """Parse the message.

    Raises:
        FormatError: it is damaged.
    """
    version = cursor.version(1, 2)
    rank, flags = cursor.uint(1), cursor.uint(1)
    kind = cursor.uint(1)
    if version == 1:
        kind = 0
        cursor.take(4)
    if rank > MAX_RANK or kind > _NULL or (kind != 1 and version == 2 and rank) or flags & _HAS_PERMUTATION:
        raise cursor.damaged("is damaged", expected=f"at most {MAX_RANK} axes", got=f"{rank} axes of kind {kind}")
    shape = tuple(cursor.length() for _ in range(rank))
    maximum: tuple[int | None, ...] = shape
    if flags & HAS_MAXIMUM:
        unlimited = (1 << 8 * cursor.source.length_bytes) - 1
        maximum = tuple(None if axis == unlimited else axis for axis in (cursor.length() for _ in range(rank)))
        if any(most is not None and axis > most for axis, most in zip(shape, maximum, strict=True)):
            raise cursor.damaged("is larger than its own bound", expected=f"at most {maximum}", got=shape)
    return Dataspace(None if kind == _NULL else shape, maximum)
