"""How often each index of a group counts, and the sizes that go by indices: arithmetic on the numbers of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from resport.errors import TableError
from resport.mapping.tables import Group, Table

EXPANSION_MAX_COUNT = 10_000
"""No network repeats a layer more often; a larger count is a mistake that would fill the memory."""

EXPANSION_MAX_COMBINATIONS = 10_000
"""The same for all indices of a group together."""


def look_up(value: Any, indices: Mapping[str, int], over: Sequence[str]) -> int:
    """The number that a count or size has at some indices.

    A list gives one value for each number of the first index, its lists one for each number of the second, and so on;
    the last value of a list holds for all that follow. An index that the group doesn't run over counts as 1. The name
    of an index outside stands for its number: what counts so far is all that comes before something.

    Args:
        value: a number, lists of numbers, or the name of an index.
        indices: numbers of the indices, from 1.
        over: the group's indices, outermost first.

    Raises:
        ValueError: the value is none of these, or goes by an index that has no number yet.
    """
    if isinstance(value, str):
        if value not in indices:
            raise ValueError(f"`{value}` is no count, and no index outside of it")
        return indices[value]
    position = 0
    while isinstance(value, list) and value:
        if position < len(over) and over[position] not in indices:
            raise ValueError(f"`{value}` goes by `{over[position]}`, which is not outside of it")
        number = indices[over[position]] if position < len(over) else 1
        value = value[min(number, len(value)) - 1]
        position += 1
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"`{value}` is no count")
    return value


def combinations(
    table: Table, group: Group, counts: Mapping[str, Any], over: Sequence[str] | None = None
) -> list[dict[str, int]]:
    """All numbers of a group's indices, outermost first, the last one fastest.

    Args:
        table: the table, for messages.
        group: the group.
        counts: the counts of a variant.
        over: the indices, where they aren't the group's.

    Raises:
        TableError: an index has no count, or one that no network has.
    """
    over = group.over if over is None else over

    def deeper(position: int, indices: dict[str, int]) -> Iterator[dict[str, int]]:
        if position == len(over):
            yield dict(indices)
            return
        try:
            count = look_up(counts[over[position]], indices, over)
        except ValueError as error:
            raise TableError(f"index `{over[position]}`: {error}", file=table.path, group=group.number) from None
        if count > EXPANSION_MAX_COUNT:
            message = f"index `{over[position]}` counts to {count}, further than {EXPANSION_MAX_COUNT}"
            raise TableError(message, file=table.path, group=group.number)
        for number in range(1, count + 1):
            yield from deeper(position + 1, {**indices, over[position]: number})

    found = list(islice(deeper(0, {}), EXPANSION_MAX_COMBINATIONS + 1))
    if len(found) > EXPANSION_MAX_COMBINATIONS:
        message = f"its indices have more than {EXPANSION_MAX_COMBINATIONS} combinations"
        raise TableError(message, file=table.path, group=group.number)
    return found
