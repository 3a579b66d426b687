"""SE-ResNet, ResNeXt and SE-ResNeXt: slim, Keras and tensorpack graphs with converted weights compute one function."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import resport
from resport.architectures import build, end_points, open_network
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_network import KerasNetwork
from resport.errors import OptionError
from resport.mapping import expand, load_table
from tests.architectures.conversions import (
    converted_files,
    edited_table,
    largest_difference,
    outputs_at,
    outputs_of,
    signed_images,
)
from tests.mapping.plain_manifests import plain_manifest

pytestmark = pytest.mark.tf

FAMILIES = {"se_resnet": "se_resnet_50", "resnext": "resnext50_32x4d", "se_resnext": "se_resnext50_32x4d"}
BUILT = ("slim", "keras", "tensorpack")

# The families at an eighth of their width: enough for every kind of unit, quick enough for every check.
UNITS = (2, 1, 3, 1)
DEPTHS = (32, 64, 96, 128)
WIDTHS = (16, 24, 32, 40)
GROUPS = {"se_resnet": 1, "resnext": 8, "se_resnext": 8}
SQUEEZED = 8
EVEN_AND_ODD = ((64, 64), (65, 65))


def _edits(family):
    edits = {
        FAMILIES[family]: "{ b = 4, u = [2, 1, 3, 1] }",
        "width": str(list(WIDTHS)),
        "depth": str(list(DEPTHS)),
        "input": "[[64, 32], [32, 64], [64, 96], [96, 128]]",
    }
    if family != "se_resnet":
        edits["group"] = str([width // GROUPS[family] for width in WIDTHS])
    if family != "resnext":
        edits["squeezed"] = str([depth // SQUEEZED for depth in DEPTHS])
    return edits


@pytest.fixture(scope="module")
def make_narrow(tmp_path_factory):
    """Makes family, files by dialect, builder options and table of a narrow network; once for each family."""
    return cache(lambda family: _narrow(family, tmp_path_factory))


@pytest.fixture(params=FAMILIES)
def narrow(request, make_narrow):
    return make_narrow(request.param)


def _narrow(family, tmp_path_factory):
    folder = tmp_path_factory.mktemp(family)
    table = edited_table(folder, family, _edits(family))
    table.write_text(table.read_text().replace("head 2048 classes", "head 128 classes"))
    files = converted_files(folder, FAMILIES[family], ["tensorpack", "torch", "slim", "keras"], table=table)
    options = {
        "units": UNITS, "depths": DEPTHS, "widths": WIDTHS, "groups": GROUPS[family], "num_classes": 5,
        "reduction": None if family == "resnext" else SQUEEZED,
    }  # fmt: skip
    return family, files, options, table


def test_three_frameworks_agree_everywhere(narrow):
    family, files, options, _ = narrow
    sizes = [(64, 64), (65, 66)]
    outputs = {
        dialect: outputs_at(sizes, files[dialect], FAMILIES[family], dialect, dtype="float64", **options)
        for dialect in BUILT
    }
    for reference, *others in zip(*(outputs[dialect] for dialect in ("tensorpack", "slim", "keras")), strict=True):
        # conv1, global_pool, logits, predictions; 4 blocks, a projection each; conv1..3, sum and perhaps a gate a unit.
        assert len(reference) == 4 + 8 + sum(UNITS) * (4 if family == "resnext" else 5)
        for other in others:
            assert list(other) == list(reference)
            assert largest_difference(reference, other) < 1e-12
        point = "block2/unit_1/bottleneck"
        assert reference[f"{point}/conv1"].min() == 0
        assert reference[f"{point}/conv3"].min() < 0
        assert reference[point].min() == 0
        if family != "resnext":
            assert 0 < reference[f"{point}/se"].min() < reference[f"{point}/se"].max() < 1


def test_float32_agrees_as_far_as_float32_goes(narrow):
    family, files, options, _ = narrow
    images = signed_images((64, 64)).astype(np.float32)
    outputs = {dialect: outputs_of(files[dialect], FAMILIES[family], dialect, images, **options) for dialect in BUILT}
    for dialect in ("slim", "keras"):
        assert largest_difference(outputs["tensorpack"], outputs[dialect], ["logits"]) < 1e-5


@pytest.fixture(scope="module")
def unchanged(make_narrow):
    """What se_resnext computes as it is."""
    family, files, options, _ = make_narrow("se_resnext")
    return outputs_at(EVEN_AND_ODD, files["slim"], FAMILIES[family], "slim", dtype="float64", **options)


@pytest.mark.parametrize(
    ("change", "is_equal_if_odd"),
    [
        # Odd maps all the way down: SAME pads them alike on both sides.
        ({"padding": "symmetric", "pool1": "padded"}, True),
        ({"padding": "symmetric"}, True),
        ({"pool1": "padded"}, True),
        ({"stride_on": "conv1"}, False),
    ],
)
def test_what_torch_and_caffe_do_otherwise(make_narrow, unchanged, change, is_equal_if_odd):
    """The reason of the relations with torch, measured: the same weights under another padding or stride."""
    family, files, options, _ = make_narrow("se_resnext")
    first, *others = (
        outputs_at(EVEN_AND_ODD, files[dialect], FAMILIES[family], dialect, dtype="float64", **options, **change)
        for dialect in BUILT
    )
    for index, is_equal in enumerate((False, is_equal_if_odd)):
        for other in others:
            assert largest_difference(first[index], other[index]) < 1e-12
        difference = largest_difference(unchanged[index], first[index], ["logits"])
        assert difference < 1e-12 if is_equal else difference > 1e-3


@pytest.mark.parametrize("family", ["se_resnet", "resnext"])
def test_channels_first(make_narrow, family):
    """The weights are the same, and the end points keep their channels last."""
    _, files, options, _ = make_narrow(family)
    images = signed_images((64, 65))
    first, last = (
        outputs_of(
            files["keras"], FAMILIES[family], "keras", images, dtype="float64", data_format=data_format, **options
        )
        for data_format in ("channels_first", "channels_last")
    )
    assert list(first) == list(last)
    assert largest_difference(last, first) < 1e-12
    model = build(FAMILIES[family], "keras", data_format="channels_first", input_size=(64, 65), **options)
    assert model.input_shape == (None, 3, 64, 65)


def test_every_pair_of_dialects_and_back_is_bit_for_bit(narrow, tmp_path):
    family, files, _, table = narrow
    for source in files:
        for target in set(files) - {source}:
            there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
            for one, other, to in ((files[source], there, target), (there, back, source)):
                resport.convert(one, other, to=to, variant=FAMILIES[family], table=table, force=True)
            with resport.open_reader(files[source]) as ours, resport.open_reader(back) as theirs:
                assert dict(ours.manifest) == dict(theirs.manifest)
                assert all((ours.read(name) == theirs.read(name)).all() for name in ours.manifest)
            with resport.open_reader(files[target]) as ours, resport.open_reader(there) as theirs:
                assert all((ours.read(name) == theirs.read(name)).all() for name in ours.manifest)


def test_the_saved_keras_model_has_stock_layers_only(make_narrow, tmp_path):
    family, files, options, _ = make_narrow("se_resnext")
    keras = quiet_import_module("keras")
    images = signed_images((64, 64)).astype(np.float32)
    model = build(FAMILIES[family], "keras", input_size=64, **options)
    with resport.open_reader(files["keras"]) as reader:
        KerasNetwork(model, end_points(model)).load(reader.read)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}
    assert (loaded.predict(images, verbose=0) == model.predict(images, verbose=0)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_the_model_are_in_the_order_of_the_table(family):
    model = build(FAMILIES[family], "keras", input_size=64)
    expansion = expand(load_table(family), FAMILIES[family])
    assert [weight.path for weight in model.weights] == expansion.names("keras")


@pytest.mark.parametrize(
    ("variant", "file"), [("se_resnet_50", "tp_se_50"), ("resnext101_32x4d", "tp_resnext32x4d_101")]
)
def test_tensorpack_graph_has_tensorpacks_variables_in_their_order(variant, file):
    with open_network(variant, "tensorpack", input_size=64) as network:
        manifest = plain_manifest(file)
        shapes = {name: tuple(variable.shape.as_list()) for name, variable in network.variables.items()}
        assert list(shapes.items()) == [(name, spec.shape) for name, spec in manifest.items()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "valid"}, "`padding` has no value `valid`"),
        ({"pool1": "valid"}, "`pool1` has no value"),
        ({"stride_on": "conv3"}, "`stride_on` has no value"),
        ({"groups": 7}, "divided among the groups"),
        ({"depths": (8, 16)}, "each block has units"),
        ({"dtype": "float16"}, "float32 or float64"),
    ],
)
@pytest.mark.parametrize("dialect", ["slim", "keras", "tensorpack"])
def test_what_cannot_be_meant_is_refused(dialect, options, message):
    with pytest.raises(OptionError, match=message):
        build("resnext50_32x4d", dialect, **options)


def test_grouped_graphs_run_without_onednn():
    """TensorFlow's own fused kernel refuses groups; which kernels there are is settled when TensorFlow is imported."""
    code = (
        "import numpy as np\n"
        "from resport.architectures import open_network\n"
        "options = {'units': (1,), 'depths': (32,), 'widths': (16,), 'groups': 8, 'num_classes': 5, 'input_size': 32}\n"
        "for dialect in ('slim', 'tensorpack'):\n"
        "    with open_network('resnext50_32x4d', dialect, **options) as network:\n"
        "        network.initialize(0)\n"
        "        assert np.isfinite(network.forward(np.ones((2, 32, 32, 3)))['logits']).all()\n"
    )
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)


def test_layout_that_is_none_is_refused():
    with pytest.raises(OptionError, match="`data_format` has no value `NCHW`"):
        build("se_resnet_50", "keras", data_format="NCHW")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stated_difference_from_torch_is_the_measured_one(family):
    """At the size that networks are compared at, with torch's padding in the same framework."""
    images = signed_images((224, 224))[:1].astype(np.float32)
    logits = []
    for options in ({}, {"padding": "symmetric", "pool1": "padded"}):
        model = build(FAMILIES[family], "keras", classifier_activation=None, **options)
        KerasNetwork(model, end_points(model)).initialize(0)
        logits.append(model.predict(images, verbose=0))
    difference = np.abs(logits[0] - logits[1]).max() / np.abs(logits[0]).max()
    for dialect in BUILT:
        stated = load_table(family).relation(dialect, "torch").difference
        assert stated / 4 < difference < stated * 4


@pytest.mark.parametrize("variant", ["se_resnet_50", "resnext50_32x4d"])
def test_a_whole_network_agrees(variant, tmp_path: Path):
    images = signed_images((64, 64))
    files = converted_files(tmp_path, variant, ["tensorpack", "keras"], num_classes=10)
    ours, theirs = (
        outputs_of(files[dialect], variant, dialect, images, num_classes=10, dtype="float64") for dialect in files
    )
    assert largest_difference(ours, theirs) < 1e-12
