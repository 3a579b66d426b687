"""Expansions of the shipped tables equal the networks as their own frameworks made them; and what expansion refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resport.errors import OptionError, TableError
from resport.mapping import Expansion, Table, expand, load_table, tables_folder
from resport.mapping.checking import known_specs
from resport.mapping.counts import look_up
from resport.mapping.layer_order import layer_of
from resport.mapping.templates import Template
from resport.tensors import Manifest
from tests.mapping.manifest_files import (
    DEPTHS,
    KERAS_DEPTHS,
    SLIM_CLASSES,
    keras_manifest,
    slim_manifest,
    stated_totals,
)
from tests.mapping.toy import PATHS, TOY

Load = Callable[[str], Table]

# Units of all blocks together, and parameters with a classifier of 1000 (v1: 1000, v2: 1001) classes.
UNITS = {50: 16, 101: 33, 152: 50, 200: 66}
SLIM_PARAMETERS = {
    "v1": {50: 25_610_152, 101: 44_654_504, 152: 60_344_232, 200: 64_849_832},
    "v2": {50: 25_615_849, 101: 44_677_609, 152: 60_382_697, 200: 64_896_489},
}


def expansion_of(version: str, depth: int, table: Table | None = None) -> Expansion:
    return expand(table or load_table(f"resnet_{version}"), f"resnet_{version}_{depth}")


def shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    return {name: spec.shape for name, spec in manifest.items()}


def expanded_shapes(expansion: Expansion, dialect: str, num_classes: int) -> dict[str, tuple[int, ...]]:
    specs = known_specs(expansion, dialect, num_classes)
    assert specs is not None, "the tables of the ResNets tell every shape"
    return shapes(specs)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_slim_names_and_shapes(version: str, depth: int) -> None:
    manifest = slim_manifest(version, depth)
    assert expanded_shapes(expansion_of(version, depth), "slim", SLIM_CLASSES[version]) == shapes(manifest)


@pytest.mark.parametrize("depth", KERAS_DEPTHS)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_keras_names_shapes_and_order(version: str, depth: int) -> None:
    manifest = keras_manifest(version, depth)
    expanded = expanded_shapes(expansion_of(version, depth), "keras", 1000)
    assert list(expanded.items()) == list(shapes(manifest).items())


@pytest.mark.parametrize("depth", KERAS_DEPTHS)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_keras_totals(version: str, depth: int) -> None:
    specs = known_specs(expansion_of(version, depth), "keras", 1000)
    assert specs is not None
    totals = {"n_vars": len(specs), "n_params": sum(spec.size for spec in specs.values())}
    assert totals == stated_totals(version, depth)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_counts(version: str, depth: int) -> None:
    expansion = expansion_of(version, depth)
    per_unit, rest = {"v1": (15, 27), "v2": (16, 16)}[version]
    specs = known_specs(expansion, "slim", SLIM_CLASSES[version])
    assert specs is not None
    assert len(specs) == per_unit * UNITS[depth] + rest
    assert sum(spec.size for spec in specs.values()) == SLIM_PARAMETERS[version][depth]
    # Keras has no network of 200 layers; the count goes on as that of the others does.
    per_unit, rest = {"v1": (18, 32), "v2": (16, 16)}[version]
    assert len(expansion.names("keras")) == per_unit * UNITS[depth] + rest


BROKEN = {
    "letter": ("conv3/weights", "conv3/weight"),
    "offset": ("conv{b+1}_block{u}_", "conv{b}_block{u}_"),
    "count": ("u = [3, 4, 6, 3]", "u = [3, 4, 5, 3]"),
    "size": ("conv 3 3 width width", "conv 1 3 width width"),
    "size list": ("depth = [256, 512", "depth = [256, 256"),
    "words": ("preact_bn/{bn}", "preact_bn/{bn}s"),
}


@pytest.mark.parametrize("edit", BROKEN.values(), ids=BROKEN)
def test_a_broken_table_is_seen(edit: tuple[str, str], load: Load) -> None:
    """The comparisons above can fail: one edit of a copy, and names or shapes differ."""
    text = (tables_folder() / "resnet_v2.toml").read_text(encoding="utf-8")
    assert edit[0] in text
    try:
        expansion = expansion_of("v2", 50, load(text.replace(edit[0], edit[1], 1)))
    except TableError as error:
        # The table contradicts itself: the edited name is no longer that of its folds.
        assert "a fold names" in str(error)
        return
    slim = {
        name: expansion.by_name["slim"][name].shape("slim", {"classes": 1001}) for name in expansion.by_name["slim"]
    }
    keras = {
        name: expansion.by_name["keras"][name].shape("keras", {"classes": 1000}) for name in expansion.by_name["keras"]
    }
    same_slim = slim == shapes(slim_manifest("v2", 50))
    same_keras = keras == shapes(keras_manifest("v2", 50))
    assert not (same_slim and same_keras)


def test_a_broken_order_is_seen(load: Load) -> None:
    text = (tables_folder() / "resnet_v2.toml").read_text(encoding="utf-8")
    first, second = '"conv{b+1}_block{u}_0_conv"', '"conv{b+1}_block{u}_3_conv"'
    swapped = text.replace(first, "X").replace(second, first).replace("X", second)
    assert expansion_of("v2", 50, load(swapped)).names("keras") != list(keras_manifest("v2", 50))


def test_rows_pair_the_same_parameter() -> None:
    """What the manifests can't tell: which slim tensor is which Keras one, written out for one unit of v1."""
    by_name = expansion_of("v1", 50).by_name["slim"]
    unit = "resnet_v1_50/block2/unit_1/bottleneck_v1"
    pairs = {
        "shortcut/weights": "conv3_block1_0_conv/kernel",
        "shortcut/BatchNorm/moving_variance": "conv3_block1_0_bn/moving_variance",
        "conv1/weights": "conv3_block1_1_conv/kernel",
        "conv2/BatchNorm/gamma": "conv3_block1_2_bn/gamma",
        "conv3/BatchNorm/beta": "conv3_block1_3_bn/beta",
    }
    assert {name: by_name[f"{unit}/{name}"].names["keras"] for name in pairs} == {k: (v,) for k, v in pairs.items()}


def test_folds() -> None:
    folds = {fold.into: fold.operands for fold in expansion_of("v1", 50).folds}
    assert len(folds) == 1 + 3 * UNITS[50] + 4
    assert folds["conv5_block3_2_bn/moving_mean"] == ("conv5_block3_2_conv/bias",)
    assert folds["conv1_bn/moving_mean"] == ("conv1_conv/bias",)


def test_dependent_counts_words_constants_and_root(load: Load) -> None:
    expansion = expand(load(TOY), "toy_a", {"keras": "model/"})
    units = ["block1/unit_1", "block1/unit_2", "block2/unit_1"]
    words = ("gamma", "beta", "moving_mean", "moving_variance")
    expected = ["toy_a/stem/weights"]
    for unit in units:
        expected += [f"toy_a/{unit}/conv/weights", *(f"toy_a/{unit}/conv/BatchNorm/{word}" for word in words)]
    assert expansion.names("slim") == [*expected, "toy_a/logits/weights", "toy_a/logits/biases"]
    bias = expansion.by_name["keras"]["model/stage3_1_conv/bias"]
    assert (bias.names["slim"], bias.constants, bias.shape("keras")) == ((), {"slim": 0.0}, (8,))
    kernel = expansion.by_name["keras"]["model/top/kernel"]
    assert kernel.optional
    assert kernel.shape("keras") is None
    assert (kernel.shape("keras", {"classes": 7}), kernel.shape("slim", {"classes": 7})) == ((8, 7), (1, 1, 8, 7))
    assert len(expand(load(TOY), "toy_b").names("slim")) == len(expected) + 2


def test_one_against_many(load: Load) -> None:
    expansion = expand(load(PATHS), "paths_3")
    first, second = expansion.parameters
    assert first.names["split"] == ("block1/path_1/weights", "block1/path_2/weights", "block1/path_3/weights")
    assert second.names["keras"] == ("block2/path_1/kernel", "block2/path_2/kernel", "block2/path_3/kernel")
    assert second.names["joined"] == ("b2.conv.weight",)
    assert first.shape("split") == (3, 3, 2, 5)
    assert first.shape("joined") == (3, 3, 2, 15)
    assert first.shape("stacked") == (6, 5, 3, 3)
    assert first.shape("keras") == (5, 3, 3, 2)
    for dialect in expansion.table.dialects:
        for parameter in expansion.parameters:
            assert all(expansion.by_name[dialect][name] is parameter for name in parameter.names[dialect])


REFUSED = {
    "clash": (
        '["stem/weights", "stem/kernel", "conv 3 3 3 4"]',
        '["stem/weights", "top/bias", "vector 3"]',
        "`FILE`: two rows give the keras name `top/bias`: group 1 row `stem/weights`, group 3 row `logits/biases`",
    ),
    "clash of words": (
        '"bn/{bn}"',
        '"bn/x"',
        "`FILE`: two rows give the keras name `stage2_1_bn/x`: "
        "group 2 row `conv/BatchNorm/{bn}`, group 2 row `conv/BatchNorm/{bn}`",
    ),
    "below zero": (
        '"stage{b+1}_{u}_"',
        '"stage{b-2}_{u}_"',
        "`FILE`, group 2, row `conv/weights`: `{b-2}` is -1 where `b` is 1",
    ),
    "fold of nothing": (
        'with = ["conv/bias"]',
        'with = ["konv/bias"]',
        "`FILE`: a fold names `stage2_1_konv/bias`, which no row gives to keras",
    ),
    "empty count": ("u = [2, 1]", "u = []", "`FILE`, group 2: index `u`: `[]` is no count"),
    "count too deep": (
        "b = 2, u = [2, 1]",
        "b = [2, 1], u = 1",
        "`FILE`, group 2: index `b`: `[2, 1]` goes by `b`, which is not outside of it",
    ),
    "count too large": (
        "b = 2, u = [2, 1]",
        "b = 10001, u = 1",
        "`FILE`, group 2: index `b` counts to 10001, further than 10000",
    ),
    "too many combinations": (
        "b = 2, u = [2, 1]",
        "b = 400, u = 400",
        "`FILE`, group 2: its indices have more than 10000 combinations",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(old: str, new: str, message: str, load: Load, tmp_path: Path) -> None:
    assert TOY.count(old) == 1
    with pytest.raises(TableError) as caught:
        expand(load(TOY.replace(old, new)), "toy_a").check()
    assert str(caught.value).replace(str(tmp_path / "toy.toml"), "FILE") == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("grouped 3 3 2 5", "grouped 3 3 2 5 7", "5 sizes for the 4 axes of `grouped` (h w i o)"),
        (
            'keras   = "o h w i"',
            'keras   = "o h w i"\nsizes = { g = 4 }',
            "axis `g` has size 4, and index `g` counts to 3",
        ),
    ],
)
def test_fan_refused(old: str, new: str, message: str, load: Load) -> None:
    with pytest.raises(TableError) as caught:
        expand(load(PATHS.replace(old, new)), "paths_3")
    assert message in str(caught.value)


def test_ragged_fan_is_refused(load: Load) -> None:
    """Paths of different lengths have no common axis."""
    text = PATHS.replace('"b", "g"]', '"g", "b"]').replace("b = 2, g = 3", "g = 3, b = [2, 1]")
    with pytest.raises(TableError, match="the count of `b` depends on `g`, which is an axis in another dialect"):
        expand(load(text), "paths_3")


def test_count_of_a_fan_may_go_by_an_outer_index(load: Load) -> None:
    expansion = expand(load(PATHS.replace("g = 3", "g = [3, 4]")), "paths_3")
    assert [len(parameter.names["split"]) for parameter in expansion.parameters] == [3, 4]
    assert [parameter.shape("joined") for parameter in expansion.parameters] == [(3, 3, 2, 15), (3, 3, 2, 20)]


def test_unknown_variant(load: Load) -> None:
    with pytest.raises(OptionError) as caught:
        expand(load(TOY), "toy_c")
    assert str(caught.value) == "family `toy` has no variant `toy_c`\n  expected: toy_a, toy_b"


ORDER = '[order]\nkeras = ["top", "stage{b+1}_{u}_bn", "stage{b+1}_{u}_conv", "stem"]\n'


def test_order_takes_turns(load: Load) -> None:
    names = expand(load(TOY + ORDER), "toy_a").names("keras")
    layers = list(dict.fromkeys(layer_of(name) for name in names))
    units = ["stage2_1", "stage2_2", "stage3_1"]
    assert layers == ["top", *(f"{unit}_{kind}" for unit in units for kind in ("bn", "conv")), "stem"]
    assert names[:2] == ["top/kernel", "top/bias"], "inside a layer the rows' order stays"


def test_order_goes_by_the_group_not_by_the_holes(load: Load) -> None:
    table = load((TOY + ORDER).replace("stage{b+1}_{u}_", "unit{u}_of_{b+1}_"))
    names = expand(table, "toy_a").names("keras")
    assert [layer_of(name) for name in names if "kernel" in name] == [
        "top", "unit1_of_2_conv", "unit2_of_2_conv", "unit1_of_3_conv", "stem",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (ORDER.replace('"stem"', ""), "[order] keras has no place for layer `stem`"),
        (ORDER.replace('"stem"', '"stem", "x{b-2}"'), "[order] keras: `{b-2}` is -1 where `b` is 1"),
    ],
)
def test_order_refused(order: str, message: str, load: Load) -> None:
    with pytest.raises(TableError) as caught:
        expand(load(TOY + order), "toy_a").names("keras")
    assert str(caught.value).endswith(f": {message}")


def test_order_of_indices_that_no_group_has(load: Load) -> None:
    own = '[[group]]\nover = ["c"]\nrows = [["x{c}/a", "y{c}/a", "vector 3"]]\n[order]\nkeras = ["stem", "y{c}_{b}"]\n'
    with pytest.raises(TableError, match=r"\[order\] keras: no group runs over b and c"):
        expand(load(TOY.replace("{ b = ", "{ c = 1, b = ") + own), "toy_a").names("keras")


@pytest.mark.parametrize(
    ("value", "indices", "over", "number"),
    [
        (5, {}, (), 5),
        ([5, 6, 7], {"b": 2}, ("b",), 6),
        ([5, 6, 7], {"b": 9}, ("b",), 7),
        ([5, 6, 7], {}, (), 5),
        ([[1, 2], [3, 4]], {"b": 2, "u": 7}, ("b", "u"), 4),
        ([[1, 2], [3, 4]], {"b": 2}, ("b",), 3),
        ([1, [2, 3]], {"b": 2, "u": 2}, ("b", "u"), 3),
        ("u", {"b": 2, "u": 7}, ("b", "u", "before"), 7),
    ],
)
def test_look_up(value: object, indices: dict[str, int], over: tuple[str, ...], number: int) -> None:
    assert look_up(value, indices, over) == number


@pytest.mark.parametrize("value", [True, -1, 2.5, "3", [], [[]], None, {}])
def test_look_up_refuses(value: object) -> None:
    with pytest.raises(ValueError, match="is no count"):
        look_up(value, {}, ())


@pytest.mark.parametrize(
    ("name", "layer"),
    [("a/b/kernel", "a/b"), ("conv1.weight", "conv1"), ("a.b/c", "a.b"), ("kernel", "")],
)
def test_layer_of(name: str, layer: str) -> None:
    assert layer_of(name) == layer


def test_no_regular_expression_is_needed_for_a_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expansion fills holes and nothing else: the pattern of a template is for detection alone."""

    def refuse(*_: object) -> str:
        raise AssertionError("a pattern was made")

    monkeypatch.setattr(Template, "pattern", refuse)
    assert len(expansion_of("v2", 50).names("keras")) == 272
