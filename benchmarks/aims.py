"""What resport means to reach, held against what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.cases import BIG, LISTING, OURS, RESNET_50, Group
from benchmarks.files import BIG_SIDE
from benchmarks.measure import Summary
from benchmarks.results import GroupResult

Runs = Mapping[str, Summary]

CONVERSIONS = ("slim to .safetensors", "slim to .h5", "slim to .weights.h5")
BY_HAND = "by hand, .weights.h5"
BIG_BYTES = 200_000_000 + 2 * 4 * BIG_SIDE**2


class Aim(NamedTuple):
    """Something to reach.

    Attributes:
        text: what.
        group: where it is measured.
        figures: gives what was measured, by what it is of.
        is_reached: whether one figure is enough.
        shown: how a figure is written.
    """

    text: str
    group: Group
    figures: Callable[[GroupResult], Mapping[str, float]]
    is_reached: Callable[[float], bool]
    shown: str = "{:.2f}"


def _ratios(result: GroupResult, names: Sequence[str]) -> dict[str, float]:
    return {name: result.runs[name].seconds / result.limit.seconds for name in names}


def _ours(result: GroupResult) -> list[str]:
    return [case.name for case in result.cases if case.kind == OURS and case.name in result.runs]


AIMS = (
    Aim(
        "100 MB to HDF5 or safetensors: at most 1.5 times the limit",
        RESNET_50,
        lambda result: _ratios(result, CONVERSIONS),
        lambda ratio: ratio <= 1.5,
    ),
    Aim(
        "12 times as fast as the script by hand",
        RESNET_50,
        lambda result: {name: result.runs[BY_HAND].seconds / result.runs[name].seconds for name in CONVERSIONS},
        lambda ratio: ratio >= 12,
        "{:.1f}",
    ),
    Aim(
        "in a quarter of its memory",
        RESNET_50,
        lambda result: {name: result.runs[name].peak_bytes / result.runs[BY_HAND].peak_bytes for name in CONVERSIONS},
        lambda share: share <= 0.25,
        "{:.3f}",
    ),
    Aim(
        "`inspect` of 272 tensors: under 1.5 times `import numpy`",
        LISTING,
        lambda result: _ratios(result, [name for name in _ours(result) if name.startswith("inspect")]),
        lambda ratio: ratio < 1.5,
    ),
    Aim(
        "4 GB: at least 0.7 of the throughput of `cp`",
        BIG,
        lambda result: {name: 1 / ratio for name, ratio in _ratios(result, _ours(result)).items()},
        lambda share: share >= 0.7,
    ),
    Aim(
        f"4 GB: memory under 200 MB and twice the largest tensor ({BIG_BYTES / 1e6:,.0f} MB)",
        BIG,
        lambda result: {name: result.runs[name].peak_bytes / 1e6 for name in _ours(result)},
        lambda megabytes: megabytes < BIG_BYTES / 1e6,
        "{:,.0f} MB",
    ),
)


def aims_table(results: Sequence[GroupResult]) -> str:
    """Each aim whose group was measured, in Markdown: the figures, those that miss it in bold."""
    by_title = {result.title: result for result in results}
    lines = ["", "| aim | measured, in bold what misses it |", "| --- | --- |"]
    for aim in AIMS:
        result = by_title.get(aim.group.title)
        if result is not None:
            figures = (_figure(aim, name, value) for name, value in aim.figures(result).items())
            lines.append(f"| {aim.text} | {', '.join(figures)} |")
    return "\n".join(lines) if len(lines) > 3 else ""


def _figure(aim: Aim, name: str, value: float) -> str:
    text = f"{name} {aim.shown.format(value)}"
    return text if aim.is_reached(value) else f"**{text}**"
