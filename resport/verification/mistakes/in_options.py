"""Mistakes in what a conversion was asked for: another copy of the weights, another dtype, other classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from resport.dtypes import FLOATING, to_numpy
from resport.verification.mistakes.kinds import Mistake, never
from resport.verification.mistakes.target_tensors import VARIANCE
from resport.verification.mistakes.workbench import Align, Change, Outputs, View, Workbench

if TYPE_CHECKING:
    import numpy as np

REDUCED = ("bfloat16", "float16")
BACKGROUND = "background-kept"


def option_mistakes(bench: Workbench) -> Iterator[Mistake]:
    """Every mistake in the options of a conversion.

    Args:
        bench: the network.
    """
    yield from _averages(bench)
    yield from (_rounded(bench, dtype) for dtype in REDUCED if bench.pair.options.dtype not in REDUCED)
    yield from _epsilon_of_fold(bench)


def _averages(bench: Workbench) -> Iterator[Mistake]:
    pair = bench.pair
    assert pair.source_detection is not None
    suffix = pair.source_detection.table.shadow.get(pair.source_detection.dialect)
    if suffix is None or not any(name.endswith(suffix) for name in pair.source.manifest):
        return
    other = replace(pair.options, ema=not pair.options.ema)
    taken, right = ("raw variables", "moving averages") if pair.options.ema else ("moving averages", "raw variables")

    def make(view: View) -> Change:
        return Change({name: view.bench.expected(name, other) for name in bench.tensors})

    yield Mistake(
        "ema",
        f"the target has the source's {taken}, not its {right}",
        frozenset(bench.tensors),
        make,
        lambda view: Change(options=other),
        "leave `--ema` out, or convert again with it" if pair.options.ema else "`--ema`, or convert again without it",
    )


def _rounded(bench: Workbench, dtype: str) -> Mistake:
    floating = [tensor for tensor in bench.tensors.values() if _is_floating(bench, tensor.file_name)]

    def make(view: View) -> Change:
        rounded = {}
        for tensor in floating:
            value = view.value(tensor.name)
            rounded[tensor.name] = value.astype(to_numpy(dtype)).astype(value.dtype)
        return Change(rounded)

    def undo(view: View) -> Change | None:
        return Change(options=replace(bench.pair.options, dtype=dtype))

    return Mistake(
        dtype,
        f"the target's values are rounded to {dtype}",
        frozenset(tensor.name for tensor in floating),
        make,
        undo,
        f"`--dtype {dtype}` if that is meant, or convert again without rounding",
    )


def _is_floating(bench: Workbench, file_name: str) -> bool:
    return bench.pair.target.manifest[file_name].dtype in FLOATING


def background_mistakes(bench: Workbench) -> Iterator[Mistake]:
    """A background class that one side has too many, or has in place of the last class.

    Args:
        bench: the network.
    """
    classifier = [tensor for tensor in bench.tensors.values() if tensor.classes_axis is not None]
    touches = frozenset(tensor.name for tensor in classifier)
    if not classifier:
        return

    def keep(view: View) -> Change:
        import numpy as np

        whole = replace(bench.pair.options, drop_background=False)
        return Change(
            {
                tensor.name: np.delete(view.bench.expected(tensor.name, whole), -1, tensor.classes_axis)
                for tensor in classifier
            }
        )

    kept = "the target has the background class, and all others stand one place behind their own"
    for align, make, sentence, remedy in (
        (
            _shared_classes,
            keep if bench.pair.options.drop_background else never,
            f"{kept}; the last one was cut",
            "`--drop-background` cuts class 0, not the last one",
        ),
        (_cut_target, never, kept, "convert again with `--drop-background`"),
        (_cut_source, never, "the target lacks the source's background class", "`--drop-background`"),
    ):
        yield Mistake(BACKGROUND, sentence, touches, make, partial(_aligned, align), remedy)


def _aligned(align: Align, view: View) -> Change:
    return Change(align=align)


def _shared_classes(expected: Outputs, actual: Outputs) -> tuple[Outputs, Outputs]:
    """All but the last class of the reference, all but the first of the target."""
    return _classes(expected, slice(None, -1)), _classes(actual, slice(1, None))


def _cut_target(expected: Outputs, actual: Outputs) -> tuple[Outputs, Outputs]:
    """The target without its first class."""
    return expected, _classes(actual, slice(1, None))


def _cut_source(expected: Outputs, actual: Outputs) -> tuple[Outputs, Outputs]:
    """The reference without its first class."""
    return _classes(expected, slice(1, None)), actual


def _classes(outputs: Outputs, kept: slice) -> Mapping[str, np.ndarray]:
    found = dict(outputs)
    if "logits" in found:
        found["logits"] = found["logits"][..., kept]
    if "predictions" in found:
        share = found["predictions"][..., kept]
        found["predictions"] = share / share.sum(axis=-1, keepdims=True)
    return found


def _epsilon_of_fold(bench: Workbench) -> Iterator[Mistake]:
    shifts = {
        adjustment.value
        for move in bench.pair.plan.moves
        for adjustment in move.adjustments
        if adjustment.op == "shift_epsilon" and adjustment.value is not None
    }
    if len(shifts) != 1:
        return
    shift = shifts.pop()
    variances = [tensor.name for tensor in bench.tensors.values() if tensor.role == VARIANCE]

    def moved_by(difference: float, view: View) -> Change:
        return Change({name: (view.value(name).astype("float64") + difference) for name in variances})

    yield Mistake(
        "scale-without-epsilon",
        f"a fold left the epsilons as they are: they differ by {abs(shift):.2g}",
        frozenset(variances),
        partial(moved_by, -shift),
        partial(moved_by, shift),
        "convert again with `--fold`, which compensates the epsilon",
    )
