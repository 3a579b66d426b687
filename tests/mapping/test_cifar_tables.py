"""The CIFAR nets of taki0112: names that count through the session, and four forms of one unit."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product

import pytest

from resport.mapping import Expansion, Table, detect, expand, load_table, shipped_tables, tables_folder
from resport.mapping.checking import known_specs
from resport.tensors import Manifest
from tests.mapping.plain_manifests import plain_manifest, stated_numbers

NETWORKS = {
    "resnext_cifar": ("resnext29_8x64d", "taki_ResNeXt", 771, 3_978_944),
    "se_resnext_cifar": ("se_resnext29_8x64d", "taki_SE_ResNeXt", 789, 4_107_968),
}
TRAINING = re.compile(r".*/Momentum|.*/moving_mean/(biased|local_step)")


def specs_of(expansion: Expansion, dialect: str) -> Manifest:
    specs = known_specs(expansion, dialect, 10)
    assert specs is not None
    return specs


def shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    return {name: spec.shape for name, spec in manifest.items() if not TRAINING.fullmatch(name)}


@pytest.mark.parametrize("family", NETWORKS)
def test_names_shapes_and_counts(family: str) -> None:
    variant, file, n_tensors, n_parameters = NETWORKS[family]
    expanded = specs_of(expand(load_table(family), variant), "taki")
    assert shapes(expanded) == shapes(plain_manifest(file))
    assert (len(expanded), sum(spec.size for spec in expanded.values())) == (n_tensors, n_parameters)


@pytest.mark.parametrize("family", NETWORKS)
def test_a_training_checkpoint_is_detected_whole(family: str) -> None:
    """With Momentum slots and the zero-debias extras in their doubled scope, all accounted for."""
    variant, file, n_tensors, _ = NETWORKS[family]
    manifest = plain_manifest(file)
    assert len(manifest) == stated_numbers(file)["n_vars"] > 1500
    found = detect(manifest, shipped_tables())
    assert (found.family, found.variant, found.dialect, found.root) == (family, variant, "taki", "")
    assert found.is_complete
    assert (found.matched, found.num_classes) == (n_tensors, 10)


@pytest.mark.parametrize("family", NETWORKS)
def test_counters_follow_the_order_in_which_layers_were_made(family: str) -> None:
    """Written out for the paths of one unit: which counted name is which layer."""
    variant = NETWORKS[family][0]
    by_name = expand(load_table(family), variant).by_name["taki"]
    root = f"{variant}/block2/unit_3/bottleneck"
    # Unit 6 of 9: 1 + 17 * 5 = 86 convolutions before it.
    expected = {f"conv2d_{86 + 2 * path}/kernel": f"{root}/path_{path + 1}/conv1/weights" for path in range(8)}
    expected |= {f"conv2d_{87 + 2 * path}/kernel": f"{root}/path_{path + 1}/conv2/weights" for path in range(8)}
    for name, split in expected.items():
        names = by_name[name].names
        assert names["slim_split"][names["taki"].index(name)] == split
    assert by_name["conv2d_102/kernel"].names["slim"] == (f"{root}/conv3/weights",)
    assert by_name["split_layer_2_2_splitN_7_batch2/gamma"].names["keras_concat"][7] == "conv3_block3_path8_2_bn/gamma"
    assert by_name["trans_layer_2_2_batch1/beta"].names["keras"] == ("conv3_block3_3_bn/beta",)
    if family == "se_resnext_cifar":
        assert by_name["dense_10/kernel"].names["slim"] == (f"{root}/se/fc1/weights",)
        assert by_name["dense_11/kernel"].names["keras"] == ("conv3_block3_se_fc2/kernel",)
        assert by_name["dense/kernel"].names["keras"] == ("conv2_block1_se_fc1/kernel",)


@pytest.mark.parametrize(
    ("framework", "form", "n_tensors", "n_parameters"),
    [
        (framework, *row)
        for framework, row in product(
            ["slim", "keras"],
            [
                ("", 141, 3_978_944),
                ("_concat", 771, 3_978_944),
                ("_split", 834, 3_978_944),
                ("_dense", 141, 22_558_400),
            ],
        )
    ],
)
def test_forms_have_the_same_parameters_in_other_tensors(
    framework: str, form: str, n_tensors: int, n_parameters: int
) -> None:
    specs = specs_of(expand(load_table("resnext_cifar"), "resnext29_8x64d"), framework + form)
    # The sum has 8 last kernels a unit in place of one. A dense kernel is 8 times as large, zeros mostly.
    assert (len(specs), sum(spec.size for spec in specs.values())) == (n_tensors, n_parameters)
    unit = "resnext29_8x64d/block3/unit_1/bottleneck"
    kernels = {
        "slim": (f"{unit}/conv2/weights", (3, 3, 64, 512)),
        "slim_concat": (f"{unit}/path_8/conv2/weights", (3, 3, 64, 64)),
        "slim_split": (f"{unit}/path_8/conv3/weights", (1, 1, 64, 256)),
        "slim_dense": (f"{unit}/conv2/weights", (3, 3, 512, 512)),
        "keras": ("conv4_block1_2_conv/kernel", (3, 3, 64, 512)),
        "keras_concat": ("conv4_block1_3_conv/kernel", (1, 1, 512, 256)),
        "keras_split": ("conv4_block1_path1_1_bn/gamma", (64,)),
        "keras_dense": ("conv4_block1_1_bn/gamma", (512,)),
    }
    name, shape = kernels[framework + form]
    assert specs[name].shape == shape


@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.parametrize("form", ["", "_concat", "_split", "_dense"])
@pytest.mark.parametrize("framework", ["slim", "keras"])
def test_every_form_is_detected(framework: str, form: str, family: str) -> None:
    variant = NETWORKS[family][0]
    found = detect(specs_of(expand(load_table(family), variant), framework + form), shipped_tables())
    assert (found.variant, found.dialect, found.is_complete) == (variant, framework + form, True)


@pytest.mark.parametrize(
    "edit",
    [
        ("first  = { start = 1, ", "first  = { start = 2, "),
        ("step = { b = 51, u = 17 } }", "step = { b = 34, u = 17 } }"),
        (
            "fc2    = { start = 1, step = { b = 6, u = 2 }, suffix = true }",
            "fc2    = { start = 1, step = { b = 6, u = 2 } }",
        ),
        ("splitN_{path-1}_batch1", "splitN_{path}_batch1"),
        ("dense squeezed depth", "dense depth squeezed"),
    ],
)
def test_a_broken_table_is_seen(edit: tuple[str, str], load: Callable[[str], Table]) -> None:
    text = (tables_folder() / "se_resnext_cifar.toml").read_text(encoding="utf-8")
    assert text.count(edit[0]) == 1
    try:
        expanded = shapes(specs_of(expand(load(text.replace(*edit)), "se_resnext29_8x64d"), "taki"))
    except Exception as error:
        assert "two rows give" in str(error)
    else:
        assert expanded != shapes(plain_manifest("taki_SE_ResNeXt"))
