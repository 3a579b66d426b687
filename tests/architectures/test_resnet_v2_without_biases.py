"""slim's ResNet v2 as the network without biases that timm has: what was added to the sums is in the running means."""

from __future__ import annotations

import re

import numpy as np
import pytest

import resport
from resport.conversion.initialization import initialize
from resport.errors import PlanError
from resport.mapping import tables_folder
from tests.architectures.conversions import largest_difference, outputs_of, signed_images

pytestmark = pytest.mark.tf

VARIANT = "resnet_v2_50"
UNITS = (2, 3, 1, 2)
BUILT = {"units": UNITS, "base_depth": 4, "num_classes": 5, "dtype": "float64"}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The shipped table of a network a sixteenth as wide, with few units, and a block of one."""
    text = (tables_folder() / "resnet_v2.toml").read_text(encoding="utf-8")
    counts = '{ b = 4, u = [2, 3, 1, 2], later = [1, 2, 0, 1], before = "later", between = 3, last = 2 }'
    for pattern, value in {
        rf"(?m)(?<=^{VARIANT} ) *= {{.*$": f"= {counts}",
        r"(?m)(?<=^width = ).*$": "[4, 8, 16, 32]",
        r"(?m)(?<=^depth = ).*$": "[16, 32, 64, 128]",
        r"(?m)(?<=^input = ).*$": "[[64, 16], [16, 32], [32, 64], [64, 128]]",
        r'"vector 2048"': '"vector 128"',
        r'"head 2048 classes"': '"head 128 classes"',
    }.items():
        text, count = re.subn(pattern, value, text)
        assert count == 1, pattern
    path = tmp_path_factory.mktemp("table") / "narrow.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory, table):
    """One set of float64 weights by dialect: with biases, without, and without but under slim's names again."""
    folder = tmp_path_factory.mktemp("weights")
    files = {name: folder / f"{name}.safetensors" for name in ("slim", "keras", "torch_bias", "torch", "again")}
    initialize(VARIANT, files["slim"], seed=4, num_classes=5, dtype="float64", table=table)
    for name in ("keras", "torch_bias"):
        resport.convert(files["slim"], files[name], to=name, table=table)
    resport.convert(files["slim"], files["torch"], to="torch", table=table, fold=True)
    resport.convert(files["torch"], files["again"], from_="torch", to="slim", table=table)
    return files


def values_of(path):
    with resport.open_reader(path) as reader:
        return {name: reader.read(name) for name in reader.manifest}


def without_biases(values):
    """The running means as the measured rule has them: ``c`` is what was added to the stream so far."""
    root, means = f"{VARIANT}/", {}
    c = values[f"{root}conv1/biases"]
    for block, count in enumerate(UNITS, 1):
        for unit in range(1, count + 1):
            scope = f"{root}block{block}/unit_{unit}/bottleneck_v2"
            means[f"stages.{block - 1}.blocks.{unit - 1}.norm1.running_mean"] = (
                values[f"{scope}/preact/moving_mean"] - c
            )
            c = values[f"{scope}/conv3/biases"] + (values[f"{scope}/shortcut/biases"] if unit == 1 else c)
    means["norm.running_mean"] = values[f"{root}postnorm/moving_mean"] - c
    return means


def test_the_means_are_those_of_the_rule(files):
    expected, torch = without_biases(values_of(files["slim"])), values_of(files["torch"])
    assert len(expected) == sum(UNITS) + 1
    for name, value in expected.items():
        np.testing.assert_allclose(torch[name], value, rtol=0, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("size", [(64, 64), (65, 66)])
def test_without_biases_it_computes_the_same(files, size):
    images = signed_images(size)
    ours = outputs_of(files["slim"], VARIANT, "slim", images, **BUILT)
    theirs = outputs_of(files["again"], VARIANT, "slim", images, **BUILT)
    normalised = [name for name in ours if name.endswith(("/conv1", "/conv2", "global_pool", "logits", "predictions"))]
    assert len(normalised) == 2 * sum(UNITS) + 3
    assert largest_difference(ours, theirs, normalised) < 1e-12
    # The sums themselves have lost their biases.
    assert min(np.abs(ours[f"block{block}"] - theirs[f"block{block}"]).max() for block in (1, 2, 3, 4)) > 1e-3


def test_every_dialect_with_biases_folds_alike(files, table, tmp_path):
    torch = values_of(files["torch"])
    for source in ("keras", "torch_bias"):
        target = tmp_path / f"{source}.safetensors"
        resport.convert(files[source], target, from_=source, to="torch", table=table, fold=True)
        folded = values_of(target)
        assert set(folded) == set(torch)
        assert all((folded[name] == torch[name]).all() for name in torch)


def test_biases_are_kept_where_there_is_a_place_for_them(files, table, tmp_path):
    """No fold is made to a dialect with biases, asked for or not."""
    for dialect in ("keras", "torch_bias"):
        target = tmp_path / f"{dialect}.safetensors"
        resport.convert(files["slim"], target, to=dialect, table=table, fold=True)
        kept, folded = values_of(files[dialect]), values_of(target)
        assert all((folded[name] == kept[name]).all() for name in kept)


def test_without_the_option_it_is_refused(files, table, tmp_path):
    with pytest.raises(PlanError, match="would be lost") as caught:
        resport.convert(files["slim"], tmp_path / "torch.safetensors", to="torch", table=table)
    assert "--fold" in caught.value.hint
    assert len(caught.value.by_kind["lossy"]) == 1 + sum(UNITS) + 4
    assert not (tmp_path / "torch.safetensors").exists()


def test_the_sum_is_rounded_once(files, table, tmp_path):
    single, folded = tmp_path / "single.safetensors", tmp_path / "folded.safetensors"
    resport.convert(files["slim"], single, dtype="float32")
    resport.convert(single, folded, to="torch", table=table, fold=True)
    wide = {name: value.astype("float64") for name, value in values_of(single).items()}
    rounded = values_of(folded)
    for name, value in without_biases(wide).items():
        assert rounded[name].dtype == np.float32
        np.testing.assert_array_equal(rounded[name], value.astype("float32"), err_msg=name)
