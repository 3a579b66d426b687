"""One network computes in both dtypes and in other ways, and says which: the values beside those of a second network."""

from __future__ import annotations

import numpy as np
import pytest

from resport.architectures import open_network
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_network import XLA, KerasNetwork
from resport.architectures.slim_network import NOT_OPTIMISED, ONE_THREAD

pytestmark = pytest.mark.tf

IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
SMALL = {"units": (1, 1, 1, 1), "base_depth": 8, "num_classes": 5, "input_size": None}


def small_keras(dtype: str) -> KerasNetwork:
    network = open_network("resnet_v2_50", "keras", dtype=dtype, **SMALL)
    assert isinstance(network, KerasNetwork)
    network.initialize(1)
    return network


def test_a_keras_network_computes_in_another_dtype_what_a_network_of_that_dtype_does() -> None:
    both, narrow = small_keras("float64"), small_keras("float32")
    wide = both.forward(IMAGES)
    both.compute_in("float32")
    expected = narrow.forward(IMAGES)
    for name, value in both.forward(IMAGES).items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected[name])
        assert not np.array_equal(value, wide[name])
    both.compute_in("float64")
    for name, value in both.forward(IMAGES).items():
        np.testing.assert_array_equal(value, wide[name])


def test_xla_computes_the_same_with_other_kernels() -> None:
    keras = quiet_import_module("keras")
    inputs = keras.Input((None, None, 3))
    output = keras.layers.Activation("softmax")(keras.layers.Conv2D(4, 3, name="conv")(inputs))
    model = keras.Model(inputs, output)
    network = KerasNetwork(model, {"predictions": model.output})
    network.initialize(1)
    usual = network.forward(IMAGES)["predictions"]
    assert network.executions == (XLA,)
    network.execute(XLA)
    compiled = network.forward(IMAGES)["predictions"]
    network.execute(None)
    assert 0 < np.abs(compiled - usual).max() < 1e-6
    np.testing.assert_array_equal(network.forward(IMAGES)["predictions"], usual)


def test_a_slim_network_runs_on_one_thread_and_without_the_optimiser() -> None:
    with open_network("resnet_v2_50", "slim", **SMALL) as network:
        network.initialize(1)  # type: ignore[attr-defined]
        usual = network.forward(IMAGES)["logits"]
        assert network.executions == (ONE_THREAD, NOT_OPTIMISED)  # type: ignore[attr-defined]
        for how in (*network.executions, None):  # type: ignore[attr-defined]
            network.execute(how)  # type: ignore[attr-defined]
            network.initialize(1)  # type: ignore[attr-defined]
            config = network.session._config  # type: ignore[attr-defined]
            assert (config.intra_op_parallelism_threads == 1) == (how == ONE_THREAD)
            assert config.graph_options.rewrite_options.disable_meta_optimizer == (how == NOT_OPTIMISED)
            np.testing.assert_allclose(network.forward(IMAGES)["logits"], usual, rtol=1e-4, atol=1e-4)
