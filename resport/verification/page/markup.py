"""Text, numbers and tables as HTML. Whatever comes from a file goes through ``text``: nothing else escapes it."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NO_VALUE = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"


def text(value: object) -> str:
    """A value as HTML text, fit for an attribute too; a character that cannot be printed is spelled out."""
    written = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value))
    return html.escape(written)


def prose(value: object) -> str:
    """A sentence as HTML; what stands between backticks in it becomes code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text(value))


def number(value: float | None) -> str:
    """A number as people compare it: ``1.5e-6``, ``0.94``, ``∞``; a dash for None."""
    if value is None:
        return NO_VALUE
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e4:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.3g}" if abs(value) < 1e3 else f"{value:.0f}"


def images(size: int) -> str:
    """The size of images: ``224x224`` with a sign for the cross."""
    return f"{size}{TIMES}{size}"


def plural(count: int, word: str) -> str:
    """A count with its noun: ``1 tensor``, ``272 tensors``."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def json_in_script(value: object) -> str:
    """A value as JSON that may stand inside a script tag: no ``<``, no NaN, ASCII only."""
    return json.dumps(_finite(value), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes:
        content: HTML.
        sort: what its column is sorted by, where that is not the text: a number.
        css: classes.
    """

    content: str
    sort: float | None = None
    css: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table; its first cell is its heading.

    Attributes:
        cells: one for each column.
        is_notable: whether it stays when only differences are asked for.
    """

    cells: tuple[Cell, ...]
    is_notable: bool = False


def number_cell(value: float | None, unit: str = "", *, is_bad: bool = False) -> Cell:
    """A cell with a number that its column is sorted by; what is no number comes last."""
    sort = math.inf if value is None or math.isnan(value) else value
    shown = number(value) + (unit if value is not None else "")
    return Cell(shown, sort, "number bad" if is_bad else "number")


def name_cell(name: object) -> Cell:
    """A cell with a name from a file."""
    return Cell(f"<code>{text(name)}</code>", css="name")


def table(caption: str, headings: Sequence[str], rows: Iterable[Row], notable: str, css: str = "") -> str:
    """A table that can be searched and sorted, where there is a script; it is complete where there is none.

    Args:
        caption: what it lists, as text.
        headings: of the columns, as text; one that ends with a colon belongs to numbers.
        rows: the rows.
        notable: label of the box that leaves only notable rows, as text.
        css: classes of the table.
    """
    head = "".join(f'<th scope="col">{text(heading)}</th>' for heading in headings)
    body = "\n".join(map(_row, rows))
    return (
        '<div class="data">'
        '<div class="tools" hidden>'
        f'<label class="search">Search <input type="search" autocomplete="off" spellcheck="false"></label>'
        f'<label class="only"><input type="checkbox"> {text(notable)}</label>'
        '<output class="count" aria-live="polite"></output></div>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}">'
        f'<table class="{css}"><caption>{text(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
        '<button class="more" type="button" hidden></button></div>'
    )


def _row(row: Row) -> str:
    cells = [_cell("td", cell) for cell in row.cells]
    cells[0] = _cell("th", row.cells[0], ' scope="row"')
    return f"<tr{' data-notable' if row.is_notable else ''}>{''.join(cells)}</tr>"


def _cell(tag: str, cell: Cell, attributes: str = "") -> str:
    if cell.css:
        attributes += f' class="{cell.css}"'
    if cell.sort is not None:
        attributes += f' data-sort="{_javascript_number(cell.sort)}"'
    return f"<{tag}{attributes}>{cell.content}</{tag}>"


def _javascript_number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def definitions(pairs: Iterable[tuple[str, str | None]]) -> str:
    """A list of terms, as text, with what they are, as HTML; those without are left out."""
    items = "".join(f"<div><dt>{text(term)}</dt><dd>{what}</dd></div>" for term, what in pairs if what is not None)
    return f"<dl>{items}</dl>"


def optional_code(value: Any) -> str | None:
    """A value from a file as HTML, or None where there is none."""
    return None if value is None else f"<code>{text(value)}</code>"
