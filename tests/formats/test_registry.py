"""Which format a path means, as a source and as a target; and what is said of a path that means none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import resport.formats
from resport.errors import (
    FormatError,
    OptionError,
    ResportError,
    SourceNotFoundError,
    TargetExistsError,
    UnknownFormatError,
)
from resport.formats import format_of_source, format_of_target, open_reader, open_writer
from resport.formats.base import Reader, Writer
from resport.formats.registry import FORMATS, _load
from resport.tensors import TensorSpec
from tests.contracts import assert_same_bits, open_files, random_array

SPECS = [TensorSpec("conv/kernel", (2, 3), "float32")]


def write(path: Path, **options: object) -> Path:
    with open_writer(path, SPECS, **options) as writer:
        writer.write("conv/kernel", random_array("float32", (2, 3)))
    return path


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.id)
def test_entries_lead_to_classes_of_their_format(format: resport.formats.Format) -> None:
    reader = _load(format.reader)
    assert issubclass(reader, Reader) and reader.format == format.id
    if format.writer:
        writer = _load(format.writer)
        assert issubclass(writer, Writer) and writer.format == format.id
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in format.suffixes)


def test_ids_and_suffixes_are_unique() -> None:
    for values in ([format.id for format in FORMATS], [suffix for format in FORMATS for suffix in format.suffixes]):
        assert len(set(values)) == len(values)


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("m.safetensors", "safetensors"),
        ("M.SAFETENSORS", "safetensors"),
        ("m.h5", "keras-legacy-h5"),
        ("m.hdf5", "keras-legacy-h5"),
        ("m.weights.h5", "keras-weights-h5"),
        ("folder.h5/m.weights.h5", "keras-weights-h5"),
        ("folder.h5/model.ckpt-7", "tensorflow-v2"),
        ("model.ckpt", "tensorflow-v2"),
        ("model", "tensorflow-v2"),
        (".h5", "keras-legacy-h5"),
    ],
)
def test_target_is_told_by_its_suffix(name: str, id: str) -> None:
    assert format_of_target(name).id == id
    assert format_of_target(Path(name)).id == id


@pytest.mark.parametrize("name", ["", ".", "..", "folder/", "folder/.", "/"])
def test_target_without_a_name(name: str) -> None:
    with pytest.raises(OptionError, match="names a folder"):
        format_of_target(name)


@pytest.mark.parametrize("name", ["m.safetensors", "m.h5", "m.weights.h5"])
def test_source_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    expected = format_of_target(name)
    for other in ("model", "model.ckpt-7.data", "model.keras", "m.h5", "m.weights.h5", "m.safetensors"):
        renamed = path.rename(tmp_path / other)
        assert format_of_source(renamed) == (expected, str(renamed), None)
        with open_reader(renamed) as reader:
            assert_same_bits(reader.read("conv/kernel"), random_array("float32", (2, 3)))
        renamed.rename(path)


@pytest.mark.parametrize("length", [640, 0x8B1F])
def test_a_header_length_that_looks_like_a_pickle_or_gzip(tmp_path: Path, length: int) -> None:
    header = b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(length)
    path = tmp_path / "m.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header + b"\x07")
    with open_reader(path) as reader:
        assert reader.read("x").tolist() == [7]


def test_prefix_of_a_tf_checkpoint(tmp_path: Path) -> None:
    prefix = write(tmp_path / "model.ckpt-7")
    for path in (prefix, Path(f"{prefix}.index"), tmp_path):
        format, resolved, note = format_of_source(path)
        assert (format.id, resolved) == ("tensorflow-v2", str(prefix))
        assert (note is None) == (path == prefix)
        with open_reader(path) as reader:
            assert_same_bits(reader.read("conv/kernel"), random_array("float32", (2, 3)))


@pytest.mark.parametrize("name", ["m.safetensors", "m.h5", "m.weights.h5"])
def test_a_damaged_file_is_reported_by_the_format_of_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for content in (b"", b"nonsense" * 100, write(path, force=True).read_bytes()[:-1]):
        path.write_bytes(content)
        with pytest.raises(FormatError) as caught:
            open_reader(path)
        assert not isinstance(caught.value, UnknownFormatError)
        assert caught.value.path == str(path)
    assert not any(str(tmp_path) in name for name in open_files())


def test_hdf5_of_no_known_layout(tmp_path: Path) -> None:
    for name in ("m.h5", "m.bin"):
        with h5py.File(tmp_path / name, "w") as file:
            file["data"] = np.arange(3)
        with pytest.raises(FormatError, match=re.escape(name)):
            open_reader(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"", "an empty file"),
        (b"\x08\x01\x02abc~\x7f", "08 01 02 61 62 63 7e 7f (...abc~.)"),
        (b"PK\x03\x04" + b"\0" * 100, "50 4b 03 04"),
    ],
)
def test_unknown_content_is_shown(tmp_path: Path, content: bytes, shown: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(UnknownFormatError) as caught:
        open_reader(path)
    message = str(caught.value)
    assert str(path) in message and shown in message
    assert all(format.title in message for format in FORMATS)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "gunzip"),
        (b"\x80\x02}q\0.", "pickle"),
    ],
)
@pytest.mark.parametrize("name", ["model.bin", "model.safetensors", "model.h5"])
def test_content_of_another_world_gets_a_hint(tmp_path: Path, name: str, content: bytes, hint: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnknownFormatError) as caught:
        open_reader(tmp_path / name)
    assert hint in str(caught.value.hint)


def test_missing_source_gets_the_near_names(tmp_path: Path) -> None:
    write(tmp_path / "resnet_v2_50.safetensors")
    with pytest.raises(SourceNotFoundError) as caught:
        open_reader(tmp_path / "resnet_v1_50.safetensors")
    assert "`resnet_v2_50.safetensors`" in str(caught.value.hint)
    assert isinstance(caught.value, FileNotFoundError)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="nowhere"):
        open_reader(tmp_path / "nowhere" / "m.h5")


def test_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ResportError, match=re.escape(str(tmp_path))):
        open_reader(tmp_path)


@pytest.mark.parametrize("name", ["model", "m.h5", "m.weights.h5", "m.safetensors", "m.index"])
def test_a_fifo_is_not_opened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(FormatError, match="cannot be read as a checkpoint") as caught:
        open_reader(tmp_path / name)
    assert "a FIFO" in str(caught.value)


def test_a_device_is_not_opened() -> None:
    with pytest.raises(FormatError, match="cannot be read as a checkpoint") as caught:
        open_reader("/dev/zero")
    assert "a character device" in str(caught.value)


@pytest.mark.parametrize("path", ["a\0b", "a\0b.h5"])
def test_a_path_with_nul(path: str) -> None:
    with pytest.raises(FormatError):
        open_reader(path)
    with pytest.raises(FormatError):
        open_writer(path, SPECS)


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(ResportError):
        open_reader(tmp_path / ("x" * 300 + ".h5"))


@pytest.mark.parametrize("name", ["m.safetensors", "m.h5", "m.weights.h5", "model.ckpt"])
def test_an_existing_target_is_kept(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(TargetExistsError, match=re.escape(name)) as caught:
        open_writer(path, SPECS)
    assert "--force" in str(caught.value.hint)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    write(path, force=True)


@pytest.mark.parametrize("name", ["m.safetensors", "m.h5", "m.weights.h5"])
def test_a_target_that_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / f"fifo-{name}")
    for path, kind in ((tmp_path / name, "a folder"), (tmp_path / f"fifo-{name}", "a FIFO")):
        with pytest.raises(TargetExistsError) as caught:
            open_writer(path, SPECS, force=True)
        assert kind in str(caught.value)


def test_the_longest_file_name(tmp_path: Path) -> None:
    path = tmp_path / ("x" * (255 - len(".safetensors")) + ".safetensors")
    with open_reader(write(path)) as reader:
        assert list(reader.manifest) == ["conv/kernel"]


def test_importing_formats_imports_nothing_heavy() -> None:
    code = "import resport.formats, sys; print(sorted({'numpy', 'h5py', 'ml_dtypes', 'tensorflow'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    exported = {"Format", "Reader", "Writer", "format_of_source", "format_of_target", "open_reader", "open_writer"}
    assert set(resport.formats.__all__) == exported


MOVE = """
import sys
from resport.formats import open_reader, open_writer
from resport.tensors import TensorSpec
for name in ("m.safetensors", "m.h5", "m.weights.h5"):
    with open_writer(name, [TensorSpec("dense/kernel", (3, 2), "float32")], metadata={"a": "xyz"}) as writer:
        writer.write_pieces("dense/kernel", [b"0123456789", b"abcdefghijklmn"])
        writer.amend_metadata("a", "uvw")
    with open_reader(name) as reader:
        assert b"".join(bytes(piece) for piece in reader.pieces("dense/kernel")) == b"0123456789abcdefghijklmn"
        assert reader.metadata["a"] == "uvw"
print(sorted({"numpy", "h5py", "ml_dtypes", "tensorflow"} & set(sys.modules)))
"""


def test_moving_pieces_imports_nothing_heavy(tmp_path: Path, root: Path) -> None:
    options = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(root)}}
    run = subprocess.run([sys.executable, "-c", MOVE], capture_output=True, text=True, check=True, **options)
    assert run.stdout.strip() == "[]"


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


def test_parts_that_are_git_lfs_pointers_are_called_so(tmp_path: Path) -> None:
    """A folder that was cloned without git-lfs: the small files are there, the large ones are pointers."""
    specs = [TensorSpec("a", (9,), "float32"), TensorSpec("b", (9,), "float32")]
    for target, options in (("m.ckpt", {}), ("m.safetensors", {"max_shard_size": 36})):
        with open_writer(tmp_path / target, specs, **options) as writer:
            for spec in specs:
                writer.write(spec.name, np.ones(9, np.float32))
    for part in ("m.ckpt.data-00000-of-00001", "m-00002-of-00002.safetensors"):
        (tmp_path / part).write_bytes(POINTER[:70])
    with open_reader(tmp_path / "m.ckpt") as reader, pytest.raises(UnknownFormatError) as caught:
        reader.read("b")
    assert "data-00000-of-00001" in str(caught.value) and "git lfs pull" in str(caught.value.hint)
    with pytest.raises(UnknownFormatError, match="m-00002-of-00002") as caught:
        open_reader(tmp_path / "m.safetensors")
    assert "git lfs pull" in str(caught.value.hint)
    (tmp_path / "m.ckpt.index").write_bytes(POINTER)
    with pytest.raises(UnknownFormatError, match=r"m\.ckpt\.index") as caught:
        open_reader(tmp_path / "m.ckpt")
    assert "git lfs pull" in str(caught.value.hint)
