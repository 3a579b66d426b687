"""What forward passes show: the difference at every end point, the noise of the network itself, and the judgement.

The judgement is no fixed tolerance. In float64 two graphs of one function agree to about 1e-12, and the smallest known
mistake makes 1e-7: the limit lies between. In float32 the difference is a ratio to the noise of this very network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EndPointDifference:
    """One end point of the two networks compared.

    Attributes:
        name: its name, the same on both sides.
        input_size: height and width of the images.
        max_abs_diff: largest difference of two values.
        max_rel_diff: that, over the reference's largest absolute value.
        mean_abs_diff: mean difference.
        quantiles: absolute difference that a share of the values stays below, by share: 0.5, 0.9, 0.99, 0.999.
        tolerance: smallest t with which ``numpy.allclose(target, source, rtol=t, atol=t)`` holds.
        top1_agreement: share of the predictions with the same best class; None where there are no classes.
        top5_agreement: share with the same five best classes, in any order; None for five classes or fewer.
        cosine: smallest cosine between the two vectors of one image; None for maps.
    """

    name: str
    input_size: int
    max_abs_diff: float
    max_rel_diff: float
    mean_abs_diff: float
    quantiles: tuple[tuple[float, float], ...] = ()
    tolerance: float | None = None
    top1_agreement: float | None = None
    top5_agreement: float | None = None
    cosine: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return plain | {"quantiles": {f"{share:g}": value for share, value in self.quantiles}}


@dataclass(frozen=True, slots=True)
class Noise:
    """How far float32 outputs of one network, with the same weights and images, are from each other.

    Attributes:
        what: how it was measured, ``float64 against float32``.
        max_rel_diff: the largest relative difference at any end point.
        end_point: the end point that has it.
    """

    what: str
    max_rel_diff: float
    end_point: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class ForwardResult:
    """Forward passes of both networks compared at every shared end point.

    Attributes:
        float64: each end point at each input size, in network order, computed in float64; empty where a network
            cannot compute in float64.
        float32: the same in float32; empty where it wasn't run.
        noise_floor: largest relative difference of the source's float32 outputs from its own other outputs; 0 where
            it wasn't measured.
        limit: relative difference in float64 above which two end points differ.
        limit_reason: why that limit, or why there is no float64.
        float32_ratio_limit: float32 difference over the noise floor above which two end points differ.
        input_sizes: heights and widths of the images.
        batch_size: images in each pass.
        noise: the measurements that the floor is the largest of.
    """

    float64: tuple[EndPointDifference, ...]
    float32: tuple[EndPointDifference, ...]
    noise_floor: float
    limit: float
    limit_reason: str
    float32_ratio_limit: float
    input_sizes: tuple[int, ...]
    batch_size: int
    noise: tuple[Noise, ...] = ()

    @property
    def ratio(self) -> float:
        """The float32 difference over the noise floor; 0 where float32 wasn't run."""
        worst = max((point.max_rel_diff for point in self.float32), default=0.0)
        return worst / self.noise_floor if self.noise_floor else (0.0 if worst == 0 else float("inf"))

    @property
    def first_divergence(self) -> EndPointDifference | None:
        """The first end point, walking through the network, that differs: in float64, or else in float32."""
        return next((point for point in self.float64 if not point.max_rel_diff <= self.limit), None) or next(
            (point for point in self.float32 if not point.max_rel_diff <= self.float32_limit), None
        )

    @property
    def float32_limit(self) -> float:
        """Relative difference in float32 above which two end points differ."""
        return self.float32_ratio_limit * self.noise_floor

    @property
    def is_equal(self) -> bool:
        """Whether something was compared, and every end point agrees in both dtypes."""
        return bool(self.float64 or self.float32) and self.first_divergence is None

    @property
    def outputs(self) -> tuple[EndPointDifference, ...]:
        """What the networks give in the end: logits, or else the last end point, at each size in each dtype."""
        found = []
        for points in (self.float64, self.float32):
            for size in dict.fromkeys(point.input_size for point in points):
                of_size = [point for point in points if point.input_size == size]
                found.append(next((point for point in of_size if point.name == "logits"), of_size[-1]))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        first = self.first_divergence
        float32 = {
            "noise_floor": self.noise_floor,
            "noise": [each.to_dict() for each in self.noise],
            "ratio": self.ratio,
            "ratio_limit": self.float32_ratio_limit,
            "end_points": [point.to_dict() for point in self.float32],
        }
        limit = self.limit if self.float64 else None
        return {
            "float64": {**_worst(self.float64), "limit": limit, "limit_reason": self.limit_reason},
            "float32": {**_worst(self.float32), **float32},
            "end_points": [point.to_dict() for point in self.float64],
            "first_divergence": first.to_dict() if first else None,
            "input_sizes": list(self.input_sizes),
            "batch_size": self.batch_size,
        }


def worst_of(points: Iterable[EndPointDifference]) -> EndPointDifference | None:
    """The end point with the largest relative difference; one that is no number counts as the largest."""
    return max(points, key=lambda point: (point.max_rel_diff != point.max_rel_diff, point.max_rel_diff), default=None)


def _worst(points: tuple[EndPointDifference, ...]) -> dict[str, float | None]:
    measures = ("max_abs_diff", "max_rel_diff", "mean_abs_diff", "tolerance")
    values = {measure: [getattr(point, measure) for point in points] for measure in measures}
    return {
        measure: max((value for value in column if value is not None), default=None)
        for measure, column in values.items()
    }
