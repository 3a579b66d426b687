"""Figures of one end point, and the judgement of a result, on arrays and figures made by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from resport.verification.forward.end_points import QUANTILE_SAMPLE, end_point_difference
from resport.verification.forward.evidence import EndPointDifference, ForwardResult, Noise, worst_of


def difference(expected: object, actual: object, name: str = "x") -> EndPointDifference:
    return end_point_difference(name, 32, np.asarray(expected, np.float64), np.asarray(actual, np.float64))


def test_quantiles_are_those_of_numpy_on_all_values() -> None:
    expected = np.random.default_rng(0).normal(size=(2, 50, 50))
    actual = expected + np.random.default_rng(1).normal(scale=1e-3, size=expected.shape)
    found = difference(expected, actual)
    for share, value in found.quantiles:
        assert value == np.quantile(np.abs(expected - actual), share)
    assert [share for share, _ in found.quantiles] == [0.5, 0.9, 0.99, 0.999]
    assert list(found.to_dict()["quantiles"]) == ["0.5", "0.9", "0.99", "0.999"]


def test_quantiles_of_large_maps_are_those_of_an_even_sample() -> None:
    expected = np.zeros((1, 3 * QUANTILE_SAMPLE))
    actual = np.tile([1.0, 2.0, 3.0], QUANTILE_SAMPLE)[np.newaxis]
    assert {value for _, value in difference(expected, actual + 0.0).quantiles} == {1.0}


def test_the_tolerance_is_the_smallest_that_allclose_accepts() -> None:
    expected = np.random.default_rng(0).normal(scale=5, size=(2, 40))
    actual = expected + np.random.default_rng(1).normal(scale=1e-4, size=expected.shape)
    tolerance = difference(expected, actual).tolerance
    assert tolerance is not None
    for factor, is_close in ((1.000001, True), (0.999999, False)):
        assert np.allclose(actual, expected, rtol=tolerance * factor, atol=tolerance * factor) is is_close


def test_agreement_of_classes() -> None:
    expected = np.array([[9.0, 8, 7, 6, 5, 0, 1], [0, 1, 2, 3, 4, 5, 6]])
    exchanged = np.array([[8.0, 9, 7, 6, 5, 0, 1], [6, 1, 2, 3, 4, 5, 0]])
    found = difference(expected, exchanged, "logits")
    # The first image has another best class among the same five; the second has another best five too.
    assert (found.top1_agreement, found.top5_agreement) == (0.0, 0.5)
    fifth = np.array([[9.0, 8, 7, 6, 0, 5, 1], [0, 1, 2, 3, 4, 5, 6]])
    assert difference(expected, fifth, "logits").top5_agreement == 0.5
    assert difference(expected, expected, "predictions").top1_agreement == 1.0
    assert difference(expected[:, :5], exchanged[:, :5], "logits").top5_agreement is None
    assert difference(expected, exchanged, "global_pool").top1_agreement is None


def test_cosine_is_that_of_the_worst_image() -> None:
    expected = np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert difference(expected, expected).cosine == 1.0
    assert difference(expected, [[1.0, 0.0], [4.0, 3.0], [0.0, 0.0]]).cosine == pytest.approx(0.96)
    assert difference(expected, [[1.0, 0.0], [3.0, 4.0], [0.0, 1.0]]).cosine == 0.0
    assert difference(np.ones((1, 2, 2, 3)), np.ones((1, 2, 2, 3))).cosine is None


def point(value: float, name: str = "p", size: int = 32) -> EndPointDifference:
    return EndPointDifference(name, size, value, value, value)


def result(float64: list[EndPointDifference], float32: list[EndPointDifference], floor: float) -> ForwardResult:
    noise = (Noise("float64 against float32", floor, "p"),) if floor else ()
    return ForwardResult(tuple(float64), tuple(float32), floor, 1e-9, "why", 10.0, (32,), 2, noise)


def test_without_float64_the_verdict_rests_on_the_noise() -> None:
    assert result([], [point(9e-6)], 1e-6).is_equal
    different = result([], [point(1e-7, "a"), point(2e-5, "b")], 1e-6)
    assert not different.is_equal
    assert different.first_divergence is not None and different.first_divergence.name == "b"
    assert different.to_dict()["float64"] == {
        "max_abs_diff": None,
        "max_rel_diff": None,
        "mean_abs_diff": None,
        "tolerance": None,
        "limit": None,
        "limit_reason": "why",
    }


def test_without_float32_the_verdict_rests_on_float64() -> None:
    assert result([point(1e-12)], [], 0.0).is_equal
    assert not result([point(1e-8)], [], 0.0).is_equal


def test_the_ratio_is_that_of_the_worst_end_point() -> None:
    assert result([], [point(1e-6), point(4e-6), point(2e-6)], 1e-6).ratio == pytest.approx(4)


def test_nothing_compared_is_not_equal() -> None:
    assert not result([], [], 0.0).is_equal


def test_outputs_are_logits_or_the_last_end_point_at_each_size() -> None:
    points = [point(1.0, "conv1"), point(2.0, "logits"), point(3.0, "predictions")]
    points += [point(4.0, "conv1", 33), point(5.0, "pool", 33)]
    found = result(points, [point(6.0, "conv1"), point(7.0, "logits")], 0.0).outputs
    assert [(each.name, each.input_size) for each in found] == [("logits", 32), ("pool", 33), ("logits", 32)]
    assert found[-1].max_rel_diff == 7.0


def test_what_is_no_number_is_the_worst() -> None:
    assert worst_of([point(float("inf"), "a"), point(float("nan"), "b"), point(1.0, "c")]).name == "b"  # type: ignore[union-attr]
    assert worst_of([]) is None


def test_the_dictionary_is_json_and_has_all_of_it() -> None:
    value = json.loads(json.dumps(result([point(1e-12)], [point(2e-6)], 1e-6).to_dict()))
    assert value["float32"]["noise"] == [{"what": "float64 against float32", "max_rel_diff": 1e-6, "end_point": "p"}]
    assert value["float32"]["ratio"] == pytest.approx(2.0)
    assert set(value["end_points"][0]) >= {"quantiles", "tolerance", "top1_agreement", "top5_agreement", "cosine"}
