"""Mistakes in tensors: exchanged, transposed, flipped, permuted, left out, rounded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from resport.verification.mistakes.kinds import OTHER_VALUES, Mistake, never
from resport.verification.mistakes.target_tensors import BIAS, DEFAULTS, KERNEL, VECTORS, TargetTensor
from resport.verification.mistakes.workbench import Change, View, Workbench

if TYPE_CHECKING:
    import numpy as np

Rearrange = Callable[["np.ndarray"], "np.ndarray"]

SHORT = {"gamma": "gamma", "beta": "beta", "moving_mean": "mean", "moving_variance": "variance"}
ELEMENT_SHARE = 1e-3
"""By how much of a tensor's range its one element is changed."""


def weight_mistakes(bench: Workbench) -> Iterator[Mistake]:
    """Every mistake in the tensors of a network that has a name.

    Args:
        bench: the network.
    """
    tensors = list(bench.tensors.values())
    kernels = [tensor for tensor in tensors if tensor.role == KERNEL]
    yield from _exchanged_vectors(tensors)
    yield from _classes_shifted(tensors)
    yield from _rearranged_kernels(kernels, bench)
    yield from _left_at_default(tensors)
    yield from _exchanged_kernels(kernels)
    yield from (_element(tensor) for tensor in kernels)


def other_values(bench: Workbench) -> Iterator[Mistake]:
    """Values that no known mistake makes, of every tensor.

    Args:
        bench: the network.
    """
    yield from (_other_values(tensor) for tensor in bench.tensors.values())


def _exchanged_vectors(tensors: Sequence[TargetTensor]) -> Iterator[Mistake]:
    layers: dict[str, dict[str, str]] = defaultdict(dict)
    for tensor in tensors:
        if tensor.role in VECTORS:
            layers[tensor.layer][tensor.role] = tensor.name
    for layer, names in layers.items():
        for one, other in combinations([role for role in VECTORS if role in names], 2):
            yield _exchanged(
                f"bn-{SHORT[one]}-{SHORT[other]}",
                names[one],
                names[other],
                f"{one} and {other} of `{layer}` are exchanged",
            )


def _exchanged_kernels(kernels: Sequence[TargetTensor]) -> Iterator[Mistake]:
    by_shape: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for kernel in kernels:
        by_shape[kernel.shape].append(kernel.name)
    for names in by_shape.values():
        neighbours = set(pairwise(names))
        for one, other in combinations(names, 2):
            kind = "kernels-neighbours" if (one, other) in neighbours else "kernels-across"
            yield _exchanged(kind, one, other, f"`{one}` and `{other}` are exchanged")


def _exchanged(kind: str, one: str, other: str, sentence: str) -> Mistake:
    def exchange(view: View) -> Change:
        return Change({one: view.value(other), other: view.value(one)})

    remedy = f"exchange `{one}` and `{other}` in the target; a mapping that does it exchanges their two names"
    return Mistake(kind, sentence, frozenset((one, other)), exchange, exchange, remedy)


def _classes_shifted(tensors: Sequence[TargetTensor]) -> Iterator[Mistake]:
    axes = {tensor.name: tensor.classes_axis for tensor in tensors if tensor.classes_axis is not None}

    def shift(step: int, view: View) -> Change:
        import numpy as np

        return Change({name: np.roll(view.value(name), step, axis) for name, axis in axes.items() if axis is not None})

    for step, where in ((1, "behind"), (-1, "in front of")):
        if axes:
            yield Mistake(
                "class-shift",
                f"every class of the classifier stands one place {where} its own",
                frozenset(axes),
                partial(shift, step),
                partial(shift, -step),
                "shift the classes by one; a background class that is cut off or put in front does it",
            )


def _rearranged_kernels(kernels: Sequence[TargetTensor], bench: Workbench) -> Iterator[Mistake]:
    import numpy as np

    groups = {site.kernel: site.groups for site in bench.editor.sites.convolutions if site.groups > 1}
    for kernel in kernels:
        shape, name = kernel.shape, kernel.name
        is_spatial = len(shape) == 4 and shape[0] * shape[1] > 1
        if is_spatial:
            flip = _flipped
            yield _rearranged("kernel-flipped", kernel, "turned by 180 degrees", flip, flip, "--kernel-order tf")
        if is_spatial and shape[0] == shape[1]:
            swap = partial(np.swapaxes, axis1=0, axis2=1)
            yield _rearranged("kernel-height-width", kernel, "stored with height and width exchanged", swap, swap)
        if shape[-1] == shape[-2] > 1:
            swap = partial(np.swapaxes, axis1=-1, axis2=-2)
            yield _rearranged("kernel-inputs-outputs", kernel, "stored with inputs and outputs exchanged", swap, swap)
        if groups.get(name, shape[-1]) < shape[-1]:
            count = groups[name]
            make, undo = partial(_interleaved, first=count), partial(_interleaved, first=shape[-1] // count)
            yield _rearranged("groups-permuted", kernel, "stored with its outputs in turn from each group", make, undo)
        if kernel.rgb_axis is not None:
            flip = partial(np.flip, axis=kernel.rgb_axis)
            yield _rearranged("rgb-bgr", kernel, "for images with their colours turned round", flip, flip, "--swap-rgb")


def _rearranged(
    kind: str, kernel: TargetTensor, what: str, make: Rearrange, undo: Rearrange, option: str | None = None
) -> Mistake:
    name = kernel.name

    def step(rearrange: Rearrange, view: View) -> Change:
        return Change({name: rearrange(view.value(name))})

    remedy = f"`{option}`" if option else f"rearrange `{name}` in the target, or the axes of its row in the mapping"
    return Mistake(kind, f"`{name}` is {what}", frozenset((name,)), partial(step, make), partial(step, undo), remedy)


def _flipped(kernel: np.ndarray) -> np.ndarray:
    return kernel[::-1, ::-1]


def _interleaved(kernel: np.ndarray, first: int) -> np.ndarray:
    """Outputs that are sorted by one index, sorted by the other; ``first`` is the count of the first."""
    split = kernel.reshape(*kernel.shape[:-1], first, -1)
    return split.swapaxes(-1, -2).reshape(kernel.shape)


def _left_at_default(tensors: Sequence[TargetTensor]) -> Iterator[Mistake]:
    for tensor in tensors:
        if tensor.role in DEFAULTS:
            kind = "bias-dropped" if tensor.role == BIAS else "vector-default"
            yield _constant(kind, tensor.name, DEFAULTS[tensor.role])


def _constant(kind: str, name: str, default: float) -> Mistake:
    def make(view: View) -> Change | None:
        import numpy as np

        value = view.value(name)
        return None if (value == default).all() else Change({name: np.full_like(value, default)})

    def undo(view: View) -> Change | None:
        if not (view.value(name) == default).all():
            return None
        return Change({name: view.bench.expected(name)})

    sentence = f"`{name}` is {default:g} throughout, its default: it was left out"
    return Mistake(kind, sentence, frozenset((name,)), make, undo, f"convert again, with a row for `{name}`")


def _element(tensor: TargetTensor) -> Mistake:
    name = tensor.name

    def make(view: View) -> Change:
        value = view.value(name).copy()
        value.flat[value.size // 2] += ELEMENT_SHARE * (value.max() - value.min())
        return Change({name: value})

    def undo(view: View) -> Change | None:
        expected = view.bench.expected(name)
        return Change({name: expected}) if (expected != view.value(name)).sum() == 1 else None

    sentence = f"one element of `{name}` is another"
    return Mistake("element", sentence, frozenset((name,)), make, undo, f"convert again: `{name}` is damaged")


def _other_values(tensor: TargetTensor) -> Mistake:
    name = tensor.name

    def undo(view: View) -> Change | None:
        expected, value = view.bench.expected(name), view.value(name)
        is_other = expected.shape == value.shape and (expected != value).any()
        return Change({name: expected}) if is_other else None

    sentence = f"`{name}` has other values than the source, by no mistake that is known"
    remedy = f"convert again: `{name}` isn't what its row says"
    return Mistake(OTHER_VALUES, sentence, frozenset((name,)), never, undo, remedy)
