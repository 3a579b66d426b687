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
from resport.conversion.stream import carry_out, is_copy
from resport.errors import ChecksumError, FormatError
from resport.formats import Reader, Writer, open_reader, open_writer
from resport.formats.staging import Staging
from resport.mapping import Move
from resport.mapping.axes import AxisMove, parse_axes
from resport.mapping.plan import Adjustment, Plan
from resport.tensors import Manifest, TensorSpec

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
