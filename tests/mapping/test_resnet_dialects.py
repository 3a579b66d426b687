"""tensorpack's and torch's names of ResNet v1 and v2, and tensorpack's pre-activation network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import resport
from resport.conversion.initialization import initialize
from resport.errors import PlanError
from resport.mapping import Table, detect, expand, load_table, shipped_tables
from resport.mapping.checking import known_specs
from resport.tensors import Manifest
from tests.mapping.plain_manifests import plain_manifest

# family, variant, dialect, manifest, number of tensors; what a file in these names is detected as
NETWORKS = [
    ("resnet_v1", "resnet_v1_50", "tensorpack", "tp_resnet_50", 267, "resnet_v1"),
    ("resnet_v1", "resnet_v1_101", "tensorpack", "tp_resnet_101", 522, "resnet_v1"),
    ("resnet_v1", "resnet_v1_152", "tensorpack", "tp_resnet_152", 777, "resnet_v1"),
    ("resnet_v1", "resnet_v1_50", "torch", "tv_resnet50", 267, "resnet_v1"),
    ("resnet_v1", "resnet_v1_101", "torch", "tv_resnet101", 522, "resnet_v1"),
    ("resnet_v1", "resnet_v1_152", "torch", "tv_resnet152", 777, "resnet_v1"),
    ("resnet_v2", "resnet_v2_50", "torch", "timm_resnetv2_50", 251, "resnet_v2"),
    ("resnet_v2", "resnet_v2_101", "torch", "timm_resnetv2_101", 506, "resnet_v2"),
    ("preact_resnet", "preact_resnet_50", "tensorpack", "tp_preact_50", 251, "preact_resnet"),
    ("preact_resnet", "preact_resnet_101", "tensorpack", "tp_preact_101", 506, "preact_resnet"),
    ("preact_resnet", "preact_resnet_152", "tensorpack", "tp_preact_152", 761, "preact_resnet"),
    # One network of timm's fits two families: a file is taken for the one that has more dialects to go to.
    ("preact_resnet", "preact_resnet_50", "torch", "timm_resnetv2_50", 251, "resnet_v2"),
    ("preact_resnet", "preact_resnet_101", "torch", "timm_resnetv2_101", 506, "resnet_v2"),
]


def shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    return {name: spec.shape for name, spec in manifest.items() if not name.endswith("num_batches_tracked")}


def shapes_of(table: Table, variant: str, dialect: str) -> dict[str, tuple[int, ...]]:
    specs = known_specs(expand(table, variant), dialect, 1000)
    assert specs is not None
    return shapes(specs)


@pytest.mark.parametrize(("family", "variant", "dialect", "file", "n_tensors", "detected"), NETWORKS)
def test_names_shapes_and_detection(
    family: str, variant: str, dialect: str, file: str, n_tensors: int, detected: str
) -> None:
    manifest = plain_manifest(file)
    expanded = shapes_of(load_table(family), variant, dialect)
    assert expanded == shapes(manifest)
    assert len(expanded) == n_tensors
    found = detect(manifest, shipped_tables())
    assert (found.family, found.dialect, found.is_complete) == (detected, dialect, True)
    assert detect(manifest, [load_table(family)], dialect=dialect).variant == variant


def test_a_biased_timm_network_is_the_stock_one_with_biases() -> None:
    table = load_table("resnet_v2")
    stock, biased = (shapes_of(table, "resnet_v2_50", dialect) for dialect in ("torch", "torch_bias"))
    added = {name: shape for name, shape in biased.items() if name not in stock}
    kernels = {name: shape for name, shape in stock.items() if len(shape) == 4 and not name.startswith("head")}
    assert added == {name.replace(".weight", ".bias"): shape[:1] for name, shape in kernels.items()}
    assert {name: biased[name] for name in stock} == stock


PAIRS = {
    "resnet_v1": {
        "group1/block0/convshortcut/bn/mean/EMA": "layer2.0.downsample.1.running_mean",
        "group2/block5/conv2/bn/variance/EMA": "layer3.5.bn2.running_var",
        "group0/block1/conv3/W": "layer1.1.conv3.weight",
        "conv0/bn/gamma": "bn1.weight",
        "linear/b": "fc.bias",
    },
    # The measured map, written out: what tensorpack normalises behind a group, timm does in front of the next stage.
    "preact_resnet": {
        "conv0/bn/gamma": "stages.0.blocks.0.norm1.weight",
        "group0/bnlast/bn/beta": "stages.1.blocks.0.norm1.bias",
        "group2/bnlast/bn/mean/EMA": "stages.3.blocks.0.norm1.running_mean",
        "group3/bnlast/bn/variance/EMA": "norm.running_var",
        "group1/block3/preact/bn/gamma": "stages.1.blocks.3.norm1.weight",
        "group1/block3/conv1/bn/gamma": "stages.1.blocks.3.norm2.weight",
        "group1/block3/conv2/bn/gamma": "stages.1.blocks.3.norm3.weight",
        "group3/block0/convshortcut/W": "stages.3.blocks.0.downsample.conv.weight",
    },
}


@pytest.mark.parametrize("family", PAIRS)
def test_rows_pair_the_same_parameter(family: str) -> None:
    by_name = expand(load_table(family), f"{family}_50").by_name["tensorpack"]
    assert {name: by_name[name].names["torch"] for name in PAIRS[family]} == {k: (v,) for k, v in PAIRS[family].items()}


@pytest.mark.parametrize("family", ["resnet_v1", "preact_resnet"])
def test_values_are_moved_bit_for_bit_through_the_axes(family: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in ("tensorpack", "torch", "back")]
    initialize(f"{family}_50", files[0], dialect="tensorpack", num_classes=7)
    for source, target, to in zip(files, files[1:], ("torch", "tensorpack"), strict=False):
        table = resport.load_table(family).path
        resport.convert(source, target, to=to, table=table, variant=f"{family}_50")
    with (
        resport.open_reader(files[0]) as ours,
        resport.open_reader(files[1]) as torch,
        resport.open_reader(files[2]) as back,
    ):
        for name, other in PAIRS[family].items():
            value = ours.read(name)
            moved = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
            assert (torch.read(other) == moved).all(), name
        head = "fc.weight" if family == "resnet_v1" else "head.fc.weight"
        assert (torch.read(head).reshape(7, 2048) == ours.read("linear/W").T).all()
        assert dict(ours.manifest) == dict(back.manifest)
        assert all((ours.read(name) == back.read(name)).all() for name in ours.manifest)


def test_slims_biases_go_to_the_biased_timm_network_alone(tmp_path: Path) -> None:
    source, target = tmp_path / "slim.safetensors", tmp_path / "torch.safetensors"
    initialize("resnet_v2_50", source, num_classes=7)
    with pytest.raises(PlanError, match=r"conv1/biases must be 0 throughout") as caught:
        resport.convert(source, target, to="torch")
    assert "--fold" in caught.value.hint
    report = resport.convert(source, target, to="torch_bias")
    assert len(report.filled) == 32
    assert any("stem_type" in warning for warning in report.warnings)
    with resport.open_reader(source) as ours, resport.open_reader(target) as torch:
        unit = "resnet_v2_50/block3/unit_1/bottleneck_v2"
        assert (torch.read("stages.2.blocks.0.downsample.conv.bias") == ours.read(f"{unit}/shortcut/biases")).all()
        assert (torch.read("stages.2.blocks.0.conv3.bias") == ours.read(f"{unit}/conv3/biases")).all()
        assert (torch.read("stages.2.blocks.0.conv2.bias") == np.zeros(256)).all()
        assert (torch.read("stem.conv.bias") == ours.read("resnet_v2_50/conv1/biases")).all()
    back = tmp_path / "back.safetensors"
    resport.convert(target, back, to="slim")
    with resport.open_reader(source) as ours, resport.open_reader(back) as theirs:
        assert all((ours.read(name) == theirs.read(name)).all() for name in ours.manifest)
