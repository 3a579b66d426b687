"""A graph widened from float32 is the graph that the builder makes in float64: names, end points and values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from resport.architectures import open_network
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.slim_network import SlimNetwork
from resport.architectures.slim_widened import can_widen, widened_network

pytestmark = pytest.mark.tf

SMALL: dict[str, Any] = {"units": (1, 2, 1, 1), "num_classes": 5, "input_size": None}


def opened(variant: str, dialect: str, dtype: str, **options: Any) -> SlimNetwork:
    network = open_network(variant, dialect, dtype=dtype, **options)
    assert isinstance(network, SlimNetwork)
    return network


@pytest.mark.parametrize(
    ("variant", "dialect", "size", "options"),
    [
        ("resnet_v2_50", "slim", 33, {**SMALL, "base_depth": 8}),
        ("resnet_v1_50", "slim", 64, {**SMALL, "base_depth": 8}),
        ("resnet_v1_50", "tensorpack", 33, SMALL),
        ("inception_resnet_v1", "slim", 108, {}),
    ],
)
def test_it_is_the_builders_network(variant: str, dialect: str, size: int, options: dict[str, Any]) -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (2, size, size, 3))
    with opened(variant, dialect, "float32", **{"input_size": None, **options}) as narrow:
        assert can_widen(narrow)
        wide = widened_network(narrow)
    with wide, opened(variant, dialect, "float64", **{"input_size": None, **options}) as built:
        assert wide.names == built.names
        assert {variable.dtype.base_dtype.name for variable in wide.variables.values()} == {"float64"}
        for network in (wide, built):
            network.initialize(1)
        found, expected = wide.forward(images), built.forward(images)
    assert [*found] == [*expected]
    for name, value in expected.items():
        assert found[name].dtype == np.float64
        assert np.abs(found[name] - value).max() <= 1e-12 * np.abs(value).max(), name


def test_a_fixed_size_and_a_batch_stay_fixed() -> None:
    options = {**SMALL, "base_depth": 8, "input_size": (32, 48), "batch_size": 3}
    with opened("resnet_v2_50", "slim", "float32", **options) as narrow, widened_network(narrow) as wide:
        assert wide.inputs.shape.as_list() == [3, 32, 48, 3]


def test_a_batch_norm_with_channels_first_is_left_to_the_builder() -> None:
    tf = quiet_import_module("tensorflow")

    def network(images: Any) -> tuple[Any, dict[str, Any]]:
        vectors = [tf.ones(3)] * 4
        normed = tf.compat.v1.nn.fused_batch_norm(
            tf.transpose(images, (0, 3, 1, 2)), *vectors, data_format="NCHW", is_training=False
        )[0]
        return normed, {"logits": normed}

    assert not can_widen(SlimNetwork(network, scope="x", input_size=8))
