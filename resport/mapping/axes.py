"""Axis strings: how one tensor's axes are called in each dialect, and the move from one to another.

An axis string is one side of an einops pattern: ``"h w i o"``. Brackets join axes (``"(h w i) o"``), ``1`` is an axis of
size one. The move from dialect A to dialect B is the einops pattern ``"axes of A -> axes of B"``; sizes come from the
tensor. Shapes alone never decide a layout: a 512 x 512 matrix looks the same transposed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_TOKEN = re.compile(r"\s*(?:(1)(?![a-z0-9_])|([a-z][a-z0-9_]*)|\(([^()]*)\))")


@dataclass(frozen=True, slots=True)
class AxisString:
    """The axes of a tensor in one dialect.

    Attributes:
        groups: for each axis of the tensor the names it joins; ``()`` for an axis of size one.
    """

    groups: tuple[tuple[str, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All axis names in order, joined ones too, axes of size one not."""
        return tuple(name for group in self.groups for name in group)

    def position(self, name: str) -> int:
        """Which axis of the tensor has that name, alone.

        Raises:
            ValueError: no axis has, or it is joined with others.
        """
        return self.groups.index((name,))

    def __str__(self) -> str:
        return " ".join(_spelled(group) for group in self.groups)

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...] | None:
        """The tensor's shape, or None where the size of an axis is not known."""
        if any(name not in sizes for name in self.names):
            return None
        return tuple(math.prod(sizes[name] for name in group) for group in self.groups)

    def bind(self, shape: Sequence[int], known: Mapping[str, int]) -> dict[str, int]:
        """Read the sizes of the axes off a tensor's shape.

        Args:
            shape: the tensor's shape.
            known: sizes known beforehand; needed for all but one axis of each join.

        Returns:
            The size of every axis of the string.

        Raises:
            ValueError: another number of axes, a size that contradicts ``known`` or another axis, or a join that
                does not come out even.
        """
        if len(shape) != len(self.groups):
            raise ValueError(f"{len(shape)} axes instead of {len(self.groups)}")
        sizes: dict[str, int] = {name: known[name] for name in self.names if name in known}
        for group, size in zip(self.groups, shape, strict=True):
            unknown = [name for name in group if name not in sizes]
            rest = math.prod(sizes[name] for name in group if name in sizes)
            if len(unknown) > 1:
                raise ValueError(f"the sizes of {' and '.join(unknown)} cannot be told from their product {size}")
            if unknown and rest and size % rest == 0:
                sizes[unknown[0]] = size // rest
            elif unknown or rest != size:
                raise ValueError(f"axis `{_spelled(group)}` is {size} instead of {rest}")
        return sizes


@dataclass(frozen=True, slots=True)
class AxisMove:
    """The move of one or many tensors of one dialect to one or many of another.

    Attributes:
        source: axes of each source tensor.
        target: axes of each target tensor.
        source_fan: axes along which several source tensors are stacked.
        target_fan: axes along which the result is split into several target tensors.
        sizes: sizes of the fan axes and of joined axes, which shapes don't tell.
    """

    source: AxisString
    target: AxisString
    source_fan: tuple[str, ...] = ()
    target_fan: tuple[str, ...] = ()
    sizes: tuple[tuple[str, int], ...] = ()

    @property
    def is_identity(self) -> bool:
        """Whether the bytes stay as they are."""
        return self.source == self.target and not self.source_fan and not self.target_fan

    @property
    def pattern(self) -> str:
        """The einops pattern."""
        source = " ".join([*self.source_fan, str(self.source)]).strip()
        target = " ".join([*self.target_fan, str(self.target)]).strip()
        return f"{source} -> {target}"

    def apply(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Move the values.

        Args:
            arrays: the source tensors, in the order of the fan axes (the last one fastest).

        Returns:
            The target tensors, in the order of the target's fan axes; views where no value has to move.
        """
        if self.is_identity:
            return list(arrays)
        import numpy as np
        from einops import rearrange

        sizes = dict(self.sizes)
        stacked = arrays[0]
        if self.source_fan:
            fan_shape = tuple(sizes[name] for name in self.source_fan)
            stacked = np.stack(list(arrays)).reshape(fan_shape + arrays[0].shape)
        used = {name: size for name, size in sizes.items() if re.search(rf"\b{name}\b", self.pattern)}
        moved = rearrange(stacked, self.pattern, **used)
        if not self.target_fan:
            return [moved]
        return list(moved.reshape((-1, *moved.shape[len(self.target_fan) :])))


def parse_axes(text: str) -> AxisString:
    """Parse an axis string.

    Raises:
        ValueError: something that is no axis, or a name given twice.
    """
    groups: list[tuple[str, ...]] = []
    end = 0
    stripped = text.rstrip()
    while end < len(stripped):
        match = _TOKEN.match(stripped, end)
        if match is None:
            raise ValueError(f"`{text}` is not a list of axes like `h w i o` or `(h w i) o`, at `{stripped[end:]}`")
        one, name, joined = match.groups()
        names = () if one else (name,) if name else tuple(joined.split())
        if joined is not None and not all(re.fullmatch(r"[a-z][a-z0-9_]*", each) for each in names):
            raise ValueError(f"`{text}` joins something that is no axis name: `({joined})`")
        groups.append(names)
        end = match.end()
    axes = AxisString(tuple(groups))
    if len(set(axes.names)) < len(axes.names):
        raise ValueError(f"`{text}` names an axis twice")
    return axes


def _spelled(group: tuple[str, ...]) -> str:
    if len(group) == 1:
        return group[0]
    return f"({' '.join(group)})" if group else "1"
