"""A table expanded for one variant: every parameter with its concrete names, axes and shape in every dialect.

A conversion looks names up here. Expansion is where two rows that claim one name are caught, and where the layer
order that some formats go by is worked out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

from resport.errors import TableError
from resport.mapping.axes import AxisMove, AxisString
from resport.mapping.by_dialect import ByDialect
from resport.mapping.counts import combinations, look_up
from resport.mapping.layer_order import layer_of, layer_positions
from resport.mapping.tables import CLASSES, MEASURED, Fold, Group, Row, Table
from resport.mapping.templates import Constant, Template

DEFAULT_CLASSES = 1000
"""The class count of a network of which nothing else is known: that of ImageNet."""


class Parameter(NamedTuple):
    """One parameter of a variant.

    Attributes:
        names: its tensors' names by dialect: one, several where the dialect splits it, none where it is a constant;
            those of a dialect are made when they are first asked for.
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


@dataclass(frozen=True)
class Expansion:
    """A table expanded for one variant. What a conversion between two dialects does not need of it is not worked out.

    Attributes:
        table: the table.
        variant: the variant's name.
        roots: what stands in front of every name, by dialect.
        parameters: in network order.
        texts: what the holes ``{variant}`` and ``{classes}`` were filled with.
    """

    table: Table
    variant: str
    roots: Mapping[str, str]
    parameters: tuple[Parameter, ...] = field(repr=False)
    texts: Mapping[str, int | str] = field(default_factory=dict)

    @cached_property
    def by_name(self) -> Mapping[str, Mapping[str, Parameter]]:
        """For each dialect the parameter that a name belongs to.

        Raises:
            TableError: when a dialect is asked for of which two rows give one name.
        """
        return ByDialect(self.table.dialects, lambda dialect: _by_name(self.table, dialect, self.parameters))

    @cached_property
    def folds(self) -> tuple[ConcreteFold, ...]:
        """All folds of the variant.

        Raises:
            TableError: a fold names a tensor that isn't there.
        """
        folds = tuple(fold for group in self.table.groups for fold in _folds(self, group))
        _check_folds(self.table, folds, self.by_name)
        return folds

    @property
    def counts(self) -> Mapping[str, Any]:
        """Counts of the indices, and the named sizes."""
        return {**self.table.sizes, **self.table.variant(self.variant)}

    def check(self) -> None:
        """Work everything out, of all dialects.

        Raises:
            TableError: two rows give one name, or a fold names a tensor that isn't there.
        """
        for dialect in self.table.dialects:
            self.names(dialect)
        _ = self.folds

    def names(self, dialect: str) -> list[str]:
        """The names of all tensors of a dialect, in the order that the dialect's formats go by."""
        names = list(self.by_name[dialect])
        if dialect not in self.table.order:
            return names
        position = layer_positions(self, dialect)
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
        TableError: a count or size has no value. What is wrong with names and folds shows when they are asked for.
    """
    counts = {**table.sizes, **table.variant(variant)}
    texts: dict[str, int | str] = {"variant": variant, CLASSES: num_classes}
    in_roots = {**{name: value for name, value in table.variant(variant).items() if isinstance(value, int)}, **texts}
    filled = {dialect: root.fill(in_roots) for dialect, root in table.roots.items()}
    filled.update(roots or {})
    parameters: list[Parameter] = []
    numbers: dict[tuple[str, ...], list[dict[str, int]]] = {}
    for group in table.groups:
        lines = _lines(table, group, texts, counts, filled)
        if group.over not in numbers:
            numbers[group.over] = combinations(table, group, counts)
        for indices in numbers[group.over]:
            parameters.extend(_parameters(table, group, lines, indices, counts))
    return Expansion(table, variant, filled, tuple(parameters), texts)


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
                raise _fault(error, table, group, row) from None
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
        if not line.fan or all(indices[index] == 1 for index in line.fan):
            try:
                yield _parameter(table, group, line, indices, counts)
            except ValueError as error:
                raise _fault(error, table, group, line.row) from None


def _parameter(
    table: Table, group: Group, line: _Line, indices: Mapping[str, int], counts: Mapping[str, Any]
) -> Parameter:
    fan_counts = {index: look_up(counts[index], indices, group.over) for index in line.fan}
    _check_even(group, fan_counts, indices, counts)

    def names(dialect: str) -> tuple[str, ...]:
        try:
            return tuple(_names(line, dialect, indices, fan_counts))
        except ValueError as error:
            raise _fault(error, table, group, line.row) from None

    sizes = dict(line.sizes)
    for axis, size in line.open_sizes.items():
        sizes[axis] = look_up(size, indices, group.over)
    for index, count in fan_counts.items():
        if sizes.setdefault(index, count) != count:
            raise ValueError(f"axis `{index}` has size {sizes[index]}, and index `{index}` counts to {count}")
    by_dialect = ByDialect(table.dialects, names)
    return Parameter(
        by_dialect, line.constants, line.axes, line.fans, sizes, group.number, group.optional, line.row.text
    )


def _names(line: _Line, dialect: str, indices: Mapping[str, int], fan_counts: Mapping[str, int]) -> Iterator[str]:
    """The names of a line's tensors in a dialect."""
    cell, fan = line.cells.get(dialect), line.fans[dialect]
    if cell is None:
        return
    for numbers in _numbers({index: fan_counts[index] for index in fan}) if fan else ({},):
        yield cell.fill({**indices, **numbers})


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


def _folds(expansion: Expansion, group: Group) -> Iterator[ConcreteFold]:
    table = expansion.table
    for fold in group.folds:
        choices = list(_word_choices(table, (fold.into, *fold.operands)))
        for indices in combinations(table, group, expansion.counts):
            for words in choices:
                spellings = {word: table.words[word][fold.dialect][position] for word, position in words.items()}
                values = {**indices, **spellings, **expansion.texts}
                try:
                    yield _concrete(fold, expansion.roots[fold.dialect], values)
                except ValueError as error:
                    raise _fault(error, table, group) from None


def _concrete(fold: Fold, root: str, values: Mapping[str, int | str]) -> ConcreteFold:
    operands = tuple(root + operand.fill(values) for operand in fold.operands)
    return ConcreteFold(fold.dialect, fold.op, root + fold.into.fill(values), operands, fold.axis)


def _fault(error: ValueError, table: Table, group: Group, row: Row | None = None) -> TableError:
    """What is wrong with a value, and where in the table that is."""
    return TableError(str(error), file=table.path, group=group.number, row=row and row.text)


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
