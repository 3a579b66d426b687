"""A network that is listened to while it is verified: its outputs are kept for a reference, without a second run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resport.verification.references.sampling import SAMPLE_VALUES, sample_positions, sampled

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class KeptOutput:
    """What is kept of one end point.

    Attributes:
        shape: the shape of the whole end point.
        positions: which of its positions were kept; None for all.
        values: the kept values, as ``sampled`` gives them.
    """

    shape: tuple[int, ...]
    positions: np.ndarray | None
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class KeptPass:
    """One forward pass.

    Attributes:
        dtype: what the network computed in.
        images: (batch, height, width, channels), float32.
        outputs: what was kept of each end point, in network order.
    """

    dtype: str
    images: np.ndarray
    outputs: Mapping[str, KeptOutput]

    @property
    def input_size(self) -> int:
        """Height of the images."""
        return int(self.images.shape[1])


class Recording:
    """A side that keeps of each first pass what a reference stores.

    Later passes of the same dtype and size, as the noise floor is measured with, are not kept. Memory holds the
    samples, not the maps.

    Args:
        side: what is run.
        max_values: see ``sample_positions``.

    Attributes:
        passes: what was kept, by dtype and input size.
    """

    def __init__(self, side: Any, *, max_values: int = SAMPLE_VALUES) -> None:
        self._side = side
        self._max_values = max_values
        self.passes: dict[tuple[str, int], KeptPass] = {}

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Run the side, and keep what a reference stores of it."""
        results: list[dict[str, np.ndarray]] = self._side.run(dtype, images)
        for batch, outputs in zip(images, results, strict=True):
            key = (dtype, int(batch.shape[1]))
            if key not in self.passes:
                kept = {name: _kept(name, value, self._max_values) for name, value in outputs.items()}
                self.passes[key] = KeptPass(dtype, batch.astype("float32"), kept)
        return results

    def run_otherwise(self, images: Sequence[np.ndarray]) -> Iterator[tuple[str, list[dict[str, np.ndarray]]]]:
        """Run the side in its other ways, of which nothing is kept."""
        yield from self._side.run_otherwise(images)


def _kept(name: str, value: np.ndarray, max_values: int) -> KeptOutput:
    positions = sample_positions(name, value.shape, max_values)
    return KeptOutput(value.shape, positions, sampled(value, positions))
