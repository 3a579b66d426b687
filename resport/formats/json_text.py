r"""JSON out of a stranger's file, held to bounds before and after it is parsed.

A byte of JSON can become forty of memory (``[[],[],[],...``), nesting can exhaust the stack of whoever walks through
it later, a key can stand in an object twice and mean two things to two readers, and ``"\\ud800"`` is text that nothing
can print. What passes here is bounded in all of that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

JSON_MAX_BYTES = 24 << 20
"""The headers and indexes of the largest published models, with a hundred thousand tensors, have about 10 MB."""
JSON_MAX_CONTAINERS = 700_000
"""Lists and objects; a tensor takes three of them in a header of safetensors."""
JSON_MAX_COMMAS = 2_500_000
JSON_MAX_DEPTH = 200
JSON_SHOWN_CHARS = 80


def parse_json(data: bytes, *, unique: bool = False) -> Any:
    """Parse JSON.

    Args:
        data: UTF-8.
        unique: whether a key that an object has twice is an error, rather than the last one counting.

    Raises:
        ValueError: it is no JSON, larger, deeper or of more parts than any file of weights has, or holds what is no
            Unicode text.
    """
    if len(data) > JSON_MAX_BYTES:
        raise ValueError(f"it has {len(data)} bytes, at most {JSON_MAX_BYTES} are read")
    if data.count(b"[") + data.count(b"{") > JSON_MAX_CONTAINERS or data.count(b",") > JSON_MAX_COMMAS:
        raise ValueError("it has more parts than any file of weights")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique_keys if unique else None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    has_surrogates = b"\\ud" in data or b"\\uD" in data
    for depth, level in enumerate(_levels(value)):
        if depth > JSON_MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if has_surrogates:
            _check_texts(level)
    return value


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object's dict; ``ValueError`` where a key stands in it twice."""
    # Of two equal keys json keeps the last: two readers could see two different files.
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:JSON_SHOWN_CHARS]!a} stands in it twice")
    return result


def _levels(value: Any) -> Iterator[list[Any]]:
    """The lists and objects of one depth after the other, without recursion."""
    level = [value] if isinstance(value, dict | list) else []
    while level:
        yield level
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [value for values in inner for value in values if isinstance(value, dict | list)]


def _check_texts(level: list[Any]) -> None:
    for each in level:
        for text in (*each.keys(), *each.values()) if isinstance(each, dict) else each:
            if isinstance(text, str) and not text.isascii():
                try:
                    text.encode()
                except UnicodeEncodeError:
                    raise ValueError("a text in it is no Unicode: half of a surrogate pair") from None
