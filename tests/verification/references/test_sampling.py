"""What a reference keeps of an end point: enough that a mistake anywhere in it shows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resport.verification.references.recording import Recording
from resport.verification.references.sampling import SAMPLE_POSITIONS, sample_positions, sampled

SHAPE = (2, 56, 56, 64)


def ramp(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape)


@pytest.mark.parametrize("shape", [(2, 1001), (2, 8, 8, 64), (), (7,), (3, 100_000), (0, 9, 9, 4096)])
def test_small_end_points_and_single_vectors_are_kept_whole(shape: tuple[int, ...]) -> None:
    assert sample_positions("logits", shape) is None
    value = ramp(shape)
    assert sampled(value, None) is value


def test_a_large_map_is_sampled_at_its_corners_and_elsewhere_with_all_channels() -> None:
    positions = sample_positions("block1", SHAPE)
    assert positions is not None and positions.dtype == np.int64
    assert {0, 55, 55 * 56, 56 * 56 - 1} <= set(positions.tolist())
    assert 128 <= len(positions) <= 132
    assert (np.diff(positions) > 0).all() and positions.max() > 56 * 56
    value = ramp(SHAPE)
    kept = sampled(value, positions)
    assert kept.shape == (1, len(positions) + 1, 64)
    np.testing.assert_array_equal(kept[0, :-1], value.reshape(-1, 64)[positions])
    np.testing.assert_allclose(kept[0, -1], value.mean(axis=(0, 1, 2)), rtol=1e-13)


def test_wide_maps_keep_a_few_positions_and_the_choice_is_that_of_name_and_shape() -> None:
    wide = (2, 7, 7, 200_000)
    positions = sample_positions("block4", wide)
    assert positions is not None and SAMPLE_POSITIONS <= len(positions) <= SAMPLE_POSITIONS + 4
    again, other = sample_positions("block4", wide), sample_positions("block3", wide)
    np.testing.assert_array_equal(positions, again)
    assert not np.array_equal(positions, other)


@given(st.integers(0, 2 * 56 * 56 * 64 - 1))
def test_a_change_of_any_single_value_shows(index: int) -> None:
    value = ramp(SHAPE)
    wrong = value.copy()
    wrong.flat[index] += 0.01
    positions = sample_positions("block1", SHAPE)
    before, after = sampled(value, positions), sampled(wrong, positions)
    # The limit of a verification in float64 is 1e-9 of the range.
    assert np.abs(before - after).max() > 1e-8 * np.abs(before).max()


class Counting:
    """A side that gives other values with every run."""

    def __init__(self) -> None:
        self.n_runs = 0

    def run(self, dtype: str, images: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
        self.n_runs += 1
        return [{"a": np.full((len(batch), 3), self.n_runs, dtype)} for batch in images]


def test_a_recording_keeps_the_first_pass_of_each_dtype_and_size() -> None:
    images = [np.full((2, size, size, 3), size, np.float32) for size in (8, 9)]
    recording = Recording(Counting())
    assert [each["a"][0, 0] for each in recording.run("float64", images)] == [1, 1]
    recording.run("float32", images[:1])
    recording.run("float32", [images[0][:1], images[1][:1]])
    assert list(recording.passes) == [("float64", 8), ("float64", 9), ("float32", 8), ("float32", 9)]
    assert recording.passes["float32", 8].outputs["a"].values.tolist() == [[2, 2, 2]] * 2
    np.testing.assert_array_equal(recording.passes["float64", 9].images, images[1])
