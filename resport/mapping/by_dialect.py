"""Values by dialect that are worked out late."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

V = TypeVar("V")


class ByDialect(Mapping[str, V]):
    """A value for each dialect, made when it is first asked for: a conversion needs two dialects of the many.

    Args:
        dialects: the dialects, in order.
        make: gives the value of a dialect.
    """

    __slots__ = ("_dialects", "_found", "_make")

    def __init__(self, dialects: Sequence[str], make: Callable[[str], V]) -> None:
        self._dialects = dialects
        self._make = make
        self._found: dict[str, V] = {}

    def __getitem__(self, dialect: str) -> V:
        if dialect not in self._found:
            if dialect not in self._dialects:
                raise KeyError(dialect)
            self._found[dialect] = self._make(dialect)
        return self._found[dialect]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dialects)

    def __len__(self) -> int:
        return len(self._dialects)
