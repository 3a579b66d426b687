"""An edited network computes what a network built so computes; when the run is over, it is as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from resport.architectures import open_network
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.graph_edits import PADDED, SAME, VALID, Edit, Editor, PoolPadding, editor
from resport.architectures.keras_network import KerasNetwork
from resport.architectures.slim_network import SlimNetwork
from resport.errors import OptionError

pytestmark = pytest.mark.tf

NARROW = {"units": (2, 1), "depths": (8, 12), "widths": (4, 6), "groups": 2, "num_classes": 3}
RESIDUAL = {"units": (1, 1), "base_depth": 2, "num_classes": 3}
EVEN, ODD = (np.random.default_rng(size).normal(size=(2, size, size, 3)) for size in (32, 35))
DIALECTS = ("slim", "keras")


@contextmanager
def opened(variant: str, dialect: str, **options: Any) -> Iterator[Editor]:
    with open_network(variant, dialect, dtype="float64", input_size=None, **options) as network:
        network.initialize(3)  # type: ignore[attr-defined]
        yield editor(network)


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return list(one) == list(other) and all(
        one[name].shape == other[name].shape and np.abs(one[name] - other[name]).max() < 1e-11 for name in one
    )


def strides_exchanged(bench: Editor) -> list[Edit]:
    convolutions = {site.name: site for site in bench.sites.convolutions}
    pairs = [(convolutions[site.previous], site) for site in convolutions.values() if site.previous and site.size > 1]
    return [
        edit
        for one, other in pairs
        if one.value != other.value
        for edit in (Edit(one.name, other.value), Edit(other.name, one.value))
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_edit_is_what_a_builder_builds(dialect: str) -> None:
    with opened("se_resnext50_32x4d", dialect, reduction=2, **NARROW) as usual:
        before = usual.run(EVEN)
        (pool,) = usual.sites.pools
        edits = {
            ("pool1", "padded"): [Edit(pool.name, PoolPadding(PADDED, 0.0))],
            ("epsilon", 1e-3): [Edit(site.name, 1e-3) for site in usual.sites.batch_norms],
            ("stride_on", "conv1"): strides_exchanged(usual),
        }
        for (option, value), wanted in edits.items():
            with opened("se_resnext50_32x4d", dialect, reduction=2, **NARROW, **{option: value}) as built:
                for images in (EVEN, ODD):
                    assert same(built.run(images), usual.run(images, wanted)), option
                assert not same(before, built.run(EVEN)), option
                # And back: what was built otherwise is edited to be as usual.
                values = {site.name: site.value for site in usual.sites.all}
                back = [Edit(edit.site, values[edit.site]) for edit in wanted]
                assert same(before, built.run(EVEN, back)), option
        assert same(before, usual.run(EVEN))


def hand_made_slim() -> SlimNetwork:
    tf = quiet_import_module("tensorflow")

    def network(images: Any) -> tuple[Any, dict[str, Any]]:
        pooled = tf.nn.max_pool2d(images, 3, 2, "SAME")
        scaled = 0.2 * pooled
        return scaled, {"net/pooled": pooled, "net/scaled": scaled}

    made = SlimNetwork(network, scope="net", input_size=None, dtype="float64")
    made.load({})
    return made


def hand_made_keras() -> KerasNetwork:
    keras = quiet_import_module("keras")
    images = keras.Input((None, None, 3), dtype="float64")
    pooled = keras.layers.MaxPooling2D(3, 2, "same", dtype="float64", name="pool")(images)
    scaled = keras.layers.Rescaling(np.asarray(0.2), dtype="float64", name="scale")(pooled)
    return KerasNetwork(keras.Model(images, scaled), {"pooled": pooled, "scaled": scaled})


def pooled_by_hand(images: np.ndarray, padding: PoolPadding) -> np.ndarray:
    """A 3x3 max-pool with a stride of 2, window by window."""
    size = images.shape[1]
    count = -(-size // 2) if padding.mode == SAME else (size - 3 + 2 * (padding.mode == PADDED)) // 2 + 1
    total = max((count - 1) * 2 + 3 - size, 0)
    before = {SAME: total // 2, VALID: 0, PADDED: 1}[padding.mode]
    widths = ((0, 0), (before, 3), (before, 3), (0, 0))
    padded = np.pad(images, widths, constant_values=padding.fill)
    rows = [
        [padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(1, 2)) for j in range(count)] for i in range(count)
    ]
    return np.array(rows).transpose(2, 0, 1, 3)


@pytest.mark.parametrize("make", [hand_made_slim, hand_made_keras])
def test_every_padding_of_a_pool_is_that_of_numpy(make: Any) -> None:
    """The values are below zero: a fill of 0 wins over all of them, one of -inf over none."""
    with make() as network:
        edited = editor(network)
        (pool,), (factor,) = edited.sites.pools, edited.sites.factors
        assert (pool.value, pool.is_activated, factor.value) == (PoolPadding(SAME), False, 0.2)
        for images in (EVEN, ODD):
            negative = -np.abs(images) - 0.1
            for mode in (SAME, VALID, PADDED):
                for fill in (0.0, -np.inf):
                    padding = PoolPadding(mode, fill)
                    found = edited.run(negative, [Edit(pool.name, padding), Edit(factor.name, -0.5)])
                    expected = pooled_by_hand(negative, padding)
                    np.testing.assert_array_equal(found["pooled"], expected)
                    np.testing.assert_array_equal(found["scaled"], -0.5 * expected)
            np.testing.assert_array_equal(edited.run(negative)["pooled"], pooled_by_hand(negative, pool.value))


@pytest.mark.parametrize("make", [hand_made_slim, hand_made_keras])
def test_one_end_point_alone_and_an_unknown_site(make: Any) -> None:
    with make() as network:
        edited = editor(network)
        (pool,) = edited.sites.pools
        found = edited.run(EVEN, [Edit(pool.name, PoolPadding(VALID))], ["pooled"])
        assert list(found) == ["pooled"]
        np.testing.assert_array_equal(found["pooled"], pooled_by_hand(EVEN, PoolPadding(VALID)))
        with pytest.raises(OptionError, match="no `elsewhere` that can be edited"):
            edited.run(EVEN, [Edit("elsewhere", 1.0)])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_feeds_an_end_point_and_what_does_not_fit(dialect: str) -> None:
    with opened("resnet_v2_50", dialect, **RESIDUAL) as usual:
        first = usual.feeding("conv1")
        assert first & set(usual.names) == set(usual.names[:2])
        unit = usual.feeding("block1/unit_1/bottleneck_v2") - usual.feeding("block1/unit_1/bottleneck_v2/conv3")
        assert all("shortcut" in name or "_0_conv" in name for name in unit)
        assert unit & set(usual.names) and set(usual.names) <= usual.feeding("logits")
        strided = next(site for site in usual.sites.convolutions if site.value == 1 and site.size > 1)
        before = usual.run(EVEN)
        with pytest.raises(OptionError, match="cannot be run"):
            usual.run(EVEN, [Edit(strided.name, 2)])
        assert same(before, usual.run(EVEN))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_assigned_values_are_used_and_stay(dialect: str) -> None:
    with opened("resnet_v2_50", dialect, **RESIDUAL) as usual:
        before = usual.run(EVEN)
        kernel, bias = usual.names[:2]
        usual.assign({bias: np.full(64, 100.0)})
        changed = usual.run(EVEN)
        assert not same(before, changed) and same(changed, usual.run(EVEN))
        with pytest.raises(OptionError, match="does not fit"):
            usual.assign({kernel: np.zeros((1, 1, 3, 64))})
