"""What both drawings show, the page's and matplotlib's: series, lines, their range, and groups of end points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resport.verification.page.markup import images, number
from resport.verification.page.passes import Passes, Point, by_size

CHART_DECADES = (-18, 2)
"""Powers of ten that a scale may cover; what lies outside is drawn at its edge."""


@dataclass(frozen=True, slots=True)
class Series:
    """Differences that one line joins.

    Attributes:
        label: what they are.
        css: class of the line and its marks.
        mark: shape of a mark: ``circle``, ``square`` or ``triangle``.
        values: relative difference by end point.
        limit: above which a value is bad.
    """

    label: str
    css: str
    mark: str
    values: Mapping[str, float]
    limit: float


@dataclass(frozen=True, slots=True)
class Line:
    """A horizontal line: a limit or the noise floor."""

    label: str
    css: str
    value: float


@dataclass(frozen=True, slots=True)
class ValueRange:
    """The powers of ten that a logarithmic scale covers, with places of their own for zero and infinity.

    Attributes:
        low: power of ten at the bottom.
        high: power of ten at the top.
        has_zero: whether there is a place for zero, a decade below.
        has_infinity: whether there is one for what is not finite, a decade above.
    """

    low: int
    high: int
    has_zero: bool
    has_infinity: bool

    @property
    def ends(self) -> tuple[int, int]:
        """The bottom and the top with these places."""
        return self.low - self.has_zero, self.high + self.has_infinity

    def power(self, value: float) -> float:
        """Where a value is drawn, in decades."""
        if value == 0:
            return self.low - 1
        if not math.isfinite(value):
            return self.high + 1
        return min(max(math.log10(value), self.low), self.high)


def series_of(passes: Passes) -> list[Series]:
    """The series of forward passes: one in float64 for each input size, and one in float32.

    Args:
        passes: the forward passes.
    """
    styles = (("first", "circle"), ("second", "square"))
    found = [
        Series(f"float64, {images(size)}", *styles[index % 2], _values(points), passes.limit64)
        for index, (size, points) in enumerate(by_size(passes.points64).items())
    ]
    for size, points in list(by_size(passes.points32).items())[:1]:
        found.append(Series(f"float32, {images(size)}", "third", "triangle", _values(points), passes.limit32))
    return found


def lines_of(passes: Passes) -> list[Line]:
    """The limits and the noise floor of forward passes."""
    lines = [
        Line(f"float64 limit {number(passes.limit64)}", "limit", passes.limit64),
        Line(f"float32 limit {number(passes.limit32)}", "limit32", passes.limit32),
        Line(f"float32 noise floor {number(passes.floor)}", "floor", passes.floor),
    ]
    # Two lines at one height would be one, with the text of the last.
    distinct = {line.value: line for line in reversed(lines) if math.isfinite(line.value)}
    return list(reversed(distinct.values()))


def value_range(series: Sequence[Series], lines: Sequence[Line]) -> ValueRange:
    """The range that holds all series and lines.

    Args:
        series: what is drawn.
        lines: across the drawing.
    """
    values = [value for each in series for value in each.values.values()] + [line.value for line in lines]
    powers = [math.log10(value) for value in values if value > 0 and math.isfinite(value)] or [0.0]
    low = max(math.floor(min(powers)), CHART_DECADES[0])
    high = min(math.ceil(max(powers)), CHART_DECADES[1])
    # Three decades at least, or noise would look like a mountain range.
    low = min(low, high - 3)
    return ValueRange(low, high, 0 in values, not all(math.isfinite(value) for value in values))


def bands_of(names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Neighbouring end points whose names begin alike: what they begin with, the first one's index, the last one's + 1.

    Args:
        names: end points in network order.
    """
    bands: list[tuple[str, int, int]] = []
    start = 0
    for label, members in itertools.groupby(names, lambda name: name.partition("/")[0]):
        end = start + len(list(members))
        bands.append((label, start, end))
        start = end
    return bands


def _values(points: Mapping[str, Point]) -> dict[str, float]:
    return {name: point["max_rel_diff"] for name, point in points.items()}
