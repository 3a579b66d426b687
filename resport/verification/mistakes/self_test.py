"""A check that cannot fail proves nothing: every known mistake is made on the target, and has to be caught.

One of each kind is made, at a place that the seed chooses. A mistake in the tensors has to be seen by both checks that
run in earnest: by the comparison of tensors bit for bit, and by the forward passes, which know nothing of the first. A
mistake in the graph can be seen by the forward passes alone. Weights on which a mistake doesn't show (gamma and
variance both one, and exchanged) are no excuse: it is made on random weights then, as verification does it. Only where
these don't show it either, one element behind a unit that no image activates, the comparison of tensors stands alone.
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from resport.errors import OptionError
from resport.verification.forward.forward import (
    FORWARD_FLOAT64_LIMIT,
    NetworkSide,
)
from resport.verification.mistakes.catalogue import known_mistakes
from resport.verification.mistakes.diagnosis import explain
from resport.verification.mistakes.findings import MutantResult, SelfTestResult
from resport.verification.mistakes.kinds import KINDS, Mistake, never
from resport.verification.mistakes.workbench import Change, View, Workbench, probing_bench
from resport.verification.pairing import Pair
from resport.verification.weights import value_difference

SURE_MARGIN = 10.0

SELF_TEST_TRIES = 20
"""Places at which a mistake of one kind is tried before it counts as one that the weights hide."""

WEIGHTS, FORWARD, PROBE = "weights", "forward", "probe"

HAS_IT_SO = "that is what the network has"
HIDDEN = "these weights hide it"
DOES_NOT_FIT = "with it the maps of this network no longer fit together"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake that was made, and what differs with it at each end point.

    Attributes:
        mistake: the mistake.
        change: the target with it.
        differences: the largest relative difference at each end point, in network order.
    """

    mistake: Mistake
    change: Change
    differences: dict[str, float]


def run_self_test(
    pair: Pair,
    source: NetworkSide,
    target: NetworkSide,
    *,
    input_sizes: Sequence[int],
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    diagnose: bool = False,
) -> SelfTestResult:
    """Make every known mistake on the target, and see whether it is caught.

    Args:
        pair: the two checkpoints, which have to agree.
        source: the reference.
        target: what the mistakes are made on.
        input_sizes: heights and widths of the images; see ``self_test_sizes``.
        seed: chooses the places of the mistakes, and the images.
        progress: called with what is done next.
        diagnose: let the diagnosis name each mistake.

    Raises:
        OptionError: the two differ as they are, so that a mistake more shows nothing.
    """
    say = progress or (lambda _: None)
    say("the source, for the self-test")
    results: dict[str, MutantResult] = {}
    with Workbench(pair, source, target, input_sizes, limit=FORWARD_FLOAT64_LIMIT, seed=seed) as bench:
        _check_clean(bench)
        reasons = _make_all(bench, list(KINDS), FORWARD, results, seed, say, diagnose)
    hidden = [kind for kind in KINDS if kind not in reasons and not is_sure(results.get(kind))]
    if hidden:
        say("random weights, for the mistakes that these hide")
        with probing_bench(pair, source, target, input_sizes, limit=FORWARD_FLOAT64_LIMIT, seed=seed) as bench:
            reasons |= _make_all(bench, hidden, PROBE, results, seed, say, diagnose)
    return SelfTestResult(tuple(results[kind] for kind in KINDS if kind in results), reasons)


def is_sure(result: MutantResult | None) -> bool:
    """Whether a mutant was caught by more than luck. Others are made on random weights, too."""
    return result is not None and result.caught and result.margin >= SURE_MARGIN


def _check_clean(bench: Workbench) -> None:
    first = bench.first_divergence(bench.differences(Change()))
    if first is not None:
        raise OptionError(
            "the self-test needs two networks that agree",
            got=f"a difference at `{first}`",
            hint="leave --self-test out",
        )


def _make_all(
    bench: Workbench,
    kinds: Sequence[str],
    check: str,
    results: dict[str, MutantResult],
    seed: int,
    say: Callable[[str], None],
    diagnose: bool,
) -> dict[str, str]:
    """Make one mistake of each kind; puts the results into ``results`` and gives the reasons of those with no place."""
    reasons = {}
    for kind, mutant in make_mutants(bench, kinds, seed):
        say(f"mistake {kind}")
        if isinstance(mutant, Mutant):
            result = judge_mutant(bench, mutant, check, diagnose)
            results[kind] = max(results.get(kind, result), result, key=lambda each: (each.caught, each.margin))
        elif kind not in results and (check == PROBE or mutant != HIDDEN):
            reasons[kind] = KINDS[kind] or HAS_IT_SO if mutant == HIDDEN else mutant
    return reasons


def make_mutants(bench: Workbench, kinds: Sequence[str], seed: int) -> Iterator[tuple[str, Mutant | str]]:
    """One mistake of each kind.

    Args:
        bench: the network.
        kinds: of ``KINDS``.
        seed: chooses the places.

    Yields:
        The kind with a mutant, or with the reason why there is none; ``HIDDEN`` is one that other weights don't have.
    """
    known: dict[str, list[Mistake]] = defaultdict(list)
    for mistake in known_mistakes(bench):
        known[mistake.kind].append(mistake)
    for kind in kinds:
        try:
            mutant = _make_one(bench, _in_order(bench, known[kind], seed))
        except OptionError:
            yield kind, DOES_NOT_FIT
            continue
        yield kind, mutant or (HIDDEN if _can_be_hidden(known[kind], bench) else KINDS[kind] or HAS_IT_SO)


def _in_order(bench: Workbench, mistakes: Sequence[Mistake], seed: int) -> Iterator[Mistake]:
    """Mistakes in tensors at random places; of those in the graph the widest first, as a graph is built wrong."""
    import numpy as np

    if mistakes and not mistakes[0].touches <= bench.tensors.keys():
        yield from mistakes
    elif mistakes:
        generator = np.random.default_rng([seed, zlib.crc32(mistakes[0].kind.encode())])
        for index in generator.permutation(len(mistakes)):
            yield mistakes[index]


def _can_be_hidden(mistakes: Sequence[Mistake], bench: Workbench) -> bool:
    """Whether there are mistakes that change nothing because of the values that the tensors have."""
    return any(mistake.make is not never and mistake.touches <= bench.tensors.keys() for mistake in mistakes)


def _make_one(bench: Workbench, mistakes: Iterator[Mistake]) -> Mutant | None:
    """The first mistake that changes something; None where none does.

    Raises:
        OptionError: maps don't fit together with any of them.
    """
    problem = None
    tries = 0
    for mistake in mistakes:
        change = mistake.make(View(bench, Change()))
        if change is None or not (change.edits or _changed(bench, change)):
            continue
        tries += 1
        try:
            return Mutant(mistake, change, bench.differences(change))
        except OptionError as error:
            problem = error
        if tries == SELF_TEST_TRIES:
            break
    if problem is not None:
        raise problem
    return None


def _changed(bench: Workbench, change: Change) -> frozenset[str]:
    """The tensors that the comparison bit for bit flags."""
    return frozenset(
        name
        for name, value in change.tensors.items()
        if value_difference(name, bench.value(name), value.astype(bench.value(name).dtype)) is not None
    )


def judge_mutant(bench: Workbench, mutant: Mutant, check: str, diagnose: bool = False) -> MutantResult:
    """What the checks say of a mutant: one in the tensors is caught only if both of them see it.

    Args:
        bench: the network.
        mutant: the mutant.
        check: ``forward`` or ``probe``, whichever weights the bench has.
        diagnose: let the diagnosis name it.
    """
    first = bench.first_divergence(mutant.differences)
    kind, sentence = mutant.mistake.kind, mutant.mistake.sentence
    is_in_graph, is_in_tensors = bool(mutant.change.edits), bool(_changed(bench, mutant.change))
    if first is None and is_in_tensors and check == PROBE:
        # What it feeds is zero for every image, so the forward passes cannot tell; the comparison bit for bit does.
        return MutantResult(kind, sentence, True, WEIGHTS, math.inf)
    caught = first is not None and (is_in_graph or is_in_tensors)
    findings = explain(bench, mutant.change) if diagnose and caught else ()
    kinds = [kind for finding in findings for kind in finding.kinds]
    margin = max(mutant.differences.values(), default=0.0) / bench.limit
    return MutantResult(kind, sentence, caught, check, margin, first, " + ".join(kinds) or None)
