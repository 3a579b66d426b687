"""SavedModel folders: of TF1 and TF2, frozen ones, text, and damaged ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resport.errors import FormatError, OptionError, SourceNotFoundError
from resport.formats import open_reader, open_writer
from resport.formats.protobuf import bytes_field, varint_field
from resport.formats.saved_model import SavedModelReader
from tests.contracts import assert_same_bits, open_files, random_array, specs_of

TENSORS = {"conv1/weights": random_array("float32", (3, 3, 2, 4)), "conv1/biases": random_array("float32", (4,))}


def const(name: bytes, array: np.ndarray) -> bytes:
    """A Const node and the Identity that reads it."""
    dims = b"".join(bytes_field(2, varint_field(1, size)) for size in array.shape)
    tensor = varint_field(1, 1) + bytes_field(2, dims) + bytes_field(4, array.tobytes())
    value = bytes_field(5, bytes_field(1, b"value") + bytes_field(2, bytes_field(8, tensor)))
    node = bytes_field(1, bytes_field(1, name) + bytes_field(2, b"Const") + value)
    reads = bytes_field(1, name + b"/read") + bytes_field(2, b"Identity") + bytes_field(3, name)
    return node + bytes_field(1, reads)


def model_bytes(graph: bytes = b"", version: bytes = b"1.4.0") -> bytes:
    info = bytes_field(4, b"serve") + (bytes_field(5, version) if version else b"")
    return varint_field(1, 1) + bytes_field(2, bytes_field(1, info) + bytes_field(2, graph))


def make(folder: Path, model: bytes, *, variables: bool = True) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(model)
    if variables:
        with open_writer(folder / "variables" / "variables", specs_of(TENSORS)) as writer:
            for name, array in TENSORS.items():
                writer.write(name, array)
    return folder


@pytest.mark.parametrize("part", ["", "saved_model.pb"])
def test_folder_and_file(tmp_path: Path, part: str) -> None:
    folder = make(tmp_path / "model", model_bytes())
    with open_reader(folder / part) as reader:
        assert (reader.format, reader.producer, reader.path) == ("saved-model", "tensorflow 1.4.0", str(folder))
        assert (reader.note is None) == (part == "")
        assert set(reader.manifest) == set(TENSORS)
        assert {Path(file).name for file in reader.files} == {
            "saved_model.pb",
            "variables.index",
            "variables.data-00000-of-00001",
        }
        for name, array in TENSORS.items():
            assert_same_bits(reader.read(name), array)
        with pytest.raises(KeyError):
            reader.read("conv2/weights")
    with pytest.raises(OptionError, match="closed"):
        reader.read("conv1/weights")
    assert not any(str(tmp_path) in name for name in open_files())


def test_the_checkpoint_inside_is_one_of_its_own(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", model_bytes())
    for part in ("variables", "variables/variables", "variables/variables.index"):
        with open_reader(folder / part) as reader:
            assert reader.format == "tensorflow-v2"


def test_no_version(tmp_path: Path) -> None:
    with SavedModelReader(str(make(tmp_path / "model", model_bytes(version=b"")))) as reader:
        assert reader.producer is None


def test_frozen_before_it_was_saved(tmp_path: Path) -> None:
    array = random_array("float32", (2, 3))
    folder = make(tmp_path / "model", model_bytes(const(b"fc/weights", array)), variables=False)
    with open_reader(folder) as reader:
        assert list(reader.manifest) == ["fc/weights"]
        assert reader.files == (str(folder / "saved_model.pb"),)
        assert_same_bits(reader.read("fc/weights"), array)


def test_no_weights(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", model_bytes(), variables=False)
    with pytest.raises(FormatError, match=r"without weights.*variables\.index"):
        open_reader(folder)


def test_text_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", b"")
    (folder / "saved_model.pb").rename(folder / "saved_model.pbtxt")
    for path in (folder, folder / "saved_model.pbtxt"):
        with pytest.raises(FormatError, match="as text") as caught:
            open_reader(path)
        assert str(folder / "variables" / "variables") in (caught.value.hint or "")
    with pytest.raises(SourceNotFoundError):
        SavedModelReader(str(tmp_path))


@pytest.mark.parametrize(
    "model", [b"", b"\x08\x01", b"\x12", b"\x12\x02\x0a\x05", b"\x12\x04\x0a\x02\x2a\x05", b"\x12\x00"]
)
def test_no_model(tmp_path: Path, model: bytes) -> None:
    folder = make(tmp_path / "model", model, variables=False)
    with pytest.raises(FormatError, match=r"saved_model\.pb"):
        open_reader(folder)
    assert not any(str(tmp_path) in name for name in open_files())


def test_every_offset_and_byte(tmp_path: Path) -> None:
    array = random_array("float32", (2, 3))
    folder = make(tmp_path / "model", b"", variables=False)
    content = model_bytes(const(b"fc/weights", array))
    cases = [content[:at] for at in range(len(content))]
    cases += [
        content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :] for at in range(len(content)) for bit in (1, 128)
    ]
    for case in cases:
        (folder / "saved_model.pb").write_bytes(case)
        try:
            with open_reader(folder) as reader:
                for name in reader.manifest:
                    reader.read(name)
        except FormatError as error:
            assert str(error)
    assert not any(str(tmp_path) in name for name in open_files())


@pytest.mark.tf
def test_saved_by_tf1(tmp_path: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, array in TENSORS.items():
            v1.get_variable(name, initializer=tf.constant(array))
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(tmp_path / "model"))
        builder.add_meta_graph_and_variables(session, ["serve"])
        builder.save()
    check(tmp_path / "model", TENSORS)


@pytest.mark.tf
def test_saved_by_tf2(tmp_path: Path) -> None:
    import tensorflow as tf

    module: Any = tf.Module()
    module.a = [tf.Variable(array, name=name) for name, array in TENSORS.items()]
    tf.saved_model.save(module, str(tmp_path / "model"))
    check(tmp_path / "model", TENSORS)


def check(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    import tensorflow as tf

    with open_reader(folder) as reader:
        assert (reader.format, reader.producer) == ("saved-model", f"tensorflow {tf.__version__}")
        assert set(reader.manifest) - {"_CHECKPOINTABLE_OBJECT_GRAPH"} == set(tensors)
        for name, array in tensors.items():
            assert_same_bits(reader.read(name), array)
