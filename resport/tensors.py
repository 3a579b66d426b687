"""What is known about tensors without reading them, specs and manifests; and random values to fill them with."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resport.dtypes import BY_NAME, dtype_named
from resport.errors import FormatError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and dtype of one tensor.

    Attributes:
        name: the tensor's name in its checkpoint.
        shape: sizes of its axes; ``()`` for a scalar.
        dtype: numpy's spelling, as in ``resport.dtypes``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the values; 0 for strings, whose length no spec tells."""
        return math.prod(self.shape) * (BY_NAME.get(self.dtype) or dtype_named(self.dtype)).itemsize


class Manifest(Mapping[str, TensorSpec]):
    """All specs of a checkpoint: an ordered, immutable mapping from name to ``TensorSpec``.

    Args:
        specs: the specs in the order of the checkpoint.

    Raises:
        FormatError: two specs have one name.
    """

    __slots__ = ("_specs",)

    def __init__(self, specs: Iterable[TensorSpec] = ()) -> None:
        self._specs: dict[str, TensorSpec] = {}
        for spec in specs:
            if spec.name in self._specs:
                raise FormatError(f"two tensors have the name `{spec.name}`")
            self._specs[spec.name] = spec

    def __getitem__(self, name: str) -> TensorSpec:
        return self._specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def __repr__(self) -> str:
        return f"Manifest({len(self)} tensors, {self.nbytes:,} bytes)"

    @property
    def nbytes(self) -> int:
        """Bytes of all values together."""
        return sum(spec.nbytes for spec in self._specs.values())


def random_tensor(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Random weights on which every mistake shows: no bias is zero, no variance one, some gammas are negative.

    Freshly initialised networks hide swaps: with gamma and variance both one, exchanging them changes nothing.

    Args:
        name: the tensor's name; its last word tells what it is, and the whole of it goes into the seed.
        shape: its shape; of a kernel the last axis counts the outputs.
        seed: the same seed gives the same values in any order of calls.

    Returns:
        float64 values.
    """
    import numpy as np

    values: np.ndarray
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    # tensorpack calls its statistics `mean/EMA` and `variance/EMA`. Keras 1 and hand-written layers put the layer in
    # front of the word: `bn_conv1_running_std` (which is a variance), `scale_conv1_gamma`.
    word = name.replace(".", "/").removesuffix("/EMA").rpartition("/")[2]
    if word.endswith(("moving_variance", "running_var", "running_std")) or word == "variance":
        values = generator.uniform(0.5, 1.5, shape)
    elif word.endswith("gamma") or (word == "weight" and len(shape) == 1):
        values = generator.uniform(0.6, 1.2, shape) * generator.choice([1.0, 1.0, 1.0, -1.0], shape)
    elif len(shape) <= 1:
        values = generator.normal(0.0, 0.2, shape)
    else:
        values = generator.normal(0.0, math.sqrt(2.0 / max(math.prod(shape[:-1]), 1)), shape)
    return values
