"""Which V1 checkpoint a path means, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resport.errors import FormatError, OptionError, SourceNotFoundError, UnknownFormatError
from resport.formats import format_of_source, open_reader, open_writer
from resport.formats.v1_path import is_v1_file, resolve_v1_path, shard_set
from tests.contracts import open_files, random_array, specs_of

TENSORS = {"conv1/weights": random_array("float32", (3, 4)), "global_step": random_array("int64", ())}


def save(path: Path, format: str = "tensorflow-v1", tensors: dict[str, np.ndarray] = TENSORS) -> str:
    with open_writer(path, specs_of(tensors), format=format) as writer:
        for name, array in tensors.items():
            writer.write(name, array)
    return str(path)


def found(path: str | Path) -> tuple[str, str, bool]:
    format, resolved, note = format_of_source(path)
    return format.id, resolved, note is not None


def test_a_file_of_its_own_name(tmp_path: Path) -> None:
    for name in ("model.ckpt-7", "resnet_v2_50.ckpt", "m.h5", "checkpoint", "x.index"):
        path = save(tmp_path / name)
        assert found(path) == ("tensorflow-v1", path, False)


def test_what_belongs_to_it(tmp_path: Path) -> None:
    path = save(tmp_path / "model.ckpt-7")
    (tmp_path / "model.ckpt-7.meta").write_bytes(b"graph")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-7"\n')
    for given in (tmp_path, tmp_path / "checkpoint", tmp_path / "model.ckpt-7.meta"):
        assert found(given) == ("tensorflow-v1", path, True)
    (tmp_path / "checkpoint").unlink()
    assert found(tmp_path) == ("tensorflow-v1", path, True)


def test_folder_with_several(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"model.ckpt-{step}") for step in (1, 2)]
    with pytest.raises(OptionError, match="2 checkpoints") as caught:
        open_reader(tmp_path)
    assert all(path in str(caught.value) for path in paths)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1"\n')
    assert found(tmp_path) == ("tensorflow-v1", paths[0], True)


def test_beside_checkpoints_of_v2(tmp_path: Path) -> None:
    v2 = save(tmp_path / "new.ckpt", "tensorflow-v2")
    v1 = save(tmp_path / "old.ckpt")
    for shard in range(2):
        save(tmp_path / f"cut.ckpt-{shard:05d}-of-00002", tensors={f"w{shard}": TENSORS["global_step"]})
    assert found(tmp_path)[:2] == ("tensorflow-v2", v2)
    assert found(v1)[:2] == ("tensorflow-v1", v1)
    assert found(tmp_path / "cut.ckpt") == ("tensorflow-v1", str(tmp_path / "cut.ckpt"), False)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "old.ckpt"\n')
    assert found(tmp_path) == ("tensorflow-v1", v1, True)
    save(tmp_path / "old.ckpt", "tensorflow-v2")
    assert found(v1)[0] == "tensorflow-v2"  # as TensorFlow has it where both are there
    with pytest.raises(SourceNotFoundError):
        open_reader(tmp_path / "older.ckpt")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("m", ("m",)),
        ("m-00001-of-00002", ("m-00000-of-00002", "m-00001-of-00002")),
        ("m-?????-of-00002", ("m-00000-of-00002", "m-00001-of-00002")),
        ("m-00002-of-00002", ("m-00002-of-00002",)),
        ("m-00000-of-00000", ("m-00000-of-00000",)),
        ("m-00000-of-99999", ("m-00000-of-99999",)),
    ],
)
def test_names_of_shards(tmp_path: Path, name: str, expected: tuple[str, ...]) -> None:
    assert shard_set(str(tmp_path / name)).files == tuple(str(tmp_path / file) for file in expected)


def test_shards_in_a_folder(tmp_path: Path) -> None:
    for shard in range(3):
        save(tmp_path / f"m-{shard:05d}-of-00003", tensors={f"w{shard}": TENSORS["global_step"]})
    pattern = str(tmp_path / "m-?????-of-00003")
    assert found(tmp_path) == ("tensorflow-v1", pattern, True)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "m-?????-of-00003"\n')
    assert found(tmp_path / "checkpoint") == ("tensorflow-v1", pattern, True)
    with open_reader(tmp_path) as reader:
        assert sorted(reader.manifest) == ["w0", "w1", "w2"]


@pytest.mark.parametrize("n_kept", [40, 70, -1])
def test_cut_off_but_recognised(tmp_path: Path, n_kept: int) -> None:
    path = Path(save(tmp_path / "model.ckpt"))
    path.write_bytes(path.read_bytes()[:n_kept])
    assert is_v1_file(str(path))
    with pytest.raises(FormatError, match=r"cut off|too short") as caught:
        open_reader(path)
    assert caught.value.path == str(path)


def test_what_is_none(tmp_path: Path) -> None:
    index = Path(save(tmp_path / "v2", "tensorflow-v2") + ".index")
    other = tmp_path / "other"
    for content in (b"", b"\0\0", b"\0\0\x05\x0a", b"\0\0\x05\x0a\x03\x08\0\0", b"\0" * 200, index.read_bytes()):
        other.write_bytes(content)
        assert not is_v1_file(str(other))
        assert resolve_v1_path(str(other)) is None
        with pytest.raises(UnknownFormatError):
            open_reader(other)
    assert not is_v1_file(str(index))
    assert not is_v1_file(str(tmp_path / "nowhere"))
    assert resolve_v1_path(str(tmp_path / ("x" * 300))) is None
    assert not any(str(tmp_path) in name for name in open_files())
