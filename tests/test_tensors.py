"""Specs, manifests and random values."""

from __future__ import annotations

import numpy as np
import pytest

from resport.errors import FormatError
from resport.tensors import Manifest, TensorSpec, random_tensor


def test_sizes() -> None:
    assert (TensorSpec("a", (2, 3), "float32").size, TensorSpec("a", (2, 3), "float32").nbytes) == (6, 24)
    assert (TensorSpec("a", (), "int64").nbytes, TensorSpec("a", (0, 5), "float64").nbytes) == (8, 0)
    assert TensorSpec("a", (3,), "string").nbytes == 0


def test_a_manifest_is_ordered_and_takes_no_name_twice() -> None:
    specs = [TensorSpec(name, (2,), "float32") for name in ("b", "a")]
    manifest = Manifest(specs)
    assert (list(manifest), manifest.nbytes, manifest["a"]) == (["b", "a"], 16, specs[1])
    with pytest.raises(FormatError, match="two tensors have the name `b`"):
        Manifest([*specs, specs[0]])


def test_random_weights_depend_on_name_and_seed_alone() -> None:
    first = random_tensor("conv1/weights", (3, 3, 2, 4), 1)
    random_tensor("other", (5,), 1)
    assert (random_tensor("conv1/weights", (3, 3, 2, 4), 1) == first).all()
    assert (random_tensor("conv2/weights", (3, 3, 2, 4), 1) != first).all()
    assert (random_tensor("conv1/weights", (3, 3, 2, 4), 2) != first).all()


def test_random_weights_are_no_default_anywhere() -> None:
    gamma, variance, beta = (random_tensor(f"bn/{word}", (256,), 0) for word in ("gamma", "moving_variance", "beta"))
    assert (gamma < 0).any() and (gamma > 0).any() and (gamma != 1).all()
    assert (variance > 0).all() and (variance != 1).all()
    assert (beta != 0).all()
    assert np.std(random_tensor("conv/kernel", (3, 3, 64, 64), 0)) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


def test_random_statistics_of_tensorpack() -> None:
    """Its names end in `EMA`, whatever the statistic is."""
    variance = random_tensor("group0/block0/conv1/bn/variance/EMA", (1000,), 0)
    assert 0.5 <= variance.min() < 0.6 and 1.4 < variance.max() <= 1.5
    mean = random_tensor("group0/block0/conv1/bn/mean/EMA", (1000,), 0)
    assert abs(mean.mean()) < 0.1 and mean.min() < 0
