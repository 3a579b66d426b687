"""KerasShardedReader, against files made with h5py and by Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import pytest

from resport.errors import FormatError, OptionError, SourceNotFoundError
from resport.formats import open_reader, open_writer
from resport.formats.keras_sharded import KerasShardedReader
from tests.contracts import assert_same_bits, random_array, specs_of
from tests.formats.keras_models import fill_randomly, small_model, values_by_name

VALUES = {
    "first/kernel": random_array("float32", (3, 3, 2, 4)),
    "first/bias": random_array("float32", (4,)),
    "inner/top/kernel": random_array("float32", (4, 5)),
}
MAP: dict[str, Any] = {
    "/layers/conv2d/vars": ["m_00000.weights.h5", "m_00001.weights.h5"],
    "/layers/functional/layers/dense/vars": "m_00001.weights.h5",
}


def sharded(folder: Path, weight_map: object = MAP) -> Path:
    """A layer in two shards, and one of a nested model whose name is in the other shard."""
    with h5py.File(folder / "m_00000.weights.h5", "w") as file:
        file["layers/conv2d/vars/0"] = VALUES["first/kernel"]
        file["layers/conv2d/vars"].attrs["name"] = "first"
        file.create_group("layers/functional/vars").attrs["name"] = "inner"
    with h5py.File(folder / "m_00001.weights.h5", "w") as file:
        file["layers/conv2d/vars/1"] = VALUES["first/bias"]
        file["layers/functional/layers/dense/vars/0"] = VALUES["inner/top/kernel"]
        file["layers/functional/layers/dense/vars"].attrs["name"] = "top"
    path = folder / "m.weights.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}, indent=4))
    return path


@pytest.mark.parametrize("name", ["m.weights.json", "m_00000.weights.h5", "m_00001.weights.h5"])
def test_all_shards_are_one_checkpoint(tmp_path: Path, name: str) -> None:
    path = sharded(tmp_path)
    with open_reader(tmp_path / name) as reader:
        assert isinstance(reader, KerasShardedReader)
        assert reader.path == str(path)
        assert reader.manifest.keys() == VALUES.keys()
        for tensor, value in VALUES.items():
            assert_same_bits(reader.read(tensor), value)
        assert [Path(file).name for file in reader.files] == [path.name, "m_00000.weights.h5", "m_00001.weights.h5"]
        assert (reader.note is None) == (name == path.name)


def test_a_shard_of_another_index_is_a_file_of_its_own(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "m_00001.weights.h5").rename(tmp_path / "m_00002.weights.h5")
    with open_reader(tmp_path / "m_00002.weights.h5") as reader:
        assert not isinstance(reader, KerasShardedReader)


def test_a_missing_shard(tmp_path: Path) -> None:
    path = sharded(tmp_path)
    (tmp_path / "m_00001.weights.h5").unlink()
    with pytest.raises(SourceNotFoundError, match="m_00001"):
        open_reader(path)


@pytest.mark.parametrize(
    "weight_map",
    [
        {**MAP, "/layers/dense/vars": "m_00000.weights.h5"},
        {**MAP, "/layers/conv2d/vars": "m_00000.weights.h5"},
        {group: files for group, files in MAP.items() if "conv2d" not in group},
        {**MAP, "/layers/conv2d/vars": "../m_00000.weights.h5"},
        {**MAP, "/layers/conv2d/vars": ["/etc/m.h5"]},
        {**MAP, "/layers/conv2d/vars": 3},
        {**MAP, "/layers/conv2d/vars": [["m_00000.weights.h5"]]},
        {**MAP, "/layers/conv2d/vars": "m\0.h5"},
        {},
        [],
        None,
    ],
)
def test_an_index_that_is_not_of_the_shards(tmp_path: Path, weight_map: object) -> None:
    path = sharded(tmp_path, weight_map)
    with pytest.raises(FormatError, match=r"m\.weights\.json"):
        open_reader(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "[" * 100_000, b"\xff\xfe{"])
def test_a_damaged_index(tmp_path: Path, content: str | bytes) -> None:
    path = sharded(tmp_path)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(FormatError, match=r"m\.weights\.json"):
        open_reader(path)


def test_one_variable_in_two_shards(tmp_path: Path) -> None:
    path = sharded(tmp_path)
    with h5py.File(tmp_path / "m_00001.weights.h5", "a") as file:
        file["layers/conv2d/vars/0"] = VALUES["first/kernel"]
    with pytest.raises(FormatError, match="another shard"):
        KerasShardedReader(path)


def test_it_is_only_read(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="only read"):
        open_writer(tmp_path / "m.weights.json", specs_of(VALUES))


@pytest.mark.tf
def test_reads_what_keras_writes(tmp_path: Path) -> None:
    model = fill_randomly(small_model())
    # So few bytes that the kernel of some layer is in another file than its bias.
    model.save_weights(tmp_path / "m.weights.json", max_shard_size=600 / 1024**3)
    weight_map = json.loads((tmp_path / "m.weights.json").read_text())["weight_map"]
    assert any(isinstance(files, list) for files in weight_map.values())
    expected = values_by_name(model)
    with open_reader(tmp_path / "m.weights.json") as reader:
        got = {name.replace("no_center/beta", "no_center/gamma"): reader.read(name) for name in reader.manifest}
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert_same_bits(got[name], value)
