"""A network of a few hundred values with everything that a table can say, for tests that move real files quickly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from resport.formats import open_writer
from resport.tensors import TensorSpec

TABLE = """
family  = "tiny"
columns = ["slim", "keras", "torch", "axes"]

[variants]
tiny_2 = { b = 2 }
tiny_3 = { b = 3 }

[root]
slim = "{variant}/"

[sizes]
width = [3, 4, 5]

[[group]]
over = ["b"]
prefix = ["block{b}/", "conv{b+1}_", "layers.{b-1}."]
rows = [
  ["conv/weights",        "conv/kernel", "conv.weight", "conv 3 3 width width"],
  ["=0",                  "conv/bias",   "=0",          "bias width"],
  ["conv/BatchNorm/{bn}", "bn/{bn}",     "norm.{bn}",   "vector width"],
]
folds = [{ dialect = "keras", op = "bias_into_mean", into = "bn/moving_mean", with = ["conv/bias"] }]

[[group]]
optional = true
rows = [
  ["logits/weights", "predictions/kernel", "fc.weight", "head 6 classes"],
  ["logits/biases",  "predictions/bias",   "fc.bias",   "classes classes"],
]
"""

WIDTHS = (3, 4, 5)
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
TORCH_WORDS = dict(zip(BATCH_NORM, ("weight", "bias", "running_mean", "running_var"), strict=True))


def write_table(folder: Path) -> Path:
    """The table as a file."""
    path = folder / "tiny.toml"
    path.write_text(TABLE)
    return path


def slim_values(
    n_blocks: int = 2, num_classes: int | None = 7, seed: int = 0, root: str = "tiny_2/"
) -> dict[str, np.ndarray]:
    """Random values under slim's names, in network order."""
    generator = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {}
    for block in range(1, n_blocks + 1):
        width = WIDTHS[block - 1]
        shapes[f"{root}block{block}/conv/weights"] = (3, 3, width, width)
        shapes.update({f"{root}block{block}/conv/BatchNorm/{word}": (width,) for word in BATCH_NORM})
    if num_classes is not None:
        shapes[f"{root}logits/weights"] = (1, 1, 6, num_classes)
        shapes[f"{root}logits/biases"] = (num_classes,)
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def keras_values(slim: Mapping[str, np.ndarray], n_blocks: int = 2, root: str = "tiny_2/") -> dict[str, np.ndarray]:
    """The same network under the names of Keras, written out by hand: no table has a part in it."""
    keras: dict[str, np.ndarray] = {}
    for block in range(1, n_blocks + 1):
        before = f"{root}block{block}/conv/"
        keras[f"conv{block + 1}_conv/kernel"] = slim[before + "weights"]
        keras[f"conv{block + 1}_conv/bias"] = np.zeros(WIDTHS[block - 1], np.float32)
        for word in BATCH_NORM:
            keras[f"conv{block + 1}_bn/{word}"] = slim[f"{before}BatchNorm/{word}"]
    if f"{root}logits/weights" in slim:
        keras["predictions/kernel"] = slim[f"{root}logits/weights"][0, 0]
        keras["predictions/bias"] = slim[f"{root}logits/biases"]
    return keras


def torch_values(slim: Mapping[str, np.ndarray], n_blocks: int = 2, root: str = "tiny_2/") -> dict[str, np.ndarray]:
    """The same network under the names and in the layouts of torch, written out by hand."""
    torch: dict[str, np.ndarray] = {}
    for block in range(1, n_blocks + 1):
        before = f"{root}block{block}/conv/"
        torch[f"layers.{block - 1}.conv.weight"] = np.moveaxis(slim[before + "weights"], (3, 2), (0, 1))
        for word in BATCH_NORM:
            torch[f"layers.{block - 1}.norm.{TORCH_WORDS[word]}"] = slim[f"{before}BatchNorm/{word}"]
    if f"{root}logits/weights" in slim:
        torch["fc.weight"] = slim[f"{root}logits/weights"][0, 0].T
        torch["fc.bias"] = slim[f"{root}logits/biases"]
    return torch


def write_values(path: Path, values: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> Path:
    """Values as a checkpoint, in the format of its name."""
    specs = [TensorSpec(name, array.shape, array.dtype.name) for name, array in values.items()]
    with open_writer(path, specs, metadata=metadata) as writer:
        for name, array in values.items():
            writer.write(name, array)
    return path
