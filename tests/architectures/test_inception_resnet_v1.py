"""facenet's network in both frameworks: its names and shapes, one function at every end point, and what decides it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import resport
from resport.architectures import build, keras_inception_resnet_v1, open_network
from resport.architectures.frameworks import quiet_import_module
from resport.conversion.initialization import initialize
from resport.errors import OptionError
from tests.architectures.conversions import (
    Outputs,
    converted_files,
    largest_difference,
    outputs_of,
    signed_images,
)

pytestmark = pytest.mark.tf

VARIANT = "inception_resnet_v1"
MANIFESTS = Path(__file__).parent.parent / "manifests"
END_POINTS = [
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "MaxPool_3a_3x3",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
    "Conv2d_4b_3x3",
    "Mixed_5a",
    "Mixed_6a",
    "Mixed_6b",
    "Mixed_7a",
    "Mixed_8a",
    "Mixed_8b",
    "PrePool",
    "PreLogitsFlatten",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One set of float64 weights in both dialects."""
    return converted_files(tmp_path_factory.mktemp("facenet"), VARIANT, ["slim", "keras"], num_classes=5)


@pytest.fixture(scope="module")
def slim_outputs(files: dict[str, Path]) -> dict[int, Outputs]:
    options = {"dtype": "float64", "num_classes": 5, "l2_normalize": True}
    return {n: outputs_of(files["slim"], VARIANT, "slim", signed_images((n, n)), **options) for n in (96, 107)}


@pytest.mark.parametrize("size", [96, 107])
def test_both_frameworks_agree_at_every_end_point(size, files, slim_outputs):
    options = {"dtype": "float64", "num_classes": 5, "l2_normalize": True}
    keras_outputs = outputs_of(files["keras"], VARIANT, "keras", signed_images((size, size)), **options)
    assert list(keras_outputs) == list(slim_outputs[size]) == [*END_POINTS, "Bottleneck", "embeddings", "logits"]
    assert keras_outputs["embeddings"].shape == (2, 512)
    np.testing.assert_allclose(np.linalg.norm(keras_outputs["embeddings"], axis=1), 1, rtol=1e-12)
    assert largest_difference(slim_outputs[size], keras_outputs) <= 1e-12


def test_the_last_block_has_another_scale_than_the_others(files, slim_outputs, monkeypatch):
    monkeypatch.setattr(keras_inception_resnet_v1, "LAST_SCALE", 0.20)
    outputs = outputs_of(files["keras"], VARIANT, "keras", signed_images((96, 96)), dtype="float64", num_classes=5)
    assert largest_difference(slim_outputs[96], outputs, ["Mixed_8a"]) <= 1e-12
    # Measured elsewhere with other random weights: 0.79.
    assert 0.3 < largest_difference(slim_outputs[96], outputs, ["Mixed_8b"]) < 1.2
    assert 0.3 < largest_difference(slim_outputs[96], outputs, ["Bottleneck"]) < 1.2


@pytest.mark.parametrize("scale", ["BLOCK35_SCALE", "BLOCK17_SCALE", "BLOCK8_SCALE"])
def test_scales_are_no_decoration(scale, files, slim_outputs, monkeypatch):
    monkeypatch.setattr(keras_inception_resnet_v1, scale, 0.15)
    outputs = outputs_of(files["keras"], VARIANT, "keras", signed_images((96, 96)), dtype="float64", num_classes=5)
    point = {"BLOCK35_SCALE": "Mixed_5a", "BLOCK17_SCALE": "Mixed_6b", "BLOCK8_SCALE": "Mixed_8a"}[scale]
    assert largest_difference(slim_outputs[96], outputs, [point]) > 1e-3


@pytest.mark.parametrize("embedding_size", [128, 512])
def test_slim_graph_is_facenets(embedding_size):
    lines = (MANIFESTS / f"facenet_160_{embedding_size}.txt").read_text().splitlines()
    with build(VARIANT, "slim", embedding_size=embedding_size) as network:
        variables = [
            f"{name}\t{variable.shape.as_list()}\t{variable.dtype.base_dtype.name}\tT"
            for name, variable in network.variables.items()
        ]
        assert variables == [line for line in lines if not line.startswith("#")]
        tf1 = quiet_import_module("tensorflow").compat.v1
        with network.graph.as_default():
            # Without the moving statistics among them facenet's Saver would not keep these.
            assert len(tf1.trainable_variables()) == 490
        points = {name: [None, *tensor.shape.as_list()[1:]] for name, tensor in network.end_points.items()}
        expected = dict(re.findall(r"^# EP (\S+) (\[.*?\])", "\n".join(lines), re.MULTILINE))
        stated = {name: ast.literal_eval(shape) for name, shape in expected.items()}
        assert {name: points[name] for name in stated} == stated
        assert list(points) == [*END_POINTS, "Bottleneck"]
        assert set(stated) == set(END_POINTS)


def test_classifier_stands_outside_of_the_scope():
    with build(VARIANT, "slim", num_classes=7, scope="a/b") as network:
        assert [name for name in network.names if not name.startswith("a/b/")] == ["Logits/weights", "Logits/biases"]
        assert network.outputs.shape.as_list() == [None, 7]
        assert list(network.canonical_end_points) == [*END_POINTS, "Bottleneck", "logits"]


def test_keras_model_is_the_ports_layer_by_layer():
    model = build(VARIANT, "keras", embedding_size=128)
    lines = [line.split("\t") for line in (MANIFESTS / "nyoki_keras_facenet.txt").read_text().splitlines()]
    assert len(model.layers) == len(lines) == 447
    own = {"Rescaling": "Lambda"}
    made = [(own.get(type(layer).__name__, type(layer).__name__), tuple(layer.output.shape)) for layer in model.layers]
    shapes = [ast.literal_eval(line[2]) for line in lines]
    assert made == [
        (line[1], shape[0] if isinstance(shape, list) else shape) for line, shape in zip(lines, shapes, strict=True)
    ]
    # Inputs, scalings and sums have names that Keras made up.
    named = [(layer.name, line[0]) for layer, line in zip(model.layers, lines, strict=True)]
    assert {name for name, port in named if name != port and not re.match("input_|lambda|add", port)} == set()
    weights = [f"{layer.name}/{weight.name}:0" for layer in model.layers for weight in layer.weights]
    assert weights == [name for line in lines for name, _ in ast.literal_eval(line[3])]
    norm = model.get_layer("Bottleneck_BatchNorm")
    assert (norm.epsilon, norm.momentum, norm.scale) == (0.001, 0.995, False)


def test_a_saved_model_opens_without_resport(tmp_path):
    keras = quiet_import_module("keras")
    model = build(VARIANT, "keras", embedding_size=8, input_size=80, l2_normalize=True)
    model.save(tmp_path / "model.keras")
    opened = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    images = signed_images((80, 80)).astype("float32")
    assert np.array_equal(opened.predict(images, verbose=0), model.predict(images, verbose=0))
    assert {type(layer).__module__.split(".")[0] for layer in opened.layers} == {"keras"}


def test_outputs_are_what_was_asked_for():
    shapes = {
        (False, None): [(None, 16)],
        (True, None): [(None, 16)],
        (False, 7): [(None, 7)],
        (True, 7): [(None, 16), (None, 7)],
    }
    for (l2_normalize, num_classes), expected in shapes.items():
        model = build(
            VARIANT, "keras", embedding_size=16, input_size=80, num_classes=num_classes, l2_normalize=l2_normalize
        )
        assert [tuple(output.shape) for output in model.outputs] == expected


@pytest.mark.parametrize("dialect", ["slim", "keras"])
def test_an_embedding_of_nothing(dialect):
    with pytest.raises(OptionError, match="an embedding has at least one value"):
        build(VARIANT, dialect, embedding_size=0)


def test_verify_proves_a_conversion(tmp_path):
    initialize(VARIANT, tmp_path / "facenet.ckpt", num_classes=5, embedding_size=128, seed=2)
    report = resport.convert(tmp_path / "facenet.ckpt", tmp_path / "facenet.h5", to="keras")
    assert (report.moved, report.variant, report.warnings) == (492, VARIANT, ())
    found = resport.verify(tmp_path / "facenet.ckpt", tmp_path / "facenet.h5", input_size=80)
    assert (found.verdict, found.notes) == ("equal", ())
    assert max(point.max_rel_diff for point in found.forward.float64) <= 1e-12
    assert {point.name for point in found.forward.float64} == {*END_POINTS, "Bottleneck", "logits"}


def test_the_stock_loader_takes_the_file(tmp_path):
    """The HDF5 file is loaded by name and by position, into a model that is built in another order of calls."""
    initialize(VARIANT, tmp_path / "facenet.ckpt", num_classes=5, embedding_size=16, seed=2)
    resport.convert(tmp_path / "facenet.ckpt", tmp_path / "facenet.h5", to="keras")
    options = {"embedding_size": 16, "num_classes": 5, "input_size": 80}
    with open_network(VARIANT, "slim", **options) as network, resport.open_reader(tmp_path / "facenet.ckpt") as reader:
        network.load(reader.read)
        expected = network.forward(signed_images((80, 80)))["logits"]
    model = build(VARIANT, "keras", **options)
    model.load_weights(tmp_path / "facenet.h5")
    actual = model.predict(signed_images((80, 80)).astype("float32"), verbose=0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
