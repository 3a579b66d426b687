"""What is not as it was when a reference was stored: one value for each thing that changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was.

    Attributes:
        what: what changed, ``version of tensorflow``.
        before: what it was when the reference was stored; None where it wasn't there.
        after: what it is now; None where it is gone.
    """

    what: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.what}: now {self.after}, then there was none"
        return f"{self.what}: then {self.before}, now {'there is none' if self.after is None else self.after}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {"what": self.what, "before": self.before, "after": self.after}


def changed(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """What two mappings say otherwise, in the order of the first; what only the second has comes last.

    Args:
        kind: goes in front of each name.
        before: values by name, as they were.
        after: the same now.
    """
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name):
            yield Change(f"{kind} {name}".strip(), _text(before.get(name)), _text(after.get(name)))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
