"""The judgement of forward passes, on arrays made by hand: no network is run here."""

from __future__ import annotations

import json

import numpy as np
import pytest

from resport.cli.output import print_json
from resport.verification.forward.end_points import relative_difference
from resport.verification.forward.forward import compare_end_points, end_point_difference, random_images
from resport.verification.report import EndPointDifference, ForwardResult


def result(float64: list[float], float32: float = 1e-6, floor: float = 1e-6, limit: float = 1e-9) -> ForwardResult:
    points = tuple(EndPointDifference(f"p{i}", 32, value, value, value) for i, value in enumerate(float64))
    return ForwardResult(
        points, (EndPointDifference("p0", 32, float32, float32, float32),), floor, limit, "", 10.0, (32, 33), 2
    )


def test_relative_to_the_range_of_the_reference() -> None:
    expected, actual = np.array([[1.0, -8.0, 2.0, 2.0]]), np.array([[1.5, -8.0, 2.0, 2.0]])
    found = end_point_difference("x", 32, expected, actual)
    assert (found.max_abs_diff, found.max_rel_diff, found.mean_abs_diff) == (0.5, 0.0625, 0.125)
    assert relative_difference(expected, actual) == 0.0625


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, np.nan])),
        (np.array([1.0, 2.0]), np.array([1.0, np.inf])),
        (np.ones((2, 3)), np.ones((2, 4))),
        (np.ones((2, 1)), np.ones((1, 2))),  # numpy would stretch both
        (np.zeros(3), np.array([0.0, 0.0, 1e-30])),
    ],
)
def test_what_proves_nothing_is_infinitely_different(expected: np.ndarray, actual: np.ndarray) -> None:
    assert end_point_difference("x", 32, expected, actual).max_rel_diff == float("inf")
    # The self-test and the diagnosis ask for this figure alone, many times.
    assert relative_difference(expected, actual) == float("inf")


def test_the_first_divergence_is_the_first_in_the_network_not_the_largest() -> None:
    judged = result([1e-13, 2e-7, 3e-2])
    assert judged.first_divergence is not None and judged.first_divergence.name == "p1"
    assert not judged.is_equal


def test_equal_needs_both_dtypes() -> None:
    assert result([1e-13, 1e-10]).is_equal
    assert result([1e-13], float32=9e-6).is_equal
    assert not result([1e-13], float32=2e-5).is_equal
    assert not result([float("nan")]).is_equal
    assert result([0.0], float32=0.0, floor=0.0).ratio == 0.0
    assert result([0.0], float32=1e-7, floor=0.0).ratio == float("inf")


def test_end_points_are_compared_by_name_in_network_order() -> None:
    reference = [{"b": np.ones(2), "a": np.ones(2), "only": np.ones(2)}]
    judged = [{"a": np.ones(2), "b": np.zeros(2)}]
    assert [(each.name, each.max_abs_diff) for each in compare_end_points(reference, judged, [32])] == [
        ("b", 1),
        ("a", 0),
    ]


def test_images_are_signed_and_the_same_for_the_same_seed() -> None:
    images = random_images(9, 3, 1)
    assert images.shape == (3, 9, 9, 3)
    assert images.min() < -0.9 and images.max() > 0.9
    np.testing.assert_array_equal(images, random_images(9, 3, 1))
    assert not np.array_equal(images, random_images(9, 3, 2))
    # Another size is another image, not a part of the same numbers.
    assert not np.array_equal(images.ravel()[:100], random_images(8, 3, 1).ravel()[:100])


def test_json_has_no_nan_and_no_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(result([float("inf")]).to_dict())
    value = json.loads(capsys.readouterr().out, parse_constant=lambda text: pytest.fail(text))
    assert value["first_divergence"]["max_rel_diff"] == "inf"
