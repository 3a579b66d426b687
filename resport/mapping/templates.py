"""The cells of a table: text with holes, or a constant.

A template is text with holes: ``{b}`` an index, ``{b+1}`` / ``{b-1}`` an index with an offset, ``{bn}`` a word,
``{variant}``, ``{classes}``. Filling the holes gives a name. The same template, read the other way, gives the regular
expression with which detection reads the indices off a name; no regular expression is ever inverted.

Some names count or spell in ways of their own: a session counter that runs on through the whole network, a unit that
is called ``a`` or ``b3``. Such a hole is a ``Number`` or a ``Spelling``: it is worked out from indices, and detection
takes any number, or any of the spellings, for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from resport.mapping.folding import FOLDED_NUMBER

HOLE = re.compile(r"\{([a-z][a-z0-9_]*)(?:([+-])([0-9]{1,9}))?\}")

INDEX_PATTERN = "[0-9]{1,9}"
"""What an index looks like in a name. Longer runs of digits are no index, and Python refuses to read the longest."""


class Hole(NamedTuple):
    """One hole of a template: the name of an index, a word or ``variant``, and what is added to an index."""

    name: str
    offset: int = 0


class Number(NamedTuple):
    """A hole with a number that is counted from indices: a counter that runs on through a network.

    Attributes:
        name: its name in ``[numbers]``.
        start: the number where every index is 1.
        step: what each index adds when it grows by one.
        suffix: whether it is spelled as TensorFlow makes names unique: nothing for 0, ``_1`` for 1.
        offset: what the hole adds.
    """

    name: str
    start: int
    step: tuple[tuple[str, int], ...]
    suffix: bool = False
    offset: int = 0

    @property
    def over(self) -> tuple[str, ...]:
        """The indices that it depends on."""
        return tuple(index for index, _ in self.step)

    @property
    def pattern(self) -> str:
        """What it looks like in a name."""
        return f"(?:_{INDEX_PATTERN})?" if self.suffix else INDEX_PATTERN

    @property
    def folded(self) -> tuple[str, ...]:
        """Its spellings with every number folded."""
        return ("", f"_{FOLDED_NUMBER}") if self.suffix else (FOLDED_NUMBER,)

    def fill(self, values: Mapping[str, int | str]) -> str:
        """Its spelling; an index without a value counts as 1.

        Raises:
            ValueError: it is below zero.
        """
        number = self.start + self.offset + sum(step * (int(values.get(index, 1)) - 1) for index, step in self.step)
        if number < 0:
            raise ValueError(f"`{{{self.name}}}` is {number}")
        if self.suffix:
            return f"_{number}" if number else ""
        return str(number)


class Spelling(NamedTuple):
    """A hole with a text that goes by indices, as ``a`` and ``b3`` in place of 1 and 4.

    Attributes:
        name: its name in ``[spellings]``.
        over: the indices that it goes by, the outer one first.
        texts: a template, or a list that goes by the first index, its lists by the second; the last one of a list holds
            for all that follow.
    """

    name: str
    over: tuple[str, ...]
    texts: Any

    @property
    def pattern(self) -> str:
        """What it looks like in a name."""
        return "(?:" + "|".join(dict.fromkeys(_loose_pattern(template) for template in self.templates)) + ")"

    @property
    def folded(self) -> tuple[str, ...]:
        """Its spellings with every number folded."""
        texts = ("".join(p if isinstance(p, str) else FOLDED_NUMBER for p in each.parts) for each in self.templates)
        return tuple(dict.fromkeys(re.sub("[0-9]+", FOLDED_NUMBER, text) for text in texts))

    @property
    def templates(self) -> tuple[Template, ...]:
        """All of its texts."""
        return tuple(_flat(self.texts))

    def fill(self, values: Mapping[str, int | str]) -> str:
        """Its spelling; an index without a value counts as 1.

        Raises:
            ValueError: the lists are deeper than there are indices.
        """
        texts = self.texts
        for index in self.over:
            if isinstance(texts, list):
                texts = texts[min(int(values.get(index, 1)), len(texts)) - 1]
        if not isinstance(texts, Template):
            raise ValueError(f"the lists of `{{{self.name}}}` are deeper than its indices ({', '.join(self.over)})")
        return texts.fill(values)


class Constant(NamedTuple):
    """The cell ``=C``: the dialect has no such tensor, every element of it would be C."""

    value: float


@dataclass(frozen=True, slots=True)
class Template:
    """Text with holes.

    Attributes:
        text: the cell as the table has it.
        parts: the text between the holes, and the holes, in order.
    """

    text: str
    parts: tuple[str | Hole | Number | Spelling, ...]

    @property
    def holes(self) -> tuple[Hole, ...]:
        """The plain holes in order: those that a name tells the value of."""
        return tuple(part for part in self.parts if isinstance(part, Hole))

    @property
    def depends_on(self) -> frozenset[str]:
        """Names of all that the text goes by: of the plain holes, and of the indices behind the others."""
        names = {hole.name for hole in self.holes}
        return frozenset(names.union(*(part.over for part in self.parts if isinstance(part, Number | Spelling))))

    def fill(self, values: Mapping[str, int | str]) -> str:
        """Put a value into each hole.

        Args:
            values: numbers of the indices, texts of the words, by hole name.

        Raises:
            ValueError: an index with its offset is below zero.
        """
        return "".join([part if isinstance(part, str) else _filled(part, values) for part in self.parts])

    def partly_filled(self, values: Mapping[str, int | str], before: str = "") -> Template:
        """The template that is left when some of its holes have a value.

        Args:
            values: numbers and texts by hole name; other plain holes stay open, and so do those that go by indices.
            before: text to put in front.
        """
        parts: list[str | Hole | Number | Spelling] = [before]
        for part in self.parts:
            piece = _filled(part, values) if isinstance(part, Hole) and part.name in values else part
            if isinstance(piece, str) and isinstance(parts[-1], str):
                parts[-1] += piece
            else:
                parts.append(piece)
        return Template(before + self.text, tuple(parts))

    def pattern(self, words: Mapping[str, Sequence[str]], variant: str = "[^/]+") -> str:
        """The regular expression that the template's names match; each index is a named group.

        Args:
            words: the alternatives of each word in this dialect.
            variant: what the hole ``{variant}`` may be.
        """
        seen: set[str] = set()
        pieces = []
        for part in self.parts:
            if isinstance(part, str):
                pieces.append(re.escape(part))
            elif not isinstance(part, Hole):
                pieces.append(part.pattern)
            elif part.name == "variant":
                pieces.append(variant)
            elif part.name in words:
                pieces.append("(?:" + "|".join(re.escape(word) for word in words[part.name]) + ")")
            elif part.name in seen:
                pieces.append(INDEX_PATTERN)
            else:
                seen.add(part.name)
                pieces.append(f"(?P<{part.name}>{INDEX_PATTERN})")
        return "".join(pieces)

    def __add__(self, other: Template) -> Template:
        return Template(self.text + other.text, self.parts + other.parts)


def parse_template(text: str, computed: Mapping[str, Number | Spelling] | None = None) -> Template:
    """Parse text with holes.

    Args:
        text: the text.
        computed: the holes that are worked out from indices, by name.

    Raises:
        ValueError: a brace that belongs to no hole, or an offset of what is no number.
    """
    parts: list[str | Hole | Number | Spelling] = []
    end = 0
    for match in HOLE.finditer(text):
        parts.append(text[end : match.start()])
        name, sign, digits = match.groups()
        parts.append(_hole(name, int(f"{sign}{digits}") if sign else 0, computed or {}))
        end = match.end()
    parts.append(text[end:])
    if any(isinstance(part, str) and ("{" in part or "}" in part) for part in parts):
        raise ValueError(
            f"`{text}` has a brace that is no hole; a hole is an index `{{b}}`, `{{b+1}}`, `{{b-1}}` or a word `{{bn}}`"
        )
    return Template(text, tuple(part for part in parts if part != ""))


def _hole(name: str, offset: int, computed: Mapping[str, Number | Spelling]) -> Hole | Number | Spelling:
    hole = computed.get(name)
    if hole is None:
        return Hole(name, offset)
    if isinstance(hole, Number):
        return hole._replace(offset=offset)
    if offset:
        raise ValueError(f"`{{{name}}}` is no number and takes no offset")
    return hole


def parse_cell(text: str, computed: Mapping[str, Number | Spelling] | None = None) -> Template | Constant:
    """Parse a cell of a row: text with holes, or ``=C``.

    Args:
        text: the cell.
        computed: the holes that are worked out from indices, by name.

    Raises:
        ValueError: a brace that is no hole, or a constant that is no number.
    """
    if not text.startswith("="):
        return parse_template(text, computed)
    try:
        value = float(text[1:])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"`{text}` is not a constant; a constant is `=` and a number, like `=0`")
    return Constant(value)


def _filled(part: Hole | Number | Spelling, values: Mapping[str, int | str]) -> str:
    if not isinstance(part, Hole):
        return part.fill(values)
    value = values[part.name]
    if isinstance(value, str):
        return value
    if value + part.offset < 0:
        raise ValueError(f"`{{{part.name}{part.offset:+}}}` is {value + part.offset} where `{part.name}` is {value}")
    return str(value + part.offset)


def _flat(texts: Any) -> Iterator[Template]:
    if isinstance(texts, Template):
        yield texts
        return
    for each in texts:
        yield from _flat(each)


def _loose_pattern(template: Template) -> str:
    return "".join(re.escape(part) if isinstance(part, str) else INDEX_PATTERN for part in template.parts)
