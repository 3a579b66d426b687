"""KerasLegacyReader and KerasLegacyWriter, against h5py, Keras 3 and Keras 2."""

from __future__ import annotations

import string
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resport.errors import FormatError
from resport.formats.keras_legacy import KerasLegacyReader, KerasLegacyWriter
from resport.tensors import Manifest, TensorSpec
from tests.contracts import FormatContract, assert_same_bits, random_array
from tests.formats.keras_models import fill_randomly, small_model, values_by_name


class TestKerasLegacy(FormatContract):
    reader, writer, filename = KerasLegacyReader, KerasLegacyWriter, "model.h5"

    def oracle_read(self, path: str) -> dict[str, np.ndarray]:
        # By h5py, and by the rule that the name of every weight is complete.
        with h5py.File(path) as file:
            layers = [layer.decode() for layer in file.attrs["layer_names"]]
            weights = [(layer, name.decode()) for layer in layers for name in file[layer].attrs["weight_names"]]
            return {name.removesuffix(":0"): file[f"{layer}/{name}"][()] for layer, name in weights}


def legacy_file(path: Path, layers: dict[str, list[str]], group: str = "/", **attributes: object) -> Path:
    """A file as Keras lays it out, whose weights hold their own number."""
    with h5py.File(path, "w") as file:
        root = file.require_group(group)
        root.attrs["layer_names"] = [name.encode() for name in layers if name != "top_level_model_weights"]
        for key, value in attributes.items():
            root.attrs[key] = value
        number = 0
        for layer, weights in layers.items():
            node = root.require_group(layer)
            node.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight in weights:
                node[weight] = np.float32(number)
                number += 1
    return path


def names_of(path: Path) -> list[str]:
    """Names in order, after checking that each gives the weight of its number."""
    with KerasLegacyReader(path) as reader:
        assert [int(reader.read(name)) for name in reader.manifest] == list(range(len(reader.manifest)))
        return list(reader.manifest)


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ({"conv1": ["conv1/kernel:0", "conv1/bias:0"]}, ["conv1/kernel", "conv1/bias"]),
        ({"conv1": ["conv1/kernel", "conv1/bias"]}, ["conv1/kernel", "conv1/bias"]),
        ({"conv1": ["kernel", "bias:0"]}, ["conv1/kernel", "conv1/bias"]),
        ({"conv1": ["conv1_W", "conv1_b:0"]}, ["conv1/kernel", "conv1/bias"]),
        ({"z": ["z/w"], "input": [], "a": ["a/w"]}, ["z/w", "a/w"]),
        ({"model_1": ["conv1/kernel:0"]}, ["model_1/conv1/kernel"]),
        ({"model_1": ["model_1/conv1/kernel"]}, ["model_1/conv1/kernel"]),
        # A model that was built by its first call puts its name in front, several GPUs that of the replica.
        ({"fc": ["sequential/fc/kernel:0", "sequential/fc/bias:0"]}, ["fc/kernel", "fc/bias"]),
        ({"inner": ["outer/inner/c/w:0"], "c": ["outer/c/w:0"]}, ["inner/c/w", "c/w"]),
        ({"net": ["replica_0/net/c/w:0", "replica_1/net/c/w:0"]}, ["net/replica_0/net/c/w", "net/replica_1/net/c/w"]),
        ({"top": ["net/toptop/w:0"]}, ["top/net/toptop/w"]),
        ({"conv": ["conv_1/kernel:0"], "conv_1": ["conv_1/bias:0"]}, ["conv/conv_1/kernel", "conv_1/bias"]),
        ({"scale": ["scale:0"]}, ["scale"]),
        ({"a": ["a/w"], "top_level_model_weights": ["net/temperature"]}, ["a/w", "net/temperature"]),
        # Two weights that would have one name keep the paths that tell them apart.
        ({"a": ["a/w:0", "w:0"]}, ["a/a/w", "a/w"]),
        ({"b": ["b/c/w:0"], "b/c": ["b/c/w:0"]}, ["b/b/c/w", "b/c/b/c/w"]),
        ({"a": ["w", "w:0"]}, ["a/w", "a/w:0"]),
    ],
)
def test_names(tmp_path: Path, layers: dict[str, list[str]], names: list[str]) -> None:
    assert names_of(legacy_file(tmp_path / "m.h5", layers)) == names


def test_whole_model(tmp_path: Path) -> None:
    path = legacy_file(tmp_path / "m.h5", {"a": ["a/w:0"]}, "model_weights", keras_version=b"2.1.6", backend=b"theano")
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = '{"class_name": "Model"}'
        file["optimizer_weights/adam/m"] = np.arange(3)
    assert names_of(path) == ["a/w"]
    with KerasLegacyReader(path) as reader:
        assert reader.producer == "keras 2.1.6 (theano)"
        assert reader.metadata == {"model_config": '{"class_name": "Model"}'}


@pytest.mark.parametrize(
    ("attributes", "producer"),
    [
        ({}, None),
        ({"keras_version": "3.15.1", "backend": "tensorflow"}, "keras 3.15.1"),
        ({"keras_version": b"2.2.4", "backend": b"tensorflow"}, "keras 2.2.4"),
        ({"keras_version": b"2.2.4"}, "keras 2.2.4"),
    ],
)
def test_producer(tmp_path: Path, attributes: dict[str, object], producer: str | None) -> None:
    with KerasLegacyReader(legacy_file(tmp_path / "m.h5", {"a": ["a/w"]}, **attributes)) as reader:
        assert reader.producer == producer
        assert reader.metadata == {}


def test_split_lists_of_names(tmp_path: Path) -> None:
    layers = {f"layer_with_a_long_name_{number}": ["kernel:0"] for number in range(10)}
    path = legacy_file(tmp_path / "m.h5", layers)
    with h5py.File(path, "a") as file:
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        for part, chunk in enumerate(np.array_split(np.array(names, dtype=bytes), 3)):
            file.attrs[f"layer_names{part}"] = chunk
    assert names_of(path) == [f"{layer}/kernel" for layer in layers]


def test_hdf5_of_another_layout(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["data/values"] = np.arange(3)
    with pytest.raises(FormatError, match="not of Keras' layout") as caught:
        KerasLegacyReader(tmp_path / "m.h5")
    assert "`data`" in str(caught.value)


# Writing


def write(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    specs = [TensorSpec(name, array.shape, str(array.dtype)) for name, array in tensors.items()]
    with KerasLegacyWriter(path, specs, metadata=metadata) as writer:
        for name, array in tensors.items():
            writer.write(name, array)


def test_layout_is_that_of_keras(tmp_path: Path) -> None:
    tensors = {
        name: random_array("float32", (3,), seed)
        for seed, name in enumerate(["z/bn/beta", "a/kernel", "z/bn/moving_mean", "z/bn/moving_variance", "z/bn/gamma"])
    }
    write(tmp_path / "m.h5", tensors)
    with h5py.File(tmp_path / "m.h5") as file:
        assert file.attrs["layer_names"].tolist() == [b"z/bn", b"a"]
        assert file.attrs["backend"] == "tensorflow"
        assert file.attrs["keras_version"] == "2.15.0"
        # A TF checkpoint lists beta first; Keras, which loads by position, takes the first for gamma.
        order = [b"z/bn/gamma:0", b"z/bn/beta:0", b"z/bn/moving_mean:0", b"z/bn/moving_variance:0"]
        assert file["z/bn"].attrs["weight_names"].tolist() == order
        assert file["top_level_model_weights"].attrs["weight_names"].tolist() == []
        assert_same_bits(file["z/bn/z/bn/gamma:0"][()], tensors["z/bn/gamma"])
        assert_same_bits(file["a/a/kernel:0"][()], tensors["a/kernel"])


def test_own_attributes_as_metadata(tmp_path: Path) -> None:
    metadata = {
        "layer_names": "a",
        "layer_names0": "b",
        "backend": "c",
        "keras_version": "d",
        "model_config": "e",
        "metadata:x": "f",
        "x": "g",
    }
    write(tmp_path / "m.h5", {"a/w": np.ones(2)}, metadata)
    with KerasLegacyReader(tmp_path / "m.h5") as reader:
        assert reader.metadata == metadata
        assert list(reader.manifest) == ["a/w"]
    with h5py.File(tmp_path / "m.h5") as file:
        assert file.attrs["x"] == "g"
        assert file.attrs["backend"] == "tensorflow"
        assert "model_config" not in file.attrs


@pytest.mark.parametrize("metadata", [{"": "x"}, {"a\0b": "x"}, {"a": "x\0"}, {"a": "\ud800"}])
def test_metadata_that_hdf5_cannot_hold(tmp_path: Path, metadata: dict[str, str]) -> None:
    with pytest.raises(FormatError, match="metadata"):
        KerasLegacyWriter(tmp_path / "m.h5", [], metadata=metadata)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "names",
    [["a//b"], ["/a"], ["a/"], [""], ["a/./b"], ["../a"], ["a\0b"], ["a\ud800"], ["x" * 70_000], ["x", "x/x:0/y"]],
)
def test_names_that_hdf5_cannot_hold_are_problems(tmp_path: Path, names: list[str]) -> None:
    manifest = Manifest(TensorSpec(name, (), "float32") for name in names)
    assert len(KerasLegacyWriter.problems(manifest)) == 1
    with pytest.raises(FormatError, match="cannot hold"):
        KerasLegacyWriter(tmp_path / "m.h5", manifest.values())
    assert list(tmp_path.iterdir()) == []


PARTS = st.sampled_from(
    ["a", "b", "x:0", "a:0", ":0", "a_1", "...", "top_level_model_weights", "kernel", "beta", "gamma"]
)
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join) | st.text(
    string.printable + "é漢", min_size=1, max_size=12
)


@settings(max_examples=150, deadline=None)
@given(st.lists(NAMES, unique=True, max_size=12))
def test_any_names_come_back_or_are_problems(names: list[str]) -> None:
    manifest = Manifest(TensorSpec(name, (), "int32") for name in names)
    if KerasLegacyWriter.problems(manifest):
        assert any(not {"", ".", ".."}.isdisjoint(name.split("/")) or ":0/" in name for name in names), (
            "only these names are beyond HDF5"
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.h5")
        write(path, {name: np.array(number, np.int32) for number, name in enumerate(names)})
        with KerasLegacyReader(path) as reader:
            assert {name: int(reader.read(name)) for name in reader.manifest} == {
                name: number for number, name in enumerate(names)
            }


# Against Keras itself


@pytest.mark.tf
def test_reads_a_whole_model_of_keras_3(tmp_path: Path) -> None:
    model = fill_randomly(small_model())
    model.save(tmp_path / "m.h5")
    expected = values_by_name(model)
    with KerasLegacyReader(tmp_path / "m.h5") as reader:
        assert reader.producer == f"keras {__import__('keras').__version__}"
        assert list(reader.manifest) == list(expected)
        for name, value in expected.items():
            assert_same_bits(reader.read(name), value)


@pytest.mark.tf
@pytest.mark.parametrize("by_name", [False, True])
def test_keras_3_loads_what_we_write(tmp_path: Path, by_name: bool) -> None:
    source, target = fill_randomly(small_model(), 1), fill_randomly(small_model(), 2)
    tensors = values_by_name(source)
    # The variables of each layer in the order of a TF checkpoint.
    layers = list(dict.fromkeys(name.rpartition("/")[0] for name in tensors))
    shuffled = sorted(tensors, key=lambda name: (layers.index(name.rpartition("/")[0]), name))
    assert shuffled != list(tensors)
    write(tmp_path / "m.h5", {name: tensors[name] for name in shuffled})
    # A nested model's weights are one layer of it, by position and in an order that only the model knows.
    target.load_weights(tmp_path / "m.h5", **({"by_name": True} if by_name else {}))
    for name, value in values_by_name(target).items():
        assert_same_bits(value, tensors[name])


def keras_2_model(tf_keras: Any) -> Any:
    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 3), name="in")
    net = layers.Conv2D(4, 3, name="conv")(inputs)
    net = layers.BatchNormalization(name="bn")(net)
    net = layers.DepthwiseConv2D(3, name="dw")(net)
    net = layers.Flatten(name="flat")(net)
    return tf_keras.Model(inputs, layers.Dense(2, name="top")(net))


@pytest.mark.tf
def test_keras_2_both_ways(tmp_path: Path) -> None:
    import tf_keras

    rng = np.random.default_rng(3)
    model = keras_2_model(tf_keras)
    model.set_weights([rng.normal(size=value.shape) for value in model.get_weights()])
    expected = {weight.name.removesuffix(":0"): weight.numpy() for weight in model.weights}
    assert "dw/depthwise_kernel" in expected
    model.save_weights(tmp_path / "two.h5")
    with KerasLegacyReader(tmp_path / "two.h5") as reader:
        assert list(reader.manifest) == list(expected)
        for name, value in expected.items():
            assert_same_bits(reader.read(name), value)
    write(tmp_path / "ours.h5", expected)
    for options in ({}, {"by_name": True}):
        other = keras_2_model(tf_keras)
        other.load_weights(tmp_path / "ours.h5", **options)
        for value, loaded in zip(model.get_weights(), other.get_weights(), strict=True):
            assert_same_bits(loaded, value)
