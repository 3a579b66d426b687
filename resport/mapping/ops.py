"""The operations that are no move of axes: each a pure function of arrays, with its inverse or the reason it has none.

A table's ``folds`` name them. The first argument is the tensor that stays and takes the others in; the others are
the tensors that the target has no place for. All arithmetic is done in float64 and rounded once, to the dtype of the
first argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Operation(NamedTuple):
    """A named operation.

    Attributes:
        apply: the function; arrays in, one array of the first one's shape and dtype out, unless it says otherwise.
        n_operands: how many arrays it takes beside the first.
        formula: what it computes, for reports.
        inverse: name of the operation that undoes it, or the reason why none does.
    """

    apply: Callable[..., np.ndarray]
    n_operands: int
    formula: str
    inverse: str


def bias_into_mean(mean: np.ndarray, *biases: np.ndarray) -> np.ndarray:
    """Fold what is added to the input of a batch norm into its moving mean: ``BN(x + b + ...)``.

    Args:
        mean: moving mean ``(n,)``.
        biases: bias of the convolution in front ``(n,)``; of several, where their outputs are summed.
    """
    return _rounded(_wide(mean) - sum(map(_wide, biases)), mean)


def bias_out_of_mean(mean: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Give a bias back to the convolution in front: the inverse of ``bias_into_mean`` for a bias that is known."""
    return _rounded(_wide(mean) + _wide(bias), mean)


def scale_into_gamma(gamma: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Fold the factor of a Scale layer into the gamma of the batch norm in front of it; all ``(n,)``."""
    return _rounded(_wide(gamma) * _wide(scale), gamma)


def scale_into_beta(beta: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Fold factor and shift of a Scale layer into the beta of the batch norm in front of it; all ``(n,)``."""
    return _rounded(_wide(beta) * _wide(scale) + _wide(shift), beta)


def gamma_into_kernel(kernel: np.ndarray, gamma: np.ndarray, axis: int) -> np.ndarray:
    """Fold the gamma of a batch norm into the kernel in front of it; ``gamma_into_mean`` is the other half.

    Args:
        kernel: kernel of the convolution or dense layer that the batch norm follows.
        gamma: gamma of the batch norm ``(n,)``; any, 0 and negative ones too.
        axis: the kernel's axis of the n outputs.
    """
    shape = [1] * kernel.ndim
    shape[axis] = -1
    return _rounded(_wide(kernel) * _wide(gamma).reshape(shape), kernel)


def gamma_into_mean(mean: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Fold the gamma of a batch norm into its moving mean, the kernel in front having it already; both ``(n,)``."""
    return _rounded(_wide(mean) * _wide(gamma), mean)


def shift_epsilon(variance: np.ndarray, difference: float) -> np.ndarray:
    """Compensate another epsilon in the moving variance, of which batch norm takes nothing but variance + epsilon.

    A variance smaller than the difference comes out below zero; the sum with the epsilon does not.

    Args:
        variance: moving variance ``(n,)``.
        difference: the source's epsilon less the target's.
    """
    return _rounded(_wide(variance) + difference, variance)


def drop_background(array: np.ndarray, axis: int) -> np.ndarray:
    """Drop class 0, slim's background, along the axis of the classes."""
    return array[(slice(None),) * axis + (slice(1, None),)]


def add_background(array: np.ndarray, axis: int, value: float) -> np.ndarray:
    """Put a class 0 in front along the axis of the classes.

    Args:
        array: kernel or bias of the classifier.
        axis: its axis of classes.
        value: what fills the new class: 0 for a kernel, a large negative number for a bias.
    """
    import numpy as np

    shape = (*array.shape[:axis], 1, *array.shape[axis + 1 :])
    return np.concatenate([np.full(shape, value, array.dtype), array], axis)


def swap_rgb(array: np.ndarray, axis: int) -> np.ndarray:
    """Turn the colour channels round along the axis ``rgb`` of the first kernel: RGB to BGR and back."""
    return array[(slice(None),) * axis + (slice(None, None, -1),)]


FOLDS = (
    "bias_into_mean",
    "bias_out_of_mean",
    "scale_into_gamma",
    "scale_into_beta",
    "gamma_into_kernel",
    "gamma_into_mean",
    "shift_epsilon",
)
"""The operations that a table's ``folds`` may name."""

GATHERED = frozenset({"bias_into_mean"})
"""Those of them that are carried out once for all folds into one tensor, so that what is summed is rounded once."""

ALONG_AXIS = frozenset({"gamma_into_kernel"})
"""Those of them that act along an axis, which the fold names."""

OPERATIONS: Mapping[str, Operation] = {
    "bias_into_mean": Operation(bias_into_mean, 1, "mean - bias, of all biases that go there", "bias_out_of_mean"),
    "bias_out_of_mean": Operation(bias_out_of_mean, 1, "mean + bias", "bias_into_mean"),
    "scale_into_gamma": Operation(
        scale_into_gamma, 1, "gamma * scale", "none: infinitely many pairs of factors have one product"
    ),
    "scale_into_beta": Operation(
        scale_into_beta, 2, "beta * scale + shift", "none: the sum no longer tells the shift from the product"
    ),
    "gamma_into_kernel": Operation(
        gamma_into_kernel, 1, "kernel * gamma, output by output", "none: the product no longer tells its factors"
    ),
    "gamma_into_mean": Operation(gamma_into_mean, 1, "mean * gamma", "none: the product no longer tells its factors"),
    "shift_epsilon": Operation(shift_epsilon, 0, "variance + epsilon - target's epsilon", "shift_epsilon, back again"),
    "drop_background": Operation(
        drop_background, 0, "classes 1 and up", "add_background, but the dropped class's own values are gone"
    ),
    "add_background": Operation(add_background, 0, "a class 0 that is never chosen", "drop_background"),
    "swap_rgb": Operation(swap_rgb, 0, "the colour channels turned round", "swap_rgb"),
}


def _wide(array: np.ndarray) -> np.ndarray:
    import numpy as np

    return array.astype(np.float64)


def _rounded(result: np.ndarray, like: np.ndarray) -> np.ndarray:
    return result.astype(like.dtype)
