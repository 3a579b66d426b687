"""The walk from difference to difference, and the verdict on a mutant, on a network of numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from resport.errors import OptionError
from resport.verification.mistakes import diagnosis, self_test
from resport.verification.mistakes.catalogue import known_mistakes
from resport.verification.mistakes.diagnosis import explain
from resport.verification.mistakes.findings import Finding, MutantResult, SelfTestResult
from resport.verification.mistakes.kinds import KINDS, Mistake, never
from resport.verification.mistakes.self_test import (
    DOES_NOT_FIT,
    FORWARD,
    HAS_IT_SO,
    HIDDEN,
    PROBE,
    SELF_TEST_TRIES,
    WEIGHTS,
    Mutant,
    is_sure,
    judge_mutant,
    make_mutants,
)
from resport.verification.mistakes.workbench import Change, View
from tests.verification.mistakes.bench_of_numpy import NumpyBench

BIAS = "two/bias"


@pytest.fixture
def bench() -> Any:
    return NumpyBench()


def change_of(bench: Any, *wanted: tuple[str, set[str]]) -> Change:
    """Some mistakes made, one after the other, each the first of its kind that touches something."""
    change = Change()
    for kind, touches in wanted:
        for each in known_mistakes(bench):
            step = each.make(View(bench, change)) if each.kind == kind and touches <= each.touches else None
            if step is not None:
                change = change.then(step)
                break
        else:
            raise AssertionError(kind)
    return change


def only(findings: tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    return finding


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.startswith(("bn-", "kernels-", "epsilon", "residual", "class", "bias"))]
)
def test_each_mistake_is_named(bench: Any, kind: str) -> None:
    made = [each for each in known_mistakes(bench) if each.kind == kind and each.make(View(bench, Change()))]
    for mistake in made:
        change = mistake.make(View(bench, Change()))
        assert change is not None
        finding = only(explain(bench, change))
        assert finding.kinds == (kind,) and finding.after <= bench.limit < finding.before
        assert finding.before == max(bench.differences(change).values())
        assert finding.sentence == mistake.sentence and finding.remedy == mistake.remedy
    assert made or kind == "epsilon-1e-05"


def test_mistakes_behind_each_other_are_all_found(bench: Any) -> None:
    wanted = [
        ("bn-gamma-beta", {"one_bn/gamma"}),
        ("bias-dropped", {BIAS}),
        ("kernel-inputs-outputs", {"three/kernel"}),
        ("class-shift", {"logits/bias"}),
    ]
    finding = only(explain(bench, change_of(bench, *wanted)))
    assert finding.kinds == tuple(kind for kind, _ in wanted)
    assert finding.after <= bench.limit


def test_two_mistakes_at_one_end_point_are_undone_together(bench: Any) -> None:
    wanted = [("bias-dropped", {BIAS}), ("kernel-inputs-outputs", {"two/kernel"}), ("residual-scale", {"two_scale"})]
    for pair in (wanted[:2], wanted[1:]):
        finding = only(explain(bench, change_of(bench, *pair)))
        assert set(finding.kinds) == {kind for kind, _ in pair}
        assert finding.after <= bench.limit


@pytest.mark.parametrize("kinds", [("bn-gamma-beta", "bn-beta-mean"), ("bn-beta-mean", "bn-gamma-beta")])
def test_two_mistakes_in_the_same_tensors_are_undone_in_their_order(bench: Any, kinds: tuple[str, str]) -> None:
    first, second = kinds
    change = change_of(bench, (first, {"one_bn/beta"}), (second, {"one_bn/beta"}))
    finding = only(explain(bench, change))
    # Three vectors that go round can be put back by more than one pair of exchanges.
    assert len(finding.kinds) == 2 and all(kind.startswith("bn-") for kind in finding.kinds)
    assert finding.after <= bench.limit


def test_pairs_that_may_have_been_made_together() -> None:
    def mistake(kind: str, *touches: str) -> Mistake:
        return Mistake(kind, "", frozenset(touches), never, never, "")

    one, other, apart = mistake("kind", "a", "b"), mistake("other", "b"), mistake("kind", "c")
    assert list(diagnosis._pairs([one, other, apart])) == [(one, other), (other, one), (one, apart), (other, apart)]
    # One tensor can't have been mistaken twice in the same way.
    assert list(diagnosis._pairs([one, mistake("kind", "b", "c")])) == []


def test_no_more_mistakes_are_looked_for_than_so_many(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "MISTAKES_AT_ONCE", 1)
    wanted = [("bn-gamma-beta", {"one_bn/gamma"}), ("class-shift", {"logits/bias"})]
    first, rest = explain(bench, change_of(bench, *wanted))
    assert first.kinds == ("bn-gamma-beta",) and rest.kinds == ()
    assert "the difference at `logits`, which `logits/bias`, `logits/kernel` feed" in rest.sentence
    assert rest.before == rest.after == first.after > bench.limit


def test_what_feeds_an_end_point_that_agrees_is_no_suspect(bench: Any) -> None:
    """Values behind the first end point alone are named, and those in front of it that agree are not tried."""
    other = bench.value(BIAS) * 3
    finding = only(explain(bench, Change({BIAS: other})))
    assert finding.kinds == ("other-values",) and BIAS in finding.sentence
    broken = Change({BIAS: other}, {"two_scale": 0.55})
    runs_before = bench.runs
    finding = only(explain(bench, broken))
    assert finding.kinds == () and finding.before == finding.after > bench.limit
    assert "at `two`, which `two/bias`, `two/kernel`, `two_scale` feed" in finding.sentence
    assert bench.runs - runs_before < 400


def test_tensors_that_are_known_to_agree_are_left_alone(bench: Any) -> None:
    change = change_of(bench, ("bias-dropped", {BIAS}))
    assert only(explain(bench, change, frozenset({BIAS}))).kinds == ("bias-dropped",)
    told = explain(bench, change, frozenset({"one/kernel"}))
    assert only(told).kinds == ()
    # A mistake in the graph touches no tensor, so no comparison of tensors speaks against it.
    change = change_of(bench, ("residual-scale", {"two_scale"}))
    assert only(explain(bench, change, frozenset())).kinds == ("residual-scale",)


def test_a_known_mistake_comes_before_values_that_are_just_other_ones(bench: Any) -> None:
    change = change_of(bench, ("bias-dropped", {BIAS}))
    assert only(explain(bench, change)).kinds == ("bias-dropped",)


def test_an_edit_that_cannot_be_run_was_not_made(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, refused = bench.differences, []

    def differences(change: Change, only: Any = None) -> dict[str, float]:
        if "one/kernel" in change.tensors:
            refused.append(change)
            raise OptionError("maps don't fit together")
        found: dict[str, float] = run(change, only)
        return found

    monkeypatch.setattr(bench, "differences", differences)
    finding = only(explain(bench, change_of(bench, ("vector-default", {"one_bn/beta"}))))
    assert finding.kinds == ("vector-default",) and refused


def test_all_end_points_are_computed_only_where_the_first_one_agrees(bench: Any) -> None:
    only(explain(bench, change_of(bench, ("bias-dropped", {"logits/bias"}))))
    # As it is, and without the mistake.
    assert bench.whole_runs == 2 and bench.runs > 4


def test_the_mistake_that_explains_most_is_named(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = {}, {}
    for name in ("one/kernel", "three/kernel"):
        right[name] = bench.value(name)
        wrong[name] = right[name] * 2

    def mistake(kind: str, *names: str) -> Mistake:
        undo = Change({name: right[name] for name in names})
        return Mistake(kind, kind, frozenset({"one/kernel"}), never, lambda view: undo, "")

    half, all_of_it = mistake("half", "one/kernel"), mistake("all", "one/kernel", "three/kernel")
    for known in ([half, all_of_it], [all_of_it, half]):
        monkeypatch.setattr(diagnosis, "known_mistakes", lambda bench, known=known: iter(known))
        assert only(explain(bench, Change(wrong))).kinds == ("all",)


def test_one_mistake_in_every_layer_is_undone_in_one_step(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "MISTAKES_AT_ONCE", 1)
    finding = only(explain(bench, change_of(bench, ("bias-dropped", {BIAS}), ("bias-dropped", {"logits/bias"}))))
    assert finding.kinds == ("bias-dropped",) and finding.after <= bench.limit
    assert BIAS in finding.sentence and "logits/bias" in finding.sentence


def mutants(bench: Any, *kinds: str, seed: int = 0) -> dict[str, Any]:
    return dict(make_mutants(bench, kinds, seed))


def test_one_mutant_of_each_kind_or_the_reason_why_there_is_none(bench: Any) -> None:
    found = mutants(bench, *KINDS)
    assert set(found) == set(KINDS)
    missing = {kind: reason for kind, reason in found.items() if not isinstance(reason, Mutant)}
    assert missing == {
        "epsilon-1e-05": HAS_IT_SO,
        "ema": KINDS["ema"],
        "background-kept": KINDS["background-kept"],
        "scale-without-epsilon": KINDS["scale-without-epsilon"],
    }
    for kind, mutant in found.items():
        if kind not in missing:
            assert mutant.mistake.kind == kind
            assert mutant.differences == bench.differences(mutant.change)


def test_the_seed_chooses_the_place_of_a_mistake_in_tensors(bench: Any) -> None:
    kind = "vector-default"
    places = {mutants(bench, kind, seed=seed)[kind].mistake.touches for seed in range(12)}
    assert len(places) > 2
    assert mutants(bench, kind, seed=4)[kind].mistake.touches == mutants(bench, kind, seed=4)[kind].mistake.touches


@pytest.mark.parametrize(("n_refused", "is_made"), [(1, True), (19, True), (20, False)])
def test_a_mistake_that_cannot_be_run_is_made_elsewhere_so_many_times(
    bench: Any, monkeypatch: pytest.MonkeyPatch, n_refused: int, is_made: bool
) -> None:
    run, tried = bench.differences, []

    def differences(change: Change, only: Any = None) -> dict[str, float]:
        tried.append(change)
        if len(tried) <= n_refused:
            raise OptionError("maps don't fit together")
        found: dict[str, float] = run(change, only)
        return found

    places = [each for each in known_mistakes(bench) if each.kind == "residual-scale"] * 9
    monkeypatch.setattr(self_test, "known_mistakes", lambda bench: iter(places))
    monkeypatch.setattr(bench, "differences", differences)
    (found,) = mutants(bench, "residual-scale").values()
    assert isinstance(found, Mutant) == is_made
    assert is_made or (found == DOES_NOT_FIT and len(tried) == SELF_TEST_TRIES)


def test_values_that_hide_a_mistake_are_told_from_a_network_without_a_place_for_it() -> None:
    same = {"one_bn/gamma": np.ones(4, "float32"), "one_bn/moving_variance": np.ones(4, "float32")}
    hidden: Any = NumpyBench(target=same)
    found = mutants(hidden, "bn-gamma-variance", "bn-gamma-beta", "ema")
    assert found["bn-gamma-variance"] == HIDDEN
    assert isinstance(found["bn-gamma-beta"], Mutant)
    assert found["ema"] == KINDS["ema"]


def mutant_of(bench: Any, kind: str) -> Mutant:
    (mutant,) = mutants(bench, kind).values()
    assert isinstance(mutant, Mutant)
    return mutant


def test_a_mutant_is_caught_by_both_checks_or_not_at_all(bench: Any) -> None:
    mutant = mutant_of(bench, "bn-gamma-beta")
    result = judge_mutant(bench, mutant, FORWARD, diagnose=True)
    assert result.caught and result.check == FORWARD and result.diagnosed == "bn-gamma-beta"
    assert result.margin == max(mutant.differences.values()) / bench.limit
    assert result.first_divergence == "one"
    assert judge_mutant(bench, mutant, FORWARD).diagnosed is None
    # The networks agree although a tensor differs: the forward check missed it.
    unseen = Mutant(mutant.mistake, mutant.change, dict.fromkeys(mutant.differences, 0.0))
    missed = judge_mutant(bench, unseen, FORWARD)
    assert not missed.caught and missed.margin == 0 and missed.first_divergence is None
    # On random weights only what feeds a dead unit stays unseen, and the comparison of tensors has it.
    assert judge_mutant(bench, unseen, PROBE) == MutantResult(
        "bn-gamma-beta", mutant.mistake.sentence, True, WEIGHTS, math.inf
    )
    # The outputs differ although every tensor is the same, and no edit explains it: that is no catch.
    nothing = Mutant(mutant.mistake, Change({BIAS: bench.value(BIAS)}), mutant.differences)
    assert not judge_mutant(bench, nothing, FORWARD).caught
    edited = mutant_of(bench, "residual-scale")
    assert judge_mutant(bench, edited, FORWARD).caught
    unseen = Mutant(edited.mistake, edited.change, dict.fromkeys(edited.differences, 0.0))
    assert not judge_mutant(bench, unseen, PROBE).caught


def test_a_catch_is_sure_with_a_margin(bench: Any) -> None:
    def result(caught: bool, margin: float) -> MutantResult:
        return MutantResult("kind", "what", caught, FORWARD, margin)

    assert is_sure(result(True, 10.0)) and not is_sure(result(True, 9.9))
    assert not is_sure(result(False, 99.0)) and not is_sure(None)


def test_a_self_test_is_passed_by_catching_something_and_missing_nothing() -> None:
    caught, missed = (MutantResult("kind", "what", each, FORWARD, 9.0 if each else 0.5) for each in (True, False))
    assert SelfTestResult((caught,), {}).is_passed
    assert not SelfTestResult((), {}).is_passed and not SelfTestResult((caught, missed), {}).is_passed
    assert SelfTestResult((caught, missed), {}).smallest_margin == 0.5


@pytest.mark.parametrize(
    ("first", "second", "kept"), [((True, 2.0), (False, 99.0), 2.0), ((False, 99.0), (True, 2.0), 2.0)]
)
def test_a_catch_counts_more_than_a_margin(
    bench: Any,
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[bool, float],
    second: tuple[bool, float],
    kept: float,
) -> None:
    kind = "residual-scale"
    results = {kind: MutantResult(kind, "what", first[0], FORWARD, first[1])}
    again = MutantResult(kind, "what", second[0], PROBE, second[1])
    monkeypatch.setattr(self_test, "judge_mutant", lambda *_: again)
    assert self_test._make_all(bench, [kind], PROBE, results, 0, lambda text: None, False) == {}
    assert results[kind].margin == kept


def test_a_mistake_that_changes_nothing_is_made_elsewhere(bench: Any) -> None:
    """Places are tried until one shows, and those that would change nothing don't count."""
    bench.target["two/bias"] = np.zeros(4, "float32")
    for seed in range(4):
        assert mutants(bench, "bias-dropped", seed=seed)["bias-dropped"].mistake.touches == {"logits/bias"}
    bench.target["logits/bias"] = np.zeros(7, "float32")
    assert mutants(bench, "bias-dropped")["bias-dropped"] == HIDDEN
    assert Mistake("kind", "", frozenset(), never, never, "").make(View(bench, Change())) is None
