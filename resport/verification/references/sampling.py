"""Which values of an end point a reference keeps: all of a small one, chosen positions of a large one.

Every end point of a ResNet-50 at 224 x 224, for two images in float64, is 400 MB; a proof to be kept beside the model
should be a few. Of a map with more values than ``SAMPLE_VALUES`` a reference therefore keeps some positions, and at
each of them every channel, so that a mistake in one channel shows: the corners of the first image, where another
padding shows first, and others drawn at random. Behind them stands the mean over all positions, in which every value
has its part. The positions themselves are stored, so no generator of random numbers must stay as it is.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SAMPLE_VALUES = 8192
"""Values kept of one end point at least, where it has so many: 64 kB in float64."""

SAMPLE_POSITIONS = 8
"""Positions kept at least, however many channels there are."""

SAMPLE_SEED = 0


def sample_positions(name: str, shape: tuple[int, ...], max_values: int = SAMPLE_VALUES) -> np.ndarray | None:
    """The positions of an end point that are kept.

    Args:
        name: the end point, which goes into the seed.
        shape: its shape; the last axis is kept whole, all others together count positions.
        max_values: an end point with no more values is kept whole.

    Returns:
        Indices into the flattened leading axes, int64 and ascending; None where everything is kept.
    """
    import numpy as np

    n_positions = math.prod(shape[:-1])
    count = max(max_values // max(shape[-1] if shape else 1, 1), SAMPLE_POSITIONS)
    if math.prod(shape) <= max_values or n_positions <= count:
        return None
    generator = np.random.default_rng([SAMPLE_SEED, zlib.crc32(name.encode()), *shape])
    chosen = {*_corners(shape), *generator.choice(n_positions, count, replace=False).tolist()}
    return np.array(sorted(chosen), np.int64)


def sampled(value: np.ndarray, positions: np.ndarray | None) -> np.ndarray:
    """The kept values of an end point.

    Args:
        value: (..., channels).
        positions: what ``sample_positions`` gave; None keeps all.

    Returns:
        The value itself, or (1, positions + 1, channels) with the mean over all positions as the last row. It has three
        axes because what has two is taken for the vectors of images.
    """
    import numpy as np

    if positions is None:
        return value
    rows = value.reshape(-1, value.shape[-1])
    mean = rows.mean(axis=0, keepdims=True, dtype=np.float64)
    return np.concatenate([rows[positions], mean.astype(value.dtype)])[np.newaxis]


def _corners(shape: tuple[int, ...]) -> list[int]:
    """Positions of the corners of the first image's map; of what is no map, the first and the last position."""
    if len(shape) != 4:
        return [0, math.prod(shape[:-1]) - 1]
    height, width = shape[1:3]
    return [0, width - 1, (height - 1) * width, height * width - 1]
