"""What is known about tensors without reading them: specs and manifests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from resport.dtypes import dtype_named
from resport.errors import FormatError


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
        return self.size * dtype_named(self.dtype).itemsize


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
