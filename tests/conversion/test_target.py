"""The target's format and the options of its writer, given to ``resport.convert`` and on the command line."""

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
from resport.errors import OptionError, PlanError
from tests.contracts import assert_same_bits
from tests.tiny import slim_values, write_values


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.npz"
    np.savez(path, **slim_values())
    return path


def check(path: Path) -> None:
    expected = slim_values()
    with resport.open_reader(path) as reader:
        assert set(reader.manifest) == set(expected)
        for name, array in expected.items():
            assert_same_bits(reader.read(name), array)


def test_format_overrides_the_name(tmp_path: Path, source: Path) -> None:
    report = resport.convert(source, tmp_path / "weights.bin", format="safetensors")
    assert report.target_format == "safetensors"
    assert safetensors.numpy.load_file(tmp_path / "weights.bin").keys() == slim_values().keys()
    check(tmp_path / "weights.bin")


def test_unknown_format(tmp_path: Path, source: Path) -> None:
    with pytest.raises(OptionError, match="there is no format `zip`") as caught:
        resport.convert(source, tmp_path / "m", format="zip")
    assert "npz" in str(caught.value.expected)


def test_a_format_that_is_only_read(tmp_path: Path, source: Path) -> None:
    with pytest.raises(OptionError, match="only read"):
        resport.convert(source, tmp_path / "m", format="frozen-graph", dry_run=True)


@pytest.mark.parametrize("size", [1000, "1KB"])
def test_largest_size_of_a_shard(tmp_path: Path, source: Path, size: int | str) -> None:
    report = resport.convert(source, tmp_path / "m.safetensors", max_shard_size=size)
    assert (report.target_format, report.n_targets) == ("safetensors-sharded", len(slim_values()))
    index = json.loads((tmp_path / "m.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 1
    for shard in shards:
        tensors = safetensors.numpy.load_file(tmp_path / shard)
        assert sum(array.nbytes for array in tensors.values()) <= 1000 or len(tensors) == 1
        with safetensors.safe_open(tmp_path / shard, "numpy") as file:
            assert json.loads(file.metadata()["resport"])["source"]["format"] == "npz"
    check(tmp_path / "m.safetensors.index.json")


@pytest.mark.parametrize(
    ("name", "written", "format"),
    [("m.safetensors", "m.safetensors", "safetensors"), ("m.safetensors.index.json",) * 2 + ("safetensors-sharded",)],
)
def test_what_fits_into_one_shard_is_called_what_it_is(
    tmp_path: Path, source: Path, name: str, written: str, format: str
) -> None:
    planned = resport.convert(source, tmp_path / name, max_shard_size="1GB", dry_run=True)
    report = resport.convert(source, tmp_path / name, max_shard_size="1GB")
    assert (planned.target_format, report.target_format) == (format, format)
    with resport.open_reader(tmp_path / written) as reader:
        assert reader.format == format


def test_number_of_shards(tmp_path: Path, source: Path) -> None:
    resport.convert(source, tmp_path / "m.ckpt", n_shards=3)
    assert sorted(path.name for path in tmp_path.glob("m.ckpt.data-*")) == [
        f"m.ckpt.data-0000{i}-of-00003" for i in range(3)
    ]
    check(tmp_path / "m.ckpt")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("m.npz", {"max_shard_size": "1GB"}, "not split by size"),
        ("m.ckpt", {"max_shard_size": 1}, "not split by size"),
        ("m.safetensors", {"max_shard_size": "big"}, "no size of a shard"),
        ("m.safetensors", {"n_shards": 2}, "split into a number of shards"),
        ("m.h5", {"n_shards": 1}, "split into a number of shards"),
        ("m.ckpt", {"n_shards": 0}, "number of shards cannot be"),
        ("m.npz", {"write_state": True}, "`checkpoint` file"),
    ],
)
def test_options_that_the_format_has_not(
    tmp_path: Path, source: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        resport.convert(source, tmp_path / name, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["source.npz"]


def test_what_a_format_cannot_hold_is_known_before(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", z=np.ones(2, np.complex128))
    with pytest.raises(PlanError, match="cannot hold") as caught:
        resport.convert(tmp_path / "m.npz", tmp_path / "out.safetensors", max_shard_size="1GB", dry_run=True)
    assert "complex128" in str(caught.value)


def test_a_sharded_source_is_not_written_over(tmp_path: Path) -> None:
    write_values(tmp_path / "source.safetensors", slim_values())
    resport.convert(tmp_path / "source.safetensors", tmp_path / "m.safetensors", max_shard_size=1000)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for target in ("m.safetensors", "m.safetensors.index.json"):
        with pytest.raises(OptionError, match="the same"):
            resport.convert(tmp_path / "m.safetensors.index.json", tmp_path / target, max_shard_size=500, force=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_command_line(tmp_path: Path, source: Path) -> None:
    run = CliRunner().invoke
    result = run(
        command, ["convert", str(source), str(tmp_path / "m.safetensors"), "--max-shard-size", "1KB", "--json"]
    )
    assert (result.exit_code, json.loads(result.stdout)["target_format"]) == (0, "safetensors-sharded")
    result = run(
        command, ["convert", str(source), str(tmp_path / "m.ckpt"), "--n-shards", "2", "--format", "tensorflow-v2"]
    )
    assert result.exit_code == 0 and (tmp_path / "m.ckpt.data-00001-of-00002").is_file()
    check(tmp_path / "m.ckpt")
