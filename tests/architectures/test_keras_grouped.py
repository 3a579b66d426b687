"""Grouped convolutions are compiled once, and compute what Keras computes, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from resport.architectures import open_network
from resport.architectures.frameworks import quiet_import_module, quiet_tracing
from resport.architectures.keras_grouped import compiled_convolution, grouped_convolutions_compiled_once
from resport.architectures.network import squeeze_map

pytestmark = pytest.mark.tf

NARROW = {"units": (2, 2), "depths": (32, 48), "widths": (16, 24), "groups": 8, "num_classes": 5, "input_size": 32}
STRIDES = [((stride, stride), "same", "channels_last", (1, 1)) for stride in (1, 2)]


@pytest.fixture
def network():
    with open_network("resnext50_32x4d", "keras", **NARROW) as network:
        network.initialize(0)
        yield network


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_not_one_bit_is_another(network, dtype):
    network.compute_in(dtype)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    tapped = quiet_import_module("keras").Model(network.model.inputs, list(network.end_points.values()))
    with quiet_tracing():
        expected = [squeeze_map(value.numpy()) for value in tapped([images], training=False)]
    values = network.forward(images)
    assert {value.dtype.name for value in values.values()} == {dtype}
    assert all((value == other).all() for value, other in zip(values.values(), expected, strict=True))
    assert not any("convolution_op" in vars(layer) for layer in network.model.layers)


def test_a_shape_is_compiled_once(network):
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    compiled_convolution.cache_clear()
    network.forward(images)
    functions = [compiled_convolution(*arguments) for arguments in STRIDES]
    counts = [function.experimental_get_tracing_count() for function in functions]
    # Four grouped convolutions: with stride 1 one in the first block, two alike, and one in the second; one strides.
    assert counts == [2, 1]
    network.initialize(1)
    network.forward(images)
    assert [function.experimental_get_tracing_count() for function in functions] == counts
    assert compiled_convolution.cache_info().currsize == len(STRIDES)


def test_an_edit_of_a_layer_is_seen(network):
    layer = next(each for each in network.model.layers if getattr(each, "groups", 1) > 1)
    maps = np.random.default_rng(0).normal(size=(1, 8, 8, 16)).astype(np.float32)
    layer.strides = (2, 2)
    with quiet_tracing():
        expected = layer(maps).numpy()
        with grouped_convolutions_compiled_once(network.model):
            assert (layer(maps).numpy() == expected).all()
    assert expected.shape == (1, 4, 4, 16)
