"""Long lists of names made short: names that differ only by numbers become one, ``block{1..4}/unit_{1..3}/gamma``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

FOLDING_LIMIT = 10
"""How many lines of a list a message shows."""

FOLDED_NUMBER = "0"
"""What stands for every number in a folded name. A digit, for that is the one thing that can't be there otherwise."""

_NUMBER = re.compile("[0-9]{1,15}")
_RANGE_LIMIT = 8


def fold_names(names: Iterable[str]) -> list[str]:
    """Fold names that differ only by numbers, each with its count when it stands for several.

    >>> fold_names(["a1/w", "a2/w", "a3/w", "b"])
    ['a{1..3}/w (3)', 'b']
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(fold_digits(name), []).append(name)
    return [
        members[0] if len(members) == 1 else f"{fold_numbers(members)} ({len(members)})" for members in groups.values()
    ]


def fold_digits(name: str) -> str:
    """A name with every number as ``0``: what names that differ only by numbers have in common."""
    return _NUMBER.sub(FOLDED_NUMBER, name)


def fold_numbers(names: Sequence[str]) -> str:
    """Names that differ only by numbers as one, with ranges in the numbers' places."""
    numbers = [[int(text) for text in _NUMBER.findall(name)] for name in names]
    ranges = iter([_range(sorted(set(column))) for column in zip(*numbers, strict=True)])
    return _NUMBER.sub(lambda _: next(ranges), names[0])


def shortened(lines: Sequence[str], limit: int = FOLDING_LIMIT) -> list[str]:
    """The first lines of a list, and how many more there are."""
    if len(lines) <= limit:
        return list(lines)
    return [*lines[:limit], f"… and {len(lines) - limit} more (`--json` lists all)"]


def _range(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{{{numbers[0]}..{numbers[-1]}}}"
    spelled = [str(number) for number in numbers]
    if len(spelled) > _RANGE_LIMIT:
        spelled[_RANGE_LIMIT - 2 : -1] = ["…"]
    return "{" + ",".join(spelled) + "}"
