"""What was compared with what, for a report that is read long afterwards: hashes, tensors, versions.

It holds no time, no host and no duration: the same files compared by the same versions give the same record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from resport.dtypes import OPAQUE
from resport.mapping import Move
from resport.verification.environment import environment
from resport.verification.pairing import Pair
from resport.verification.report import WeightsResult

EQUAL_TENSOR = "equal"
LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class ComparedTensor:
    """One row of the comparison: source tensors, the target tensor that they became, and whether it is right.

    Attributes:
        sources: names in the source; several where they are joined, none for a constant.
        target: name in the target, or None where the target has no place for it.
        shape: of the target tensor; of the source's where there is none.
        dtype: likewise.
        move: what is done to the values on the way.
        result: ``equal``, ``left out``, or the kind of the difference.
    """

    sources: tuple[str, ...]
    target: str | None
    shape: tuple[int, ...]
    dtype: str
    move: str
    result: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "sources": list(self.sources),
            "target": self.target,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "move": self.move,
            "result": self.result,
        }


@dataclass(frozen=True, slots=True)
class Record:
    """What was compared with what.

    Attributes:
        source_sha256: of the source's files, one after the other.
        target_sha256: of the target's files.
        table: name of the mapping table, or None where tensors were compared by name.
        table_sha256: of the table, and of what it shares with the others.
        environment: versions by name.
        tensors: every tensor of either side, in the target's order; then those that only the source has.
    """

    source_sha256: str
    target_sha256: str
    table: str | None
    table_sha256: str | None
    environment: Mapping[str, str]
    tensors: tuple[ComparedTensor, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "source_sha256": self.source_sha256,
            "target_sha256": self.target_sha256,
            "table": self.table,
            "table_sha256": self.table_sha256,
            "environment": dict(self.environment),
            "tensors": [tensor.to_dict() for tensor in self.tensors],
        }


def make_record(pair: Pair, weights: WeightsResult, source_sha256: str, target_sha256: str) -> Record:
    """Record a comparison.

    Args:
        pair: what was compared.
        weights: what came of it.
        source_sha256: of the source's files, one after the other.
        target_sha256: of the target's files.
    """
    table = pair.source_detection.table if pair.source_detection else None
    return Record(
        source_sha256=source_sha256,
        target_sha256=target_sha256,
        table=table.family if table else None,
        table_sha256=table.sha256 if table else None,
        environment=environment(),
        tensors=tuple(compared_tensors(pair, weights)),
    )


def compared_tensors(pair: Pair, weights: WeightsResult) -> Iterator[ComparedTensor]:
    """Every tensor of the comparison, each once.

    Args:
        pair: what was compared.
        weights: what came of it.
    """
    kinds = {difference.name: difference.kind for difference in weights.differences}
    plan = pair.plan
    origins = {target.name: move for move in plan.moves for target in move.targets}
    constants = {fill.target.name: fill.value for fill in plan.fills}
    for name, spec in plan.targets.items():
        move = origins.get(name)
        sources = move.sources if move else ()
        text = _move_text(pair, move, spec.dtype) if move else f"constant {constants[name]:g}"
        yield ComparedTensor(sources, name, spec.shape, spec.dtype, text, kinds.get(name, EQUAL_TENSOR))
    for name, spec in pair.target.manifest.items():
        if name not in plan.targets:
            result = kinds.get(name, LEFT_OUT)
            yield ComparedTensor((), name, spec.shape, spec.dtype, _extra_reason(result, spec.dtype), result)
    yield from _source_alone(pair)


def _source_alone(pair: Pair) -> Iterator[ComparedTensor]:
    """Source tensors that no target tensor is made of."""
    reasons = {check.source: f"must be {check.value:g} throughout" for check in pair.plan.checks}
    reasons |= {each.name: each.rule for each in pair.plan.ignored}
    for name, reason in reasons.items():
        spec = pair.source.manifest[name]
        yield ComparedTensor((name,), None, spec.shape, spec.dtype, reason, LEFT_OUT)


def _move_text(pair: Pair, move: Move, dtype: str) -> str:
    steps = [" ".join([each.op.replace("_", " "), *each.operands]) for each in move.adjustments]
    if move.axes is not None and not move.axes.is_identity:
        steps.append(move.axes.pattern)
    stored = pair.source.manifest[move.sources[0]].dtype
    if stored != dtype:
        steps.append(f"{stored} to {dtype}")
    return ", ".join(steps) or "as it is"


def _extra_reason(result: str, dtype: str) -> str:
    if result != LEFT_OUT:
        return "the source has no tensor for it"
    return f"{dtype}s are no weights" if dtype in OPAQUE else "no parameter"
