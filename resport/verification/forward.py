"""Both networks run on the same images and compared at every shared end point.

Each side is loaded by its own names into its own native builder; the table that made the file has no part in it. In
float64 two graphs of one function agree to about 1e-12, and the smallest of the known mistakes, an epsilon of
1.001e-5 in place of 1e-5, makes 1e-7: the limit lies between. In float32 the difference is put beside the noise of
this very network: how far its own float32 outputs are from its own float64 outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resport.verification.report import EndPointDifference, ForwardResult

if TYPE_CHECKING:
    import numpy as np

FORWARD_FLOAT64_LIMIT = 1e-9
"""Relative difference in float64 between one function computed twice (1e-12) and the smallest known mistake (1e-7)."""

FORWARD_FLOAT32_RATIO = 10.0
"""Two float32 computations of one function may differ by a few times the noise of each."""

Outputs = Mapping[str, "np.ndarray"]


@dataclass(frozen=True, slots=True)
class NetworkSide:
    """One network to run.

    Attributes:
        variant: the builder's variant.
        dialect: the builder's dialect.
        options: the builder's options.
        read: gives the tensor that the builder calls by a name.
        adjust: what is done to an end point before it is compared, by name.
        is_reversed: whether it takes images with their colour channels turned round.
    """

    variant: str
    dialect: str
    options: Mapping[str, Any]
    read: Callable[[str], np.ndarray]
    adjust: Mapping[str, Callable[[np.ndarray], np.ndarray]]
    is_reversed: bool = False

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The end points for each batch of images, computed in a dtype."""
        from resport.architectures import open_network

        with open_network(self.variant, self.dialect, dtype=dtype, **self.options) as network:
            network.load(self.read)
            step = -1 if self.is_reversed else 1
            return [self._adjusted(network.forward(batch[..., ::step].astype(dtype))) for batch in images]

    def _adjusted(self, outputs: Outputs) -> dict[str, np.ndarray]:
        return {name: self.adjust[name](value) if name in self.adjust else value for name, value in outputs.items()}


def compare_forward(
    source: NetworkSide,
    target: NetworkSide,
    input_sizes: Sequence[int],
    *,
    batch_size: int = 2,
    seed: int = 0,
    rounds: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ForwardResult:
    """Run both networks and compare them.

    Args:
        source: the reference.
        target: what is judged.
        input_sizes: heights and widths of the images; an even and an odd one tell paddings apart.
        batch_size: images in each pass.
        seed: of the images.
        rounds: the conversion rounded values (a fold), so float64 can't agree beyond float32's noise.
        progress: called with what is done next.
    """
    batches = [random_images(size, batch_size, seed) for size in input_sizes]
    say = progress or (lambda _: None)
    say("source in float64")
    reference = source.run("float64", batches)
    say("target in float64")
    float64 = compare_end_points(reference, target.run("float64", batches), input_sizes)
    say("source in float32")
    source32 = source.run("float32", batches[:1])
    say("target in float32")
    float32 = compare_end_points(source32, target.run("float32", batches[:1]), input_sizes[:1])
    floor = max(point.max_rel_diff for point in compare_end_points(reference[:1], source32, input_sizes[:1]))
    limit, reason = FORWARD_FLOAT64_LIMIT, "one function computed twice in float64"
    if rounds:
        limit, reason = (
            FORWARD_FLOAT32_RATIO * floor,
            "a fold rounds to float32: ten times this network's float32 noise",
        )
    return ForwardResult(
        float64=tuple(float64),
        float32=tuple(float32),
        noise_floor=floor,
        limit=limit,
        limit_reason=reason,
        float32_ratio_limit=FORWARD_FLOAT32_RATIO,
        input_sizes=tuple(input_sizes),
        batch_size=batch_size,
    )


def random_images(size: int, batch_size: int, seed: int) -> np.ndarray:
    """Signed random images (batch, size, size, 3) in float32, so that both dtypes see the same values."""
    import numpy as np

    generator = np.random.default_rng([seed, size])
    return generator.uniform(-1.0, 1.0, (batch_size, size, size, 3)).astype(np.float32)


def compare_end_points(
    reference: Sequence[Outputs], judged: Sequence[Outputs], input_sizes: Sequence[int]
) -> list[EndPointDifference]:
    """Compare end points by name, in the reference's order.

    Args:
        reference: end points of each batch.
        judged: the same of the other network.
        input_sizes: of each batch.
    """
    return [
        end_point_difference(name, size, expected[name], actual[name])
        for size, expected, actual in zip(input_sizes, reference, judged, strict=True)
        for name in expected
        if name in actual
    ]


def end_point_difference(name: str, size: int, expected: np.ndarray, actual: np.ndarray) -> EndPointDifference:
    """Compare one end point; what isn't finite, or has another shape, is infinitely different."""
    import numpy as np

    if expected.shape != actual.shape or not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        infinity = float("inf")
        return EndPointDifference(name, size, infinity, infinity, infinity)
    difference = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
    largest = float(difference.max(initial=0.0))
    span = float(np.abs(expected).max(initial=0.0))
    relative = largest / span if span else (0.0 if largest == 0 else float("inf"))
    return EndPointDifference(name, size, largest, relative, float(difference.mean()))
