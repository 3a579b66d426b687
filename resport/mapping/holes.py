"""The holes that a table defines itself: ``[numbers]`` that count on, ``[spellings]`` that go by indices.

Both are worked out from the indices when a name is made, and never read back: detection takes any number, or any of the
spellings, in their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resport.mapping.templates import Number, Spelling, Template, parse_template

NUMBER_KEYS = frozenset({"start", "step", "suffix"})
SPELLING_KEYS = frozenset({"over", "texts"})
SPELLING_MAX_DEPTH = 8
"""No network has more indices inside of each other; deeper lists are a mistake."""


def parse_numbers(section: Mapping[str, Mapping[str, Any]]) -> dict[str, Number]:
    """Read ``[numbers]``.

    Args:
        section: the section; its keys and the kinds of its values are checked already.
    """
    return {
        name: Number(name, entry.get("start", 0), tuple(entry.get("step", {}).items()), entry.get("suffix", False))
        for name, entry in section.items()
    }


def parse_spellings(section: Mapping[str, Mapping[str, Any]]) -> dict[str, Spelling]:
    """Read ``[spellings]``.

    Args:
        section: the section; its keys and the kinds of its values are checked already.

    Raises:
        ValueError: a spelling without texts or indices, with lists deeper than its indices, or with a hole that is none
            of its indices.
    """
    spellings = {}
    for name, entry in section.items():
        over = tuple(entry.get("over", ()))
        if not over:
            raise ValueError(f"[spellings] {name} has no `over`")
        spellings[name] = Spelling(name, over, _texts(name, entry.get("texts"), over, 0))
    return spellings


def _texts(name: str, texts: Any, over: tuple[str, ...], depth: int) -> Any:
    if isinstance(texts, list) and texts:
        if depth >= min(len(over), SPELLING_MAX_DEPTH):
            raise ValueError(f"[spellings] {name} has lists that are deeper than its indices ({', '.join(over)})")
        return [_texts(name, each, over, depth + 1) for each in texts]
    if not isinstance(texts, str):
        raise ValueError(f"[spellings] {name} has no text where one belongs")
    template: Template = parse_template(texts)
    unknown = template.depends_on - {*over}
    if unknown:
        raise ValueError(f"[spellings] {name}: `{texts}` has a hole that is none of its indices ({', '.join(over)})")
    return template
