"""Values that are no finite numbers, counted as they pass by: a network with one of them computes nothing."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from resport.dtypes import BY_NAME, FLOATING, to_numpy
from resport.tensors import TensorSpec

if TYPE_CHECKING:
    from resport.formats.base import Buffer

# Of these a scalar product tells at the speed of memory that all are finite.
_PARTS = {"float32": "<f4", "complex64": "<f4", "float64": "<f8", "complex128": "<f8"}
# Without numpy the last of so many bytes tells it: no ordinary weight has all of the exponent's upper bits set.
_WIDTHS = {"bfloat16": 2, "float32": 4, "complex64": 4, "float64": 8, "complex128": 8}
_LARGE_ENDS = (b"\x7f", b"\xff")
_BLOCK_BYTES = 1 << 16
NUMPY_PAYS_BYTES = 1 << 28
"""From so many bytes on it takes less time to import numpy than to do without."""


class OddValues(NamedTuple):
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
        self._n_bytes = 0

    def found(self) -> tuple[OddValues, ...]:
        """The tensors that have some, in the order in which they passed."""
        return tuple(OddValues(name, *counts) for name, counts in self._counts.items())

    def passing(self, spec: TensorSpec, pieces: Iterable[Buffer]) -> Iterator[Buffer]:
        """Hand pieces on and count what is in them; a value may lie across two. What passes again is counted anew."""
        self._counts.pop(spec.name, None)
        if not _can_be_odd(spec.dtype):
            yield from pieces
            return
        item_bytes = BY_NAME[spec.dtype].itemsize
        rest = b""
        for piece in pieces:
            n_over = (len(rest) + len(piece)) % item_bytes
            values = rest + bytes(piece) if rest else piece
            rest = bytes(values[len(values) - n_over :])
            self._count(spec, values[: len(values) - n_over])
            yield piece

    def _count(self, spec: TensorSpec, values: Buffer) -> None:
        self._n_bytes += len(values)
        if "numpy" not in sys.modules and self._n_bytes < NUMPY_PAYS_BYTES and _are_ordinary(spec.dtype, values):
            return
        n_nan, n_infinite = _odd_in(spec.dtype, values)
        if n_nan or n_infinite:
            before = self._counts.get(spec.name, (0, 0))
            self._counts[spec.name] = (before[0] + n_nan, before[1] + n_infinite)


def _can_be_odd(dtype: str) -> bool:
    return dtype in FLOATING or dtype in _PARTS


def _are_ordinary(dtype: str, values: Buffer) -> bool:
    """Whether all values are finite and none is very large, as far as that can be told without numpy."""
    width = _WIDTHS.get(dtype)
    if width is None:
        return False
    for start in range(0, len(values), _BLOCK_BYTES):
        ends = bytes(values[start : start + _BLOCK_BYTES])[width - 1 :: width]
        if any(large in ends for large in _LARGE_ENDS):
            return False
    return True


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
