"""The exact comparison of tensors: bit for bit, through a plan or by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from resport.conversion.stream import stream
from resport.dtypes import OPAQUE
from resport.formats import Reader
from resport.mapping import Plan
from resport.tensors import TensorSpec
from resport.verification.report import TensorDifference, WeightsResult

if TYPE_CHECKING:
    import numpy as np


def compare_weights(source: Reader, target: Reader, plan: Plan, ignored: Iterable[str] = ()) -> WeightsResult:
    """Compare a target with what a plan makes of the source.

    Args:
        source: the reference.
        target: what is judged.
        plan: how the source's tensors become the target's.
        ignored: target names that no parameter has and that need none.
    """
    extras = set(target.manifest) - set(plan.targets) - set(ignored)
    differences = list(_differences(source, target, plan))
    differences.extend(
        TensorDifference(name, "unexpected", "the source has no tensor for it")
        for name in target.manifest
        if name in extras and target.manifest[name].dtype not in OPAQUE
    )
    compared = len(plan.targets) + len(extras)
    return WeightsResult(compared, compared - len(differences), tuple(differences))


def _differences(source: Reader, target: Reader, plan: Plan) -> Iterator[TensorDifference]:
    for spec, expected in stream(plan, source.read):
        actual_spec = target.manifest.get(spec.name)
        if actual_spec is None:
            yield TensorDifference(spec.name, "missing", f"expected {spec.shape} {spec.dtype}")
            continue
        difference = spec_difference(spec, actual_spec)
        if difference is None:
            difference = value_difference(spec.name, expected, target.read(spec.name))
        if difference is not None:
            yield difference


def spec_difference(expected: TensorSpec, actual: TensorSpec) -> TensorDifference | None:
    """The difference of two specs, or None."""
    if expected.shape != actual.shape:
        return TensorDifference(actual.name, "shape", f"expected {expected.shape}, got {actual.shape}")
    if expected.dtype != actual.dtype:
        return TensorDifference(actual.name, "dtype", f"expected {expected.dtype}, got {actual.dtype}")
    return None


def value_difference(name: str, expected: np.ndarray, actual: np.ndarray) -> TensorDifference | None:
    """The difference of two arrays of one shape and dtype, or None when every bit is the same."""
    import numpy as np

    left = np.ascontiguousarray(expected).reshape(-1)
    right = np.ascontiguousarray(actual).reshape(-1)
    if left.view(np.uint8).tobytes() == right.view(np.uint8).tobytes():
        return None
    bits = f"u{left.dtype.itemsize}" if left.dtype.itemsize <= 8 else left.dtype
    different = left.view(bits) != right.view(bits)
    n_different = int(different.sum())
    worst = _largest_difference(left, right)
    detail = f"{n_different} of {left.size} values differ"
    detail += f", by at most {worst:.3g}" if worst is not None else ", some are not finite"
    return TensorDifference(name, "values", detail, worst, n_different)


def _largest_difference(left: np.ndarray, right: np.ndarray) -> float | None:
    """The largest absolute difference; None where it isn't finite."""
    import numpy as np

    wide = np.complex128 if left.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        largest = float(np.abs(left.astype(wide) - right.astype(wide)).max())
    return largest if np.isfinite(largest) else None
