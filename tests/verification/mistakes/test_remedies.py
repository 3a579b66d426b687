"""What mends a mistake in a graph is told to whoever can do it: by an option, on the model itself, or by a rebuild."""

from __future__ import annotations

import importlib

import pytest

from resport.architectures.bottlenecks import POOLS
from resport.architectures.graph_edits import PADDED, SAME, VALID, PoolPadding
from resport.architectures.registry import BUILDERS
from resport.verification.forward.forward import NetworkSide
from resport.verification.mistakes.remedies import (
    Built,
    built,
    epsilon_remedy,
    factor_remedy,
    padding_remedy,
    stride_remedy,
)

ZERO = PoolPadding(PADDED, 0.0)


def side(variant: str, dialect: str, graph: str | None = None) -> Built:
    def read(name: str) -> None:
        raise AssertionError(name)

    return built(NetworkSide(variant, dialect, {}, read, {}, graph=graph))  # type: ignore[arg-type]


KERAS, SLIM = side("resnet_v2_50", "keras"), side("resnet_v2_50", "slim")
FILE, OWN = side("resnet_v2_50", "keras", "{}"), built(object())
SCALE, PLAN = side("resnet_scale_101", "keras"), side("se_resnet_50", "slim")


def test_pool1_takes_what_its_builders_say() -> None:
    """The values are those that the builders' own modules check the option against."""
    found = {}
    for builder in BUILDERS:
        if "pool1" in builder.options:
            known = POOLS
            if "pool1" not in builder.plan:
                known = importlib.import_module(builder.function.partition(":")[0]).POOL1
            variant = next(iter(builder.variants))
            found[builder.family, builder.dialect] = set(known)
            assert set(side(variant, builder.dialect).pool1) == set(known), builder
    assert len(found) > 10


def test_a_network_that_resport_builds_is_built_otherwise() -> None:
    remedy = padding_remedy(KERAS, SLIM, "pool1_pool", PoolPadding(SAME), ZERO)
    assert remedy.startswith("`--build pool1=same`") and 'resport.build(..., pool1="same")' in remedy
    assert "--build-source" not in remedy
    # Its source can be built as the target is.
    remedy = padding_remedy(KERAS, SCALE, "pool1_pool", PoolPadding(VALID), PoolPadding(SAME))
    assert remedy == "`--build-source pool1=same`, if it is the source that was built otherwise"
    assert "--build" not in padding_remedy(KERAS, SCALE, "pool1_pool", PoolPadding(VALID), ZERO)
    # No option is named that the builder doesn't have.
    for pool, right in (("pool2", PoolPadding(SAME)), ("pool1_pool", PoolPadding(VALID))):
        assert "--build" not in padding_remedy(KERAS, SLIM, pool, right, ZERO)
    assert "--build" not in padding_remedy(side("inception_resnet_v1", "keras"), SLIM, "pool1", PoolPadding(SAME), ZERO)
    assert epsilon_remedy(PLAN, 1.001e-5).endswith("`--build epsilon=1.001e-05`")
    assert "--build" not in epsilon_remedy(SLIM, 1e-5) and "epsilon=1e-05" in epsilon_remedy(SLIM, 1e-5)
    assert "`--build stride_on=conv1`" in stride_remedy(PLAN, [("a", "b")], "conv1")
    assert "--build" not in stride_remedy(SLIM, [("a", "b")], "conv1")
    assert factor_remedy(KERAS, "scale", 0.17) == "build the network with 0.17 there"


@pytest.mark.parametrize(
    ("right", "words"),
    [
        (PoolPadding(SAME), ('`padding = "same"` in `pool`', "`padding = ((0, 0), (0, 0))`")),
        (PoolPadding(VALID), ('`padding = "valid"` in `pool`', "`padding = ((0, 0), (0, 0))`")),
        (ZERO, ("put a `ZeroPadding2D` of half the window in front of `pool`", '`padding = "valid"`')),
    ],
)
def test_a_model_of_ones_own_is_changed_itself(right: PoolPadding, words: tuple[str, ...]) -> None:
    for target in (FILE, OWN):
        remedy = padding_remedy(target, SLIM, "pool", right, PoolPadding(SAME, 0.0))
        assert all(word in remedy for word in words) and "--build" not in remedy
        assert ("resport convert MODEL NEW.keras" in remedy) == (target is FILE)
        assert "`epsilon = 1e-05`" in epsilon_remedy(target, 1e-5)
        assert "strides of `a` and `b`, and likewise in 1 more units" in stride_remedy(
            target, [("a", "b"), ("c", "d")], "conv1"
        )
        assert "`scale = 0.17` in `here`" in factor_remedy(target, "here", 0.17)
