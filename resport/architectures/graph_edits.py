"""Changes to the graph of a built network: another epsilon, padding of a pool, place of a stride, factor.

A network is built once and run as it is or edited; an edit lasts for one run and copies no weight. That is what the
known mistakes are made with, whatever the variant and the dialect, and how they are undone. ``editor`` gives one
interface over both frameworks. Values are computed in float64, where TF1 graphs compute batch norm from parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from resport.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

    from resport.architectures.network import Network

SAME, VALID, PADDED = "same", "valid", "padded"


@dataclass(frozen=True, slots=True)
class PoolPadding:
    """How a max-pool pads.

    Attributes:
        mode: ``same`` as TensorFlow does, ``valid`` for nothing, ``padded`` for half the window on each side.
        fill: what stands in the padding: 0 or minus infinity.
    """

    mode: str
    fill: float = -math.inf

    def __str__(self) -> str:
        what = {SAME: "SAME", VALID: "no padding", PADDED: "half the window on each side"}[self.mode]
        return what if self.mode == VALID else f"{what}, filled with {'0' if self.fill == 0 else '-inf'}"


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """A batch norm and its epsilon."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution.

    Attributes:
        name: its name.
        value: its stride.
        size: of its window.
        kernel: name of its kernel's variable.
        groups: groups of channels.
        keeps_size: whether its output would have the input's size at stride 1.
        previous: the convolution whose output, normalised and activated, it takes; None where there is something else.
    """

    name: str
    value: int
    size: int
    kernel: str
    groups: int
    keeps_size: bool
    previous: str | None


@dataclass(frozen=True, slots=True)
class MaxPool:
    """A max-pool of more than one pixel, its padding, and whether it follows a ReLU (its fill is then no matter)."""

    name: str
    value: PoolPadding
    is_activated: bool


@dataclass(frozen=True, slots=True)
class Factor:
    """A map times a constant, as residuals are scaled."""

    name: str
    value: float


Site = BatchNorm | Convolution | MaxPool | Factor


@dataclass(frozen=True, slots=True)
class Sites:
    """What can be edited in a network, each kind in network order."""

    batch_norms: tuple[BatchNorm, ...]
    convolutions: tuple[Convolution, ...]
    pools: tuple[MaxPool, ...]
    factors: tuple[Factor, ...]

    @property
    def all(self) -> tuple[Site, ...]:
        """All of them."""
        return (*self.batch_norms, *self.convolutions, *self.pools, *self.factors)


@dataclass(frozen=True, slots=True)
class Edit:
    """Another value for a site: an epsilon, a stride, a padding or a factor.

    Attributes:
        site: the site's name.
        value: what it has during the run.
    """

    site: str
    value: float | int | PoolPadding


class Editor(Protocol):
    """A network that can be run edited."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors that it needs."""

    @property
    def sites(self) -> Sites:
        """What can be edited."""

    def feeding(self, end_point: str) -> frozenset[str]:
        """Names of the tensors and sites that an end point depends on."""

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Give some tensors other values; they stay until they are given others."""

    def run(
        self, images: np.ndarray, edits: Sequence[Edit] = (), only: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The values of end points with the edits in place.

        Args:
            images: (batch, height, width, channels).
            edits: at most one for each site.
            only: the end points that are wanted, though others may come with them; all if None.

        Raises:
            OptionError: an edit for a site that isn't there, or maps that don't fit together with it.
        """


def editor(network: Network) -> Editor:
    """An editor of a network that ``open_network`` gave.

    Args:
        network: built in float64.
    """
    from resport.architectures.keras_network import KerasNetwork

    if isinstance(network, KerasNetwork):
        from resport.architectures.keras_edits import KerasEditor

        return KerasEditor(network)
    from resport.architectures.slim_edits import SlimEditor
    from resport.architectures.slim_network import SlimNetwork

    if isinstance(network, SlimNetwork):
        return SlimEditor(network)
    raise OptionError(f"a {type(network).__name__} cannot be edited", expected="a Keras model or a TF1 graph")


def no_such_site(name: str) -> OptionError:
    """The error for an edit of a site that a network doesn't have."""
    return OptionError(f"the network has no `{name}` that can be edited")


def not_runnable(edits: Sequence[Edit], error: Exception) -> OptionError:
    """The error for edits after which maps don't fit together."""
    reason = str(error).strip().splitlines()
    sites = ", ".join(f"`{edit.site}`" for edit in edits[:3]) + (" and others" if len(edits) > 3 else "")
    return OptionError(
        f"the network cannot be run with {sites} edited",
        got=reason[0] if reason else type(error).__name__,
    )
