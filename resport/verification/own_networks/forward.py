"""Forward passes of two networks of one's own, in the dtypes that both have.

Where both compute in float64 the judgement is that of any verification. Where one can't, it rests on float32 beside
the measured noise: of float64 against float32 where one of the two has both, else of one float32 computation against
others that are as good: each image alone, and every input moved by the smallest step that float32 has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from resport.errors import OptionError
from resport.verification.forward.end_points import Outputs, compare_end_points
from resport.verification.forward.evidence import ForwardResult, Noise, worst_of
from resport.verification.forward.forward import FORWARD_FLOAT32_RATIO, FORWARD_FLOAT64_LIMIT, FORWARD_FLOAT64_REASON
from resport.verification.forward.noise import measure_noise

if TYPE_CHECKING:
    import numpy as np

ONE_STEP = "every input moved by one step of float32"
ONE_ROUNDING = "one rounding to float32"
FLOAT32_STEP = 2.0**-23
SHOWN_NAMES = 5


class OwnSide(Protocol):
    """A network of one's own; see ``CallableSide``, ``KerasModelSide``, ``SavedModelSide`` and ``ProcessSide``."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def kind(self) -> str:
        """What it is."""

    @property
    def dtypes(self) -> tuple[str, ...]:
        """What it can compute in: ``float32``, or both."""

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The end points for each batch of images (batch, height, width, channels), computed in a dtype."""


def compare_sides(
    source: OwnSide,
    target: OwnSide,
    batches: Sequence[np.ndarray],
    *,
    end_points: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[ForwardResult, tuple[str, ...]]:
    """Run two networks and compare them in the dtypes that both compute in.

    Args:
        source: the reference.
        target: what is judged.
        batches: images (batch, height, width, channels).
        end_points: names in the target by those in the source.
        progress: called with what is done next.

    Returns:
        What was found, and notes about end points that cannot be compared.

    Raises:
        OptionError: the networks share no end point.
    """
    runs = _Runs(source, target, batches, progress or (lambda _: None))
    sizes = [int(batch.shape[1]) for batch in batches]
    outputs = runs.of(source, "float32"), _renamed(runs.of(target, "float32"), end_points)
    _check_shared(*outputs)
    float32 = compare_end_points(*outputs, sizes)
    has_float64 = [("float64" in side.dtypes) for side in (source, target)]
    float64 = []
    if all(has_float64):
        exact = _renamed(runs.of(target, "float64"), end_points)
        float64 = compare_end_points(runs.of(source, "float64"), exact, sizes)
    noise = _measured_noise(runs, target if has_float64 == [False, True] else source)
    result = ForwardResult(
        float64=tuple(float64),
        float32=tuple(float32),
        noise_floor=max(each.max_rel_diff for each in noise),
        limit=FORWARD_FLOAT64_LIMIT,
        limit_reason=FORWARD_FLOAT64_REASON
        if float64
        else f"{_that_lack(source, target)} in float32 alone, so the verdict rests on float32 and its measured noise",
        float32_ratio_limit=FORWARD_FLOAT32_RATIO,
        input_sizes=tuple(sizes),
        batch_size=len(batches[0]),
        noise=noise,
    )
    return result, tuple(_other_shapes(*outputs))


class _Runs:
    """What each network gave for the images, each pass made once."""

    def __init__(
        self, source: OwnSide, target: OwnSide, batches: Sequence[np.ndarray], say: Callable[[str], None]
    ) -> None:
        self.batches = batches
        self._words = {id(target): "target", id(source): "source"}
        self._say = say
        self._done: dict[tuple[int, str], list[Outputs]] = {}

    def of(self, side: OwnSide, dtype: str) -> list[Outputs]:
        key = (id(side), dtype)
        if key not in self._done:
            self._say(f"{self._words[id(side)]} in {dtype}")
            self._done[key] = [*side.run(dtype, self.batches)]
        return self._done[key]


def _measured_noise(runs: _Runs, side: OwnSide) -> tuple[Noise, ...]:
    """The float32 noise of one of the networks; nothing exact to measure it against means other float32 outputs."""
    import numpy as np

    outputs32 = runs.of(side, "float32")
    if "float64" in side.dtypes:
        return measure_noise(side, runs.batches, outputs32, runs.of(side, "float64"))
    found = measure_noise(side, runs.batches, outputs32, None)
    generator = np.random.default_rng(0)
    moved = [
        np.nextafter(batch, np.where(generator.random(batch.shape) < 0.5, -np.inf, np.inf).astype(np.float32))
        for batch in runs.batches
    ]
    points = compare_end_points(outputs32, side.run("float32", moved), [batch.shape[1] for batch in runs.batches])
    worst = worst_of(points)
    assert worst is not None
    return (*found, Noise(ONE_STEP, worst.max_rel_diff, worst.name), Noise(ONE_ROUNDING, FLOAT32_STEP, worst.name))


def _renamed(outputs: Sequence[Outputs], names: Mapping[str, str] | None) -> Sequence[Outputs]:
    """The target's end points by the source's names."""
    if names is None:
        return outputs
    for own in names.values():
        if own not in outputs[0]:
            raise OptionError(f"the target has no end point `{own}`", expected=f"one of {_some(outputs[0])}", got=own)
    return [{name: each[own] for name, own in names.items()} for each in outputs]


def _check_shared(source: Sequence[Outputs], target: Sequence[Outputs]) -> None:
    if not source[0].keys() & target[0].keys():
        raise OptionError(
            "the two networks share no end point",
            expected=f"some of {_some(source[0])}",
            got=_some(target[0]),
            hint='end_points={"name in the source": "name in the target"}',
        )


def _other_shapes(source: Sequence[Outputs], target: Sequence[Outputs]) -> Iterator[str]:
    """End points of one name that are not of one shape, each once."""
    expected, actual = source[0], target[0]
    for name in expected:
        if name in actual and expected[name].shape != actual[name].shape:
            yield f"`{name}` is {expected[name].shape} in the source and {actual[name].shape} in the target"


def _some(names: Iterable[str]) -> str:
    listed = [*names]
    more = f" and {len(listed) - SHOWN_NAMES} more" if len(listed) > SHOWN_NAMES else ""
    return ", ".join(listed[:SHOWN_NAMES]) + more


def _that_lack(source: OwnSide, target: OwnSide) -> str:
    words = [word for word, side in (("source", source), ("target", target)) if "float64" not in side.dtypes]
    return f"the {' and '.join(words)} compute{'s' if len(words) == 1 else ''}"
