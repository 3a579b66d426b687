from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from resport.architectures import build, end_points, open_network
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_network import KerasNetwork
from resport.errors import OptionError
from resport.tensors import random_tensor

pytestmark = pytest.mark.tf

MANIFESTS = Path(__file__).parent.parent / "manifests"
STOCK = [(version, depth) for version in (1, 2) for depth in (50, 101, 152)]


def _manifest_lines(model):
    """The model as a manifest has it: a line for each layer, its weights below it."""
    for layer in model.layers:
        parents = layer._inbound_nodes[0].parent_nodes
        inputs = [node.operation.name for node in parents]
        shape = tuple(layer.output.shape)
        yield f"L\t{layer.name}\t{type(layer).__name__}\tout={shape}\tin={inputs}\t{_arguments(layer)}"
        for weight in layer.weights:
            kind = "T" if weight.trainable else "N"
            yield f"  W\t{layer.name}/{weight.name}\t{tuple(weight.shape)}\t{weight.dtype}\t{kind}"


def _arguments(layer):
    names = {
        "Conv2D": ("padding", "strides", "kernel_size", "use_bias", "activation", "groups"),
        "BatchNormalization": ("epsilon", "momentum", "scale", "center"),
        "Activation": ("activation",),
        "ZeroPadding2D": ("padding",),
        "MaxPooling2D": ("padding", "strides", "pool_size"),
        "Dense": ("use_bias", "activation"),
    }.get(type(layer).__name__, ())
    config = layer.get_config()
    return {name: config[name] for name in names}


@pytest.mark.parametrize(("version", "depth"), STOCK)
def test_padded_model_is_keras_applications_layer_by_layer(version, depth):
    model = build(f"resnet_v{version}_{depth}", "keras", pool1="padded")
    file = MANIFESTS / f"keras3_ResNet{depth}{'V2' if version == 2 else ''}.txt"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert list(_manifest_lines(model)) == lines
    weights = [line.split("\t")[1] for line in lines if line.startswith("  W")]
    assert [weight.path for weight in model.weights] == weights


@pytest.mark.parametrize(("version", "depth"), STOCK[:1] + STOCK[3:4])
def test_same_pool_changes_no_weight(version, depth):
    same, padded = (build(f"resnet_v{version}_{depth}", "keras", pool1=pool1) for pool1 in ("same", "padded"))
    assert [weight.path for weight in same.weights] == [weight.path for weight in padded.weights]
    names = {layer.name for layer in padded.layers} - {layer.name for layer in same.layers}
    assert names == {"pool1_pad"}
    assert same.get_layer("pool1_pool").padding == "same"


@pytest.mark.parametrize(("version", "n_weights", "n_parameters"), [(1, 1220, 64_849_832), (2, 1072, 64_894_440)])
def test_depth_200_follows_the_pattern(version, n_weights, n_parameters):
    model = build(f"resnet_v{version}_200", "keras", input_size=32)
    assert len(model.weights) == n_weights == (18 * 66 + 32 if version == 1 else 16 * 66 + 16)
    # v1 has slim's parameters and a bias for each convolution.
    convolutions = [layer for layer in model.layers if type(layer).__name__ == "Conv2D"]
    n_biases = sum(layer.filters for layer in convolutions) if version == 1 else 0
    assert model.count_params() == n_parameters + n_biases
    names = [layer.name for layer in model.layers if layer.name.endswith("_out")]
    units = enumerate((3, 24, 36, 3))
    assert names == [f"conv{stage + 2}_block{unit + 1}_out" for stage, count in units for unit in range(count)]


@pytest.mark.parametrize("version", [1, 2])
def test_padded_model_computes_what_keras_applications_does(version):
    keras = quiet_import_module("keras")
    stock_class = {1: keras.applications.ResNet50, 2: keras.applications.ResNet50V2}[version]
    stock = stock_class(weights=None, input_shape=(64, 64, 3), classes=11)
    ours = build(f"resnet_v{version}_50", "keras", pool1="padded", input_size=64, num_classes=11)
    same = build(f"resnet_v{version}_50", "keras", input_size=64, num_classes=11)
    stock.set_weights([random_tensor(weight.path, tuple(weight.shape), 2) for weight in stock.weights])
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    results = []
    for model in (ours, same):
        model.set_weights(stock.get_weights())
        network = KerasNetwork(model, end_points(model))
        results.append(network.forward(images))
    expected = KerasNetwork(stock, end_points(stock, f"resnet_v{version}_50")).forward(images)
    assert list(expected) == list(results[0])
    for name, value in expected.items():
        assert (results[0][name] == value).all(), name
    # The measured reason for pool1="same" to be the default: these are two functions.
    difference = np.abs(results[1]["logits"] - expected["logits"]).max() / np.abs(expected["logits"]).max()
    assert difference > 1e-3


@pytest.mark.parametrize("version", [1, 2])
def test_logits_are_the_same_with_the_softmax_inside_or_left_out(version):
    values = []
    images = np.random.default_rng(0).normal(size=(2, 33, 33, 3))
    for activation in ("softmax", None):
        with open_network(
            f"resnet_v{version}_50", "keras", units=(1, 1), base_depth=4, input_size=33, num_classes=6,
            dtype="float64", classifier_activation=activation,
        ) as network:  # fmt: skip
            network.initialize(0)
            values.append(network.forward(images))
    for name in ("logits", "predictions"):
        assert values[0][name].shape == (2, 6)
        np.testing.assert_allclose(values[0][name], values[1][name], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(values[0]["predictions"].sum(axis=1), 1, rtol=1e-12)
    assert np.abs(values[0]["logits"].sum(axis=1) - 1).min() > 1e-3


def test_saved_files_open_without_resport(tmp_path):
    """All of them in one process of their own, which is what takes the time."""
    images = np.random.default_rng(0).normal(size=(2, 33, 33, 3))
    np.save(tmp_path / "images.npy", images)
    expected = {}
    for version, dtype in product((1, 2), ("float32", "float64")):
        model = build(
            f"resnet_v{version}_50", "keras", units=(2, 1), base_depth=4, input_size=33, num_classes=6, dtype=dtype,
            output_stride=4,
        )  # fmt: skip
        KerasNetwork(model, end_points(model)).initialize(4)
        name = f"{version}.{dtype}"
        model.save(tmp_path / f"{name}.keras")
        outputs = model(images.astype(dtype), training=False)
        expected[name] = quiet_import_module("keras").ops.convert_to_numpy(outputs)
    code = (
        "import sys\n"
        "sys.modules['resport'] = None\n"
        "import keras, numpy as np\n"
        f"for name in {list(expected)}:\n"
        "    model = keras.saving.load_model(name + '.keras')\n"
        "    images = np.load('images.npy').astype(name.split('.')[1])\n"
        "    np.save(name + '.npy', keras.ops.convert_to_numpy(model(images, training=False)))\n"
        "assert not any(name.startswith('resport.') for name in sys.modules)\n"
    )
    # -I: neither the current folder nor PYTHONPATH can bring resport in.
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True, capture_output=True, env=os.environ)
    assert len(expected) == 4
    for name, values in expected.items():
        outputs = np.load(tmp_path / f"{name}.npy")
        assert outputs.dtype == name.split(".")[1]
        assert (outputs == values).all()


@pytest.mark.parametrize("version", [1, 2])
def test_float64_is_float64_in_every_layer_and_nowhere_else(version):
    keras = quiet_import_module("keras")
    model = build(f"resnet_v{version}_50", "keras", units=(2, 2), base_depth=4, input_size=33, dtype="float64")
    assert {layer.output.dtype for layer in model.layers} == {"float64"}
    assert {layer.compute_dtype for layer in model.layers[1:]} == {"float64"}
    assert {weight.dtype for weight in model.weights} == {"float64"}
    assert keras.config.floatx() == "float32"
    assert str(keras.config.dtype_policy().name) == "float32"


def test_layer_names_do_not_depend_on_what_was_built_before():
    names = [
        [layer.name for layer in build("resnet_v2_50", "keras", units=(2, 2, 2), base_depth=4).layers] for _ in "ab"
    ]
    assert names[0] == names[1]
    assert {"input_layer", "max_pooling2d", "max_pooling2d_1"} <= set(names[0])


def test_process_wide_layout_is_not_read():
    keras = quiet_import_module("keras")
    keras.config.set_image_data_format("channels_first")
    try:
        model = build("resnet_v2_50", "keras", units=(2, 1), base_depth=4, input_size=33)
        assert model.get_layer("conv3_block1_out").output.shape == (None, 5, 5, 32)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_options_that_leave_parts_out():
    tiny = {"units": (1,), "base_depth": 4, "input_size": 17}
    headless = build("resnet_v2_50", "keras", include_top=False, global_pool=False, **tiny)
    assert headless.output.shape == (None, 5, 5, 16)
    assert list(end_points(headless))[-1] == "block1"
    pooled = build("resnet_v2_50", "keras", num_classes=None, **tiny)
    assert list(end_points(pooled))[-1] == "global_pool"
    rootless = build("resnet_v1_50", "keras", include_root_block=False, batch_size=2, **tiny)
    assert rootless.input_shape == (2, 17, 17, 64)
    assert next(iter(end_points(rootless))) == "block1/unit_1/bottleneck_v1/shortcut"
    frozen = build("resnet_v1_50", "keras", trainable=False, **tiny)
    assert not frozen.trainable_weights
    assert build("resnet_v1_50", "keras", **tiny).trainable_weights


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool1": "valid"}, "`pool1` has no value"),
        ({"dtype": "bfloat16"}, "float32 or float64"),
        ({"output_stride": 6}, "stride by 4"),
        ({"output_stride": 64}, "cannot reach"),
        ({"input_size": 0}, "at least one pixel"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        build("resnet_v2_50", "keras", **options)


def test_values_that_do_not_fit_are_refused():
    with open_network("resnet_v2_50", "keras", units=(1,), base_depth=4, input_size=17) as network:
        values = {name: random_tensor(name, tuple(v.shape), 0) for name, v in network.variables.items()}
        network.load(values)
        with pytest.raises(OptionError, match="there is no value for `post_bn/beta`"):
            network.load({name: value for name, value in values.items() if name != "post_bn/beta"})
        with pytest.raises(OptionError, match="`conv1_conv/kernel` does not fit"):
            network.load({**values, "conv1_conv/kernel": values["conv1_conv/kernel"].swapaxes(2, 3)})
        with pytest.raises(OptionError, match="do not fit"):
            network.forward(np.zeros((2, 16, 17, 3)))
    network.close()
