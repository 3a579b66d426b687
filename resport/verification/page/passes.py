"""The forward passes of a report as the page draws them: what a report lacks has a neutral value here, decided once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Point = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Passes:
    """Two networks compared at every end point.

    Attributes:
        points64: end points in float64 at each input size; none where a network has only float32.
        points32: the same in float32.
        limit64: relative difference in float64 above which two end points differ; infinite where there is no float64.
        limit_reason: why that limit.
        limit32: the same in float32; infinite where the report doesn't tell it.
        floor: the float32 noise floor.
        noise: the measurements that it is the largest of.
        ratio: the largest float32 difference over it.
        first: the first end point that differs, or None.
    """

    points64: Sequence[Point]
    points32: Sequence[Point]
    limit64: float
    limit_reason: str
    limit32: float
    floor: float
    noise: Sequence[Mapping[str, Any]]
    ratio: float
    first: Point | None

    @classmethod
    def of(cls, forward: Mapping[str, Any]) -> Passes:
        """Read what ``ForwardResult.to_dict()`` gives."""
        float64, float32 = forward["float64"] or {}, forward["float32"]
        limit, ratio_limit = float64.get("limit"), float32.get("ratio_limit")
        floor = float32["noise_floor"]
        return cls(
            points64=forward["end_points"],
            points32=float32.get("end_points", ()),
            limit64=math.inf if limit is None else limit,
            limit_reason=float64.get("limit_reason") or "",
            limit32=math.inf if ratio_limit is None else ratio_limit * floor,
            floor=floor,
            noise=float32.get("noise", ()),
            ratio=float32["ratio"],
            first=forward["first_divergence"],
        )

    @property
    def points(self) -> Sequence[Point]:
        """Those that the verdict rests on first: in float64 where there are any."""
        return self.points64 or self.points32

    @property
    def dtype(self) -> str:
        """Of ``points``."""
        return "float64" if self.points64 else "float32"

    @property
    def is_noisy(self) -> bool:
        """Whether the float32 difference is more than the noise explains."""
        worst32 = self.ratio * self.floor if self.floor else self.ratio
        return not worst32 <= self.limit32

    def names(self) -> list[str]:
        """The end points from the input to the output, each once."""
        return list(dict.fromkeys(point["name"] for point in (*self.points64, *self.points32)))


def by_size(points: Sequence[Point]) -> dict[int, dict[str, Point]]:
    """End points by name for each input size, in their order."""
    found: dict[int, dict[str, Point]] = {}
    for point in points:
        found.setdefault(point["input_size"], {})[point["name"]] = point
    return found


def worst(points: Sequence[Point]) -> float:
    """The largest relative difference of end points; what is no number counts as infinite."""
    values = [point["max_rel_diff"] for point in points]
    return max((math.inf if math.isnan(value) else value for value in values), default=0.0)
