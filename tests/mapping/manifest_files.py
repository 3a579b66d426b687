"""The names and shapes of real networks in tests/manifests, as each framework itself made them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from resport.tensors import Manifest, TensorSpec

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests"

SLIM_CLASSES = {"v1": 1000, "v2": 1001}
DEPTHS = (50, 101, 152, 200)
KERAS_DEPTHS = (50, 101, 152)


def slim_manifest(version: str, depth: int) -> Manifest:
    """The variables of a tf_slim ResNet in the order of their creation."""
    file = MANIFESTS / f"slim_resnet_{version}_{depth}_{SLIM_CLASSES[version]}.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    return Manifest(_spec(*line.split("\t")[:3]) for line in lines if line and not line.startswith("#"))


def keras_manifest(version: str, depth: int) -> Manifest:
    """The weights of a keras.applications ResNet in the order of its layers."""
    file = MANIFESTS / f"keras3_ResNet{depth}{'V2' if version == 'v2' else ''}.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    return Manifest(_spec(*line.split("\t")[1:4]) for line in lines if line.startswith("  W\t"))


def stated_totals(version: str, depth: int) -> dict[str, int]:
    """The totals that a Keras manifest states on its last line: numbers of variables and of parameters."""
    file = MANIFESTS / f"keras3_ResNet{depth}{'V2' if version == 'v2' else ''}.txt"
    return {key: int(text) for key, text in re.findall(r"(n_vars|n_params)=(\d+)", file.read_text(encoding="utf-8"))}


def _spec(name: str, shape: str, dtype: str) -> TensorSpec:
    return TensorSpec(name, tuple(ast.literal_eval(shape)), dtype)
