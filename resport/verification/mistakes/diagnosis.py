"""Which of the known mistakes explains a difference: they are undone on the target, one by one, where it begins.

The first end point that differs, walking through the network, is fed by some tensors and sites that no agreeing end
point depends on: one of them is wrong. Mistakes that touch one of them are undone, and the end point is computed anew;
a mistake whose undoing makes it agree is one that was made. Then the network is walked on to the next difference, so
that two mistakes are found as well. The forward passes alone do this; where the comparison of tensors says which of
them differ, fewer mistakes have to be tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations, islice

from resport.errors import OptionError, ResportError
from resport.verification.forward.forward import FORWARD_FLOAT64_LIMIT, NetworkSide
from resport.verification.mistakes.catalogue import known_mistakes
from resport.verification.mistakes.findings import Finding
from resport.verification.mistakes.kinds import OTHER_VALUES, Mistake
from resport.verification.mistakes.workbench import Change, View, Workbench, probing_bench
from resport.verification.pairing import Pair
from resport.verification.report import ForwardResult, WeightsResult

MISTAKES_AT_ONCE = 6
"""So many mistakes are looked for, one behind the other."""

PAIRS_TRIED = 300
"""So many pairs of mistakes are undone together, where no single one makes a difference vanish."""


@dataclass(frozen=True, slots=True)
class Undone:
    """Mistakes taken back, and what differs after it.

    Attributes:
        mistakes: the mistakes.
        change: the target without them.
        differences: at each end point.
        reach: how many end points agree before the first that doesn't.
    """

    mistakes: tuple[Mistake, ...]
    change: Change
    differences: Mapping[str, float]
    reach: int


def diagnose(
    pair: Pair,
    source: NetworkSide,
    target: NetworkSide,
    forward: ForwardResult,
    weights: WeightsResult,
    *,
    input_sizes: Sequence[int],
    is_probe: bool = False,
    progress: Callable[[str], None] | None = None,
) -> tuple[Finding, ...]:
    """Explain a difference by known mistakes.

    Args:
        pair: the two checkpoints.
        source: the reference.
        target: what is judged.
        forward: the comparison of forward passes, whose limit is taken.
        weights: the comparison of tensors.
        input_sizes: heights and widths of the images.
        is_probe: the difference is one of random weights: ``forward`` is the probe's.
        progress: called with what is done next.

    Returns:
        What was found; where nothing explains it, a finding without kinds says so.
    """
    say = progress or (lambda _: None)
    say("looking for known mistakes")
    if is_probe:
        with probing_bench(pair, source, target, input_sizes, limit=FORWARD_FLOAT64_LIMIT) as bench:
            return explain(bench, Change(), None, say) or (_nothing_shown(frozenset()),)
    with Workbench(pair, source, target, input_sizes, limit=forward.limit) as bench:
        file_names = {difference.name for difference in weights.differences}
        differing = frozenset(name for name, tensor in bench.tensors.items() if tensor.file_name in file_names)
        return explain(bench, Change(), differing, say) or (_nothing_shown(file_names),)


def explain(
    bench: Workbench,
    wrong: Change,
    differing: frozenset[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Finding, ...]:
    """Explain the difference that a target with a change has.

    Args:
        bench: the network.
        wrong: the change; none for a target that is wrong as it is.
        differing: names of the tensors that are known to differ, if that is known.
        progress: called with what is done next.
    """
    say = progress or (lambda _: None)
    before = bench.differences(wrong)
    state = Undone((), wrong, before, _reach(bench, before))
    while state.reach < len(state.differences) and len(state.mistakes) < MISTAKES_AT_ONCE:
        say(f"trying known mistakes at {bench.first_divergence(state.differences)}")
        step = _best_step(bench, state, differing)
        if step is None:
            break
        state = step
    return _findings(bench, state, before)


def _reach(bench: Workbench, differences: Mapping[str, float]) -> int:
    first = bench.first_divergence(differences)
    return len(differences) if first is None else list(differences).index(first)


def _suspects(bench: Workbench, differences: Mapping[str, float]) -> frozenset[str]:
    """Tensors and sites that the first end point that differs depends on, and no agreeing one in front of it."""
    names = list(differences)
    reach = _reach(bench, differences)
    agreeing: frozenset[str] = frozenset().union(*(bench.editor.feeding(name) for name in names[:reach]))
    return bench.editor.feeding(names[reach]) - agreeing


def _candidates(bench: Workbench, state: Undone, differing: frozenset[str] | None) -> Iterator[tuple[Mistake, Change]]:
    """Mistakes that touch what feeds the first difference, and the target without each."""
    suspects = _suspects(bench, state.differences)
    view = View(bench, state.change)
    for mistake in known_mistakes(bench):
        if not mistake.touches & suspects or not _can_be(mistake, bench, differing):
            continue
        try:
            back = mistake.undo(view)
        except ResportError:
            # What it would be undone with isn't there: the source has no such tensor.
            continue
        if back is not None:
            yield mistake, state.change.then(back)


def _can_be(mistake: Mistake, bench: Workbench, differing: frozenset[str] | None) -> bool:
    """Whether the comparison of tensors leaves it possible: of the tensors that it touches, if any, one differs."""
    in_tensors = mistake.touches & bench.tensors.keys()
    return differing is None or not in_tensors or not in_tensors.isdisjoint(differing)


def _best_step(bench: Workbench, state: Undone, differing: frozenset[str] | None) -> Undone | None:
    """The mistake that explains the first difference, and as much behind it as may be; two of them if need be."""
    candidates = list(_candidates(bench, state, differing))
    best: Undone | None = None
    for mistake, change in candidates:
        if best is not None and mistake.kind == OTHER_VALUES:
            break
        step = _undone(bench, state, (mistake,), change)
        if step is not None and (best is None or step.reach > best.reach):
            best = step
        if best is not None and best.reach == len(best.differences):
            return best
    if best is None:
        return _best_pair(bench, state, candidates)
    return _everywhere(bench, state, best, differing) or best


def _undone(bench: Workbench, state: Undone, mistakes: tuple[Mistake, ...], change: Change) -> Undone | None:
    """The state without some mistakes, if the first end point that differed agrees now."""
    first = list(state.differences)[state.reach]
    try:
        differences = bench.differences(change, [first])
        if not differences[first] <= bench.limit:
            return None
        if len(differences) < len(state.differences):
            differences = bench.differences(change)
    except OptionError:
        # Maps that no longer fit together: that mistake was not made.
        return None
    reach = _reach(bench, differences)
    if reach <= state.reach:
        return None
    return Undone((*state.mistakes, *mistakes), change, differences, reach)


def _best_pair(bench: Workbench, state: Undone, candidates: Sequence[tuple[Mistake, Change]]) -> Undone | None:
    """Two mistakes that explain the first difference together."""
    known = [mistake for mistake, _ in candidates if mistake.kind != OTHER_VALUES]
    for one, other in islice(_pairs(known), PAIRS_TRIED):
        first = one.undo(View(bench, state.change))
        if first is None:
            continue
        changed = state.change.then(first)
        second = other.undo(View(bench, changed))
        step = None if second is None else _undone(bench, state, (one, other), changed.then(second))
        if step is not None:
            return step
    return None


def _pairs(mistakes: Sequence[Mistake]) -> Iterator[tuple[Mistake, Mistake]]:
    """Pairs that may have been made together. Of two that touch the same the later one has to be undone first."""
    for one, other in combinations(mistakes, 2):
        if _are_apart(one, other):
            yield one, other
        elif one.kind != other.kind:
            yield from ((one, other), (other, one))


def _are_apart(one: Mistake, other: Mistake) -> bool:
    return one.touches.isdisjoint(other.touches)


def _everywhere(bench: Workbench, state: Undone, best: Undone, differing: frozenset[str] | None) -> Undone | None:
    """The same kind of mistake undone in every layer at once, if that explains more than undoing it in one."""
    kind = best.mistakes[-1].kind
    change, mistakes = state.change, []
    for mistake in known_mistakes(bench):
        if mistake.kind == kind and _can_be(mistake, bench, differing):
            back = mistake.undo(View(bench, change))
            if back is not None:
                change = change.then(back)
                mistakes.append(mistake)
    if len(mistakes) < 2 or not all(_are_apart(*pair) for pair in combinations(mistakes, 2)):
        return None
    step = _undone(bench, state, tuple(mistakes), change)
    return step if step is not None and step.reach > best.reach else None


def _findings(bench: Workbench, state: Undone, before: Mapping[str, float]) -> tuple[Finding, ...]:
    worst, left = max(before.values(), default=0.0), max(state.differences.values(), default=0.0)
    found = []
    if state.mistakes:
        found.append(
            Finding(
                tuple(dict.fromkeys(mistake.kind for mistake in state.mistakes)),
                _joined([mistake.sentence for mistake in state.mistakes]),
                _joined(list(dict.fromkeys(mistake.remedy for mistake in state.mistakes))),
                worst,
                left,
            )
        )
    first = bench.first_divergence(state.differences)
    if first is not None:
        names = ", ".join(f"`{name}`" for name in sorted(_suspects(bench, state.differences))[:8])
        sentence = f"none of the known mistakes explains the difference at `{first}`, which {names} feed"
        remedy = "look there: at these tensors, and at the layers that hold them"
        found.append(Finding((), sentence, remedy, left, left))
    return tuple(found)


def _nothing_shown(file_names: Set[str]) -> Finding:
    """The finding where small images show no difference."""
    if file_names:
        names = ", ".join(f"`{name}`" for name in sorted(file_names)[:8])
        sentence = f"the tensors differ ({names}), and on small images that changes no end point"
    else:
        sentence = "on small images no end point differs in float64"
    return Finding((), sentence, "compare at the network's own size, in both dtypes", 0.0, 0.0)


def _joined(sentences: Sequence[str], most: int = 6) -> str:
    more = f"; and {len(sentences) - most} more like these" if len(sentences) > most else ""
    return "; ".join(sentences[:most]) + more
