"""Make a checkpoint of random, sensitive weights for a variant, from its table alone: no framework is needed.

The weights are such that mistakes show. Every tensor has values of its own; no bias is zero, no variance one, some
gammas are negative. Freshly initialised networks hide swaps: with gamma and variance both one, exchanging them changes
nothing.
"""

from __future__ import annotations

import math
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from resport.errors import OptionError
from resport.formats import open_writer
from resport.mapping import Expansion, Table, expand, load_table, shipped_tables
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import numpy as np

DEFAULT_CLASSES = 1000


def initialize(
    variant: str,
    target: str | os.PathLike[str],
    *,
    dialect: str = "slim",
    seed: int = 0,
    num_classes: int = DEFAULT_CLASSES,
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
        dtype: of every tensor.
        table: a table of one's own that has the variant.
        force: replace an existing target.

    Returns:
        What was written.

    Raises:
        OptionError: no such variant or dialect, or its table doesn't tell all shapes.
        TargetExistsError: the target exists.
    """
    expansion = expand(table_of_variant(variant, table), variant)
    specs = Manifest(variant_specs(expansion, dialect, num_classes, dtype))
    with open_writer(target, specs.values(), force=force) as writer:
        for spec in specs.values():
            writer.write(spec.name, random_tensor(spec.name, spec.shape, seed).astype(dtype))
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


def variant_specs(expansion: Expansion, dialect: str, num_classes: int, dtype: str = "float32") -> list[TensorSpec]:
    """Specs of every tensor of a variant in a dialect.

    Raises:
        OptionError: the dialect is no column of the table, or the table doesn't tell a shape.
    """
    if dialect not in expansion.by_name:
        known = ", ".join(expansion.by_name)
        raise OptionError(f"`{expansion.variant}` has no dialect `{dialect}`", expected=known, got=dialect)
    specs = []
    for name in expansion.names(dialect):
        shape = expansion.by_name[dialect][name].shape(dialect, num_classes)
        if shape is None:
            raise OptionError(
                f"the table of `{expansion.variant}` doesn't tell the shape of `{name}`",
                hint=f"give sizes behind the axes of its row in {expansion.table.path}",
            )
        specs.append(TensorSpec(name, shape, dtype))
    return specs


def random_tensor(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Random weights on which every mistake shows.

    Args:
        name: the tensor's name; its last word tells what it is, and the whole of it goes into the seed.
        shape: its shape; of a kernel the last axis counts the outputs.
        seed: the same seed gives the same values in any order of calls.

    Returns:
        float64 values.
    """
    import numpy as np

    values: np.ndarray
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    word = name.replace(".", "/").rpartition("/")[2]
    if word in ("moving_variance", "running_var"):
        values = generator.uniform(0.5, 1.5, shape)
    elif word == "gamma" or (word == "weight" and len(shape) == 1):
        values = generator.uniform(0.6, 1.2, shape) * generator.choice([1.0, 1.0, 1.0, -1.0], shape)
    elif len(shape) <= 1:
        values = generator.normal(0.0, 0.2, shape)
    else:
        values = generator.normal(0.0, math.sqrt(2.0 / max(math.prod(shape[:-1]), 1)), shape)
    return values
