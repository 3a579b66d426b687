"""A bench with a network of numpy on it: the known mistakes are made and undone in milliseconds, without a framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from resport.architectures.graph_edits import BatchNorm, Convolution, Factor, MaxPool, PoolPadding, Sites
from resport.dtypes import to_numpy
from resport.mapping import PlanOptions
from resport.tensors import Manifest, TensorSpec
from resport.verification.forward.end_points import relative_difference
from resport.verification.mistakes.target_tensors import BIAS, KERNEL, VECTORS, TargetTensor
from resport.verification.mistakes.workbench import Change, SiteValue

WIDTH, CLASSES, GROUPS = 4, 7, 3
SHAPES: Mapping[str, tuple[int, ...]] = {
    "one/kernel": (WIDTH, WIDTH),
    **{f"one_bn/{vector}": (WIDTH,) for vector in VECTORS},
    "two/kernel": (WIDTH, WIDTH),
    "two/bias": (WIDTH,),
    "three/kernel": (WIDTH, WIDTH),
    "logits/kernel": (WIDTH, CLASSES),
    "logits/bias": (CLASSES,),
    # What the network doesn't use is rearranged all the same.
    "stem/kernel": (3, 3, 3, 5),
    "grouped/kernel": (3, 3, 2, 2 * GROUPS),
    "tall/kernel": (3, 1, 2, 2),
    "single/kernel": (3, 3, 1, 1),
}
FEEDING = {
    "one": ("one/kernel", *(f"one_bn/{vector}" for vector in VECTORS), "one_bn"),
    "two": ("two/kernel", "two/bias", "two_scale"),
    "three": ("three/kernel",),
    "logits": ("logits/kernel", "logits/bias"),
}
"""What each end point depends on beside the one in front of it."""

SITES = Sites(
    (BatchNorm("one_bn", 1e-5),),
    (
        Convolution("stem", 1, 1, "stem/kernel", 1, True, None),
        Convolution("grouped", 2, 3, "grouped/kernel", GROUPS, True, "stem"),
        Convolution("plain", 1, 3, "three/kernel", 1, True, "stem"),
    ),
    (MaxPool("pool1", PoolPadding("same"), False), MaxPool("pool2", PoolPadding("padded", 0.0), True)),
    (Factor("two_scale", 0.17),),
)


def tensor(name: str, shape: tuple[int, ...]) -> TargetTensor:
    layer, _, word = name.rpartition("/")
    role = word if word in VECTORS else KERNEL if word == "kernel" else BIAS
    classes = len(shape) - 1 if layer == "logits" else None
    return TargetTensor(name, f"file/{name}", shape, role, layer, 2 if layer == "stem" else None, classes)


class NumpyEditor:
    """What the editor of a network tells."""

    sites = SITES

    def feeding(self, end_point: str) -> frozenset[str]:
        names = list(FEEDING)
        return frozenset(each for name in names[: names.index(end_point) + 1] for each in FEEDING[name])


class NumpyBench:
    """The interface of ``Workbench``; ``runs`` counts the runs of the network, ``whole_runs`` those for all end points.

    Args:
        options: of the conversion.
        target: values that the target has in place of the source's.
    """

    limit = 1e-9

    def __init__(self, options: PlanOptions | None = None, target: Mapping[str, np.ndarray] | None = None) -> None:
        generator = np.random.default_rng(3)
        self.values = {name: generator.normal(1, 0.3, shape).astype("float32") for name, shape in SHAPES.items()}
        self.target = {**self.values, **(target or {})}
        self.tensors = {name: tensor(name, shape) for name, shape in SHAPES.items()}
        specs = [TensorSpec(f"file/{name}", shape, "float32") for name, shape in SHAPES.items()]
        table = SimpleNamespace(shadow={}, variants={})
        self.pair: Any = SimpleNamespace(
            options=options or PlanOptions(),
            plan=SimpleNamespace(moves=()),
            source=SimpleNamespace(manifest={}),
            target=SimpleNamespace(manifest=Manifest(specs)),
            source_detection=SimpleNamespace(table=table, dialect="source"),
        )
        self.sides: tuple[Any, Any] = (object(), object())
        self.editor = NumpyEditor()
        self.site_values: dict[str, SiteValue] = {site.name: site.value for site in SITES.all}
        self.images = generator.uniform(-1, 1, (3, WIDTH))
        self.runs = self.whole_runs = 0

    def value(self, name: str) -> np.ndarray:
        return self.target[name]

    def expected(self, name: str, options: PlanOptions | None = None) -> np.ndarray:
        return self.values[name]

    def outputs(self, values: Mapping[str, np.ndarray], sites: Mapping[str, Any]) -> dict[str, np.ndarray]:
        wide = {name: value.astype("float64") for name, value in values.items()}
        gamma, beta, mean, variance = (wide[f"one_bn/{vector}"] for vector in VECTORS)
        found = {}
        found["one"] = (self.images @ wide["one/kernel"] - mean) / np.sqrt(variance + sites["one_bn"]) * gamma + beta
        found["two"] = found["one"] + sites["two_scale"] * (
            np.tanh(found["one"]) @ wide["two/kernel"] + wide["two/bias"]
        )
        found["three"] = np.maximum(found["two"], 0) @ wide["three/kernel"]
        found["logits"] = found["three"] @ wide["logits/kernel"] + wide["logits/bias"]
        return found

    def differences(self, change: Change, only: Sequence[str] | None = None) -> dict[str, float]:
        self.runs += 1
        self.whole_runs += only is None
        source: dict[str, np.ndarray] = dict(self.values)
        if change.options is not None and change.options.dtype is not None:
            source = {name: value.astype(to_numpy(change.options.dtype)) for name, value in source.items()}
        expected = self.outputs(source, {site.name: site.value for site in SITES.all})
        actual = self.outputs({**self.target, **change.tensors}, {**self.site_values, **change.edits})
        left, right = change.align(expected, actual) if change.align else (expected, actual)
        wanted = [name for name in expected if only is None or name in only]
        return {name: relative_difference(left[name], right[name]) for name in wanted}

    def first_divergence(self, differences: Mapping[str, float]) -> str | None:
        return next((name for name, value in differences.items() if not value <= self.limit), None)
