"""What was measured, as a table, as JSON and as a picture."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import LIMIT, OURS, PEER, Case
from benchmarks.measure import Summary
from benchmarks.scaling import Curve

MEASURED_BEGIN = "<!-- measured: written by `python -m benchmarks --page` -->"
MEASURED_END = "<!-- end of what was measured -->"

COLOURS = {LIMIT: "#888888", OURS: "#2a7fb8", PEER: "#d98e32"}


@dataclass(frozen=True, slots=True)
class GroupResult:
    """A group, measured."""

    title: str
    cases: Sequence[Case]
    runs: dict[str, Summary]

    @property
    def limit(self) -> Summary:
        """What ratios are to."""
        return self.runs[self.cases[0].name]


def machine_text() -> str:
    """The machine in a line."""
    return ", ".join(f"{key} {value}" for key, value in machine().items())


def machine() -> dict[str, Any]:
    """What the figures were measured on; `load` is how many processes wanted a processor when it began."""
    names = (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name"))
    return {
        "processor": next(names, platform.processor() or platform.machine()),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def table(results: Sequence[GroupResult]) -> str:
    """All groups in Markdown, which reads as well on a terminal."""
    lines: list[str] = []
    for result in results:
        lines += ["", f"**{result.title}**", ""]
        rows = [["", "wall s", "fastest to slowest", "CPU s", "memory MB", "ratio"]]
        rows += [_row(case, result) for case in result.cases if case.name in result.runs]
        lines += _aligned(rows)
    return "\n".join(lines)


def _row(case: Case, result: GroupResult) -> list[str]:
    run = result.runs[case.name]
    mark = {LIMIT: "limit: ", PEER: "peer: ", OURS: ""}[case.kind]
    return [
        mark + case.name,
        f"{run.seconds:.3f}",
        f"{run.fastest:.3f} to {run.slowest:.3f}",
        f"{run.cpu_seconds:.3f}",
        f"{run.peak_bytes / 1e6:.0f}",
        f"{run.seconds / result.limit.seconds:.2f}",
    ]


def fill_page(path: str, measured: str) -> None:
    """Put what was measured into a page of the documents, in place of what was there."""
    page = Path(path)
    before, rest = page.read_text(encoding="utf-8").split(MEASURED_BEGIN)
    _, after = rest.split(MEASURED_END)
    page.write_text(f"{before}{MEASURED_BEGIN}\n{measured.strip()}\n\n{MEASURED_END}{after}", encoding="utf-8")


def growth_table(curves: Sequence[Curve], unit: str) -> str:
    """Curves in Markdown: seconds at each point, and the power by which the time grows at the end."""
    amounts = [amount for amount, _ in curves[0].points]
    rows = [[unit, *(f"{amount:,}" for amount in amounts), "power", "memory MB"]]
    for curve in curves:
        seconds = (f"{summary.seconds:.3f}" for _, summary in curve.points)
        rows.append([curve.name, *seconds, f"{curve.growth:.2f}", f"{curve.points[-1][1].peak_bytes / 1e6:.0f}"])
    return "\n".join(["", *_aligned(rows)])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    rule = "| " + " | ".join("-" * (width - 1) + (":" if column else "-") for column, width in enumerate(widths)) + " |"
    return [lines[0], rule, *lines[1:]]


def to_dict(results: Sequence[GroupResult], growth: dict[str, list[Curve]]) -> dict[str, Any]:
    """Plain values."""
    return {
        "machine": machine(),
        "groups": [
            {
                "title": result.title,
                "limit": result.cases[0].name,
                "runs": [
                    {"name": case.name, "kind": case.kind, **asdict(result.runs[case.name])}
                    for case in result.cases
                    if case.name in result.runs
                ],
            }
            for result in results
        ],
        "growth": {
            unit: [
                {
                    "name": curve.name,
                    "power": curve.growth,
                    "points": [{"amount": amount, **asdict(summary)} for amount, summary in curve.points],
                }
                for curve in curves
            ]
            for unit, curves in growth.items()
        },
    }


def draw(results: Sequence[GroupResult], growth: dict[str, list[Curve]], path: str) -> None:
    """A bar for each command, the limit drawn through; below them how the time grows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    n_bars = [len(result.runs) for result in results]
    heights = [0.22 * bars + 0.5 for bars in n_bars] + ([3.0] if growth else [])
    figure = pyplot.figure(figsize=(9, sum(heights) + 0.6), layout="constrained")
    grid = figure.add_gridspec(len(heights), max(1, len(growth)), height_ratios=heights)
    for row, result in enumerate(results):
        _draw_bars(figure.add_subplot(grid[row, :]), result)
    for column, (unit, curves) in enumerate(growth.items()):
        _draw_curves(figure.add_subplot(grid[-1, column]), unit, curves)
    figure.savefig(path, dpi=88)
    pyplot.close(figure)


def _draw_bars(axes: Any, result: GroupResult) -> None:
    cases = [case for case in result.cases if case.name in result.runs]
    runs = [result.runs[case.name] for case in cases]
    seconds = [run.seconds for run in runs]
    spread = [[run.seconds - run.fastest for run in runs], [run.slowest - run.seconds for run in runs]]
    places = range(len(cases))
    axes.barh(places, seconds, xerr=spread, color=[COLOURS[case.kind] for case in cases], error_kw={"lw": 0.8})
    axes.axvline(result.limit.seconds, color=COLOURS[LIMIT], lw=0.8)
    axes.set_yticks(places, [case.name for case in cases], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.set_title(f"{result.title} (seconds, logarithmic)", fontsize=8, loc="left")
    for place, run in zip(places, runs, strict=True):
        label = f" {run.seconds:.2f} s, x {run.seconds / result.limit.seconds:.1f}, {run.peak_bytes / 1e6:.0f} MB"
        axes.annotate(label, (run.slowest, place), va="center", fontsize=6)
    axes.margins(x=0.25)


def _draw_curves(axes: Any, unit: str, curves: Sequence[Curve]) -> None:
    for curve in curves:
        amounts = [amount for amount, _ in curve.points]
        is_limit = curve is curves[0]
        axes.plot(
            amounts,
            [summary.seconds for _, summary in curve.points],
            marker=".",
            label=curve.name,
            color=COLOURS[LIMIT] if is_limit else None,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(unit, fontsize=8)
    axes.set_ylabel("seconds", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7)
