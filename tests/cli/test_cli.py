"""The command line as it is typed: output, errors and exit statuses, compared literally."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import keras_values, slim_values, write_table, write_values


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resport", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a table, a slim checkpoint and the same network under the names of Keras."""
    write_table(tmp_path)
    write_values(tmp_path / "model.ckpt-5", slim_values())
    write_values(tmp_path / "keras.safetensors", keras_values(slim_values()))
    return tmp_path


def test_help_lists_every_command(tmp_path: Path) -> None:
    result = run("--help", cwd=tmp_path)
    assert result.returncode == 0
    for command in (
        "inspect",
        "convert",
        "slim-to-keras",
        "keras-to-slim",
        "verify",
        "diff",
        "init",
        "mappings",
        "demo",
    ):
        assert f"\n  {command} " in result.stdout
        assert run(command, "--help", cwd=tmp_path).returncode == 0


def test_convert_and_back(place: Path) -> None:
    result = run("slim-to-keras", "model.ckpt-5", "out.h5", "--table", "tiny.toml", cwd=place)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("wrote out.h5 (keras-legacy-h5)\n  tiny_2, slim to keras, 7 classes\n")
    assert "12 tensors moved, 2 filled, 0 left out; 14 written" in result.stdout
    assert "filled with 0:\n    conv{2..3}_conv/bias (2)\n" in result.stdout
    assert (
        run("keras-to-slim", "out.h5", "back", "--table", "tiny.toml", "--variant", "tiny_2", cwd=place).returncode == 0
    )
    diff = run("diff", "model.ckpt-5", "back", cwd=place)
    assert (diff.returncode, diff.stdout) == (0, "equal: 12 of 12 shared tensors are equal bit for bit\n")


def test_json_is_one_object_with_the_promised_keys(place: Path) -> None:
    result = run(
        "convert", "model.ckpt-5", "o.safetensors", "--to", "keras", "--table", "tiny.toml", "--json", cwd=place
    )
    report = json.loads(result.stdout)
    keys = {"source", "target", "family", "variant", "from", "to", "moved", "ignored", "filled", "nbytes", "seconds"}
    assert keys | {"warnings"} <= set(report)
    assert (report["from"], report["to"], report["moved"]) == ("slim", "keras", 12)
    listing = json.loads(run("inspect", "o.safetensors", "--stats", "--json", cwd=place).stdout)
    assert {"path", "format", "n_tensors", "nbytes", "tensors", "detected"} <= set(listing)
    assert set(listing["tensors"][0]) >= {"name", "shape", "dtype", "nbytes", "stats"}
    verdict = json.loads(
        run(
            "verify", "model.ckpt-5", "o.safetensors", "--weights-only", "--table", "tiny.toml", "--json", cwd=place
        ).stdout
    )
    assert {"verdict", "weights", "forward", "self_test", "diagnosis"} <= set(verdict)
    assert verdict["verdict"] == "equal"


def test_exit_status_is_that_of_cmp(place: Path) -> None:
    changed = keras_values(slim_values(seed=1))
    write_values(place / "other.safetensors", changed)
    assert run("diff", "keras.safetensors", "keras.safetensors", cwd=place).returncode == 0
    assert run("diff", "keras.safetensors", "other.safetensors", cwd=place).returncode == 1
    assert run("diff", "keras.safetensors", "missing.safetensors", cwd=place).returncode == 2
    arguments = ("verify", "model.ckpt-5", "other.safetensors", "--weights-only", "--table", "tiny.toml")
    different = run(*arguments, cwd=place)
    assert different.returncode == 1
    assert different.stdout.startswith("different\n")
    assert run("convert", "--no-such-option", cwd=place).returncode == 2


def test_a_refused_plan(place: Path) -> None:
    slim = slim_values()
    slim["tiny_2/block1/conv/BatchNorm/gama"] = slim.pop("tiny_2/block1/conv/BatchNorm/gamma")
    del slim["tiny_2/logits/biases"]
    slim["tiny_2/block2/conv/weights"] = np.ones((3, 3, 4, 5), np.float32)
    write_values(place / "bad", slim)
    result = run("slim-to-keras", "bad", "out.h5", "--table", "tiny.toml", cwd=place)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "error: tiny_2 (slim to keras) does not fit, nothing was written\n"
        "  missing, 2 of the slim names of tiny_2:\n"
        "    tiny_2/block1/conv/BatchNorm/gamma\n"
        "    tiny_2/logits/biases\n"
        "  unexpected, 1 that tiny has no row for:\n"
        "    tiny_2/block1/conv/BatchNorm/gama\n"
        "  mismatched, 1 whose shape does not fit:\n"
        "    tiny_2/block2/conv/weights: expected (3, 3, 4, 4), got (3, 3, 4, 5) (axis `o` is 5 instead of 4)\n"
        "hint: `--ignore GLOB` leaves tensors out by name, and the report lists them\n"
    )
    assert not (place / "out.h5").exists()


def test_the_path_doctor_says_what_it_took(place: Path) -> None:
    result = run("convert", "model.ckpt-5.index", "out.safetensors", cwd=place)
    assert result.returncode == 0
    assert "model.ckpt-5" in result.stderr


def test_wrong_path(place: Path) -> None:
    result = run("inspect", "modle.ckpt-5", cwd=place)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: `modle.ckpt-5`")
    assert "hint:" in result.stderr and "model.ckpt-5" in result.stderr


def test_names_cannot_command_the_terminal(tmp_path: Path) -> None:
    write_values(tmp_path / "a.safetensors", {"evil\x1b[2J\r": np.ones(2)})
    result = run("inspect", "a.safetensors", cwd=tmp_path)
    assert "\x1b" not in result.stdout and "\r" not in result.stdout
    assert "evil\\x1b[2J\\r" in result.stdout


def test_a_closed_pipe_is_no_traceback(place: Path) -> None:
    command = f"{sys.executable} -m resport inspect model.ckpt-5 --all | head -n 1"
    result = subprocess.run(command, shell=True, cwd=place, capture_output=True, text=True, check=False)
    assert result.stderr == ""


def test_inspect_in_a_pipe_has_a_line_for_each_tensor(place: Path) -> None:
    lines = run("inspect", "model.ckpt-5", cwd=place).stdout.splitlines()
    assert any(line.split()[0] == "tiny_2/block1/conv/weights" for line in lines if line)
    assert lines[-1] == "12 tensors (8 weight, 4 statistic), 302 float32 values, 1.2 kB"
    folded = run("inspect", "model.ckpt-5", "--folded", cwd=place).stdout
    assert "tiny_2/block{1..2}/conv/weights" in folded


def test_init_then_convert_without_a_framework(tmp_path: Path) -> None:
    write_table(tmp_path)
    result = run("init", "tiny_3", "net", "--num-classes", "4", "--table", "tiny.toml", cwd=tmp_path)
    assert (result.returncode, result.stdout[:10]) == (0, "wrote net:")
    again = run("init", "tiny_3", "net2", "--num-classes", "4", "--table", "tiny.toml", cwd=tmp_path)
    assert again.returncode == 0
    assert (tmp_path / "net.index").read_bytes() == (tmp_path / "net2.index").read_bytes()
    assert run("slim-to-keras", "net", "net.weights.h5", "--table", "tiny.toml", cwd=tmp_path).returncode == 0
    assert run("init", "tiny_9", "x", "--table", "tiny.toml", cwd=tmp_path).returncode == 2


def test_mappings(place: Path) -> None:
    assert "tiny_3" in run("mappings", "check", "tiny.toml", cwd=place).stdout
    against = run("mappings", "check", "tiny.toml", "--against", "model.ckpt-5", cwd=place)
    assert "tiny_2 (slim) equals model.ckpt-5 in every name and shape" in against.stdout
    write_values(place / "odd", {**slim_values(), "stray": np.ones(2)})
    odd = run("mappings", "check", "tiny.toml", "--against", "odd", cwd=place)
    assert odd.returncode == 2 and "stray" in odd.stderr
    explained = run(
        "mappings", "explain", "layers.0.conv.weight", "--table", "tiny.toml", "--variant", "tiny_2", cwd=place
    )
    assert "from slim: h w i o -> o i h w" in explained.stdout
    assert "tiny_2/block1/conv/weights" in explained.stdout
    listed = run("mappings", "list", cwd=place).stdout
    assert ["resnet_v2", "resnet_v2_50", "slim", "272"] in [line.split() for line in listed.splitlines()]
    shown = run("mappings", "show", "resnet_v2", "--variant", "resnet_v2_101", cwd=place).stdout
    assert "resnet_v2_101/block{1..4}/unit_1/bottleneck_v2/shortcut/weights" in shown


def test_a_full_disk_is_one_message(place: Path) -> None:
    result = run("convert", "model.ckpt-5", "/dev/full/out.safetensors", cwd=place)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_json_of_a_refusal_lists_all_that_the_message_folds(place: Path) -> None:
    write_values(place / "many", {**slim_values(), **{f"stray{i}{'x' * i}": np.ones(2) for i in range(30)}})
    arguments = ("slim-to-keras", "many", "out.h5", "--table", "tiny.toml", "--variant", "tiny_2", "--json")
    result = run(*arguments, cwd=place)
    assert result.returncode == 2
    error = json.loads(result.stdout)["error"]
    assert (error["kind"], len(error["problems"]["unexpected"])) == ("PlanError", 30)
    assert "… and 20 more (`--json` lists all)" in result.stderr
