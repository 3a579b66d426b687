"""What the verifier asks of a network, whatever its framework; and the parts of it that need no framework.

An end point has one name on both sides: slim's key without the scope in front (``block1/unit_1/bottleneck_v2/conv1``).
The arrays are brought to one shape as well: slim keeps pooled values as (batch, 1, 1, channels), Keras as
(batch, channels), so a 1x1 map loses its two spatial axes on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from resport.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

DTYPES = ("float32", "float64")
"""What a builder computes in: float32 as the network ran, float64 to tell two functions apart below float32's noise."""


class Network(Protocol):
    """A network that can be filled and run. Both dialects give one."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors that it needs, in its own dialect."""

    def load(self, values: Mapping[str, np.ndarray] | Callable[[str], np.ndarray]) -> None:
        """Fill every tensor from a mapping or a function of its name."""

    def forward(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run images (batch, height, width, channels); the value of every end point, in network order."""

    def close(self) -> None:
        """Give the memory back."""

    def __enter__(self) -> Self:
        """Open already."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""


def check_dtype(dtype: str) -> str:
    """A dtype that builders have.

    Raises:
        OptionError: another one.
    """
    if dtype not in DTYPES:
        raise OptionError("networks are built in float32 or float64", expected=" or ".join(DTYPES), got=dtype)
    return dtype


def check_option(option: str, value: str, known: Sequence[str]) -> str:
    """A value that an option has.

    Raises:
        OptionError: another one.
    """
    if value not in known:
        raise OptionError(f"`{option}` has no value `{value}`", expected=f"one of {', '.join(known)}", got=value)
    return value


def height_and_width(input_size: tuple[int, int] | int | None) -> tuple[int | None, int | None]:
    """Height and width of the input; None for sizes left open.

    Raises:
        OptionError: not one or two positive numbers.
    """
    if input_size is None:
        return None, None
    height, width = (input_size, input_size) if isinstance(input_size, int) else input_size
    if height < 1 or width < 1:
        raise OptionError("an input has at least one pixel", expected="positive height and width", got=input_size)
    return height, width


def check_images(images: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Images that fit the input of a network.

    Args:
        images: (batch, height, width, channels).
        shape: what the network takes; None for any size.

    Raises:
        OptionError: they don't fit.
    """
    fits = images.ndim == len(shape) and all(
        size in (None, given) for size, given in zip(shape, images.shape, strict=True)
    )
    if not fits:
        raise OptionError("the images do not fit the network's input", expected=shape, got=images.shape)


def read_fitting(
    values: Mapping[str, np.ndarray] | Callable[[str], np.ndarray], name: str, shape: tuple[int, ...], dtype: str
) -> np.ndarray:
    """One tensor for a network, in the network's dtype.

    Args:
        values: where it comes from.
        name: its name in the network's dialect.
        shape: the shape that the network has.
        dtype: the dtype that the network computes in.

    Raises:
        OptionError: there is no such tensor, or its shape differs.
    """
    import numpy as np

    try:
        value = values(name) if callable(values) else values[name]
    except KeyError:
        raise OptionError(f"there is no value for `{name}`, which the network needs", expected=shape) from None
    if value.shape != shape:
        raise OptionError(f"`{name}` does not fit the network", expected=shape, got=value.shape)
    return np.asarray(value, dtype=dtype)


def squeeze_map(value: np.ndarray) -> np.ndarray:
    """An end point without the axes of a 1x1 map: (batch, 1, 1, channels) becomes (batch, channels)."""
    return value[:, 0, 0] if value.ndim == 4 and value.shape[1:3] == (1, 1) else value
