"""The difference at every end point over depth, as SVG: a logarithmic scale with limits and noise floor drawn in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from resport.verification.page.markup import MINUS, number, text
from resport.verification.page.passes import Passes
from resport.verification.page.series import Line, Series, ValueRange, bands_of, lines_of, series_of, value_range

CHART_LETTER_WIDTH = 7.0
"""Pixels that a letter of a label takes, for the decision whether a label fits."""


@dataclass(frozen=True, slots=True)
class ChartFrame:
    """The size of a drawing and the room around its axes, in pixels."""

    name: str
    width: int
    height: int
    left: int = 46
    right: int = 12
    top: int = 22
    bottom: int = 34


WIDE = ChartFrame("wide", 960, 380)
NARROW = ChartFrame("narrow", 380, 320, left=40, right=6)


@dataclass(frozen=True, slots=True)
class Scale:
    """Where end points and differences are drawn.

    Attributes:
        frame: the size of the drawing.
        n_points: end points.
        values: the range of the differences.
    """

    frame: ChartFrame
    n_points: int
    values: ValueRange

    def x(self, index: float) -> float:
        """The place of an end point."""
        frame = self.frame
        return frame.left + (frame.width - frame.left - frame.right) * (index + 0.5) / max(self.n_points, 1)

    def y(self, value: float) -> float:
        """The place of a difference."""
        frame = self.frame
        low, high = self.values.ends
        return frame.top + (frame.height - frame.top - frame.bottom) * (high - self.values.power(value)) / (high - low)


def chart(passes: Passes, frame: ChartFrame, title: str) -> str:
    """Draw forward passes.

    Args:
        passes: the forward passes.
        frame: the size.
        title: what it shows, as text.
    """
    series, lines = series_of(passes), lines_of(passes)
    names = list(dict.fromkeys(name for each in series for name in each.values))
    scale = Scale(frame, len(names), value_range(series, lines))
    parts = [
        *_groups(scale, names),
        *_decades(scale),
        *_first(scale, names, passes.first["name"] if passes.first else None, series, lines),
        *(_line(scale, line) for line in lines),
        *itertools.chain.from_iterable(_curve(scale, names, each) for each in series),
        *(_line_label(scale, line) for line in lines),
        *_columns(scale, names, series),
    ]
    return (
        f'<svg class="chart {frame.name}" viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{text(title)}">{"".join(parts)}</svg>'
    )


def legend(passes: Passes) -> str:
    """The names of the series beside their marks, as HTML."""
    items = "".join(
        f'<li><svg class="swatch" viewBox="0 0 28 12" aria-hidden="true"><path class="curve {each.css}" d="M0,6H28"/>'
        f'<path class="mark {each.css}" d="{_mark(each.mark, 14, 6, 4)}"/></svg>{text(each.label)}</li>'
        for each in series_of(passes)
    )
    return f'<ul class="legend">{items}</ul>'


def _decades(scale: Scale) -> Iterator[str]:
    """The grid: a line for each power of ten, and labels that don't touch each other."""
    frame, values = scale.frame, scale.values
    step = 1 + (values.high - values.low) // (frame.height // 36)
    for power in range(values.low, values.high + 1):
        y = scale.y(10.0**power)
        yield f'<path class="grid" d="M{frame.left},{y:.1f}H{frame.width - frame.right}"/>'
        if power % step == 0:
            label = f'10<tspan dy="-4" class="power">{str(power).replace("-", MINUS)}</tspan>'
            yield f'<text class="tick end" x="{frame.left - 6}" y="{y + 4:.1f}">{label}</text>'
    for value, label, is_there in ((0.0, "0", values.has_zero), (math.inf, "∞", values.has_infinity)):
        if is_there:
            yield f'<text class="tick end" x="{frame.left - 6}" y="{scale.y(value) + 4:.1f}">{label}</text>'
            yield f'<path class="grid edge" d="M{frame.left},{scale.y(value):.1f}H{frame.width - frame.right}"/>'


def _groups(scale: Scale, names: Sequence[str]) -> Iterator[str]:
    """Bands behind end points whose names begin alike, labelled where the label fits; and what the axes are."""
    frame = scale.frame
    right_edge = frame.width - frame.right
    bands = [(label, scale.x(start - 0.5), scale.x(end - 0.5)) for label, start, end in bands_of(names)]
    for _, left, right in bands[1::2]:
        yield (
            f'<rect class="band" x="{left:.1f}" y="{frame.top}" width="{right - left:.1f}" '
            f'height="{frame.height - frame.bottom - frame.top}"/>'
        )
    for label, middle in _band_labels(bands, frame):
        yield f'<text class="tick middle" x="{middle:.1f}" y="{frame.height - frame.bottom + 16}">{text(label)}</text>'
    depth = "depth, from the input to the output \N{RIGHTWARDS ARROW}"
    yield f'<text class="tick end axis" x="{right_edge}" y="{frame.height - 4}">{depth}</text>'
    yield f'<text class="tick axis" x="{frame.left}" y="12">largest difference ÷ largest value of the reference</text>'


def _band_labels(bands: Sequence[tuple[str, float, float]], frame: ChartFrame) -> Iterator[tuple[str, float]]:
    """Labels with their middles: those that fit their bands, and the first and the last where they touch no other."""
    placed: list[tuple[float, float]] = []
    ends = (bands[:1], bands[-1:])
    fitting = [band for band in bands if len(band[0]) * CHART_LETTER_WIDTH < band[2] - band[1]]
    for label, left, right in itertools.chain(fitting, *ends):
        half = len(label) * CHART_LETTER_WIDTH / 2
        middle = min(max((left + right) / 2, frame.left + half), frame.width - half)
        if all(middle - half > end + 4 or middle + half < start - 4 for start, end in placed):
            placed.append((middle - half, middle + half))
            yield label, middle


def _first(
    scale: Scale, names: Sequence[str], name: str | None, series: Sequence[Series], lines: Sequence[Line]
) -> Iterator[str]:
    """The end point that differs first: a line across the drawing, with its name where there is room."""
    if name is None or name not in names:
        return
    frame, index = scale.frame, names.index(name)
    x = scale.x(index)
    yield f'<path class="divergence" d="M{x:.1f},{frame.top}V{frame.height - frame.bottom}"/>'
    fitting = int((frame.width - frame.left - frame.right) / CHART_LETTER_WIDTH) - 4
    label = f"first difference: {name}"
    label = label if len(label) <= fitting else f"…{name[-fitting:]}"
    is_left = x + len(label) * CHART_LETTER_WIDTH < frame.width - frame.right
    is_right = not is_left and x - len(label) * CHART_LETTER_WIDTH > frame.left
    start, side = (x + 6, "") if is_left else (x - 6, " end") if is_right else (frame.left + 4, "")
    end = start + len(label) * CHART_LETTER_WIDTH * (-1 if side else 1)
    covered = [n for i, n in enumerate(names) if min(start, end) <= scale.x(i) <= max(start, end)]
    taken = [scale.y(each.values[n]) for each in series for n in covered if n in each.values]
    taken += [scale.y(line.value) - room for line in lines for room in (0, 10)]
    rows = range(frame.top + 12, frame.height - frame.bottom - 4, 4)
    y = max(rows, key=lambda row: min(abs(row - 4 - each) for each in taken))
    yield f'<text class="divergence-label{side}" x="{start:.1f}" y="{y}">{text(label)}</text>'


def _line(scale: Scale, line: Line) -> str:
    y = scale.y(line.value)
    return f'<path class="rule {line.css}" d="M{scale.frame.left},{y:.1f}H{scale.frame.width - scale.frame.right}"/>'


def _line_label(scale: Scale, line: Line) -> str:
    x = scale.frame.width - scale.frame.right - 4
    return (
        f'<text class="rule-label end {line.css}" x="{x}" y="{scale.y(line.value) - 4:.1f}">{text(line.label)}</text>'
    )


def _curve(scale: Scale, names: Sequence[str], series: Series) -> Iterator[str]:
    """A series: the line, its marks, and larger marks where it lies above its limit."""
    places = [
        (scale.x(index), scale.y(series.values[name]), series.values[name])
        for index, name in enumerate(names)
        if name in series.values
    ]
    yield f'<path class="curve {series.css}" d="M{"L".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)}"/>'
    good = "".join(_mark(series.mark, x, y, 2.4) for x, y, value in places if value <= series.limit)
    bad = "".join(_mark(series.mark, x, y, 4) for x, y, value in places if not value <= series.limit)
    yield f'<path class="mark {series.css}" d="{good}"/>'
    if bad:
        yield f'<path class="mark bad {series.css}" d="{bad}"/>'


def _mark(shape: str, x: float, y: float, radius: float) -> str:
    if shape == "circle":
        return (
            f"M{x - radius:.1f},{y:.1f}a{radius},{radius} 0 1 0 {2 * radius},0a{radius},{radius} 0 1 0 {-2 * radius},0z"
        )
    if shape == "square":
        return f"M{x - radius:.1f},{y - radius:.1f}h{2 * radius}v{2 * radius}h{-2 * radius}z"
    return f"M{x - radius:.1f},{y + radius:.1f}h{2 * radius}l{-radius},{-2 * radius}z"


def _columns(scale: Scale, names: Sequence[str], series: Sequence[Series]) -> Iterator[str]:
    """A column over each end point that names its values when one points at it."""
    frame = scale.frame
    for index, name in enumerate(names):
        lines = [name, *(f"{each.label}: {number(each.values[name])}" for each in series if name in each.values)]
        left, right = scale.x(index - 0.5), scale.x(index + 0.5)
        title = "\n".join(text(line) for line in lines)
        yield (
            f'<rect class="column" x="{left:.1f}" y="{frame.top}" width="{right - left:.1f}" '
            f'height="{frame.height - frame.top - frame.bottom}"><title>{title}</title></rect>'
        )
