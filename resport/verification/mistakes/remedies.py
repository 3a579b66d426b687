"""What mends a mistake in a graph: who made the graph tells, for nobody else can change it.

A network that resport builds is built otherwise, by an option where it has one. A model that a file describes, or that
was handed over, has its own layers: they are changed, or its weights are put into the graph that resport builds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resport.architectures.graph_edits import PADDED, SAME, VALID, PoolPadding
from resport.verification.forward.forward import NetworkSide

POOL1_VALUES: Mapping[str, tuple[str, ...]] = {
    "resport.architectures.keras_resnet_scale:build": (VALID, SAME),
    "resport.architectures.slim_resnet_scale:build": (VALID, SAME),
}
"""What the option ``pool1`` of a builder may be, where not ``USUAL_POOL1``."""

USUAL_POOL1 = (SAME, PADDED)

REBUILT = "or take the graph that resport builds, which `--native` judges: `resport convert MODEL NEW.keras --to keras`"


@dataclass(frozen=True, slots=True)
class Built:
    """Who made a graph.

    Attributes:
        is_own: it is a file's own or a user's, and resport did not build it.
        rebuilt: what may be done in place of changing it; nothing where it was handed over as it is.
        options: names of the options of the builder that made it.
        pool1: what its option ``pool1`` may be.
    """

    is_own: bool = False
    rebuilt: str = ""
    options: frozenset[str] = field(default_factory=frozenset)
    pool1: tuple[str, ...] = ()


def built(side: Any) -> Built:
    """Who made the graph of a side.

    Args:
        side: what is run: a ``NetworkSide``, or a network of one's own.
    """
    from resport.architectures.registry import find_builder

    if not isinstance(side, NetworkSide):
        return Built(is_own=True)
    if side.graph is not None:
        return Built(is_own=True, rebuilt=REBUILT)
    builder = find_builder(side.variant, side.dialect)
    options = frozenset(builder.options)
    pool1 = POOL1_VALUES.get(builder.function, USUAL_POOL1) if "pool1" in options else ()
    return Built(options=options, pool1=pool1)


def epsilon_remedy(target: Built, right: float) -> str:
    """How every batch norm comes to another epsilon."""
    if target.is_own:
        return _changed(target, f"set `epsilon = {right:.4g}` in its batch norms")
    option = f": `--build epsilon={right:.4g}`" if "epsilon" in target.options else ""
    return f"build the network with epsilon={right:.4g}{option}"


def padding_remedy(target: Built, source: Built, pool: str, right: PoolPadding, wrong: PoolPadding) -> str:
    """How a pool comes to another padding.

    Args:
        target: who made the judged graph.
        source: who made the reference.
        pool: the pool.
        right: the padding that agrees with the reference.
        wrong: the padding that the judged graph has.
    """
    if target.is_own:
        return _changed(target, _layers(pool, right))
    is_pool1 = pool.startswith("pool1") or pool.endswith("/pool1")
    found = []
    if is_pool1 and right.mode in target.pool1:
        found.append(
            f'`--build pool1={right.mode}`; its weights belong into `resport.build(..., pool1="{right.mode}")`'
        )
    if is_pool1 and wrong.mode in source.pool1:
        found.append(f"`--build-source pool1={wrong.mode}`, if it is the source that was built otherwise")
    return "; ".join(found) or f"build the network with another `{pool}`: {right}"


def stride_remedy(target: Built, pairs: Sequence[tuple[str, str]], right: str) -> str:
    """How strides come to other convolutions.

    Args:
        target: who made the judged graph.
        pairs: the 1x1 convolution and the larger one behind it, of each unit.
        right: which of the two has to stride: ``conv1`` or ``conv2``.
    """
    if target.is_own:
        one, other = pairs[0]
        more = "" if len(pairs) == 1 else f", and likewise in {len(pairs) - 1} more units"
        return _changed(target, f"exchange the strides of `{one}` and `{other}`{more}")
    option = f": `--build stride_on={right}`" if "stride_on" in target.options else ""
    return f"build the network with the stride on the other convolution{option}"


def factor_remedy(target: Built, layer: str, right: float) -> str:
    """How a residual comes to another scale."""
    if target.is_own:
        return _changed(target, f"set `scale = {right:g}` in `{layer}`")
    return f"build the network with {right:g} there"


def _changed(target: Built, what: str) -> str:
    return "; ".join(part for part in (f"in the model itself, {what}, and save it", target.rebuilt) if part)


def _layers(pool: str, right: PoolPadding) -> str:
    """A padding as layers of Keras have it."""
    if right.mode == PADDED:
        return f'put a `ZeroPadding2D` of half the window in front of `{pool}`, and set `padding = "valid"` in that'
    none = "`padding = ((0, 0), (0, 0))` in a `ZeroPadding2D` in front of it"
    return f'set `padding = "{right.mode}"` in `{pool}`, and {none}'
