"""What a conversion did, as a value that prints, compares and serialises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resport.conversion.odd_values import OddValues
from resport.mapping.plan import Fill, Ignored


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What a conversion did, or with ``dry_run`` would do.

    Attributes:
        source: path read.
        source_format: id of its format.
        target: path written.
        target_format: id of its format.
        family: the table's family; None, like the next three, where nothing was renamed.
        variant: the variant.
        source_dialect: whose names the source has.
        target_dialect: whose names the target has.
        num_classes: classes of the source's classifier, where there is one.
        moved: number of source tensors whose values are in the target.
        n_targets: number of tensors in the target.
        ignored: source tensors left out, each with its rule.
        filled: target tensors that are constants.
        options: the options that changed values, or told how to read them.
        nbytes: bytes of values in the target.
        seconds: wall time.
        warnings: what the user should know, a sentence each.
        dry_run: nothing was written.
        evidence: what the detection rests on.
        odd_values: target tensors with values that are no finite numbers.
        target_sha256: of the files one after the other; None where they were not read again, or it was not wanted.
        n_resumed: number of tensors in the target that an interrupted conversion had written, and were found true.
        resumed_nbytes: bytes of their values.
    """

    source: str
    source_format: str
    target: str
    target_format: str
    family: str | None
    variant: str | None
    source_dialect: str | None
    target_dialect: str | None
    num_classes: int | None
    moved: int
    n_targets: int
    ignored: tuple[Ignored, ...]
    filled: tuple[Fill, ...]
    options: Mapping[str, str | bool | float]
    nbytes: int
    seconds: float
    warnings: tuple[str, ...] = ()
    dry_run: bool = False
    evidence: tuple[str, ...] = field(default=())
    odd_values: tuple[OddValues, ...] = ()
    target_sha256: str | None = None
    n_resumed: int = 0
    resumed_nbytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "source": self.source,
            "source_format": self.source_format,
            "target": self.target,
            "target_format": self.target_format,
            "family": self.family,
            "variant": self.variant,
            "from": self.source_dialect,
            "to": self.target_dialect,
            "num_classes": self.num_classes,
            "moved": self.moved,
            "n_targets": self.n_targets,
            "ignored": [{"name": each.name, "rule": each.rule} for each in self.ignored],
            "filled": [{"name": each.target.name, "value": each.value} for each in self.filled],
            "options": dict(self.options),
            "nbytes": self.nbytes,
            "seconds": round(self.seconds, 4),
            "warnings": list(self.warnings),
            "dry_run": self.dry_run,
            "evidence": list(self.evidence),
            "odd_values": [each.to_dict() for each in self.odd_values],
            "target_sha256": self.target_sha256,
            "n_resumed": self.n_resumed,
            "resumed_nbytes": self.resumed_nbytes,
        }
