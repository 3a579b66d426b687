"""KerasLegacyReader on files of Keras 0 and 1 and of Theano, and on whole models; all of them written with h5py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from resport.errors import FormatError, OptionError
from resport.formats import open_reader
from resport.formats.keras_legacy import KerasLegacyReader
from tests.contracts import assert_same_bits, random_array
from tests.formats.test_keras_legacy import legacy_file, names_of


def era_file(path: Path, weights: dict[str, dict[str, np.ndarray]], group: str = "/", **attributes: object) -> Path:
    """A file as Keras 1 wrote it: datasets named after their layer and a letter, directly in the layer's group."""
    with h5py.File(path, "w") as file:
        root = file.require_group(group)
        root.attrs["layer_names"] = [layer.encode() for layer in weights]
        for key, value in attributes.items():
            file.attrs[key] = value
        for layer, arrays in weights.items():
            node = root.create_group(layer)
            node.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                node[name] = array
    return path


def theano_kernel(kernel: np.ndarray) -> np.ndarray:
    """(h, w, in, out) for correlation as Theano had it, element by element."""
    height, width, n_in, n_out = kernel.shape
    stored = np.empty((n_out, n_in, height, width), kernel.dtype)
    for y in range(height):
        for x in range(width):
            stored[:, :, height - 1 - y, width - 1 - x] = kernel[y, x].T
    return stored


KERNEL = random_array("float32", (3, 5, 2, 64))


def read_all(path: Path, **options: Any) -> tuple[dict[str, np.ndarray], str | None]:
    with open_reader(path, **options) as reader:
        arrays = {name: reader.read(name) for name in reader.manifest}
        for name, array in arrays.items():
            assert array.shape == reader.manifest[name].shape
            assert array.flags.c_contiguous and array.flags.writeable
        return arrays, reader.note


def test_keras_1_with_tensorflow(tmp_path: Path) -> None:
    bn = {f"bn_{word}:0": random_array("float32", (64,), seed) for seed, word in enumerate(["gamma", "running_std"])}
    path = era_file(tmp_path / "m.h5", {"conv1": {"conv1_W:0": KERNEL}, "in": {}, "bn": bn})
    arrays, note = read_all(path)
    assert list(arrays) == ["conv1/kernel", "bn/gamma", "bn/moving_variance"]
    assert_same_bits(arrays["conv1/kernel"], KERNEL)
    assert_same_bits(arrays["bn/moving_variance"], bn["bn_running_std:0"])
    assert note is not None and "taken for the variance" in note and "turned" not in note


def test_keras_1_with_theano(tmp_path: Path) -> None:
    dense = random_array("float32", (64, 10))
    conv = {"conv1_W": theano_kernel(KERNEL), "conv1_b": random_array("float32", (64,))}
    path = era_file(tmp_path / "m.h5", {"conv1": conv, "fc": {"fc_W": dense}})
    arrays, note = read_all(path)
    assert list(arrays) == ["conv1/kernel", "conv1/bias", "fc/kernel"]
    assert_same_bits(arrays["conv1/kernel"], KERNEL)
    assert_same_bits(arrays["conv1/bias"], conv["conv1_b"])
    assert_same_bits(arrays["fc/kernel"], dense)
    assert note == "convolution kernels were turned from (out, in, height, width) and by 180 degrees, as Theano's"


@pytest.mark.parametrize(
    ("names", "ordering", "stored", "words"),
    [
        (":0", "th", np.flip(theano_kernel(KERNEL), (2, 3)), "turned from (out, in, height, width)"),
        ("", "tf", KERNEL[::-1, ::-1], "turned by 180 degrees"),
        (":0", "tf", KERNEL, None),
        ("", "th", theano_kernel(KERNEL), "and by 180 degrees"),
    ],
)
@pytest.mark.parametrize("is_square", [False, True])
def test_a_model_s_description_tells_the_order_of_axes(
    tmp_path: Path, names: str, ordering: str, stored: np.ndarray, words: str | None, is_square: bool
) -> None:
    expected = KERNEL
    if is_square:
        # Of a kernel with four equal axes no shape tells anything.
        cube = random_array("float32", (3, 3, 3, 3), 4)
        th = theano_kernel(cube)
        stored = {"th:0": np.flip(th, (2, 3)), "tf": cube[::-1, ::-1], "tf:0": cube, "th": th}[ordering + names]
        expected = cube
    layer = {"class_name": "Convolution2D", "config": {"name": "c", "dim_ordering": ordering}}
    config = json.dumps({"class_name": "Sequential", "config": [layer]})
    weights = {"c": {f"c_W{names}": stored}}
    path = era_file(tmp_path / "m.h5", weights, "model_weights", model_config=config, keras_version=b"1.2.2")
    arrays, note = read_all(path)
    assert_same_bits(arrays["c/kernel"], expected)
    assert (note is None) if words is None else (note is not None and words in note and "assumed" not in note)


def test_what_nothing_tells_is_assumed_and_can_be_said(tmp_path: Path) -> None:
    cube = random_array("float32", (3, 3, 3, 3))
    path = era_file(tmp_path / "m.h5", {"c": {"c_W": theano_kernel(cube)}})
    arrays, note = read_all(path)
    assert_same_bits(arrays["c/kernel"], cube)
    assert note is not None and "`oihw-flipped` is assumed" in note and "--kernel-order" in note
    for order, expected in {
        "hwio": theano_kernel(cube),
        "hwio-flipped": theano_kernel(cube)[::-1, ::-1],
        "oihw": theano_kernel(cube).transpose(2, 3, 1, 0),
        "oihw-flipped": cube,
    }.items():
        arrays, note = read_all(path, kernel_order=order)
        assert_same_bits(arrays["c/kernel"], np.ascontiguousarray(expected))
        assert note is not None and f"`{order}`, as asked for" in note


def test_biases_tell_the_order_where_windows_do_not(tmp_path: Path) -> None:
    stored = random_array("float32", (4, 3, 3, 3))
    bias = random_array("float32", (4,))
    arrays, note = read_all(era_file(tmp_path / "m.h5", {"c": {"c_W:0": stored, "c_b:0": bias}}))
    assert_same_bits(arrays["c/kernel"], np.ascontiguousarray(stored.transpose(2, 3, 1, 0)))
    assert note is not None and "assumed" not in note


def test_kernels_in_two_orders_are_refused(tmp_path: Path) -> None:
    weights = {"a": {"a_W": KERNEL}, "b": {"b_W": theano_kernel(KERNEL)}}
    path = era_file(tmp_path / "m.h5", weights)
    with pytest.raises(FormatError, match="two orders") as caught:
        KerasLegacyReader(path)
    assert caught.value.hint is not None and "--kernel-order" in caught.value.hint
    assert set(read_all(path, kernel_order="hwio")[0]) == {"a/kernel", "b/kernel"}


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        # A graph with two variables of one name numbers the second.
        ({"c": {"c_W_1:0": 4}}, ["c/kernel"]),
        ({"model_1": {"c1_W:0": 4, "c2_W:0": 4}}, ["model_1/c1/kernel", "model_1/c2/kernel"]),
        ({"c": {"c_W:0": 4, "c_W_1:0": 4}}, ["c/c_W:0", "c/c_W_1:0"]),
        ({"c_W": {"c_W_b:0": 1}}, ["c_W/bias"]),
        ({"s": {"s_depthwise_kernel:0": 4, "s_pointwise_kernel:0": 4}}, ["s/depthwise_kernel", "s/pointwise_kernel"]),
        ({"lstm": {"lstm_W_i:0": 2, "lstm_U_i:0": 2}}, ["lstm/lstm_W_i", "lstm/lstm_U_i"]),
        ({"p": {"p_alphas:0": 1}}, ["p/p_alphas"]),
    ],
)
def test_names_of_keras_1(tmp_path: Path, weights: dict[str, dict[str, int]], names: list[str]) -> None:
    arrays = {
        layer: {name: random_array("float32", (2, 3, 4, 5)[:rank]) for name, rank in ranks.items()}
        for layer, ranks in weights.items()
    }
    assert list(read_all(era_file(tmp_path / "m.h5", arrays))[0]) == names


def test_names_of_keras_1_mean_nothing_in_later_files(tmp_path: Path) -> None:
    path = era_file(tmp_path / "m.h5", {"c": {"c_W:0": theano_kernel(KERNEL)}}, keras_version=b"2.0.1")
    arrays, note = read_all(path)
    assert_same_bits(arrays["c/c_W"], theano_kernel(KERNEL))
    assert note is None


def test_keras_2_with_theano_turns_kernels_only(tmp_path: Path) -> None:
    kernels = {rank: random_array("float32", (3, 2, 4, 5, 6)[:rank], rank) for rank in (2, 3, 4, 5)}
    layers = {f"c{rank}": {f"c{rank}/kernel:0": kernel} for rank, kernel in kernels.items()}
    layers["d"] = {"d/depthwise_kernel:0": kernels[4]}
    path = era_file(tmp_path / "m.h5", layers, keras_version=b"2.1.6", backend=b"theano")
    arrays, note = read_all(path)
    assert_same_bits(arrays["c2/kernel"], kernels[2])
    assert_same_bits(arrays["d/depthwise_kernel"], kernels[4])
    assert_same_bits(arrays["c3/kernel"], kernels[3][::-1].copy())
    assert_same_bits(arrays["c4/kernel"], kernels[4][::-1, ::-1].copy())
    assert_same_bits(arrays["c5/kernel"], kernels[5][::-1, ::-1, ::-1].copy())
    assert note is not None and "Theano" in note


def test_deviations_become_variances_on_request(tmp_path: Path) -> None:
    deviation = np.random.default_rng(1).uniform(0.5, 2, 8).astype(np.float32)
    path = era_file(tmp_path / "m.h5", {"bn": {"bn_running_std": deviation, "bn_running_mean": deviation}})
    arrays, note = read_all(path, deviation_epsilon=1e-3)
    # What batch norm divides by stays what it was.
    np.testing.assert_allclose(np.sqrt(arrays["bn/moving_variance"] + 1e-3), deviation + 1e-3, rtol=1e-6)
    assert arrays["bn/moving_variance"].dtype == np.float32
    assert_same_bits(arrays["bn/moving_mean"], deviation)
    assert note is not None and "values changed" in note


def test_known_deviations_are_not_called_variances(tmp_path: Path) -> None:
    deviation = random_array("float32", (8,))
    path = era_file(tmp_path / "m.h5", {"bn": {"bn_running_std": deviation}}, keras_version=b"1.0.5")
    arrays, note = read_all(path)
    assert_same_bits(arrays["bn/running_std"], deviation)
    assert note is not None and "standard deviation" in note
    path = era_file(tmp_path / "n.h5", {"bn": {"bn_running_std": deviation}}, keras_version=b"1.0.6")
    assert list(read_all(path)[0]) == ["bn/moving_variance"]


@pytest.mark.parametrize("epsilon", [-1e-3, float("nan"), float("inf")])
def test_epsilons_that_cannot_be_meant(tmp_path: Path, epsilon: float) -> None:
    path = era_file(tmp_path / "m.h5", {"bn": {"bn_running_std": random_array("float32", (8,))}})
    with pytest.raises(OptionError, match="no such epsilon"):
        open_reader(path, deviation_epsilon=epsilon)


@pytest.mark.parametrize("options", [{"kernel_order": "iohw"}, {"deviation_epsilon": 1e-3}, {"other": 1}])
def test_options_that_cannot_be_meant(tmp_path: Path, options: dict[str, Any]) -> None:
    path = era_file(tmp_path / "m.h5", {"c": {"c_W:0": KERNEL}})
    with pytest.raises(OptionError):
        open_reader(path, **options)


def counted_file(path: Path, layers: list[list[np.ndarray]], config: object = None) -> Path:
    """A file as Keras 0 wrote it: everything numbered, nothing named."""
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = len(layers)
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        for number, arrays in enumerate(layers):
            group = file.create_group(f"layer_{number}")
            group.attrs["nb_params"] = len(arrays)
            for position, array in enumerate(arrays):
                group[f"param_{position}"] = array
    return path


COUNTED: list[list[np.ndarray]] = [
    [theano_kernel(KERNEL), random_array("float32", (64,), 1)],
    [],
    [random_array("float32", (64,), seed) for seed in range(4)],
    [random_array("float32", (64, 5))],
]


def test_keras_0_counts(tmp_path: Path) -> None:
    arrays, note = read_all(counted_file(tmp_path / "m.h5", COUNTED))
    expected = ["layer_0/param_0", "layer_0/param_1", *(f"layer_2/param_{i}" for i in range(4)), "layer_3/param_0"]
    assert list(arrays) == expected
    assert_same_bits(arrays["layer_0/param_0"], KERNEL)
    assert_same_bits(arrays["layer_2/param_3"], COUNTED[2][3])
    assert note is not None and "assumed" in note


@pytest.mark.parametrize("spelling", ["settings", "flat"])
def test_keras_0_with_a_description_has_names(tmp_path: Path, spelling: str) -> None:
    classes = {"c": "Convolution2D", "act": "Activation", "bn": "BatchNormalization", "fc": "Dense"}
    settings = [{"class_name": kind, "config": {"name": name}} for name, kind in classes.items()]
    flat = [{"name": kind, "custom_name": name} for name, kind in classes.items()]
    config = {"settings": {"class_name": "Sequential", "config": settings}, "flat": {"layers": flat}}[spelling]
    path = counted_file(tmp_path / "m.h5", COUNTED, config)
    names = ["c/kernel", "c/bias", "bn/gamma", "bn/beta", "bn/moving_mean", "bn/running_std", "fc/kernel"]
    arrays, note = read_all(path)
    assert list(arrays) == names
    assert_same_bits(arrays["c/kernel"], KERNEL)
    assert note is not None and "standard deviation" in note
    assert "bn/moving_variance" in read_all(path, deviation_epsilon=1e-6)[0]


@pytest.mark.parametrize("count", [-1, 5, 1 << 40, "two", [4, 4], 1.5])
def test_keras_0_with_a_wrong_count(tmp_path: Path, count: object) -> None:
    path = counted_file(tmp_path / "m.h5", COUNTED)
    with h5py.File(path, "a") as file:
        file.attrs["nb_layers"] = count
    with pytest.raises(FormatError, match=r"m\.h5"):
        KerasLegacyReader(path)


# Whole models


def test_optimizer_weights_are_listed_behind_their_group(tmp_path: Path) -> None:
    path = legacy_file(tmp_path / "m.h5", {"a": ["a/w:0"]}, "model_weights", keras_version=b"2.1.6")
    slots = ["training/Adam/a/w/m:0", "Adam/iter:0"]
    with h5py.File(path, "a") as file:
        group = file.create_group("optimizer_weights")
        group.attrs["weight_names"] = [slot.encode() for slot in slots]
        for number, slot in enumerate(slots):
            group[slot] = np.float32(number + 1)
    assert names_of(path) == ["a/w", "optimizer_weights/training/Adam/a/w/m", "optimizer_weights/Adam/iter"]


def test_no_layers(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([])
    assert names_of(path) == []
    assert names_of(counted_file(tmp_path / "n.h5", [])) == []


def test_hdf5_under_the_name_of_an_archive(tmp_path: Path) -> None:
    path = legacy_file(tmp_path / "m.keras", {"a": ["a/w"]})
    with open_reader(path) as reader:
        assert isinstance(reader, KerasLegacyReader)
        assert list(reader.manifest) == ["a/w"]


@pytest.mark.parametrize("config", ["{", "[]", "[" * 100_000, '{"config": ' * 900 + "1" + "}" * 900])
def test_a_damaged_description_is_one_error(tmp_path: Path, config: str) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["layer_names"] = [b"a"]
        file.create_group("a").attrs["weight_names"] = np.array([])
        file.attrs["model_config"] = config
    try:
        with KerasLegacyReader(path) as reader:
            assert list(reader.manifest) == []
    except FormatError as error:
        assert "m.h5" in str(error)


@pytest.mark.parametrize("n_described", [1, 3, 5])
def test_a_description_of_another_model_names_nothing(tmp_path: Path, n_described: int) -> None:
    described = [{"class_name": "Dense", "config": {"name": f"d{number}"}} for number in range(n_described)]
    path = counted_file(tmp_path / "m.h5", COUNTED, {"class_name": "Sequential", "config": described})
    assert set(read_all(path)[0]) == set(read_all(counted_file(tmp_path / "n.h5", COUNTED))[0])


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    path = counted_file(tmp_path / "m.h5", COUNTED)
    with h5py.File(path, "a") as file:
        del file["layer_2/param_1"]
    with pytest.raises(FormatError, match=r"`/layer_2/param_1` is missing in .*m\.h5"):
        KerasLegacyReader(path)
