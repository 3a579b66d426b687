"""What each tensor of the judged network is for, read off the table's rows: kernel, bias, a vector of batch norm.

Mistakes are made, and undone, by what a tensor is for and never by what a family calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from resport.mapping import Detection, Expansion, Table, expand
from resport.mapping.tables import CLASSES, RGB
from resport.tensors import Manifest

GAMMA, BETA, MEAN, VARIANCE = "gamma", "beta", "moving_mean", "moving_variance"
VECTORS = (GAMMA, BETA, MEAN, VARIANCE)
KERNEL, BIAS = "kernel", "bias"

DEFAULTS: Mapping[str, float] = {GAMMA: 1.0, BETA: 0.0, MEAN: 0.0, VARIANCE: 1.0, BIAS: 0.0}
"""What a network that nobody trained or loaded has in its vectors."""


@dataclass(frozen=True, slots=True)
class TargetTensor:
    """One tensor of the judged network.

    Attributes:
        name: what the network's builder calls it.
        file_name: what the file calls it.
        shape: its shape.
        role: one of ``VECTORS``, ``kernel`` or ``bias``.
        layer: its name without the word that tells the role.
        rgb_axis: its axis of the input's colours, or None.
        classes_axis: its axis of the classes, or None.
    """

    name: str
    file_name: str
    shape: tuple[int, ...]
    role: str
    layer: str
    rgb_axis: int | None
    classes_axis: int | None


def describe_tensors(detection: Detection, manifest: Manifest) -> dict[str, TargetTensor]:
    """The tensors of a network by their builder's names, in the table's order.

    Args:
        detection: what the file is.
        manifest: its tensors.
    """
    expansion = detection.expand()
    builder_root = expand(detection.table, detection.variant).roots[detection.dialect]
    words = _role_words(detection.table, detection.dialect)
    found = {}
    for file_name in expansion.names(detection.dialect):
        if file_name in manifest:
            name = builder_root + file_name.removeprefix(detection.root)
            found[name] = _describe(name, file_name, manifest[file_name].shape, expansion, detection.dialect, words)
    return found


def _describe(
    name: str, file_name: str, shape: tuple[int, ...], expansion: Expansion, dialect: str, words: Mapping[str, str]
) -> TargetTensor:
    axes = expansion.by_name[dialect][file_name].axes[dialect]
    role, layer = KERNEL if len(shape) > 1 else BIAS, name.rpartition("/")[0]
    spelling = max((word for word in words if name.endswith(word)), key=len, default="")
    if len(shape) == 1 and spelling:
        role, layer = words[spelling], name.removesuffix(spelling).rstrip("/.")
    return TargetTensor(
        name,
        file_name,
        shape,
        role,
        layer,
        axes.position(RGB) if RGB in axes.names else None,
        axes.position(CLASSES) if CLASSES in axes.names else None,
    )


def _role_words(table: Table, dialect: str) -> dict[str, str]:
    """The role that a dialect's spelling of a word tells, by spelling."""
    found = dict(zip(VECTORS, VECTORS, strict=True))
    for spellings in table.words.values():
        canonical = next((words for words in spellings.values() if set(words) <= set(VECTORS)), None)
        if canonical is not None and dialect in spellings:
            found.update(zip(spellings[dialect], canonical, strict=True))
    return found
