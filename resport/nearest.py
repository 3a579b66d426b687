"""The names that somebody may have meant who typed one that is none: for the hint of an error."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], n: int = 1, cutoff: float = 0.6) -> list[str]:
    """The names that are most like another, the likest first.

    Args:
        name: what was typed.
        known: what could have been.
        n: how many at most.
        cutoff: how alike they are at least: 0 anything, 1 the same.
    """
    from difflib import get_close_matches

    return get_close_matches(name, list(known), n, cutoff)
