"""The source as a conversion rounds it: every value moved by as much as the rounding moved what became of it.

A stored dtype rounds each value, and a fold rounds what it computes of several. Neither is a mistake, and both are
known exactly, so the source's network is run with the same rounding: the two networks then agree as far as float64
does, and no limit has to be widened for it. What is added to a source's value is never more than the rounding error of
the value that is stored: a fold that is wrong is no rounding, and shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from resport.conversion.stream import moved
from resport.dtypes import to_numpy
from resport.mapping import Move, Plan
from resport.mapping.ops import FOLDS
from resport.mapping.plan import Adjustment, stored
from resport.tensors import TensorSpec

if TYPE_CHECKING:
    import numpy as np

Read = Callable[[str], "np.ndarray"]

FACTORS = frozenset({"scale_into_gamma", "gamma_into_kernel", "gamma_into_mean"})
"""The folds that multiply with their operand. What the others add leaves a rounding error as it is."""

SHIFT_OF_BETA = 1
"""Which operand of ``scale_into_beta`` is added last: it takes the rounding error, whatever the scale is."""


def rounded_read(plan: Plan, read: Read, dtype: str | None) -> Read:
    """Read a source as the conversion rounded it.

    Args:
        plan: the conversion.
        read: gives the source's tensors, by the names that the plan reads.
        dtype: what floating-point tensors were stored as; None for what each of them has.
    """
    carriers = {_carrier(move): move for move in plan.moves if _folds(move)}
    folded = {name for move in carriers.values() for name in (*move.sources, *_operands(move))}

    def read_rounded(name: str) -> np.ndarray:
        array = read(name)
        move = carriers.get(name)
        if move is None:
            # What is stored is what the fold makes of it.
            return array if dtype is None or name in folded else array.astype(to_numpy(dtype))
        return _corrected(name, array, move, read, dtype)

    return read_rounded


def _folds(move: Move) -> tuple[Adjustment, ...]:
    return tuple(adjustment for adjustment in move.adjustments if adjustment.op in FOLDS)


def _operands(move: Move) -> tuple[str, ...]:
    return tuple(name for adjustment in _folds(move) for name in adjustment.operands)


def _carrier(move: Move) -> str:
    """The tensor of the source that a rounding error is given to."""
    last = _folds(move)[-1]
    return last.operands[SHIFT_OF_BETA] if last.op == "scale_into_beta" else move.sources[0]


def _corrected(name: str, array: np.ndarray, move: Move, read: Read, dtype: str | None) -> np.ndarray:
    """A value of the source with which its network computes what the rounded fold computes."""
    import numpy as np

    (source,) = move.sources
    spec = TensorSpec(source, read(source).shape, move.targets[0].dtype)
    fold = move._replace(axes=None, adjustments=_folds(move), targets=(spec,))
    (rounded,) = moved(fold, read)
    if dtype is not None:
        rounded = rounded.astype(to_numpy(dtype))
    (exact,) = moved(fold._replace(targets=(stored(spec, "float64"),)), read)
    with np.errstate(invalid="ignore"):
        error = rounded.astype(np.float64) - exact
    if name == source:
        factor = np.broadcast_to(_factor(fold, read, exact.ndim), exact.shape)
        # Where the factor is 0 the product is 0, too, and was not rounded.
        error = np.divide(error, factor, out=np.zeros_like(error), where=factor != 0)
    return array.astype(np.float64) + error


def _factor(fold: Move, read: Read, n_axes: int) -> np.ndarray:
    """What the folds multiply a tensor with."""
    import numpy as np

    product = np.ones((1,) * n_axes)
    for adjustment in fold.adjustments:
        if adjustment.op in FACTORS:
            factor = read(adjustment.operands[0]).astype(np.float64)
            shape = [1] * n_axes
            shape[-1 if adjustment.axis is None else adjustment.axis] = -1
            product = product * factor.reshape(shape)
    return product
