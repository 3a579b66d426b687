"""Manifests of one variable a line: name, shape and perhaps a dtype, tab-separated, as they were dumped."""

from __future__ import annotations

import ast
import re

from resport.tensors import Manifest, TensorSpec
from tests.mapping.manifest_files import MANIFESTS


def plain_manifest(name: str) -> Manifest:
    """The variables of ``tests/manifests/NAME.txt`` in its order; numbers without a dtype are float32."""
    lines = (MANIFESTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return Manifest(_spec(line.split("\t")) for line in lines if line and not line.startswith("#"))


def stated_numbers(name: str) -> dict[str, int]:
    """The totals that the comments of a manifest state."""
    text = (MANIFESTS / f"{name}.txt").read_text(encoding="utf-8")
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    return {key: int(number) for key, number in re.findall(r"(\w+)=(\d+)", comments)}


def _spec(cells: list[str]) -> TensorSpec:
    dtype = cells[2].removeprefix("torch.") if len(cells) > 2 and len(cells[2]) > 1 else "float32"
    return TensorSpec(cells[0], tuple(ast.literal_eval(cells[1])), dtype)
