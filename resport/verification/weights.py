"""The exact comparison of tensors: bit for bit, through a plan or by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from resport.conversion.stream import filled, is_copy, moved
from resport.dtypes import OPAQUE
from resport.formats import Reader
from resport.mapping import Plan
from resport.tensors import TensorSpec
from resport.verification.report import TensorDifference, WeightsResult

if TYPE_CHECKING:
    import numpy as np

    from resport.formats.base import Buffer

# Views are compared value by value, bytes as a whole: to copy so few costs next to nothing.
_COMPARED_BYTES = 1 << 16


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
    for move in plan.moves:
        copied = move.targets[0] if is_copy(move, source.manifest) else None
        if copied and target.manifest.get(copied.name) == copied:
            difference = tensor_difference(source, move.sources[0], target, copied.name)
            if difference is not None:
                yield difference
            continue
        for spec, expected in zip(move.targets, moved(move, source.read), strict=True):
            yield from _difference_of(spec, expected, target)
    for fill in plan.fills:
        yield from _difference_of(fill.target, filled(fill), target)


def _difference_of(spec: TensorSpec, expected: np.ndarray, target: Reader) -> Iterator[TensorDifference]:
    actual_spec = target.manifest.get(spec.name)
    if actual_spec is None:
        yield TensorDifference(spec.name, "missing", f"expected {spec.shape} {spec.dtype}")
        return
    difference = spec_difference(spec, actual_spec)
    if difference is None:
        difference = value_difference(spec.name, expected, target.read(spec.name))
    if difference is not None:
        yield difference


def tensor_difference(source: Reader, source_name: str, target: Reader, target_name: str) -> TensorDifference | None:
    """The difference of two tensors of one shape and dtype, or None when every bit is the same."""
    if are_same_bytes(source.pieces(source_name), target.pieces(target_name)):
        return None
    return value_difference(target_name, source.read(source_name), target.read(target_name))


def are_same_bytes(left: Iterator[Buffer], right: Iterator[Buffer]) -> bool:
    """Whether two sequences of pieces hold the same bytes, wherever each is divided; if so both are read to the end."""
    rests = [memoryview(b""), memoryview(b"")]
    while True:
        rests = [_rest(rest, pieces) for rest, pieces in zip(rests, (left, right), strict=True)]
        n_bytes = min(_COMPARED_BYTES, *map(len, rests))
        one, other = (bytes(rest[: n_bytes or 1]) for rest in rests)
        if one != other or not n_bytes:
            return one == other
        rests = [rest[n_bytes:] for rest in rests]


def _rest(rest: memoryview, pieces: Iterator[Buffer]) -> memoryview:
    """What of a piece is left, else the next piece that has something; nothing behind the last."""
    while not rest:
        piece = next(pieces, None)
        if piece is None:
            break
        rest = memoryview(piece)
    return rest


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
    if not left.size:
        return None
    bits = np.dtype(f"u{left.dtype.itemsize}") if left.dtype.itemsize <= 8 else np.dtype("u8")
    different = (left.view(bits) != right.view(bits)).reshape(left.size, -1).any(axis=1)
    n_different = int(different.sum())
    if not n_different:
        return None
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
