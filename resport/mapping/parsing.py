"""TOML into ``Table``: every rule of the table language is held here, at load, naming file, group and row.

Nothing is tolerated silently: an unknown key, a hole that is neither index nor word, a cell too many and an axis that a
dialect lacks are all errors before any checkpoint is opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resport.errors import SourceNotFoundError, TableError
from resport.mapping.kept import keep, kept
from resport.mapping.ops import ALONG_AXIS, FOLDS, OPERATIONS
from resport.mapping.sections import VARIANT, Sections
from resport.mapping.structure import GROUP
from resport.mapping.tables import CLASSES, MEASURED, Fold, Group, Row, Table, tables_folder
from resport.mapping.templates import Constant, Template, parse_cell, parse_template
from resport.nearest import nearest

COMMON_FILE = "_common.toml"
GROUP_KEYS = frozenset({"over", "prefix", "rows", "optional", "folds"})
FOLD_KEYS = frozenset({"dialect", "op", "into", "with", "axis"})


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
    common, common_bytes = read_toml(folder / COMMON_FILE)
    own, own_bytes = read_toml(path)
    digest = hashlib.sha256(common_bytes + own_bytes).hexdigest()
    return _Parser(str(path), own, common).table(digest)


def _shipped(name: str, folder: Path) -> Path:
    families = sorted(path.stem for path in folder.glob("*.toml") if not path.name.startswith("_"))
    if name not in families:
        near = nearest(name, families, 1)
        hint = f"did you mean `{near[0]}`?" if near else "resport mappings list"
        raise SourceNotFoundError(f"there is no family `{name}`", expected=", ".join(families), hint=hint)
    return folder / f"{name}.toml"


def read_toml(path: Path) -> tuple[dict[str, Any], bytes]:
    """The values of a file, which are not to be changed, and its bytes.

    Raises:
        TableError: it is no TOML.
    """
    content = path.read_bytes()
    # What is shipped is read again and again, and JSON is read in a twentieth of the time that TOML takes.
    name, stamp = f"{path.name}.json", hashlib.sha256(content).hexdigest()
    is_kept = path.parent == tables_folder()
    values = kept(name, stamp, dict) if is_kept else None
    if values is None:
        values = _parsed(content, path)
        if is_kept:
            keep(name, stamp, values)
    return values, content


def _parsed(content: bytes, path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TableError(f"this is no TOML: {error}", file=str(path)) from None
    except RecursionError:
        raise TableError("lists or sections are nested too deeply", file=str(path)) from None


class _Parser(Sections):
    """Rows and groups on top of the sections."""

    def table(self, digest: str) -> Table:
        """The whole table."""
        variants = self.section("variants")
        if not variants:
            raise self.error("there is no variant", hint="add a line like `net_50 = { b = 4 }` below `[variants]`")
        groups = tuple(self.group(number, group) for number, group in enumerate(self.own.get("group", ()), 1))
        self.group_number = self.row_text = None
        if not groups:
            raise self.error("there is no [[group]]")
        indices = frozenset(index for group in groups for index in group.over)
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
                dialect: tuple(self.template(text, indices) for text in texts)
                for dialect, texts in self.by_dialect("order").items()
            },
            shadow={**self.with_likeness(self.common.get("shadow", {})), **self.by_dialect("shadow")},
            stock={dialect: self.stock(dialect, entry) for dialect, entry in self.by_dialect("stock").items()},
            relations=self.relations(),
            foreign=self.foreign(),
            epsilon=self.by_dialect("epsilon"),
        )

    def roots(self) -> dict[str, Template]:
        """What stands in front of every name; a number that every variant has and no group counts may stand in it."""
        roots = self.by_dialect("root")
        variants = self.section("variants").values()
        numbers = [frozenset(name for name, value in each.items() if isinstance(value, int)) for each in variants]
        counted = {index for group in self.own.get("group", ()) for index in group.get("over", ())}
        holes = frozenset.intersection(*numbers) - counted
        return {dialect: self.template(roots.get(dialect, ""), holes) for dialect in self.dialects}

    def group(self, number: int, group: Mapping[str, Any]) -> Group:
        self.group_number, self.row_text = number, None
        self.known_keys(group, GROUP_KEYS, "the group")
        self.check_kind(group, GROUP)
        over = tuple(group.get("over", ()))
        self.check_indices(over)
        prefix = group.get("prefix", [""] * len(self.dialects))
        if len(prefix) != len(self.dialects):
            raise self.error(f"the prefix has {len(prefix)} cells for {len(self.dialects)} dialects")
        holes = frozenset(over)
        prefixes = dict(zip(self.dialects, (self.template(text, holes) for text in prefix), strict=True))
        rows = tuple(self.row(row, prefixes, over) for row in group.get("rows", ()))
        self.row_text = None
        if not rows and not group.get("folds"):
            raise self.error("the group has neither rows nor folds")
        folds = tuple(self.fold(fold, prefixes, holes) for fold in group.get("folds", ()))
        return Group(number, over, rows, bool(group.get("optional", False)), folds)

    def check_indices(self, over: Sequence[str]) -> None:
        """Each index once, counted by every variant, and no other thing's name."""
        for index in over:
            if over.count(index) > 1:
                raise self.error(f"the group runs over `{index}` twice")
            if index in self.words or index in (VARIANT, CLASSES):
                raise self.error(f"the group runs over `{index}`, which is the name of a word")
            lacking = [name for name, counts in self.section("variants").items() if index not in counts]
            if lacking:
                raise self.error(f"the group runs over `{index}`, which variant `{lacking[0]}` doesn't count")
            for name, counts in self.section("variants").items():
                if isinstance(counts[index], str) and counts[index] not in over[: over.index(index)]:
                    raise self.error(
                        f"variant `{name}` counts `{index}` as far as `{counts[index]}`, "
                        "which is no index of the group outside of it"
                    )

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
            near = nearest(name, self.axes, 1)
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
        for axis, size in zip(entry.names, sizes, strict=bool(sizes)):
            self.check_size(axis, size)
        return name, sizes

    def check_size(self, axis: str, size: int | str) -> None:
        """A number, a name that every variant has a value for, or a measured axis' own name."""
        if isinstance(size, int) or (size == axis and axis in MEASURED):
            return
        if size in MEASURED:
            raise self.error(f"the size `{size}` is that of the axis `{size}` alone", got=f"axis `{axis}`")
        variants = self.section("variants")
        if not any(size in names for names in (self.section("sizes"), *variants.values())):
            known = dict.fromkeys([*self.section("sizes"), *(name for each in variants.values() for name in each)])
            raise self.error(f"`{size}` is no size", expected=", ".join([*known, *MEASURED]))
        lacking = [name for name, own in variants.items() if size not in own and size not in self.section("sizes")]
        if lacking:
            raise self.error(f"variant `{lacking[0]}` gives no size `{size}`")

    def check_fan(self, row: Row, over: tuple[str, ...]) -> None:
        """One against many: an index that one dialect's name has and another's lacks is an axis of the other's."""
        templates = {dialect: cell for dialect, cell in row.cells.items() if isinstance(cell, Template)}
        if not templates:
            raise self.error("every cell is a constant")
        strings = self.axes[row.axes].strings
        for index in over:
            having = [dialect for dialect, template in templates.items() if index in template.depends_on]
            if not having:
                raise self.error(f"no cell has the index `{{{index}}}` that the group runs over")
            for dialect in templates:
                if (dialect in having) == (index in strings[dialect].names):
                    state = "both a hole and an axis" if dialect in having else "neither a hole nor an axis"
                    raise self.error(f"`{index}` is {state} of dialect `{dialect}`")
        axes = {dialect: {*strings[dialect].names} - {*over} for dialect in templates}
        first, *others = axes
        for dialect in others:
            for axis in sorted(axes[first] ^ axes[dialect]):
                has, lacks = (first, dialect) if axis in axes[first] else (dialect, first)
                raise self.error(f"`{row.axes}` has the axis `{axis}` in dialect `{has}` and not in `{lacks}`")

    def fold(self, fold: Mapping[str, Any], prefixes: Mapping[str, Template], holes: frozenset[str]) -> Fold:
        self.known_keys(fold, FOLD_KEYS, "the fold")
        dialect, op = str(fold.get("dialect")), str(fold.get("op"))
        if dialect not in self.dialects:
            raise self.error(f"the fold's dialect `{dialect}` is no column", expected=", ".join(self.dialects))
        if op not in OPERATIONS:
            raise self.error(f"`{op}` is no operation", expected=", ".join(OPERATIONS))
        if op not in FOLDS:
            raise self.error(f"`{op}` takes no other tensor in, it is no fold")
        texts = [fold.get("into", ""), *fold.get("with", ())]
        into, *operands = (prefixes[dialect] + self.template(text, holes, dialect) for text in texts)
        if len(operands) != OPERATIONS[op].n_operands:
            raise self.error(f"`{op}` takes {OPERATIONS[op].n_operands} tensors `with` it", got=len(operands))
        if (op in ALONG_AXIS) != ("axis" in fold):
            needs = "acts along an `axis`, which the fold has to name" if op in ALONG_AXIS else "acts along no `axis`"
            raise self.error(f"`{op}` {needs}")
        return Fold(dialect, op, into, tuple(operands), fold.get("axis"))

    def cell(self, text: str) -> Template | Constant:
        try:
            return parse_cell(text, self.computed)
        except ValueError as error:
            raise self.error(str(error)) from None

    def template(self, text: str, holes: frozenset[str], dialect: str | None = None) -> Template:
        """A template whose holes are indices, or ``{variant}``; words only where it belongs to a dialect."""
        try:
            template = parse_template(text, self.computed)
        except ValueError as error:
            raise self.error(str(error)) from None
        self.check_holes(template, holes, dialect)
        return template

    def check_holes(self, template: Template, holes: frozenset[str], dialect: str | None) -> None:
        words = [word for word, entry in self.words.items() if dialect in entry]
        place = "of this group " if self.group_number else ""
        what = f"index {place}({', '.join(sorted(holes)) or 'there is none'})"
        what = f"neither an {what} nor a word of dialect `{dialect}`" if dialect else f"no {what}"
        known = [*holes, *words, VARIANT, CLASSES]
        for hole in template.holes:
            if hole.name not in known:
                alike = [each for each in known if len(each) == len(hole.name)]
                near = nearest(hole.name, alike, 1, cutoff=0.5) or nearest(hole.name, known, 1)
                hint = f"did you mean `{{{near[0]}}}`?" if near else None
                raise self.error(f"`{{{hole.name}}}` is {what}", hint=hint)
            if hole.offset and hole.name not in holes:
                raise self.error(f"`{{{hole.name}}}` is no index and takes no offset")
