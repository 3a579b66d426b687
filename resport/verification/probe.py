"""The same conversion with other weights: random, and such that every exchange of two of them shows.

A file's own weights can hide a mistake: in a network that was never trained gamma and variance are both one, and
exchanging them changes nothing. The table and the plan are what moves any file of this kind, so random values are moved
through them, and both networks are run on what comes out. What the real weights prove is this file; what the random
ones prove is its table and plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from resport.conversion.stream import stream
from resport.dtypes import FLOATING
from resport.mapping import Plan
from resport.mapping.plan import stored
from resport.tensors import Manifest, random_tensor
from resport.verification.forward.evidence import ForwardResult
from resport.verification.forward.forward import NetworkSide, compare_forward
from resport.verification.forward.networks import Read
from resport.verification.pairing import Pair, source_side, target_side

if TYPE_CHECKING:
    import numpy as np


def run_probe(
    pair: Pair,
    input_sizes: Sequence[int],
    *,
    batch_size: int = 2,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> ForwardResult:
    """Move random weights as the file's were moved, and compare the networks that they make in float64.

    Args:
        pair: the two checkpoints, of which names and shapes are taken, and no values.
        input_sizes: heights and widths of the images.
        batch_size: images in each pass.
        seed: of the weights and of the images.
        progress: called with what is done next.
    """
    source, target = probe_sides(pair, seed)
    return compare_forward(
        source,
        target,
        input_sizes,
        float32_sizes=(),
        batch_size=batch_size,
        seed=seed,
        progress=progress and (lambda text: progress(f"random weights: {text}")),
    )


def probe_sides(pair: Pair, seed: int = 0) -> tuple[NetworkSide, NetworkSide]:
    """Both networks with random weights: the source's are made, the target's moved from them as the file's were.

    The values are float64 whatever the files store, so that a fold doesn't round and the limit is float64's own.
    Whether a stored dtype was rounded to exactly is a matter of the file, and the comparison of its tensors tells.

    Args:
        pair: the two checkpoints, of which names and shapes are taken, and no values.
        seed: the same seed gives the same values.
    """
    virtual = replace(pair, plan=widened(pair.plan), options=replace(pair.options, dtype=None))
    values = random_source(pair, seed)
    moved = {spec.name: array for spec, array in stream(virtual.plan, values)}
    return source_side(virtual, values), target_side(virtual, moved.__getitem__)


def widened(plan: Plan) -> Plan:
    """A plan that writes float64 where it wrote floating-point numbers of another size.

    Args:
        plan: the plan.
    """
    wide = {name: stored(spec, "float64") for name, spec in plan.targets.items()}
    return plan._replace(
        moves=tuple(move._replace(targets=tuple(wide[each.name] for each in move.targets)) for move in plan.moves),
        fills=tuple(fill._replace(target=wide[fill.target.name]) for fill in plan.fills),
        targets=Manifest(wide.values()),
    )


def random_source(pair: Pair, seed: int) -> Read:
    """float64 values for every tensor that the plan reads, by the source's names; a constant has its value.

    Args:
        pair: the two checkpoints.
        seed: the same seed gives the same values.
    """
    import numpy as np

    detection = pair.source_detection
    assert detection is not None
    constants = {check.source: check.value for check in pair.plan.checks}
    suffix = detection.table.shadow.get(detection.dialect, "")
    parameters = detection.expand().by_name[detection.dialect]

    def read(name: str) -> np.ndarray:
        spec = pair.source.manifest[name]
        plain = name.removesuffix(suffix) if suffix else name
        if name in constants:
            return np.full(spec.shape, constants[name])
        # A moving average has values of its own: taken for the variable, it shows.
        values = random_tensor(plain, spec.shape, seed + (plain != name))
        if plain in parameters:
            values = parameters[plain].axes[detection.dialect].on_diagonal(values, parameters[plain].sizes)
        return values

    return read


def constant_vectors(pair: Pair) -> tuple[str, ...]:
    """Names of the vectors in the source that hold one value throughout: an exchange of two of them doesn't show."""
    manifest = pair.source.manifest
    names = dict.fromkeys(name for move in pair.plan.moves for name in move.sources)
    vectors = [name for name in names if len(manifest[name].shape) == 1 and manifest[name].size > 1]
    found = []
    for name in vectors:
        if manifest[name].dtype in FLOATING:
            values = pair.source.read(name)
            if (values == values[0]).all():
                found.append(name)
    return tuple(found)
