"""Sizes of the images: one even and one odd, because paddings differ on even maps alone, and no larger than needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resport.errors import OptionError

if TYPE_CHECKING:
    from resport.verification.forward.forward import NetworkSide

USUAL_SIZES = (96, 97)
"""Three times 32: its maps are even and odd where those of 224, seven times 32, are, at a fifth of the cost."""

SELF_TEST_SIZES = (64, 65)
"""As small as they may be, for the many runs of the self-test: the last map still has more than one pixel."""

UNPADDED_SIZES = {160: (108, 111)}
"""By the network's own size: facenet's stem pads nothing, and its last map needs that much."""


def input_sizes(asked: int | None, *sides: NetworkSide) -> tuple[int, ...]:
    """Heights and widths of the images in float64.

    Whether two graphs are one function shows at a small size as it does at the network's own, for a fifth of the cost.

    Args:
        asked: the size that was asked for; None for small ones.
        sides: the networks, the source first.

    Raises:
        OptionError: no such size, or not the one that a network is fixed to.
    """
    from resport.architectures.keras_own_graph import own_graph_size
    from resport.architectures.registry import own_input_size

    if asked is not None and asked < 1:
        raise OptionError("an input has at least one pixel", got=asked)
    fixed = {size for side in sides if side.graph is not None and (size := own_graph_size(side.graph)) is not None}
    if fixed:
        if len(fixed) > 1 or asked not in (None, *fixed):
            raise OptionError("a network takes images of one size only", expected=min(fixed), got=asked or max(fixed))
        return tuple(fixed)
    if asked is not None:
        return (asked, asked + 1)
    return small_sizes(own_input_size(sides[0].variant, sides[0].dialect))


def float32_sizes(asked: int | None, sizes: Sequence[int], source: NetworkSide) -> tuple[int, ...]:
    """Heights and widths of the images in float32: the network's own, as it is used.

    Args:
        asked: the size that was asked for; None for the network's own.
        sizes: those in float64.
        source: the reference's network.
    """
    from resport.architectures.registry import own_input_size

    if asked is not None or len(sizes) == 1:
        return tuple(sizes[:1])
    return (own_input_size(source.variant, source.dialect),)


def probe_sizes(sizes: Sequence[int], source: NetworkSide) -> tuple[int, ...]:
    """Sizes for random weights: small ones, which show as much, unless the network is fixed to one.

    Args:
        sizes: those of the comparison.
        source: the reference's network.
    """
    from resport.architectures.registry import own_input_size

    small = small_sizes(own_input_size(source.variant, source.dialect))
    return small if len(sizes) > 1 and max(small) < max(sizes) else tuple(sizes)


def self_test_sizes(source: NetworkSide) -> tuple[int, int]:
    """Sizes for the self-test and the diagnosis.

    Args:
        source: the reference's network.
    """
    from resport.architectures.registry import own_input_size

    return small_sizes(own_input_size(source.variant, source.dialect), SELF_TEST_SIZES)


def small_sizes(own: int, usual: tuple[int, int] = USUAL_SIZES) -> tuple[int, int]:
    """An even and an odd size for a network that is made for images of another.

    Args:
        own: height and width that it is made for.
        usual: those for a network that is made for larger ones.
    """
    even, odd = UNPADDED_SIZES.get(own, usual)
    return (even, odd) if odd <= own else (own, own + 1)
