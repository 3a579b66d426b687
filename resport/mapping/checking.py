"""Check whole tables: every variant expands, every constant has a shape, and names and shapes equal a checkpoint's."""

from __future__ import annotations

from collections.abc import Iterator

from resport.errors import PlanError, TableError
from resport.mapping.detection import Detection
from resport.mapping.expansion import Expansion, expand
from resport.mapping.folding import fold_names, shortened
from resport.mapping.planning import plan_conversion
from resport.mapping.tables import CLASSES, EMBEDDING, Table
from resport.tensors import Manifest, TensorSpec

CHECK_CLASSES = 10
"""Any class count does to see whether shapes come out."""

CHECK_EMBEDDING = 128
"""Likewise any size of an embedding."""

CHECK_SIZES = {CLASSES: CHECK_CLASSES, EMBEDDING: CHECK_EMBEDDING}


_MEASURED = ((CLASSES, CHECK_CLASSES, "classes"), (EMBEDDING, CHECK_EMBEDDING, "values of the embedding"))


def check_table(table: Table) -> list[str]:
    """Expand all variants and plan every pair of dialects, as far as the table tells shapes.

    Args:
        table: the table.

    Returns:
        A line for each variant: its dialects with their numbers of tensors and values.

    Raises:
        TableError: a variant does not expand, or a conversion between two dialects cannot be planned.
    """
    lines = []
    for variant in table.variants:
        expansion = expand(table, variant, num_classes=CHECK_CLASSES)
        expansion.check()
        for source in table.dialects:
            specs = known_specs(expansion, source)
            if specs is not None:
                _check_pairs(expansion, source, specs)
        lines.append(f"{variant}: {', '.join(_counts(expansion))}")
    return lines


def check_against(detection: Detection, manifest: Manifest) -> list[str]:
    """How a variant differs from the names and shapes of a real checkpoint; empty when it doesn't.

    Args:
        detection: what the checkpoint was found to be.
        manifest: the checkpoint's.
    """
    try:
        plan_conversion(manifest, detection.expand(), detection.dialect, detection.dialect)
    except PlanError as error:
        return list(error.problems)
    return []


def known_specs(
    expansion: Expansion, dialect: str, num_classes: int = CHECK_CLASSES, embedding_size: int = CHECK_EMBEDDING
) -> Manifest | None:
    """Specs of a dialect's tensors, or None where the table leaves a shape open."""
    measured = {CLASSES: num_classes, EMBEDDING: embedding_size}
    specs = []
    for name in expansion.names(dialect):
        shape = expansion.by_name[dialect][name].shape(dialect, measured)
        if shape is None:
            return None
        specs.append(TensorSpec(name, shape, "float32"))
    return Manifest(specs)


def _check_pairs(expansion: Expansion, source: str, specs: Manifest) -> None:
    for target in expansion.table.dialects:
        try:
            plan_conversion(specs, expansion, source, target)
        except PlanError as error:
            problems = "; ".join(shortened(fold_names(line.strip() for line in error.problems), 3))
            raise TableError(
                f"{expansion.variant} cannot be planned from {source} to {target}: {problems}",
                file=expansion.table.path,
            ) from None


def _counts(expansion: Expansion) -> Iterator[str]:
    for dialect in expansion.table.dialects:
        specs = known_specs(expansion, dialect)
        n_tensors = len(expansion.by_name[dialect])
        if specs is None:
            yield f"{dialect} {n_tensors} tensors"
            continue
        axes = {name for parameter in expansion.parameters for name in parameter.axes[dialect].names}
        at = [f"{size} {what}" for axis, size, what in _MEASURED if axis in axes]
        values = f"{sum(spec.size for spec in specs.values()):,} values"
        yield f"{dialect} {n_tensors} tensors ({values}{' at ' + ', '.join(at) if at else ''})"
