"""Two values of one end point compared: how large the difference is, how it is spread, and whether it matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resport.verification.forward.evidence import EndPointDifference

if TYPE_CHECKING:
    import numpy as np

QUANTILE_SHARES = (0.5, 0.9, 0.99, 0.999)
QUANTILE_SAMPLE = 1 << 16
"""Quantiles are those of at most about this many values, evenly spaced: all of them would cost more than the run."""

LOGITS, PROBABILITIES = "logits", "predictions"
CLASS_END_POINTS = (LOGITS, PROBABILITIES)

Outputs = Mapping[str, "np.ndarray"]


def compare_end_points(
    reference: Sequence[Outputs], judged: Sequence[Outputs], input_sizes: Sequence[int]
) -> list[EndPointDifference]:
    """Compare end points by name, in the reference's order.

    Args:
        reference: end points of each batch.
        judged: the same of the other network.
        input_sizes: of each batch.
    """
    return [
        end_point_difference(name, size, expected[name], actual[name])
        for size, expected, actual in zip(input_sizes, reference, judged, strict=True)
        for name in expected
        if name in actual
    ]


def end_point_difference(name: str, size: int, expected: np.ndarray, actual: np.ndarray) -> EndPointDifference:
    """Compare one end point; what isn't finite, or has another shape, is infinitely different.

    Args:
        name: the end point.
        size: height and width of the images.
        expected: the reference's value, of any rank; the first axis counts images, the last channels or classes.
        actual: the judged network's value.
    """
    import numpy as np

    difference = _absolute_difference(expected, actual)
    largest = float("inf") if difference is None else float(difference.max(initial=0.0))
    if difference is None or not np.isfinite(largest):
        infinity = float("inf")
        return EndPointDifference(name, size, infinity, infinity, infinity)
    magnitude = np.abs(expected).astype(np.float64, copy=False)
    relative = _ratio(largest, float(magnitude.max(initial=0.0)))
    # In place: maps are large, and there are many of them.
    magnitude += 1
    np.divide(difference, magnitude, out=magnitude)
    return EndPointDifference(
        name,
        size,
        largest,
        relative,
        float(difference.mean()) if difference.size else 0.0,
        quantiles=_quantiles(difference),
        tolerance=float(magnitude.max(initial=0.0)),
        **_agreement(name, expected, actual),
    )


def relative_difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """The largest difference over the reference's largest absolute value; infinite where nothing can be compared.

    Args:
        expected: the reference's value.
        actual: the judged network's value.
    """
    import numpy as np

    difference = _absolute_difference(expected, actual)
    if difference is None:
        return float("inf")
    largest = float(difference.max(initial=0.0))
    return _ratio(largest, float(np.abs(expected).max(initial=0.0))) if np.isfinite(largest) else float("inf")


def _absolute_difference(expected: np.ndarray, actual: np.ndarray) -> np.ndarray | None:
    """float64 differences, not all finite where one of the values isn't; None for two shapes."""
    import numpy as np

    if expected.shape != actual.shape:
        return None
    with np.errstate(invalid="ignore"):
        difference: np.ndarray = np.subtract(expected, actual, dtype=np.float64)
    return np.abs(difference, out=difference)


def _ratio(largest: float, span: float) -> float:
    return largest / span if span else (0.0 if largest == 0 else float("inf"))


def _quantiles(difference: np.ndarray) -> tuple[tuple[float, float], ...]:
    import numpy as np

    values = difference.reshape(-1)
    if not values.size:
        return ()
    sample = values[:: -(-values.size // QUANTILE_SAMPLE)]
    return tuple(zip(QUANTILE_SHARES, map(float, np.quantile(sample, QUANTILE_SHARES)), strict=True))


def _agreement(name: str, expected: np.ndarray, actual: np.ndarray) -> dict[str, Any]:
    """What a user of the network would notice: other classes, or an embedding that points elsewhere."""
    import numpy as np

    found: dict[str, Any] = {}
    if expected.ndim == 2 and expected.size:
        expected, actual = expected.astype(np.float64, copy=False), actual.astype(np.float64, copy=False)
        lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1)
        # Two vectors of length zero point the same way as far as anyone can tell; one of them alone does not.
        alike = np.where((expected == actual).all(axis=1), 1.0, 0.0)
        cosine = np.divide((expected * actual).sum(axis=1), lengths, out=alike, where=lengths > 0)
        found["cosine"] = float(cosine.min())
    if name in CLASS_END_POINTS and expected.size and expected.shape[-1] > 1:
        found["top1_agreement"] = float((expected.argmax(axis=-1) == actual.argmax(axis=-1)).mean())
        if expected.shape[-1] > 5:
            found["top5_agreement"] = float((_best_five(expected) == _best_five(actual)).all(axis=-1).mean())
    return found


def _best_five(scores: np.ndarray) -> np.ndarray:
    import numpy as np

    # Stable, so that equal scores are ordered the same way on both sides.
    return np.sort(np.argsort(-scores, axis=-1, kind="stable")[..., :5], axis=-1)
