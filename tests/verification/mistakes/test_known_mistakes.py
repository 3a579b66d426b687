"""Every known mistake does what its sentence says, and undoing it gives back what was there: on arrays, one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from resport.architectures.graph_edits import PADDED, SAME, VALID, BatchNorm, PoolPadding
from resport.mapping import PlanOptions
from resport.mapping.plan import Adjustment
from resport.verification.mistakes.catalogue import known_mistakes
from resport.verification.mistakes.in_graph import graph_mistakes
from resport.verification.mistakes.in_options import background_mistakes
from resport.verification.mistakes.kinds import KINDS, OTHER_VALUES, Mistake
from resport.verification.mistakes.target_tensors import VECTORS
from resport.verification.mistakes.workbench import Change, View
from tests.verification.mistakes.bench_of_numpy import GROUPS, SHAPES, SITES, NumpyBench

NO_CHANGE = Change()


@pytest.fixture
def bench() -> Any:
    return NumpyBench()


def mistakes(bench: Any, kind: str, *touches: str) -> list[Mistake]:
    found = [each for each in known_mistakes(bench) if each.kind == kind]
    return [each for each in found if set(touches) <= each.touches]


def only(found: list[Mistake]) -> Mistake:
    (mistake,) = found
    return mistake


def made(bench: Any, mistake: Mistake, before: Change = NO_CHANGE) -> Change:
    change = mistake.make(View(bench, before))
    assert change is not None
    return change


def undone(bench: Any, mistake: Mistake, change: Change) -> Change | None:
    return mistake.undo(View(bench, change))


def test_undoing_gives_back_what_was_there(bench: Any) -> None:
    seen = set()
    for mistake in known_mistakes(bench):
        change = mistake.make(View(bench, NO_CHANGE))
        if change is None or mistake.kind in ("float16", "bfloat16"):
            continue
        seen.add(mistake.kind)
        assert {*change.tensors, *change.edits} == mistake.touches
        back = undone(bench, mistake, change)
        assert back is not None, mistake
        both = change.then(back)
        for name, value in both.tensors.items():
            np.testing.assert_array_equal(value, bench.value(name))
        assert {site: bench.site_values[site] for site in both.edits} == both.edits
    # The others want a source with averages, a background class, a fold, or another epsilon to begin with.
    assert {*KINDS} - seen == {
        "ema", "background-kept", "scale-without-epsilon", "float16", "bfloat16", "epsilon-1e-05"
    }  # fmt: skip


def test_what_explains_less_is_tried_later(bench: Any) -> None:
    kinds = [each.kind for each in known_mistakes(bench)]
    assert len(kinds) - kinds[::-1].index("class-shift") - 1 < kinds.index("background-kept")
    assert set(kinds[kinds.index(OTHER_VALUES) :]) == {OTHER_VALUES}


def test_vectors_of_one_layer_are_exchanged_in_every_pair(bench: Any) -> None:
    found = [each for each in known_mistakes(bench) if each.kind.startswith("bn-")]
    names = [f"one_bn/{vector}" for vector in VECTORS]
    assert {each.touches for each in found} == {frozenset(pair) for pair in combinations(names, 2)}
    assert len({each.kind for each in found}) == 6
    for each in found:
        one, other = each.touches
        change = made(bench, each)
        np.testing.assert_array_equal(change.tensors[one], bench.value(other))
        np.testing.assert_array_equal(change.tensors[other], bench.value(one))


def test_kernels_of_one_shape_are_neighbours_or_not(bench: Any) -> None:
    one, two, three = "one/kernel", "two/kernel", "three/kernel"
    assert [each.touches for each in mistakes(bench, "kernels-neighbours")] == [{one, two}, {two, three}]
    assert only(mistakes(bench, "kernels-across")).touches == {one, three}


def test_kernels_are_rearranged(bench: Any) -> None:
    stem = bench.value("stem/kernel")
    flipped = made(bench, only(mistakes(bench, "kernel-flipped", "stem/kernel"))).tensors["stem/kernel"]
    np.testing.assert_array_equal(flipped, np.rot90(stem, 2, (0, 1)))
    assert "`--kernel-order tf`" in only(mistakes(bench, "kernel-flipped", "stem/kernel")).remedy
    turned = made(bench, only(mistakes(bench, "kernel-height-width", "stem/kernel"))).tensors["stem/kernel"]
    np.testing.assert_array_equal(turned, stem.transpose(1, 0, 2, 3))
    colours = made(bench, only(mistakes(bench, "rgb-bgr"))).tensors["stem/kernel"]
    np.testing.assert_array_equal(colours, stem[:, :, [2, 1, 0]])
    # A window that isn't square can be turned round, and its axes can't be exchanged.
    assert mistakes(bench, "kernel-flipped", "tall/kernel") and not mistakes(
        bench, "kernel-height-width", "tall/kernel"
    )
    assert {name for each in mistakes(bench, "kernel-inputs-outputs") for name in each.touches} == {
        "one/kernel", "two/kernel", "three/kernel", "tall/kernel"
    }  # fmt: skip


def test_groups_are_permuted_as_a_reshape_the_wrong_way_does(bench: Any) -> None:
    mistake = only(mistakes(bench, "groups-permuted"))
    changed = made(bench, mistake).tensors["grouped/kernel"]
    kernel = bench.value("grouped/kernel")
    per_group = kernel.shape[-1] // GROUPS
    for group in range(GROUPS):
        for position in range(per_group):
            old, new = kernel[..., group * per_group + position], changed[..., position * GROUPS + group]
            np.testing.assert_array_equal(new, old)


def test_classes_are_shifted_both_ways(bench: Any) -> None:
    behind, in_front = mistakes(bench, "class-shift")
    for mistake, step, words in ((behind, 1, "behind its own"), (in_front, -1, "in front of its own")):
        change = made(bench, mistake)
        assert words in mistake.sentence and mistake.touches == {"logits/kernel", "logits/bias"}
        for name in mistake.touches:
            value = bench.value(name)
            for index in range(SHAPES[name][-1]):
                place = (index + step) % SHAPES[name][-1]
                np.testing.assert_array_equal(change.tensors[name][..., place], value[..., index])


@pytest.mark.parametrize(
    ("kind", "name", "default"),
    [
        ("vector-default", "one_bn/gamma", 1.0),
        ("vector-default", "one_bn/beta", 0.0),
        ("vector-default", "one_bn/moving_mean", 0.0),
        ("vector-default", "one_bn/moving_variance", 1.0),
        ("bias-dropped", "two/bias", 0.0),
    ],
)
def test_what_is_left_out_has_its_default(bench: Any, kind: str, name: str, default: float) -> None:
    mistake = only(mistakes(bench, kind, name))
    change = made(bench, mistake)
    assert (change.tensors[name] == default).all() and f"is {default:g} throughout" in mistake.sentence
    # It can't be made twice, nor undone where it wasn't made.
    assert mistake.make(View(bench, change)) is None
    assert undone(bench, mistake, NO_CHANGE) is None
    almost = change.tensors[name].copy()
    almost[0] += 1
    assert undone(bench, mistake, Change({name: almost})) is None


def test_one_element_is_one_element(bench: Any) -> None:
    mistake = only(mistakes(bench, "element", "one/kernel"))
    value, changed = bench.value("one/kernel"), made(bench, mistake).tensors["one/kernel"]
    assert (value != changed).sum() == 1
    assert np.abs(changed - value).max() == pytest.approx(1e-3 * np.ptp(value), rel=1e-3)
    two = changed.copy()
    two[0, 0] += 1
    for wrong in (two, value):
        assert undone(bench, mistake, Change({"one/kernel": wrong})) is None
    other = only(mistakes(bench, OTHER_VALUES, "one/kernel"))
    assert other.make(View(bench, NO_CHANGE)) is None and undone(bench, other, NO_CHANGE) is None
    back = undone(bench, other, Change({"one/kernel": two}))
    assert back is not None
    np.testing.assert_array_equal(back.tensors["one/kernel"], value)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_values_are_rounded(bench: Any, dtype: str) -> None:
    mistake = only(mistakes(bench, dtype))
    change = made(bench, mistake)
    assert change.tensors.keys() == SHAPES.keys() == mistake.touches
    for name, value in change.tensors.items():
        assert value.dtype == np.float32 and (value != bench.value(name)).any()
        np.testing.assert_allclose(value, bench.value(name), rtol=5e-3)
    # The source is rounded likewise, rather than the target un-rounded, which nobody can.
    back = undone(bench, mistake, change)
    assert back is not None and back.tensors == {} and back.options == PlanOptions(dtype=dtype)
    assert mistakes(NumpyBench(PlanOptions(dtype=dtype)), dtype) == []


def test_a_fold_that_left_the_epsilon(bench: Any) -> None:
    shift = 1e-5 - 1.001e-5
    assert mistakes(bench, "scale-without-epsilon") == []
    folded = (Adjustment("scale_into_gamma", ("s",)), Adjustment("shift_epsilon", value=shift))
    other = (Adjustment("add_background", axis=0, value=-99.0),)
    bench.pair.plan = SimpleNamespace(moves=[SimpleNamespace(adjustments=each) for each in (folded, other)])
    mistake = only(mistakes(bench, "scale-without-epsilon"))
    change = made(bench, mistake)
    name = "one_bn/moving_variance"
    assert mistake.touches == {name}
    np.testing.assert_allclose(change.tensors[name], bench.value(name).astype("float64") - shift, rtol=1e-12)
    back = undone(bench, mistake, change)
    assert back is not None
    np.testing.assert_allclose(back.tensors[name], bench.value(name), rtol=1e-12)


def test_a_background_class_is_aligned_with_the_others(bench: Any) -> None:
    found = [each for each in background_mistakes(bench) if each.kind == "background-kept"]
    # What is kept can only be made where the conversion drops it.
    assert all(each.make(View(bench, NO_CHANGE)) is None for each in found)
    logits = np.arange(6.0).reshape(1, 6)
    outputs = {"pool": logits, "logits": logits, "predictions": (logits + 1) / (logits + 1).sum()}
    aligned = []
    for each in found:
        change = undone(bench, each, NO_CHANGE)
        assert change is not None and change.align is not None
        expected, actual = change.align(outputs, outputs)
        assert expected["pool"] is outputs["pool"] and actual["pool"] is outputs["pool"]
        for side in (expected, actual):
            assert side["predictions"].sum() == pytest.approx(1)
            np.testing.assert_allclose(side["predictions"], (side["logits"] + 1) / (side["logits"] + 1).sum())
        aligned.append((expected["logits"].tolist()[0], actual["logits"].tolist()[0]))
    whole, first_cut, last_cut = [*range(6)], [*range(1, 6)], [*range(5)]
    assert aligned == [(last_cut, first_cut), (whole, first_cut), (first_cut, whole)]
    dropping = NumpyBench(PlanOptions(drop_background=True))
    kept = mistakes(dropping, "background-kept")[0]
    change = made(dropping, kept)
    # ``expected`` gives the whole classifier here, whose last class is then cut.
    np.testing.assert_array_equal(change.tensors["logits/kernel"], dropping.values["logits/kernel"][:, :-1])
    np.testing.assert_array_equal(change.tensors["logits/bias"], dropping.values["logits/bias"][:-1])


def edits(bench: Any, kind: str) -> list[Any]:
    found = [each for each in graph_mistakes(bench) if each.kind == kind]
    changes = [each.make(View(bench, NO_CHANGE)) for each in found]
    return [dict(change.edits) for change in changes if change is not None]


def test_another_epsilon_is_that_of_every_batch_norm(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = (BatchNorm("one_bn", 1e-5), BatchNorm("two_bn", 1e-5))
    monkeypatch.setattr(bench.editor, "sites", replace(SITES, batch_norms=norms), raising=False)
    bench.site_values["two_bn"] = 1e-5
    for kind, value in (("epsilon-1.001e-05", 1.001e-5), ("epsilon-1.1e-05", 1.1e-5), ("epsilon-0.001", 1e-3)):
        assert edits(bench, kind) == [{"one_bn": value, "two_bn": value}]
    assert edits(bench, "epsilon-1e-05") == []
    # An epsilon of its own is one that can be wrong.
    mistake = next(each for each in graph_mistakes(bench) if each.kind == "epsilon-0.001")
    assert undone(bench, mistake, NO_CHANGE) is None
    bench.site_values["two_bn"] = 1e-3
    assert edits(bench, "epsilon-1.1e-05") == []


def test_pools_are_padded_otherwise(bench: Any) -> None:
    for kind, padding in (
        ("pool-same-zero", PoolPadding(SAME, 0.0)),
        ("pool-valid", PoolPadding(VALID)),
        ("pool-padded", PoolPadding(PADDED)),
        ("pool-padded-zero", PoolPadding(PADDED, 0.0)),
    ):
        assert {"pool1": padding} in edits(bench, kind)
    # Behind a ReLU the fill is no matter: one padding of each place stands for both fills, the network's own first.
    behind = [edit for kind in KINDS if kind.startswith("pool-") for edit in edits(bench, kind) if "pool2" in edit]
    assert sorted(behind, key=str) == sorted([{"pool2": PoolPadding(SAME)}, {"pool2": PoolPadding(VALID)}], key=str)
    assert PoolPadding(SAME).fill == -math.inf


def test_a_stride_is_taken_by_the_convolution_in_front(bench: Any) -> None:
    assert edits(bench, "stride-moved") == [{"stem": 2, "grouped": 1}]


def test_a_residual_is_scaled_otherwise(bench: Any) -> None:
    assert sorted(edit["two_scale"] for edit in edits(bench, "residual-scale")) == [0.10, 0.20, 1.0]
