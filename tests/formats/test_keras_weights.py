"""KerasWeightsReader and KerasWeightsWriter, against h5py and Keras 3."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resport.errors import FormatError, OptionError
from resport.formats import open_reader, open_writer
from resport.formats.hdf5_file import file_bytes, objects
from resport.formats.keras_weights import KerasWeightsReader, KerasWeightsWriter, is_keras_weights
from resport.tensors import TensorSpec
from tests.contracts import FormatContract, assert_same_bits, random_array
from tests.formats.keras_models import SMALL_MODEL_CLASSES, fill_randomly, small_model, values_by_name


class TestKerasWeights(FormatContract):
    reader, writer, filename = KerasWeightsReader, KerasWeightsWriter, "model.weights.h5"
    keeps_order = False
    awkward_names = (*FormatContract.awkward_names, "", "/", "a//b", "/lead", "trail/", ".", "a/../b", "x" * 70_000)

    def oracle_read(self, path: str) -> dict[str, np.ndarray]:
        # Keras needs a model to read it; h5py reads the datasets that bear a name.
        found: dict[str, np.ndarray] = {}
        with h5py.File(path) as file:
            nodes: list[Any] = []
            file.visititems(lambda _, node: nodes.append(node))
            datasets = [node for node in nodes if isinstance(node, h5py.Dataset) and "name" in node.attrs]
            found.update({node.attrs["name"]: node[()] for node in datasets})
        return found

    def comparable_with_oracle(self, spec: TensorSpec) -> bool:
        return not spec.name.startswith(("conv/", "dense/"))


def weights_file(path: Path, layers: dict[str, tuple[str | None, int]]) -> Path:
    """A file as Keras lays it out: for each group its name and how many variables it has, which hold their own number."""
    number = 0
    with h5py.File(path, "w") as file:
        for place, (name, n_variables) in layers.items():
            group = file.create_group(f"{place}/vars" if place else "vars")
            if name is not None:
                group.attrs["name"] = name
            for position in range(n_variables):
                group[str(position)] = np.float32(number)
                number += 1
    return path


def names_by_number(path: Path) -> list[str]:
    with KerasWeightsReader(path) as reader:
        return sorted(reader.manifest, key=lambda name: float(reader.read(name)))


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ({"": ("net", 0), "layers/conv2d": ("conv1", 2)}, ["conv1/kernel", "conv1/bias"]),
        ({"layers/conv2d_3": (None, 1)}, ["conv2d_3/kernel"]),
        (
            {"layers/batch_normalization": ("bn", 4)},
            ["bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance"],
        ),
        ({"layers/batch_normalization_7": ("bn", 3)}, ["bn/beta", "bn/moving_mean", "bn/moving_variance"]),
        ({"layers/separable_conv2d": ("s", 3)}, ["s/depthwise_kernel", "s/pointwise_kernel", "s/bias"]),
        ({"layers/my_layer": ("mine", 2)}, ["mine/0", "mine/1"]),
        ({"_layer_checkpoint_dependencies/dense": ("top", 2)}, ["top/kernel", "top/bias"]),
        # A subclassed model has its layers under the names of its attributes.
        ({"head": ("dense_5", 1)}, ["dense_5/kernel"]),
        ({"head": ("dense_5", 3)}, ["dense_5/0", "dense_5/1", "dense_5/2"]),
        ({"head": ("my_layer", 1)}, ["my_layer/0"]),
        # A nested model, and a layer made of layers.
        (
            {"layers/functional": ("inner", 1), "layers/functional/layers/dense": ("d", 2)},
            ["inner/0", "inner/d/kernel", "inner/d/bias"],
        ),
        (
            {"layers/lstm": ("rnn", 0), "layers/lstm/cell": ("lstm_cell", 3)},
            ["rnn/lstm_cell/kernel", "rnn/lstm_cell/recurrent_kernel", "rnn/lstm_cell/bias"],
        ),
        ({"layers/block": ("b", 0), "layers/block/convs/conv2d": ("c", 1)}, ["b/convs/c/kernel"]),
        # The model's own variables, and an optimizer's.
        ({"": ("net", 2)}, ["net/0", "net/1"]),
        ({"": (None, 1)}, ["vars/0"]),
        ({"optimizer": ("adam", 2)}, ["optimizer/0", "optimizer/1"]),
        # A list of layers in a nested model that has no variables of its own, and so no name.
        ({"layers/functional/layers/dense": ("d", 1)}, ["functional/d/kernel"]),
        (
            {"layers/dropout": ("drop", 0), "layers/dropout/seed_generator": ("seed_generator_3", 1)},
            ["drop/seed_generator_3/seed_generator_state"],
        ),
        # Two layers of one name keep the paths that tell them apart.
        (
            {"layers/conv2d": ("same", 1), "layers/conv2d_1": ("same", 1), "layers/dense": ("top", 1)},
            ["layers/conv2d/vars/0", "layers/conv2d_1/vars/0", "top/kernel"],
        ),
    ],
)
def test_names(tmp_path: Path, layers: dict[str, tuple[str | None, int]], names: list[str]) -> None:
    path = weights_file(tmp_path / "m.h5", layers)
    assert names_by_number(path) == names
    assert is_keras_weights(str(path))


def test_layers_are_sorted_by_class_and_number(tmp_path: Path) -> None:
    order = ["conv2d", "conv2d_2", "conv2d_10", "dense", "dense_1"]
    path = weights_file(tmp_path / "m.h5", {f"layers/{place}": (None, 1) for place in order})
    with KerasWeightsReader(path) as reader:
        assert list(reader.manifest) == [f"{place}/kernel" for place in order]


def test_more_than_ten_variables_in_order(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "m.h5", {"layers/mine": ("mine", 12)})
    with KerasWeightsReader(path) as reader:
        assert list(reader.manifest) == [f"mine/{number}" for number in range(12)]


def test_words_instead_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/kernel"] = np.float32(0)
        file["layers/dense/vars/scale"] = np.float32(1)
    assert names_by_number(path) == ["dense/kernel", "dense/scale"]


def test_a_circle_of_groups_ends(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "m.h5", {"layers/dense": ("top", 1)})
    with h5py.File(path, "a") as file:
        file["layers/dense/again"] = file["layers"]
    with pytest.raises(FormatError, match="circle"):
        KerasWeightsReader(path)


def test_groups_that_multiply_by_links_end(tmp_path: Path) -> None:
    # Forty groups, each linked twice from the one above it: a million million paths.
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers")
        for _ in range(40):
            inner = group.create_group("left")
            group["right"] = inner
            group = inner
    with pytest.raises(FormatError, match="circle"):
        KerasWeightsReader(path)


def test_deep_groups_end(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "m.h5", {"/".join(["a"] * 500): ("x", 1)})
    with pytest.raises(FormatError, match="too deep"):
        KerasWeightsReader(path)


@pytest.mark.parametrize("place", ["layers/other", "layers/dense/vars/1", "layers/dense/vars/more"])
@pytest.mark.parametrize("link", [h5py.ExternalLink("other.h5", "/w"), h5py.SoftLink("/layers/dense/vars/0")])
def test_links_are_not_followed(tmp_path: Path, place: str, link: object) -> None:
    path = weights_file(tmp_path / "m.h5", {"layers/dense": ("top", 1)})
    with h5py.File(path, "a") as file:
        file[place] = link
    with pytest.raises(FormatError, match="not followed"):
        KerasWeightsReader(path)


@pytest.mark.parametrize(("names", "is_noted"), [((None, None), True), (("a", None), False), (("a", "b"), False)])
def test_layers_without_names_are_said(tmp_path: Path, names: tuple[str | None, str | None], is_noted: bool) -> None:
    layers = {"layers/conv2d": (names[0], 1), "layers/dense": (names[1], 1), "optimizer": ("adam", 1)}
    with KerasWeightsReader(weights_file(tmp_path / "m.h5", layers)) as reader:
        assert (reader.note is not None and "has no names" in reader.note) == is_noted


# Writing


def write(path: Path, tensors: dict[str, np.ndarray], **options: Any) -> None:
    specs = [TensorSpec(name, array.shape, str(array.dtype)) for name, array in tensors.items()]
    with KerasWeightsWriter(path, specs, **options) as writer:
        for name, array in tensors.items():
            writer.write(name, array)


def test_layout_is_that_of_keras(tmp_path: Path) -> None:
    shapes = {
        "conv1/kernel": (3, 3, 3, 4),
        "bn/beta": (4,),
        "bn/gamma": (4,),
        "bn/moving_mean": (4,),
        "bn/moving_variance": (4,),
        "conv2/bias": (2,),
        "conv2/kernel": (1, 1, 4, 2),
        "no_beta/gamma": (2,),
        "no_beta/moving_mean": (2,),
        "no_beta/moving_variance": (2,),
        "global_step": (),
    }
    tensors = {name: random_array("float32", shape, seed) for seed, (name, shape) in enumerate(shapes.items())}
    write(tmp_path / "m.h5", tensors)
    places = {
        "conv1/kernel": "conv2d/vars/0",
        "conv2/kernel": "conv2d_1/vars/0",
        "conv2/bias": "conv2d_1/vars/1",
        "bn/gamma": "batch_normalization/vars/0",
        "bn/beta": "batch_normalization/vars/1",
        "bn/moving_mean": "batch_normalization/vars/2",
        "bn/moving_variance": "batch_normalization/vars/3",
        "no_beta/gamma": "batch_normalization_1/vars/0",
        "no_beta/moving_mean": "batch_normalization_1/vars/1",
        "no_beta/moving_variance": "batch_normalization_1/vars/2",
        "global_step": "layer/vars/0",
    }
    with h5py.File(tmp_path / "m.h5") as file:
        assert sorted(file) == ["layers", "vars"] and len(file["vars"]) == 0
        for name, place in places.items():
            assert_same_bits(np.asarray(file[f"layers/{place}"][()]), tensors[name])
            # A name is added where the convention gives another one: where gamma would be read as beta.
            is_unconventional = name in {"no_beta/gamma", "global_step"}
            assert file[f"layers/{place}"].attrs.get("name") == (name if is_unconventional else None)
        assert file["layers/conv2d_1/vars"].attrs["name"] == "conv2"


def test_a_class_can_be_given(tmp_path: Path) -> None:
    tensors = {"up/kernel": random_array("float32", (3, 3, 4, 2)), "down/kernel": random_array("float32", (3, 3, 2, 4))}
    write(tmp_path / "m.h5", tensors, classes={"up": "conv2d_transpose"})
    with h5py.File(tmp_path / "m.h5") as file:
        assert sorted(file["layers"]) == ["conv2d", "conv2d_transpose"]


@pytest.mark.parametrize(
    "classes", [{"other": "conv2d"}, {"up": "Conv2D"}, {"up": "a/b"}, {"up": ""}, {"up": "conv2d_1"}]
)
def test_a_class_that_cannot_be_meant(tmp_path: Path, classes: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="class"):
        open_writer(tmp_path / "m.weights.h5", [TensorSpec("up/kernel", (2, 2), "float32")], classes=classes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a\0b", "a\ud800/w"])
def test_name_that_hdf5_cannot_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match="cannot hold"):
        KerasWeightsWriter(tmp_path / "m.h5", [TensorSpec(name, (), "float32")])
    assert list(tmp_path.iterdir()) == []


PARTS = st.sampled_from(
    ["a", "b", "conv2d", "conv2d_1", "layers", "vars", "0", "1", "kernel", "bias", "gamma", "beta", ""]
)
SHAPES = st.sampled_from([(), (2,), (2, 2), (2, 2, 2, 2), (1, 1, 2, 1)])


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.lists(PARTS, min_size=1, max_size=4).map("/".join), SHAPES, max_size=12))
def test_any_names_come_back(shapes: dict[str, tuple[int, ...]]) -> None:
    tensors = {name: random_array("float32", shape, seed) for seed, (name, shape) in enumerate(shapes.items())}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.h5")
        write(path, tensors)
        with KerasWeightsReader(path) as reader:
            assert set(reader.manifest) == set(tensors)
            for name, array in tensors.items():
                assert_same_bits(reader.read(name), array)


# Against Keras itself


def check_model(model: Any, tensors: dict[str, np.ndarray]) -> None:
    found = values_by_name(model)
    assert found.keys() == tensors.keys()
    for name, value in found.items():
        assert_same_bits(value, tensors[name])


@pytest.mark.tf
def test_reads_what_keras_writes(tmp_path: Path) -> None:
    model = fill_randomly(small_model())
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    expected = values_by_name(model)
    with open_reader(path) as reader:
        assert isinstance(reader, KerasWeightsReader)
        # The one name that Keras' file does not tell: with three variables a layer has no gamma, mostly.
        got = {name.replace("no_center/beta", "no_center/gamma"): reader.read(name) for name in reader.manifest}
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert_same_bits(got[name], value)


@pytest.mark.tf
def test_keras_loads_what_we_write(tmp_path: Path) -> None:
    tensors = values_by_name(fill_randomly(small_model(), 1))
    layers = list(dict.fromkeys(name.rpartition("/")[0] for name in tensors))
    shuffled = sorted(tensors, key=lambda name: (layers.index(name.rpartition("/")[0]), name))
    path = tmp_path / "m.weights.h5"
    write(path, {name: tensors[name] for name in shuffled}, classes=SMALL_MODEL_CLASSES)
    target = fill_randomly(small_model(), 2)
    target.load_weights(path)
    check_model(target, tensors)
    with KerasWeightsReader(path) as reader:
        assert reader.manifest.keys() == tensors.keys()


def scale_model() -> Any:
    import keras

    from resport.architectures.keras_scale import scale_layer

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="top")], name="net")
    for layer in (scale_layer()(name="scale_a"), keras.layers.LayerNormalization(name="ln"), scale_layer()(name="b")):
        model.add(layer)
    return fill_randomly(model)


@pytest.mark.tf
def test_a_scale_layer_is_no_layer_normalization(tmp_path: Path) -> None:
    expected = values_by_name(scale_model())
    scale_model().save_weights(tmp_path / "keras.weights.h5")
    with KerasWeightsReader(tmp_path / "keras.weights.h5") as reader:
        assert reader.manifest.keys() == expected.keys()
        for name, value in expected.items():
            assert_same_bits(reader.read(name), value)
    write(tmp_path / "ours.weights.h5", expected, classes={"b": "scale"})
    with h5py.File(tmp_path / "ours.weights.h5") as file:
        assert set(file["layers"]) == {"dense", "scale", "layer_normalization", "scale_1"}
    other = fill_randomly(scale_model(), 1)
    other.load_weights(tmp_path / "ours.weights.h5")
    check_model(other, expected)


@pytest.mark.tf
def test_nested_models_are_named_as_keras_names_them(tmp_path: Path) -> None:
    import keras

    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")], name="inner")
    inputs = keras.Input((4,))
    model = fill_randomly(keras.Model(inputs, keras.layers.Dense(2, name="top")(inner(inputs)), name="outer"))
    model.save_weights(tmp_path / "m.weights.h5")
    with KerasWeightsReader(tmp_path / "m.weights.h5") as reader:
        assert set(reader.manifest) == {variable.path for variable in model.variables}
        for variable in model.variables:
            assert_same_bits(reader.read(variable.path), np.asarray(variable))


@pytest.mark.tf
def test_bfloat16_both_ways(tmp_path: Path) -> None:
    import keras

    def build() -> Any:
        layer = keras.layers.Dense(3, name="d", dtype="bfloat16")
        return keras.Sequential([keras.Input((4,), dtype="bfloat16"), layer])

    model = fill_randomly(build())
    model.save_weights(tmp_path / "keras.weights.h5")
    expected = values_by_name(model)
    with KerasWeightsReader(tmp_path / "keras.weights.h5") as reader:
        assert reader.manifest["d/kernel"] == TensorSpec("d/kernel", (4, 3), "bfloat16")
        for name, value in expected.items():
            assert_same_bits(reader.read(name), value)
    write(tmp_path / "ours.weights.h5", expected)
    other = build()
    other.load_weights(tmp_path / "ours.weights.h5")
    check_model(other, expected)


@pytest.mark.tf
def test_resnet50v2(tmp_path: Path) -> None:
    import keras

    model = fill_randomly(keras.applications.ResNet50V2(weights=None))
    expected = values_by_name(model)
    assert len(expected) == 272
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    with open_reader(path) as reader:
        assert reader.manifest.keys() == expected.keys()
        for name, value in expected.items():
            assert_same_bits(reader.read(name), value)
    write(path, expected)
    other = fill_randomly(keras.applications.ResNet50V2(weights=None), 1)
    other.load_weights(path)
    check_model(other, expected)
    with KerasWeightsReader(path) as reader, h5py.File(path) as file:
        assert reader.manifest.keys() == expected.keys()
        # All of its names are those that the convention gives: none had to be added.
        named: list[str] = []
        file.visititems(lambda place, node: named.append(place) if "name" in node.attrs else None)
        assert all(place.endswith("/vars") for place in named)


def test_what_is_kept_of_a_tensor_is_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file of many tensors not the headers are kept, but where the values are."""
    specs = [TensorSpec(f"layer_{number}/kernel", (2, 3), "float32") for number in range(300)]
    path = tmp_path / "m.weights.h5"
    with KerasWeightsWriter(path, specs) as writer:
        for spec in specs:
            writer.write(spec.name, random_array("float32", (2, 3)))
    monkeypatch.setattr(objects, "MAX_HEADERS", 10)
    monkeypatch.setattr(file_bytes, "MAX_BLOCKS", 1)
    KerasWeightsReader(path).close()
    tracemalloc.start()
    with KerasWeightsReader(path) as reader:
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(reader.manifest) == 300 and kept < 300 * 1500
