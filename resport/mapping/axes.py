"""Axis strings: how one tensor's axes are called in each dialect, and the move from one to another.

An axis string is one side of an einops pattern: ``"h w i o"``. Brackets join axes (``"(h w i) o"``), ``1`` is an axis
of size one. The move from dialect A to dialect B is the einops pattern ``"axes of A -> axes of B"``; sizes come from
the tensor. Shapes alone never decide a layout: a 512 x 512 matrix looks the same transposed.

A name that begins two brackets is a diagonal, as in einsum: ``"h w (path i) (path o)"`` is a kernel of blocks, and only
those between a path and itself may be other than zero. Reading takes these blocks and refuses a kernel with anything
beside them; writing puts zeros there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

DIAGONAL_SUFFIX = "_again"
"""Behind a diagonal's name where it stands for the second time: einops takes each name once."""

_TOKEN = re.compile(r"\s*(?:(1)(?![a-z0-9_])|([a-z][a-z0-9_]*)|\(([^()]*)\))")


class AxisString(NamedTuple):
    """The axes of a tensor in one dialect.

    Attributes:
        groups: for each axis of the tensor the names it joins; ``()`` for an axis of size one.
    """

    groups: tuple[tuple[str, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All axis names in order, each once, joined ones too, axes of size one not."""
        return _names(self.groups)

    @property
    def diagonal(self) -> str | None:
        """The name that stands twice."""
        names = [name for group in self.groups for name in group]
        return next((name for name in names if names.count(name) > 1), None)

    def spelled(self) -> str:
        """The string for einops, where no name stands twice: the second of a diagonal gets another one."""
        seen: set[str] = set()
        groups = []
        for group in self.groups:
            groups.append(tuple(name + DIAGONAL_SUFFIX if name in seen else name for name in group))
            seen.update(group)
        return str(AxisString(tuple(groups)))

    def position(self, name: str) -> int:
        """Which axis of the tensor has that name, alone.

        Raises:
            ValueError: no axis has, or it is joined with others.
        """
        return self.groups.index((name,))

    def __str__(self) -> str:
        return " ".join(_spelled(group) for group in self.groups)

    def on_diagonal(self, array: np.ndarray, sizes: Mapping[str, int]) -> np.ndarray:
        """An array of these axes with zeros beside the diagonal; without a diagonal it stays as it is."""
        if self.diagonal is None:
            return array
        return _on_diagonal(_diagonal_of(array, self, sizes), self)

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


class AxisMove(NamedTuple):
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
    def reads_diagonal(self) -> bool:
        """Whether the source may only hold zeros beside a diagonal that is not kept."""
        return self.source.diagonal is not None and not self.is_identity

    @property
    def is_identity(self) -> bool:
        """Whether the bytes stay as they are."""
        return self.source == self.target and not self.source_fan and not self.target_fan

    @property
    def order(self) -> tuple[int, ...] | None:
        """Which axis of the source each axis of the target is; None where more happens than that axes change places."""
        groups = self.source.groups
        is_plain = all(len(group) == 1 for group in (*groups, *self.target.groups)) and self.source.diagonal is None
        if self.source_fan or self.target_fan or not is_plain or {*groups} != {*self.target.groups}:
            return None
        return tuple(groups.index(group) for group in self.target.groups)

    @property
    def keeps_order(self) -> bool:
        """Whether the values stay in their order, whatever becomes of the shape: joined axes, axes of size one."""
        is_plain = self.source.diagonal is None and not self.source_fan and not self.target_fan
        return self.is_identity or (is_plain and self.source.names == self.target.names)

    @property
    def pattern(self) -> str:
        """The einops pattern."""
        return f"{_with_fan(self.source_fan, str(self.source))} -> {_with_fan(self.target_fan, str(self.target))}"

    def apply(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Move the values.

        Args:
            arrays: the source tensors, in the order of the fan axes (the last one fastest).

        Returns:
            The target tensors, in the order of the target's fan axes; views where no value has to move.

        Raises:
            ValueError: something other than zero beside the diagonal of a source.
        """
        if self.is_identity:
            return list(arrays)
        import numpy as np

        sizes = dict(self.sizes)
        if self.order is not None:
            return [np.transpose(array, self.order) for array in arrays]
        if not self.source_fan and not self.target_fan:
            return [self._moved(array, sizes) for array in arrays]
        stacked = arrays[0]
        if self.source_fan:
            fan_shape = tuple(sizes[name] for name in self.source_fan)
            stacked = np.stack(list(arrays)).reshape(fan_shape + arrays[0].shape)
        moved = self._moved(stacked, sizes)
        if not self.target_fan:
            return [moved]
        return list(moved.reshape((-1, *moved.shape[len(self.target_fan) :])))

    def _moved(self, array: np.ndarray, sizes: Mapping[str, int]) -> np.ndarray:
        """One array with the source's fan in front, moved to one with the target's fan in front."""
        import numpy as np

        source = _with_fan(self.source_fan, str(self.source))
        target = _with_fan(self.target_fan, str(self.target))
        if self.source.diagonal is not None:
            blocks = _diagonal_of(array, self.source, sizes)
            n_other = np.count_nonzero(array) - np.count_nonzero(blocks)
            if n_other:
                raise ValueError(f"{n_other} values beside the diagonal of `{self.source}` are not zero")
            array, source = blocks, _flat(self.source)
        if self.target.diagonal is None:
            return _rearranged(array, source, target, sizes)
        return _on_diagonal(_rearranged(array, source, _flat(self.target), sizes), self.target)


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
    spelled_names = [name for group in groups for name in group]
    repeated = [name for name in axes.names if spelled_names.count(name) > 1]
    # A diagonal stands in front of two brackets: anything else is a slip.
    heads = [group[0] for group in groups if len(group) > 1]
    if repeated and (len(spelled_names) > len(axes.names) + 1 or heads.count(repeated[0]) != 2):
        raise ValueError(f"`{text}` names an axis twice")
    return axes


@cache
def _names(groups: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    # Asked for several times of each tensor, and there are as many axis strings as tables have.
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _with_fan(fan: Sequence[str], axes: str) -> str:
    return " ".join([*fan, axes]).strip()


def _flat(axes: AxisString) -> str:
    """The axes of the blocks on a diagonal, the diagonal first, none joined."""
    return " ".join(dict.fromkeys([axes.diagonal or "", *axes.names]))


def _rearranged(array: np.ndarray, source: str, target: str, sizes: Mapping[str, int]) -> np.ndarray:
    from einops import rearrange

    used = {name: size for name, size in sizes.items() if re.search(rf"\b{name}\b", source)}
    moved: np.ndarray = rearrange(array, f"{source} -> {target}", **used)
    return moved


def _diagonal_of(array: np.ndarray, axes: AxisString, sizes: Mapping[str, int]) -> np.ndarray:
    """The blocks on the diagonal, in the order of ``_flat``."""
    import numpy as np

    name = axes.diagonal or ""
    other = name + DIAGONAL_SUFFIX
    rest = _flat(axes).removeprefix(name).strip()
    blocks = _rearranged(array, axes.spelled(), f"{name} {other} {rest}", {**sizes, other: sizes[name]})
    numbers = np.arange(sizes[name])
    diagonal: np.ndarray = blocks[numbers, numbers]
    return diagonal


def _on_diagonal(blocks: np.ndarray, axes: AxisString) -> np.ndarray:
    """An array that is zero but for the blocks, which come in the order of ``_flat``."""
    import numpy as np

    name = axes.diagonal or ""
    other = name + DIAGONAL_SUFFIX
    count = len(blocks)
    full = np.zeros((count, count, *blocks.shape[1:]), blocks.dtype)
    numbers = np.arange(count)
    full[numbers, numbers] = blocks
    rest = _flat(axes).removeprefix(name).strip()
    return _rearranged(full, f"{name} {other} {rest}", axes.spelled(), {})


def _spelled(group: tuple[str, ...]) -> str:
    if len(group) == 1:
        return group[0]
    return f"({' '.join(group)})" if group else "1"
