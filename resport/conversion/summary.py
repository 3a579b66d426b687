"""Hundreds of tensors as a few rows: names that differ only by numbers or by their last word share one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from resport.mapping.folding import fold_digits, fold_numbers
from resport.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class TensorRow:
    """Tensors that are listed on one row.

    Attributes:
        name: their names, folded: ``block{1..4}/unit_{1..6}/preact/{gamma,beta}``.
        shape: their shape, or the first and the last of several.
        dtype: their dtype.
        count: how many they are.
        nbytes: bytes of them all.
        role: what they are for.
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
        roles: what each is for, by name.
    """
    by_number: dict[tuple[str, str, str], list[TensorSpec]] = {}
    for spec in specs:
        key = (fold_digits(spec.name), spec.dtype, roles[spec.name])
        by_number.setdefault(key, []).append(spec)
    siblings: dict[tuple[object, ...], list[list[TensorSpec]]] = {}
    for (name, dtype, role), members in by_number.items():
        parent = name.rpartition("/")[0]
        shapes = tuple(spec.shape for spec in members)
        # A name without a parent has no siblings: fold it with nothing.
        siblings.setdefault((parent or name, shapes, dtype, role), []).append(members)
    return [_row(groups, str(key[2]), str(key[3])) for key, groups in siblings.items()]


def _row(groups: list[list[TensorSpec]], dtype: str, role: str) -> TensorRow:
    members = [spec for group in groups for spec in group]
    folded = [fold_numbers([spec.name for spec in group]) for group in groups]
    name = folded[0]
    if len(folded) > 1:
        words = ",".join(each.rpartition("/")[2] for each in folded)
        name = f"{name.rpartition('/')[0]}/{{{words}}}"
    shapes = list(dict.fromkeys(spec.shape for spec in members))
    shape = str(shapes[0]) if len(shapes) == 1 else f"{shapes[0]} … {shapes[-1]}"
    return TensorRow(name, shape, dtype, len(members), sum(spec.nbytes for spec in members), role)
