"""A file that describes its own model is judged by that model, and its description is never trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import resport
from resport.architectures.keras_own_graph import describe_own_graph, open_own_graph, own_graph_size
from resport.conversion import initialize
from resport.errors import OptionError
from resport.formats import open_reader
from resport.mapping import PlanOptions, load_table
from resport.verification.pairing import own_graphs, paired, target_side
from tests.verification.small_pairs import RESNET_V2

VARIANT = RESNET_V2.variant
OPTIONS = dict(RESNET_V2.options)


def layer(class_name: str, **settings: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": "it", **settings}, "inbound_nodes": []}


def model(*layers: dict[str, Any], class_name: str = "Functional") -> str:
    first = layer("InputLayer", batch_shape=[4, 40, 40, 3])
    return json.dumps({"class_name": class_name, "config": {"name": "m", "layers": [first, *layers]}})


def settings_of(described: str) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(described)["config"]["layers"][1]["config"]
    return settings


def test_a_description_is_reduced_to_what_computes() -> None:
    dense = layer("Dense", units=7, activation="softmax", dtype="float16", kernel_initializer={"class_name": "evil"})
    described = describe_own_graph(model(dense), 64)
    assert settings_of(described) == {"name": "it", "units": 7, "activation": "linear", "dtype": "float64"}
    assert own_graph_size(described) is None
    assert own_graph_size(describe_own_graph(model(layer("Flatten")), 64)) == 40


def test_a_layer_is_as_wide_as_the_widest_tensor_at_most() -> None:
    assert settings_of(describe_own_graph(model(layer("Conv2D", filters=2048)), 2048))["filters"] == 2048


def test_what_keras_2_wrote_is_understood() -> None:
    first = layer("InputLayer", batch_input_shape=[None, 40, 40, 3])
    norm = layer("BatchNormalization", axis=[3], epsilon=1e-3)
    described = describe_own_graph(json.dumps({"class_name": "Model", "config": {"layers": [first, norm]}}), 64)
    assert settings_of(described)["axis"] == 3
    assert json.loads(described)["config"]["layers"][0]["config"]["batch_shape"] == [None, None, None, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no JSON", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"class_name": "Functional", "config": {}}', "cannot be read"),
        (model(class_name="Evil"), "no stock model"),
        (model(layer("Lambda", function="os.system")), "no stock layer"),
        (model(layer("Functional", layers=[])), "no stock layer"),
        (model(layer("TorchModuleWrapper", module="gASV")), "no stock layer"),
        (model(layer("Dense", units=65)), "`units`"),
        (model(layer("ZeroPadding2D", padding=[[10**6, 0], [0, 0]])), "`padding`"),
        (model(layer("Activation", activation={"class_name": "__lambda__", "config": {}})), "`activation`"),
        (model({**layer("ReLU"), "inbound_nodes": [{"args": [{"class_name": "__lambda__"}]}]}), "something else"),
    ],
)
def test_what_is_not_run(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        describe_own_graph(text, 64)


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("slim")
    table, source = RESNET_V2.table(folder), folder / "slim.safetensors"
    initialize(VARIANT, source, num_classes=7, seed=3, table=table)
    return source, table


@pytest.mark.tf
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_verdict_is_on_the_files_own_graph(tmp_path: Path, slim: tuple[Path, Path], suffix: str) -> None:
    source, table = slim
    weights = tmp_path / "weights.h5"
    resport.convert(source, weights, to="keras", variant=VARIANT, table=table)
    verdicts = {}
    for pool1 in ("same", "padded"):
        built = resport.build(VARIANT, "keras", **OPTIONS, num_classes=7, pool1=pool1, input_size=64)
        built.load_weights(weights)
        target = tmp_path / f"{pool1}{suffix}"
        built.save(target)
        report = resport.verify(
            source, target, table=table, variant=VARIANT, build_source=OPTIONS, input_size=32, diagnose=False
        )
        assert report.weights.is_equal and report.forward is not None
        assert any("describes its own model: that was run" in note for note in report.notes)
        verdicts[pool1] = report.verdict
        if pool1 == "same":
            assert max(point.max_rel_diff for point in report.forward.float64) <= 1e-12
        else:
            first = report.forward.first_divergence
            assert first is not None and first.name.startswith("block1/unit_1/")
            native = resport.verify(
                source,
                target,
                table=table,
                variant=VARIANT,
                build_source=OPTIONS,
                build=OPTIONS,
                native=True,
                input_size=32,
            )
            assert native.verdict == "equal"
    assert verdicts == {"same": "equal", "padded": "different"}


@pytest.mark.tf
def test_what_the_remedy_says_mends_the_files_own_graph(tmp_path: Path, slim: tuple[Path, Path]) -> None:
    source, table = slim
    weights, target = tmp_path / "weights.h5", tmp_path / "own.keras"
    resport.convert(source, weights, to="keras", variant=VARIANT, table=table)
    model = resport.build(VARIANT, "keras", **OPTIONS, num_classes=7, pool1="padded", input_size=64)
    model.load_weights(weights)
    model.save(target)
    options: dict[str, Any] = {"table": table, "variant": VARIANT, "build_source": OPTIONS, "input_size": 32}
    (finding,) = resport.verify(source, target, **options).diagnosis
    assert finding.kinds == ("pool-padded-zero",)
    # No option of resport's builders changes a graph that the file has.
    assert "--build" not in finding.remedy and "`resport convert MODEL NEW.keras --to keras`" in finding.remedy
    assert 'set `padding = "same"` in `pool1_pool`' in finding.remedy
    assert "`padding = ((0, 0), (0, 0))` in a `ZeroPadding2D`" in finding.remedy
    model.get_layer("pool1_pool").padding = "same"
    model.get_layer("pool1_pad").padding = ((0, 0), (0, 0))
    model.save(target)
    assert resport.verify(source, target, diagnose=False, **options).verdict == "equal"


@pytest.mark.tf
def test_a_graph_with_code_in_it_is_not_run(tmp_path: Path, slim: tuple[Path, Path]) -> None:
    import keras

    source, table = slim
    built = resport.build(VARIANT, "keras", **OPTIONS, num_classes=7, input_size=64)
    output = keras.layers.Lambda(lambda values: values * 2.0, name="doubled")(built.output)
    target = tmp_path / "code.keras"
    keras.Model(built.inputs, output).save(target)
    with open_reader(source) as reference, open_reader(target) as judged:
        pair = paired(reference, judged, PlanOptions(), (load_table(table),), VARIANT)
        assert target_side(pair).graph is None
        (note,) = own_graphs(pair)
    assert "the network that resport builds was run" in note and "`doubled`" in note and "Lambda" in note


@pytest.mark.tf
def test_a_graph_that_keras_cannot_build_is_one_clear_error() -> None:
    broken = {
        "args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["nowhere", 0, 0]}}],
        "kwargs": {},
    }
    described = describe_own_graph(model({**layer("ReLU"), "inbound_nodes": [broken]}), 64)
    with pytest.raises(OptionError, match="cannot be built"):
        open_own_graph(described, "resnet_v2_50", "keras")
