from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resport.architectures import build, slim_resnet_v1, slim_resnet_v2
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.slim_blocks import resnet_arg_scope, resnet_blocks
from resport.architectures.slim_compat import import_slim
from resport.errors import OptionError
from resport.tensors import random_tensor

pytestmark = pytest.mark.tf

MANIFESTS = Path(__file__).parent.parent / "manifests"
MODULES = {1: slim_resnet_v1, 2: slim_resnet_v2}
PUBLISHED = [(version, depth) for version in (1, 2) for depth in (50, 101, 152, 200)]
COUNTS = {
    # variables and parameters with 1000 classes (v1) and 1001 (v2)
    (1, 50): (267, 25_610_152), (1, 101): (522, 44_654_504), (1, 152): (777, 60_344_232), (1, 200): (1017, 64_849_832),
    (2, 50): (272, 25_615_849), (2, 101): (544, 44_677_609), (2, 152): (816, 60_382_697), (2, 200): (1072, 64_896_489),
}  # fmt: skip


@pytest.mark.parametrize(("version", "depth"), PUBLISHED)
def test_variables_and_end_points_are_those_of_the_manifest(version, depth):
    num_classes = 999 + version
    lines = (MANIFESTS / f"slim_resnet_v{version}_{depth}_{num_classes}.txt").read_text().splitlines()
    network = build(f"resnet_v{version}_{depth}", "slim", spatial_squeeze=False)
    trainable = {variable.name for variable in network.graph.get_collection("trainable_variables")}
    built = [
        f"{name}\t{variable.shape.as_list()}\t{variable.dtype.base_dtype.name}\t{'NT'[variable.name in trainable]}"
        for name, variable in network.variables.items()
    ]
    assert built == [line for line in lines if not line.startswith("#")]
    sizes = [variable.shape.num_elements() for variable in network.variables.values()]
    assert (len(sizes), sum(sizes)) == COUNTS[version, depth]
    ends = [
        f"# EP {key} {tensor.shape.as_list()} {tensor.name}"
        for key, tensor in network.end_points.items()
        if key != "global_pool"
    ]
    assert ends == [line for line in lines if line.startswith("# EP")]


def _reference(version, units, base_depth, prefix, images, **options):
    """tf_slim's own network: a checkpoint by TensorFlow's Saver, and the value of every end point."""
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    resnet_utils = quiet_import_module("tf_slim.nets.resnet_utils")
    module = quiet_import_module(f"tf_slim.nets.resnet_v{version}")
    make_block = getattr(module, f"resnet_v{version}_block")
    blocks = [
        make_block(f"block{i + 1}", base_depth * 2**i, count, 1 if i == len(units) - 1 else 2)
        for i, count in enumerate(units)
    ]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        inputs = tf.compat.v1.placeholder(tf.float32, images.shape)
        with slim.arg_scope(resnet_utils.resnet_arg_scope()):
            _, ends = getattr(module, f"resnet_v{version}")(inputs, blocks, is_training=False, scope="net", **options)
        for variable in tf.compat.v1.global_variables():
            value = random_tensor(variable.op.name, tuple(variable.shape.as_list()), 11)
            session.run(variable.initializer, {variable.initializer.inputs[1]: value})
        tf.compat.v1.train.Saver().save(session, prefix)
        return list(ends), session.run(ends, {inputs: images})


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("size", "options"),
    [
        (64, {"num_classes": 7}),
        (65, {"num_classes": 7}),
        (64, {"num_classes": 7, "output_stride": 8, "global_pool": False}),
        (33, {"num_classes": None, "output_stride": 4}),
        (16, {"num_classes": 3, "include_root_block": False}),
    ],
)
def test_equal_to_tf_slim_bit_for_bit(version, size, options, tmp_path):
    channels = 3 if options.get("include_root_block", True) else 64
    images = np.random.default_rng(2).normal(size=(2, size, size, channels)).astype(np.float32)
    prefix = str(tmp_path / "model.ckpt")
    keys, expected = _reference(version, (2, 1, 2, 1), 4, prefix, images, **options)
    reader = quiet_import_module("tensorflow").train.load_checkpoint(prefix)
    ours = {"units": (2, 1, 2, 1), "base_depth": 4, "input_size": size, "batch_size": 2, "scope": "net"}
    with build(f"resnet_v{version}_50", "slim", **ours, **options, spatial_squeeze=False) as network:
        assert set(network.names) == set(reader.get_variable_to_shape_map())
        network.load(reader.get_tensor)
        assert [key for key in network.end_points if key != "global_pool"] == keys
        values = network.session.run({key: network.end_points[key] for key in keys}, {network.inputs: images})
    for key in keys:
        assert (values[key] == expected[key]).all(), key


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [64, 65])
def test_dense_network_subsampled_is_the_strided_network(version, size):
    images = np.random.default_rng(3).normal(size=(2, size, size, 3))
    maps = {}
    for output_stride in (None, 32, 16, 8, 4):
        with build(
            f"resnet_v{version}_50", "slim", units=(2, 1, 2, 1), base_depth=2, input_size=size, num_classes=4,
            dtype="float64", global_pool=False, output_stride=output_stride,
        ) as network:  # fmt: skip
            network.initialize(6)
            maps[output_stride] = network.forward(images)["logits"]
    strided = maps.pop(None)
    for output_stride, dense in maps.items():
        assert dense.shape[1:3] == (-(-size // output_stride),) * 2
        factor = 32 // output_stride
        np.testing.assert_allclose(
            dense[:, ::factor, ::factor],
            strided,
            rtol=0,
            atol=1e-11 * np.abs(strided).max(),
            err_msg=f"{output_stride}",
        )


@pytest.mark.parametrize("version", [1, 2])
def test_float64_computes_what_float32_does(version):
    images = np.random.default_rng(3).normal(size=(2, 32, 32, 3))
    logits = []
    for dtype in ("float32", "float64"):
        with build(f"resnet_v{version}_50", "slim", units=(1, 1), base_depth=4, input_size=32, dtype=dtype) as network:
            network.initialize(6)
            assert {variable.dtype.base_dtype.name for variable in network.variables.values()} == {dtype}
            values = network.forward(images)
            assert {str(value.dtype) for value in values.values()} == {dtype}
            logits.append(values["logits"])
    np.testing.assert_allclose(logits[0], logits[1], rtol=0, atol=1e-5 * np.abs(logits[1]).max())


@pytest.mark.parametrize("version", [1, 2])
def test_named_depths_have_slims_signature(version):
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    module = MODULES[version]
    with tf.Graph().as_default(), slim.arg_scope(resnet_arg_scope()):
        inputs = tf.compat.v1.placeholder(tf.float32, [2, 33, 33, 3])
        network = getattr(module, f"resnet_v{version}_50")
        net, ends = network(inputs, 10, False, False, 16, spatial_squeeze=False)
        assert net.shape == (2, 3, 3, 10)
        assert ends[f"resnet_v{version}_50/block4"].shape == (2, 3, 3, 2048)
        n_variables = len(tf.compat.v1.global_variables())
        features, _ = network(inputs, reuse=True)
        assert features.shape == (2, 1, 1, 2048)
        assert len(tf.compat.v1.global_variables()) == n_variables
        assert network.__name__ == f"resnet_v{version}_50"


@pytest.mark.parametrize("version", [1, 2])
def test_training_network_updates_its_statistics(version):
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    module = MODULES[version]
    with tf.Graph().as_default(), slim.arg_scope(resnet_arg_scope()):
        inputs = tf.compat.v1.placeholder(tf.float32, [2, 17, 17, 3])
        blocks = resnet_blocks(module.bottleneck, (1, 1), base_depth=2)
        getattr(module, f"resnet_v{version}")(inputs, blocks, num_classes=3)
        moving = [name for v in tf.compat.v1.global_variables() if "moving_" in (name := v.op.name)]
        assert moving[0].startswith(f"resnet_v{version}/")
        assert len(tf.compat.v1.get_collection("update_ops")) == len(moving)
        assert len(tf.compat.v1.get_collection("regularization_losses")) == sum(
            v.op.name.endswith("/weights") for v in tf.compat.v1.global_variables()
        )


@pytest.mark.parametrize("output_stride", [2, 12, 64])
def test_output_strides_that_do_not_exist(output_stride):
    with pytest.raises(OptionError):
        build("resnet_v2_50", "slim", units=(1, 1, 1, 1), base_depth=2, output_stride=output_stride)


@pytest.mark.parametrize("version", [1, 2])
def test_include_top_false_is_the_network_without_logits(version):
    network = build(f"resnet_v{version}_50", "slim", units=(1,), base_depth=2, input_size=17, include_top=False)
    assert not any("logits" in name for name in [*network.names, *network.end_points])
    assert network.outputs.shape.as_list() == [None, 1, 1, 8]
