"""The order of layers that some formats go by, where it isn't that of the rows: ``[order]`` of a table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from resport.errors import TableError
from resport.mapping.counts import combinations
from resport.mapping.tables import CLASSES
from resport.mapping.templates import Template

if TYPE_CHECKING:
    from resport.mapping.expansion import Expansion


def layer_of(name: str) -> str:
    """The layer that a tensor belongs to: its name up to the last ``/`` or, where there is none, the last ``.``."""
    separator = "/" if "/" in name else "."
    return name.rpartition(separator)[0]


def layer_positions(expansion: Expansion, dialect: str) -> dict[str, int]:
    """Place of each layer in the order that the table gives; every layer must have exactly one."""
    layers = dict.fromkeys(layer_of(name) for name in expansion.by_name[dialect])
    position: dict[str, int] = {}
    for layer in _ordered_layers(expansion, dialect):
        if layer in layers and layer not in position:
            position[layer] = len(position)
    lacking = [layer for layer in layers if layer not in position]
    if lacking:
        raise TableError(f"[order] {dialect} has no place for layer `{lacking[0]}`", file=expansion.table.path)
    return position


def _ordered_layers(expansion: Expansion, dialect: str) -> Iterator[str]:
    """Fill the patterns of ``[order]``: a run of patterns with the same holes is repeated as one for each number."""
    table = expansion.table
    counts = expansion.counts
    root = expansion.roots[dialect]
    for holes, templates in groupby(table.order[dialect], key=_index_holes):
        run = list(templates)
        # The group that runs over these indices knows which is the outer one.
        group = next((group for group in table.groups if holes.issubset(group.over)), None)
        if group is None:
            raise TableError(f"[order] {dialect}: no group runs over {' and '.join(sorted(holes))}", file=table.path)
        over = [index for index in group.over if index in holes]
        for indices in combinations(table, group, counts, over):
            try:
                yield from (root + template.fill({**indices, **expansion.texts}) for template in run)
            except ValueError as error:
                raise TableError(f"[order] {dialect}: {error}", file=table.path) from None


def _index_holes(template: Template) -> frozenset[str]:
    return template.depends_on - {"variant", CLASSES}
