"""Networks are built once and loaded when their values change; noise and passes are measured on functions of numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from resport.errors import OptionError
from resport.verification.forward.forward import NetworkSide, compare_forward
from resport.verification.forward.networks import NetworkPool, Read
from resport.verification.forward.noise import OTHER_BATCH, OTHER_DTYPE, measure_noise
from resport.verification.forward.sizes import (
    float32_sizes,
    input_sizes,
    probe_sizes,
    self_test_sizes,
    small_sizes,
)


class FakeNetwork:
    """Counts what is asked of it."""

    executions = ("another way",)

    def __init__(self, dtype: str) -> None:
        self.dtype, self.loads, self.how, self.is_closed = dtype, 0, None, False
        self.factor = 0.0

    def load(self, read: Callable[[str], np.ndarray]) -> None:
        self.loads += 1
        self.factor = float(read("w"))

    def compute_in(self, dtype: str) -> None:
        self.dtype = dtype

    def execute(self, how: str | None) -> None:
        self.how = how

    def forward(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return {"logits": images.sum(axis=(1, 2)) * self.factor}

    def __enter__(self) -> FakeNetwork:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True


class ColourNetwork(FakeNetwork):
    """Gives the mean of each colour as it gets them."""

    def forward(self, images: np.ndarray) -> dict[str, np.ndarray]:
        colours = images.mean(axis=(1, 2))
        return {"colours": colours, "logits": colours}


def test_a_network_is_built_once_and_loaded_when_its_values_change() -> None:
    built: list[FakeNetwork] = []

    def build(dtype: str) -> Any:
        built.append(FakeNetwork(dtype))
        return built[-1]

    one: Read = lambda name: np.array(1.0)  # noqa: E731
    two: Read = lambda name: np.array(2.0)  # noqa: E731
    with NetworkPool() as pool:
        for dtype in ("float64", "float32"):
            for read in (one, one, two):
                network: Any = pool.network("k", build, dtype, read, is_one_for_both=True)
                assert (network.dtype, network.factor) == (dtype, float(read("w")))
        assert [(each.dtype, each.loads) for each in built] == [("float32", 4)]
        for dtype in ("float64", "float32"):
            pool.network("l", build, dtype, one, is_one_for_both=False)
        assert len(built) == 3
    assert all(each.is_closed for each in built)


class Sides:
    """A side made of a function of numpy; it keeps what it was asked to run."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self.function = function
        self.asked: list[tuple[str, tuple[int, ...]]] = []

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        self.asked.extend((dtype, batch.shape) for batch in images)
        return [{"logits": self.function(batch.astype(dtype))} for batch in images]


def total(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).sum(axis=1, keepdims=True)


def test_the_noise_floor_is_the_largest_of_what_was_measured() -> None:
    def depends_on_batch(images: np.ndarray) -> np.ndarray:
        return np.ones((len(images), 1)) * (1 + 1e-4 * len(images))

    side = Sides(depends_on_batch)
    images = np.ones((2, 4, 4, 3), np.float32)
    outputs = side.run("float32", [images])
    found = measure_noise(side, [images], outputs, [{"logits": np.ones((2, 1)) * 1.0001}])
    assert [each.what for each in found] == [OTHER_DTYPE, OTHER_BATCH]
    assert found[0].max_rel_diff == pytest.approx(1e-4 / 1.0001)
    assert found[1].max_rel_diff == pytest.approx(1e-4 / 1.0002)
    assert side.asked[1:] == [("float32", (1, 4, 4, 3))] * 2


class Ways(Sides):
    """A side with two other ways to be run, whose outputs are of two end points."""

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        return [{**outputs, "pool": outputs["logits"] * 2} for outputs in super().run(dtype, images)]

    def run_otherwise(self, images: Sequence[np.ndarray]) -> Iterator[tuple[str, list[dict[str, np.ndarray]]]]:
        for how, wrong in (
            ("one thread", {"logits": 1.5, "pool": 1.25}),
            ("other kernels", {"logits": 1, "pool": 1.75}),
        ):
            plain = self.run("float32", images)
            yield how, [{name: value * wrong[name] for name, value in outputs.items()} for outputs in plain]


def test_other_ways_are_run_where_that_is_asked_for_and_the_worst_end_point_counts() -> None:
    side = Ways(lambda images: np.ones((len(images), 1), images.dtype))
    images = np.ones((1, 4, 4, 3), np.float32)
    outputs = side.run("float32", [images])
    assert measure_noise(side, [images], outputs, None) == ()
    found = measure_noise(side, [images], outputs, None, is_thorough=True)
    assert [(each.what, each.max_rel_diff, each.end_point) for each in found] == [
        ("one thread", 0.5, "logits"),
        ("other kernels", 0.75, "pool"),
    ]


def test_the_noise_is_that_of_the_first_size_in_float64_wherever_that_is_run() -> None:
    """Of several sizes in float32 the one with exact values beside it is taken, and no other is compared with it."""
    result = compare_forward(Sides(total), Sides(total), (8, 9), float32_sizes=(9, 8))
    assert result.is_equal and result.noise_floor < 1e-5


def test_what_a_side_does_to_images_and_outputs_before_they_are_compared() -> None:
    """Colours are turned round for a network that takes them so; a dropped class is cut off before the comparison."""
    networks: list[ColourNetwork] = []

    class ColourSide(NetworkSide):
        def open(self, dtype: str) -> Any:
            networks.append(ColourNetwork(dtype))
            return networks[-1]

    images = np.random.default_rng(0).normal(size=(2, 4, 4, 3))
    for is_reversed, order in ((False, [0, 1, 2]), (True, [2, 1, 0])):
        found = ColourSide(
            "resnet_v2_50",
            "keras",
            {},
            lambda name: np.array(1.0),
            {"logits": lambda value: value[..., 1:]},
            is_reversed,
        ).run("float32", [images])
        np.testing.assert_array_equal(found[0]["colours"], images.astype("float32").mean(axis=(1, 2))[:, order])
        np.testing.assert_array_equal(found[0]["logits"], found[0]["colours"][:, 1:])
        assert networks[-1].dtype == "float32" and networks[-1].is_closed


def test_every_pass_of_a_comparison() -> None:
    source, target = Sides(total), Sides(total)
    result = compare_forward(source, target, (8, 9))
    assert result.is_equal
    assert target.asked == [("float64", (2, 8, 8, 3)), ("float64", (2, 9, 9, 3)), ("float32", (2, 8, 8, 3))]
    # The first pass of each dtype has whole batches: a reference keeps those.
    assert source.asked[:3] == target.asked
    assert result.noise_floor == max(each.max_rel_diff for each in result.noise) > 0
    assert {point.input_size for point in result.float32} == {8}


def test_float32_can_be_run_at_sizes_of_its_own() -> None:
    source = Sides(total)
    result = compare_forward(source, Sides(total), (8, 9), float32_sizes=(16,))
    assert source.asked[:4] == [
        ("float64", (2, 8, 8, 3)),
        ("float64", (2, 9, 9, 3)),
        ("float32", (2, 16, 16, 3)),
        ("float32", (2, 8, 8, 3)),
    ]
    assert [point.input_size for point in result.float32] == [16]
    assert source.asked[4:] == [("float32", (1, 8, 8, 3))] * 2
    assert [each.what for each in result.noise] == [OTHER_DTYPE, OTHER_BATCH]
    assert result.is_equal


def test_a_difference_below_the_noise_of_float32_is_seen_in_float64() -> None:
    result = compare_forward(Sides(total), Sides(lambda images: total(images) * (1 + 1e-8)), (8, 9))
    assert not result.is_equal
    assert result.first_divergence in result.float64
    assert result.ratio < result.float32_ratio_limit


def test_float32_alone_can_differ() -> None:
    def broken_in_float32(images: np.ndarray) -> np.ndarray:
        return total(images) * (1.001 if images.dtype == np.float32 else 1.0)

    result = compare_forward(Sides(total), Sides(broken_in_float32), (8, 9))
    assert result.first_divergence in result.float32


class Classifier:
    """Logits and probabilities; the latter by a factor wrong in one dtype."""

    def __init__(self, wrong_in: str = "", factor: float = 1.1, has_logits: bool = True) -> None:
        self.wrong_in, self.factor, self.has_logits = wrong_in, factor, has_logits

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        return [self._outputs(total(batch.astype(dtype)), dtype) for batch in images]

    def _outputs(self, logits: np.ndarray, dtype: str) -> dict[str, np.ndarray]:
        found = {"predictions": logits * (self.factor if dtype == self.wrong_in else 1)}
        return {"logits": logits, **found} if self.has_logits else found


def test_probabilities_are_judged_in_float64_where_logits_stand_beside_them() -> None:
    """What float32 leaves of them is the exponential of the noise in the logits, which says nothing of the network."""
    result = compare_forward(Classifier(), Classifier("float32"), (8, 9))
    assert result.is_equal
    assert {point.name for point in result.float32} == {"logits"}
    assert {point.name for point in result.float64} == {"logits", "predictions"}
    different = compare_forward(Classifier(), Classifier("float64", 1 + 1e-8), (8, 9))
    assert different.first_divergence is not None and different.first_divergence.name == "predictions"
    # The noise is that of what is judged: a source whose probabilities are noisy allows no more for it.
    noisy = compare_forward(Classifier("float32"), Classifier("float32"), (8, 9))
    assert noisy.noise_floor == result.noise_floor
    alone = compare_forward(Classifier(has_logits=False), Classifier("float32", has_logits=False), (8, 9))
    assert alone.first_divergence in alone.float32


def side(variant: str = "resnet_v2_50", dialect: str = "slim", graph: str | None = None) -> NetworkSide:
    return NetworkSide(variant, dialect, {}, lambda name: np.zeros(1), {}, graph=graph)


def test_sizes_are_one_even_and_one_odd() -> None:
    assert input_sizes(None, side()) == (96, 97)
    assert input_sizes(None, side("inception_resnet_v1")) == (108, 111)
    assert float32_sizes(None, (96, 97), side()) == (224,)
    assert float32_sizes(32, (32, 33), side()) == (32,)
    assert float32_sizes(None, (40,), side()) == (40,)
    assert input_sizes(32, side()) == (32, 33)
    assert small_sizes(32) == (32, 33)
    # The own size is the largest that is worth it.
    assert (small_sizes(97), small_sizes(96)) == ((96, 97), (96, 97))
    assert probe_sizes((224, 97), side()) == (96, 97)
    assert probe_sizes((32, 33), side()) == (32, 33)
    with pytest.raises(OptionError, match="at least one pixel"):
        input_sizes(0, side())


def test_a_graph_that_takes_one_size_is_given_that() -> None:
    fixed = '{"config": {"layers": [{"config": {"batch_shape": [null, 40, 40, 3]}}]}}'
    assert input_sizes(None, side(), side(dialect="keras", graph=fixed)) == (40,)
    assert probe_sizes((40,), side()) == (40,)
    other = side(dialect="keras", graph=fixed.replace("40", "48"))
    for asked, judged in ((64, side(dialect="keras", graph=fixed)), (None, other), (40, other)):
        with pytest.raises(OptionError, match="one size only"):
            input_sizes(asked, side(dialect="keras", graph=fixed), judged)


@pytest.mark.parametrize(
    ("variant", "dialect", "sizes"),
    [
        # 64 is twice what a ResNet divides by: on a last map of one pixel a transposed 3x3 kernel would not show.
        ("resnet_v2_50", "slim", (64, 65)),
        ("inception_resnet_v1", "slim", (108, 111)),
        ("resnext29_8x64d", "taki", (32, 33)),
    ],
)
def test_the_self_test_takes_the_smallest_sizes_that_show_all(
    variant: str, dialect: str, sizes: tuple[int, int]
) -> None:
    assert self_test_sizes(side(variant, dialect)) == sizes
    assert sizes[0] % 2 == 0 and sizes[1] % 2 == 1
