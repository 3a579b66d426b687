"""Mapping tables: one TOML file for each architecture family, read into frozen values and checked when it is read.

A table holds, on one row, the name of one parameter in every dialect. It is expanded for a known variant
(``resport.mapping.expansion``), never matched against names: a conversion is a look-up, and the way back the same
look-up turned round. What a table may say is described in docs/tables.md; ``resport.mapping.parsing`` holds each rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from resport.errors import OptionError
from resport.mapping.axes import AxisString
from resport.mapping.relations import Relation
from resport.mapping.templates import Constant, Template

CLASSES = "classes"
"""The axis name, and the size, that means the class count."""

EMBEDDING = "embedding"
"""The axis name, and the size, that means the number of values of an embedding."""

MEASURED = (CLASSES, EMBEDDING)
"""The sizes that a file tells and no table: networks of one variant differ in them."""

RGB = "rgb"
"""The axis name that means the colour channels of the input."""


class Row(NamedTuple):
    """One parameter in every dialect.

    Attributes:
        cells: for each dialect its name template, prefix included, or the constant it stands for.
        axes: name of the entry of ``[axes]``.
        sizes: the size of each axis of that entry, a number or the name of a size; empty where the table doesn't say.
        text: the first cell as written, for messages.
    """

    cells: Mapping[str, Template | Constant]
    axes: str
    sizes: tuple[int | str, ...]
    text: str


class Fold(NamedTuple):
    """A tensor of one dialect that other dialects have no place for, and the operation that takes it in.

    Attributes:
        dialect: the dialect that has the tensors.
        op: name in ``resport.mapping.ops.OPERATIONS``.
        into: the tensor that takes the others in.
        operands: the tensors that go in, in the operation's order.
        axis: the axis that it acts along, of an operation that does.
    """

    dialect: str
    op: str
    into: Template
    operands: tuple[Template, ...]
    axis: str | None = None


class Group(NamedTuple):
    """Rows that run over the same indices.

    Attributes:
        number: place in the file, from 1.
        over: the indices, outermost first.
        rows: the rows in network order.
        optional: all of the group's tensors or none may be there.
        folds: folds between the group's tensors.
    """

    number: int
    over: tuple[str, ...]
    rows: tuple[Row, ...]
    optional: bool = False
    folds: tuple[Fold, ...] = ()


class AxesEntry(NamedTuple):
    """An entry of ``[axes]``: one axis string for each dialect, and sizes that no shape tells."""

    strings: Mapping[str, AxisString]
    sizes: Mapping[str, int] = MappingProxyType({})

    @property
    def names(self) -> tuple[str, ...]:
        """The axis names in the order in which a row gives their sizes: that of the first dialect."""
        return next(iter(self.strings.values())).names


class Stock(NamedTuple):
    """A framework's own classes that take the weights of a dialect and compute something else.

    Attributes:
        classes: the class of each variant that has one.
        why: what it does otherwise.
        difference: the measured size of the difference.
        instead: what to use, with ``{variant}`` for the variant.
    """

    classes: Mapping[str, str]
    why: str
    difference: str
    instead: str


class Table(NamedTuple):
    """A mapping table of one family.

    Attributes:
        path: the file.
        sha256: of the file, and of what it shares with the other tables.
        family: the family's name.
        dialects: in the order of the columns.
        variants: counts of the indices, and sizes of its own, by variant.
        roots: what stands in front of every name of a dialect.
        groups: the groups in the file's order.
        axes: entries of ``[axes]`` by name.
        words: by word, then by dialect.
        sizes: named sizes: numbers, or lists by the indices of the group.
        ignore: by dialect, then by kind: globs of what is no parameter.
        order: by dialect: layer name templates in the order that its formats go by.
        shadow: by dialect: what follows a variable's name in the name of its moving average.
        stock: by dialect.
        relations: of each pair of dialects; none where the table claims nothing.
        foreign: the dialects that are another family's, to convert to it; a file is not detected as one of them.
        epsilon: what the network of a dialect adds to the variances of its batch norms, where the table says it.
    """

    path: str
    sha256: str
    family: str
    dialects: tuple[str, ...]
    variants: Mapping[str, Mapping[str, Any]]
    roots: Mapping[str, Template]
    groups: tuple[Group, ...]
    axes: Mapping[str, AxesEntry]
    words: Mapping[str, Mapping[str, tuple[str, ...]]]
    sizes: Mapping[str, Any]
    ignore: Mapping[str, Mapping[str, tuple[str, ...]]]
    order: Mapping[str, tuple[Template, ...]]
    shadow: Mapping[str, str]
    stock: Mapping[str, Stock]
    relations: tuple[Relation, ...] = ()
    foreign: frozenset[str] = frozenset()
    epsilon: Mapping[str, float] = MappingProxyType({})

    def relation(self, source: str, target: str) -> Relation | None:
        """What the table says of two dialects, in either order; None where it says nothing."""
        return next((each for each in self.relations if {*each.pair} == {source, target}), None)

    def variant(self, name: str) -> Mapping[str, Any]:
        """The counts of one variant.

        Raises:
            OptionError: the family has no such variant.
        """
        if name not in self.variants:
            raise OptionError(f"family `{self.family}` has no variant `{name}`", expected=", ".join(self.variants))
        return self.variants[name]

    @property
    def spells_classes(self) -> bool:
        """Whether some name has the class count in it, as in ``fc1000``."""
        cells = [cell for group in self.groups for row in group.rows for cell in row.cells.values()]
        ordered = [template for templates in self.order.values() for template in templates]
        templates = [each for each in (*cells, *ordered, *self.roots.values()) if isinstance(each, Template)]
        return any(CLASSES in template.depends_on for template in templates)

    def words_of(self, dialect: str) -> dict[str, tuple[str, ...]]:
        """The words that a dialect has."""
        return {word: spellings[dialect] for word, spellings in self.words.items() if dialect in spellings}


def tables_folder() -> Path:
    """The folder of the shipped tables: inside the installed package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_tables"
    return installed if installed.is_dir() else package.parent / "mappings"


def table_paths() -> list[Path]:
    """The files of the shipped tables, by name."""
    return sorted(path for path in tables_folder().glob("*.toml") if not path.name.startswith("_"))


def load_table(path: str | Path) -> Table:
    """Read and check a table.

    Args:
        path: a TOML file, or the name of a shipped family.

    Returns:
        The table with what ``_common.toml`` adds to it.

    Raises:
        SourceNotFoundError: no such file or family.
        TableError: the table breaks a rule; the message names file, group and row.
    """
    from resport.mapping.parsing import parse_table

    return parse_table(Path(path), tables_folder())


@cache
def shipped_tables() -> Sequence[Table]:
    """All shipped tables; each is read when it is first needed, and once."""
    from resport.mapping.outlines import ShippedTables

    return ShippedTables()
