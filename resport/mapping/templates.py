"""The cells of a table: text with holes, or a constant.

A template is text with holes: ``{b}`` an index, ``{b+1}`` / ``{b-1}`` an index with an offset, ``{bn}`` a word,
``{variant}``. Filling the holes gives a name. The same template, read the other way, gives the regular expression
with which detection reads the indices off a name; no regular expression is ever inverted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HOLE = re.compile(r"\{([a-z][a-z0-9_]*)(?:([+-])([0-9]+))?\}")


@dataclass(frozen=True, slots=True)
class Hole:
    """One hole of a template: the name of an index, a word or ``variant``, and what is added to an index."""

    name: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Constant:
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
    parts: tuple[str | Hole, ...]

    @property
    def holes(self) -> tuple[Hole, ...]:
        """The holes in order."""
        return tuple(part for part in self.parts if isinstance(part, Hole))

    def fill(self, values: Mapping[str, int | str]) -> str:
        """Put a value into each hole.

        Args:
            values: numbers of the indices, texts of the words, by hole name.
        """
        return "".join(part if isinstance(part, str) else _filled(part, values[part.name]) for part in self.parts)

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
            elif part.name == "variant":
                pieces.append(variant)
            elif part.name in words:
                pieces.append("(?:" + "|".join(re.escape(word) for word in words[part.name]) + ")")
            elif part.name in seen:
                pieces.append(r"\d+")
            else:
                seen.add(part.name)
                pieces.append(rf"(?P<{part.name}>\d+)")
        return "".join(pieces)

    def __add__(self, other: Template) -> Template:
        return Template(self.text + other.text, self.parts + other.parts)


def parse_template(text: str) -> Template:
    """Parse text with holes.

    Raises:
        ValueError: a brace that belongs to no hole.
    """
    parts: list[str | Hole] = []
    end = 0
    for match in HOLE.finditer(text):
        parts.append(text[end : match.start()])
        name, sign, digits = match.groups()
        parts.append(Hole(name, int(f"{sign}{digits}") if sign else 0))
        end = match.end()
    parts.append(text[end:])
    if any(isinstance(part, str) and ("{" in part or "}" in part) for part in parts):
        raise ValueError(
            f"`{text}` has a brace that is no hole; a hole is an index `{{b}}`, `{{b+1}}`, `{{b-1}}` or a word `{{bn}}`"
        )
    return Template(text, tuple(part for part in parts if part != ""))


def parse_cell(text: str) -> Template | Constant:
    """Parse a cell of a row: text with holes, or ``=C``.

    Raises:
        ValueError: a brace that is no hole, or a constant that is no number.
    """
    if not text.startswith("="):
        return parse_template(text)
    try:
        return Constant(float(text[1:]))
    except ValueError:
        raise ValueError(f"`{text}` is not a constant; a constant is `=` and a number, like `=0`") from None


def _filled(hole: Hole, value: int | str) -> str:
    return str(value + hole.offset) if isinstance(value, int) else value
