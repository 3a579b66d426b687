"""A small family that uses most of what the table language has, and ways to fill it with values."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np

from resport.conversion.stream import filled, moved
from resport.mapping import Expansion, Plan
from resport.mapping.checking import known_specs
from resport.tensors import Manifest, TensorSpec

TOY = """\
family  = "toy"
columns = ["slim", "keras", "axes"]

[variants]
toy_a = { b = 2, u = [2, 1] }
toy_b = { b = 3, u = 1 }

[root]
slim = "{variant}/"

[sizes]
width = [4, 8]

[[group]]
rows = [
  ["stem/weights", "stem/kernel", "conv 3 3 3 4"],
]

[[group]]
over   = ["b", "u"]
prefix = ["block{b}/unit_{u}/", "stage{b+1}_{u}_"]
rows   = [
  ["conv/weights",        "conv/kernel", "conv 1 1 width width"],
  ["=0",                  "conv/bias",   "bias width"],
  ["conv/BatchNorm/{bn}", "bn/{bn}",     "vector width"],
]
folds = [{ dialect = "keras", op = "bias_into_mean", into = "bn/moving_mean", with = ["conv/bias"] }]

[[group]]
optional = true
rows = [
  ["logits/weights", "top/kernel", "head 8 classes"],
  ["logits/biases",  "top/bias",   "classes classes"],
]
"""
"""Two columns, dependent counts, a constant with its fold, words, a classifier."""

PATHS = """\
family  = "paths"
columns = ["split", "joined", "stacked", "keras", "axes"]

[variants]
paths_3 = { b = 2, g = 3 }

[axes.grouped]
split   = "h w i o"
joined  = "h w i (g o)"
stacked = "(g i) o h w"
keras   = "o h w i"

[[group]]
over   = ["b", "g"]
prefix = ["block{b}/", "b{b}.", "layer{b}/", "block{b}/"]
rows   = [
  ["path_{g}/weights", "conv.weight", "kernel", "path_{g}/kernel", "grouped 3 3 2 5"],
]
"""
"""One against many: two dialects have a tensor for each path, two have one for them all."""


def manifest_of(expansion: Expansion, dialect: str, num_classes: int = 10, without: str = "") -> Manifest:
    """The manifest of a complete checkpoint, or one without the names that contain a text."""
    specs = known_specs(expansion, dialect, num_classes)
    assert specs is not None
    return Manifest(spec for name, spec in specs.items() if not without or without not in name)


def changed(manifest: Manifest, *added: TensorSpec, without: tuple[str, ...] = ()) -> Manifest:
    """A manifest with tensors added (or replaced, where the name is there) and left out."""
    specs = {name: spec for name, spec in manifest.items() if name not in without}
    specs.update({spec.name: spec for spec in added})
    return Manifest(specs.values())


def values_of(manifest: Manifest) -> dict[str, np.ndarray]:
    """Values that differ from each other everywhere: a tensor at the wrong place or turned round shows."""
    return {
        name: (zlib.crc32(name.encode()) % 10_000 + np.arange(math.prod(spec.shape))).reshape(spec.shape).astype("f4")
        for name, spec in manifest.items()
    }


def carried_out(plan: Plan, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The target's values, in memory."""
    result = {fill.target.name: filled(fill) for fill in plan.fills}
    for move in plan.moves:
        arrays = moved(move, values.__getitem__)
        result.update({spec.name: array for spec, array in zip(move.targets, arrays, strict=True)})
    for name, array in result.items():
        assert array.shape == plan.targets[name].shape, name
        assert array.dtype.name == plan.targets[name].dtype, name
    assert result.keys() == plan.targets.keys()
    return result
