"""How a Keras file stores its convolution kernels, and how to turn them to what Keras and TensorFlow use today.

Theano convolves where TensorFlow correlates: its kernels are turned by 180 degrees. Independently of that, Keras 1
stored kernels as (out, in, height, width) or as (height, width, in, out). Today's order is the latter, not turned.
Turning is a permutation of elements: no value changes.

Old files say neither outright. The backend is told by its attribute, or by the names of the variables (TensorFlow's end
in ``:0``); the order of axes by the model's description, by the lengths of the biases, or by which two axes are small.
What speaks for both is refused; where nothing speaks, the backend's usual order is assumed, and the reader says so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from resport.errors import FormatError, OptionError

if TYPE_CHECKING:
    import numpy as np

KERNEL_MAX_SIDE = 11
"""The largest window that networks have (AlexNet's); a layer of as few channels tells nothing."""

Shape = tuple[int, ...]


class KernelOrder(NamedTuple):
    """How convolution kernels are stored.

    Attributes:
        is_oihw: whether their axes are (out, in, height, width), not (height, width, in, out).
        is_flipped: whether they are turned by 180 degrees.
    """

    is_oihw: bool
    is_flipped: bool

    def __str__(self) -> str:
        return ("oihw" if self.is_oihw else "hwio") + ("-flipped" if self.is_flipped else "")


KERNEL_ORDERS = {str(order): order for order in (KernelOrder(a, b) for a in (False, True) for b in (False, True))}
"""By name: ``hwio``, ``hwio-flipped``, ``oihw``, ``oihw-flipped``."""


TODAYS_ORDER = KERNEL_ORDERS["hwio"]


def kernel_order_named(name: str) -> KernelOrder:
    """Look an order up by its name.

    Raises:
        OptionError: there is none of that name.
    """
    if name not in KERNEL_ORDERS:
        raise OptionError("kernels have no such order", expected=f"one of {', '.join(KERNEL_ORDERS)}", got=name)
    return KERNEL_ORDERS[name]


def turned_shape(shape: Shape, order: KernelOrder) -> Shape:
    """The shape (…, in, out) of a kernel stored in an order."""
    return (*shape[2:], shape[1], shape[0]) if order.is_oihw else shape


def turn_kernel(array: np.ndarray, order: KernelOrder) -> np.ndarray:
    """A stored kernel as (…, in, out), not flipped; a copy in C order."""
    import numpy as np

    if order.is_oihw:
        array = array.transpose(*range(2, array.ndim), 1, 0)
    if order.is_flipped:
        array = np.flip(array, tuple(range(array.ndim - 2)))
    return np.array(array, order="C")


def later_order(backend: str | None) -> tuple[KernelOrder, list[str]]:
    """The order in a file of Keras 2 or later, whose axes are the same for every backend, and what to say of it."""
    if backend != "theano":
        return TODAYS_ORDER, []
    return KernelOrder(False, True), ["convolution kernels were turned by 180 degrees, because the backend was Theano"]


def tell_order(
    kernels: Sequence[tuple[Shape, int | None]],
    orderings: Collection[str],
    backend: str | None,
    has_colon: bool | None,
    path: str,
) -> tuple[KernelOrder, list[str]]:
    """The order in a file of Keras 0 or 1.

    Args:
        kernels: shape of each kernel, and the length of its bias if it has one.
        orderings: what the model's description says of the order of axes: ``th``, ``tf``, both or nothing.
        backend: the backend that the file names, if it does.
        has_colon: whether names of weights end in ``:0``; None where weights have no names.
        path: the file, for the error.

    Returns:
        The order, and what to tell the user of it.

    Raises:
        FormatError: the kernels contradict one another.
    """
    is_flipped = backend == "theano" if backend else not has_colon
    by_shape = is_oihw(kernels, path) if len(orderings) != 1 else "th" in orderings
    order = KernelOrder(is_flipped if by_shape is None else by_shape, is_flipped)
    notes = []
    if order != TODAYS_ORDER:
        turns = ["from (out, in, height, width)"] * order.is_oihw + ["by 180 degrees, as Theano's"] * order.is_flipped
        notes.append(f"convolution kernels were turned {' and '.join(turns)}")
    if by_shape is None or (has_colon is None and backend is None):
        notes.append(
            f"not everything in the file tells how its kernels are stored, `{order}` is assumed: "
            "give `--kernel-order` if it is another"
        )
    return order, notes


def is_oihw(kernels: Sequence[tuple[Shape, int | None]], path: str) -> bool | None:
    """Whether the shapes of kernels tell that their axes are (out, in, height, width); None where they tell nothing.

    Args:
        kernels: shape of each kernel, and the length of its bias if it has one.
        path: the file, for the error.

    Raises:
        FormatError: they contradict one another.
    """
    by_bias = {shape[0] == length for shape, length in kernels if length in shape and shape[0] != shape[-1]}
    by_window = {_is_window(shape[2:]) for shape, _ in kernels if _is_window(shape[2:]) != _is_window(shape[:2])}
    votes = by_bias or by_window
    if len(votes) > 1:
        raise FormatError(
            f"the convolution kernels of `{path}` are stored in two orders",
            path=path,
            expected="all as (out, in, height, width) or all as (height, width, in, out)",
            hint="say which: `--kernel-order oihw`, or `hwio`",
        )
    return votes.pop() if votes else None


def _is_window(sides: Shape) -> bool:
    return max(sides) <= KERNEL_MAX_SIDE
