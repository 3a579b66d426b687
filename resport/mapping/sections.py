"""The sections of a table beside its rows: dialects, axes, words, what is ignored, how two dialects relate.

Every key is known and every value of its kind, or the table is refused with the place of the mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resport.errors import TableError
from resport.mapping.axes import AxisString, parse_axes
from resport.mapping.holes import NUMBER_KEYS, SPELLING_KEYS, parse_numbers, parse_spellings
from resport.mapping.relations import RELATION_KEYS, Relation, parse_relations
from resport.mapping.structure import TABLE, Kind, KindError
from resport.mapping.tables import CLASSES, MEASURED, AxesEntry, Stock
from resport.mapping.templates import Number, Spelling
from resport.nearest import nearest

VARIANT = "variant"
COMMON_KEYS = frozenset({"axes", "words", "ignore", "shadow"})
TABLE_KEYS = COMMON_KEYS | {
    "family", "columns", "like", "foreign", "variants", "root", "sizes", "numbers", "spellings", "epsilon", "group",
    "order", "stock", "relation",
}  # fmt: skip
STOCK_KEYS = ("classes", "why", "difference", "instead")


class Sections:
    """One table being read: its sections, and where we are in it, for messages.

    Args:
        file: its path, for messages.
        own: its content.
        common: what it shares with the other tables.
    """

    def __init__(self, file: str, own: Mapping[str, Any], common: Mapping[str, Any]) -> None:
        self.file = file
        self.own = own
        self.group_number: int | None = None
        self.row_text: str | None = None
        self.known_keys(own, TABLE_KEYS, "the table")
        self.check_kind(own, TABLE)
        self.check_kind(common, TABLE)
        self.dialects = self.columns()
        self.likeness = self.like(common)
        self.axes = {
            name: self.axes_entry(name, entry) for name, entry in {**common["axes"], **own.get("axes", {})}.items()
        }
        self.words = {**self.words_of(common.get("words", {})), **self.words_of(own.get("words", {}))}
        self.common = common
        self.computed = self.computed_holes()

    def error(self, message: str, hint: str | None = None, **details: Any) -> TableError:
        """A ``TableError`` that says where we are."""
        return TableError(message, file=self.file, group=self.group_number, row=self.row_text, hint=hint, **details)

    def check_kind(self, value: Any, kind: Kind) -> None:
        """Refuse a text where a list belongs, and the like."""
        try:
            kind(value, "")
        except KindError as error:
            raise self.error(str(error), expected=error.expected, got=error.got) from None

    def missing(self, key: str) -> str:
        """Refuse a table that lacks a key."""
        raise self.error(f"`{key}` is missing")

    def known_keys(self, section: Mapping[str, Any], known: frozenset[str], what: str) -> None:
        """Refuse keys that nothing reads."""
        for key in section:
            if key not in known:
                near = nearest(key, known, 1)
                raise self.error(
                    f"{what} has the unknown key `{key}`",
                    expected=", ".join(sorted(known)),
                    hint=f"did you mean `{near[0]}`?" if near else None,
                )

    def section(self, key: str) -> dict[str, Any]:
        """A section of the table; empty where it has none."""
        section: dict[str, Any] = self.own.get(key, {})
        return section

    def by_dialect(self, key: str) -> dict[str, Any]:
        """A section whose keys are dialects of this table."""
        section = self.section(key)
        self.known_keys(section, frozenset(self.dialects), f"[{key}]")
        return section

    def like(self, common: Mapping[str, Any]) -> dict[str, str]:
        """The dialect whose axes, words and ignore lists a dialect takes over where it has none of its own."""
        likeness = self.by_dialect("like")
        known = frozenset({*self.dialects, *(dialect for entry in common["axes"].values() for dialect in entry)})
        self.known_keys(dict.fromkeys(likeness.values()), known - {"sizes"}, "[like]")
        return likeness

    def foreign(self) -> frozenset[str]:
        """The dialects that are another family's: a file is not detected as one of them."""
        foreign = self.own.get("foreign", ())
        self.known_keys(dict.fromkeys(foreign), frozenset(self.dialects), "`foreign`")
        return frozenset(foreign)

    def with_likeness(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """What is said of dialects, and for those of which nothing is said, what is said of the one they are like."""
        alike = {mine: entry[other] for mine, other in self.likeness.items() if mine not in entry and other in entry}
        return {**entry, **alike}

    def computed_holes(self) -> dict[str, Number | Spelling]:
        """The holes of ``[numbers]`` and ``[spellings]``: each a name of its own, each going by known indices."""
        for section, keys in (("numbers", NUMBER_KEYS), ("spellings", SPELLING_KEYS)):
            for name, entry in self.section(section).items():
                self.known_keys(entry, keys, f"[{section}] {name}")
        try:
            holes: dict[str, Number | Spelling] = {**parse_numbers(self.section("numbers"))}
            holes.update(parse_spellings(self.section("spellings")))
        except ValueError as error:
            raise self.error(str(error)) from None
        counted = frozenset(index for variant in self.section("variants").values() for index in variant)
        for name, hole in holes.items():
            if name in self.words or name in counted or name in (VARIANT, CLASSES):
                raise self.error(f"`{name}` of [numbers] or [spellings] is the name of something else")
            self.known_keys(dict.fromkeys(hole.over), counted, f"what `{name}` goes by")
        return holes

    def relations(self) -> tuple[Relation, ...]:
        """What the table says of its dialects, pair by pair."""
        entries = self.own.get("relation", ())
        for number, entry in enumerate(entries, 1):
            self.known_keys(entry, RELATION_KEYS, f"relation {number}")
        try:
            return parse_relations(entries, self.dialects)
        except ValueError as error:
            raise self.error(str(error)) from None

    def columns(self) -> tuple[str, ...]:
        """The dialects, in the order of the cells."""
        columns = self.own.get("columns", [])
        if len(columns) < 3 or columns[-1] != "axes" or len(set(columns)) < len(columns):
            raise self.error("`columns` names two dialects or more, each once, and ends with `axes`", got=columns)
        return tuple(columns[:-1])

    def axes_entry(self, name: str, entry: Mapping[str, Any]) -> AxesEntry:
        """One entry of ``[axes]``."""
        strings: dict[str, AxisString] = {}
        for dialect, text in entry.items():
            if dialect != "sizes":
                try:
                    strings[dialect] = parse_axes(text)
                except ValueError as error:
                    raise self.error(f"[axes] {name}.{dialect}: {error}") from None
                for axis in MEASURED:
                    if axis in strings[dialect].names and (axis,) not in strings[dialect].groups:
                        raise self.error(f"[axes] {name}.{dialect}: `{axis}` stands alone, it cannot be joined")
        sizes = dict(entry.get("sizes", {}))
        names = dict.fromkeys(axis for string in strings.values() for axis in string.names)
        self.known_keys(sizes, frozenset(names), f"[axes] {name}.sizes")
        return AxesEntry(self.with_likeness(strings), sizes)

    def words_of(self, section: Mapping[str, Any]) -> dict[str, dict[str, tuple[str, ...]]]:
        """Spellings by word and dialect."""
        words = {
            word: {d: tuple(spellings) for d, spellings in self.with_likeness(entry).items()}
            for word, entry in section.items()
        }
        for word, entry in words.items():
            if len({len(spellings) for spellings in entry.values()}) != 1:
                raise self.error(f"[words] {word} has lists of different lengths")
        return words

    def ignore(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Globs by dialect and kind: the common ones, and the table's own beside them."""
        own = self.by_dialect("ignore")
        common = self.with_likeness(self.common.get("ignore", {}))
        return {
            dialect: {
                kind: (*common.get(dialect, {}).get(kind, ()), *own.get(dialect, {}).get(kind, ()))
                for kind in [*common.get(dialect, {}), *own.get(dialect, {})]
            }
            for dialect in self.dialects
        }

    def stock(self, dialect: str, entry: Mapping[str, Any]) -> Stock:
        """What is said of a framework's own classes."""
        self.known_keys(entry, frozenset(STOCK_KEYS), f"[stock.{dialect}]")
        for key in STOCK_KEYS:
            if key not in entry:
                self.missing(f"stock.{dialect}.{key}")
        self.known_keys(entry["classes"], frozenset(self.section("variants")), f"[stock.{dialect}.classes]")
        return Stock(**entry)
