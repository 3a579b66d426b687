"""Mistakes in the graph that takes the weights: epsilon, padding of pools, place of strides, scale of residuals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

from resport.architectures.graph_edits import PADDED, SAME, VALID, Convolution, MaxPool, PoolPadding
from resport.verification.mistakes.kinds import Mistake
from resport.verification.mistakes.remedies import (
    Built,
    built,
    epsilon_remedy,
    factor_remedy,
    padding_remedy,
    stride_remedy,
)
from resport.verification.mistakes.workbench import Change, SiteValue, View, Workbench

EPSILONS = (1e-5, 1.001e-5, 1.1e-5, 1e-3)
"""Those of tf_slim's ResNets, of TensorFlow's fused kernel and keras.applications, of cnn_finetune, and Keras' own."""

FACTORS = (0.20, 1.0, 0.17, 0.10)
"""Those of Inception-ResNet's blocks; the last one of facenet's isn't scaled."""

PADDINGS = {
    "pool-same": PoolPadding(SAME),
    "pool-same-zero": PoolPadding(SAME, 0.0),
    "pool-valid": PoolPadding(VALID),
    "pool-padded": PoolPadding(PADDED),
    "pool-padded-zero": PoolPadding(PADDED, 0.0),
}


def graph_mistakes(bench: Workbench) -> Iterator[Mistake]:
    """Every mistake in the graph of a network.

    Args:
        bench: the network.
    """
    sites = bench.editor.sites
    source, target = map(built, bench.sides)
    yield from _epsilons([site.name for site in sites.batch_norms], {site.value for site in sites.batch_norms}, target)
    for pool in sites.pools:
        yield from _paddings(pool, source, target)
    yield from _strides(sites.convolutions, target)
    for factor in reversed(sites.factors):
        yield from _factors(factor.name, factor.value, target)


def _epsilons(names: Sequence[str], own: set[float], target: Built) -> Iterator[Mistake]:
    values = sorted({*EPSILONS, *own})
    for wrong, right in permutations(values, 2) if names else ():
        yield _otherwise(
            f"epsilon-{wrong:.4g}",
            dict.fromkeys(names, right),
            dict.fromkeys(names, wrong),
            f"batch norm adds {wrong:.4g} to the variance, not {right:.4g}",
            epsilon_remedy(target, right),
        )


def _paddings(pool: MaxPool, source: Built, target: Built) -> Iterator[Mistake]:
    known = PADDINGS
    if pool.is_activated:
        # Behind a ReLU a padding of 0 and one of -inf are the same: the network's own stands for both.
        usual = {kind: padding for kind, padding in PADDINGS.items() if _is_usual(padding)}
        known = {kind: pool.value if padding.mode == pool.value.mode else padding for kind, padding in usual.items()}
    for (kind, wrong), (_, right) in permutations(known.items(), 2):
        yield _otherwise(
            kind,
            {pool.name: right},
            {pool.name: wrong},
            f"`{pool.name}` pads with {wrong} where {right} is right",
            padding_remedy(target, source, pool.name, right, wrong),
        )


def _is_usual(padding: PoolPadding) -> bool:
    """Whether frameworks pad so: with 0 where the padding is a layer of its own, with -inf where it is the pool's."""
    return (padding.fill == 0) == (padding.mode == PADDED)


def _strides(convolutions: Sequence[Convolution], target: Built) -> Iterator[Mistake]:
    """Strides taken by the other one of a 1x1 convolution and the larger one behind it."""
    by_name = {each.name: each for each in convolutions}
    pairs = [
        (by_name[each.previous], each)
        for each in convolutions
        if each.previous is not None and each.size > 1 and each.keeps_size
    ]
    pairs = [(one, other) for one, other in pairs if one.size == 1 and one.value != other.value]
    if len(pairs) > 1:
        yield _exchanged_strides(pairs, "in every unit that strides", target)
    for one, other in pairs:
        yield _exchanged_strides([(one, other)], f"in `{one.name}` and `{other.name}`", target)


def _exchanged_strides(pairs: Sequence[tuple[Convolution, Convolution]], where: str, target: Built) -> Mistake:
    def exchange(view: View) -> Change:
        edits: dict[str, SiteValue] = {}
        for one, other in pairs:
            edits |= {one.name: view.site(other.name), other.name: view.site(one.name)}
        return Change(edits=edits)

    touches = frozenset(site.name for pair in pairs for site in pair)
    sentence = f"the 1x1 and the 3x3 convolution have each other's stride {where}"
    right = "conv1" if pairs[0][1].value > pairs[0][0].value else "conv2"
    remedy = stride_remedy(target, [(one.name, other.name) for one, other in pairs], right)
    return Mistake("stride-moved", sentence, touches, exchange, exchange, remedy)


def _factors(name: str, own: float, target: Built) -> Iterator[Mistake]:
    for wrong, right in permutations(dict.fromkeys((*FACTORS, own)), 2):
        yield _otherwise(
            "residual-scale",
            {name: right},
            {name: wrong},
            f"the residual at `{name}` is scaled by {wrong:g}, not {right:g}",
            factor_remedy(target, name, right),
        )


def _otherwise(
    kind: str, right: Mapping[str, SiteValue], wrong: Mapping[str, SiteValue], sentence: str, remedy: str
) -> Mistake:
    """Sites that have one value and should have another."""

    def step(before: Mapping[str, SiteValue], after: Mapping[str, SiteValue], view: View) -> Change | None:
        return Change(edits=after) if all(_alike(view.site(name), value) for name, value in before.items()) else None

    def make(view: View) -> Change | None:
        return step(right, wrong, view)

    def undo(view: View) -> Change | None:
        return step(wrong, right, view)

    return Mistake(kind, sentence, frozenset(right), make, undo, remedy)


def _alike(one: SiteValue, other: SiteValue) -> bool:
    if isinstance(one, PoolPadding) or isinstance(other, PoolPadding):
        return one == other
    return math.isclose(one, other, rel_tol=1e-6)
