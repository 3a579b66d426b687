"""The whole conversion before its first byte: which tensor goes where, by which move, with every problem at once.

A plan is made of names, shapes and dtypes alone. Each source tensor is moved, checked against a constant, or ignored by
a named rule; each target tensor comes from a move or is filled with a constant. What is left over on either side is
a problem, and a plan with a problem is not carried out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from resport.dtypes import FLOATING, OPAQUE, dtype_named
from resport.errors import OptionError, PlanError
from resport.mapping.axes import AxisMove
from resport.tensors import Manifest, TensorSpec


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What a conversion is asked to change, or to leave out.

    Attributes:
        drop_background: cut class 0 off the classifier (1001 classes become 1000).
        ema: take the moving averages in place of the raw variables.
        fold: take tensors that the target has no place for into those that it has.
        dtype: store floating-point tensors as this dtype.
        ignore: globs of names to leave out, on either side.
        swap_rgb: turn the input's colour channels round (RGB to BGR and back).

    Raises:
        OptionError: ``dtype`` is no floating-point dtype.
    """

    drop_background: bool = False
    ema: bool = False
    fold: bool = False
    dtype: str | None = None
    ignore: tuple[str, ...] = ()
    swap_rgb: bool = False

    def __post_init__(self) -> None:
        if self.dtype is not None and dtype_named(self.dtype).name not in FLOATING:
            known = ", ".join(sorted(FLOATING))
            raise OptionError(f"`{self.dtype}` is no floating-point dtype", expected=f"one of {known}", got=self.dtype)

    def value_changes(self) -> dict[str, str | bool]:
        """The options that change values, as provenance and reports name them."""
        changes: dict[str, str | bool] = {
            name: True for name in ("drop_background", "swap_rgb", "ema", "fold") if getattr(self, name)
        }
        if self.dtype is not None:
            changes["dtype"] = self.dtype
        return changes


class Adjustment(NamedTuple):
    """An operation on a source tensor before it moves: its name in ``OPERATIONS`` and what it takes beside the tensor.

    Attributes:
        op: the name.
        operands: names of other tensors.
        axis: the axis that it acts on, of one that acts on an axis.
        value: a number, of one that takes a number.
    """

    op: str
    operands: tuple[str, ...] = ()
    axis: int | None = None
    value: float | None = None


class Move(NamedTuple):
    """Source tensors that become target tensors.

    Attributes:
        sources: names to read; several are stacked.
        targets: specs to write; several are what the result is split into.
        axes: the move of the axes; None where the values stay as they are.
        adjustments: operations on the source, in order.
    """

    sources: tuple[str, ...]
    targets: tuple[TensorSpec, ...]
    axes: AxisMove | None = None
    adjustments: tuple[Adjustment, ...] = ()


class Fill(NamedTuple):
    """A target tensor that the source dialect has no tensor for: every element is ``value``."""

    target: TensorSpec
    value: float


class Check(NamedTuple):
    """A source tensor that the target dialect has no tensor for: every element must be ``value``."""

    source: str
    value: float
    foldable: bool


class Ignored(NamedTuple):
    """A source tensor that is left out, and the rule that says so."""

    name: str
    rule: str


class Plan(NamedTuple):
    """A conversion that can be carried out.

    Attributes:
        moves: in the target's order.
        fills: target tensors that are constants.
        checks: source tensors that must be constants.
        ignored: source tensors that are left out.
        targets: specs of the target, in its order.
        shadowed: names whose moving average is taken.
        family: the table's family, or None where nothing is renamed; the next three likewise.
        variant: the variant.
        source_dialect: whose names the source has.
        target_dialect: whose names the target gets.
    """

    moves: tuple[Move, ...]
    targets: Manifest
    fills: tuple[Fill, ...] = ()
    checks: tuple[Check, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    shadowed: tuple[str, ...] = ()
    family: str | None = None
    variant: str | None = None
    source_dialect: str | None = None
    target_dialect: str | None = None


def plan_copy(source: Manifest, options: PlanOptions | None = None) -> Plan:
    """Plan a conversion that renames nothing: every tensor goes over as it is.

    Args:
        source: what is there.
        options: ``dtype`` and ``ignore``; the others need a table.

    Raises:
        PlanError: nothing is left to move.
    """
    options = options or PlanOptions()
    moves: list[Move] = []
    ignored: list[Ignored] = []
    for name, spec in source.items():
        rule = _leave_out(spec, options.ignore)
        if rule:
            ignored.append(Ignored(name, rule))
        else:
            moves.append(Move((name,), (stored(spec, options.dtype),)))
    if not moves:
        raise PlanError(
            "there is nothing to move", problems=[f"ignored: {each.name} ({each.rule})" for each in ignored]
        )
    return Plan(tuple(moves), Manifest(move.targets[0] for move in moves), ignored=tuple(ignored))


def stored(spec: TensorSpec, dtype: str | None) -> TensorSpec:
    """The spec as it is stored when floating-point tensors are cast to ``dtype``."""
    if dtype is None or spec.dtype not in FLOATING:
        return spec
    return TensorSpec(spec.name, spec.shape, dtype)


def _leave_out(spec: TensorSpec, globs: Iterable[str]) -> str | None:
    """The rule by which a tensor is left out of every conversion, or None."""
    if spec.dtype in OPAQUE:
        return f"{spec.dtype}s are no weights"
    return ignore_rule(spec.name, globs)


def ignore_rule(name: str, globs: Iterable[str]) -> str | None:
    """The ``--ignore`` that a name falls under, or None."""
    return next((f"--ignore {glob}" for glob in globs if fnmatchcase(name, glob)), None)
