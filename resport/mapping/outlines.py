"""What detection needs of every table: enough to tell which few of them are worth reading.

Reading a table takes milliseconds, and there is one for each family. Detection first looks at the texts that a family's
names end with, their numbers folded; only the tables that come near are read in full. The texts of the shipped tables
are kept (``resport.mapping.kept``), and made again when a table or the code that reads them changed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple, overload

from resport.mapping.folding import FOLDED_NUMBER, fold_digits
from resport.mapping.kept import keep, kept
from resport.mapping.tables import Table, load_table, table_paths, tables_folder
from resport.mapping.templates import Constant, Hole, Template

OUTLINES_FILE = "outlines.json"

DETECTION_MAX_ROOT = 1_000
"""A scope in front of the names is no longer than this: the root is put in front of every name of an expansion."""

_SEPARATOR = re.compile("[/.]")


class Outline(NamedTuple):
    """What can be told of a family before its table is read.

    Attributes:
        family: the family's name.
        dialects: in the order of the columns.
        variants: names of the variants.
        foreign: the dialects that are another family's.
        texts: for each dialect what its names end with, every number folded.
    """

    family: str
    dialects: tuple[str, ...]
    variants: tuple[str, ...]
    foreign: frozenset[str]
    texts: Mapping[str, frozenset[str]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the same whatever the order of the sets."""
        return {
            "family": self.family,
            "dialects": self.dialects,
            "variants": self.variants,
            "foreign": sorted(self.foreign),
            "texts": {dialect: sorted(texts) for dialect, texts in self.texts.items()},
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Outline:
        """The outline of ``to_dict``."""
        texts = {dialect: frozenset(each) for dialect, each in value["texts"].items()}
        return cls(
            value["family"], tuple(value["dialects"]), tuple(value["variants"]), frozenset(value["foreign"]), texts
        )


class ShippedTables(Sequence[Table]):
    """The shipped tables, each of them read when it is first asked for."""

    def __init__(self) -> None:
        self._paths = table_paths()
        self._tables: dict[int, Table] = {}
        self._outlines: tuple[Outline, ...] | None = None

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Table: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Table]: ...

    def __getitem__(self, index: int | slice) -> Table | Sequence[Table]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        if number not in self._tables:
            self._tables[number] = load_table(self._paths[number])
        return self._tables[number]

    @property
    def outlines(self) -> tuple[Outline, ...]:
        """The outline of each table, in their order."""
        if self._outlines is None:
            stamp = _stamp([tables_folder() / "_common.toml", *self._paths])
            self._outlines = kept(OUTLINES_FILE, stamp, lambda value: tuple(map(Outline.from_dict, value)))
            if self._outlines is None:
                self._outlines = tuple(outline_of(table) for table in self)
                keep(OUTLINES_FILE, stamp, [each.to_dict() for each in self._outlines])
        return self._outlines


def outlines_of(tables: Sequence[Table]) -> Sequence[Outline]:
    """The outline of each table."""
    return tables.outlines if isinstance(tables, ShippedTables) else [outline_of(table) for table in tables]


def outline_of(table: Table) -> Outline:
    """The outline of one table."""
    texts = {
        dialect: frozenset().union(*(folded_texts(table, dialect, each) for each in templates_of(table, dialect)))
        for dialect in table.dialects
    }
    return Outline(table.family, table.dialects, tuple(table.variants), table.foreign, texts)


def templates_of(table: Table, dialect: str) -> list[Template]:
    """The templates of a dialect's names."""
    cells = [row.cells[dialect] for group in table.groups for row in group.rows]
    return [cell for cell in cells if not isinstance(cell, Constant)]


def folded_texts(table: Table, dialect: str, template: Template) -> set[str]:
    """The texts that folded names of a template end with."""
    fillings = {**table.words_of(dialect), "variant": tuple(table.variants)}
    spellings = [""]
    for part in template.parts:
        if isinstance(part, Hole):
            choices = fillings.get(part.name, (FOLDED_NUMBER,))
        else:
            choices = (part,) if isinstance(part, str) else part.folded
        spellings = [before + choice for before in spellings for choice in choices]
    return {fold_digits(spelling) for spelling in spellings}


def roots_of_texts(folded: Iterable[str], texts: Set[str]) -> dict[str, list[str]]:
    """For each text that folded names end with what stands in front of it, once for each of these names."""
    longest = max(map(len, texts), default=0)
    roots: dict[str, list[str]] = {}
    for name in folded:
        # Only the end of a name can be a template's text: a name of a million slashes costs no more than its end.
        starts = [match.end() for match in _SEPARATOR.finditer(name, max(0, len(name) - longest - 1))]
        if len(name) <= longest:
            starts.append(0)
        for start in starts:
            if start <= DETECTION_MAX_ROOT and name[start:] in texts:
                roots.setdefault(name[start:], []).append(name[:start])
    return roots


def nearest_root(roots: Mapping[str, Sequence[str]], texts: Set[str]) -> tuple[str, int]:
    """The text in front of most names that end with one of some texts, and of how many (folded names count once)."""
    hits: Counter[str] = Counter()
    for text, found in roots.items():
        if text in texts:
            hits.update(found)
    if not hits:
        return "", 0
    return max(hits.items(), key=lambda item: (item[1], -len(item[0])))


def _stamp(tables: Iterable[Path]) -> str:
    """Of the tables, and of the code that reads them: what Python goes by, too, to tell whether a module changed."""
    files = [*tables, *sorted(Path(__file__).parent.glob("*.py"))]
    found = [(file.name, file.stat()) for file in files]
    return " ".join(f"{name} {status.st_size} {status.st_mtime_ns}" for name, status in found)
