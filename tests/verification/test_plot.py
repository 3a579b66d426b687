"""The picture is drawn without a window system, holds every value, and is the same each time."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from resport.errors import OptionError
from resport.verification.page.passes import Passes
from resport.verification.page.series import Line, Series, bands_of, value_range
from resport.verification.plot import _draw, save_plot
from tests.sample_reports import END_POINTS, forward

pytestmark = pytest.mark.tf  # matplotlib comes with the same extra


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_picture_is_written_the_same_each_time(tmp_path: Path, suffix: str, start: bytes) -> None:
    paths = [tmp_path / f"{name}.{suffix}" for name in ("a", "b")]
    for path in paths:
        save_plot(forward(2), path, "a_$1$ and b_{2}$: different")
    assert paths[0].read_bytes().startswith(start)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_every_value_is_in_it() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    _draw(axes, Passes.of(forward(5, math.inf).to_dict()))
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    cross = "\N{MULTIPLICATION SIGN}"
    first = drawn[f"float64, 64{cross}64"]
    assert first[1:5] == pytest.approx([math.log10(1e-16 * index) for index in range(1, 5)])
    # From 1e-16 to 1e-5, a decade below for zero and one above for infinity.
    assert (first[0], first[5:]) == (-17, [-4, -4])
    assert drawn["float64 limit 1e-9"] == pytest.approx([-9, -9])
    assert drawn["float32 noise floor 1e-6"] == pytest.approx([-6, -6])
    assert drawn["float32 limit 1e-5"] == pytest.approx([-5, -5])
    assert "first difference: block2" in drawn
    assert [text.get_text() for text in axes.get_yticklabels()][-2:] == ["0", "∞"]


def test_networks_without_float64_are_drawn(tmp_path: Path) -> None:
    save_plot(replace(forward(), float64=()), tmp_path / "difference.png", "")
    assert (tmp_path / "difference.png").stat().st_size > 5000


def test_the_range_covers_three_decades_and_no_more_than_can_be_read() -> None:
    def covered(*values: float) -> tuple[int, int]:
        series = Series("", "first", "circle", dict(zip("abcd", values, strict=False)), 1.0)
        return value_range([series], [Line("", "floor", values[0])]).ends

    assert covered(2e-7, 3e-7) == (-9, -6)
    assert covered(1e-300, 1e300) == (-18, 2)
    assert covered(1e-3, 0.0, math.nan) == (-7, -2)
    assert covered(0.0) == (-4, 0)


def test_bands_join_neighbours_alone() -> None:
    assert bands_of(END_POINTS) == [("conv1", 0, 1), ("block1", 1, 4), ("block2", 4, 6), ("logits", 6, 7)]
    assert bands_of(["a/x", "b", "a/y"]) == [("a", 0, 1), ("b", 1, 2), ("a", 2, 3)]
    assert bands_of([]) == []


@pytest.mark.parametrize("name", ["difference.xyz", "difference"])
def test_an_unknown_picture_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match="cannot be drawn"):
        save_plot(forward(), tmp_path / name, "")
    assert list(tmp_path.iterdir()) == []
