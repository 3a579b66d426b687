"""Every path that people pass, and those that are nothing of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resport.errors import OptionError, SourceNotFoundError
from resport.formats.bundle_writer import TensorBundleWriter
from resport.formats.checkpoint_path import (
    has_index,
    list_prefixes,
    prefix_of_file,
    read_state_file,
    resolve_prefix,
    shard_files,
    write_state_file,
)
from resport.formats.leveldb_writer import encode_table
from resport.formats.tensor_bundle import TensorBundleReader
from resport.tensors import TensorSpec


def save(folder: Path, name: str, n_shards: int = 1) -> str:
    prefix = str(folder / name)
    with TensorBundleWriter(prefix, [TensorSpec("v", (2,), "float32")], n_shards=n_shards) as writer:
        writer.write("v", np.array([1.5, -2.5], "float32"))
    return prefix


def taken(path: str | Path) -> str:
    """The prefix of a path that is not the prefix, with its note looked at."""
    resolved = resolve_prefix(str(path))
    assert resolved is not None
    assert resolved.note is not None and resolved.prefix in resolved.note
    assert TensorBundleReader(resolved.prefix).read("v").tolist() == [1.5, -2.5]
    return resolved.prefix


def state(folder: Path, text: str) -> Path:
    path = folder / "checkpoint"
    path.write_text(text)
    return path


def test_prefix_itself_needs_no_note(tmp_path: Path) -> None:
    prefix = save(tmp_path, "model.ckpt-7")
    resolved = resolve_prefix(prefix)
    assert resolved is not None
    assert (resolved.prefix, resolved.note) == (prefix, None)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00002", ".data-00001-of-00002", ".meta"])
def test_files_of_a_checkpoint(tmp_path: Path, suffix: str) -> None:
    prefix = save(tmp_path, "model.ckpt-7", n_shards=2)
    Path(f"{prefix}.meta").write_bytes(b"graph")
    assert taken(prefix + suffix) == prefix
    Path(f"{prefix}.meta").unlink()
    assert taken(prefix + suffix) == prefix


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "m")
    monkeypatch.chdir(tmp_path)
    assert taken("m.index") == "m"
    assert taken("./m.index") == "./m"
    assert taken(".") == "m"
    assert shard_files("m").keys() == {"m.data-00000-of-00001"}


@pytest.mark.parametrize(
    "name", ["checkpoint", "100%_[a]*?", "größe", "a.index", "x.data-00000-of-00001", "-5", "ckpt-"]
)
def test_awkward_prefixes(tmp_path: Path, name: str) -> None:
    prefix = save(tmp_path, name)
    (tmp_path / "other.data-00000-of-00001").write_bytes(b"")
    assert taken(f"{prefix}.index") == taken(f"{prefix}.data-00000-of-00001") == prefix
    assert shard_files(prefix).keys() == {f"{prefix}.data-00000-of-00001"}
    assert list_prefixes(tmp_path) == [name]


def test_folder_with_one_checkpoint(tmp_path: Path) -> None:
    prefix = save(tmp_path, "model.ckpt")
    (tmp_path / "vectors.index").write_bytes(b"another program's index")
    assert taken(tmp_path) == taken(f"{tmp_path}/") == prefix


def test_folder_takes_the_newest_step(tmp_path: Path) -> None:
    for step in (9, 88, 100, 20):
        save(tmp_path, f"model.ckpt-{step}")
    resolved = resolve_prefix(str(tmp_path))
    assert resolved is not None and resolved.note is not None
    assert resolved.prefix == str(tmp_path / "model.ckpt-100")
    assert "newest of 4" in resolved.note


def test_folder_with_a_state_file(tmp_path: Path) -> None:
    for step in (9, 88):
        save(tmp_path, f"model.ckpt-{step}")
    state(tmp_path, 'model_checkpoint_path: "model.ckpt-9"\nall_model_checkpoint_paths: "model.ckpt-88"\n')
    assert taken(tmp_path) == taken(tmp_path / "checkpoint") == str(tmp_path / "model.ckpt-9")


def test_folder_with_an_outdated_state_file(tmp_path: Path) -> None:
    prefix = save(tmp_path, "model.ckpt-9")
    state(tmp_path, 'model_checkpoint_path: "model.ckpt-8"\n')
    assert taken(tmp_path) == prefix


def test_folder_with_several_is_refused(tmp_path: Path) -> None:
    for name in ("encoder-5", "decoder-5", "model"):
        save(tmp_path, name)
    with pytest.raises(OptionError) as caught:
        resolve_prefix(str(tmp_path))
    for name in ("encoder-5", "decoder-5", "model"):
        assert f"`{name}`" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "pass one of them" in str(caught.value.hint)


@pytest.mark.parametrize(
    "line",
    [
        '"model-5"',
        '"/home/someone/else/model-5"',
        '"../model-5"',
        '"../../etc/model-5"',
        '"sub/../../elsewhere/model-5"',
        r'"C:\\train\\run 1\\model-5"',
        "'model-5'",
        r'"mod\145l-\x35"',
    ],
)
def test_state_file_stays_in_its_folder(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    save(tmp_path, "model-5")
    save(tmp_path / "elsewhere", "model-5")
    prefix = save(folder, "model-5")
    path = state(folder, f"# comment\nmodel_checkpoint_path: {line}\nall_model_checkpoint_paths: {line}\n")
    assert taken(path) == taken(folder) == prefix


def test_state_file_may_name_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    prefix = save(tmp_path / "sub", "model-5")
    assert taken(state(tmp_path, 'model_checkpoint_path: "sub/model-5"\n')) == prefix
    assert taken(state(tmp_path, f'model_checkpoint_path: "{prefix}"\n')) == prefix


def test_state_file_does_not_lead_out_by_a_link(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    folder.mkdir()
    save(outside, "model-5")
    (folder / "sub").symlink_to(outside)
    path = state(folder, 'model_checkpoint_path: "sub/model-5"\n')
    assert read_state_file(str(path)) == str(folder / "model-5")
    with pytest.raises(SourceNotFoundError):
        resolve_prefix(str(path))


def test_state_file_without_its_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, "model-6")
    path = state(tmp_path, 'model_checkpoint_path: "model-5"\n')
    with pytest.raises(SourceNotFoundError, match=r"model-5\.index` is missing") as caught:
        resolve_prefix(str(path))
    assert "`model-6`" in str(caught.value.hint)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        'all_model_checkpoint_paths: "model-5"',
        "model_checkpoint_path: model-5",
        'model_checkpoint_path: ""',
        'model_checkpoint_path: "models/"',
        'model_checkpoint_path: "open',
        r'model_checkpoint_path: "\377\376"',
        r'model_checkpoint_path: "a\000b"',
    ],
)
def test_file_that_is_no_state_file(tmp_path: Path, text: str) -> None:
    assert resolve_prefix(str(state(tmp_path, text))) is None


def test_state_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert read_state_file(str(path)) is None


@pytest.mark.parametrize("given", ["model.ckpt", "model.ckpt-88", "model", "model.ckpt.data-00000-of-00001"])
def test_missing_index(tmp_path: Path, given: str) -> None:
    save(tmp_path, "model.ckpt-88000")
    with pytest.raises(SourceNotFoundError) as caught:
        resolve_prefix(str(tmp_path / given))
    wanted = tmp_path / given.removesuffix(".data-00000-of-00001")
    assert str(caught.value) == f"`{wanted}` is not a TensorFlow checkpoint, `{wanted}.index` is missing"
    assert caught.value.hint == "pass the prefix before `.index`; in this folder: `model.ckpt-88000`"


@pytest.mark.parametrize("suffix", [".data-00000-of-00001", ".meta"])
def test_lost_index(tmp_path: Path, suffix: str) -> None:
    prefix = save(tmp_path, "model.ckpt")
    Path(f"{prefix}.meta").write_bytes(b"graph")
    Path(f"{prefix}.index").unlink()
    with pytest.raises(SourceNotFoundError, match=r"model\.ckpt\.index` is missing") as caught:
        resolve_prefix(prefix + suffix)
    assert caught.value.hint == "pass the prefix before `.index`"


def test_damaged_index_still_counts_beside_its_data(tmp_path: Path) -> None:
    prefix = save(tmp_path, "model.ckpt")
    Path(f"{prefix}.index").write_bytes(b"damaged")
    assert has_index(prefix)


@pytest.mark.parametrize(
    "name", ["nothing", "nothing.h5", "nothing/model.ckpt", "nothing.index/x", "typing.safetensors"]
)
def test_nothing_there(tmp_path: Path, name: str) -> None:
    if name.startswith("typing"):
        save(tmp_path, "model.ckpt")
    assert resolve_prefix(str(tmp_path / name)) is None


@pytest.mark.parametrize(
    "name", ["model.h5", "model.ckpt", "vectors.index", "notes.meta.txt", ".index", "x-00000-of-00002"]
)
def test_other_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"something else")
    assert resolve_prefix(str(tmp_path / name)) is None
    assert resolve_prefix(str(tmp_path)) is None


def test_version_1_is_not_taken(tmp_path: Path) -> None:
    """A V1 checkpoint is one table of the name that is a prefix in V2, with the same .meta and state file."""
    table = encode_table([(b"", b"")])
    for name in ("model.ckpt", "sharded.ckpt-00000-of-00001"):
        (tmp_path / name).write_bytes(table)
    for name in ("model.ckpt.meta", "sharded.ckpt.meta"):
        (tmp_path / name).write_bytes(b"graph")
    for name in ("model.ckpt", "model.ckpt.meta", "sharded.ckpt.meta", "sharded.ckpt-00000-of-00001"):
        assert resolve_prefix(str(tmp_path / name)) is None
    path = state(tmp_path, 'model_checkpoint_path: "model.ckpt"\n')
    assert resolve_prefix(str(path)) is None
    assert resolve_prefix(str(tmp_path)) is None
    assert read_state_file(str(path)) == str(tmp_path / "model.ckpt")


def test_version_2_beside_version_1_wins(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(encode_table([(b"", b"")]))
    prefix = save(tmp_path, "model.ckpt")
    resolved = resolve_prefix(prefix)
    assert resolved is not None and resolved.prefix == prefix


def test_prefix_of_file() -> None:
    assert prefix_of_file("a/b.ckpt.index") == "a/b.ckpt"
    assert prefix_of_file("a/b.data-00003-of-00010") == "a/b"
    assert prefix_of_file("a/b.meta") == "a/b"
    assert prefix_of_file("a/b.data-3-of-10") is None
    assert prefix_of_file("a/.index") is None
    assert prefix_of_file("b.index/") is None


@pytest.mark.parametrize("name", ["model.ckpt-7", "größe", 'quo"te', "back\\slash", "tab\tand\nline", "a'b"])
def test_written_state_file_comes_back(tmp_path: Path, name: str) -> None:
    prefix = save(tmp_path, name)
    path = write_state_file(prefix)
    assert path == str(tmp_path / "checkpoint")
    assert read_state_file(path) == prefix
    assert taken(tmp_path) == prefix
    assert not list(tmp_path.glob("*.partial"))


def test_state_file_is_replaced(tmp_path: Path) -> None:
    state(tmp_path, 'model_checkpoint_path: "old"\n')
    write_state_file(save(tmp_path, "new"))
    assert (tmp_path / "checkpoint").read_text() == (
        'model_checkpoint_path: "new"\nall_model_checkpoint_paths: "new"\n'
    )


@pytest.mark.tf
@pytest.mark.parametrize("name", ["model.ckpt-7", "größe", 'quo"te', "a'b"])  # no backslash, TensorFlow globs
def test_state_file_against_tensorflow(tmp_path: Path, name: str) -> None:
    import tensorflow as tf

    prefix = save(tmp_path, name)
    write_state_file(prefix)
    assert tf.train.latest_checkpoint(str(tmp_path)) == prefix
    # And the other way round, with the absolute path that TensorFlow writes for another folder.
    tf.compat.v1.train.update_checkpoint_state(str(tmp_path), f"/another/machine/{name}")
    assert taken(tmp_path) == prefix
