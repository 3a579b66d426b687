"""The Keras ResNets with Scale layers: the published network, its slim twin, and what a fold makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import resport
from resport.architectures import build, open_network
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_network import load_by_name
from resport.architectures.keras_resnet_scale import unit_letters
from resport.conversion.initialization import initialize
from resport.errors import OptionError
from resport.mapping import expand, load_table, tables_folder
from tests.architectures.conversions import largest_difference, outputs_of, signed_images

pytestmark = pytest.mark.tf

VARIANT = "resnet_scale_101"
UNITS = (2, 4, 1, 2)
FEW = {"units": UNITS, "num_classes": 5, "dtype": "float64"}


def table_with(path: Path, **edits: str) -> Path:
    """The shipped table with few units, and other edits: values by the text that they replace."""
    text = (tables_folder() / "resnet_scale.toml").read_text(encoding="utf-8")
    edits = {"{ b = 4, u = [3, 4, 23, 3], layers = 101 }": "{ b = 4, u = [2, 4, 1, 2], layers = 101 }", **edits}
    for old, new in edits.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return table_with(tmp_path_factory.mktemp("table") / "small.toml")


@pytest.fixture(scope="module")
def files(tmp_path_factory, table):
    """One set of float64 weights: as it is, as slim has it, and folded; a key for each dialect."""
    folder = tmp_path_factory.mktemp("resnet_scale")
    paths = {name: folder / f"{name}.safetensors" for name in ("keras", "slim", "resnet_v1_slim", "resnet_v1_keras")}
    initialize(VARIANT, paths["keras"], dialect="keras", seed=3, num_classes=5, dtype="float64", table=table)
    for dialect, path in list(paths.items())[1:]:
        resport.convert(paths["keras"], path, to=dialect, table=table, fold=dialect != "slim")
    return paths


@pytest.mark.parametrize("size", [64, 65])
def test_both_frameworks_agree_at_every_end_point(size, files):
    images = signed_images((size, size))
    keras_outputs = outputs_of(files["keras"], VARIANT, "keras", images, **FEW)
    slim_outputs = outputs_of(files["slim"], VARIANT, "slim", images, **FEW)
    assert list(keras_outputs) == list(slim_outputs)
    assert len(keras_outputs) == 4 * sum(UNITS) + 4 + 4 + 4
    assert largest_difference(keras_outputs, slim_outputs) <= 1e-12


@pytest.mark.parametrize("size", [64, 65])
def test_the_fold_is_exact_with_the_pool_as_declared(size, files):
    images = signed_images((size, size))
    reference = outputs_of(files["keras"], VARIANT, "keras", images, pool1="same", **FEW)
    for dialect in ("resnet_v1_slim", "resnet_v1_keras"):
        outputs = outputs_of(files[dialect], VARIANT, dialect, images, **FEW)
        assert list(outputs) == list(reference)
        assert largest_difference(reference, outputs) <= 1e-12


def test_the_published_pool_is_another_function(files):
    """Measured elsewhere, with other random weights and depth: 4.4e-3 of the logits' range at 224 x 224."""
    images = signed_images((224, 224))
    published = outputs_of(files["keras"], VARIANT, "keras", images, **FEW)
    assert published["block1/unit_1/bottleneck_v1/conv1"].shape == (2, 55, 55, 64)
    folded = outputs_of(files["resnet_v1_keras"], VARIANT, "resnet_v1_keras", images, **FEW)
    assert folded["block1/unit_1/bottleneck_v1/conv1"].shape == (2, 56, 56, 64)
    assert largest_difference(published, folded, ["conv1"]) <= 1e-12
    assert 1e-3 < largest_difference(published, folded, ["logits"]) < 0.1


def test_an_epsilon_that_is_left_in_shows(files, tmp_path):
    """Measured elsewhere: 1.5e-5 with the difference of 1e-6 left in, float32's noise without."""
    epsilon = {
        f"{dialect.ljust(15)} = 1.001e-5": f"{dialect} = 1.1e-5" for dialect in ("resnet_v1_slim", "resnet_v1_keras")
    }
    table = table_with(tmp_path / "left.toml", **epsilon)
    resport.convert(files["keras"], tmp_path / "left.safetensors", to="resnet_v1_keras", table=table, fold=True)
    images = signed_images((64, 64))
    reference = outputs_of(files["keras"], VARIANT, "keras", images, pool1="same", **FEW)
    outputs = outputs_of(tmp_path / "left.safetensors", VARIANT, "resnet_v1_keras", images, **FEW)
    assert 1e-7 < largest_difference(reference, outputs, ["logits"]) < 1e-4


def test_colours_turned_round(files, table, tmp_path):
    swapped = tmp_path / "rgb.safetensors"
    resport.convert(files["keras"], swapped, to="resnet_v1_keras", table=table, fold=True, swap_rgb=True)
    images = signed_images((64, 64))
    bgr = outputs_of(files["keras"], VARIANT, "keras", images, pool1="same", **FEW)
    rgb = outputs_of(swapped, VARIANT, "resnet_v1_keras", images[..., ::-1], **FEW)
    assert largest_difference(bgr, rgb) <= 1e-12
    unturned = outputs_of(swapped, VARIANT, "resnet_v1_keras", images, **FEW)
    assert largest_difference(bgr, unturned, ["logits"]) > 1e-2


@pytest.mark.parametrize(
    ("layers", "n_layers", "n_with_weights", "n_arrays", "n_parameters"),
    [(101, 484, 313, 730, 44_759_848), (152, 722, 466, 1087, 60_495_656)],
)
def test_the_published_networks(layers, n_layers, n_with_weights, n_arrays, n_parameters):
    model = build(f"resnet_scale_{layers}", "keras")
    with_weights = [layer for layer in model.layers if layer.weights]
    assert (len(model.layers), len(with_weights)) == (n_layers, n_with_weights)
    assert (len(model.weights), model.count_params()) == (n_arrays, n_parameters)
    sizes = {"pool1": 55, "res2c": 55, "res3b1": 28, "res4b1": 14, "res5c": 7}
    assert {name: model.get_layer(name).output.shape[1] for name in sizes} == sizes
    strided = [layer.name for layer in model.layers if type(layer).__name__ == "Conv2D" and layer.strides == (2, 2)]
    stages = [f"res{stage}a_branch{branch}" for stage in (3, 4, 5) for branch in ("1", "2a")]
    assert sorted(strided) == sorted(["conv1", *stages])
    assert {layer.epsilon for layer in model.layers if type(layer).__name__ == "BatchNormalization"} == {1.1e-5}
    assert not any(getattr(layer, "use_bias", False) for layer in model.layers[:-1])
    # The order that the table gives is that of the model's layers: files are loaded by position too.
    own = [f"{layer.name}/{weight.name}" for layer in model.layers for weight in layer.weights]
    assert expand(load_table("resnet_scale"), f"resnet_scale_{layers}").names("keras") == own


def test_small_stages_have_letters():
    assert [unit_letters(unit, 3) for unit in range(3)] == ["a", "b", "c"]
    assert [unit_letters(unit, 4) for unit in range(4)] == ["a", "b1", "b2", "b3"]


def test_options_of_the_builder():
    keras = quiet_import_module("keras")
    options = {"units": (1, 1), "base_depth": 4, "input_size": 32}
    model = build(VARIANT, "keras", num_classes=10, weight_decay=0.25, final_activation="sigmoid", **options)
    last = model.get_layer("fc10")
    assert last.activation is keras.activations.sigmoid
    kernels = [layer for layer in model.layers if hasattr(layer, "kernel_regularizer")]
    assert {float(layer.kernel_regularizer.l2) for layer in kernels} == {0.25}
    assert len(model.losses) == len(kernels) == 1 + 2 * 4 + 1
    plain = build(VARIANT, "keras", num_classes=3, **options)
    assert plain.get_layer("fc3").activation is keras.activations.softmax
    assert plain.losses == []
    headless = build(VARIANT, "keras", num_classes=None, **options)
    assert tuple(headless.output.shape) == (None, 32)
    for dialect in ("keras", "slim"):
        with pytest.raises(OptionError, match="`pool1` has no value"):
            build(VARIANT, dialect, pool1="padded")


def test_an_activation_hides_no_logits():
    options = {"units": (1, 1), "base_depth": 4, "input_size": 32, "num_classes": 3}
    images = signed_images((32, 32)).astype("float32")
    outputs = {}
    for activation in (None, "softmax"):
        with open_network(VARIANT, "keras", final_activation=activation, **options) as network:
            network.initialize(1)
            outputs[activation] = network.forward(images)
    for name in ("logits", "predictions"):
        np.testing.assert_allclose(outputs["softmax"][name], outputs[None][name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dialect", ["keras", "slim"])
def test_channels_first_and_another_pool_take_the_same_weights(dialect):
    options = {"units": (1, 1), "base_depth": 4, "input_size": 32, "num_classes": 3}
    with (
        open_network(VARIANT, dialect, **options) as valid,
        open_network(VARIANT, dialect, pool1="same", **options) as same,
    ):
        names = valid.names
        assert same.names == names
    if dialect == "keras":
        model = build(VARIANT, "keras", data_format="channels_first", **options)
        assert tuple(model.input.shape) == (None, 3, 32, 32)
        assert model.get_layer("scale_conv1").axis == 1
        own = {f"{layer.name}/{weight.name}": tuple(weight.shape) for layer in model.layers for weight in layer.weights}
        assert tuple(own) == names


def test_loading_by_name_leaves_the_last_layer():
    options = {"units": (1, 1), "base_depth": 4, "input_size": 32}
    with open_network(VARIANT, "keras", num_classes=3, **options) as published:
        published.initialize(1)
        values = {name: variable.numpy() for name, variable in published.variables.items()}
    model = build(VARIANT, "keras", num_classes=10, **options)
    before = {name: model.get_layer("fc10").get_weights()[n].copy() for n, name in enumerate(("kernel", "bias"))}
    report = load_by_name(model, values)
    assert report.left == ("fc10/kernel", "fc10/bias")
    assert report.unused == ("fc3/kernel", "fc3/bias")
    assert len(report.loaded) == len(values) - 2
    for layer in model.layers[:-1]:
        for weight in layer.weights:
            assert np.array_equal(weight.numpy(), values[f"{layer.name}/{weight.name}"])
    for n, name in enumerate(("kernel", "bias")):
        assert np.array_equal(model.get_layer("fc10").get_weights()[n], before[name])


def test_loading_by_name_is_all_or_nothing():
    options = {"units": (1, 1), "base_depth": 4, "input_size": 32, "num_classes": 3}
    model = build(VARIANT, "keras", **options)
    before = model.get_weights()
    with pytest.raises(OptionError, match="no variable of `resnet_scale_101` has a value by its name"):
        load_by_name(model, {"other/kernel": np.ones(3)})
    wrong = {"conv1/kernel": np.ones((7, 7, 3, 64)), "bn_conv1/gamma": np.ones(3)}
    with pytest.raises(OptionError, match="`bn_conv1/gamma` does not fit the network"):
        load_by_name(model, wrong)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_verify_sees_the_pool_and_nothing_else(tmp_path):
    initialize(VARIANT, tmp_path / "scale.h5", dialect="keras", num_classes=5)
    options = {"fold": True, "swap_rgb": True}
    report = resport.convert(tmp_path / "scale.h5", tmp_path / "folded.h5", to="resnet_v1_keras", **options)
    assert (report.moved, report.n_targets) == (730, 626)
    found = resport.verify(tmp_path / "scale.h5", tmp_path / "folded.h5", input_size=32)
    assert (found.verdict, found.weights.equal, found.weights.compared) == ("different", 626, 626)
    first = found.forward.first_divergence
    assert first.name == "block1/unit_1/bottleneck_v1/shortcut"
    conv1 = [point.max_rel_diff for point in found.forward.float64 if point.name == "conv1"]
    assert max(conv1) < found.forward.limit
    # The table declares what was found, so there is nothing to contradict.
    assert found.notes == ("the target says that it was made with fold, swap_rgb",)
