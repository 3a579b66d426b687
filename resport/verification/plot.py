"""The difference at every end point, over depth, as a picture."""

from __future__ import annotations

import os

from resport.verification.report import EndPointDifference, ForwardResult

PLOT_SMALLEST = 1e-17
"""What a difference of zero is drawn as: a logarithmic axis has no zero, and no float64 difference is smaller."""

PLOT_LARGEST = 1e1
"""What an infinite difference (another shape, a value that isn't finite) is drawn as."""


def save_plot(forward: ForwardResult, path: str | os.PathLike[str], title: str) -> None:
    """Draw the relative difference of every end point in both dtypes, with the limit and the noise floor.

    Args:
        forward: what was measured.
        path: the picture; the suffix tells the format (``.png``, ``.svg``, ``.pdf``).
        title: what was compared with what.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OptionError: no such picture format.
    """
    from resport.errors import MissingDependencyError, OptionError

    try:
        # The object, not pyplot: no window system is asked for and no global state is set.
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("a plot needs matplotlib", hint='pip install "resport[verify]"') from error
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.add_subplot()
    for size in forward.input_sizes:
        points = [point for point in forward.float64 if point.input_size == size]
        axes.plot(*_series(points), marker=".", label=f"float64, {size} x {size}")
    axes.plot(
        *_series(forward.float32), marker=".", label=f"float32, {forward.input_sizes[0]} x {forward.input_sizes[0]}"
    )
    axes.axhline(forward.limit, color="black", linestyle="--", label=f"limit in float64, {forward.limit:.0e}")
    axes.axhline(
        max(forward.noise_floor, PLOT_SMALLEST),
        color="grey",
        linestyle=":",
        label=f"float32 noise floor, {forward.noise_floor:.1e}",
    )
    axes.set_yscale("log")
    axes.set_title(title)
    axes.set_xlabel("end point, from the input to the output")
    axes.set_ylabel("max difference / max of the reference")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    try:
        figure.savefig(path)
    except ValueError as error:
        raise OptionError(f"`{os.fspath(path)}` cannot be drawn: {error}") from error


def _series(points: tuple[EndPointDifference, ...] | list[EndPointDifference]) -> tuple[list[int], list[float]]:
    differences = [min(max(point.max_rel_diff, PLOT_SMALLEST), PLOT_LARGEST) for point in points]
    return list(range(1, len(points) + 1)), differences
