"""The float32 noise of a network, measured on the network itself: one function, computed in several honest ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from resport.verification.forward.end_points import Outputs, relative_difference
from resport.verification.forward.evidence import Noise

if TYPE_CHECKING:
    import numpy as np

    from resport.verification.forward.forward import Runnable

OTHER_DTYPE = "float64 against float32"
OTHER_BATCH = "each image alone"


def measure_noise(
    side: Runnable,
    batches: Sequence[np.ndarray],
    outputs32: Sequence[Outputs],
    reference64: Sequence[Outputs] | None,
    *,
    is_thorough: bool = False,
) -> tuple[Noise, ...]:
    """Compute one network's outputs again, in other ways, and see how far they go apart.

    Args:
        side: the network.
        batches: the images of the passes.
        outputs32: its end points in float32.
        reference64: the same in float64; None where it has no float64.
        is_thorough: try other numbers of threads and other kernels, where the network has them.

    Returns:
        The largest difference of each way. Their largest is the noise floor.
    """
    found = []
    if reference64 is not None:
        found.append(_noise(OTHER_DTYPE, reference64, outputs32))
    if any(len(batch) > 1 for batch in batches):
        found.append(_noise(OTHER_BATCH, outputs32, _each_alone(side, batches)))
    if is_thorough:
        found.extend(_noise(how, outputs32, outputs) for how, outputs in _executions(side, batches))
    return tuple(found)


def _each_alone(side: Runnable, batches: Sequence[np.ndarray]) -> list[Outputs]:
    import numpy as np

    images = [image[np.newaxis] for batch in batches for image in batch]
    singles = iter(side.run("float32", images))
    joined: list[Outputs] = []
    for batch in batches:
        outputs = [next(singles) for _ in batch]
        joined.append({name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]})
    return joined


def _executions(side: Runnable, batches: Sequence[np.ndarray]) -> Iterator[tuple[str, Sequence[Outputs]]]:
    # Networks know other ways to be run; callables and the like have but one.
    run_otherwise = getattr(side, "run_otherwise", None)
    if run_otherwise is not None:
        yield from run_otherwise(batches)


def _noise(what: str, one: Sequence[Outputs], other: Sequence[Outputs]) -> Noise:
    largest, end_point = max(
        (relative_difference(left[name], right[name]), name)
        for left, right in zip(one, other, strict=True)
        for name in left
        if name in right
    )
    return Noise(what, largest, end_point)
