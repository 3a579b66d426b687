"""A table expanded for one variant: every parameter with its concrete names, axes and shape in every dialect.

A conversion looks names up here. Expansion is where two rows that claim one name are caught, and where the layer
order that some formats go by is worked out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from typing import Any

from resport.errors import TableError
from resport.mapping.axes import AxisMove, AxisString
from resport.mapping.tables import CLASSES, Fold, Group, Row, Table
from resport.mapping.templates import Constant, Template


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a variant.

    Attributes:
        names: its tensors' names by dialect: one, several where the dialect splits it, none where it is a constant.
        constants: its value in the dialects that have no tensor for it.
        axes: its axes by dialect.
        fans: by dialect the axes along which its several tensors are stacked, in the order of ``names``.
        sizes: the sizes of axes that the table tells.
        group: number of its group.
        optional: whether its group may be absent.
        row: its row's first cell.
    """

    names: Mapping[str, tuple[str, ...]]
    constants: Mapping[str, float]
    axes: Mapping[str, AxisString]
    fans: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, int]
    group: int
    optional: bool
    row: str

    def shape(self, dialect: str, num_classes: int | None = None) -> tuple[int, ...] | None:
        """Shape of each of its tensors in a dialect, or None where the table doesn't tell."""
        sizes = dict(self.sizes) if num_classes is None else {**self.sizes, CLASSES: num_classes}
        return self.axes[dialect].shape(sizes)

    def move(self, source: str, target: str, sizes: Mapping[str, int]) -> AxisMove:
        """The move of its values between two dialects that both have it.

        Args:
            source: dialect to read.
            target: dialect to write.
            sizes: sizes of all its axes, as they are in the source.
        """
        # Equal fans on both sides (the two dialects split it alike) cancel out: tensor by tensor nothing moves.
        alike = self.fans[source] == self.fans[target]
        joined = {name for group in self.axes[source].groups if len(group) > 1 for name in group}
        needed = joined.union(self.fans[source], self.fans[target])
        return AxisMove(
            self.axes[source],
            self.axes[target],
            () if alike else self.fans[source],
            () if alike else self.fans[target],
            tuple((name, sizes[name]) for name in sorted(needed)),
        )


@dataclass(frozen=True, slots=True)
class ConcreteFold:
    """A fold between tensors of one dialect, by their names."""

    dialect: str
    op: str
    into: str
    operands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expansion:
    """A table expanded for one variant.

    Attributes:
        table: the table.
        variant: the variant's name.
        roots: what stands in front of every name, by dialect.
        parameters: in network order.
        folds: all folds of the variant.
        by_name: for each dialect the parameter that a name belongs to.
    """

    table: Table
    variant: str
    roots: Mapping[str, str]
    parameters: tuple[Parameter, ...]
    folds: tuple[ConcreteFold, ...]
    by_name: Mapping[str, Mapping[str, Parameter]] = field(repr=False)

    def names(self, dialect: str) -> list[str]:
        """The names of all tensors of a dialect, in the order that the dialect's formats go by."""
        names = list(self.by_name[dialect])
        if dialect not in self.table.order:
            return names
        position = _layer_positions(self, dialect)
        return sorted(names, key=lambda name: position[layer_of(name)])


def expand(table: Table, variant: str, roots: Mapping[str, str] | None = None) -> Expansion:
    """Expand a table for a variant.

    Args:
        table: the table.
        variant: one of its variants.
        roots: what stands in front of every name, for dialects where it isn't what the table says.

    Raises:
        OptionError: the family has no such variant.
        TableError: two rows give one name, a count or size has no value, or a layer has no place in ``[order]``.
    """
    counts = {**table.sizes, **table.variant(variant)}
    filled = {dialect: root.fill({"variant": variant}) for dialect, root in table.roots.items()}
    filled.update(roots or {})
    parameters: list[Parameter] = []
    folds: list[ConcreteFold] = []
    for group in table.groups:
        for indices in combinations(table, group, counts):
            parameters.extend(_parameters(table, variant, group, indices, counts, filled))
        folds.extend(_folds(table, variant, group, counts, filled))
    by_name = {dialect: _by_name(table, dialect, parameters) for dialect in table.dialects}
    return Expansion(table, variant, filled, tuple(parameters), tuple(folds), by_name)


def layer_of(name: str) -> str:
    """The layer that a tensor belongs to: its name up to the last ``/`` or, where there is none, the last ``.``."""
    separator = "/" if "/" in name else "."
    return name.rpartition(separator)[0]


def look_up(value: Any, indices: Mapping[str, int], over: Sequence[str]) -> int:
    """The number that a count or size has at some indices.

    A list gives one value for each number of the first index, its lists one for each number of the second, and so on;
    the last value of a list holds for all that follow. An index that the group doesn't run over counts as 1.

    Args:
        value: a number, or lists of numbers.
        indices: numbers of the indices, from 1.
        over: the group's indices, outermost first.

    Raises:
        ValueError: the value is no number and no list of numbers.
    """
    position = 0
    while isinstance(value, list) and value:
        number = indices[over[position]] if position < len(over) else 1
        value = value[min(number, len(value)) - 1]
        position += 1
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"`{value}` is no count")
    return value


def combinations(
    table: Table, group: Group, counts: Mapping[str, Any], over: Sequence[str] | None = None
) -> Iterator[dict[str, int]]:
    """All numbers of a group's indices, outermost first, the last one fastest.

    Args:
        table: the table, for messages.
        group: the group.
        counts: the counts of a variant.
        over: the indices, where they aren't the group's.

    Raises:
        TableError: an index has no count.
    """
    over = group.over if over is None else over

    def deeper(position: int, indices: dict[str, int]) -> Iterator[dict[str, int]]:
        if position == len(over):
            yield dict(indices)
            return
        try:
            count = look_up(counts[over[position]], indices, over)
        except ValueError as error:
            raise TableError(f"index `{over[position]}`: {error}", file=table.path, group=group.number) from None
        for number in range(1, count + 1):
            yield from deeper(position + 1, {**indices, over[position]: number})

    yield from deeper(0, {})


def _parameters(
    table: Table,
    variant: str,
    group: Group,
    indices: Mapping[str, int],
    counts: Mapping[str, Any],
    roots: Mapping[str, str],
) -> Iterator[Parameter]:
    for row in group.rows:
        fan = _fan_indices(row, group.over)
        if any(indices[index] != 1 for index in fan):
            continue
        for words in _word_choices(table, row):
            try:
                yield _parameter(table, variant, group, row, indices, fan, words, counts, roots)
            except (ValueError, KeyError) as error:
                raise TableError(str(error), file=table.path, group=group.number, row=row.text) from None


def _parameter(
    table: Table,
    variant: str,
    group: Group,
    row: Row,
    indices: Mapping[str, int],
    fan: tuple[str, ...],
    words: Mapping[str, int],
    counts: Mapping[str, Any],
    roots: Mapping[str, str],
) -> Parameter:
    fan_counts = {index: look_up(counts[index], indices, group.over) for index in fan}
    names: dict[str, tuple[str, ...]] = {}
    constants: dict[str, float] = {}
    fans: dict[str, tuple[str, ...]] = {}
    for dialect, cell in row.cells.items():
        if isinstance(cell, Constant):
            names[dialect], fans[dialect] = (), ()
            constants[dialect] = cell.value
            continue
        spellings = {
            word: table.words[word][dialect][position]
            for word, position in words.items()
            if dialect in table.words[word]
        }
        fans[dialect] = tuple(index for index in fan if any(hole.name == index for hole in cell.holes))
        names[dialect] = tuple(
            roots[dialect] + cell.fill({**indices, **spellings, "variant": variant, **numbers})
            for numbers in _numbers({index: fan_counts[index] for index in fans[dialect]})
        )
    entry = table.axes[row.axes]
    sizes = {**entry.sizes, **fan_counts}
    for axis, size in zip(entry.names, row.sizes, strict=bool(row.sizes)):
        if size != CLASSES:
            sizes[axis] = size if isinstance(size, int) else look_up(counts[size], indices, group.over)
    axes = {dialect: entry.strings[dialect] for dialect in table.dialects}
    return Parameter(names, constants, axes, fans, sizes, group.number, group.optional, row.text)


def _numbers(counts: Mapping[str, int]) -> Iterator[dict[str, int]]:
    for numbers in product(*(range(1, count + 1) for count in counts.values())):
        yield dict(zip(counts, numbers, strict=True))


def _fan_indices(row: Row, over: Sequence[str]) -> tuple[str, ...]:
    """The indices that some dialect's name has and another's lacks."""
    templates = [cell for cell in row.cells.values() if isinstance(cell, Template)]
    held = [{hole.name for hole in template.holes} for template in templates]
    return tuple(
        index for index in over if any(index in holes for holes in held) and not all(index in holes for holes in held)
    )


def _word_choices(table: Table, row: Row) -> Iterator[dict[str, int]]:
    """All positions of the row's words, the same in every dialect."""
    used = dict.fromkeys(
        hole.name
        for cell in row.cells.values()
        if isinstance(cell, Template)
        for hole in cell.holes
        if hole.name in table.words
    )
    lengths = [len(next(iter(table.words[word].values()))) for word in used]
    for positions in product(*(range(length) for length in lengths)):
        yield dict(zip(used, positions, strict=True))


def _folds(
    table: Table, variant: str, group: Group, counts: Mapping[str, Any], roots: Mapping[str, str]
) -> Iterator[ConcreteFold]:
    for fold in group.folds:
        for indices in combinations(table, group, counts):
            values: dict[str, int | str] = {**indices, "variant": variant}
            root = roots[fold.dialect]
            yield _concrete(fold, root, values)


def _concrete(fold: Fold, root: str, values: Mapping[str, int | str]) -> ConcreteFold:
    operands = tuple(root + operand.fill(values) for operand in fold.operands)
    return ConcreteFold(fold.dialect, fold.op, root + fold.into.fill(values), operands)


def _by_name(table: Table, dialect: str, parameters: Sequence[Parameter]) -> dict[str, Parameter]:
    by_name: dict[str, Parameter] = {}
    for parameter in parameters:
        for name in parameter.names[dialect]:
            if name in by_name:
                other = by_name[name]
                raise TableError(
                    f"two rows give the {dialect} name `{name}`: group {other.group} row `{other.row}`, "
                    f"group {parameter.group} row `{parameter.row}`",
                    file=table.path,
                )
            by_name[name] = parameter
    return by_name


def _layer_positions(expansion: Expansion, dialect: str) -> dict[str, int]:
    """Place of each layer in the order that the table gives; every layer must have exactly one."""
    layers = dict.fromkeys(layer_of(name) for name in expansion.by_name[dialect])
    position: dict[str, int] = {}
    for layer in _ordered_layers(expansion, dialect):
        if layer in layers and layer not in position:
            position[layer] = len(position)
    lacking = [layer for layer in layers if layer not in position]
    if lacking:
        raise TableError(f"[order] {dialect} has no place for layer `{lacking[0]}`", file=expansion.table.path)
    return position


def _ordered_layers(expansion: Expansion, dialect: str) -> Iterator[str]:
    """Fill the patterns of ``[order]``: a run of patterns with the same holes is repeated as one for each number."""
    table = expansion.table
    counts = {**table.sizes, **table.variant(expansion.variant)}
    root = expansion.roots[dialect]

    def holes(template: Template) -> tuple[str, ...]:
        return tuple(dict.fromkeys(hole.name for hole in template.holes))

    for over, templates in groupby(table.order[dialect], key=holes):
        run = list(templates)
        for indices in combinations(table, table.groups[0], counts, over):
            yield from (root + template.fill(indices) for template in run)
