"""slim and Keras compute one function: every end point, in float64, on even and odd sizes."""

from __future__ import annotations

import numpy as np
import pytest

from resport.architectures import open_network
from tests.architectures.resnet_names import slim_values

pytestmark = pytest.mark.tf

NARROW = {"units": (2, 1, 3, 1), "base_depth": 4, "num_classes": 5}


def _forward_both(variant, size, seed=8, **options):
    version = int(variant[len("resnet_v")])
    channels = 3 if options.get("include_root_block", True) else 64
    images = np.random.default_rng(1).normal(size=(2, *size, channels))
    options = {"input_size": size, "dtype": "float64", **options}
    with open_network(variant, "keras", **options) as keras_network:
        keras_network.initialize(seed)
        values = {name: variable.numpy() for name, variable in keras_network.variables.items()}
        keras_ends = keras_network.forward(images)
    with open_network(variant, "slim", scope="a/b", **options) as slim_network:
        renamed = slim_values(values, version, "a/b")
        assert set(renamed) == set(slim_network.names)
        slim_network.load(renamed)
        slim_ends = slim_network.forward(images)
    return slim_ends, keras_ends


def _assert_equal_everywhere(slim_ends, keras_ends):
    assert list(slim_ends) == list(keras_ends)
    for name, expected in slim_ends.items():
        value = keras_ends[name]
        assert value.shape == expected.shape, name
        assert value.dtype == expected.dtype == np.float64
        scale = np.abs(expected).max()
        assert scale > 1e-6, name
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12 * scale, err_msg=name)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [(64, 64), (65, 65), (66, 49)])
def test_strided_networks_agree(version, size):
    slim_ends, keras_ends = _forward_both(f"resnet_v{version}_50", size, **NARROW)
    _assert_equal_everywhere(slim_ends, keras_ends)
    point = f"block1/unit_1/bottleneck_v{version}"
    # What an end point means: conv1 behind its ReLU, conv3 in front of the sum.
    assert slim_ends[f"{point}/conv1"].min() == 0
    assert slim_ends[f"{point}/conv3"].min() < 0
    assert (slim_ends["conv1"].min() == 0) == (version == 1)
    assert (slim_ends["block4"].min() == 0) == (version == 1)
    # 4 end points for each unit, one more for each shortcut and block; conv1, global_pool, logits, predictions.
    assert len(slim_ends) == 4 * 7 + 4 + 4 + 4


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {"output_stride": 16},
        {"output_stride": 8, "global_pool": False},
        {"output_stride": 4, "num_classes": None},
        {"include_top": False, "global_pool": False},
        {"include_root_block": False},
        {"include_root_block": False, "output_stride": 2},
        {"base_depth": 16},
    ],
)
def test_options_mean_the_same_on_both_sides(version, options):
    size = (64, 65) if options.get("include_root_block", True) else (16, 17)
    slim_ends, keras_ends = _forward_both(f"resnet_v{version}_50", size, **{**NARROW, **options})
    # A block as deep as its input has the identity for a shortcut, as slim has it.
    assert (f"block1/unit_1/bottleneck_v{version}/shortcut" in slim_ends) == ("base_depth" not in options)
    _assert_equal_everywhere(slim_ends, keras_ends)


@pytest.mark.parametrize("variant", ["resnet_v1_50", "resnet_v2_50"])
def test_a_whole_network_agrees(variant):
    slim_ends, keras_ends = _forward_both(variant, (64, 64), num_classes=1001)
    _assert_equal_everywhere(slim_ends, keras_ends)
    assert len(slim_ends) == 16 * 4 + 4 + 4 + 4
