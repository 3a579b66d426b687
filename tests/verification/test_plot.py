"""The picture is drawn without a window system, and zeros and infinities have a place in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from resport.errors import OptionError
from resport.verification.plot import PLOT_LARGEST, PLOT_SMALLEST, _series, save_plot
from resport.verification.report import EndPointDifference, ForwardResult

pytestmark = pytest.mark.tf  # matplotlib comes with the same extra

POINTS = tuple(
    EndPointDifference(f"p{i}", 32, value, value, value) for i, value in enumerate([0.0, 1e-13, float("inf")])
)
FORWARD = ForwardResult(POINTS, POINTS, 1e-6, 1e-9, "", 10.0, (32, 33), 2)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture_is_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"difference.{suffix}"
    save_plot(FORWARD, path, "a and b")
    assert path.stat().st_size > 5000


def test_every_value_has_a_place() -> None:
    assert _series(POINTS) == ([1, 2, 3], [PLOT_SMALLEST, 1e-13, PLOT_LARGEST])


def test_an_unknown_picture_format(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be drawn"):
        save_plot(FORWARD, tmp_path / "difference.xyz", "")
