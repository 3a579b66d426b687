"""Both networks run on the same images and compared at every shared end point.

Each side is loaded by its own names into its own native builder; the table that made the file has no part in it. In
float64 two graphs of one function agree to about 1e-12, and the smallest of the known mistakes, an epsilon of
1.001e-5 in place of 1e-5, makes 1e-7: the limit lies between. In float32 the difference is put beside the noise of
this very network: how far its own float32 outputs are from its own float64 outputs, and from those of other batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from resport.verification.forward.end_points import (
    LOGITS,
    PROBABILITIES,
    Outputs,
    compare_end_points,
    end_point_difference,
)
from resport.verification.forward.evidence import ForwardResult, Noise
from resport.verification.forward.networks import NetworkPool
from resport.verification.forward.noise import measure_noise

if TYPE_CHECKING:
    import numpy as np

    from resport.architectures import Network

__all__ = [
    "FORWARD_FLOAT32_RATIO",
    "FORWARD_FLOAT64_LIMIT",
    "FORWARD_FLOAT64_REASON",
    "NetworkSide",
    "Outputs",
    "Runnable",
    "compare_end_points",
    "compare_forward",
    "end_point_difference",
    "random_images",
]

FORWARD_FLOAT64_LIMIT = 1e-9
"""Relative difference in float64 between one function computed twice (1e-12) and the smallest known mistake (1e-7)."""

FORWARD_FLOAT64_REASON = "one function computed twice in float64"

FORWARD_FLOAT32_RATIO = 10.0
"""Two float32 computations of one function may differ by a few times the noise of each."""


class Runnable(Protocol):
    """Anything that gives end points for images."""

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The end points for each batch of images (batch, height, width, channels), computed in a dtype."""


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
        graph: the model's own description, which is built in place of the builder's network; None for the builder's.
        pool: keeps the networks open; without one each run builds, loads and closes its own.
    """

    variant: str
    dialect: str
    options: Mapping[str, Any]
    read: Callable[[str], np.ndarray]
    adjust: Mapping[str, Callable[[np.ndarray], np.ndarray]]
    is_reversed: bool = False
    graph: str | None = None
    pool: NetworkPool | None = None

    def open(self, dtype: str) -> Network:
        """Build the network, without values, in a dtype."""
        from resport.architectures import open_network

        if self.graph is not None:
            from resport.architectures.keras_own_graph import open_own_graph

            return open_own_graph(self.graph, self.variant, self.dialect, dtype=dtype)
        return open_network(self.variant, self.dialect, dtype=dtype, **self.options)

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The end points for each batch of images, computed in a dtype."""
        if self.pool is not None:
            return self._outputs(self._pooled(self.pool, dtype), dtype, images)
        with NetworkPool() as pool:
            return self._outputs(self._pooled(pool, dtype), dtype, images)

    def run_otherwise(self, images: Sequence[np.ndarray]) -> Iterator[tuple[str, list[dict[str, np.ndarray]]]]:
        """The end points in float32, computed in every other way that the network knows, and what way that is."""
        with NetworkPool() as own_pool:
            pool = self.pool or own_pool
            network: Any = self._pooled(pool, "float32")
            try:
                for how in network.executions:
                    network.execute(how)
                    network.load(self.read)
                    yield how, self._outputs(network, "float32", images)
            finally:
                network.execute(None)
                pool.forget_values(network)

    def _pooled(self, pool: NetworkPool, dtype: str) -> Network:
        from resport.architectures.registry import find_builder

        key = repr((self.variant, self.dialect, sorted(self.options.items()), self.graph))
        is_keras = self.graph is not None or bool(find_builder(self.variant, self.dialect).end_points)

        def open_one(dtype: str) -> Network:
            return self._widened(pool, key) if dtype == "float64" and not is_keras else self.open(dtype)

        return pool.network(key, open_one, dtype, self.read, is_one_for_both=is_keras)

    def _widened(self, pool: NetworkPool, key: str) -> Network:
        """The network in float64, made of the one in float32 where both are going to be run."""
        from resport.architectures.slim_network import SlimNetwork
        from resport.architectures.slim_widened import can_widen, widened_network

        if pool is self.pool:
            narrow = pool.built(key, self.open, "float32")
            if isinstance(narrow, SlimNetwork) and can_widen(narrow):
                return widened_network(narrow)
        return self.open("float64")

    def _outputs(self, network: Network, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        step = -1 if self.is_reversed else 1
        return [self._adjusted(network.forward(batch[..., ::step].astype(dtype))) for batch in images]

    def _adjusted(self, outputs: Outputs) -> dict[str, np.ndarray]:
        return {name: self.adjust[name](value) if name in self.adjust else value for name, value in outputs.items()}


def compare_forward(
    source: Runnable,
    target: Runnable,
    input_sizes: Sequence[int],
    *,
    float32_sizes: Sequence[int] | None = None,
    batch_size: int = 2,
    seed: int = 0,
    is_thorough: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ForwardResult:
    """Run both networks and compare them.

    Args:
        source: the reference.
        target: what is judged.
        input_sizes: heights and widths of the images in float64; an even and an odd one tell paddings apart.
        float32_sizes: those in float32; the first of the others if None.
        batch_size: images in each pass.
        seed: of the images.
        is_thorough: measure the noise with other threads and kernels too.
        progress: called with what is done next.
    """
    say = progress or (lambda _: None)
    sizes32 = tuple(input_sizes[:1] if float32_sizes is None else float32_sizes)
    batches = {size: random_images(size, batch_size, seed) for size in (*input_sizes, *sizes32)}
    batches64, batches32 = ([batches[size] for size in sizes] for sizes in (input_sizes, sizes32))
    say("source in float64")
    reference = source.run("float64", batches64)
    source32: list[dict[str, np.ndarray]] = []
    noise: tuple[Noise, ...] = ()
    if batches32:
        say("source in float32")
        # The noise is that of the first size in float64, which float32 is run at for it where nothing else asks for it.
        first = [batches64[0]]
        asked = batches32 if input_sizes[0] in sizes32 else batches32 + first
        source32 = [_judged_in_float32(outputs) for outputs in source.run("float32", asked)]
        noisy = source32[sizes32.index(input_sizes[0])] if input_sizes[0] in sizes32 else source32.pop()
        noise = measure_noise(source, first, [noisy], reference[:1], is_thorough=is_thorough)
    say("target in float64")
    float64 = compare_end_points(reference, target.run("float64", batches64), input_sizes)
    float32 = []
    if batches32:
        say("target in float32")
        float32 = compare_end_points(source32, target.run("float32", batches32), sizes32)
    floor = max((each.max_rel_diff for each in noise), default=0.0)
    return ForwardResult(
        float64=tuple(float64),
        float32=tuple(float32),
        noise_floor=floor,
        limit=FORWARD_FLOAT64_LIMIT,
        limit_reason=FORWARD_FLOAT64_REASON,
        float32_ratio_limit=FORWARD_FLOAT32_RATIO,
        input_sizes=tuple(input_sizes),
        batch_size=batch_size,
        noise=noise,
    )


def _judged_in_float32(outputs: Outputs) -> dict[str, np.ndarray]:
    """End points without probabilities that logits stand beside.

    They are a function of the logits alone, and what float32 leaves of them is as much as the exponential makes of the
    noise in these: on one image nothing, on the next a multiple of any other end point's. float64 judges them.
    """
    return {name: value for name, value in outputs.items() if name != PROBABILITIES or LOGITS not in outputs}


def random_images(size: int, batch_size: int, seed: int) -> np.ndarray:
    """Signed random images (batch, size, size, 3) in float32, so that both dtypes see the same values."""
    import numpy as np

    generator = np.random.default_rng([seed, size])
    return generator.uniform(-1.0, 1.0, (batch_size, size, size, 3)).astype(np.float32)
