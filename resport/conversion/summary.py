"""Hundreds of tensors as a few rows: names that differ only by numbers or by their last word share one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from resport.mapping.folding import fold_digits, fold_numbers
from resport.mapping.roles import STATISTIC, WEIGHT
from resport.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class TensorRow:
    """Tensors that are listed on one row.

    Attributes:
        name: their names, folded: ``block{1..4}/unit_{1..6}/preact/{gamma,beta}``.
        shape: their shape, or the range of each axis: ``(1, 1, 64…2048, 64…512)``.
        dtype: their dtype.
        count: how many they are.
        nbytes: bytes of them all.
        role: what they are for; several where parameters and statistics share the row.
    """

    name: str
    shape: str
    dtype: str
    count: int
    nbytes: int
    role: str


def summarise(specs: Iterable[TensorSpec], roles: Mapping[str, str]) -> list[TensorRow]:
    """Fold specs into rows, in the order of the first of each.

    Args:
        specs: the tensors.
        roles: what each is for, by name; the parameters and the statistics of one layer may share a row.
    """
    by_number: dict[tuple[str, str, str], list[TensorSpec]] = {}
    for spec in specs:
        role = roles[spec.name]
        key = (fold_digits(spec.name), spec.dtype, "" if role in (WEIGHT, STATISTIC) else role)
        by_number.setdefault(key, []).append(spec)
    siblings: dict[tuple[object, ...], list[list[TensorSpec]]] = {}
    for (name, dtype, role), members in by_number.items():
        parent = name.rpartition("/")[0]
        shapes = tuple(spec.shape for spec in members)
        # A name without a parent has no siblings: fold it with nothing.
        siblings.setdefault((parent or name, shapes, dtype, role), []).append(members)
    return [_row(groups, roles) for groups in siblings.values()]


def _row(groups: list[list[TensorSpec]], roles: Mapping[str, str]) -> TensorRow:
    members = [spec for group in groups for spec in group]
    folded = [fold_numbers([spec.name for spec in group]) for group in groups]
    name = folded[0]
    if len(folded) > 1:
        words = ",".join(each.rpartition("/")[2] for each in folded)
        name = f"{name.rpartition('/')[0]}/{{{words}}}"
    return TensorRow(
        name,
        _shapes([spec.shape for spec in members]),
        members[0].dtype,
        len(members),
        sum(spec.nbytes for spec in members),
        ", ".join(dict.fromkeys(roles[spec.name] for spec in members)),
    )


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    """One shape, or the range of each axis where all have the same number of them."""
    if len(set(shapes)) == 1:
        return str(shapes[0])
    if len({len(shape) for shape in shapes}) > 1:
        return "several"
    ranges = [(min(sizes), max(sizes)) for sizes in zip(*shapes, strict=True)]
    axes = [str(low) if low == high else f"{low}…{high}" for low, high in ranges]
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
