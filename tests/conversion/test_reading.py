"""How an old Keras file is to be read: said once, on conversion, it is in the report, the target and the comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner

import resport
from resport.cli.main import resport as command
from resport.errors import OptionError
from tests.contracts import assert_same_bits, random_array
from tests.formats.test_keras_era import era_file, theano_kernel
from tests.tiny import write_values

CUBE = random_array("float32", (3, 3, 3, 3))
"""A kernel whose shape doesn't tell its order."""

DEVIATION = np.random.default_rng(1).uniform(0.5, 2, 3).astype(np.float32)
OPTIONS: dict[str, Any] = {"kernel_order": "hwio-flipped", "deviation_epsilon": 0.001}
WORDS = ["--kernel-order", "hwio-flipped", "--deviation-epsilon", "1e-3"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of Keras 1 that is taken for Theano's if nobody says that it isn't."""
    return era_file(tmp_path / "old.h5", {"c": {"c_W": CUBE}, "bn": {"bn_running_std": DEVIATION}})


def expected() -> dict[str, np.ndarray]:
    wide = DEVIATION.astype(np.float64)
    return {
        "c/kernel": CUBE[::-1, ::-1].copy(),
        "bn/moving_variance": ((wide + 0.001) ** 2 - 0.001).astype(np.float32),
    }


def test_convert_reads_as_it_is_told(tmp_path: Path, source: Path) -> None:
    report = resport.convert(source, tmp_path / "new.safetensors", **OPTIONS)
    assert report.options == OPTIONS
    found = safetensors.numpy.load_file(tmp_path / "new.safetensors")
    assert found.keys() == expected().keys()
    for name, array in expected().items():
        assert_same_bits(found[name], array)
    with resport.open_reader(tmp_path / "new.safetensors") as reader:
        assert json.loads(reader.metadata["resport"])["options"] == OPTIONS


def test_verify_reads_the_source_as_the_target_says(tmp_path: Path, source: Path) -> None:
    resport.convert(source, tmp_path / "new.safetensors", **OPTIONS)
    assert resport.verify(source, tmp_path / "new.safetensors", weights_only=True).verdict == "equal"
    other = resport.verify(source, tmp_path / "new.safetensors", weights_only=True, kernel_order="hwio")
    assert [each.name for each in other.weights.differences] == ["c/kernel"]
    resport.convert(source, tmp_path / "plain.npz")
    assert resport.verify(source, tmp_path / "plain.npz", weights_only=True).verdict == "equal"


@pytest.mark.parametrize("options", [{"kernel_order": 5, "deviation_epsilon": [1]}, [], 3])
def test_what_a_target_says_may_be_anything(tmp_path: Path, source: Path, options: object) -> None:
    with resport.open_reader(source) as reader:
        values = {name: reader.read(name) for name in reader.manifest}
    target = write_values(tmp_path / "new.npz", values, {"resport": json.dumps({"options": options})})
    assert resport.verify(source, target, weights_only=True).verdict == "equal"


def test_a_source_of_another_format_is_read_without(tmp_path: Path, source: Path) -> None:
    resport.convert(source, tmp_path / "new.safetensors", **OPTIONS)
    same = write_values(tmp_path / "same.npz", expected())
    assert resport.verify(same, tmp_path / "new.safetensors", weights_only=True).verdict == "equal"


def test_diff_reads_the_side_that_can_be_read_so(tmp_path: Path, source: Path) -> None:
    new = write_values(tmp_path / "new.npz", expected())
    assert resport.diff(source, new, **OPTIONS).verdict == "equal"
    assert resport.diff(new, source, **OPTIONS).verdict == "equal"
    assert resport.diff(source, new).verdict == "different"


def test_inspect_lists_what_would_be_read(source: Path, tmp_path: Path) -> None:
    path = era_file(tmp_path / "oihw.h5", {"c": {"c_W:0": theano_kernel(random_array("float32", (3, 3, 2, 2)))}})
    assert resport.inspect(path, kernel_order="hwio").tensors[0].shape == (2, 2, 3, 3)
    assert resport.inspect(path, kernel_order="oihw").tensors[0].shape == (3, 3, 2, 2)
    assert resport.inspect(source, deviation_epsilon=1e-3).tensors[1].name == "bn/moving_variance"


def test_formats_without_the_options_refuse_them(tmp_path: Path, source: Path) -> None:
    a, b = (write_values(tmp_path / name, expected()) for name in ("a.npz", "b.npz"))
    for option in ({"kernel_order": "hwio"}, {"deviation_epsilon": 1e-3}):
        name = next(iter(option))
        for call in (
            lambda option=option: resport.convert(a, tmp_path / "c.npz", **option),
            lambda option=option: resport.inspect(a, **option),
            lambda option=option: resport.diff(a, b, **option),
            lambda option=option: resport.verify(a, b, **option),
        ):
            with pytest.raises(OptionError, match=name):
                call()
    assert not (tmp_path / "c.npz").exists()


def test_command_line(tmp_path: Path, source: Path) -> None:
    def run(*arguments: str | Path) -> dict[str, Any]:
        result = CliRunner().invoke(command, [*map(str, arguments), "--json"])
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    new = tmp_path / "new.safetensors"
    assert run("convert", source, new, *WORDS)["options"] == OPTIONS
    assert run("diff", source, new, *WORDS)["verdict"] == "equal"
    assert run("verify", source, new, "--weights-only", *WORDS)["verdict"] == "equal"
    assert run("verify", source, new, "--weights-only")["verdict"] == "equal"
    assert "as asked for" in run("inspect", source, *WORDS)["note"]
