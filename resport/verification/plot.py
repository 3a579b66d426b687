"""The difference at every end point, over depth, as a picture: what the report page draws, by matplotlib."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resport.errors import MissingDependencyError, OptionError
from resport.verification.page.passes import Passes
from resport.verification.page.series import ValueRange, bands_of, lines_of, series_of, value_range
from resport.verification.report import ForwardResult
from resport.verification.saving import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_SERIES: dict[str, dict[str, Any]] = {
    "first": {"color": "#0b61c4", "marker": "o", "linestyle": "-"},
    "second": {"color": "#7b3fb8", "marker": "s", "linestyle": "--"},
    "third": {"color": "#a85400", "marker": "^", "linestyle": "-"},
}
PLOT_LINES: dict[str, dict[str, Any]] = {
    "limit": {"color": "#b3201b", "linestyle": "--"},
    "limit32": {"color": "#a85400", "linestyle": "--"},
    "floor": {"color": "#57606a", "linestyle": ":"},
}
PLOT_MUTED = "#57606a"
PLOT_BAND = "#eef1f5"


def save_plot(forward: ForwardResult, path: str | os.PathLike[str], title: str) -> None:
    """Draw the relative difference of every end point in both dtypes, with the limits and the noise floor.

    Args:
        forward: what was measured.
        path: the picture; the suffix tells the format (``.png``, ``.svg``, ``.pdf``).
        title: what was compared with what.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OptionError: no such picture format.
        SourceNotFoundError: the folder is not there.
        TargetWriteError: the system refused.
    """
    try:
        # The object, not pyplot: no window system is asked for and no global state is set.
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("a plot needs matplotlib", hint='pip install "resport[verify]"') from error
    figure = Figure(figsize=(11, 5), layout="constrained", dpi=120)
    axes = figure.add_subplot()
    _draw(axes, Passes.of(forward.to_dict()))
    legend = figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    for label in legend.get_texts():
        label.set_parse_math(False)
    # A path is no formula, whatever signs are in it.
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)
    picture = io.BytesIO()
    try:
        # The identifiers in an SVG are random otherwise.
        with rc_context({"svg.hashsalt": "resport"}):
            figure.savefig(picture, format=Path(path).suffix.removeprefix("."), metadata=_undated(path))
    except ValueError as error:
        raise OptionError(f"`{os.fspath(path)}` cannot be drawn: {error}") from error
    write_whole(path, picture.getvalue())


def _undated(path: str | os.PathLike[str]) -> dict[str, None]:
    """What takes the date out of a picture: the same figures give the same bytes."""
    return {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(Path(path).suffix, {})


def _draw(axes: Axes, passes: Passes) -> None:
    series, lines, names = series_of(passes), lines_of(passes), passes.names()
    values = value_range(series, lines)
    for _, start, end in bands_of(names)[1::2]:
        axes.axvspan(start - 0.5, end - 0.5, color=PLOT_BAND, zorder=0)
    for each in series:
        places = [(index, each.values[name]) for index, name in enumerate(names) if name in each.values]
        style = {"label": each.label, "markersize": 3.5, "linewidth": 1.1, **PLOT_SERIES[each.css]}
        axes.plot([index for index, _ in places], [values.power(value) for _, value in places], **style)
    for line in lines:
        axes.axhline(values.power(line.value), label=line.label, linewidth=1.3, **PLOT_LINES[line.css])
    if passes.first is not None and passes.first["name"] in names:
        label = f"first difference: {passes.first['name']}"
        axes.axvline(names.index(passes.first["name"]), color="#b3201b", linewidth=1, label=label)
    _label(axes, values, names)


def _label(axes: Axes, values: ValueRange, names: Sequence[str]) -> None:
    """Name the axes: powers of ten, and the beginnings of the end points' names where there is room for them."""
    low, high = values.ends
    step = 1 + (values.high - values.low) // 12
    ticks = {float(power): f"$10^{{{power}}}$" for power in range(values.low, values.high + 1) if power % step == 0}
    ticks |= {float(low): "0"} if values.has_zero else {}
    ticks |= {float(high): "∞"} if values.has_infinity else {}
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set_ylim(low - 0.3, high + 0.3)
    axes.set_xlim(-0.5, len(names) - 0.5)
    room = len(names) / 110
    shown = [(label, start, end) for label, start, end in bands_of(names) if end - start >= room * len(label)]
    axes.set_xticks([(start + end - 1) / 2 for _, start, end in shown], [label for label, _, _ in shown])
    for tick in axes.get_xticklabels():
        tick.set_parse_math(False)
    axes.tick_params(length=0, labelcolor=PLOT_MUTED)
    axes.set_xlabel("end points, from the input to the output", color=PLOT_MUTED)
    axes.set_ylabel("largest difference / largest value of the reference", color=PLOT_MUTED)
    axes.grid(axis="y", color="#d5dae1", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
