"""What a verification found: frozen values that print, serialise and raise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resport.errors import ParityError
from resport.verification.forward.evidence import EndPointDifference, ForwardResult
from resport.verification.mistakes.findings import Finding, SelfTestResult

if TYPE_CHECKING:
    from resport.verification.record import Record
    from resport.verification.references.changes import Change

__all__ = [
    "DIFFERENT",
    "EQUAL",
    "EndPointDifference",
    "ForwardResult",
    "Side",
    "TensorDifference",
    "VerificationReport",
    "WeightsResult",
]

EQUAL = "equal"
DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """One tensor that is not the same on both sides.

    Attributes:
        name: the tensor's name on the target's side.
        kind: ``missing``, ``unexpected``, ``shape``, ``dtype`` or ``values``.
        detail: what was expected and what came.
        max_abs_diff: the largest difference of two values, where they can be compared.
        n_different: how many values differ.
    """

    name: str
    kind: str
    detail: str
    max_abs_diff: float | None = None
    n_different: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "name": self.name,
            "kind": self.kind,
            "detail": self.detail,
            "max_abs_diff": self.max_abs_diff,
            "n_different": self.n_different,
        }


@dataclass(frozen=True, slots=True)
class WeightsResult:
    """The exact comparison of all tensors.

    Attributes:
        compared: how many tensors there were on either side.
        equal: how many are equal bit for bit.
        differences: the others, in the target's order.
    """

    compared: int
    equal: int
    differences: tuple[TensorDifference, ...]

    @property
    def is_equal(self) -> bool:
        """Whether something was compared and all of it is equal."""
        return self.compared > 0 and not self.differences

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "compared": self.compared,
            "equal": self.equal,
            "differences": [difference.to_dict() for difference in self.differences],
        }


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two checkpoints: path, format, and what it was detected as."""

    path: str
    format: str
    family: str | None
    variant: str | None
    dialect: str | None
    num_classes: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The verdict on two checkpoints, and the evidence.

    Attributes:
        source: the reference.
        target: what is judged.
        weights: the exact comparison of the tensors.
        forward: the comparison of forward passes, or None.
        forward_reason: why there is none.
        options: the options of the conversion that were taken into account.
        seconds: wall time.
        notes: what else is to be known.
        probe: the comparison of forward passes with random, sensitive weights in place of the file's own, or None.
        self_test: the known mistakes made on purpose, or None.
        diagnosis: explanations of a difference.
        record: files' sha256, every tensor, versions; None where it wasn't made.
        weights_reason: why no tensors were compared, or None.
        changes: what changed since a stored reference was made.
    """

    source: Side
    target: Side
    weights: WeightsResult
    forward: ForwardResult | None
    forward_reason: str | None
    options: Mapping[str, str | bool]
    seconds: float
    notes: tuple[str, ...] = field(default=())
    probe: ForwardResult | None = None
    self_test: SelfTestResult | None = None
    diagnosis: tuple[Finding, ...] = ()
    record: Record | None = None
    weights_reason: str | None = None
    changes: tuple[Change, ...] = ()

    @property
    def verdict(self) -> str:
        """``equal`` or ``different``."""
        passes = [each for each in (self.forward, self.probe) if each is not None]
        # Where no tensors can be compared the networks have to prove it alone.
        weights_equal = bool(passes) if self.weights_reason is not None else self.weights.is_equal
        return EQUAL if weights_equal and all(each.is_equal for each in passes) else DIFFERENT

    def raise_for_difference(self) -> None:
        """Raise unless the verdict is ``equal``.

        Raises:
            ParityError: it names the first end point or tensor that differs.
        """
        if self.verdict == EQUAL:
            return
        for result, what in ((self.forward, "outputs differ"), (self.probe, "outputs with random weights differ")):
            if result is not None and not result.is_equal:
                raise ParityError(f"{what}{_where(result)}", report=self, hint=self._remedy, **_measured(result))
        if self.weights.differences:
            worst = self.weights.differences[0]
            raise ParityError(
                f"{len(self.weights.differences)} of {self.weights.compared} tensors differ, first `{worst.name}`",
                got=worst.detail,
                hint=self._remedy,
                report=self,
            )
        raise ParityError("nothing was found that could be compared", report=self)

    @property
    def _remedy(self) -> str | None:
        """What mends the difference, where the diagnosis knows."""
        return "; ".join(finding.remedy for finding in self.diagnosis if finding.remedy) or None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "verdict": self.verdict,
            "source": self.source.to_dict(),
            "target": self.target.to_dict(),
            "weights": self.weights.to_dict(),
            "forward": self.forward.to_dict() if self.forward else None,
            "forward_reason": self.forward_reason,
            "probe": self.probe.to_dict() if self.probe else None,
            "self_test": self.self_test.to_dict() if self.self_test else None,
            "diagnosis": [finding.to_dict() for finding in self.diagnosis],
            "record": self.record.to_dict() if self.record else None,
            "weights_reason": self.weights_reason,
            "changes": [change.to_dict() for change in self.changes],
            "options": dict(self.options),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


def _where(result: ForwardResult) -> str:
    first = result.first_divergence
    return f", first at `{first.name}` ({first.input_size} x {first.input_size})" if first else ""


def _measured(result: ForwardResult) -> dict[str, str]:
    """What was allowed at the first end point that differs, and what came."""
    first = result.first_divergence
    if first is None:
        return {"expected": "end points that both networks have", "got": "none"}
    if first in result.float64:
        limit, dtype = result.limit, "float64"
    else:
        limit, dtype = result.float32_limit, "float32"
    tolerance = first.max_abs_diff if first.tolerance is None else first.tolerance
    return {
        "expected": f"a relative difference of at most {limit:.1e} in {dtype}",
        "got": f"{first.max_rel_diff:.1e}; the smallest tolerance that would pass is {tolerance:.1e}",
    }
