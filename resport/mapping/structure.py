"""What kind of TOML value stands at each place of a table: text, list, section, count.

TOML lets any value stand anywhere. The kinds are checked before anything else looks at the values, so that a number in
place of a list is one error that names the place, whatever would have read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Kind = Callable[[Any, str], None]
"""Checks a value; the text says where it stands, for the message. Raises ``KindError``."""

_TYPE_NAMES = {str: "the text", bool: "the truth value", dict: "the section", list: "the list"}


class KindError(ValueError):
    """A value of the wrong kind.

    Args:
        place: where it stands.
        expected: what belongs there.
        value: what stands there.
    """

    def __init__(self, place: str, expected: str, value: object) -> None:
        super().__init__(f"`{place}` is of the wrong kind")
        self.expected = expected
        self.got = f"{_TYPE_NAMES.get(type(value), 'the value')} {_short(value)}"


def text(value: Any, place: str) -> None:
    """A text in quotes."""
    _expect(isinstance(value, str), "a text in quotes", value, place)


def flag(value: Any, place: str) -> None:
    """``true`` or ``false``."""
    _expect(isinstance(value, bool), "true or false", value, place)


def number(value: Any, place: str) -> None:
    """A whole number, not negative."""
    _expect(_is_number(value), "a whole number", value, place)


def real(value: Any, place: str) -> None:
    """A number, whole or not."""
    _expect(isinstance(value, int | float) and not isinstance(value, bool), "a number", value, place)


def texts(value: Any, place: str) -> None:
    """A text in quotes, or a list of texts or such lists."""
    _expect(isinstance(value, str | list), "a text in quotes or a list of them", value, place)
    for position, item in enumerate(value if isinstance(value, list) else (), 1):
        texts(item, f"{place}, item {position}")


def count(value: Any, place: str) -> None:
    """A whole number, or a list of counts."""
    _expect(_is_number(value) or isinstance(value, list), "a whole number or a list of them", value, place)
    for position, item in enumerate(value if isinstance(value, list) else (), 1):
        count(item, f"{place}, item {position}")


def count_or_index(value: Any, place: str) -> None:
    """A count, or the name of an index in quotes."""
    if not isinstance(value, str):
        count(value, place)


def list_of(kind: Kind) -> Kind:
    """A list whose items are all of one kind."""

    def check(value: Any, place: str) -> None:
        _expect(isinstance(value, list), "a list", value, place)
        for position, item in enumerate(value, 1):
            kind(item, f"{place}, item {position}")

    return check


def section_of(kind: Kind, /, **named: Kind) -> Kind:
    """A section whose values are all of one kind, but for those that are named."""

    def check(value: Any, place: str) -> None:
        _expect(isinstance(value, dict), "a section", value, place)
        for key, item in value.items():
            named.get(key, kind)(item, f"{place}.{key}" if place else key)

    return check


def record(kinds: Mapping[str, Kind]) -> Kind:
    """A section whose keys have kinds of their own; keys that are not listed are another check's matter."""
    return section_of(lambda value, place: None, **kinds)


FOLD = record({"dialect": text, "op": text, "into": text, "with": list_of(text), "axis": text})

RELATION = record({"pair": list_of(texts), "among": list_of(text), "kind": text, "reason": text, "difference": real})

NUMBER = record({"start": number, "step": section_of(number), "suffix": flag})

SPELLING = record({"over": list_of(text), "texts": texts})

GROUP = record(
    {
        "over": list_of(text),
        "prefix": list_of(text),
        "rows": list_of(list_of(text)),
        "optional": flag,
        "folds": list_of(FOLD),
    }
)

TABLE = record(
    {
        "family": text,
        "columns": list_of(text),
        "variants": section_of(section_of(count_or_index)),
        "root": section_of(text),
        "sizes": section_of(count),
        "group": list_of(section_of(lambda value, place: None)),
        "axes": section_of(section_of(text, sizes=section_of(number))),
        "words": section_of(section_of(list_of(text))),
        "ignore": section_of(section_of(list_of(text))),
        "order": section_of(list_of(text)),
        "shadow": section_of(text),
        "stock": section_of(section_of(text, classes=section_of(text))),
        "roles": section_of(list_of(text)),
        "relation": list_of(RELATION),
        "numbers": section_of(NUMBER),
        "spellings": section_of(SPELLING),
        "like": section_of(text),
        "foreign": list_of(text),
        "epsilon": section_of(real),
    }
)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _expect(holds: bool, expected: str, value: object, place: str) -> None:
    if not holds:
        raise KindError(place, expected, value)


def _short(value: object) -> str:
    spelled = str(value)
    return spelled if len(spelled) <= 60 else f"{spelled[:60]}…"
