"""TOML into ``Table``: every rule of the table language is held here, at load, naming file, group and row.

Nothing is tolerated silently: an unknown key, a hole that is neither index nor word, a cell too many and an axis that a
dialect lacks are all errors before any checkpoint is opened.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from resport.errors import SourceNotFoundError, TableError
from resport.mapping.axes import AxisString, parse_axes
from resport.mapping.ops import OPERATIONS
from resport.mapping.tables import CLASSES, AxesEntry, Fold, Group, Row, Stock, Table
from resport.mapping.templates import Constant, Template, parse_cell, parse_template

COMMON_FILE = "_common.toml"
COMMON_KEYS = frozenset({"axes", "words", "ignore", "shadow"})
TABLE_KEYS = COMMON_KEYS | {"family", "columns", "variants", "root", "sizes", "group", "order", "stock"}
GROUP_KEYS = frozenset({"over", "prefix", "rows", "optional", "folds"})
FOLD_KEYS = frozenset({"dialect", "op", "into", "with"})
STOCK_KEYS = ("classes", "why", "difference", "instead")


def parse_table(path: Path, folder: Path) -> Table:
    """Read one table and what it shares with the others.

    Args:
        path: a TOML file, or a family's name when it has no suffix and no folder.
        folder: where the shipped tables and ``_common.toml`` are.
    """
    if not path.is_file() and path.parent == Path() and path.suffix == "":
        path = _shipped(path.name, folder)
    if not path.is_file():
        raise SourceNotFoundError(f"there is no table at `{path}`", hint="resport mappings list")
    common, common_bytes = _read_toml(folder / COMMON_FILE)
    own, own_bytes = _read_toml(path)
    digest = hashlib.sha256(common_bytes + own_bytes).hexdigest()
    return _Parser(str(path), own, common).table(digest)


def _shipped(name: str, folder: Path) -> Path:
    families = sorted(path.stem for path in folder.glob("*.toml") if not path.name.startswith("_"))
    if name not in families:
        near = get_close_matches(name, families, 1)
        hint = f"did you mean `{near[0]}`?" if near else "resport mappings list"
        raise SourceNotFoundError(f"there is no family `{name}`", expected=", ".join(families), hint=hint)
    return folder / f"{name}.toml"


def _read_toml(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    try:
        return tomllib.loads(content.decode("utf-8")), content
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TableError(f"this is no TOML: {error}", file=str(path)) from None


class _Parser:
    """The state of reading one file: where we are, for messages, and what holes may name."""

    def __init__(self, file: str, own: Mapping[str, Any], common: Mapping[str, Any]) -> None:
        self.file = file
        self.own = own
        self.group_number: int | None = None
        self.row_text: str | None = None
        self.known_keys(own, TABLE_KEYS, "the table")
        self.dialects = self.columns()
        self.axes = {
            name: self.axes_entry(name, entry) for name, entry in {**common["axes"], **own.get("axes", {})}.items()
        }
        self.words = {**self.words_of(common.get("words", {})), **self.words_of(own.get("words", {}))}
        self.common = common

    def error(self, message: str, hint: str | None = None, **details: Any) -> TableError:
        """A ``TableError`` that says where we are."""
        return TableError(message, file=self.file, group=self.group_number, row=self.row_text, hint=hint, **details)

    def table(self, digest: str) -> Table:
        """The whole table."""
        variants = self.section("variants")
        if not variants:
            raise self.error("there is no variant", hint="add a line like `net_50 = { b = 4 }` below `[variants]`")
        groups = tuple(self.group(number, group) for number, group in enumerate(self.own.get("group", ()), 1))
        self.group_number = self.row_text = None
        if not groups:
            raise self.error("there is no [[group]]")
        return Table(
            path=self.file,
            sha256=digest,
            family=str(self.own.get("family", "")) or self.missing("family"),
            dialects=self.dialects,
            variants=variants,
            roots=self.roots(),
            groups=groups,
            axes=self.axes,
            words=self.words,
            sizes=self.section("sizes"),
            ignore=self.ignore(),
            order={
                dialect: tuple(self.template(text, None) for text in texts)
                for dialect, texts in self.by_dialect("order").items()
            },
            shadow={**self.common.get("shadow", {}), **self.by_dialect("shadow")},
            stock={dialect: self.stock(dialect, entry) for dialect, entry in self.by_dialect("stock").items()},
        )

    def missing(self, key: str) -> str:
        raise self.error(f"`{key}` is missing")

    def known_keys(self, section: Mapping[str, Any], known: frozenset[str], what: str) -> None:
        """Refuse keys that nothing reads."""
        for key in section:
            if key not in known:
                near = get_close_matches(key, known, 1)
                raise self.error(
                    f"{what} has the unknown key `{key}`",
                    expected=", ".join(sorted(known)),
                    hint=f"did you mean `{near[0]}`?" if near else None,
                )

    def section(self, key: str) -> dict[str, Any]:
        section = self.own.get(key, {})
        if not isinstance(section, dict):
            raise self.error(f"`{key}` must be a section `[{key}]`")
        return section

    def by_dialect(self, key: str) -> dict[str, Any]:
        """A section whose keys are dialects of this table."""
        section = self.section(key)
        self.known_keys(section, frozenset(self.dialects), f"[{key}]")
        return section

    def columns(self) -> tuple[str, ...]:
        columns = self.own.get("columns", [])
        if len(columns) < 3 or columns[-1] != "axes" or len(set(columns)) < len(columns):
            raise self.error("`columns` names two dialects or more, each once, and ends with `axes`", got=columns)
        return tuple(columns[:-1])

    def axes_entry(self, name: str, entry: Mapping[str, Any]) -> AxesEntry:
        strings: dict[str, AxisString] = {}
        for dialect, text in entry.items():
            if dialect != "sizes":
                try:
                    strings[dialect] = parse_axes(text)
                except ValueError as error:
                    raise self.error(f"[axes] {name}.{dialect}: {error}") from None
        return AxesEntry(strings, dict(entry.get("sizes", {})))

    def words_of(self, section: Mapping[str, Any]) -> dict[str, dict[str, tuple[str, ...]]]:
        words = {word: {d: tuple(spellings) for d, spellings in entry.items()} for word, entry in section.items()}
        for word, entry in words.items():
            if len({len(spellings) for spellings in entry.values()}) != 1:
                raise self.error(f"[words] {word} has lists of different lengths")
        return words

    def roots(self) -> dict[str, Template]:
        roots = self.by_dialect("root")
        return {dialect: self.template(roots.get(dialect, ""), frozenset()) for dialect in self.dialects}

    def ignore(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Globs by dialect and kind: the common ones, and the table's own beside them."""
        own = self.by_dialect("ignore")
        common = self.common.get("ignore", {})
        return {
            dialect: {
                kind: (*common.get(dialect, {}).get(kind, ()), *own.get(dialect, {}).get(kind, ()))
                for kind in [*common.get(dialect, {}), *own.get(dialect, {})]
            }
            for dialect in self.dialects
        }

    def stock(self, dialect: str, entry: Mapping[str, Any]) -> Stock:
        self.known_keys(entry, frozenset(STOCK_KEYS), f"[stock.{dialect}]")
        for key in STOCK_KEYS:
            if key not in entry:
                self.missing(f"stock.{dialect}.{key}")
        self.known_keys(entry["classes"], frozenset(self.section("variants")), f"[stock.{dialect}.classes]")
        return Stock(**entry)

    def group(self, number: int, group: Mapping[str, Any]) -> Group:
        self.group_number, self.row_text = number, None
        self.known_keys(group, GROUP_KEYS, "the group")
        over = tuple(group.get("over", ()))
        self.check_counts(over)
        prefix = group.get("prefix", [""] * len(self.dialects))
        if len(prefix) != len(self.dialects):
            raise self.error(f"the prefix has {len(prefix)} cells for {len(self.dialects)} dialects")
        holes = frozenset(over)
        prefixes = dict(zip(self.dialects, (self.template(text, holes) for text in prefix), strict=True))
        rows = tuple(self.row(row, prefixes, over) for row in group.get("rows", ()))
        self.row_text = None
        if not rows:
            raise self.error("the group has no rows")
        folds = tuple(self.fold(fold, prefixes, holes) for fold in group.get("folds", ()))
        return Group(number, over, rows, bool(group.get("optional", False)), folds)

    def check_counts(self, over: Sequence[str]) -> None:
        for index in over:
            lacking = [name for name, counts in self.section("variants").items() if index not in counts]
            if lacking:
                raise self.error(f"the group runs over `{index}`, which variant `{lacking[0]}` doesn't count")

    def row(self, row: Sequence[str], prefixes: Mapping[str, Template], over: tuple[str, ...]) -> Row:
        self.row_text = next((str(cell) for cell in row if not str(cell).startswith("=")), None)
        if len(row) != len(self.dialects) + 1:
            columns = ", ".join([*self.dialects, "axes"])
            raise self.error(f"{len(row)} cells for {len(self.dialects) + 1} columns ({columns})")
        cells: dict[str, Template | Constant] = {}
        for dialect, text in zip(self.dialects, row[:-1], strict=True):
            cell = self.cell(text)
            if isinstance(cell, Template):
                self.check_holes(cell, frozenset(over), dialect)
                cell = prefixes[dialect] + cell
            cells[dialect] = cell
        axes, sizes = self.axes_cell(row[-1])
        parsed = Row(cells, axes, sizes, self.row_text or "")
        self.check_fan(parsed, over)
        return parsed

    def axes_cell(self, text: str) -> tuple[str, tuple[int | str, ...]]:
        """The entry of ``[axes]`` and the sizes that the last cell of a row gives."""
        name, *given = text.split() or [""]
        if name not in self.axes:
            near = get_close_matches(name, self.axes, 1)
            raise self.error(
                f"`{name}` is no entry of [axes]",
                expected=", ".join(self.axes),
                hint=f"did you mean `{near[0]}`?" if near else None,
            )
        entry = self.axes[name]
        lacking = [dialect for dialect in self.dialects if dialect not in entry.strings]
        if lacking:
            raise self.error(f"[axes] {name} has no axes for dialect `{lacking[0]}`")
        if given and len(given) != len(entry.names):
            raise self.error(
                f"{len(given)} sizes for the {len(entry.names)} axes of `{name}` ({' '.join(entry.names)})"
            )
        sizes = tuple(int(size) if size.isdecimal() else size for size in given)
        for size in sizes:
            if isinstance(size, str) and size != CLASSES and size not in self.size_names():
                raise self.error(f"`{size}` is no size", expected=", ".join([*self.size_names(), CLASSES]))
        return name, sizes

    def size_names(self) -> list[str]:
        counts = [name for variant in self.section("variants").values() for name in variant]
        return list(dict.fromkeys([*self.section("sizes"), *counts]))

    def check_fan(self, row: Row, over: tuple[str, ...]) -> None:
        """One against many: an index that one dialect's name has and another's lacks is an axis of the other's."""
        templates = {dialect: cell for dialect, cell in row.cells.items() if isinstance(cell, Template)}
        if not templates:
            raise self.error("every cell is a constant")
        strings = self.axes[row.axes].strings
        for index in over:
            having = [d for d, template in templates.items() if any(hole.name == index for hole in template.holes)]
            if not having:
                raise self.error(f"no cell has the index `{{{index}}}` that the group runs over")
            for dialect in templates:
                if (dialect in having) == (index in strings[dialect].names):
                    state = "both a hole and an axis" if dialect in having else "neither a hole nor an axis"
                    raise self.error(f"`{index}` is {state} of dialect `{dialect}`")

    def fold(self, fold: Mapping[str, Any], prefixes: Mapping[str, Template], holes: frozenset[str]) -> Fold:
        self.known_keys(fold, FOLD_KEYS, "the fold")
        dialect, op = fold.get("dialect"), fold.get("op")
        if dialect not in self.dialects:
            raise self.error(f"the fold's dialect `{dialect}` is no column", expected=", ".join(self.dialects))
        if op not in OPERATIONS:
            raise self.error(f"`{op}` is no operation", expected=", ".join(OPERATIONS))
        texts = [fold.get("into", ""), *fold.get("with", ())]
        into, *operands = (prefixes[dialect] + self.template(text, holes) for text in texts)
        if len(operands) != OPERATIONS[op].n_operands:
            raise self.error(f"`{op}` takes {OPERATIONS[op].n_operands} tensors `with` it", got=len(operands))
        return Fold(dialect, op, into, tuple(operands))

    def cell(self, text: str) -> Template | Constant:
        try:
            return parse_cell(text)
        except ValueError as error:
            raise self.error(str(error)) from None

    def template(self, text: str, holes: frozenset[str] | None) -> Template:
        """A template whose holes are indices of the group; any index of any variant where ``holes`` is None."""
        try:
            template = parse_template(text)
        except ValueError as error:
            raise self.error(str(error)) from None
        self.check_holes(template, frozenset(self.size_names()) if holes is None else holes, None)
        return template

    def check_holes(self, template: Template, holes: frozenset[str], dialect: str | None) -> None:
        words = [word for word, entry in self.words.items() if dialect in entry]
        for hole in template.holes:
            if hole.name not in {*holes, *words, "variant"}:
                near = get_close_matches(hole.name, [*holes, *words, "variant"], 1)
                raise self.error(
                    f"`{{{hole.name}}}` is neither an index of this group ({', '.join(sorted(holes)) or 'it has none'})"
                    f" nor a word of dialect `{dialect}`",
                    hint=f"did you mean `{{{near[0]}}}`?" if near else None,
                )
            if hole.offset and hole.name not in holes:
                raise self.error(f"`{{{hole.name}}}` is no index and takes no offset")
