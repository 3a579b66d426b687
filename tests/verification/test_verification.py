"""Whole verifications with native networks: a clean pair is equal, and each mistake is found where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import resport
from resport.conversion import initialize
from resport.formats import open_reader
from resport.verification.forward.forward import FORWARD_FLOAT64_LIMIT
from resport.verification.report import ForwardResult
from tests.tiny import write_values

pytestmark = pytest.mark.tf

Values = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("slim") / "model.ckpt-0"
    initialize("resnet_v2_50", prefix, num_classes=11, seed=3)
    return prefix


@pytest.fixture(scope="module")
def keras(slim: Path) -> Values:
    target = slim.parent / "keras.safetensors"
    resport.convert(slim, target, to="keras")
    with open_reader(target) as reader:
        return {name: reader.read(name) for name in reader.manifest}


def verify_forward(slim: Path, target: Path) -> ForwardResult:
    report = resport.verify(slim, target, input_size=32)
    assert report.forward is not None
    return report.forward


def test_a_clean_pair_is_equal(tmp_path: Path, slim: Path, keras: Values) -> None:
    report = resport.verify(slim, write_values(tmp_path / "clean.h5", keras), input_size=32)
    assert report.verdict == "equal"
    assert report.forward is not None
    assert max(point.max_rel_diff for point in report.forward.float64) <= 1e-12
    assert report.forward.input_sizes == (32, 33)
    names = {point.name for point in report.forward.float64}
    assert names >= {"conv1", "block2/unit_3/bottleneck_v2", "block4", "logits"}


def exchange(first: str, second: str) -> Callable[[Values], None]:
    def mutate(values: Values) -> None:
        values[first], values[second] = values[second], values[first]

    return mutate


def drop_bias(values: Values) -> None:
    values["conv3_block2_3_conv/bias"] = np.zeros_like(values["conv3_block2_3_conv/bias"])


def one_element(values: Values) -> None:
    kernel = values["conv4_block6_2_conv/kernel"].copy()
    kernel[1, 1, 5, 7] += 1e-3 * np.abs(kernel).max()
    values["conv4_block6_2_conv/kernel"] = kernel


@pytest.mark.parametrize(
    ("mutate", "where"),
    [
        (exchange("conv2_block1_1_bn/gamma", "conv2_block1_1_bn/moving_variance"), "block1/unit_1/bottleneck_v2/conv1"),
        (drop_bias, "block2/unit_2/bottleneck_v2/conv3"),
        (one_element, "block3/unit_6/bottleneck_v2/conv2"),
    ],
)
def test_a_mistake_is_found_where_it_is(
    tmp_path: Path, slim: Path, keras: Values, mutate: Callable[[Values], None], where: str
) -> None:
    values = dict(keras)
    mutate(values)
    forward = verify_forward(slim, write_values(tmp_path / "wrong.safetensors", values))
    assert forward.first_divergence is not None
    assert forward.first_divergence.name == where
    assert not forward.is_equal


def test_dropped_background_half_precision_and_a_scope_in_front(tmp_path: Path, slim: Path) -> None:
    with open_reader(slim) as reader:
        scoped = {f"Extractor/{name}": reader.read(name) for name in reader.manifest}
    source = write_values(tmp_path / "scoped.ckpt", scoped)
    target = tmp_path / "half.weights.h5"
    resport.convert(source, target, to="keras", drop_background=True, dtype="float16")
    report = resport.verify(source, target, input_size=32)
    assert report.verdict == "equal"
    assert report.forward is not None
    assert max(point.max_rel_diff for point in report.forward.float64) <= 1e-12


def test_a_fold_is_judged_as_exactly_as_anything_else(tmp_path: Path) -> None:
    """What it rounded is known, so the source is rounded likewise and the limit in float64 stays."""
    keras = tmp_path / "keras.h5"
    initialize("resnet_v1_50", keras, dialect="keras", num_classes=5)
    target = tmp_path / "slim.ckpt"
    resport.convert(keras, target, to="slim", fold=True)
    report = resport.verify(keras, target, input_size=32)
    assert report.verdict == "equal"
    assert report.forward is not None and report.forward.limit == FORWARD_FLOAT64_LIMIT
    assert max(point.max_rel_diff for point in report.forward.float64) <= 1e-12
    half = tmp_path / "half.ckpt"
    resport.convert(keras, half, to="slim", fold=True, dtype="float16")
    forward = verify_forward(keras, half)
    assert max(point.max_rel_diff for point in forward.float64) <= 1e-12
