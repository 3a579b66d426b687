"""Timing forward passes: what is counted is what was asked for, and the sizes are those that TensorFlow counts."""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from resport.errors import OptionError
from resport.verification.timing import (
    MODES,
    NetworkTiming,
    _open,
    graph_multiply_adds,
    keras_multiply_adds,
    measure,
    time_forward,
)

VARIANT = "resnext29_8x64d"
SMALL: dict[str, Any] = {"steps": 2, "burn_in": 1, "input_size": 16, "batch_size": 2}


def test_burn_in_is_not_counted() -> None:
    ticks = itertools.accumulate(itertools.count(1))  # each step takes one more second than the one before
    calls: list[str] = []
    seen: list[tuple[int, float]] = []
    seconds = measure(
        lambda: calls.append("run"), 3, 2, lambda step, taken: seen.append((step, taken)), lambda: float(next(ticks))
    )
    assert len(calls) == 5
    assert seconds == (6.0, 8.0, 10.0)  # after 2 and 4
    assert seen == [(1, 6.0), (2, 8.0), (3, 10.0)]


def test_figures_of_a_timing() -> None:
    timing = NetworkTiming("slim", (0.5, 0.25, 0.75), 3.0, 4, 100, 1000)
    assert (timing.mean, timing.images_per_second) == (0.5, 8.0)
    assert timing.deviation == statistics.pstdev([0.5, 0.25, 0.75])
    assert timing.to_dict()["seconds"] == [0.5, 0.25, 0.75]


@pytest.mark.parametrize(
    "wrong", [{"mode": "fast"}, {"steps": 0}, {"batch_size": 0}, {"burn_in": -1}, {"dialects": ()}]
)
def test_what_cannot_be_timed(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        time_forward(VARIANT, **{"dialects": ("slim",), **wrong})


@pytest.mark.tf
def test_both_builders_side_by_side() -> None:
    steps: list[tuple[str, int]] = []
    report = time_forward(VARIANT, progress=lambda dialect, step, _: steps.append((dialect, step)), **SMALL)
    assert steps == [("slim", 1), ("slim", 2), ("keras", 1), ("keras", 2)]
    slim, keras = report.timings
    assert [slim.dialect, keras.dialect] == ["slim", "keras"]
    # One network in two frameworks: the same work.
    assert (slim.parameters, slim.multiply_adds) == (keras.parameters, keras.multiply_adds)
    assert slim.parameters == 3_978_944  # as published, moving statistics included
    assert all(len(timing.seconds) == 2 and min(timing.seconds) > 0 for timing in report.timings)


@pytest.mark.tf
@pytest.mark.parametrize("dialect", ["slim", "keras"])
def test_every_mode_computes_the_same(dialect: str) -> None:
    outputs = []
    for mode in MODES:
        run, _, close = _open(VARIANT, dialect, (2, 16), "float64", mode)
        outputs.append(np.asarray(run()))
        close()
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], rtol=1e-9, atol=1e-12)


@pytest.mark.tf
def test_multiply_adds_of_a_graph_are_half_of_the_operations_that_tensorflow_counts() -> None:
    import tensorflow as tf

    import resport

    network = resport.build("resnet_v2_50", "slim", input_size=64, batch_size=1)
    tf1 = tf.compat.v1
    options = tf1.profiler.ProfileOptionBuilder(tf1.profiler.ProfileOptionBuilder.float_operation())
    found = tf1.profiler.profile(
        network.graph, cmd="op", options=options.with_empty_output().with_accounted_types(["Conv2D"]).build()
    )
    by_type = {node.name: node.total_float_ops for node in (found, *found.children)}
    assert graph_multiply_adds(network.graph) * 2 == by_type["Conv2D"]


@pytest.mark.tf
def test_multiply_adds_of_keras_layers() -> None:
    import keras

    inputs = keras.Input((8, 6, 4))
    x = keras.layers.Conv2D(10, (3, 2), strides=2, padding="same", groups=2)(inputs)  # 4 x 3 places
    x = keras.layers.DepthwiseConv2D((3, 3), padding="same")(x)
    x = keras.layers.Dense(7)(keras.layers.Flatten()(x))
    expected = 12 * 10 * (3 * 2 * 4 // 2) + 12 * 10 * 9 + 12 * 10 * 7
    assert keras_multiply_adds(keras.Model(inputs, x)) == expected


@pytest.mark.tf
def test_command_in_one_thread() -> None:
    options = ["--dialect", "slim", "--input-size", "16", "--batch-size", "1", "--burn-in", "1", "--threads", "1"]
    command = [sys.executable, "-m", "resport", "bench", VARIANT, *options]
    plain = subprocess.run([*command, "--steps", "20"], capture_output=True, text=True, check=True).stdout
    assert [line.split(", ")[0].split()[-2:] for line in plain.splitlines()[:2]] == [["step", "10"], ["step", "20"]]
    assert "seconds per batch" in plain
    assert "±" in plain
    printed = subprocess.run([*command, "--steps", "2", "--json"], capture_output=True, text=True, check=True).stdout
    report = json.loads(printed)
    assert (report["variant"], report["batch_size"], report["steps"], report["burn_in"]) == (VARIANT, 1, 2, 1)
    assert [timing["dialect"] for timing in report["timings"]] == ["slim"]
