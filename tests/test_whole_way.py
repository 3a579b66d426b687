"""The whole way with the frameworks themselves at both ends: tf_slim writes, resport converts, Keras and TensorFlow read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import resport
from resport.tensors import random_tensor
from tests.contracts import assert_same_bits

pytestmark = pytest.mark.tf

VARIANT = "resnet_v2_50"
KERAS_NAMES = {
    "conv1_conv/kernel": "conv1/weights",
    "conv1_conv/bias": "conv1/biases",
    "conv2_block1_0_conv/kernel": "block1/unit_1/bottleneck_v2/shortcut/weights",
    "conv2_block3_preact_bn/moving_variance": "block1/unit_3/bottleneck_v2/preact/moving_variance",
    "conv4_block6_2_bn/gamma": "block3/unit_6/bottleneck_v2/conv2/BatchNorm/gamma",
    "conv5_block3_3_conv/bias": "block4/unit_3/bottleneck_v2/conv3/biases",
    "post_bn/moving_mean": "postnorm/moving_mean",
    "predictions/bias": "logits/biases",
}
"""Some names of every kind, written out from both frameworks' sources."""


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that tf_slim's own network and TensorFlow's Saver made."""
    import tensorflow as tf

    from resport.architectures.slim_compat import import_slim

    tf_slim = import_slim()
    from tf_slim.nets import resnet_v2

    prefix = tmp_path_factory.mktemp("slim") / "model.ckpt-1"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        images = tf.compat.v1.placeholder(tf.float32, [None, 32, 32, 3])
        with tf_slim.arg_scope(resnet_v2.resnet_arg_scope()):
            resnet_v2.resnet_v2_50(images, num_classes=1001, is_training=False)
        for variable in tf.compat.v1.global_variables():
            value = random_tensor(variable.op.name, tuple(variable.shape.as_list()), 8)
            session.run(variable.initializer, {variable.initializer.inputs[1]: value.astype(np.float32)})
        tf.compat.v1.train.Saver().save(session, str(prefix), write_meta_graph=False)
    return prefix


@pytest.mark.parametrize("name", ["model.h5", "model.hdf5", "model.weights.h5"])
def test_keras_itself_loads_what_is_written(slim: Path, name: str) -> None:
    import keras
    import tensorflow as tf

    target = slim.parent / name
    report = resport.convert(slim, target, to="keras")
    assert (report.moved, report.n_targets, report.num_classes) == (272, 272, 1001)
    assert any("keras.applications.ResNet50V2 loads these weights" in warning for warning in report.warnings)
    reader = tf.train.load_checkpoint(str(slim))
    stock = keras.applications.ResNet50V2(weights=None, classes=1001, input_shape=(32, 32, 3), include_top=True)
    own = resport.build(VARIANT, "keras", num_classes=1001, input_size=32)
    for model in (stock, own):
        model.load_weights(target)
        loaded = {f"{layer.name}/{weight.name}": weight for layer in model.layers for weight in layer.weights}
        assert len(loaded) == 272
        for keras_name, slim_name in KERAS_NAMES.items():
            expected = reader.get_tensor(f"{VARIANT}/{slim_name}")
            value = np.asarray(loaded[keras_name])
            assert_same_bits(value, expected.reshape(value.shape))
    if name == "model.h5":
        by_name = resport.build(VARIANT, "keras", num_classes=1001, input_size=32)
        by_name.load_weights(target, by_name=True)
        for first, second in zip(by_name.weights, own.weights, strict=True):
            assert_same_bits(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize("name", ["there.h5", "there.weights.h5", "there.safetensors"])
def test_the_way_back_is_bit_exact_by_tensorflows_own_reader(slim: Path, name: str) -> None:
    import tensorflow as tf

    middle, back = slim.parent / name, slim.parent / f"back-{name}" / "model.ckpt"
    back.parent.mkdir()
    resport.convert(slim, middle, to="keras")
    resport.convert(middle, back, to="slim", write_state=True)
    first, last = tf.train.load_checkpoint(str(slim)), tf.train.load_checkpoint(str(back))
    assert first.get_variable_to_shape_map() == last.get_variable_to_shape_map()
    assert len(first.get_variable_to_shape_map()) == 272
    for tensor in first.get_variable_to_shape_map():
        assert_same_bits(last.get_tensor(tensor), first.get_tensor(tensor))
    assert tf.train.latest_checkpoint(str(back.parent)) == str(back)


def test_a_slim_graph_is_restored_by_tensorflows_saver(slim: Path) -> None:
    import tensorflow as tf

    keras_file, back = slim.parent / "restore.h5", slim.parent / "restored.ckpt"
    resport.convert(slim, keras_file, to="keras")
    resport.convert(keras_file, back, to="slim")
    with resport.build(VARIANT, "slim", num_classes=1001, input_size=32) as network:
        with network.graph.as_default():
            tf.compat.v1.train.Saver(list(network.variables.values())).restore(network.session, str(back))
        reader = tf.train.load_checkpoint(str(slim))
        for name in KERAS_NAMES.values():
            value = network.session.run(network.variables[f"{VARIANT}/{name}"])
            assert_same_bits(value, reader.get_tensor(f"{VARIANT}/{name}"))
