"""A table expanded for one variant: every parameter with its concrete names, axes and shape in every dialect.

A conversion looks names up here. Expansion is where two rows that claim one name are caught, and where the layer
order that some formats go by is worked out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from typing import Any, NamedTuple

from resport.errors import TableError
from resport.mapping.axes import AxisMove, AxisString
from resport.mapping.counts import combinations, look_up
from resport.mapping.tables import CLASSES, MEASURED, Fold, Group, Row, Table
from resport.mapping.templates import Constant, Template

DEFAULT_CLASSES = 1000
"""The class count of a network of which nothing else is known: that of ImageNet."""


class Parameter(NamedTuple):
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

    def shape(self, dialect: str, measured: Mapping[str, int] | None = None) -> tuple[int, ...] | None:
        """Shape of each of its tensors in a dialect, or None where the table doesn't tell.

        Args:
            dialect: the dialect.
            measured: sizes that a file tells: ``classes``, ``embedding``.
        """
        return self.axes[dialect].shape({**self.sizes, **(measured or {})})

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


class ConcreteFold(NamedTuple):
    """A fold between tensors of one dialect, by their names."""

    dialect: str
    op: str
    into: str
    operands: tuple[str, ...]
    axis: str | None = None


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
        texts: what the holes ``{variant}`` and ``{classes}`` were filled with.
    """

    table: Table
    variant: str
    roots: Mapping[str, str]
    parameters: tuple[Parameter, ...]
    folds: tuple[ConcreteFold, ...]
    by_name: Mapping[str, Mapping[str, Parameter]] = field(repr=False)
    texts: Mapping[str, int | str] = field(default_factory=dict)

    def names(self, dialect: str) -> list[str]:
        """The names of all tensors of a dialect, in the order that the dialect's formats go by."""
        names = list(self.by_name[dialect])
        if dialect not in self.table.order:
            return names
        position = _layer_positions(self, dialect)
        return sorted(names, key=lambda name: position[layer_of(name)])


def expand(
    table: Table, variant: str, roots: Mapping[str, str] | None = None, num_classes: int = DEFAULT_CLASSES
) -> Expansion:
    """Expand a table for a variant.

    Args:
        table: the table.
        variant: one of its variants.
        roots: what stands in front of every name, for dialects where it isn't what the table says.
        num_classes: the class count, for names that have it in them (``fc1000``).

    Raises:
        OptionError: the family has no such variant.
        TableError: two rows give one name, a count or size has no value, or a fold names a tensor that isn't there.
    """
    counts = {**table.sizes, **table.variant(variant)}
    texts: dict[str, int | str] = {"variant": variant, CLASSES: num_classes}
    in_roots = {**{name: value for name, value in table.variant(variant).items() if isinstance(value, int)}, **texts}
    filled = {dialect: root.fill(in_roots) for dialect, root in table.roots.items()}
    filled.update(roots or {})
    parameters: list[Parameter] = []
    folds: list[ConcreteFold] = []
    for group in table.groups:
        lines = _lines(table, group, texts, counts, filled)
        for indices in combinations(table, group, counts):
            parameters.extend(_parameters(table, group, lines, indices, counts))
        folds.extend(_folds(table, texts, group, counts, filled))
    by_name = {dialect: _by_name(table, dialect, parameters) for dialect in table.dialects}
    _check_folds(table, folds, by_name)
    return Expansion(table, variant, filled, tuple(parameters), tuple(folds), by_name, texts)


def layer_of(name: str) -> str:
    """The layer that a tensor belongs to: its name up to the last ``/`` or, where there is none, the last ``.``."""
    separator = "/" if "/" in name else "."
    return name.rpartition(separator)[0]


@dataclass(slots=True, eq=False, repr=False)
class _Line:
    """A row with one choice of words: all that is the same for every number of its group's indices.

    Attributes:
        row: the row.
        fan: the indices that some dialect's name has and another's lacks.
        cells: by dialect the row's name with its root, words and texts in place; only the indices are open.
        constants: see ``Parameter``; the next two likewise.
        fans: by dialect.
        axes: by dialect.
        sizes: those that are the same for all indices.
        open_sizes: counts that go by the indices, by axis.
    """

    row: Row
    fan: tuple[str, ...]
    cells: dict[str, Template]
    constants: dict[str, float]
    fans: dict[str, tuple[str, ...]]
    axes: Mapping[str, AxisString]
    sizes: dict[str, int]
    open_sizes: dict[str, Any]


def _lines(
    table: Table, group: Group, texts: Mapping[str, int | str], counts: Mapping[str, Any], roots: Mapping[str, str]
) -> list[_Line]:
    """What each row of a group expands to, the words already chosen."""
    lines = []
    for row in group.rows:
        for words in _word_choices(table, row.cells.values()):
            try:
                lines.append(_line(table, group, row, words, texts, counts, roots))
            except ValueError as error:
                raise TableError(str(error), file=table.path, group=group.number, row=row.text) from None
    return lines


def _line(
    table: Table,
    group: Group,
    row: Row,
    words: Mapping[str, int],
    texts: Mapping[str, int | str],
    counts: Mapping[str, Any],
    roots: Mapping[str, str],
) -> _Line:
    fan = _fan_indices(row, group.over)
    cells: dict[str, Template] = {}
    constants: dict[str, float] = {}
    fans: dict[str, tuple[str, ...]] = {}
    for dialect, cell in row.cells.items():
        if isinstance(cell, Constant):
            constants[dialect], fans[dialect] = cell.value, ()
            continue
        spellings = {
            word: table.words[word][dialect][position]
            for word, position in words.items()
            if dialect in table.words[word]
        }
        fans[dialect] = tuple(index for index in fan if index in cell.depends_on)
        cells[dialect] = cell.partly_filled({**spellings, **texts}, roots[dialect])
    entry = table.axes[row.axes]
    sizes, open_sizes = dict(entry.sizes), {}
    for axis, size in zip(entry.names, row.sizes, strict=bool(row.sizes)):
        if isinstance(size, int):
            sizes[axis] = size
        elif size not in MEASURED:
            open_sizes[axis] = counts[size]
    axes = {dialect: entry.strings[dialect] for dialect in table.dialects}
    return _Line(row, fan, cells, constants, fans, axes, sizes, open_sizes)


def _parameters(
    table: Table, group: Group, lines: Sequence[_Line], indices: Mapping[str, int], counts: Mapping[str, Any]
) -> Iterator[Parameter]:
    for line in lines:
        if any(indices[index] != 1 for index in line.fan):
            continue
        try:
            yield _parameter(group, line, indices, counts)
        except ValueError as error:
            raise TableError(str(error), file=table.path, group=group.number, row=line.row.text) from None


def _parameter(group: Group, line: _Line, indices: Mapping[str, int], counts: Mapping[str, Any]) -> Parameter:
    fan_counts = {index: look_up(counts[index], indices, group.over) for index in line.fan}
    _check_even(group, fan_counts, indices, counts)
    names: dict[str, tuple[str, ...]] = {}
    for dialect, fan in line.fans.items():
        cell = line.cells.get(dialect)
        if cell is None:
            names[dialect] = ()
        elif not fan:
            names[dialect] = (cell.fill(indices),)
        else:
            every = _numbers({index: fan_counts[index] for index in fan})
            names[dialect] = tuple(cell.fill({**indices, **numbers}) for numbers in every)
    sizes = dict(line.sizes)
    for axis, size in line.open_sizes.items():
        sizes[axis] = look_up(size, indices, group.over)
    for index, count in fan_counts.items():
        if sizes.setdefault(index, count) != count:
            raise ValueError(f"axis `{index}` has size {sizes[index]}, and index `{index}` counts to {count}")
    return Parameter(names, line.constants, line.axes, line.fans, sizes, group.number, group.optional, line.row.text)


def _check_even(
    group: Group, fan_counts: Mapping[str, int], indices: Mapping[str, int], counts: Mapping[str, Any]
) -> None:
    """An index that is an axis elsewhere must leave the other counts alone: no tensor has a ragged edge."""
    for fan, count in fan_counts.items():
        for index in group.over[group.over.index(fan) + 1 :]:
            found = {look_up(counts[index], {**indices, fan: number}, group.over) for number in range(1, count + 1)}
            if len(found) > 1:
                raise ValueError(f"the count of `{index}` depends on `{fan}`, which is an axis in another dialect")


def _numbers(counts: Mapping[str, int]) -> Iterator[dict[str, int]]:
    for numbers in product(*(range(1, count + 1) for count in counts.values())):
        yield dict(zip(counts, numbers, strict=True))


def _fan_indices(row: Row, over: Sequence[str]) -> tuple[str, ...]:
    """The indices that some dialect's name has and another's lacks."""
    templates = [cell for cell in row.cells.values() if isinstance(cell, Template)]
    held = [template.depends_on for template in templates]
    return tuple(
        index for index in over if any(index in holes for holes in held) and not all(index in holes for holes in held)
    )


def _word_choices(table: Table, cells: Iterable[Template | Constant]) -> Iterator[dict[str, int]]:
    """All positions of the words of some cells, the same in every dialect."""
    used = dict.fromkeys(
        hole.name for cell in cells if isinstance(cell, Template) for hole in cell.holes if hole.name in table.words
    )
    lengths = [len(next(iter(table.words[word].values()))) for word in used]
    for positions in product(*(range(length) for length in lengths)):
        yield dict(zip(used, positions, strict=True))


def _folds(
    table: Table,
    texts: Mapping[str, int | str],
    group: Group,
    counts: Mapping[str, Any],
    roots: Mapping[str, str],
) -> Iterator[ConcreteFold]:
    for fold in group.folds:
        for indices in combinations(table, group, counts):
            for words in _word_choices(table, (fold.into, *fold.operands)):
                spellings = {word: table.words[word][fold.dialect][position] for word, position in words.items()}
                try:
                    yield _concrete(fold, roots[fold.dialect], {**indices, **spellings, **texts})
                except ValueError as error:
                    raise TableError(str(error), file=table.path, group=group.number) from None


def _concrete(fold: Fold, root: str, values: Mapping[str, int | str]) -> ConcreteFold:
    operands = tuple(root + operand.fill(values) for operand in fold.operands)
    return ConcreteFold(fold.dialect, fold.op, root + fold.into.fill(values), operands, fold.axis)


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


def _check_folds(table: Table, folds: Sequence[ConcreteFold], by_name: Mapping[str, Mapping[str, Parameter]]) -> None:
    for fold in folds:
        for name in (fold.into, *fold.operands):
            if name not in by_name[fold.dialect]:
                raise TableError(f"a fold names `{name}`, which no row gives to {fold.dialect}", file=table.path)


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
    for holes, templates in groupby(table.order[dialect], key=_index_holes):
        run = list(templates)
        # The group that runs over these indices knows which is the outer one.
        group = next((group for group in table.groups if holes.issubset(group.over)), None)
        if group is None:
            raise TableError(f"[order] {dialect}: no group runs over {' and '.join(sorted(holes))}", file=table.path)
        over = [index for index in group.over if index in holes]
        for indices in combinations(table, group, counts, over):
            try:
                yield from (root + template.fill({**indices, **expansion.texts}) for template in run)
            except ValueError as error:
                raise TableError(f"[order] {dialect}: {error}", file=table.path) from None


def _index_holes(template: Template) -> frozenset[str]:
    return template.depends_on - {"variant", CLASSES}
