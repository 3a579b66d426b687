"""Sharded safetensors, against the safetensors library and the layout of the Hugging Face libraries."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from resport.conversion import convert
from resport.dtypes import BY_SAFETENSORS, to_numpy
from resport.errors import FormatError, OptionError, SourceNotFoundError, TargetExistsError
from resport.formats import open_reader, open_writer, sharded_safetensors
from resport.formats.safetensors import SafetensorsReader, SafetensorsWriter
from resport.formats.shard_index import deal_out, parse_size
from resport.formats.sharded_safetensors import ShardedSafetensorsReader, ShardedSafetensorsWriter
from resport.tensors import TensorSpec
from tests.contracts import FormatContract, assert_same_bits, open_files, random_array, specs_of

Tensors = dict[str, np.ndarray]
INDEX = "model.safetensors.index.json"


class TestShardedSafetensors(FormatContract):
    reader, writer, filename = ShardedSafetensorsReader, ShardedSafetensorsWriter, INDEX

    def store(self, path: str, tensors: Mapping[str, np.ndarray], **options: Any) -> None:
        order, dtypes = options.get("order"), options.get("dtypes")
        # About three shards, however much it is.
        size = max(1, sum(array.nbytes for array in tensors.values()) // 3)
        specs = specs_of(tensors, dtypes)
        with self.writer(path, specs, metadata=options.get("metadata"), max_shard_size=size) as writer:
            for name in order or tensors:
                writer.write(name, tensors[name])

    def oracle_read(self, path: str) -> Tensors:
        index = json.loads(Path(path).read_text())
        tensors = {}
        for name, shard in index["weight_map"].items():
            entry = dict(safetensors.deserialize((Path(path).parent / shard).read_bytes()))[name]
            kind = to_numpy(BY_SAFETENSORS[entry["dtype"]].name)
            tensors[name] = np.frombuffer(entry["data"], kind).reshape(entry["shape"])
        assert index["metadata"]["total_size"] == sum(array.nbytes for array in tensors.values())
        return tensors


def some_tensors(seed: int = 0) -> Tensors:
    shapes = {
        "z": (4, 4),
        "a/kernel": (3, 3, 2),
        "a/bias": (2,),
        "huge": (100,),
        "scalar": (),
        "empty": (0, 2),
        "b": (8,),
    }
    return {name: random_array("float32", shape, seed + i) for i, (name, shape) in enumerate(shapes.items())}


def store(path: Path | str, tensors: Tensors, **options: Any) -> None:
    with open_writer(path, specs_of(tensors), **options) as writer:
        for name, array in tensors.items():
            writer.write(name, array)


def load(path: Path | str) -> Tensors:
    with open_reader(path) as reader:
        return {name: reader.read(name) for name in reader.manifest}


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def published(folder: Path, tensors: Tensors, shard_of: Mapping[str, str], **index: Any) -> Path:
    """A checkpoint as others publish it: shards of the library, an index of json."""
    for shard in set(shard_of.values()):
        held = {name: tensors[name] for name in tensors if shard_of.get(name) == shard}
        safetensors.numpy.save_file(held, folder / shard, metadata={"format": "pt"})
    value = {"metadata": {"total_size": sum(a.nbytes for a in tensors.values())}, "weight_map": dict(shard_of)} | index
    (folder / INDEX).write_text(json.dumps(value))
    return folder / INDEX


TWO = {
    "z": "model-00001-of-00002.safetensors",
    "a": "model-00001-of-00002.safetensors",
    "b": "model-00002-of-00002.safetensors",
}
ARRAYS = {name: random_array("float32", (2, 3), seed) for seed, name in enumerate("zab")}


# Reading


@pytest.mark.parametrize("given", [INDEX, ".", "model-00002-of-00002.safetensors", "model.safetensors"])
def test_every_way_to_name_it(tmp_path: Path, given: str) -> None:
    index = published(tmp_path, ARRAYS, TWO)
    with open_reader(tmp_path / given) as reader:
        assert isinstance(reader, ShardedSafetensorsReader)
        assert reader.path == str(index)
        assert reader.files == tuple(str(tmp_path / name) for name in (INDEX, *sorted(set(TWO.values()))))
        assert (reader.note is None) == (given == INDEX)
        assert sorted(reader.manifest) == ["a", "b", "z"]
        assert reader.metadata == {"format": "pt"}
        for name, expected in ARRAYS.items():
            assert_same_bits(reader.read(name), expected)


def test_an_index_under_another_name(tmp_path: Path) -> None:
    index = published(tmp_path, ARRAYS, TWO).rename(tmp_path / "weights.json")
    assert sorted(load(index)) == ["a", "b", "z"]


def test_a_shard_without_its_index_is_a_file_of_its_own(tmp_path: Path) -> None:
    published(tmp_path, ARRAYS, TWO).unlink()
    with open_reader(tmp_path / TWO["b"]) as reader:
        assert isinstance(reader, SafetensorsReader) and list(reader.manifest) == ["b"]


def test_a_file_that_the_index_does_not_name_is_none_of_its_shards(tmp_path: Path) -> None:
    published(tmp_path, ARRAYS, TWO)
    stranger = tmp_path / "model-00007-of-00009.safetensors"
    safetensors.numpy.save_file({"x": np.arange(3)}, stranger)
    with open_reader(stranger) as reader:
        assert isinstance(reader, SafetensorsReader) and list(reader.manifest) == ["x"]


def test_a_folder_with_two_indexes(tmp_path: Path) -> None:
    published(tmp_path, ARRAYS, TWO)
    (tmp_path / "model.fp16.safetensors.index.json").write_text("{}")
    with pytest.raises(OptionError, match="2 sharded checkpoints") as caught:
        open_reader(tmp_path)
    assert "model.fp16" in str(caught.value)


def test_a_missing_shard_can_be_told_from_the_rest(tmp_path: Path) -> None:
    index = published(tmp_path, ARRAYS, TWO)
    (tmp_path / TWO["a"]).unlink()
    with open_reader(index) as reader:
        assert list(reader.manifest) == ["b"]
        assert TWO["a"] in str(reader.note) and "2 tensors" in str(reader.note)
        assert_same_bits(reader.read("b"), ARRAYS["b"])
        with pytest.raises(FormatError, match=TWO["a"]) as caught:
            reader.read("a")
        assert "`z`, `a`" in str(caught.value)
        with pytest.raises(KeyError):
            reader.read("c")


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_missing_shard_is_not_converted_over(tmp_path: Path, dry_run: bool) -> None:
    index = published(tmp_path, ARRAYS, TWO)
    (tmp_path / TWO["a"]).unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(FormatError, match=TWO["a"]):
        convert(index, tmp_path / "out/m.npz", dry_run=dry_run)
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize("total_size", [1, 73, "text", None, 1e300])
def test_a_wrong_total_is_noted(tmp_path: Path, total_size: Any) -> None:
    index = published(tmp_path, ARRAYS, TWO, metadata={"total_size": total_size, "name": "x"})
    with open_reader(index) as reader:
        assert ("72" in str(reader.note)) == isinstance(total_size, int)
        assert reader.metadata["name"] == "x"


def test_links_to_shards_are_followed(tmp_path: Path) -> None:
    """As in a download cache, where every file is a link to a blob."""
    (tmp_path / "blobs").mkdir()
    published(tmp_path / "blobs", ARRAYS, TWO)
    (tmp_path / "snapshot").mkdir()
    for name in names(tmp_path / "blobs"):
        (tmp_path / "snapshot" / name).symlink_to(tmp_path / "blobs" / name)
    assert_same_bits(load(tmp_path / "snapshot")["b"], ARRAYS["b"])


def test_more_shards_than_are_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded_safetensors, "MAX_OPEN_SHARDS", 1)
    index = published(tmp_path, ARRAYS, TWO)
    with open_reader(index) as reader:
        for name, expected in ARRAYS.items():
            assert_same_bits(reader.read(name), expected)
        safetensors.numpy.save_file({"b": np.arange(3)}, tmp_path / TWO["b"])
        with pytest.raises(FormatError, match="was changed"):
            reader.read("b")
    assert not any(str(tmp_path) in name for name in open_files())


# Contradictions and attacks


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    index = published(tmp_path, ARRAYS, TWO)
    safetensors.numpy.save_file({"b": ARRAYS["b"], "a": ARRAYS["a"]}, tmp_path / TWO["b"])
    with pytest.raises(FormatError, match="contradict each other about `a`") as caught:
        open_reader(index)
    assert TWO["a"] in str(caught.value.expected) and TWO["b"] in str(caught.value.got)


def test_a_tensor_that_the_index_does_not_name(tmp_path: Path) -> None:
    index = published(tmp_path, ARRAYS, TWO)
    safetensors.numpy.save_file({"b": ARRAYS["b"], "c": ARRAYS["a"]}, tmp_path / TWO["b"])
    with pytest.raises(FormatError, match="contradict each other about `c`"):
        open_reader(index)


def test_a_tensor_in_no_shard(tmp_path: Path) -> None:
    index = published(tmp_path, ARRAYS, TWO)
    safetensors.numpy.save_file({"z": ARRAYS["z"]}, tmp_path / TWO["a"])
    with pytest.raises(FormatError, match="has not `a`"):
        open_reader(index)
    assert not any(str(tmp_path) in name for name in open_files())


def test_a_damaged_shard(tmp_path: Path) -> None:
    index = published(tmp_path, ARRAYS, TWO)
    (tmp_path / TWO["b"]).write_bytes((tmp_path / TWO["b"]).read_bytes()[:-1])
    with pytest.raises(FormatError, match=TWO["b"]):
        open_reader(index)
    (tmp_path / TWO["b"]).unlink()
    os.mkfifo(tmp_path / TWO["b"])
    with open_reader(index) as reader, pytest.raises(FormatError, match="is missing"):
        reader.read("b")


HOSTILE = {
    "empty": b"",
    "not json": b"{nonsense",
    "not utf-8": b'{"weight_map":{"\xff":"a.safetensors"}}',
    "a list": b"[]",
    "no map": b'{"metadata":{}}',
    "map is a list": b'{"weight_map":[]}',
    "key twice": b'{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}',
    "nested deeply": b'{"weight_map":' * 100_000,
    "a number of 5000 digits": b'{"metadata":{"total_size":' + b"9" * 5000 + b'},"weight_map":{}}',
    "up": b'{"weight_map":{"a":"../x.safetensors"}}',
    "from the root": b'{"weight_map":{"a":"/etc/x.safetensors"}}',
    "a folder below": b'{"weight_map":{"a":"b/x.safetensors"}}',
    "backslash": rb'{"weight_map":{"a":"..\\x.safetensors"}}',
    "nul": rb'{"weight_map":{"a":"\u0000.safetensors"}}',
    "two dots": b'{"weight_map":{"a":".."}}',
    "nothing": b'{"weight_map":{"a":""}}',
    "a number": b'{"weight_map":{"a":1}}',
    "a pickle": b'{"weight_map":{"a":"pytorch_model-00001-of-00002.bin"}}',
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_index_is_refused(tmp_path: Path, attack: str) -> None:
    (tmp_path / INDEX).write_bytes(HOSTILE[attack])
    with pytest.raises(FormatError, match=r"model\.safetensors\.index\.json") as caught:
        open_reader(tmp_path / INDEX)
    assert caught.value.path == str(tmp_path / INDEX)


def test_an_index_larger_than_any(tmp_path: Path) -> None:
    with (tmp_path / INDEX).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FormatError, match="too large"):
        open_reader(tmp_path / INDEX)


# Writing


def test_layout_is_that_of_the_hugging_face_libraries(tmp_path: Path) -> None:
    tensors = some_tensors()
    store(tmp_path / "model.safetensors", tensors, max_shard_size=140, metadata={"resport": "{}", "format": "pt"})
    shards = [f"model-0000{i}-of-00004.safetensors" for i in (1, 2, 3, 4)]
    assert names(tmp_path) == [*shards, INDEX]
    expected = {"z": 0, "a/kernel": 0, "a/bias": 1, "huge": 2, "scalar": 3, "empty": 3, "b": 3}
    total = sum(array.nbytes for array in tensors.values())
    content = {
        "metadata": {"total_size": total},
        "weight_map": {name: shards[i] for name, i in sorted(expected.items())},
    }
    assert (tmp_path / INDEX).read_text() == json.dumps(content, indent=2) + "\n"
    for shard in shards:
        with safetensors.safe_open(tmp_path / shard, "numpy") as file:
            assert file.metadata() == {"resport": "{}", "format": "pt"}
            for name in file.keys():
                assert_same_bits(file.get_tensor(name), tensors[name])
    assert load(tmp_path / "model.safetensors").keys() == tensors.keys()


def test_what_fits_into_one_shard_is_a_plain_file(tmp_path: Path) -> None:
    tensors = some_tensors()
    store(tmp_path / "sharded.safetensors", tensors, max_shard_size="1MB", metadata={"a": "b"})
    with SafetensorsWriter(tmp_path / "plain.safetensors", specs_of(tensors), metadata={"a": "b"}) as writer:
        for name, array in tensors.items():
            writer.write(name, array)
    assert names(tmp_path) == ["plain.safetensors", "sharded.safetensors"]
    assert (tmp_path / "sharded.safetensors").read_bytes() == (tmp_path / "plain.safetensors").read_bytes()


def test_an_index_that_is_asked_for_is_written(tmp_path: Path) -> None:
    store(tmp_path / INDEX, some_tensors())
    assert names(tmp_path) == ["model-00001-of-00001.safetensors", INDEX]


@pytest.mark.parametrize("target", ["model.safetensors", INDEX])
@pytest.mark.parametrize("there", ["model.safetensors", INDEX, "model-00001-of-00009.safetensors"])
def test_nothing_is_touched_without_force(tmp_path: Path, target: str, there: str) -> None:
    (tmp_path / there).write_text("old")
    with pytest.raises(TargetExistsError, match=there.replace(".", r"\.")):
        store(tmp_path / target, some_tensors(), max_shard_size=100)
    assert (tmp_path / there).read_text() == "old" and names(tmp_path) == [there]


@pytest.mark.parametrize("old", ["one file", "fewer shards", "as many shards"])
@pytest.mark.parametrize("new", ["one file", "shards"])
def test_what_is_replaced_goes(tmp_path: Path, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bystanders = ["model2-00001-of-00002.safetensors", "model.txt", "other.safetensors"]
    for name in bystanders:
        Path(name).write_text("keep")
    sizes = {"one file": "1GB", "fewer shards": "500", "as many shards": 140, "shards": 140}
    store("./model.safetensors", some_tensors(1), max_shard_size=sizes[old])
    store("./model.safetensors", some_tensors(2), max_shard_size=sizes[new], force=True)
    shards = [f"model-0000{i}-of-00004.safetensors" for i in (1, 2, 3, 4)]
    written = ["model.safetensors"] if new == "one file" else [*shards, INDEX]
    assert names(tmp_path) == sorted([*written, *bystanders])
    for name, array in some_tensors(2).items():
        assert_same_bits(load("./model.safetensors")[name], array)


@pytest.mark.parametrize("failing", range(9))
def test_a_commit_that_fails_leaves_no_mixture(tmp_path: Path, failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every rename: what can be read afterwards is all old or all new."""
    old, new = some_tensors(1), some_tensors(2)
    store(tmp_path / INDEX, old, max_shard_size=140)
    n_shards = len(names(tmp_path)) - 1
    rename, n_renames = Path.replace, 0

    def replace(self: Path, target: Path | str) -> Path:
        nonlocal n_renames
        n_renames += 1
        if n_renames > failing:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        try:
            store(tmp_path / INDEX, new, max_shard_size=140, force=True)
        except KeyboardInterrupt:
            assert failing < n_shards + 2
    assert not any(name.endswith(".partial") for name in names(tmp_path))
    loaded = load(tmp_path / INDEX)
    for name, array in (new if failing else old).items():
        assert_same_bits(loaded[name], array)


def test_a_commit_that_fails_with_other_names_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = some_tensors(1)
    store(tmp_path / INDEX, old, max_shard_size=500)

    def fail(self: Path, target: Path | str) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", fail)
        store(tmp_path / INDEX, some_tensors(2), max_shard_size=140, force=True)
    for name, array in old.items():
        assert_same_bits(load(tmp_path / INDEX)[name], array)


def test_values_are_on_disk_before_anything_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path / INDEX, some_tensors(1), max_shard_size=140)
    n_files = len(names(tmp_path))
    sync, rename, synced, before_first = os.fsync, Path.replace, [], []

    def fsync(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)
        sync(handle)

    def replace(self: Path, target: Path | str) -> Path:
        before_first.append(len(set(synced)))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    store(tmp_path / INDEX, some_tensors(2), max_shard_size=140, force=True)
    # The files, the index that goes before the last one, and the folder.
    assert before_first[0] == n_files + 2


def test_too_many_shards(tmp_path: Path) -> None:
    specs = [TensorSpec(f"{i}", (1,), "float32") for i in range(513)]
    with pytest.raises(OptionError, match="513 shards"):
        ShardedSafetensorsWriter(tmp_path / "m.safetensors", specs, max_shard_size=1)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["model", ".safetensors", "m.npz"])
def test_a_name_without_the_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match="cannot be split"):
        open_writer(tmp_path / name, [], format="safetensors-sharded")


@pytest.mark.parametrize("name", ["m.npz", "m.h5", "m.ckpt"])
def test_other_formats_are_not_split_by_size(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match="not split by size"):
        open_writer(tmp_path / name, [], max_shard_size=1)


@pytest.mark.parametrize(
    ("size", "n_bytes"),
    [
        (1, 1),
        ("1000", 1000),
        ("500MB", 500_000_000),
        ("2GB", 2_000_000_000),
        ("2 gb", 2_000_000_000),
        ("1.5GiB", 3 << 29),
        ("64K", 64_000),
        ("3TB", 3 * 10**12),
        ("0.1KB", 100),
        (" 7B ", 7),
        ("16MiB", 16 << 20),
    ],
)
def test_sizes(size: int | str, n_bytes: int) -> None:
    assert parse_size(size) == n_bytes


@pytest.mark.parametrize(
    "size", [0, -1, "", "MB", "1.5.2GB", "1e9", "five", "0.1", "1iB", "5PB", "9" * 400, True, 1.5, None, "nan"]
)
def test_sizes_that_cannot_be(size: Any) -> None:
    with pytest.raises(OptionError, match="no size of a shard"):
        parse_size(size)


def test_dealing_keeps_the_order_and_the_limit() -> None:
    sizes = [6, 6, 2, 6, 2, 2, 30, 0, 1]
    specs = [TensorSpec(str(i), (size,), "uint8") for i, size in enumerate(sizes)]
    assert [[spec.size for spec in shard] for shard in deal_out(specs, 10)] == [[6], [6, 2], [6, 2, 2], [30], [0, 1]]
    assert deal_out([], 10) == [[]]


def test_missing_index(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        open_reader(tmp_path / INDEX)
