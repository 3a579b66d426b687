"""Pairs of checkpoints of narrow, shallow networks of the shipped families: every kind of layer, seconds to check."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import resport
from resport.conversion import initialize
from resport.formats import open_reader
from resport.mapping import PlanOptions, load_table, tables_folder
from resport.verification.mistakes.workbench import Workbench
from resport.verification.pairing import NetworkOptions, Pair, paired, source_side, target_side
from tests.tiny import write_values

SIZES = (64, 65)


@dataclass(frozen=True)
class Small:
    """One family made small: edits of its table, and the options of its builders that say the same."""

    family: str
    variant: str
    source: str
    target: str
    edits: Mapping[str, str]
    last_depth: int
    options: Mapping[str, Any]
    source_options: Mapping[str, Any] | None = None

    def table(self, folder: Path) -> Path:
        """The shipped table with narrower, shallower networks."""
        text = (tables_folder() / f"{self.family}.toml").read_text(encoding="utf-8")
        for name, value in self.edits.items():
            text, count = re.subn(rf"(?m)^({re.escape(name)} *=) *[\[{{].*$", rf"\1 {value}", text)
            assert count == 1, name
        path = folder / f"{self.family}_small.toml"
        text = text.replace("2048 classes", f"{self.last_depth} classes")
        path.write_text(text.replace('"vector 2048"', f'"vector {self.last_depth}"'), encoding="utf-8")
        return path


RESNET_V2 = Small(
    "resnet_v2",
    "resnet_v2_50",
    "slim",
    "keras",
    {
        "resnet_v2_50": '{ b = 4, u = [3, 2, 3, 2], later = [2, 1, 2, 1], before = "later", between = 3, last = 2 }',
        "width": "[8, 16, 32, 64]",
        "depth": "[32, 64, 128, 256]",
        "input": "[[64, 32], [32, 64], [64, 128], [128, 256]]",
    },
    256,
    {"units": (3, 2, 3, 2), "base_depth": 8},
)
SE_RESNEXT = Small(
    "se_resnext",
    "se_resnext50_32x4d",
    "keras",
    "slim",
    {
        "se_resnext50_32x4d": "{ b = 4, u = [2, 1, 2, 1] }",
        "width": "[16, 24, 32, 40]",
        "group": "[4, 6, 8, 10]",
        "depth": "[32, 64, 96, 128]",
        "input": "[[64, 32], [32, 64], [64, 96], [96, 128]]",
        "squeezed": "[4, 8, 12, 16]",
    },
    128,
    {"units": (2, 1, 2, 1), "depths": (32, 64, 96, 128), "widths": (16, 24, 32, 40), "groups": 4, "reduction": 8},
)
FOLDED = Small(
    "resnet_scale",
    "resnet_scale_101",
    "keras",
    "resnet_v1_keras",
    {
        "resnet_scale_101": "{ b = 4, u = [3, 4, 4, 3], layers = 101 }",
        "width": "[8, 16, 32, 64]",
        "depth": "[32, 64, 128, 256]",
        "input": "[[64, 32], [32, 64], [64, 128], [128, 256]]",
    },
    256,
    {"units": (3, 4, 4, 3), "base_depth": 8},
    {"units": (3, 4, 4, 3), "base_depth": 8, "pool1": "same"},
)


@contextmanager
def small_pair(
    folder: Path,
    small: Small,
    *,
    shadows: bool = False,
    values: Mapping[str, float] | None = None,
    seed: int = 5,
    **options: Any,
) -> Iterator[Pair]:
    """A source of random weights and its conversion.

    Args:
        folder: where the files go.
        small: the networks.
        shadows: the source has a moving average of each variable, close to it.
        values: numbers that whole vectors are set to, by the end of their names.
        seed: of the weights.
        **options: of the conversion.
    """
    table = small.table(folder)
    source, target = folder / "source.safetensors", folder / "target.safetensors"
    initialize(small.variant, source, dialect=small.source, num_classes=7, seed=seed, table=table, force=True)
    if shadows or values:
        _rewrite(source, shadows, values or {})
    resport.convert(source, target, to=small.target, variant=small.variant, table=table, force=True, **options)
    with open_reader(source) as reference, open_reader(target) as judged:
        pair = paired(reference, judged, PlanOptions(**options), [load_table(table)], small.variant)
        build_source = small.options if small.source_options is None else small.source_options
        yield replace(pair, networks=NetworkOptions(build=small.options, build_source=build_source))


@contextmanager
def small_bench(folder: Path, small: Small, *, limit: float = 1e-9, **options: Any) -> Iterator[Workbench]:
    """A bench of such a pair."""
    with small_pair(folder, small, **options) as pair:
        with Workbench(pair, source_side(pair), target_side(pair), SIZES, limit=limit) as bench:
            yield bench


def _rewrite(path: Path, shadows: bool, values: Mapping[str, float]) -> None:
    with open_reader(path) as reader:
        arrays = {name: reader.read(name) for name in reader.manifest}
    for name, array in arrays.items():
        for ending, value in values.items():
            if name.endswith(ending):
                arrays[name] = np.full_like(array, value)
    if shadows:
        arrays |= {f"{name}/ExponentialMovingAverage": array * np.float32(1.01) for name, array in arrays.items()}
    path.unlink()
    write_values(path, arrays)
