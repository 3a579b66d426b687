"""What the self-test and the diagnosis found: frozen values that serialise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class MutantResult:
    """One wrong conversion, made on purpose, and what the checks said of it.

    Attributes:
        kind: id of the mistake, ``bn-gamma-variance``.
        description: what was done to which tensors or nodes.
        caught: whether a check that runs in earnest flagged it.
        check: the check that did: ``weights``, ``forward`` or ``probe``; the forward ones where several did.
        margin: its measured difference over the limit of that check; above 1 is caught.
        first_divergence: the first end point that differs, or None.
        diagnosed: kind that the diagnosis named, or None where it wasn't asked or found none.
    """

    kind: str
    description: str
    caught: bool
    check: str
    margin: float
    first_divergence: str | None = None
    diagnosed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class SelfTestResult:
    """Every known mistake made on purpose: the check can fail, and does.

    Attributes:
        results: one for each mutant.
        not_applicable: kinds that this network has no place for, with the reason.
    """

    results: tuple[MutantResult, ...]
    not_applicable: dict[str, str]

    @property
    def caught(self) -> int:
        """How many mutants were caught."""
        return sum(result.caught for result in self.results)

    @property
    def smallest_margin(self) -> float:
        """How far the mutant that was closest to being missed lay above its limit."""
        return min((result.margin for result in self.results), default=0.0)

    @property
    def is_passed(self) -> bool:
        """Whether there were mutants and all were caught."""
        return 0 < len(self.results) == self.caught

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "mutants": len(self.results),
            "caught": self.caught,
            "smallest_margin": self.smallest_margin,
            "results": [result.to_dict() for result in self.results],
            "not_applicable": dict(self.not_applicable),
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """One explanation of a difference.

    Attributes:
        kinds: ids of the mistakes that, undone together, make the difference vanish; empty where none of them fits.
        sentence: what is wrong, naming tensors.
        remedy: the option or edit that mends it.
        before: the largest relative difference (float64) as the target is.
        after: the same with the mistakes undone.
    """

    kinds: tuple[str, ...]
    sentence: str
    remedy: str
    before: float
    after: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {name: getattr(self, name) for name in self.__slots__} | {"kinds": list(self.kinds)}
