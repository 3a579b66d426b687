"""Whole conversions of small files: what is moved, what is refused, and that nothing is written when it is."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

import resport
from resport.errors import (
    DetectError,
    FormatError,
    OptionError,
    PlanError,
    TableError,
    TargetExistsError,
    TargetWriteError,
)
from tests.contracts import assert_same_bits
from tests.tiny import TABLE, keras_values, slim_values, torch_values, write_table, write_values


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path)


def load(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, by the library."""
    return safetensors.numpy.load_file(path)


def assert_same_tensors(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert_same_bits(actual[name], array.copy(order="C"))


def test_slim_to_keras_and_torch(tmp_path: Path, table: Path) -> None:
    slim = slim_values()
    source = write_values(tmp_path / "slim.safetensors", slim)
    for dialect, expected in (("keras", keras_values(slim)), ("torch", torch_values(slim))):
        target = tmp_path / f"{dialect}.safetensors"
        report = resport.convert(source, target, to=dialect, table=table)
        assert_same_tensors(load(target), expected)
        assert (report.family, report.variant, report.source_dialect, report.num_classes) == (
            "tiny",
            "tiny_2",
            "slim",
            7,
        )
        assert report.moved == len(slim)
        assert [fill.target.name for fill in report.filled] == (
            ["conv2_conv/bias", "conv3_conv/bias"] if dialect == "keras" else []
        )


def test_states_of_keras_that_are_no_weights_are_left_out_and_reported(tmp_path: Path, table: Path) -> None:
    slim = slim_values()
    states = {
        "drop/seed_generator_3/seed_generator_state": "random",
        "metrics/mean/0": "metric",
        "optimizer/2": "optimizer",
    }
    source = write_values(tmp_path / "keras.npz", keras_values(slim) | {name: np.ones(2) for name in states})
    report = resport.convert(source, tmp_path / "slim.safetensors", to="slim", table=table)
    assert {each.name: each.rule for each in report.ignored if each.name in states} == states
    assert_same_tensors(load(tmp_path / "slim.safetensors"), slim)


@pytest.mark.parametrize("suffix", [".safetensors", ".h5", ".weights.h5", ""])
def test_there_and_back_through_every_container(tmp_path: Path, table: Path, suffix: str) -> None:
    slim = slim_values(seed=1)
    slim["tiny_2/block1/conv/BatchNorm/beta"].view(np.uint32)[:3] = [0x7FC0BEEF, 0x80000000, 0x00000001]
    source = write_values(tmp_path / "slim.safetensors", slim)
    middle, back = tmp_path / f"middle{suffix}", tmp_path / "back.safetensors"
    resport.convert(source, middle, to="keras", table=table)
    resport.convert(middle, back, from_="keras", to="slim", table=table, variant="tiny_2")
    assert_same_tensors(load(back), slim)


def test_without_a_dialect_nothing_is_renamed(tmp_path: Path) -> None:
    values = {"a/b": np.arange(6, dtype=np.int64).reshape(2, 3), "global_step": np.array(7, np.int64)}
    source = write_values(tmp_path / "unknown.ckpt", values)
    report = resport.convert(source, tmp_path / "out.safetensors")
    assert_same_tensors(load(tmp_path / "out.safetensors"), values)
    assert (report.family, report.moved) == (None, 2)


def test_all_problems_at_once_and_nothing_written(tmp_path: Path, table: Path) -> None:
    slim = slim_values()
    slim["tiny_2/block1/conv/BatchNorm/gama"] = slim.pop("tiny_2/block1/conv/BatchNorm/gamma")
    del slim["tiny_2/block2/conv/BatchNorm/beta"]
    slim["tiny_2/block2/conv/weights"] = slim["tiny_2/block2/conv/weights"][:, :, :, :2]
    source = write_values(tmp_path / "slim.safetensors", slim)
    with pytest.raises(PlanError) as caught:
        resport.convert(source, tmp_path / "keras.safetensors", to="keras", table=table)
    text = str(caught.value)
    assert "missing, 2 of" in text
    assert "tiny_2/block1/conv/BatchNorm/gamma" in text
    assert "tiny_2/block2/conv/BatchNorm/beta" in text
    assert "unexpected, 1 that" in text
    assert "tiny_2/block1/conv/BatchNorm/gama" in text
    assert "tiny_2/block2/conv/weights: expected (3, 3, 4, 4), got (3, 3, 4, 2)" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slim.safetensors", "tiny.toml"]


def test_drop_background(tmp_path: Path, table: Path) -> None:
    slim = slim_values()
    source = write_values(tmp_path / "slim.safetensors", slim)
    report = resport.convert(source, tmp_path / "out.safetensors", to="keras", table=table, drop_background=True)
    out = load(tmp_path / "out.safetensors")
    assert_same_bits(out["predictions/kernel"], slim["tiny_2/logits/weights"][0, 0, :, 1:].copy())
    assert_same_bits(out["predictions/bias"], slim["tiny_2/logits/biases"][1:])
    assert report.options == {"drop_background": True}


def test_ema_takes_the_shadows_where_there_are_any(tmp_path: Path, table: Path) -> None:
    slim = slim_values()
    shadow = {f"{name}/ExponentialMovingAverage": array + 1 for name, array in slim.items() if "moving" not in name}
    source = write_values(tmp_path / "slim.safetensors", {**slim, **shadow, "global_step": np.array(3, np.int64)})
    raw = resport.convert(source, tmp_path / "raw.safetensors", to="keras", table=table)
    assert_same_tensors(load(tmp_path / "raw.safetensors"), keras_values(slim))
    assert {each.rule for each in raw.ignored} == {"average", "step"}
    assert any("--ema" in warning for warning in raw.warnings)
    taken = resport.convert(source, tmp_path / "ema.safetensors", to="keras", table=table, ema=True)
    averaged = {name: shadow.get(f"{name}/ExponentialMovingAverage", array) for name, array in slim.items()}
    assert_same_tensors(load(tmp_path / "ema.safetensors"), keras_values(averaged))
    assert any(f"moving averages of {len(shadow)} variables were taken" in warning for warning in taken.warnings)


def test_ema_without_shadows_is_refused(tmp_path: Path, table: Path) -> None:
    source = write_values(tmp_path / "slim.safetensors", slim_values())
    with pytest.raises(PlanError, match="no moving average"):
        resport.convert(source, tmp_path / "out.safetensors", to="keras", table=table, ema=True)


def test_a_bias_that_slim_has_no_place_for_is_refused_or_folded(tmp_path: Path, table: Path) -> None:
    slim = slim_values()
    keras = keras_values(slim)
    bias = np.array([0.25, -0.5, 3.0], np.float32)
    keras["conv2_conv/bias"] = bias
    source = write_values(tmp_path / "keras.safetensors", keras)
    with pytest.raises(PlanError) as caught:
        resport.convert(source, tmp_path / "out.safetensors", to="slim", table=table)
    assert "conv2_conv/bias must be 0 throughout, it has 3" in str(caught.value)
    assert caught.value.hint is not None and "--fold" in caught.value.hint
    assert not (tmp_path / "out.safetensors").exists()
    resport.convert(source, tmp_path / "out.safetensors", to="slim", table=table, fold=True)
    out = load(tmp_path / "out.safetensors")
    mean = slim["tiny_2/block1/conv/BatchNorm/moving_mean"]
    assert_same_bits(out["tiny_2/block1/conv/BatchNorm/moving_mean"], mean - bias)
    assert_same_bits(out["tiny_2/block2/conv/BatchNorm/moving_mean"], slim["tiny_2/block2/conv/BatchNorm/moving_mean"])


def test_a_fold_into_float64_is_not_rounded(tmp_path: Path, table: Path) -> None:
    slim = slim_values()
    keras = keras_values(slim)
    keras["conv2_conv/bias"] = np.array([1e-9, 1.0, -1e-9], np.float32)
    source = write_values(tmp_path / "keras.safetensors", keras)
    resport.convert(source, tmp_path / "out.safetensors", to="slim", table=table, fold=True, dtype="float64")
    mean = slim["tiny_2/block1/conv/BatchNorm/moving_mean"].astype(np.float64)
    expected = mean - keras["conv2_conv/bias"].astype(np.float64)
    assert_same_bits(load(tmp_path / "out.safetensors")["tiny_2/block1/conv/BatchNorm/moving_mean"], expected)


def test_dtype_casts_floats_alone(tmp_path: Path) -> None:
    values = {"w": np.array([1.0, 1e-9, 3.1415927], np.float32), "n": np.array([3], np.int32)}
    source = write_values(tmp_path / "in.safetensors", values)
    resport.convert(source, tmp_path / "out.safetensors", dtype="float16")
    out = load(tmp_path / "out.safetensors")
    assert_same_bits(out["w"], values["w"].astype(np.float16))
    assert_same_bits(out["n"], values["n"])


def test_ignore_names_what_is_left_out(tmp_path: Path, table: Path) -> None:
    source = write_values(tmp_path / "slim.safetensors", {**slim_values(), "stray": np.ones(2, np.float32)})
    with pytest.raises(PlanError, match="stray"):
        resport.convert(source, tmp_path / "out.safetensors", to="keras", table=table)
    report = resport.convert(source, tmp_path / "out.safetensors", to="keras", table=table, ignore=["str*"])
    assert [(each.name, each.rule) for each in report.ignored] == [("stray", "--ignore str*")]


def test_dry_run_plans_and_writes_nothing(tmp_path: Path, table: Path) -> None:
    source = write_values(tmp_path / "slim.safetensors", slim_values())
    report = resport.convert(source, tmp_path / "out.safetensors", to="keras", table=table, dry_run=True)
    assert report.dry_run
    assert report.n_targets == len(keras_values(slim_values()))
    assert not (tmp_path / "out.safetensors").exists()


def test_an_existing_target_is_replaced_only_by_force(tmp_path: Path) -> None:
    source = write_values(tmp_path / "in.safetensors", {"w": np.ones(3, np.float32)})
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"precious")
    with pytest.raises(TargetExistsError) as caught:
        resport.convert(source, target)
    assert target.read_bytes() == b"precious"
    assert caught.value.hint is not None and "--force" in caught.value.hint
    resport.convert(source, target, force=True)
    assert_same_bits(load(target)["w"], np.ones(3, np.float32))


@pytest.mark.parametrize("other", ["in.safetensors", "./in.safetensors", "link.safetensors", "hard.safetensors"])
def test_source_and_target_the_same_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    source = write_values(tmp_path / "in.safetensors", {"w": np.ones(3, np.float32)})
    (tmp_path / "link.safetensors").symlink_to(source)
    (tmp_path / "hard.safetensors").hardlink_to(source)
    monkeypatch.chdir(tmp_path)
    before = source.read_bytes()
    with pytest.raises(OptionError, match="source and target are the same"):
        resport.convert(source, other, force=True)
    assert source.read_bytes() == before


def test_provenance(tmp_path: Path, table: Path) -> None:
    source = write_values(tmp_path / "slim.safetensors", slim_values(), metadata={"note": "kept"})
    target = tmp_path / "out.safetensors"
    resport.convert(source, target, to="keras", table=table, drop_background=True)
    with safe_open(target, "np") as file:
        metadata = file.metadata()
    value = json.loads(metadata["resport"])
    assert metadata["note"] == "kept"
    assert value["source"] == {"format": "safetensors", "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    assert value["resport"] == resport.__version__
    assert value["options"] == {"drop_background": True}
    assert (value["table"]["name"], value["from"], value["to"]) == ("tiny", "slim", "keras")


@pytest.mark.parametrize("suffix", [".safetensors", ".h5", ".weights.h5"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, table: Path, suffix: str) -> None:
    source = write_values(tmp_path / "slim.safetensors", slim_values())
    targets = [tmp_path / name / f"out{suffix}" for name in ("a", "b")]
    for target in targets:
        target.parent.mkdir()
        resport.convert(source, target, to="keras", table=table)
    assert targets[0].read_bytes() == targets[1].read_bytes()


def test_an_unknown_network_is_named_with_the_nearest(tmp_path: Path) -> None:
    values = {"resnet_v2_50/conv1/weights": np.ones((7, 7, 3, 64)), "resnet_v2_50/conv1/biases": np.ones(64)}
    source = write_values(tmp_path / "in.safetensors", values)
    with pytest.raises(DetectError, match="the nearest is resnet_v2_"):
        resport.convert(source, tmp_path / "out.safetensors", to="keras")


@pytest.mark.parametrize(
    ("options", "message"), [({"to": "cafe"}, "no dialect `cafe`"), ({"dtype": "float7"}, "not a dtype")]
)
def test_options_that_cannot_be_meant(tmp_path: Path, options: dict[str, str], message: str) -> None:
    source = write_values(tmp_path / "in.safetensors", {"w": np.ones(3, np.float32)})
    with pytest.raises(OptionError, match=message):
        resport.convert(source, tmp_path / "out.safetensors", **options)  # type: ignore[arg-type]


def test_a_dtype_that_the_target_lacks_is_refused_before_writing(tmp_path: Path) -> None:
    source = write_values(tmp_path / "in.ckpt", {"w": np.ones(3, np.complex128)})
    with pytest.raises(PlanError, match="complex128"):
        resport.convert(source, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_progress_reaches_the_total(tmp_path: Path) -> None:
    source = write_values(tmp_path / "in.safetensors", {"a": np.ones(3, np.float32), "b": np.ones(5, np.float32)})
    seen: list[tuple[int, int]] = []
    resport.convert(source, tmp_path / "out.safetensors", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(12, 32), (32, 32)]


def test_a_full_disk_names_the_target_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_values(tmp_path / "in.safetensors", {"w": np.ones(3, np.float32)})
    (tmp_path / "out").mkdir()

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(os, "fsync", full)
    for name in ("out.safetensors", "out.h5", "out.weights.h5", "ckpt"):
        with pytest.raises(TargetWriteError) as caught:
            resport.convert(source, tmp_path / "out" / name)
        assert f"{name}` cannot be written: no space left on device" in str(caught.value)
        assert caught.value.hint is not None
        assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_values(tmp_path / "in.ckpt", {"w": np.ones(3, np.float32)})
    (tmp_path / "in.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(FormatError, match=r"in\.ckpt\.data-00000-of-00001` is missing"):
        resport.convert(tmp_path / "in.ckpt", tmp_path / "out.safetensors")


def test_an_interrupt_leaves_the_old_target(tmp_path: Path) -> None:
    source = write_values(tmp_path / "in.safetensors", {name: np.ones(3, np.float32) for name in "abc"})
    for name in ("out.safetensors", "out.h5", "out.weights.h5"):
        target = tmp_path / name
        target.write_bytes(b"precious")

        def interrupt(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            resport.convert(source, target, force=True, progress=interrupt)
        assert target.read_bytes() == b"precious"
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"fc.bias"', '"fc.weight"', "two rows give the torch name `fc.weight`"),
        ('with = ["conv/bias"]', 'with = ["conv/biases"]', "a fold names `conv2_conv/biases`"),
    ],
)
def test_a_table_of_ones_own_is_checked_as_a_whole(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Also in what this conversion does not need of it."""
    source = write_values(tmp_path / "slim.npz", slim_values())
    table = tmp_path / "own.toml"
    assert TABLE.count(old) == 1
    table.write_text(TABLE.replace(old, new))
    with pytest.raises(TableError, match=message):
        resport.convert(source, tmp_path / "keras.npz", to="keras", table=table)
    assert not (tmp_path / "keras.npz").exists()
