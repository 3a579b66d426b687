"""Random weights are moved by the table and plan that moved the file's: the values, without running a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resport.formats import open_reader
from resport.mapping import PlanOptions, load_table
from resport.verification.pairing import Pair, paired
from resport.verification.probe import constant_vectors, probe_sides
from tests.tiny import keras_values, slim_values, write_table, write_values

VECTOR = "tiny_2/block1/conv/BatchNorm/"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path)


def make_pair(tmp_path: Path, table: Path, slim: dict[str, np.ndarray], **options: object) -> Pair:
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    source = write_values(folder / "slim.safetensors", slim)
    target = write_values(folder / "keras.safetensors", keras_values(slim))
    left, right = open_reader(source), open_reader(target)
    return paired(left, right, PlanOptions(**options), (load_table(table),), None)  # type: ignore[arg-type]


def test_the_values_are_moved_as_the_files_are(tmp_path: Path, table: Path) -> None:
    pair = make_pair(tmp_path, table, slim_values())
    source, target = probe_sides(pair, seed=5)
    random = {name: source.read(name) for name in slim_values()}
    expected = keras_values(random)
    assert set(expected) == set(pair.plan.targets)
    for name, value in expected.items():
        np.testing.assert_array_equal(target.read(name), value)
    assert {value.dtype for value in random.values()} == {np.dtype("float64")}
    again, _ = probe_sides(pair, seed=5)
    other, _ = probe_sides(pair, seed=6)
    name = VECTOR + "gamma"
    np.testing.assert_array_equal(again.read(name), random[name])
    assert not np.array_equal(other.read(name), random[name])


def test_the_values_are_such_that_exchanges_show(tmp_path: Path, table: Path) -> None:
    source, _ = probe_sides(make_pair(tmp_path, table, slim_values()))
    vectors = [source.read(VECTOR + word) for word in ("gamma", "beta", "moving_mean", "moving_variance")]
    for position, one in enumerate(vectors):
        assert np.ptp(one) > 0
        assert all(not np.array_equal(one, other) for other in vectors[position + 1 :])
    assert (vectors[3] > 0).all()


def test_a_stored_dtype_is_not_rounded_to(tmp_path: Path, table: Path) -> None:
    source, target = probe_sides(make_pair(tmp_path, table, slim_values(), dtype="float16"))
    name = VECTOR + "gamma"
    np.testing.assert_array_equal(target.read("conv2_bn/gamma"), source.read(name))
    assert not np.array_equal(source.read(name), source.read(name).astype(np.float16))


def test_constant_vectors_are_named(tmp_path: Path, table: Path) -> None:
    values = slim_values()
    assert constant_vectors(make_pair(tmp_path, table, values)) == ()
    values[VECTOR + "gamma"] = np.ones_like(values[VECTOR + "gamma"])
    assert constant_vectors(make_pair(tmp_path, table, values)) == (VECTOR + "gamma",)
