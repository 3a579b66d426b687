"""Every reader against every writer: what goes through ``resport.convert`` arrives bit for bit.

The formats are those of the registry when the tests run. How a source is written, what a target is called and who
reads it back beside us is known from the format's contract suite; a format that is only read has a sample below.

``python -m tests.formats.test_matrix`` runs all pairs and prints them as a Markdown table.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest

import resport
from resport.dtypes import BY_TENSORFLOW
from resport.formats import Format, open_reader
from resport.formats.bundle_writer import TensorBundleWriter
from resport.formats.keras_weights import KerasWeightsWriter
from resport.formats.registry import FORMATS
from tests.contracts import SPECIAL_BITS, FormatContract, assert_same_bits, random_array, special_array, specs_of

Tensors = dict[str, np.ndarray]

SHAPES = {"kernel": (3, 3, 2, 4), "square": (4, 4), "one": (1, 1), "scalar": (), "empty": (0, 3)}
FROZEN_DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
# What tf.train.load_checkpoint gives as arrays; of a V1 checkpoint it says of all others that they are not supported.
LOADED_BY_TENSORFLOW = {"tensorflow-v1": {"bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"}}
LOADED_BY_TENSORFLOW["tensorflow-v2"] = LOADED_BY_TENSORFLOW["tensorflow-v1"] | {
    "bfloat16",
    "complex128",
    "complex64",
    "float16",
    "uint16",
    "uint32",
    "uint64",
}


def saved_model(folder: Path, tensors: Tensors, dtypes: Mapping[str, str]) -> Path:
    """A SavedModel: a checkpoint in a folder beside the model."""
    from tests.formats.test_saved_model import model_bytes

    (folder / "model" / "variables").mkdir(parents=True)
    (folder / "model" / "saved_model.pb").write_bytes(model_bytes())
    with TensorBundleWriter(str(folder / "model/variables/variables"), specs_of(tensors, dtypes)) as writer:
        for name, array in tensors.items():
            writer.write(name, array)
    return folder / "model"


def frozen_graph(folder: Path, tensors: Tensors, dtypes: Mapping[str, str]) -> Path:
    """A frozen graph: each tensor a constant that a convolution reads."""
    from tests.formats.test_frozen_graph import graph, node, tensor

    nodes = []
    for name, array in tensors.items():
        nodes.append(node(name, "Const", value=tensor(array, FROZEN_DTYPES[dtypes[name]])))
        nodes.append(node(f"{name}/use", "Conv2D", name, name))
    (folder / "graph.pb").write_bytes(graph(*nodes))
    return folder / "graph.pb"


def keras_sharded(folder: Path, tensors: Tensors, dtypes: Mapping[str, str]) -> Path:
    """Keras 3 weights behind an index."""
    shard = folder / "m_00000.weights.h5"
    with KerasWeightsWriter(str(shard), specs_of(tensors, dtypes)) as writer:
        for name, array in tensors.items():
            writer.write(name, array)
    groups: list[str] = []
    with h5py.File(shard) as file:
        file.visititems(lambda _, node: groups.append(node.parent.name) if isinstance(node, h5py.Dataset) else None)
    weight_map = dict.fromkeys(groups, shard.name)
    (folder / "m.weights.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return folder / "m.weights.json"


READ_ONLY: dict[str, tuple[Callable[[Path, Tensors, Mapping[str, str]], Path], frozenset[str]]] = {
    "keras-weights-sharded": (keras_sharded, KerasWeightsWriter.dtypes),
    "saved-model": (saved_model, TensorBundleWriter.dtypes),
    "frozen-graph": (frozen_graph, frozenset(FROZEN_DTYPES)),
}


@cache
def suites() -> dict[str, FormatContract]:
    """The contract suite of every format that is written."""
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.formats.{file.stem}")
    return {suite.writer.format: suite() for suite in FormatContract.__subclasses__()}


READERS = [format.id for format in FORMATS]
WRITERS = [format.id for format in FORMATS if format.writer]


def format_of(id: str) -> Format:
    return next(format for format in FORMATS if format.id == id)


def dtypes_held(id: str) -> frozenset[str]:
    """The dtypes that a file of the format can have here."""
    return format_of(id).load_writer().dtypes if id in WRITERS else READ_ONLY[id][1]


def network(source: str, dtypes: frozenset[str]) -> tuple[Tensors, dict[str, str]]:
    """Tensors of all shapes in all dtypes, signed zeros, denormals and NaN payloads among them; and their dtypes."""
    tensors: Tensors = {}
    for dtype in sorted(dtypes):
        for seed, (word, shape) in enumerate(SHAPES.items()):
            # In a graph a scalar is a setting, not a weight, and is listed under a name of its own.
            if shape or source != "frozen-graph":
                tensors[f"{dtype}/{word}"] = random_array(dtype, shape, seed)
        if dtype in SPECIAL_BITS:
            tensors[f"{dtype}/special"] = special_array(dtype)
    return tensors, {name: name.partition("/")[0] for name in tensors}


def write_source(id: str, folder: Path, tensors: Tensors, dtypes: Mapping[str, str]) -> Path:
    folder.mkdir()
    if id in READ_ONLY:
        return READ_ONLY[id][0](folder, tensors, dtypes)
    suite = suites()[id]
    path = suite.target(folder)
    suite.store(path, tensors, dtypes=dtypes)
    return Path(path)


def move(source: Path, id: str, folder: Path) -> Path:
    """Convert a source to a format, by the way that users go wherever it takes nothing but the tensors."""
    folder.mkdir()
    suite = suites()[id]
    target = suite.target(folder)
    if suite.writer is format_of(id).load_writer():
        report = resport.convert(source, target, format=id)
        assert (report.target_format, report.ignored) == (id, ())
        return Path(target)
    # A writer that needs a model's description too, which the suite makes up.
    with open_reader(source) as reader, suite.writer(target, reader.manifest.values()) as writer:
        for name in reader.manifest:
            writer.write(name, reader.read(name))
    return Path(target)


def check_pair(source_id: str, target_id: str, folder: Path) -> int:
    """Move a network from one format to another and compare it.

    Returns:
        How many dtypes it had.
    """
    held = dtypes_held(source_id) & dtypes_held(target_id)
    tensors, dtypes = network(source_id, held)
    target = move(write_source(source_id, folder / "source", tensors, dtypes), target_id, folder / "target")
    with open_reader(target) as reader:
        assert reader.format == target_id
        assert set(reader.manifest.values()) == set(specs_of(tensors, dtypes))
        for name, expected in tensors.items():
            assert_same_bits(reader.read(name), expected)
    suite = suites()[target_id]
    oracle = suite.oracle_read(str(target))
    if oracle is not None:
        compared = [spec for spec in specs_of(tensors, dtypes) if suite.comparable_with_oracle(spec)]
        assert len(compared) > len(tensors) / 2
        for spec in compared:
            expected = tensors[spec.name]
            assert_same_bits(np.asarray(oracle[spec.name]).view(expected.dtype), expected)
    return len(held)


@pytest.mark.parametrize("target", WRITERS)
@pytest.mark.parametrize("source", READERS)
def test_every_reader_to_every_writer(tmp_path: Path, source: str, target: str) -> None:
    assert check_pair(source, target, tmp_path) >= min(len(FROZEN_DTYPES), 8)


def test_every_format_takes_part() -> None:
    assert set(WRITERS) == set(suites())
    assert set(READERS) - set(WRITERS) <= set(READ_ONLY)
    assert all(dtypes_held(id) for id in READERS)


def test_most_targets_are_read_by_another_program(tmp_path: Path) -> None:
    tensors, dtypes = network("", frozenset({"float32"}))
    without = set()
    for id in WRITERS:
        path = write_source(id, tmp_path / id, tensors, dtypes)
        if suites()[id].oracle_read(str(path)) is None:
            without.add(id)
    # These two are read by TensorFlow, below.
    assert without <= {"tensorflow-v1", "tensorflow-v2"}


@pytest.mark.tf
@pytest.mark.parametrize("target", [id for id in WRITERS if id.startswith("tensorflow-")])
def test_targets_of_tensorflow_are_read_by_tensorflow(tmp_path: Path, target: str) -> None:
    import tensorflow as tf

    for source in READERS:
        (tmp_path / source).mkdir()
        held = dtypes_held(source) & dtypes_held(target) & LOADED_BY_TENSORFLOW[target]
        tensors, dtypes = network(source, held)
        path = write_source(source, tmp_path / source / "from", tensors, dtypes)
        loaded = tf.train.load_checkpoint(str(move(path, target, tmp_path / source / "to")))
        assert set(loaded.get_variable_to_shape_map()) == set(tensors)
        for name, expected in tensors.items():
            assert BY_TENSORFLOW[loaded.get_variable_to_dtype_map()[name].as_datatype_enum].name == dtypes[name]
            assert_same_bits(np.asarray(loaded.get_tensor(name)), expected)


def matrix(check: Callable[[str, str, Path], int] = check_pair) -> str:
    """The table: for each pair, how many dtypes both formats have, all of which were moved bit for bit."""
    rows = [["from \\ to", *(f"`{id}`" for id in WRITERS)], ["---"] * (len(WRITERS) + 1)]
    for source in READERS:
        cells = []
        for target in WRITERS:
            with tempfile.TemporaryDirectory() as folder:
                cells.append(str(check(source, target, Path(folder))))
        rows.append([f"`{source}`", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def test_the_table_has_a_cell_for_every_pair() -> None:
    pairs: list[tuple[str, str]] = []

    def count(source: str, target: str, folder: Path) -> int:
        assert list(folder.iterdir()) == []
        pairs.append((source, target))
        return len(pairs)

    lines = matrix(count).splitlines()
    assert pairs == [(source, target) for source in READERS for target in WRITERS]
    assert len(lines) == len(READERS) + 2 and {line.count("|") for line in lines} == {len(WRITERS) + 2}
    assert lines[-1].endswith(f"| {len(pairs)} |")


if __name__ == "__main__":
    print(matrix())
