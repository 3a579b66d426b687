"""Plans: every tensor accounted for on both sides, all problems at once, and the values where the names say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from resport.errors import OptionError, PlanError
from resport.mapping import Check, Ignored, Plan, PlanOptions, Table, expand, load_table, plan_conversion, plan_copy
from resport.mapping.plan import Adjustment
from resport.tensors import Manifest, TensorSpec
from tests.architectures.resnet_names import slim_name
from tests.mapping.manifest_files import keras_manifest, slim_manifest
from tests.mapping.toy import PATHS, TOY, carried_out, changed, manifest_of, values_of

Load = Callable[[str], Table]

EMA = "/ExponentialMovingAverage"


def spec(name: str, *shape: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, shape, dtype)


@pytest.fixture
def toy(load: Load) -> Table:
    return load(TOY)


def plan_toy(toy: Table, manifest: Manifest, source: str = "slim", target: str = "keras", **options: object) -> Plan:
    return plan_conversion(manifest, expand(toy, "toy_a"), source, target, PlanOptions(**options))


def toy_manifest(toy: Table, dialect: str = "slim", num_classes: int = 10, without: str = "") -> Manifest:
    return manifest_of(expand(toy, "toy_a"), dialect, num_classes, without)


def problems_of(toy: Table, manifest: Manifest, **options: object) -> list[str]:
    with pytest.raises(PlanError) as caught:
        plan_toy(toy, manifest, **options)
    return list(caught.value.problems)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_whole_network_there_and_back(version: str) -> None:
    """slim to Keras and back: the manifests of both frameworks, the right values, and every bit of them."""
    expansion = expand(load_table(f"resnet_{version}"), f"resnet_{version}_50")
    source, target = slim_manifest(version, 50), keras_manifest(version, 50)
    there = plan_conversion(source, expansion, "slim", "keras", PlanOptions(drop_background=version == "v2"))
    assert list(there.targets.values()) == list(target.values())
    back = plan_conversion(there.targets, expansion, "keras", "slim")
    assert {name: s.shape for name, s in back.targets.items() if "/logits/" not in name} == {
        name: s.shape for name, s in source.items() if "/logits/" not in name
    }
    # Small stand-ins would not fit the table's sizes: the real shapes, a number for each tensor in place of values.
    numbers = {name: np.full(s.shape, n, "f4") for n, (name, s) in enumerate(source.items()) if s.size < 20_000}
    for move in there.moves:
        (name,) = move.sources
        if name in numbers and not move.adjustments:
            assert name == f"resnet_{version}_50/{slim_name(move.targets[0].name, int(version[1]))}"
            (moved,) = move.axes.apply([numbers[name]]) if move.axes else [numbers[name]]
            assert moved.shape == move.targets[0].shape
            assert moved.flat[0] == numbers[name].flat[0]


def test_v1_biases_are_filled_and_checked() -> None:
    expansion = expand(load_table("resnet_v1"), "resnet_v1_50")
    there = plan_conversion(slim_manifest("v1", 50), expansion, "slim", "keras")
    biases = {name for name in keras_manifest("v1", 50) if name.endswith("_conv/bias")}
    assert {fill.target.name for fill in there.fills} == biases
    assert {fill.value for fill in there.fills} == {0.0}
    assert len(there.moves) == 267
    back = plan_conversion(keras_manifest("v1", 50), expansion, "keras", "slim")
    assert {check.source for check in back.checks} == biases
    assert all(check == Check(check.source, 0.0, foldable=True) for check in back.checks)


def test_accounting(toy: Table) -> None:
    manifest = changed(
        toy_manifest(toy),
        spec("global_step", dtype="int64"),
        spec("toy_a/stem/weights/Momentum", 3, 3, 3, 4),
        spec("_CHECKPOINTABLE_OBJECT_GRAPH", dtype="string"),
        spec("toy_a/extra/weights", 3),
    )
    plan = plan_toy(toy, manifest, ignore=("*/extra/*",))
    sources = [name for move in plan.moves for name in move.sources]
    ignored = [each.name for each in plan.ignored]
    assert sorted([*sources, *ignored]) == sorted(manifest)
    assert plan.ignored == (
        Ignored("global_step", "step"),
        Ignored("toy_a/stem/weights/Momentum", "optimizer"),
        Ignored("_CHECKPOINTABLE_OBJECT_GRAPH", "strings are no weights"),
        Ignored("toy_a/extra/weights", "--ignore */extra/*"),
    )
    targets = [target.name for move in plan.moves for target in move.targets] + [f.target.name for f in plan.fills]
    assert sorted(targets) == sorted(plan.targets) == sorted(toy_manifest(toy, "keras"))
    assert (plan.family, plan.variant, plan.source_dialect, plan.target_dialect) == ("toy", "toy_a", "slim", "keras")


def test_values(toy: Table) -> None:
    manifest = toy_manifest(toy)
    values = values_of(manifest)
    result = carried_out(plan_toy(toy, manifest), values)
    np.testing.assert_array_equal(result["stem/kernel"], values["toy_a/stem/weights"])
    np.testing.assert_array_equal(
        result["stage2_2_bn/moving_mean"], values["toy_a/block1/unit_2/conv/BatchNorm/moving_mean"]
    )
    np.testing.assert_array_equal(result["top/kernel"], values["toy_a/logits/weights"][0, 0])
    np.testing.assert_array_equal(result["stage3_1_conv/bias"], np.zeros(8, "f4"))


def test_all_problems_in_one_error(toy: Table) -> None:
    name = "toy_a/block1/unit_2/conv/weights"
    manifest = changed(
        toy_manifest(toy),
        spec(f"{name}_0", 1, 1, 4, 4),
        spec("toy_a/stem/weights", 5, 3, 3, 4),
        without=(name, "toy_a/block2/unit_1/conv/BatchNorm/beta"),
    )
    with pytest.raises(PlanError) as caught:
        plan_toy(toy, manifest)
    assert str(caught.value) == (
        "toy_a (slim to keras) does not fit, nothing was written\n"
        "  missing, 2 of the slim names of toy_a:\n"
        "    toy_a/block1/unit_2/conv/weights\n"
        "    toy_a/block2/unit_1/conv/BatchNorm/beta\n"
        "  unexpected, 1 that toy has no row for:\n"
        "    toy_a/block1/unit_2/conv/weights_0\n"
        "  mismatched, 1 whose shape does not fit:\n"
        "    toy_a/stem/weights: expected (3, 3, 3, 4), got (5, 3, 3, 4) (axis `h` is 5 instead of 3)"
    )
    assert caught.value.hint == "`--ignore GLOB` leaves tensors out by name, and the report lists them"


def test_long_lists_are_folded(toy: Table) -> None:
    problems = problems_of(toy, toy_manifest(toy, without="BatchNorm"))
    assert problems == [
        "missing, 12 of the slim names of toy_a:",
        *(
            f"  toy_a/block{{1..2}}/unit_{{1..2}}/conv/BatchNorm/{word} (3)"
            for word in ("gamma", "beta", "moving_mean", "moving_variance")
        ),
    ]


def test_zero_matches_is_a_problem(toy: Table) -> None:
    only_state = Manifest([spec("global_step", dtype="int64")])
    problems = problems_of(toy, only_state, ignore=("toy_a/*",))
    assert problems == ["and:", "  no tensor would be moved"]
    assert problems_of(toy, Manifest())[0] == "missing, 16 of the slim names of toy_a:"


def test_drop_background(toy: Table) -> None:
    manifest = toy_manifest(toy, num_classes=11)
    values = values_of(manifest)
    plan = plan_toy(toy, manifest, drop_background=True)
    assert plan.targets["top/kernel"].shape == (8, 10)
    assert plan.targets["top/bias"].shape == (10,)
    result = carried_out(plan, values)
    np.testing.assert_array_equal(result["top/kernel"], values["toy_a/logits/weights"][0, 0, :, 1:])
    np.testing.assert_array_equal(result["top/bias"], values["toy_a/logits/biases"][1:])
    kept = [move for move in plan.moves if move.adjustments]
    assert [move.adjustments for move in kept] == [
        (Adjustment("drop_background", axis=3),), (Adjustment("drop_background", axis=0),),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("num_classes", "without", "problem"),
    [(1, "", "no class beside the background"), (10, "logits", "no classifier")],
)
def test_no_background_to_drop(num_classes: int, without: str, problem: str, toy: Table) -> None:
    manifest = toy_manifest(toy, num_classes=num_classes, without=without)
    assert problems_of(toy, manifest, drop_background=True) == [
        "and:", f"  --drop-background was asked for, and there is {problem}",
    ]  # fmt: skip


def test_ema(toy: Table) -> None:
    manifest = toy_manifest(toy)
    averaged = ("toy_a/stem/weights", "toy_a/logits/biases")
    shadows = [spec(name + EMA, *manifest[name].shape) for name in averaged]
    manifest = changed(manifest, *shadows)
    plan = plan_toy(toy, manifest, ema=True)
    assert plan.shadowed == averaged
    assert plan.ignored == tuple(Ignored(name, "--ema takes its moving average") for name in averaged)
    values = values_of(manifest)
    result = carried_out(plan, values)
    np.testing.assert_array_equal(result["stem/kernel"], values["toy_a/stem/weights" + EMA])
    np.testing.assert_array_equal(result["top/bias"], values["toy_a/logits/biases" + EMA])
    np.testing.assert_array_equal(result["top/kernel"], values["toy_a/logits/weights"][0, 0])
    raw = plan_toy(toy, manifest)
    assert raw.shadowed == ()
    assert raw.ignored == tuple(Ignored(name + EMA, "average") for name in averaged)


def test_ema_where_the_raw_variable_is_away(toy: Table) -> None:
    """Also of an optional group: a classifier of which there are averages alone is not passed over."""
    manifest = toy_manifest(toy)
    names = ("toy_a/logits/weights", "toy_a/logits/biases")
    manifest = changed(manifest, *(spec(name + EMA, *manifest[name].shape) for name in names), without=names)
    plan = plan_toy(toy, manifest, ema=True)
    assert plan.shadowed == names
    assert {"top/kernel", "top/bias"} <= set(plan.targets)


def test_ema_of_nothing(toy: Table) -> None:
    assert problems_of(toy, toy_manifest(toy), ema=True) == [
        "and:", "  --ema was asked for, and there is no moving average of any variable",
    ]  # fmt: skip


def test_ema_of_another_shape(toy: Table) -> None:
    manifest = changed(toy_manifest(toy), spec("toy_a/stem/weights" + EMA, 3, 3, 3, 5))
    assert problems_of(toy, manifest, ema=True)[1] == (
        f"  toy_a/stem/weights{EMA}: expected (3, 3, 3, 4), got (3, 3, 3, 5) (axis `o` is 5 instead of 4)"
    )


def test_fold(toy: Table) -> None:
    manifest = toy_manifest(toy, "keras")
    values = values_of(manifest)
    unfolded = plan_toy(toy, manifest, "keras", "slim")
    assert unfolded.checks[0] == Check("stage2_1_conv/bias", 0.0, foldable=True)
    plan = plan_toy(toy, manifest, "keras", "slim", fold=True)
    assert plan.checks == ()
    result = carried_out(plan, values)
    for unit, stage in (("block1/unit_1", "stage2_1"), ("block2/unit_1", "stage3_1")):
        mean, bias = values[f"{stage}_bn/moving_mean"], values[f"{stage}_conv/bias"]
        np.testing.assert_array_equal(result[f"toy_a/{unit}/conv/BatchNorm/moving_mean"], mean - bias)
        np.testing.assert_array_equal(
            result[f"toy_a/{unit}/conv/BatchNorm/moving_variance"], values[f"{stage}_bn/moving_variance"]
        )
    assert sorted(result) == sorted(toy_manifest(toy))


def test_folds_and_checks_take_the_moving_averages(load: Load) -> None:
    """With --ema the bias that is folded, or checked, and the mean that it goes into are the averages too."""
    table = load(TOY + '[shadow]\nkeras = "_ema"\n')
    manifest = toy_manifest(table, "keras")
    averaged = ("stage2_1_conv/bias", "stage2_1_bn/moving_mean", "stage3_1_conv/bias")
    manifest = changed(manifest, *(spec(f"{name}_ema", *manifest[name].shape) for name in averaged))
    values = values_of(manifest)
    checks = plan_toy(table, manifest, "keras", "slim", ema=True).checks
    assert [check.source for check in checks] == [
        "stage2_1_conv/bias_ema",
        "stage2_2_conv/bias",
        "stage3_1_conv/bias_ema",
    ]
    assert all(check.foldable for check in checks)
    result = carried_out(plan_toy(table, manifest, "keras", "slim", ema=True, fold=True), values)
    for unit, mean, bias in (
        ("block1/unit_1", "stage2_1_bn/moving_mean_ema", "stage2_1_conv/bias_ema"),
        ("block1/unit_2", "stage2_2_bn/moving_mean", "stage2_2_conv/bias"),
        ("block2/unit_1", "stage3_1_bn/moving_mean", "stage3_1_conv/bias_ema"),
    ):
        expected = values[mean] - values[bias]
        np.testing.assert_array_equal(result[f"toy_a/{unit}/conv/BatchNorm/moving_mean"], expected)


def test_several_folds_into_one_tensor(load: Load) -> None:
    text = TOY.replace(
        '["=0",                  "conv/bias",   "bias width"],',
        '["=0", "conv/bias", "bias width"],\n  ["=0", "conv/offset", "bias width"],',
    ).replace(
        "folds = [",
        'folds = [{ dialect = "keras", op = "bias_into_mean", into = "bn/moving_mean", with = ["conv/offset"] },',
    )
    table = load(text)
    manifest = toy_manifest(table, "keras")
    values = {name: value % 97 for name, value in values_of(manifest).items()}
    result = carried_out(plan_toy(table, manifest, "keras", "slim", fold=True), values)
    expected = values["stage2_1_bn/moving_mean"] - values["stage2_1_conv/offset"] - values["stage2_1_conv/bias"]
    np.testing.assert_array_equal(result["toy_a/block1/unit_1/conv/BatchNorm/moving_mean"], expected)


def test_biases_of_all_that_comes_before(load: Load) -> None:
    """A group of folds alone, and a count that is an index: each mean takes the biases of its block so far."""
    text = TOY.replace("u = [2, 1] }", 'u = [3, 1], later = [2, 0], before = "later" }').replace(
        "u = 1 }", 'u = 1, later = 0, before = "later" }'
    )
    text += """
[[group]]
over = ["b", "later", "before"]
folds = [
  { dialect = "keras", op = "bias_into_mean", into = "stage{b+1}_{later+1}_bn/moving_mean", with = ["stage{b+1}_{before}_conv/bias"] },
]
"""
    table = load(text)
    manifest = toy_manifest(table, "keras")
    plan = plan_toy(table, manifest, "keras", "slim", fold=True)
    folds = {move.sources[0]: move.adjustments for move in plan.moves if move.adjustments}
    assert {name: [each.operands for each in adjustments] for name, adjustments in folds.items()} == {
        "stage2_1_bn/moving_mean": [("stage2_1_conv/bias",)],
        "stage2_2_bn/moving_mean": [("stage2_2_conv/bias", "stage2_1_conv/bias")],
        "stage2_3_bn/moving_mean": [("stage2_3_conv/bias", "stage2_1_conv/bias", "stage2_2_conv/bias")],
        "stage3_1_bn/moving_mean": [("stage3_1_conv/bias",)],
    }
    values = values_of(manifest)
    single = {name: (value / 7).astype("f4") for name, value in values.items()}
    result = carried_out(plan, single)["toy_a/block1/unit_3/conv/BatchNorm/moving_mean"]
    wide = {name: value.astype("f8") for name, value in single.items()}
    taken = sum(wide[f"stage2_{unit}_conv/bias"] for unit in (3, 1, 2))
    np.testing.assert_array_equal(result, (wide["stage2_3_bn/moving_mean"] - taken).astype("f4"))


def test_what_cannot_be_folded_is_still_checked(load: Load) -> None:
    """The mean itself is a constant in slim: it takes no bias along, and no bias gets lost with it."""
    text = TOY.replace(
        '["conv/BatchNorm/{bn}", "bn/{bn}",     "vector width"],',
        '["=0", "bn/moving_mean", "vector width"],\n  ["gamma", "bn/gamma", "vector width"],',
    )
    table = load(text)
    plan = plan_toy(table, toy_manifest(table, "keras"), "keras", "slim", fold=True)
    assert {check.source for check in plan.checks} == {
        f"stage{unit}_{tensor}" for unit in ("2_1", "2_2", "3_1") for tensor in ("conv/bias", "bn/moving_mean")
    }
    assert not any(check.foldable for check in plan.checks)


@pytest.mark.parametrize("glob", ["toy_a/logits/*", "top/*", "*/logits/*"])
def test_ignore_by_source_or_target_name(glob: str, toy: Table) -> None:
    plan = plan_toy(toy, toy_manifest(toy), ignore=(glob,))
    assert plan.ignored == (
        Ignored("toy_a/logits/weights", f"--ignore {glob}"),
        Ignored("toy_a/logits/biases", f"--ignore {glob}"),
    )
    assert not any(name.startswith("top/") for name in plan.targets)


def test_ignored_names_are_not_missing(toy: Table) -> None:
    plan = plan_toy(toy, toy_manifest(toy, without="moving_"), ignore=("*moving_*",))
    assert not any("moving_" in name for name in plan.targets)


def test_ignored_constant_is_not_filled(toy: Table) -> None:
    plan = plan_toy(toy, toy_manifest(toy), ignore=("*_conv/bias",))
    assert plan.fills == ()


def test_dtype(toy: Table) -> None:
    manifest = changed(toy_manifest(toy), spec("toy_a/stem/weights", 3, 3, 3, 4, dtype="float64"))
    plan = plan_toy(toy, manifest, dtype="float16")
    assert {target.dtype for target in plan.targets.values()} == {"float16"}
    values = values_of(manifest)
    np.testing.assert_array_equal(
        carried_out(plan, values)["stem/kernel"], values["toy_a/stem/weights"].astype("float16")
    )
    kept = plan_toy(toy, manifest)
    assert (kept.targets["stem/kernel"].dtype, kept.targets["top/bias"].dtype) == ("float64", "float32")


@pytest.mark.parametrize("dtype", ["int32", "string", "bool", "complex64"])
def test_dtype_must_be_floating(dtype: str) -> None:
    with pytest.raises(OptionError, match=f"`{dtype}` is no floating-point dtype"):
        PlanOptions(dtype=dtype)


def test_unknown_dtype() -> None:
    with pytest.raises(OptionError, match="`float31` is not a dtype"):
        PlanOptions(dtype="float31")


def test_optional_group_absent(toy: Table) -> None:
    plan = plan_toy(toy, toy_manifest(toy, without="logits"))
    assert not any(name.startswith("top/") for name in plan.targets)
    assert len(plan.moves) == 16


def test_half_of_an_optional_group(toy: Table) -> None:
    manifest = changed(toy_manifest(toy), without=("toy_a/logits/biases",))
    assert problems_of(toy, manifest) == ["missing, 1 of the slim names of toy_a:", "  toy_a/logits/biases"]


def test_classifier_whose_tensors_disagree(toy: Table) -> None:
    manifest = changed(toy_manifest(toy), spec("toy_a/logits/biases", 7))
    assert problems_of(toy, manifest) == [
        "mismatched, 1 whose shape does not fit:",
        "  toy_a/logits/biases: expected (10,), got (7,) (axis `classes` is 7 instead of 10)",
    ]


def test_constants_take_their_shape_from_their_layer(load: Load) -> None:
    """Without sizes in the table: the bias is as long as its kernel has outputs, and of the kernel's dtype."""
    text = TOY.replace("conv 1 1 width width", "conv").replace("bias width", "bias")
    table = load(text)
    manifest = Manifest(
        spec(s.name, *s.shape, dtype="float16") if s.name.endswith("unit_2/conv/weights") else s
        for s in toy_manifest(load(TOY)).values()
    )
    plan = plan_toy(table, manifest)
    assert plan.targets["stage3_1_conv/bias"] == spec("stage3_1_conv/bias", 8)
    assert plan.targets["stage2_2_conv/bias"] == spec("stage2_2_conv/bias", 4, dtype="float16")


def test_constant_of_a_layer_of_its_own(load: Load) -> None:
    """Where the table tells the shape no other tensor has to."""
    text = TOY.replace('"conv/bias",   "bias width"', '"lone/bias",   "bias width"').replace('["conv/b', '["lone/b')
    plan = plan_toy(load(text), toy_manifest(load(TOY)))
    assert plan.targets["stage3_1_lone/bias"] == spec("stage3_1_lone/bias", 8)


def test_constant_of_another_length_than_its_layer(load: Load) -> None:
    """Where the table tells the shape it is the table's, whatever the layer's other tensors call their axes."""
    plan = plan_toy(load(TOY.replace('"bias width"', '"bias 7"')), toy_manifest(load(TOY)))
    assert plan.targets["stage3_1_conv/bias"] == spec("stage3_1_conv/bias", 7)


def test_parameter_that_holds_no_numbers(toy: Table) -> None:
    manifest = changed(toy_manifest(toy), spec("toy_a/stem/weights", 3, 3, 3, 4, dtype="string"))
    assert problems_of(toy, manifest) == [
        "mismatched, 1 whose shape does not fit:", "  toy_a/stem/weights: expected numbers, got a string",
    ]  # fmt: skip


@pytest.mark.parametrize("source", ["split", "joined", "stacked", "keras"])
@pytest.mark.parametrize("target", ["split", "joined", "stacked", "keras"])
def test_paths(source: str, target: str, load: Load) -> None:
    """Every pair of dialects, against numpy's own concatenate and transpose."""
    expansion = expand(load(PATHS), "paths_3")
    split = values_of(manifest_of(expansion, "split"))
    layouts: dict[str, dict[str, np.ndarray]] = {"split": split, "joined": {}, "stacked": {}, "keras": {}}
    for block in (1, 2):
        paths = [split[f"block{block}/path_{path}/weights"] for path in (1, 2, 3)]
        layouts["joined"][f"b{block}.conv.weight"] = np.concatenate(paths, axis=3)
        layouts["stacked"][f"layer{block}/kernel"] = np.concatenate([p.transpose(2, 3, 0, 1) for p in paths], axis=0)
        for number, path in enumerate(paths, 1):
            layouts["keras"][f"block{block}/path_{number}/kernel"] = path.transpose(3, 0, 1, 2)
    plan = plan_conversion(manifest_of(expansion, source), expansion, source, target)
    result = carried_out(plan, layouts[source])
    assert result.keys() == layouts[target].keys()
    for name, value in result.items():
        np.testing.assert_array_equal(value, layouts[target][name], strict=True)


def test_paths_that_do_not_go_together(load: Load) -> None:
    """Tensors that are to be stacked must agree in shape and dtype, also where the table tells no sizes."""
    expansion = expand(load(PATHS.replace("grouped 3 3 2 5", "grouped")), "paths_3")
    whole = manifest_of(expand(load(PATHS), "paths_3"), "split")
    another = changed(whole, spec("block1/path_2/weights", 3, 3, 2, 6))
    with pytest.raises(PlanError) as caught:
        plan_conversion(another, expansion, "split", "joined")
    assert "block1/path_2/weights: " in caught.value.problems[1]
    assert caught.value.problems[1].endswith("got (3, 3, 2, 6) (axis `o` is 6 instead of 5)")
    mixed = changed(whole, spec("block1/path_2/weights", 3, 3, 2, 5, dtype="float16"))
    with pytest.raises(PlanError, match="block1/path_1/weights and its fellows have different dtypes"):
        plan_conversion(mixed, expansion, "split", "joined")
    lacking = changed(whole, without=("block1/path_2/weights",))
    with pytest.raises(PlanError, match="missing, 1 of the split names of paths_3"):
        plan_conversion(lacking, expansion, "split", "joined")


def test_joined_kernel_that_does_not_come_out_even(load: Load) -> None:
    expansion = expand(load(PATHS.replace("grouped 3 3 2 5", "grouped")), "paths_3")
    manifest = Manifest([spec("b1.conv.weight", 3, 3, 2, 16), spec("b2.conv.weight", 3, 3, 2, 15)])
    with pytest.raises(PlanError) as caught:
        plan_conversion(manifest, expansion, "joined", "split")
    assert caught.value.problems == (
        "mismatched, 1 whose shape does not fit:",
        "  b1.conv.weight: expected axes `h w i (g o)`, got (3, 3, 2, 16) (axis `(g o)` is 16 instead of 3)",
    )


def test_copy() -> None:
    manifest = Manifest(
        [spec("b", 3), spec("a", 2, dtype="int64"), spec("text", dtype="string"), spec("skip/me", 4), spec("c")]
    )
    plan = plan_copy(manifest, PlanOptions(dtype="float64", ignore=("skip/*",)))
    assert list(plan.targets.values()) == [spec("b", 3, dtype="float64"), manifest["a"], spec("c", dtype="float64")]
    assert plan.ignored == (Ignored("text", "strings are no weights"), Ignored("skip/me", "--ignore skip/*"))
    assert plan.family is None
    assert all(move.axes is None for move in plan.moves)


def test_copy_of_nothing() -> None:
    with pytest.raises(PlanError) as caught:
        plan_copy(Manifest([spec("a", 2)]), PlanOptions(ignore=("*",)))
    assert caught.value.problems == ("ignored: a (--ignore *)",)
    with pytest.raises(PlanError, match="there is nothing to move"):
        plan_copy(Manifest())


def test_value_changes() -> None:
    assert PlanOptions().value_changes() == {}
    options = PlanOptions(drop_background=True, ema=True, fold=True, dtype="float16", ignore=("x",))
    assert options.value_changes() == {"drop_background": True, "ema": True, "fold": True, "dtype": "float16"}
