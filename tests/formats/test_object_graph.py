"""The names of variables in TF2's object-graph checkpoints, from graphs by hand and from those that Keras writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resport.errors import FormatError
from resport.formats import open_reader
from resport.formats.object_graph import (
    OBJECT_GRAPH_KEY,
    VARIABLE_SUFFIX,
    SavedVariable,
    parse_object_graph,
    shown_names,
)
from resport.formats.protobuf import bytes_field, varint_field
from resport.formats.tensor_bundle import TensorBundleReader
from resport.mapping.roles import role_of
from tests.contracts import assert_same_bits


def names(variables: dict[str, str], others: tuple[str, ...] = ()) -> dict[str, str]:
    """The shown names of variables given as way and full name, each with its way or key."""
    keys = [way + VARIABLE_SUFFIX for way in variables]
    saved = [SavedVariable(way + VARIABLE_SUFFIX, name) for way, name in variables.items()]
    shown = shown_names([*keys, *others], saved)
    assert sorted(shown.values()) == sorted([*keys, *others])
    return {key.removesuffix(VARIABLE_SUFFIX): name for name, key in shown.items()}


def test_full_names() -> None:
    assert names({"layer_with_weights-0/kernel": "conv1/kernel"}) == {"layer_with_weights-0/kernel": "conv1/kernel"}


def test_without_a_name_the_way() -> None:
    assert names({"a/b": "", "c": "x"}, ("plain", OBJECT_GRAPH_KEY)) == {
        "a/b": "a/b",
        "c": "x",
        "plain": "plain",
        OBJECT_GRAPH_KEY: OBJECT_GRAPH_KEY,
    }


def test_a_name_that_two_have_is_nobodys() -> None:
    shown = names({"m/0/total": "total", "m/1/total": "total", "m/1/count": "count"})
    assert shown == {"m/0/total": "m/0/total", "m/1/total": "m/1/total", "m/1/count": "count"}


def test_a_way_that_is_a_name_too() -> None:
    shown = names({"x": "y", "a": "x", "b": "x", "c": "c"})
    assert shown == {"x": "y", "a": "a", "b": "b", "c": "c"}
    shown = names({"a": "b", "b": "c", "c": "c"})
    assert len(set(shown.values())) == 3 and shown["c"].startswith("c")


def test_every_clash_leaves_unique_names() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        ways = [str(way) for way in rng.choice(["a", "b", "c", "a/.ATTRIBUTES", "_all_variables/0", "optimizer/a"], 4)]
        full = [str(name) for name in rng.choice(["a", "b", "c", "", "a" + VARIABLE_SUFFIX], 4)]
        names(dict(zip(ways, full, strict=True)), ("z", "y"))


def test_slots_and_optimizers() -> None:
    shown = names(
        {
            "net/layer/kernel": "conv1/kernel",
            "net/layer/kernel/.OPTIMIZER_SLOT/opt/m": "Adam/conv1/kernel/m",
            "opt/iter": "iter",
            "model/optimizer/_variables/1": "Adam/m/conv1/kernel",
            "model/optimizer/_trainable_variables/0": "conv2/kernel",
            "optimizer_like/kernel": "conv3/kernel",
        }
    )
    assert shown == {
        "net/layer/kernel": "conv1/kernel",
        "net/layer/kernel/.OPTIMIZER_SLOT/opt/m": "optimizer/conv1/kernel/m",
        "opt/iter": "optimizer/iter",
        "model/optimizer/_variables/1": "optimizer/_variables/1",
        "model/optimizer/_trainable_variables/0": "conv2/kernel",
        "optimizer_like/kernel": "conv3/kernel",
    }


def test_copies_leave_the_name_to_the_original() -> None:
    shown = names({"_all_variables/0": "conv1/kernel", "variables/0": "conv1/kernel", "_all_variables/1": "alone"})
    assert shown == {
        "_all_variables/0": "_all_variables/0",
        "variables/0": "conv1/kernel",
        "_all_variables/1": "alone",
    }


def test_parse() -> None:
    attribute = bytes_field(1, b"VARIABLE_VALUE") + bytes_field(2, "größe".encode()) + bytes_field(3, b"k/.ATTRIBUTES")
    child = bytes_field(1, varint_field(1, 1) + bytes_field(2, b"k"))
    graph = bytes_field(1, child) + bytes_field(1, bytes_field(2, attribute) + bytes_field(2, b""))
    assert parse_object_graph(graph) == [SavedVariable("k/.ATTRIBUTES", "größe"), SavedVariable("", "")]
    for cut in (graph[:-1], graph[:5], b"\x0a\x05", b"\x0a\x04\x12\x02\x12\xff"):
        with pytest.raises(FormatError):
            parse_object_graph(cut)


# TensorFlow and Keras


def build(keras: Any, **compiled: Any) -> Any:
    """A small model, trained a step where it is compiled, with no value left as it was made."""
    model = keras.Sequential(
        [
            keras.layers.Input((4, 4, 3)),
            keras.layers.Conv2D(4, 3, name="conv1_conv"),
            keras.layers.BatchNormalization(name="conv1_bn"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="predictions"),
        ]
    )
    if compiled:
        model.compile(loss="mse", **compiled)
        model.train_on_batch(np.ones((2, 4, 4, 3)), np.ones((2, 2)))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=weight.shape).astype("float32") for weight in model.get_weights()])
    return model


WORDS = ["conv1_conv/kernel", "conv1_conv/bias", "predictions/kernel", "predictions/bias"]
WORDS += [f"conv1_bn/{word}" for word in ("gamma", "beta", "moving_mean", "moving_variance")]


def check(path: str, model: Any, root: str = "") -> None:
    """All weights come under their names and with their values, nothing else is a weight, and nothing is lost."""
    import tensorflow as tf

    weights = {
        f"{variable.path.split('/', 1)[1] if root else variable.name.split(':')[0]}": np.asarray(variable)
        for variable in model.weights
    }
    assert sorted(weights) == sorted(WORDS)
    with open_reader(path) as reader:
        for name, value in weights.items():
            assert_same_bits(reader.read(root + name), value)
        roles = {name: role_of(spec) for name, spec in reader.manifest.items()}
        assert sorted(name for name, role in roles.items() if role in {"weight", "statistic"}) == sorted(
            root + name for name in WORDS
        )
        assert roles[OBJECT_GRAPH_KEY] == "text"
        bundle = getattr(reader, "_bundle", reader)
        assert isinstance(bundle, TensorBundleReader)
        listed = dict(tf.train.list_variables(bundle.path))
        assert sorted(bundle.keys.values()) == sorted(listed)
        theirs = tf.train.load_checkpoint(bundle.path)
        for name, key in bundle.keys.items():
            assert list(reader.manifest[name].shape) == listed[key]
            if key != OBJECT_GRAPH_KEY:
                assert_same_bits(reader.read(name), np.asarray(theirs.get_tensor(key)))


@pytest.mark.tf
def test_saved_by_tf_keras(tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    model = build(tf_keras, optimizer="adam", metrics=["mae", "mse"])
    model.save_weights(str(tmp_path / "weights"), save_format="tf")
    check(str(tmp_path / "weights"), model)
    check(tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "object")), model)
    model.save(str(tmp_path / "saved_model"), save_format="tf")
    check(str(tmp_path / "saved_model"), model)


@pytest.mark.tf
def test_slots_of_an_old_optimizer(tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    optimizer = tf_keras.optimizers.legacy.Adam()
    model = build(tf_keras, optimizer=optimizer)
    path = tf.train.Checkpoint(net=model, opt=optimizer).write(str(tmp_path / "m"))
    check(path, model)
    with open_reader(path) as reader:
        slots = {f"optimizer/{name}/{slot}" for name in WORDS if "moving" not in name for slot in "mv"}
        assert slots < set(reader.manifest)
        kernel = next(variable for variable in model.weights if "conv1_conv/kernel" in variable.name)
        assert_same_bits(reader.read("optimizer/conv1_conv/kernel/v"), optimizer.get_slot(kernel, "v").numpy())


@pytest.mark.tf
def test_saved_by_keras(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    model = build(keras, optimizer="adam")
    # The way to the model's weights that Keras 3 takes first is its optimizer's.
    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "m"))
    check(path, model, f"{model.name}/")
    model.export(str(tmp_path / "exported"), verbose=False)
    check(str(tmp_path / "exported"), model, f"{model.name}/")


@pytest.mark.tf
def test_without_the_shard_of_the_graph(tmp_path: Path) -> None:
    import tf_keras

    model = build(tf_keras)
    model.save_weights(str(tmp_path / "m"), save_format="tf")
    (tmp_path / "m.data-00000-of-00001").unlink()
    with open_reader(tmp_path / "m") as reader:
        assert len(reader.manifest) == len(WORDS) + 1
        with pytest.raises(FormatError, match="is missing"):
            reader.read("layer_with_weights-0/kernel" + VARIABLE_SUFFIX)


@pytest.mark.tf
def test_a_damaged_graph(tmp_path: Path) -> None:
    import tf_keras

    build(tf_keras).save_weights(str(tmp_path / "m"), save_format="tf")
    data = tmp_path / "m.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[content.index(b"conv1_conv/kernel")] ^= 1
    data.write_bytes(content)
    with pytest.raises(FormatError, match="checksum"):
        open_reader(tmp_path / "m")
