"""What a verification found: frozen values that print, serialise and raise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resport.errors import ParityError
from resport.verification.findings import Finding, SelfTestResult

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
class EndPointDifference:
    """One end point of the two networks compared.

    Attributes:
        name: its name, the same on both sides.
        input_size: height and width of the images.
        max_abs_diff: largest difference of two values.
        max_rel_diff: that, over the reference's largest absolute value.
        mean_abs_diff: mean difference.
    """

    name: str
    input_size: int
    max_abs_diff: float
    max_rel_diff: float
    mean_abs_diff: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "name": self.name,
            "input_size": self.input_size,
            "max_abs_diff": self.max_abs_diff,
            "max_rel_diff": self.max_rel_diff,
            "mean_abs_diff": self.mean_abs_diff,
        }


@dataclass(frozen=True, slots=True)
class ForwardResult:
    """Forward passes of both networks compared at every shared end point.

    Attributes:
        float64: each end point at each input size, in network order, computed in float64.
        float32: the same in float32.
        noise_floor: largest relative difference of the source's float32 outputs from its own float64 outputs.
        limit: relative difference in float64 above which two end points differ.
        limit_reason: why that limit.
        input_sizes: heights and widths of the images.
        batch_size: images in each pass.
    """

    float64: tuple[EndPointDifference, ...]
    float32: tuple[EndPointDifference, ...]
    noise_floor: float
    limit: float
    limit_reason: str
    float32_ratio_limit: float
    input_sizes: tuple[int, ...]
    batch_size: int

    @property
    def ratio(self) -> float:
        """The float32 difference over the noise floor."""
        worst = max(point.max_rel_diff for point in self.float32)
        return worst / self.noise_floor if self.noise_floor else (0.0 if worst == 0 else float("inf"))

    @property
    def first_divergence(self) -> EndPointDifference | None:
        """The first end point, walking through the network, that differs in float64."""
        return next((point for point in self.float64 if not point.max_rel_diff <= self.limit), None)

    @property
    def is_equal(self) -> bool:
        """Whether every end point agrees in both dtypes."""
        return self.first_divergence is None and self.ratio <= self.float32_ratio_limit

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        first = self.first_divergence
        return {
            "float64": {**_worst(self.float64), "limit": self.limit, "limit_reason": self.limit_reason},
            "float32": {**_worst(self.float32), "noise_floor": self.noise_floor, "ratio": self.ratio},
            "end_points": [point.to_dict() for point in self.float64],
            "first_divergence": first.to_dict() if first else None,
            "input_sizes": list(self.input_sizes),
            "batch_size": self.batch_size,
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

    @property
    def verdict(self) -> str:
        """``equal`` or ``different``."""
        passes = (self.forward, self.probe)
        forward_equal = all(each is None or each.is_equal for each in passes)
        return EQUAL if self.weights.is_equal and forward_equal else DIFFERENT

    def raise_for_difference(self) -> None:
        """Raise unless the verdict is ``equal``.

        Raises:
            ParityError: it names the first end point or tensor that differs.
        """
        if self.verdict == EQUAL:
            return
        first = self.forward.first_divergence if self.forward else None
        if first is not None and self.forward is not None:
            raise ParityError(
                f"outputs differ, first at `{first.name}`",
                expected=f"relative difference at most {self.forward.limit:.1e}",
                got=f"{first.max_rel_diff:.1e}",
                report=self,
            )
        if self.weights.differences:
            worst = self.weights.differences[0]
            raise ParityError(
                f"{len(self.weights.differences)} of {self.weights.compared} tensors differ, first `{worst.name}`",
                got=worst.detail,
                report=self,
            )
        raise ParityError("nothing was found that could be compared, or float32 outputs differ", report=self)

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
            "options": dict(self.options),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


def _worst(points: tuple[EndPointDifference, ...]) -> dict[str, float]:
    return {
        "max_abs_diff": max(point.max_abs_diff for point in points),
        "max_rel_diff": max(point.max_rel_diff for point in points),
    }
