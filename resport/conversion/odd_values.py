"""Values that are no finite numbers, counted as they pass by: a network with one of them computes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resport.dtypes import FLOATING, to_numpy
from resport.tensors import TensorSpec

if TYPE_CHECKING:
    from resport.formats.base import Buffer

# Of these a scalar product tells at the speed of memory that all are finite.
_PARTS = {"float32": "<f4", "complex64": "<f4", "float64": "<f8", "complex128": "<f8"}


@dataclass(frozen=True, slots=True)
class OddValues:
    """How many values of one tensor are no finite numbers.

    Attributes:
        name: the tensor.
        n_nan: how many are NaN.
        n_infinite: how many are infinite.
    """

    name: str
    n_nan: int
    n_infinite: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {"name": self.name, "nan": self.n_nan, "inf": self.n_infinite}

    def __str__(self) -> str:
        counts = [f"{self.n_nan} NaN"] * bool(self.n_nan) + [f"{self.n_infinite} infinite"] * bool(self.n_infinite)
        return f"`{self.name}` ({' and '.join(counts)})"


class OddValueCounter:
    """Counts the odd values of tensors that pass by, whole or in pieces."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, int]] = {}

    def found(self) -> tuple[OddValues, ...]:
        """The tensors that have some, in the order in which they passed."""
        return tuple(OddValues(name, *counts) for name, counts in self._counts.items())

    def passing(self, spec: TensorSpec, pieces: Iterable[Buffer]) -> Iterator[Buffer]:
        """Hand pieces on and count what is in them; a value may lie across two."""
        if not _can_be_odd(spec.dtype):
            yield from pieces
            return
        item_bytes = to_numpy(spec.dtype).itemsize
        rest = b""
        for piece in pieces:
            n_over = (len(rest) + len(piece)) % item_bytes
            values = rest + bytes(piece) if rest else piece
            rest = bytes(values[len(values) - n_over :])
            self._count(spec, values[: len(values) - n_over])
            yield piece

    def _count(self, spec: TensorSpec, values: Buffer) -> None:
        n_nan, n_infinite = _odd_in(spec.dtype, values)
        if n_nan or n_infinite:
            before = self._counts.get(spec.name, (0, 0))
            self._counts[spec.name] = (before[0] + n_nan, before[1] + n_infinite)


def _can_be_odd(dtype: str) -> bool:
    return dtype in FLOATING or dtype in _PARTS


def _odd_in(dtype: str, values: Buffer) -> tuple[int, int]:
    """How many are NaN, and how many infinite; of a complex number each part counts."""
    import numpy as np

    if not len(values):
        return 0, 0
    array = np.frombuffer(values, _PARTS.get(dtype) or to_numpy(dtype))
    with np.errstate(all="ignore"):
        # An infinity or NaN makes the product one; so do very large numbers, which the exact count then clears.
        if dtype in _PARTS and math.isfinite(float(np.dot(array, array))):
            return 0, 0
        n_nan = int(np.isnan(array).sum())
        return n_nan, int(array.size - np.isfinite(array).sum()) - n_nan
