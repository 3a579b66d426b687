"""A plan carried out: what only moves goes over in pieces, everything else as arrays, and all of it is counted."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

import resport
from resport.conversion.provenance import SourceDigest, sha256_of
from resport.conversion.scratch import Scratch
from resport.conversion.stream import carry_out, is_copy
from resport.errors import ChecksumError, FormatError
from resport.formats import Reader, Writer, open_reader, open_writer
from resport.formats.staging import Staging
from resport.mapping import Move
from resport.mapping.axes import AxisMove, parse_axes
from resport.mapping.ops import OPERATIONS
from resport.mapping.plan import Adjustment, Plan
from resport.tensors import Manifest, TensorSpec
from tests.contracts import random_array

WEIGHT = TensorSpec("w", (1, 1, 3, 5), "float32")
MOVES = {
    "kept": ("w", (1, 1, 3, 5), None, True),
    "squeezed": ("1 1 i o", (3, 5), "i o", True),
    "joined": ("h w i o", (1, 15), "h (w i o)", True),
    "transposed": ("h w i o", (5, 3, 1, 1), "o i h w", False),
    "turned": ("h w i o", (1, 1, 5, 3), "h w o i", False),
}


def plan_of(source: str, shape: tuple[int, ...], target: str | None, dtype: str = "float32") -> Plan:
    spec = TensorSpec("t", shape, dtype)
    sizes = tuple(zip("hwio", WEIGHT.shape, strict=True))
    axes = AxisMove(parse_axes(source), parse_axes(target), sizes=sizes) if target else None
    return Plan((Move(("w",), (spec,), axes),), Manifest([spec]))


def stored(folder: Path) -> tuple[str, np.ndarray]:
    array = np.random.default_rng(0).standard_normal(WEIGHT.shape).astype("float32")
    with open_writer(folder / "source", [WEIGHT]) as writer:
        writer.write("w", array)
    return str(folder / "source"), array


@pytest.mark.parametrize(("source", "shape", "target", "is_kept"), MOVES.values(), ids=MOVES)
def test_what_keeps_its_order_is_no_array(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    shape: tuple[int, ...],
    target: str | None,
    is_kept: bool,
) -> None:
    path, array = stored(tmp_path)
    plan = plan_of(source, shape, target)
    expected = array.transpose([3, 2, 0, 1]) if target == "o i h w" else array
    expected = array.transpose([0, 1, 3, 2]) if target == "h w o i" else expected
    seen: list[tuple[int, int]] = []
    with open_reader(path) as reader, open_writer(tmp_path / "t.safetensors", plan.targets.values()) as writer:
        assert is_copy(plan.moves[0], reader.manifest) == is_kept
        if is_kept:
            monkeypatch.setattr(reader, "read", lambda name: pytest.fail("an array was read"))
        carry_out(plan, reader, writer, lambda done, total: seen.append((done, total)))
    with open_reader(tmp_path / "t.safetensors") as reader:
        assert reader.read("t").tobytes() == np.ascontiguousarray(expected).tobytes()
        assert reader.manifest["t"].shape == shape
    assert seen == [(60, 60)]


def test_what_changes_is_no_copy() -> None:
    source = Manifest([WEIGHT])
    kept = plan_of("w", WEIGHT.shape, None).moves[0]
    assert is_copy(kept, source)
    assert not is_copy(plan_of("w", WEIGHT.shape, None, "float16").moves[0], source)
    assert not is_copy(Move(kept.sources, kept.targets, None, (Adjustment("swap_rgb", axis=2),)), source)
    assert not is_copy(Move(("w", "w"), kept.targets), source)
    fan = AxisMove(parse_axes("h w i o"), parse_axes("h w i o"), source_fan=("g",), sizes=(("g", 1),))
    assert not is_copy(Move(("w",), kept.targets, fan), source)
    diagonal = parse_axes("h w (g i) (g o)")
    assert not is_copy(Move(("w",), kept.targets, AxisMove(diagonal, parse_axes("h w g i o"))), source)


def test_what_is_transposed_is_read_into_the_same_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small after large, empty and scalar, of other dtypes: nothing of one is left in the next."""
    shapes = {"a": (4, 3), "b": (50, 40), "c": (), "d": (0, 7), "e": (2, 9), "f": (50, 40)}
    dtypes = dict(zip(shapes, ["float32", "float64", "int8", "float32", "float16", "float64"], strict=True))
    values = {name: random_array(dtypes[name], shape, 3) for name, shape in shapes.items()}
    with open_writer(
        tmp_path / "s", [TensorSpec(name, shape, dtypes[name]) for name, shape in shapes.items()]
    ) as writer:
        for name, array in values.items():
            writer.write(name, array)
    turned = AxisMove(parse_axes("i o"), parse_axes("o i"))
    specs = {name: TensorSpec(name, shape[::-1], dtypes[name]) for name, shape in shapes.items()}
    moves = [Move((name,), (spec,), turned if spec.shape else None) for name, spec in specs.items()]
    moves[2] = Move(("c",), (specs["c"],), None, (Adjustment("drop_background", axis=None),))
    monkeypatch.setitem(
        OPERATIONS, "drop_background", OPERATIONS["drop_background"]._replace(apply=lambda array: array)
    )
    seen = []
    read = Scratch.read
    monkeypatch.setattr(Scratch, "read", lambda self, name: seen.append(read(self, name)) or seen[-1])
    with open_reader(tmp_path / "s") as reader, open_writer(tmp_path / "t.npz", specs.values()) as writer:
        carry_out(Plan(tuple(moves), Manifest(specs.values())), reader, writer)
    with np.load(tmp_path / "t.npz") as found:
        assert {name: found[name].tobytes() for name in specs} == {n: a.T.tobytes() for n, a in values.items()}
    assert [array.shape for array in seen] == [*shapes.values()]
    assert np.shares_memory(seen[1], seen[4]) and np.shares_memory(seen[1], seen[5])


def test_what_is_stacked_is_not_read_into_the_same_memory(tmp_path: Path) -> None:
    values = {name: random_array("float32", (3, 2), seed) for seed, name in enumerate("ab")}
    with open_writer(tmp_path / "s", [TensorSpec(name, (3, 2), "float32") for name in values]) as writer:
        for name, array in values.items():
            writer.write(name, array)
    fan = AxisMove(parse_axes("i o"), parse_axes("g o i"), source_fan=("g",), sizes=(("g", 2),))
    spec = TensorSpec("t", (2, 2, 3), "float32")
    with open_reader(tmp_path / "s") as reader, open_writer(tmp_path / "t.npz", [spec]) as writer:
        carry_out(Plan((Move(("a", "b"), (spec,), fan),), Manifest([spec])), reader, writer)
    with np.load(tmp_path / "t.npz") as found:
        assert found["t"].tobytes() == np.stack([values["a"].T, values["b"].T]).tobytes()


def test_a_wrong_checksum_stops_what_is_transposed(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    data = Path(f"{path}.data-00000-of-00001")
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    plan = plan_of("h w i o", (5, 3, 1, 1), "o i h w")
    with open_reader(path) as reader, pytest.raises(ChecksumError, match="checksum of `w`"):
        with open_writer(tmp_path / "t.safetensors", plan.targets.values()) as writer:
            carry_out(plan, reader, writer)


def test_a_wrong_checksum_stops_what_is_only_moved(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    data = Path(f"{path}.data-00000-of-00001")
    content = bytearray(data.read_bytes())
    content[7] ^= 1
    data.write_bytes(content)
    with pytest.raises(ChecksumError, match="checksum of `w`"):
        resport.convert(path, tmp_path / "t.safetensors")
    assert not (tmp_path / "t.safetensors").exists()
    assert list(tmp_path.glob(".resport-*")) == []


def test_digest_of_several_files(tmp_path: Path) -> None:
    contents = [b"", b"x" * 3_000_000, b"tail"]
    files = []
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
        files.append(str(tmp_path / str(number)))
    assert sha256_of(files) == hashlib.sha256(b"".join(contents)).hexdigest()
    with pytest.raises(FormatError, match="is missing"):
        sha256_of([*files, str(tmp_path / "none")])


def test_digest_stops_with_its_context(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"")
    with (tmp_path / "large").open("r+b") as file:
        file.truncate(1 << 36)  # takes no room, and minutes to read
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), SourceDigest([str(tmp_path / "large")]) as digest:
        raise ZeroDivisionError
    assert threading.active_count() == before
    assert digest.result() == ""


def test_provenance_has_the_digest_of_the_source(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    resport.convert(path, tmp_path / "t.safetensors")
    with open_reader(path) as reader:
        digest = hashlib.sha256(b"".join(Path(file).read_bytes() for file in reader.files)).hexdigest()
    with open_reader(tmp_path / "t.safetensors") as reader:
        assert f'"sha256":"{digest}"' in reader.metadata["resport"]


def test_default_pieces_are_those_of_the_array(tmp_path: Path) -> None:
    class Plain(Reader):
        """A format that only gives arrays."""

        path = "plain"

        def read(self, name: str) -> np.ndarray:
            return np.arange(6, dtype="<i2").reshape(2, 3)

        def close(self) -> None: ...

    class Collecting(Writer):
        """A format that only takes arrays."""

        format, dtypes = "collecting", frozenset({"int16"})

        def __init__(self, specs: Iterable[TensorSpec]) -> None:
            super().__init__("collected", specs)
            self.arrays: dict[str, np.ndarray] = {}
            self.staging = Staging(str(tmp_path / "collected"))

        def _write(self, spec: TensorSpec, array: np.ndarray) -> None:
            self.arrays[spec.name] = array

        def _finish(self) -> None: ...

        def commit(self) -> None: ...

        def abort(self) -> None: ...

    with Collecting([TensorSpec("a", (2, 3), "int16")]) as writer:
        writer.write_pieces("a", Plain().pieces("a"))
    assert writer.arrays["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
