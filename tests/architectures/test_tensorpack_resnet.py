"""tensorpack's graphs: where they are slim's ResNet v1 and where they are not; the pre-activation network against timm's."""

from __future__ import annotations

import numpy as np
import pytest

import resport
from resport.architectures import open_network
from resport.architectures.frameworks import quiet_import_module
from resport.conversion.initialization import initialize
from tests.architectures.conversions import converted_files, largest_difference, outputs_of, signed_images
from tests.mapping.plain_manifests import plain_manifest

pytestmark = pytest.mark.tf

CAFFE = {"stride_on": "conv1", "padding": "symmetric"}
TORCH = {"padding": "symmetric", "pool1": "padded"}


@pytest.fixture(scope="module")
def resnet_files(tmp_path_factory):
    return converted_files(
        tmp_path_factory.mktemp("resnet_v1"), "resnet_v1_50", ["tensorpack", "slim", "keras"], num_classes=10
    )


@pytest.mark.parametrize("size", [(64, 64), (65, 64)])
def test_models_from_caffe_are_slims_network(resnet_files, size):
    """With the stride on the first 1x1 and conv0 padded alike on both sides all end points are equal."""
    images = signed_images(size)
    options = {"dtype": "float64", "num_classes": 10}
    slim = outputs_of(resnet_files["slim"], "resnet_v1_50", "slim", images, **options)
    caffe = outputs_of(resnet_files["tensorpack"], "resnet_v1_50", "tensorpack", images, **options, **CAFFE)
    assert list(slim) == list(caffe)
    assert largest_difference(slim, caffe) < 1e-12


def test_the_network_itself_is_neither_slims_nor_kerass(resnet_files):
    """The relations' difference, measured at the size that it is given for."""
    images = signed_images((224, 224)).astype(np.float32)
    outputs = {
        name: outputs_of(resnet_files[dialect], "resnet_v1_50", dialect, images, num_classes=10, **options)
        for name, dialect, options in [
            ("slim", "slim", {}),
            ("keras", "keras", {}),
            ("stock", "tensorpack", {}),
            ("torch", "tensorpack", TORCH),
        ]
    }
    table = resport.load_table("resnet_v1")
    for one, other, pair in [
        ("slim", "stock", ("slim", "tensorpack")),
        ("keras", "stock", ("keras", "tensorpack")),
        ("stock", "torch", ("tensorpack", "torch")),
        ("slim", "torch", ("slim", "torch")),
    ]:
        difference = largest_difference(outputs[one], outputs[other], ["logits"])
        stated = table.relation(*pair).difference
        assert stated / 4 < difference < stated * 4, pair


@pytest.mark.parametrize(
    ("variant", "file"),
    [("resnet_v1_50", "tp_resnet_50"), ("resnet_v1_152", "tp_resnet_152"), ("preact_resnet_101", "tp_preact_101")],
)
def test_variables_are_tensorpacks_in_their_order(variant, file):
    with open_network(variant, "tensorpack", input_size=64) as network:
        made = [(name, tuple(variable.shape.as_list())) for name, variable in network.variables.items()]
    assert made == [(name, spec.shape) for name, spec in plain_manifest(file).items()]


def _timm_resnetv2(read, images):
    """timm's ResNetV2 of 50 layers with SAME padding, written out from its description, by torch's names."""
    tf = quiet_import_module("tensorflow")

    def conv(net, name, stride=1):
        return tf.nn.conv2d(net, read(f"{name}.weight").transpose(2, 3, 1, 0), stride, "SAME")

    def norm_relu(net, name):
        weight, bias, mean, variance = (
            read(f"{name}.{word}") for word in ("weight", "bias", "running_mean", "running_var")
        )
        return tf.nn.relu((net - mean) / np.sqrt(variance + 1.001e-5) * weight + bias)

    net = tf.nn.max_pool2d(conv(images, "stem.conv", 2), 3, 2, "SAME")
    for stage, count in enumerate((3, 4, 6, 3)):
        for block in range(count):
            name = f"stages.{stage}.blocks.{block}"
            stride = 2 if stage and not block else 1
            activated = norm_relu(net, f"{name}.norm1")
            shortcut = net if block else conv(activated, f"{name}.downsample.conv", stride)
            net = norm_relu(conv(activated, f"{name}.conv1"), f"{name}.norm2")
            net = norm_relu(conv(net, f"{name}.conv2", stride), f"{name}.norm3")
            net = conv(net, f"{name}.conv3") + shortcut
    pooled = tf.reduce_mean(norm_relu(net, "norm"), [1, 2])
    return (tf.matmul(pooled, read("head.fc.weight")[:, :, 0, 0].T) + read("head.fc.bias")).numpy()


@pytest.mark.parametrize("has_negative_gammas", [False, True])
def test_preact_is_timms_network_while_no_gamma_of_conv0_is_negative(tmp_path, has_negative_gammas):
    files = {name: tmp_path / f"{name}.safetensors" for name in ("random", "tensorpack", "torch")}
    initialize("preact_resnet_50", files["random"], dialect="tensorpack", num_classes=10, dtype="float64")
    with resport.open_reader(files["random"]) as reader:
        assert reader.read("conv0/bn/gamma").min() < 0
        with resport.open_writer(files["tensorpack"], reader.manifest.values()) as writer:
            for name in reader.manifest:
                value = reader.read(name)
                writer.write(name, abs(value) if name == "conv0/bn/gamma" and not has_negative_gammas else value)
    resport.convert(files["tensorpack"], files["torch"], to="torch")
    images = signed_images((64, 64))
    ours = outputs_of(files["tensorpack"], "preact_resnet_50", "tensorpack", images, dtype="float64", num_classes=10)[
        "logits"
    ]
    with resport.open_reader(files["torch"]) as reader:
        theirs = _timm_resnetv2(reader.read, images)
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert difference > 1e-3 if has_negative_gammas else difference < 1e-12
