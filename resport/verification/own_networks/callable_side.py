"""A function of one's own as a network: images in, end points out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resport.architectures.network import squeeze_map
from resport.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

OUTPUT = "output"
"""What the result of a network is called that has one and gives it no name."""


@dataclass(frozen=True, slots=True)
class CallableSide:
    """A function that is run as a network.

    Attributes:
        function: takes images (batch, height, width, channels) and gives an array, or arrays by end point in network
            order; anything that numpy makes an array of is one. Maps have their channels last, as the images have.
        dtypes: what it can compute in. A function that says ``float64`` gets images in float64 and computes in it.
        label: what reports call it; its own name if empty.
    """

    function: Callable[[Any], Any]
    dtypes: tuple[str, ...] = ("float32",)
    label: str = ""
    kind: str = "function"

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.label or str(getattr(self.function, "__qualname__", type(self.function).__name__))

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The end points for each batch of images, computed in a dtype."""
        return [as_end_points(self.function(batch.astype(dtype)), dtype, self.name) for batch in images]


def as_end_points(result: Any, dtype: str, name: str) -> dict[str, np.ndarray]:
    """What a network gave, as arrays by end point; 1x1 maps without their spatial axes.

    Args:
        result: an array, or arrays by name.
        dtype: what it was asked to compute in.
        name: the network, for messages.

    Raises:
        OptionError: it isn't numbers, or not of that dtype.
    """
    import numpy as np

    outputs = result if isinstance(result, Mapping) else {OUTPUT: result}
    arrays = {str(key): np.asarray(value) for key, value in outputs.items()}
    for key, array in arrays.items():
        if array.dtype != np.dtype(dtype):
            raise OptionError(
                f"`{key}` of `{name}` was not computed in {dtype}",
                expected=f"an array of {dtype}",
                got=f"{type(outputs[key]).__name__} of {array.dtype}",
                hint='say dtypes=("float32",) of a network that computes in float32 alone',
            )
    if not arrays:
        raise OptionError(f"`{name}` gave no end points")
    return {key: squeeze_map(array) for key, array in arrays.items()}
