from __future__ import annotations

import numpy as np
import pytest

from resport.architectures import slim_resnet_v1, slim_resnet_v2
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.slim_blocks import (
    Block,
    conv2d_same,
    resnet_arg_scope,
    resnet_blocks,
    stack_blocks_dense,
    subsample,
)
from resport.architectures.slim_compat import import_slim
from resport.architectures.slim_network import SlimNetwork

pytestmark = pytest.mark.tf


def _linear_conv(scope: str):
    """A network of end points over one kernel, without batch norm."""

    def network(images):
        slim, tf = import_slim(), quiet_import_module("tensorflow")
        ends = {}
        with slim.arg_scope([slim.conv2d], activation_fn=None), tf.compat.v1.variable_scope(scope) as sc:
            for kernel in (3, 7):
                for rate in (1, 2):
                    name = f"conv{kernel}_{rate}"
                    ends[f"{name}/strided"] = conv2d_same(images, 2, kernel, 2 if rate == 1 else 1, rate, scope=name)
                    sc.reuse_variables()
                    full = slim.conv2d(images, 2, kernel, rate=rate, padding="SAME", scope=name)
                    ends[f"{name}/subsampled"] = subsample(full, 2 if rate == 1 else 1)
                    if rate == 1:
                        ends[f"{name}/tensorflow"] = slim.conv2d(
                            images, 2, kernel, stride=2, padding="SAME", scope=name
                        )
                    sc._reuse = tf.compat.v1.AUTO_REUSE
        return images, ends

    return network


@pytest.mark.parametrize("size", [(8, 10), (9, 11)])
def test_conv2d_same_is_the_full_convolution_subsampled(size):
    with SlimNetwork(_linear_conv("c"), scope="c", input_size=size, dtype="float64") as network:
        network.initialize(3)
        values = network.forward(np.random.default_rng(0).normal(size=(2, *size, 3)))
    is_even = size[0] % 2 == 0
    for kernel in (3, 7):
        strided = values[f"conv{kernel}_1/strided"]
        assert strided.shape == (2, (size[0] + 1) // 2, (size[1] + 1) // 2, 2)
        np.testing.assert_allclose(strided, values[f"conv{kernel}_1/subsampled"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            values[f"conv{kernel}_2/strided"], values[f"conv{kernel}_2/subsampled"], rtol=0, atol=1e-12
        )
        differs = np.abs(strided - values[f"conv{kernel}_1/tensorflow"]).max()
        assert (differs > 0.1) == is_even, (kernel, differs)


def test_subsample_takes_every_second_pixel_from_the_first_on():
    images = np.random.default_rng(0).normal(size=(2, 5, 6, 3))
    ends = SlimNetwork(
        lambda net: (net, {"one": subsample(net, 1), "two": subsample(net, 2)}),
        scope="s",
        input_size=(5, 6),
        dtype="float64",
    )
    with ends as network:
        network.load({})
        values = network.forward(images)
    assert (values["one"] == images).all()
    assert (values["two"] == images[:, ::2, ::2]).all()


@pytest.mark.parametrize("module", [slim_resnet_v1, slim_resnet_v2])
@pytest.mark.parametrize("output_stride", [1, 2, 4])
@pytest.mark.parametrize("size", [15, 16])
def test_dense_stack_subsampled_is_the_strided_stack(module, output_stride, size):
    blocks = resnet_blocks(module.bottleneck, (2, 2, 1), base_depth=2)

    def stack(stride):
        def network(images):
            with import_slim().arg_scope(resnet_arg_scope(dtype="float64")):
                with import_slim().arg_scope([import_slim().batch_norm], is_training=False):
                    with quiet_import_module("tensorflow").compat.v1.variable_scope("net"):
                        return images, {"net": stack_blocks_dense(images, blocks, stride)}

        return SlimNetwork(network, scope="x", input_size=size, channels=5, dtype="float64")

    images = np.random.default_rng(1).normal(size=(2, size, size, 5))
    results = []
    for network in (stack(None), stack(output_stride)):
        with network:
            network.initialize(4)
            results.append(network.forward(images)["net"])
    strided, dense = results
    factor = 4 // output_stride
    assert dense.shape[1] == -(-size // output_stride)
    np.testing.assert_allclose(dense[:, ::factor, ::factor], strided, rtol=0, atol=1e-11 * np.abs(strided).max())


def test_a_unit_of_ones_own_needs_only_rate_and_its_arguments():
    calls = []

    def unit(net, width, stride, rate):
        calls.append((width, stride, rate))
        return net

    blocks = [Block("a", unit, [{"width": 3, "stride": 2}]), Block("b", unit, [{"width": 4, "stride": 3}] * 2)]
    with quiet_import_module("tensorflow").Graph().as_default():
        stack_blocks_dense(quiet_import_module("tensorflow").zeros([1, 8, 8, 1]), blocks, output_stride=2)
    assert calls == [(3, 2, 1), (4, 1, 1), (4, 1, 3)]


def test_float64_batch_norm_has_the_epsilon_of_the_published_networks():
    def network(images):
        slim = import_slim()
        with slim.arg_scope(resnet_arg_scope(dtype="float64")):
            return images, {"bn": slim.batch_norm(images, is_training=False, scope="bn")}

    generator = np.random.default_rng(5)
    images = generator.normal(size=(2, 3, 3, 4))
    values = {f"bn/{word}": generator.normal(size=4) for word in ("gamma", "beta", "moving_mean")}
    # Small enough that the third digit of the epsilon shows.
    values["bn/moving_variance"] = generator.uniform(1e-5, 1e-4, 4)
    with SlimNetwork(network, scope="x", input_size=3, channels=4, dtype="float64") as built:
        built.load(values)
        result = built.forward(images)["bn"]
    gamma, beta, mean, variance = (values[f"bn/{word}"] for word in ("gamma", "beta", "moving_mean", "moving_variance"))
    expected = {epsilon: (images - mean) * gamma / np.sqrt(variance + epsilon) + beta for epsilon in (1e-5, 1.001e-5)}
    np.testing.assert_allclose(result, expected[1.001e-5], rtol=1e-12)
    assert np.abs(expected[1e-5] / expected[1.001e-5] - 1).max() > 1e-5
