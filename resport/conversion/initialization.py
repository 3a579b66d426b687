"""Make a checkpoint of random, sensitive weights for a variant, from its table alone: no framework is needed.

The values are those of ``resport.tensors.random_tensor``, such that every mistake of a conversion shows.
"""

from __future__ import annotations

import os
from pathlib import Path

from resport.errors import OptionError
from resport.formats import open_writer
from resport.mapping import Expansion, Table, expand, load_table, shipped_tables
from resport.mapping.expansion import DEFAULT_CLASSES
from resport.mapping.tables import CLASSES, EMBEDDING
from resport.tensors import Manifest, TensorSpec, random_tensor

DEFAULT_EMBEDDING = 512


def initialize(
    variant: str,
    target: str | os.PathLike[str],
    *,
    dialect: str = "slim",
    seed: int = 0,
    num_classes: int = DEFAULT_CLASSES,
    embedding_size: int = DEFAULT_EMBEDDING,
    dtype: str = "float32",
    table: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> Manifest:
    """Write a checkpoint of random weights.

    Args:
        variant: the network, ``resnet_v2_50``.
        target: the file to write, or the prefix of a TensorFlow checkpoint.
        dialect: whose names it gets.
        seed: the same seed gives the same bytes.
        num_classes: size of the classifier.
        embedding_size: number of values of the embedding, in networks that have one.
        dtype: of every tensor.
        table: a table of one's own that has the variant.
        force: replace an existing target.

    Returns:
        What was written.

    Raises:
        OptionError: no such variant or dialect, or its table doesn't tell all shapes.
        TargetExistsError: the target exists.
    """
    expansion = expand(table_of_variant(variant, table), variant, num_classes=num_classes)
    specs = Manifest(variant_specs(expansion, dialect, num_classes, dtype, embedding_size))
    with open_writer(target, specs.values(), force=force) as writer:
        for spec in specs.values():
            parameter = expansion.by_name[dialect][spec.name]
            values = parameter.axes[dialect].on_diagonal(random_tensor(spec.name, spec.shape, seed), parameter.sizes)
            writer.write(spec.name, values.astype(dtype))
    return specs


def table_of_variant(variant: str, table: str | os.PathLike[str] | None = None) -> Table:
    """The table that has a variant: the given one, or one of the shipped ones.

    Raises:
        OptionError: none has.
    """
    tables = shipped_tables() if table is None else (load_table(Path(table)),)
    for each in tables:
        if variant in each.variants:
            return each
    known = ", ".join(name for each in tables for name in each.variants)
    raise OptionError(f"there is no variant `{variant}`", expected=known, got=variant, hint="resport mappings list")


def variant_specs(
    expansion: Expansion,
    dialect: str,
    num_classes: int,
    dtype: str = "float32",
    embedding_size: int = DEFAULT_EMBEDDING,
) -> list[TensorSpec]:
    """Specs of every tensor of a variant in a dialect.

    Raises:
        OptionError: the dialect is no column of the table, or the table doesn't tell a shape.
    """
    if dialect not in expansion.by_name:
        known = ", ".join(expansion.by_name)
        raise OptionError(f"`{expansion.variant}` has no dialect `{dialect}`", expected=known, got=dialect)
    measured = {CLASSES: num_classes, EMBEDDING: embedding_size}
    specs = []
    for name in expansion.names(dialect):
        shape = expansion.by_name[dialect][name].shape(dialect, measured)
        if shape is None:
            raise OptionError(
                f"the table of `{expansion.variant}` doesn't tell the shape of `{name}`",
                hint=f"give sizes behind the axes of its row in {expansion.table.path}",
            )
        specs.append(TensorSpec(name, shape, dtype))
    return specs
