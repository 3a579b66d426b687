"""The suite that every on-disk format passes, and the one comparison that all tests of values use.

A format's tests are one subclass: its classes, a file name and, where another program reads the format, an oracle.

    class TestSafetensors(FormatContract):
        reader, writer, filename = SafetensorsReader, SafetensorsWriter, "model.safetensors"

        def oracle_read(self, path):
            return safetensors.numpy.load_file(path)

Values are random bytes from a seed, so that they hold NaN payloads, negative zeros and denormals on their own, and are
compared as bytes, because ``==`` takes -0.0 for 0.0 and no NaN for another.
"""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from resport.dtypes import to_numpy
from resport.errors import FormatError, OptionError, SourceNotFoundError, TargetExistsError
from resport.formats import open_reader, open_writer
from resport.formats.base import Reader, Writer
from resport.tensors import TensorSpec

LARGE_TENSOR_BYTES = 64 << 20

# Bit patterns that a conversion through float arithmetic, text or a comparison with `==` would not keep.
SPECIAL_BITS: dict[str, list[int]] = {
    "float16": [0x0000, 0x8000, 0x0001, 0x83FF, 0x7C00, 0xFC00, 0x7E00, 0x7E2A, 0xFE2A, 0x7D01, 0xFD55],
    "bfloat16": [0x0000, 0x8000, 0x0001, 0x807F, 0x7F80, 0xFF80, 0x7FC0, 0x7FEA, 0xFFEA, 0x7F81, 0xFFA5],
    "float32": [0, 0x80000000, 1, 0x807FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7FC0BEEF, 0xFFC0BEEF, 0x7F800001],
    "float64": [
        0,
        1 << 63,
        1,
        0x800FFFFFFFFFFFFF,
        0x7FF << 52,
        0xFFF << 52,
        0x7FF8 << 48,
        0x7FF8DEADBEEF0001,
        0x7FF << 52 | 1,
    ],
}
SPECIAL_BITS["complex64"] = SPECIAL_BITS["float32"]
SPECIAL_BITS["complex128"] = [*SPECIAL_BITS["float64"], 0xFFF8 << 48]


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    """Fail unless both arrays have the same shape, the same dtype and the same bytes."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    if actual.dtype == object:
        assert actual.tolist() == expected.tolist()
    elif actual.tobytes() != expected.tobytes():
        words = f"V{actual.dtype.itemsize}"
        differ = np.nonzero(
            np.ascontiguousarray(actual).reshape(-1).view(words)
            != np.ascontiguousarray(expected).reshape(-1).view(words)
        )[0]
        at = int(differ[0])
        raise AssertionError(
            f"{len(differ)} of {actual.size} elements differ, first number {at}: "
            f"{actual.reshape(-1)[at : at + 1].tobytes().hex()} for {expected.reshape(-1)[at : at + 1].tobytes().hex()}"
        )


def random_array(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random bits of a dtype: every value that it has may occur."""
    rng = np.random.default_rng([seed, *dtype.encode()])
    kind = to_numpy(dtype)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype in {"int4", "int2"}:
        bound = 8 if dtype == "int4" else 2
        return rng.integers(-bound, bound, shape).astype(kind)
    if dtype in {"uint4", "uint2", "float4_e2m1fn"}:
        # One byte each in memory, of which only the low bits may be set.
        return rng.integers(0, 4 if dtype == "uint2" else 16, shape).astype(np.uint8).view(kind)
    count = int(np.prod(shape, dtype=np.int64))
    # A copy, because an array over `bytes` is read-only.
    return np.frombuffer(rng.bytes(count * kind.itemsize), dtype=kind).reshape(shape).copy()


def special_array(dtype: str) -> np.ndarray:
    """Signed zeros, denormals, infinities, and quiet and signalling NaNs with payloads."""
    width = {"float16": 2, "bfloat16": 2, "float32": 4, "complex64": 4, "float64": 8, "complex128": 8}[dtype]
    return np.array(SPECIAL_BITS[dtype], dtype=f"<u{width}").view(to_numpy(dtype))


def specs_of(tensors: Mapping[str, np.ndarray], dtypes: Mapping[str, str] | None = None) -> list[TensorSpec]:
    """The specs of arrays; ``dtypes`` names those that their arrays don't tell (``qint8``)."""
    from resport.dtypes import from_numpy

    return [
        TensorSpec(name, array.shape, (dtypes or {}).get(name) or from_numpy(array.dtype))
        for name, array in tensors.items()
    ]


@contextlib.contextmanager
def peak_bytes() -> Iterator[list[int]]:
    """Measure how far memory rises above its level at entry, by Python's count and, on Linux, by the kernel's."""
    result: list[int] = []
    tracemalloc.start()
    before = _resident_bytes(reset=True)
    try:
        yield result
        _, traced = tracemalloc.get_traced_memory()
        result.append(max(traced, _resident_bytes() - before))
    finally:
        tracemalloc.stop()


def _resident_bytes(reset: bool = False) -> int:
    """Highest resident size since the last reset; 0 where the kernel doesn't tell."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


class FormatContract:
    """What every format promises. Subclass it as ``Test…`` and set the three attributes."""

    reader: ClassVar[type[Reader]]
    writer: ClassVar[type[Writer]]
    filename: ClassVar[str]

    keeps_metadata: ClassVar[bool] = True
    """Whether the format has a place for text beside the tensors."""
    keeps_order: ClassVar[bool] = True
    """Whether the manifest comes back in the order of the specs (a TF checkpoint is sorted)."""
    has_checksums: ClassVar[bool] = False
    """Whether a changed byte of a value is an error rather than another value."""
    awkward_names: ClassVar[tuple[str, ...]] = (
        "resnet_v2_50/block1/unit_1/bottleneck_v2/conv1/weights",
        "resnet_v2_50/block1/unit_1/bottleneck_v2/conv1/weights/Momentum",
        "Variable",
        "Variable/Adam",
        "Variable_1",
        "global_step",
        "a.b.c/running.mean",
        "with space/and  two",
        "größe/重み/ядро",
        "colon:0",
        "colon",
        "UPPER/case",
        "upper/case",
        "__metadata__x",
        "vars/0",
        "layers/conv2d/vars/0",
    )

    # What a subclass may replace

    def oracle_read(self, path: str) -> dict[str, np.ndarray] | None:
        """Read the file with a program that is not ours; None where there is none."""
        return None

    def comparable_with_oracle(self, spec: TensorSpec) -> bool:
        """Whether the oracle knows a tensor of this dtype and gives it under this name."""
        return True

    # What the tests are made of

    def target(self, folder: Path, stem: str = "") -> str:
        (folder / stem).mkdir(exist_ok=True)
        return str(folder / stem / self.filename)

    def store(
        self,
        path: str,
        tensors: Mapping[str, np.ndarray],
        *,
        order: list[str] | None = None,
        dtypes: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        with self.writer(path, specs_of(tensors, dtypes), metadata=metadata) as writer:
            for name in order or tensors:
                writer.write(name, tensors[name])

    def load(self, path: str) -> dict[str, np.ndarray]:
        with self.reader(path) as reader:
            return {name: reader.read(name) for name in reader.manifest}

    def files(self, path: str) -> list[Path]:
        with self.reader(path) as reader:
            return [Path(file) for file in reader.files]

    def content(self, path: str) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self.files(path)}

    def small_tensors(self, seed: int = 0) -> dict[str, np.ndarray]:
        return {
            "conv/kernel": random_array("float32", (3, 3, 2, 4), seed),
            "conv/bias": random_array("float32", (4,), seed),
            "step/count": random_array("int64", (), seed),
        }

    def check(self, path: str, tensors: Mapping[str, np.ndarray], dtypes: Mapping[str, str] | None = None) -> None:
        """The file holds exactly these tensors, for our reader and for the oracle."""
        specs = specs_of(tensors, dtypes)
        with self.reader(path) as reader:
            assert set(reader.manifest.values()) == set(specs)
            if self.keeps_order:
                assert list(reader.manifest) == list(tensors)
            for name, expected in tensors.items():
                array = reader.read(name)
                assert_same_bits(array, expected)
                assert array.flags.c_contiguous and array.flags.writeable and array.base is None
        oracle = self.oracle_read(path)
        for spec in specs:
            if oracle is not None and self.comparable_with_oracle(spec):
                expected = tensors[spec.name]
                assert_same_bits(np.asarray(oracle[spec.name]).view(expected.dtype), expected)

    # Values

    def test_every_dtype_keeps_its_bits(self, tmp_path: Path) -> None:
        shapes = {"cube": (2, 3, 5), "vector": (7,), "scalar": (), "empty": (0, 3), "one": (1, 1)}
        names = {
            f"{dtype}/{key}": (dtype, shape) for dtype in sorted(self.writer.dtypes) for key, shape in shapes.items()
        }
        tensors = {name: random_array(dtype, shape) for name, (dtype, shape) in names.items()}
        dtypes = {name: dtype for name, (dtype, _) in names.items()}
        path = self.target(tmp_path)
        self.store(path, tensors, dtypes=dtypes)
        self.check(path, tensors, dtypes)

    def test_common_dtypes_are_claimed(self) -> None:
        assert {"bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64"} <= self.writer.dtypes

    def test_special_values_keep_their_bits(self, tmp_path: Path) -> None:
        tensors = {f"{dtype}/special": special_array(dtype) for dtype in sorted(self.writer.dtypes & set(SPECIAL_BITS))}
        path = self.target(tmp_path)
        self.store(path, tensors)
        self.check(path, tensors)

    def test_shapes(self, tmp_path: Path) -> None:
        shapes = [(), (0,), (1,), (0, 0), (3, 0, 2), (5,), (1, 1, 1, 1), (2, 2), (512,), (2, 1, 3, 1, 2)]
        tensors = {f"layer_{index}/w": random_array("float32", shape) for index, shape in enumerate(shapes)}
        path = self.target(tmp_path)
        self.store(path, tensors)
        self.check(path, tensors)

    @pytest.mark.parametrize("view", ["transposed", "sliced", "reversed", "broadcast", "fortran", "read_only"])
    def test_any_memory_layout(self, tmp_path: Path, view: str) -> None:
        base = random_array("float32", (4, 6))
        array = {
            "transposed": base.T,
            "sliced": base[1:4, ::2],
            "reversed": base[::-1, ::-1],
            "broadcast": np.broadcast_to(base[0], (3, 6)),
            "fortran": np.asfortranarray(base),
            "read_only": np.frombuffer(base.tobytes(), dtype="<f4").reshape(4, 6),
        }[view]
        path = self.target(tmp_path)
        self.store(path, {"x/w": array})
        self.check(path, {"x/w": array})

    def test_no_tensors(self, tmp_path: Path) -> None:
        path = self.target(tmp_path)
        self.store(path, {})
        self.check(path, {})

    # Names

    def test_awkward_names(self, tmp_path: Path) -> None:
        tensors = {name: random_array("float32", (2, 3), seed) for seed, name in enumerate(self.awkward_names)}
        path = self.target(tmp_path)
        self.store(path, tensors)
        with self.reader(path) as reader:
            assert sorted(reader.manifest) == sorted(tensors)
            for name, expected in tensors.items():
                assert_same_bits(reader.read(name), expected)

    def test_ten_thousand_tensors(self, tmp_path: Path) -> None:
        # Long names: the lists of names that some formats keep must grow over 64 KB.
        names = [f"model/a_rather_long_scope_name/block_{i // 4:04d}/w{i % 4}" for i in range(10_000)]
        values = random_array("float32", (10_000, 2))
        tensors = {name: values[index].copy() for index, name in enumerate(names)}
        path = self.target(tmp_path)
        self.store(path, tensors)
        loaded = self.load(path)
        assert sorted(loaded) == names
        assert_same_bits(np.stack([loaded[name] for name in names]), values)

    def test_unknown_name(self, tmp_path: Path) -> None:
        path = self.target(tmp_path)
        self.store(path, self.small_tensors())
        with self.reader(path) as reader, pytest.raises(KeyError):
            reader.read("conv/kernel_")

    # Layout

    def test_write_order_does_not_matter(self, tmp_path: Path) -> None:
        tensors = {f"layer_{i}/w{j}": random_array("float32", (3, i + 1), i + j) for i in range(9) for j in range(3)}
        orders = [list(tensors), list(tensors)[::-1], sorted(tensors, key=lambda name: name[::-1])]
        contents = []
        for number, order in enumerate(orders):
            path = self.target(tmp_path, str(number))
            self.store(path, tensors, order=order, metadata={"b": "2", "a": "1"} if self.keeps_metadata else None)
            contents.append(self.content(path))
        assert contents[0] == contents[1] == contents[2]

    def test_two_runs_write_the_same_bytes(self, tmp_path: Path) -> None:
        tensors = self.small_tensors()
        forward, backward = {"a": "1", "b": "2", "c": "3"}, {"c": "3", "b": "2", "a": "1"}
        first, second = self.target(tmp_path, "first"), self.target(tmp_path, "second")
        self.store(first, tensors, metadata=forward if self.keeps_metadata else None)
        self.store(second, tensors, metadata=backward if self.keeps_metadata else None)
        assert self.content(first) == self.content(second)

    def test_metadata(self, tmp_path: Path) -> None:
        metadata = {"resport": '{"version": "1", "größe": "é"}', "format": "pt", "name": "x", "empty": ""}
        path = self.target(tmp_path)
        self.store(path, self.small_tensors(), metadata=metadata if self.keeps_metadata else None)
        with self.reader(path) as reader:
            kept = {key: value for key, value in reader.metadata.items() if key in metadata}
            assert kept == (metadata if self.keeps_metadata else {})
            assert all(isinstance(value, str) for value in reader.metadata.values())

    def test_long_metadata(self, tmp_path: Path) -> None:
        if self.keeps_metadata:
            metadata = {"resport": "".join(chr(33 + i % 90) for i in range(200_000))}
            path = self.target(tmp_path)
            self.store(path, self.small_tensors(), metadata=metadata)
            with self.reader(path) as reader:
                assert reader.metadata["resport"] == metadata["resport"]

    def test_large_tensor_in_little_memory(self, tmp_path: Path) -> None:
        array = random_array("float32", (LARGE_TENSOR_BYTES // 4 // 1024, 1024))
        path = self.target(tmp_path)
        with peak_bytes() as while_writing:
            self.store(path, {"large/w": array})
        with peak_bytes() as while_reading:
            loaded = self.load(path)["large/w"]
        assert_same_bits(loaded, array)
        # The array that is written was there before, the one that is read was not.
        assert while_writing[0] < 1.5 * LARGE_TENSOR_BYTES
        assert LARGE_TENSOR_BYTES <= while_reading[0] < 2.5 * LARGE_TENSOR_BYTES

    # Mistakes of the caller

    # Pieces: what is only moved, without an array

    def tensors_of_every_dtype(self) -> dict[str, np.ndarray]:
        shapes = {"long": (3, 1 << 17), "vector": (7,), "scalar": (), "empty": (0, 3)}
        tensors = {f"every/{key}": random_array("float32", shape) for key, shape in shapes.items()}
        return tensors | {f"{dtype}/w": random_array(dtype, (5,)) for dtype in sorted(self.writer.dtypes)}

    def test_pieces_are_the_bytes_of_the_array(self, tmp_path: Path) -> None:
        tensors = self.tensors_of_every_dtype()
        dtypes = {f"{dtype}/w": dtype for dtype in self.writer.dtypes}
        path = self.target(tmp_path)
        self.store(path, tensors, dtypes=dtypes)
        with self.reader(path) as reader:
            for name in reader.manifest:
                assert b"".join(map(bytes, reader.pieces(name))) == tensors[name].tobytes(), name
            with pytest.raises(KeyError):
                list(reader.pieces("no/such/name"))

    def test_what_is_written_in_pieces_is_the_same(self, tmp_path: Path) -> None:
        tensors = self.tensors_of_every_dtype()
        dtypes = {f"{dtype}/w": dtype for dtype in self.writer.dtypes}
        whole, pieces = self.target(tmp_path, "whole"), self.target(tmp_path, "pieces")
        with self.writer(whole, specs_of(tensors, dtypes)) as writer:
            for name, array in tensors.items():
                writer.write(name, array)
        with self.writer(pieces, specs_of(tensors, dtypes)) as writer:
            for name, array in reversed(tensors.items()):
                data = array.tobytes()
                writer.write_pieces(name, (data[start : start + 100_003] for start in range(0, len(data), 100_003)))
                with pytest.raises(OptionError, match="was written already"):
                    writer.write_pieces(name, [data])
        assert self.content(pieces) == self.content(whole)

    @pytest.mark.parametrize("lengths", [[], [15], [16, 1], [8, 9], [8, 7]])
    def test_another_number_of_bytes_is_refused(self, tmp_path: Path, lengths: list[int]) -> None:
        path = self.target(tmp_path)
        with (
            pytest.raises(OptionError, match="bytes"),
            self.writer(path, [TensorSpec("a/b", (4,), "float32")]) as writer,
        ):
            writer.write_pieces("a/b", [b"x" * length for length in lengths])
        assert self.leftovers(tmp_path) == []

    def test_an_error_of_the_source_is_its_own(self, tmp_path: Path) -> None:
        def broken() -> Iterator[bytes]:
            yield b"12345678"
            raise OSError("the source broke")

        path = self.target(tmp_path)
        with (
            pytest.raises(OSError, match=r"^the source broke$"),
            self.writer(path, [TensorSpec("a/b", (4,), "float32")]) as writer,
        ):
            writer.write_pieces("a/b", broken())
        assert self.leftovers(tmp_path) == []

    def test_amended_metadata_are_as_if_given_at_once(self, tmp_path: Path) -> None:
        tensors = self.small_tensors()
        given, amended = self.target(tmp_path, "given"), self.target(tmp_path, "amended")
        with self.writer(given, specs_of(tensors), metadata={"a": "xyz", "b": "2"}) as writer:
            for name, array in tensors.items():
                writer.write(name, array)
        with self.writer(amended, specs_of(tensors), metadata={"a": "___", "b": "2"}) as writer:
            for name, array in tensors.items():
                writer.write(name, array)
            for key, text in (("a", "xy"), ("c", "xyz")):
                with pytest.raises(OptionError, match="cannot become another"):
                    writer.amend_metadata(key, text)
            writer.amend_metadata("a", "xyz")
        assert self.content(amended) == self.content(given)

    @pytest.mark.parametrize(
        ("name", "array"),
        [
            ("conv/bias", np.ones((5,), np.float32)),
            ("conv/bias", np.ones((4, 1), np.float32)),
            ("conv/bias", np.ones((4,), np.float64)),
            ("conv/bias", np.ones((4,), np.int32)),
            ("conv/other", np.ones((4,), np.float32)),
        ],
    )
    def test_spec_violation_is_refused(self, tmp_path: Path, name: str, array: np.ndarray) -> None:
        with (
            pytest.raises(OptionError, match=name),
            self.writer(self.target(tmp_path), specs_of(self.small_tensors())) as writer,
        ):
            writer.write(name, array)
        assert self.leftovers(tmp_path) == []

    def test_writing_twice_is_refused(self, tmp_path: Path) -> None:
        tensors = self.small_tensors()
        with self.writer(self.target(tmp_path), specs_of(tensors)) as writer:
            for name, array in tensors.items():
                writer.write(name, array)
            with pytest.raises(OptionError, match="already"):
                writer.write("conv/bias", tensors["conv/bias"])

    def test_incomplete_commit_is_refused(self, tmp_path: Path) -> None:
        tensors = self.small_tensors()
        with (
            pytest.raises(OptionError, match="step/count"),
            self.writer(self.target(tmp_path), specs_of(tensors)) as writer,
        ):
            writer.write("conv/kernel", tensors["conv/kernel"])
            writer.write("conv/bias", tensors["conv/bias"])
        assert self.leftovers(tmp_path) == []

    def test_foreign_dtype_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match="labels"):
            self.writer(self.target(tmp_path), [TensorSpec("labels", (2,), "string")])
        assert self.leftovers(tmp_path) == []

    def test_same_name_twice_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match="a/w"):
            self.writer(self.target(tmp_path), [TensorSpec("a/w", (), "float32"), TensorSpec("a/w", (), "int32")])
        assert self.leftovers(tmp_path) == []

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SourceNotFoundError, match="nowhere"):
            self.writer(str(tmp_path / "nowhere" / self.filename), specs_of(self.small_tensors()))

    # All or nothing

    def leftovers(self, folder: Path) -> list[str]:
        return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())

    def test_nothing_appears_before_commit(self, tmp_path: Path) -> None:
        tensors = self.small_tensors()
        path = self.target(tmp_path)
        with self.writer(path, specs_of(tensors)) as writer:
            for name, array in tensors.items():
                writer.write(name, array)
            assert all(".partial/" in name for name in self.leftovers(tmp_path))
        assert self.leftovers(tmp_path) == sorted(file.name for file in self.files(path))

    def test_abort_leaves_nothing(self, tmp_path: Path) -> None:
        tensors = self.small_tensors()
        writer = self.writer(self.target(tmp_path), specs_of(tensors))
        writer.write("conv/bias", tensors["conv/bias"])
        writer.abort()
        writer.abort()
        assert self.leftovers(tmp_path) == []

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_error_leaves_the_old_file(self, tmp_path: Path, error: type[BaseException]) -> None:
        old, new = self.small_tensors(1), self.small_tensors(2)
        path = self.target(tmp_path)
        self.store(path, old)
        before = self.content(path)
        with pytest.raises(error), self.writer(path, specs_of(new)) as writer:
            writer.write("conv/kernel", new["conv/kernel"])
            raise error
        assert self.content(path) == before
        assert self.leftovers(tmp_path) == sorted(before)

    def test_commit_replaces_the_old_file(self, tmp_path: Path) -> None:
        path = self.target(tmp_path)
        self.store(path, self.small_tensors(1))
        new = {"dense/kernel": random_array("float64", (2, 2), 2)}
        self.store(path, new)
        self.check(path, new)
        assert self.leftovers(tmp_path) == sorted(file.name for file in self.files(path))

    def test_abort_after_commit_does_nothing(self, tmp_path: Path) -> None:
        tensors = self.small_tensors()
        path = self.target(tmp_path)
        with self.writer(path, specs_of(tensors)) as writer:
            for name, array in tensors.items():
                writer.write(name, array)
        writer.abort()
        self.check(path, tensors)

    # Damage

    def damaged_copies(self, path: str, folder: Path, damage: str) -> Iterator[str]:
        """Yield the path of a copy for each way to damage one file of the checkpoint."""
        contents = self.content(path)
        rng = np.random.default_rng(7)
        for victim, data in contents.items():
            for other, intact in contents.items():
                (folder / other).write_bytes(intact)
            if damage == "truncated":
                # Every offset of a small file; of a larger one a sample, and all of its beginning and end.
                few = range(len(data)) if len(data) <= 2048 else {*range(64), *range(0, len(data), 97), *range(-64, 0)}
                cases = ((data[:offset]) for offset in sorted(offset % len(data) for offset in few))
            else:
                places = rng.integers(0, len(data), 300)
                cases = (data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :] for at in places)
            for case in cases:
                (folder / victim).write_bytes(case)
                yield str(folder / Path(path).name)

    def test_truncation_is_one_clear_error(self, tmp_path: Path) -> None:
        tensors = self.small_tensors()
        path = self.target(tmp_path, "whole")
        self.store(path, tensors)
        (tmp_path / "cut").mkdir()
        n_errors = 0
        for damaged in self.damaged_copies(path, tmp_path / "cut", "truncated"):
            try:
                loaded = self.load(damaged)
            except FormatError as error:
                assert str(error)
                n_errors += 1
            else:
                assert loaded.keys() == tensors.keys()
                for name, expected in tensors.items():
                    assert_same_bits(loaded[name], expected)
        assert n_errors > 0

    def test_changed_bytes_are_an_error_or_a_value(self, tmp_path: Path) -> None:
        tensors = self.small_tensors()
        path = self.target(tmp_path, "whole")
        self.store(path, tensors)
        (tmp_path / "changed").mkdir()
        for damaged in self.damaged_copies(path, tmp_path / "changed", "changed"):
            with peak_bytes() as peak:
                try:
                    loaded = self.load(damaged)
                except FormatError as error:
                    assert str(error)
                else:
                    if self.has_checksums:
                        for name in loaded.keys() & tensors.keys():
                            assert_same_bits(loaded[name], tensors[name])
            assert peak[0] < 64 << 20, "a size was believed before it was checked"

    # Files

    def test_reader_closes_its_files(self, tmp_path: Path) -> None:
        path = self.target(tmp_path)
        self.store(path, self.small_tensors())
        reader = self.reader(path)
        reader.read("conv/kernel")
        reader.close()
        reader.close()
        assert not any(str(tmp_path) in name for name in open_files())

    def test_damaged_file_is_closed(self, tmp_path: Path) -> None:
        path = self.target(tmp_path)
        self.store(path, self.small_tensors())
        victim = self.files(path)[0]
        victim.write_bytes(victim.read_bytes()[:-1])
        with contextlib.suppress(FormatError):
            self.load(path)
        assert not any(str(tmp_path) in name for name in open_files())

    def test_reader_says_what_it_is(self, tmp_path: Path) -> None:
        path = self.target(tmp_path)
        self.store(path, self.small_tensors())
        with self.reader(path) as reader:
            assert reader.format == self.reader.format == self.writer.format
            assert reader.path == path
            assert reader.files and all(Path(file).is_file() for file in reader.files)

    def test_registry_finds_the_format(self, tmp_path: Path) -> None:
        tensors = self.small_tensors()
        path = Path(self.target(tmp_path))
        with open_writer(path, specs_of(tensors)) as writer:
            assert type(writer) is self.writer
            for name, array in tensors.items():
                writer.write(name, array)
        with open_reader(path) as reader:
            assert type(reader) is self.reader
            assert_same_bits(reader.read("conv/bias"), tensors["conv/bias"])
        with pytest.raises(TargetExistsError):
            open_writer(path, specs_of(tensors))
        open_writer(path, specs_of(tensors), force=True).abort()
        self.check(str(path), tensors)


def open_files() -> list[str]:
    """Paths of the files that this process holds open; empty where the system doesn't tell."""
    names = []
    with contextlib.suppress(OSError):
        for handle in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                names.append(str(handle.readlink()))
    return names
