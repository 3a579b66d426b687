"""The record of a comparison: every tensor of either side once, hashes as others compute them, versions as installed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resport
from resport.errors import FormatError
from resport.verification import weights as weights_module
from resport.verification.record import Record
from tests.tiny import keras_values, slim_values, torch_values, write_table, write_values

Values = dict[str, np.ndarray]


def record(tmp_path: Path, source: Values, target: Values, **options: object) -> Record:
    """What ``verify`` records of two sets of values."""
    source_path = write_values(tmp_path / "source.safetensors", source)
    target_path = write_values(tmp_path / "target.safetensors", target)
    report = resport.verify(source_path, target_path, weights_only=True, table=write_table(tmp_path), **options)  # type: ignore[arg-type]
    assert report.record is not None
    assert report.to_dict()["record"] == report.record.to_dict()
    return report.record


def test_every_tensor_of_either_side_is_listed_once(tmp_path: Path) -> None:
    slim = slim_values() | {"global_step": np.array(7, np.int64)}
    keras = keras_values(slim) | {"extra": np.ones(3, np.float32)}
    keras["conv2_bn/gamma"] = keras["conv2_bn/gamma"] + np.float32(1)
    found = record(tmp_path, slim, keras)
    rows = {(each.sources, each.target): (each.move, each.result) for each in found.tensors}
    assert len(rows) == len(found.tensors)
    assert {name for sources, _ in rows for name in sources} == set(slim)
    assert {target for _, target in rows if target is not None} == set(keras)
    assert rows[("tiny_2/block1/conv/weights",), "conv2_conv/kernel"] == ("as it is", "equal")
    assert rows[("tiny_2/block1/conv/BatchNorm/gamma",), "conv2_bn/gamma"] == ("as it is", "values")
    assert rows[("tiny_2/logits/weights",), "predictions/kernel"] == ("1 1 i classes -> i classes", "equal")
    assert rows[(), "conv2_conv/bias"] == ("constant 0", "equal")
    assert rows[(), "extra"] == ("the source has no tensor for it", "unexpected")
    assert rows[("global_step",), None][1] == "left out"


def test_moves_say_what_is_done_to_the_values(tmp_path: Path) -> None:
    slim = slim_values()
    half = {name: array.astype(np.float16) for name, array in torch_values(slim).items()}
    rows = {each.target: each for each in record(tmp_path, slim, half, dtype="float16").tensors}
    kernel = rows["layers.0.conv.weight"]
    assert (kernel.shape, kernel.dtype) == ((3, 3, 3, 3), "float16")
    assert kernel.move == "h w i o -> o i h w, float32 to float16"
    assert rows["fc.bias"].move == "float32 to float16"


def test_a_fold_names_what_it_takes_in(tmp_path: Path) -> None:
    slim = slim_values()
    keras = keras_values(slim)
    rng = np.random.default_rng(1)
    for name in ("conv2_conv/bias", "conv3_conv/bias"):
        keras[name] = rng.normal(size=keras[name].shape).astype(np.float32)
    rows = {each.target: each for each in record(tmp_path, keras, slim, fold=True).tensors}
    assert rows["tiny_2/block1/conv/BatchNorm/moving_mean"].move == "bias into mean conv2_conv/bias"


def test_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    found = record(tmp_path, slim_values(), keras_values(slim_values()))
    for name, digest in (("source", found.source_sha256), ("target", found.target_sha256)):
        assert digest == hashlib.sha256((tmp_path / f"{name}.safetensors").read_bytes()).hexdigest()
    assert found.table == "tiny"
    assert found.table_sha256 == resport.load_table(tmp_path / "tiny.toml").sha256


def test_networks_that_no_table_knows_are_recorded_by_name(tmp_path: Path) -> None:
    values = {"a": np.arange(3, dtype=np.float32), "b": np.arange(4, dtype=np.float32)}
    paths = [write_values(tmp_path / f"{name}.safetensors", values) for name in ("one", "two")]
    found = resport.verify(*paths).record
    assert found is not None
    assert (found.table, found.table_sha256) == (None, None)
    assert [(each.sources, each.target, each.result) for each in found.tensors] == [
        (("a",), "a", "equal"),
        (("b",), "b", "equal"),
    ]


def test_the_same_comparison_gives_the_same_record(tmp_path: Path) -> None:
    first = record(tmp_path, slim_values(), keras_values(slim_values()))
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    assert record(tmp_path, slim_values(), keras_values(slim_values())) == first


def test_versions_are_told_without_importing_what_they_are_of() -> None:
    code = "import sys; from resport.verification.environment import environment; v = environment(); print(v, *sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"'resport': '{resport.__version__}'" in told
    assert f"'numpy': '{metadata.version('numpy')}'" in told
    assert not {"tensorflow", "keras", "tf_keras", "tf_slim"} & set(told.split())


def test_a_library_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from resport.verification import environment

    monkeypatch.setattr(environment, "ENVIRONMENT_DISTRIBUTIONS", ("numpy", "no-such-library"))
    assert list(environment.environment()) == ["resport", "python", "numpy", "platform"]


def test_a_file_that_changes_while_it_is_judged_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hashes are of is what was compared."""
    values = {"a": np.arange(6, dtype="float32")}
    source, target = write_values(tmp_path / "s.npz", values), write_values(tmp_path / "t.safetensors", values)
    compare = weights_module.compare_weights

    def changing(*arguments: Any) -> Any:
        found = compare(*arguments)
        os.utime(target, ns=(1, 1))
        return found

    monkeypatch.setattr("resport.verification.verification.compare_weights", changing)
    with pytest.raises(FormatError, match="was changed while it was read"):
        resport.verify(source, target, weights_only=True)
