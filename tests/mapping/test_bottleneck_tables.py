"""SE-ResNet, ResNeXt and SE-ResNeXt: the tables' names and shapes are those of the networks' own implementations."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resport.mapping import Expansion, Table, detect, expand, load_table, shipped_tables, tables_folder
from resport.mapping.checking import known_specs
from resport.mapping.detection import ignored_kind
from resport.tensors import Manifest, TensorSpec
from tests.mapping.plain_manifests import plain_manifest, stated_numbers

# family, variant, dialect, manifest
NETWORKS = [
    ("se_resnet", "se_resnet_50", "tensorpack", "tp_se_50"),
    ("se_resnet", "se_resnet_101", "tensorpack", "tp_se_101"),
    ("se_resnet", "se_resnet_152", "tensorpack", "tp_se_152"),
    ("se_resnet", "se_resnet_50", "torch", "timm_seresnet50"),
    ("resnext", "resnext50_32x4d", "tensorpack", "tp_resnext32x4d_50"),
    ("resnext", "resnext101_32x4d", "tensorpack", "tp_resnext32x4d_101"),
    ("resnext", "resnext152_32x4d", "tensorpack", "tp_resnext32x4d_152"),
    ("resnext", "resnext50_32x4d", "torch", "tv_resnext50_32x4d"),
    ("se_resnext", "se_resnext50_32x4d", "torch", "timm_seresnext50_32x4d"),
]

# Tensors and parameters with 1000 classes, in every dialect.
COUNTS = {
    "se_resnet_50": (331, 28_141_144),
    "se_resnet_101": (654, 49_432_216),
    "se_resnet_152": (977, 66_973_272),
    "resnext50_32x4d": (267, 25_097_128),
    "resnext101_32x4d": (522, 44_315_560),
    "resnext152_32x4d": (777, 60_150_696),
    "se_resnext50_32x4d": (331, 27_628_120),
}


def specs_of(expansion: Expansion, dialect: str) -> Manifest:
    specs = known_specs(expansion, dialect, 1000)
    assert specs is not None, "the tables tell every shape"
    return specs


def shapes(manifest: Manifest, table: Table, dialect: str) -> dict[str, tuple[int, ...]]:
    globs = table.ignore[dialect]
    return {name: spec.shape for name, spec in manifest.items() if not ignored_kind(name, globs)}


@pytest.mark.parametrize(("family", "variant", "dialect", "file"), NETWORKS)
def test_names_and_shapes(family: str, variant: str, dialect: str, file: str) -> None:
    table = load_table(family)
    expanded = specs_of(expand(table, variant), dialect)
    assert shapes(expanded, table, dialect) == shapes(plain_manifest(file), table, dialect)
    stated = stated_numbers(file)
    assert len(expanded) == stated.get("n_without_nbt", stated.get("n_vars"))
    # torch's own count of parameters leaves the statistics of batch norm out; all entries is the one to hold against.
    assert sum(spec.size for spec in expanded.values()) == stated.get("entries", stated.get("n_params"))


@pytest.mark.parametrize("variant", COUNTS)
def test_counts_in_every_dialect(variant: str) -> None:
    table = next(table for table in shipped_tables() if variant in table.variants)
    expansion = expand(table, variant)
    for dialect in table.dialects:
        specs = specs_of(expansion, dialect)
        assert (len(specs), sum(spec.size for spec in specs.values())) == COUNTS[variant], dialect


@pytest.mark.parametrize(("family", "variant", "dialect", "file"), NETWORKS)
def test_detected_among_all_families(family: str, variant: str, dialect: str, file: str) -> None:
    """ResNeXt's names are ResNet's in torch and tensorpack: only the shapes tell them apart."""
    found = detect(plain_manifest(file), shipped_tables())
    assert (found.family, found.variant, found.dialect) == (family, variant, dialect)
    assert found.is_complete
    assert found.num_classes == 1000


@pytest.mark.parametrize("variant", COUNTS)
@pytest.mark.parametrize("dialect", ["slim", "keras"])
def test_detected_in_the_names_of_our_builders(variant: str, dialect: str) -> None:
    table = next(table for table in shipped_tables() if variant in table.variants)
    found = detect(specs_of(expand(table, variant), dialect), shipped_tables())
    assert (found.variant, found.dialect, found.is_complete) == (variant, dialect, True)


def test_what_a_training_run_adds_is_ignored_and_statistics_are_not() -> None:
    table = load_table("se_resnet")
    own = plain_manifest("tp_se_50")
    extra = ["global_step", "learning_rate", "conv0/W/Momentum", "EMA/train-error", "tower0/EMA/QueueInput"]
    manifest = Manifest([*own.values(), *(TensorSpec(name, (), "float32") for name in extra)])
    assert detect(manifest, [table]).is_complete
    assert ignored_kind("conv0/bn/variance/EMA", table.ignore["tensorpack"]) is None


@pytest.mark.parametrize(
    ("family", "edit"),
    [
        ("se_resnet", ("gate squeezed depth", "gate depth squeezed")),
        ("se_resnet", ('torch = "o i 1 1" }', 'torch = "i o 1 1" }')),
        ("resnext", ("conv 3 3 group width", "conv 3 3 width width")),
        ("resnext", ('"layer{b}.{u-1}."', '"layer{b}.{u}."')),
        ("resnext", ("group = [4, 8, 16, 32]", "group = [4, 8, 16, 16]")),
    ],
)
def test_a_broken_table_is_seen(family: str, edit: tuple[str, str], load: Callable[[str], Table]) -> None:
    """The comparisons above can fail: one edit of a copy, and names or shapes differ."""
    text = (tables_folder() / f"{family}.toml").read_text(encoding="utf-8")
    assert text.count(edit[0]) == 1
    table = load(text.replace(*edit))
    same = [
        shapes(specs_of(expand(table, variant), dialect), table, dialect)
        == shapes(plain_manifest(file), table, dialect)
        for of, variant, dialect, file in NETWORKS
        if of == family
    ]
    assert not all(same)
