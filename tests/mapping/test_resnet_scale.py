"""The Keras ResNets with Scale layers: names, counts, values both ways, the fold into resnet_v1, files of Keras 1."""

from __future__ import annotations

import itertools
from pathlib import Path

import h5py
import numpy as np
import pytest

import resport
from resport.conversion.initialization import initialize
from resport.errors import PlanError
from resport.mapping import Expansion, PlanOptions, Table, detect, expand, load_table, plan_conversion, shipped_tables
from resport.mapping.checking import known_specs
from resport.tensors import Manifest, TensorSpec, random_tensor
from tests.mapping.manifest_files import slim_manifest
from tests.mapping.toy import carried_out

FAMILY = "resnet_scale"
OWN = ["keras", "keras_2", "slim"]
FOREIGN = ["resnet_v1_slim", "resnet_v1_keras"]


def expansion(layers: int = 101, num_classes: int = 1000) -> Expansion:
    return expand(load_table(FAMILY), f"{FAMILY}_{layers}", num_classes=num_classes)


def specs(dialect: str, layers: int = 101, num_classes: int = 1000, dtype: str = "float32") -> Manifest:
    known = known_specs(expansion(layers, num_classes), dialect, num_classes)
    assert known is not None
    return Manifest(TensorSpec(spec.name, spec.shape, dtype) for spec in known.values())


@pytest.mark.parametrize(("layers", "n_arrays", "n_parameters"), [(101, 730, 44_759_848), (152, 1087, 60_495_656)])
@pytest.mark.parametrize("dialect", OWN)
def test_counts(dialect: str, layers: int, n_arrays: int, n_parameters: int) -> None:
    found = specs(dialect, layers)
    assert (len(found), sum(spec.size for spec in found.values())) == (n_arrays, n_parameters)


def expected_units(layers: int) -> list[str]:
    counts = {101: (3, 3, 22, 2), 152: (3, 7, 35, 2)}[layers]
    third = [f"3b{number}" for number in range(1, counts[1] + 1)]
    fourth = [f"4b{number}" for number in range(1, counts[2] + 1)]
    return ["2a", "2b", "2c", "3a", *third, "4a", *fourth, "5a", "5b", "5c"]


@pytest.mark.parametrize("layers", [101, 152])
def test_keras_layers(layers: int) -> None:
    """All names as the network's code makes them, written out here once more."""
    convolutions = ["conv1"]
    for unit in expected_units(layers):
        convolutions += [f"{unit}_branch2{letter}" for letter in "abc"] + [f"{unit}_branch1"] * unit.endswith("a")
    expected = {f"fc1000/{word}" for word in ("kernel", "bias")}
    for conv in convolutions:
        name = conv if conv == "conv1" else f"res{conv}"
        suffix = "_conv1" if conv == "conv1" else conv
        expected.add(f"{name}/kernel")
        expected |= {f"bn{suffix}/{word}" for word in ("gamma", "beta", "moving_mean", "moving_variance")}
        expected |= {f"scale{suffix}/{word}" for word in ("gamma", "beta")}
    assert set(specs("keras", layers)) == expected
    assert len(expected) == 7 * len(convolutions) + 2


def test_which_unit_is_which() -> None:
    by_name = expansion().by_name["keras"]
    pairs = {
        "res2a_branch1/kernel": "block1/unit_1/bottleneck_v1/shortcut/weights",
        "res2c_branch2b/kernel": "block1/unit_3/bottleneck_v1/conv2/weights",
        "res3a_branch2a/kernel": "block2/unit_1/bottleneck_v1/conv1/weights",
        "bn3b2_branch2a/gamma": "block2/unit_3/bottleneck_v1/conv1/BatchNorm/gamma",
        "scale4b22_branch2c/beta": "block3/unit_23/bottleneck_v1/conv3/Scale/beta",
        "fc1000/kernel": "logits/weights",
    }
    for keras, slim in pairs.items():
        assert by_name[keras].names["slim"] == (f"resnet_scale_101/{slim}",)
    assert by_name["res5b_branch2c/kernel"].names["resnet_v1_keras"] == ("conv5_block2_3_conv/kernel",)
    assert by_name["scale4b22_branch2c/beta"].names["keras_2"] == ("scale4b22_branch2c/scale4b22_branch2c_beta",)


def test_the_folded_networks_are_resnet_v1s() -> None:
    names = {"resnet_v1_slim": "slim", "resnet_v1_keras": "keras"}
    for layers in (101, 152):
        other = expand(load_table("resnet_v1"), f"resnet_v1_{layers}")
        for dialect, own in names.items():
            theirs = known_specs(other, own, 1000)
            assert theirs is not None
            assert list(specs(dialect, layers).items()) == list(theirs.items())
    real = slim_manifest("v1", 101)
    assert {n: s.shape for n, s in specs("resnet_v1_slim").items()} == {n: s.shape for n, s in real.items()}


@pytest.mark.parametrize("dialect", OWN)
@pytest.mark.parametrize(("layers", "num_classes"), [(101, 1000), (152, 7)])
def test_detection(dialect: str, layers: int, num_classes: int) -> None:
    found = detect(specs(dialect, layers, num_classes), shipped_tables())
    assert (found.variant, found.dialect, found.num_classes, found.is_complete) == (
        f"resnet_scale_{layers}",
        dialect,
        num_classes,
        True,
    )


@pytest.mark.parametrize(("dialect", "own"), [("resnet_v1_slim", "slim"), ("resnet_v1_keras", "keras")])
def test_a_folded_file_is_detected_as_resnet_v1(dialect: str, own: str) -> None:
    found = detect(specs(dialect), shipped_tables())
    assert (found.family, found.variant, found.dialect, found.is_complete) == ("resnet_v1", "resnet_v1_101", own, True)
    asked = detect(specs(dialect), [load_table(FAMILY)])
    assert (asked.variant, asked.dialect) == ("resnet_scale_101", dialect)


def random_values(manifest: Manifest) -> dict[str, np.ndarray]:
    return {name: random_tensor(name, spec.shape, 5).astype(spec.dtype) for name, spec in manifest.items()}


@pytest.fixture
def small(tmp_path: Path) -> Table:
    return load_table(small_table(tmp_path))


def small_table(folder: Path) -> Path:
    """The table with few units and narrow stages: quick to carry out, and all its rules are there."""
    text = Path(load_table(FAMILY).path).read_text(encoding="utf-8")
    for old, new in (
        ("{ b = 4, u = [3, 4, 23, 3], layers = 101 }", "{ b = 4, u = [3, 4, 5, 3], layers = 101 }"),
        ("width = [64, 128, 256, 512]", "width = [2, 4, 6, 8]"),
        ("depth = [256, 512, 1024, 2048]", "depth = [8, 16, 24, 2048]"),
        ("[[64, 256], [256, 512], [512, 1024], [1024, 2048]]", "[[64, 8], [8, 16], [16, 24], [24, 2048]]"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(OWN, 2)))
def test_there_and_back_bit_for_bit(source: str, target: str, small: Table) -> None:
    whole = expand(small, "resnet_scale_101", num_classes=10)
    manifest = known_specs(whole, source)
    assert manifest is not None
    values = random_values(manifest)
    there = carried_out(plan_conversion(manifest, whole, source, target), values)
    targets = Manifest(TensorSpec(name, value.shape, "float32") for name, value in there.items())
    back = carried_out(plan_conversion(targets, whole, target, source), there)
    assert {name: value.tobytes() for name, value in back.items()} == {
        n: value.tobytes() for n, value in values.items()
    }


def test_a_scale_is_no_constant(small: Table, tmp_path: Path) -> None:
    path = tmp_path / "scale.h5"
    initialize("resnet_scale_101", path, dialect="keras", num_classes=10, table=small.path)
    with pytest.raises(PlanError) as caught:
        resport.convert(path, tmp_path / "folded.h5", to="resnet_v1_keras", table=small.path)
    assert "scale_conv1/gamma must be 1 throughout" in str(caught.value)
    assert caught.value.hint == "`--fold` takes them into the tensors that the target has"


@pytest.mark.parametrize("source", OWN)
@pytest.mark.parametrize("target", FOREIGN)
def test_what_a_fold_computes(source: str, target: str, small: Table) -> None:
    whole = expand(small, "resnet_scale_101", num_classes=10)
    manifest = known_specs(whole, source)
    assert manifest is not None
    manifest = Manifest(TensorSpec(spec.name, spec.shape, "float64") for spec in manifest.values())
    values = random_values(manifest)
    plan = plan_conversion(manifest, whole, source, target, PlanOptions(fold=True))
    assert plan.checks == ()
    folded = carried_out(plan, values)
    by_name = {dialect: whole.by_name[dialect] for dialect in (source, target)}
    inputs = np.random.default_rng(0).normal(size=5)
    n_norms = 0
    for name in [name for name in by_name[target] if name.endswith("moving_mean")]:
        layer = name.removesuffix("moving_mean")
        norm = by_name[target][name].names[source][0].removesuffix("moving_mean")
        scale = {
            "keras": norm.replace("bn", "scale"),
            "keras_2": f"{norm.replace('bn', 'scale')}{norm.replace('bn', 'scale')[:-1]}_",
            "slim": norm.replace("BatchNorm", "Scale"),
        }[source]
        for channel in range(min(3, folded[name].size)):
            old = {word: values[norm + word][channel] for word in ("gamma", "beta", "moving_mean", "moving_variance")}
            normed = (inputs - old["moving_mean"]) / np.sqrt(old["moving_variance"] + 1.1e-5) * old["gamma"] + old[
                "beta"
            ]
            expected = values[f"{scale}gamma"][channel] * normed + values[f"{scale}beta"][channel]
            new = {word: folded[layer + word][channel] for word in ("gamma", "beta", "moving_mean", "moving_variance")}
            actual = (inputs - new["moving_mean"]) / np.sqrt(new["moving_variance"] + 1.001e-5) * new["gamma"] + new[
                "beta"
            ]
            np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-13)
        n_norms += 1
    assert n_norms == 3 * 15 + 5


def test_an_epsilon_that_is_left_is_said(small: Table, tmp_path: Path) -> None:
    path = tmp_path / "resnet.h5"
    initialize("resnet_scale_101", path, dialect="resnet_v1_keras", num_classes=10, table=small.path)
    report = resport.convert(
        path, tmp_path / "scale.h5", from_="resnet_v1_keras", to="resnet_v1_slim", fold=True, table=small.path
    )
    assert not any("epsilon is" in warning for warning in report.warnings)
    report = resport.convert(
        tmp_path / "scale.h5", tmp_path / "x.h5", from_="resnet_v1_slim", to="keras", table=small.path
    )
    assert any(
        warning.startswith("batch norm's epsilon is 1.001e-05 in resnet_v1_slim and 1.1e-05")
        for warning in report.warnings
    )
    assert {fill.value for fill in report.filled} == {0.0, 1.0}


def keras_1_file(path: Path, values: dict[str, np.ndarray], *, theano: bool) -> None:
    """A file as Keras 1 wrote it: no versions, a layer's name in front of each word, Theano's kernels turned round."""
    words = {"kernel": "W", "bias": "b", "moving_mean": "running_mean", "moving_variance": "running_std"}
    layers: dict[str, list[str]] = {}
    for name in values:
        layers.setdefault(name.split("/")[0], []).append(name)
    end = "" if theano else ":0"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, names in layers.items():
            group = file.create_group(layer)
            spelled = {name: f"{layer}_{words.get(name.split('/')[1], name.split('/')[1])}{end}" for name in names}
            group.attrs["weight_names"] = [each.encode() for each in spelled.values()]
            for name, weight in spelled.items():
                value = values[name]
                if theano and value.ndim == 4:
                    value = value[::-1, ::-1].transpose(3, 2, 0, 1)
                group.create_dataset(weight, data=value)


@pytest.mark.parametrize("theano", [False, True])
def test_a_file_of_keras_1(theano: bool, small: Table, tmp_path: Path) -> None:
    manifest = known_specs(expand(small, "resnet_scale_101", num_classes=10), "keras")
    assert manifest is not None
    values = random_values(manifest)
    keras_1_file(tmp_path / "old.h5", values, theano=theano)
    report = resport.convert(tmp_path / "old.h5", tmp_path / "new.safetensors", to="slim", table=small.path)
    assert (report.source_dialect, report.moved) == ("keras", len(values))
    with resport.open_reader(tmp_path / "new.safetensors") as reader:
        kernel = reader.read("resnet_scale_101/block2/unit_3/bottleneck_v1/conv2/weights")
        assert np.array_equal(kernel, values["res3b2_branch2b/kernel"])
        variance = reader.read("resnet_scale_101/conv1/BatchNorm/moving_variance")
        assert np.array_equal(variance, values["bn_conv1/moving_variance"])
        gamma = reader.read("resnet_scale_101/conv1/Scale/gamma")
        assert np.array_equal(gamma, values["scale_conv1/gamma"])


def test_colours_are_turned_round_in_the_first_kernel_alone(small: Table) -> None:
    whole = expand(small, "resnet_scale_101", num_classes=10)
    manifest = known_specs(whole, "keras")
    assert manifest is not None
    values = random_values(manifest)
    plain = carried_out(plan_conversion(manifest, whole, "keras", "slim"), values)
    swapped = carried_out(plan_conversion(manifest, whole, "keras", "slim", PlanOptions(swap_rgb=True)), values)
    different = [name for name in plain if not np.array_equal(plain[name], swapped[name])]
    assert different == ["resnet_scale_101/conv1/weights"]
    assert np.array_equal(swapped[different[0]], plain[different[0]][:, :, ::-1])


def test_a_file_of_keras_2(small: Table, tmp_path: Path) -> None:
    """A Scale layer that names its variables itself has its name in them twice."""
    manifest = known_specs(expand(small, "resnet_scale_101", num_classes=10), "keras")
    assert manifest is not None
    values = random_values(manifest)
    layers: dict[str, list[str]] = {}
    for name in values:
        layers.setdefault(name.split("/")[0], []).append(name)
    with h5py.File(tmp_path / "resaved.h5", "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = b"2.0.5", b"tensorflow"
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, names in layers.items():
            words = {name: name.split("/")[1] for name in names}
            spelled = {n: f"{layer}_{word}" if layer.startswith("scale") else word for n, word in words.items()}
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{word}:0".encode() for word in spelled.values()]
            for name, word in spelled.items():
                group.create_dataset(f"{layer}/{word}:0", data=values[name])
    report = resport.convert(tmp_path / "resaved.h5", tmp_path / "new.h5", to="keras", table=small.path)
    assert (report.source_dialect, report.moved) == ("keras_2", len(values))
    with resport.open_reader(tmp_path / "new.h5") as reader:
        assert set(reader.manifest) == set(values)
        assert all(np.array_equal(reader.read(name), value) for name, value in values.items())
