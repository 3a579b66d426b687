"""Networks with their channels first: the same weights, the same values at every end point; and who has none."""

from __future__ import annotations

import numpy as np
import pytest

from resport.architectures import build, open_network
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.registry import BUILDERS
from resport.errors import OptionError
from tests.architectures.conversions import largest_difference, signed_images

pytestmark = pytest.mark.tf

SMALL = {"units": (1, 2, 1), "base_depth": 4, "num_classes": 5}
NETWORKS = {
    "resnet_v1": ("resnet_v1_50", "keras", SMALL, (32, 33)),
    "resnet_v1 dilated": ("resnet_v1_50", "keras", {**SMALL, "output_stride": 8, "include_top": False}, (32, 33)),
    "resnet_v2": ("resnet_v2_50", "keras", SMALL, (32, 33)),
    "resnet_v2 padded": ("resnet_v2_50", "keras", {**SMALL, "pool1": "padded"}, (32, 33)),
    "resnet_scale": ("resnet_scale_101", "keras", SMALL, (32, 33)),
    "resnet_scale folded": ("resnet_scale_101", "resnet_v1_keras", SMALL, (32, 33)),
    "inception_resnet_v1": ("inception_resnet_v1", "keras", {"embedding_size": 8, "num_classes": 5}, (80, 81)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_both_layouts_have_the_same_weights_and_compute_the_same(name):
    variant, dialect, options, size = NETWORKS[name]
    outputs, weights, inputs = [], [], []
    for data_format in ("channels_last", "channels_first"):
        options = {**options, "input_size": size, "dtype": "float64", "data_format": data_format}
        with open_network(variant, dialect, **options) as network:
            network.initialize(2)
            outputs.append(network.forward(signed_images(size)))
            weights.append([(each.path, each.shape) for each in network.model.weights])
            inputs.append(network.model.input_shape)
    last, first = outputs
    assert list(last) == list(first)
    assert len(last) > 4
    assert largest_difference(last, first) < 1e-12
    assert weights[0] == weights[1]
    assert inputs == [(None, *size, 3), (None, 3, *size)]


def test_every_keras_builder_has_both_layouts_and_no_graph_has():
    assert {builder.dialect for builder in BUILDERS if "data_format" in builder.options} == {
        builder.dialect for builder in BUILDERS if builder.end_points
    }


@pytest.mark.parametrize(
    ("variant", "dialect"),
    [
        ("resnet_v2_50", "slim"),
        ("se_resnet_50", "tensorpack"),
        ("resnext29_8x64d", "taki"),
        ("inception_resnet_v1", "slim"),
    ],
)
def test_graphs_have_their_channels_last(variant, dialect):
    with pytest.raises(OptionError, match="has its channels last: on a CPU") as caught:
        build(variant, dialect, data_format="channels_first")
    assert "Keras builders have both" in caught.value.hint


@pytest.mark.parametrize("operation", ["conv2d", "max_pool2d"])
def test_the_reason_that_is_given(operation):
    """TensorFlow's graphs on a CPU refuse when they run. Should this fail one day, they can have the option too."""
    tf = quiet_import_module("tensorflow")
    with tf.Graph().as_default(), tf.device("CPU"), tf.compat.v1.Session() as session:
        images = tf.compat.v1.placeholder("float32", (1, 3, 8, 8))
        arguments = {"ksize": 2} if operation == "max_pool2d" else {"filters": tf.ones([1, 1, 3, 2])}
        output = getattr(tf.nn, operation)(images, strides=1, padding="SAME", data_format="NCHW", **arguments)
        with pytest.raises(tf.errors.OpError):
            session.run(output, {images: np.ones((1, 3, 8, 8))})


def test_a_classifier_on_the_map_has_its_channels_last():
    with pytest.raises(OptionError, match="takes its last axis for the channels"):
        build("resnet_v1_50", "keras", data_format="channels_first", global_pool=False, num_classes=3)
