"""Exact comparison: one bit is a difference, and every kind of difference is told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import resport
from resport.formats import open_reader
from resport.mapping import PlanOptions, plan_copy
from resport.verification.weights import compare_weights, value_difference
from tests.tiny import keras_values, slim_values, write_table, write_values


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path)


def verify(tmp_path: Path, table: Path, keras: dict[str, np.ndarray], slim: dict[str, np.ndarray] | None = None):  # type: ignore[no-untyped-def]
    source = write_values(tmp_path / "slim.safetensors", slim or slim_values())
    target = write_values(tmp_path / "keras.safetensors", keras)
    return resport.verify(source, target, weights_only=True, table=table)


def test_equal(tmp_path: Path, table: Path) -> None:
    report = verify(tmp_path, table, keras_values(slim_values()))
    assert report.verdict == "equal"
    assert report.weights.equal == report.weights.compared == 14
    report.raise_for_difference()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("conv2_bn/gamma", "values"), ("conv2_conv/bias", "values"), ("conv3_conv/kernel", "values")],
)
def test_one_bit_is_a_difference(tmp_path: Path, table: Path, name: str, kind: str) -> None:
    keras = {key: array.copy() for key, array in keras_values(slim_values()).items()}
    keras[name].reshape(-1).view(np.uint32)[1] ^= 1
    report = verify(tmp_path, table, keras)
    assert report.verdict == "different"
    assert [(each.name, each.kind, each.n_different) for each in report.weights.differences] == [(name, kind, 1)]
    with pytest.raises(resport.ResportError, match=name):
        report.raise_for_difference()


def test_what_differs_is_not_counted_as_equal_and_what_no_rule_ignores_is_too_much(tmp_path: Path) -> None:
    values = {"a": np.arange(3.0), "b": np.arange(4.0)}
    source = write_values(tmp_path / "a.safetensors", values)
    target = write_values(tmp_path / "b.safetensors", {"a": values["a"], "b": values["b"] + 1, "c": values["a"]})
    with open_reader(source) as reference, open_reader(target) as judged:
        plan = plan_copy(reference.manifest, PlanOptions())
        result = compare_weights(reference, judged, plan)
        assert (result.compared, result.equal) == (3, 1)
        assert [each.kind for each in result.differences] == ["values", "unexpected"]
        ignoring = compare_weights(reference, judged, plan, ["c"])
        assert (ignoring.compared, ignoring.equal, len(ignoring.differences)) == (2, 1, 1)


def test_swapped_statistics_are_found(tmp_path: Path, table: Path) -> None:
    keras = keras_values(slim_values())
    keras["conv3_bn/gamma"], keras["conv3_bn/moving_mean"] = keras["conv3_bn/moving_mean"], keras["conv3_bn/gamma"]
    report = verify(tmp_path, table, keras)
    assert [each.name for each in report.weights.differences] == ["conv3_bn/gamma", "conv3_bn/moving_mean"]


def test_a_dtype_that_nobody_asked_for_is_a_difference(tmp_path: Path, table: Path) -> None:
    keras = keras_values(slim_values())
    keras["predictions/bias"] = keras["predictions/bias"].astype(np.float64)
    report = verify(tmp_path, table, keras)
    assert [(each.kind, each.detail) for each in report.weights.differences] == [
        ("dtype", "expected float32, got float64")
    ]


def test_what_the_conversion_changed_is_read_off_the_target(tmp_path: Path, table: Path) -> None:
    source = write_values(tmp_path / "slim.safetensors", slim_values())
    target = tmp_path / "keras.safetensors"
    resport.convert(source, target, to="keras", table=table, dtype="float16", drop_background=True)
    report = resport.verify(source, target, weights_only=True, table=table)
    assert report.verdict == "equal"
    assert report.options == {"dtype": "float16", "drop_background": True}
    assert "drop_background" in report.notes[0]


def test_networks_that_no_table_knows_are_compared_by_name(tmp_path: Path) -> None:
    values = {"a": np.arange(3.0), "b": np.arange(4.0)}
    source = write_values(tmp_path / "a.safetensors", values)
    same = write_values(tmp_path / "b.ckpt", values)
    report = resport.verify(source, same)
    assert (report.verdict, report.forward) == ("equal", None)
    assert report.forward_reason is not None and "no family is known" in report.forward_reason
    other = write_values(tmp_path / "c.safetensors", {**values, "c": np.arange(5.0)})
    assert [each.kind for each in resport.verify(source, other).weights.differences] == ["unexpected"]
    assert [each.kind for each in resport.verify(other, source).weights.differences] == ["missing"]


@pytest.mark.parametrize(
    ("left", "right", "worst"),
    [
        (np.array([0.0, 1.0]), np.array([-0.0, 1.0]), 0.0),
        (np.array([np.nan]), np.array([1.0]), None),
        (np.array([1.0, 2.0]), np.array([1.0, 2.5]), 0.5),
        (np.array([1, 2], np.int8), np.array([1, 5], np.int8), 3.0),
        (np.array([1 + 2j]), np.array([1 + 5j]), 3.0),
        (np.array(1.0), np.array(4.0), 3.0),
    ],
)
def test_value_difference(left: np.ndarray, right: np.ndarray, worst: float | None) -> None:
    difference = value_difference("w", left, right)
    assert difference is not None
    assert difference.max_abs_diff == worst
    assert difference.n_different == 1
    assert value_difference("w", left, left.copy()) is None
