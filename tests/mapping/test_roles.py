"""What a tensor is for, told by its name."""

from __future__ import annotations

import pytest

from resport.mapping.roles import role_of
from resport.tensors import TensorSpec


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("resnet_v2_50/conv1/weights", "weight"),
        ("conv1_bn/gamma", "weight"),
        ("layer1.0.bn1.running_mean", "statistic"),
        ("resnet_v2_50/postnorm/moving_variance", "statistic"),
        ("group0/block0/conv1/bn/mean/EMA", "statistic"),
        ("conv1/weights/ExponentialMovingAverage", "average"),
        ("conv1/BatchNorm/moving_mean/ExponentialMovingAverage", "average"),
        ("conv1/weights/Momentum", "optimizer"),
        ("conv1/weights/Adam_1", "optimizer"),
        ("beta1_power", "optimizer"),
        ("optimizer/iteration", "optimizer"),
        ("global_step", "step"),
        ("bn1.num_batches_tracked", "step"),
        ("mean_rgb", "preprocessing"),
        ("resnet_v1_50/mean_rgb", "preprocessing"),
        ("dropout/seed_generator_3/seed_generator_state", "random"),
        ("metrics/mean/0", "metric"),
        ("total", "metric"),
        ("momentum/weights", "weight"),
        ("normalization/count", "weight"),
        ("global_step_embedding", "weight"),
    ],
)
def test_role(name: str, role: str) -> None:
    assert role_of(TensorSpec(name, (3,), "float32")) == role


@pytest.mark.parametrize("dtype", ["string", "resource", "variant"])
def test_what_holds_no_numbers(dtype: str) -> None:
    assert role_of(TensorSpec("conv1/weights", (), dtype)) == "text"
