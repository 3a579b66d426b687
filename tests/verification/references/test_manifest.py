"""A stored manifest: hashes that others can work out, in any container, and everything that is not as it says."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import resport
from resport.cli.diff_command import diff
from resport.cli.inspect_command import inspect
from resport.cli.main import main
from resport.cli.verify_command import verify
from resport.errors import (
    ChecksumError,
    FormatError,
    OptionError,
    ResportError,
    SourceNotFoundError,
    TargetExistsError,
    TargetWriteError,
)
from resport.formats.json_text import JSON_MAX_BYTES
from resport.verification.references.manifest import load_manifest
from tests import tiny

CONTAINERS = ["m.safetensors", "m.npz", "m.h5", "m.weights.h5", "m", "m.safetensors.index.json", "v1"]
VALUES = {
    "a_layer/kernel": np.random.default_rng(1).normal(size=(3, 4)).astype("float32"),
    "a_layer/bias": np.array([np.nan, -0.0, np.inf, 1], np.float32),
    "b_layer/gamma": np.arange(6, dtype=np.float64).reshape(2, 3),
    "b_layer/count": np.array(7, np.int64),
    "c_layer/half": np.array([[1.5], [-2]], np.float16),
    "c_layer/empty": np.zeros((0, 3), np.float32),
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def store(folder: Path, name: str, values: Mapping[str, np.ndarray]) -> Path:
    """A checkpoint that others wrote, brought into a container."""
    np.savez(folder / "values.npz", **values)
    resport.convert(folder / "values.npz", folder / name, **({"format": "tensorflow-v1"} if name == "v1" else {}))
    return folder / name


def stored(path: Path, **options: Any) -> dict[str, Any]:
    manifest = path.parent / "manifest.json"
    resport.inspect(path, manifest=manifest, force=True, **options)
    value: dict[str, Any] = json.loads(manifest.read_text())
    return value


@pytest.mark.parametrize("name", CONTAINERS)
def test_hashes_are_those_of_the_values_in_any_container(tmp_path: Path, name: str) -> None:
    path = store(tmp_path, name, VALUES)
    manifest = stored(path)
    assert manifest["tensors"] == {
        name: {"shape": list(array.shape), "dtype": array.dtype.name, "sha256": sha256(array.tobytes())}
        for name, array in VALUES.items()
    }
    with resport.open_reader(path) as reader:
        assert manifest["format"] == reader.format
        assert manifest["files"] == {Path(file).name: sha256(Path(file).read_bytes()) for file in reader.files}
    assert stored(path) == manifest
    report = resport.verify_against(tmp_path / "manifest.json", path)
    assert (report.verdict, report.weights.equal, report.changes) == ("equal", len(VALUES), ())


def test_hashes_of_what_other_libraries_wrote_and_read(tmp_path: Path) -> None:
    save_file(VALUES, tmp_path / "theirs.safetensors")
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file.attrs["layer_names"] = np.array(sorted({name.split("/")[0].encode() for name in VALUES}))
        for name, array in VALUES.items():
            layer, _, variable = name.partition("/")
            group = file.require_group(layer)
            names = [*group.attrs.get("weight_names", []), f"{layer}/{variable}:0".encode()]
            group.attrs["weight_names"] = np.array(names)
            # Big-endian in the file; the values are the same.
            group[f"{layer}/{variable}:0"] = array.astype(array.dtype.newbyteorder(">"))
    read = load_file(tmp_path / "theirs.safetensors")
    first, second = stored(tmp_path / "theirs.safetensors"), stored(tmp_path / "theirs.h5")
    assert first["tensors"] == second["tensors"]
    assert {name: entry["sha256"] for name, entry in first["tensors"].items()} == {
        name: sha256(np.ascontiguousarray(array).tobytes()) for name, array in read.items()
    }


@pytest.mark.tf
def test_hashes_of_what_tensorflow_reads(tmp_path: Path) -> None:
    import tensorflow as tf

    path = store(tmp_path, "m", VALUES)
    reader = tf.train.load_checkpoint(str(path))
    assert {name: entry["sha256"] for name, entry in stored(path)["tensors"].items()} == {
        name: sha256(np.asarray(reader.get_tensor(name)).tobytes()) for name in reader.get_variable_to_shape_map()
    }


def test_a_conversion_without_renaming_has_the_tensors_of_its_source(tmp_path: Path) -> None:
    source = store(tmp_path, "m", VALUES)
    stored(source)
    resport.convert(source, tmp_path / "other.h5")
    report = resport.verify_against(tmp_path / "manifest.json", tmp_path / "other.h5")
    assert report.verdict == "equal"
    assert [str(change) for change in report.changes] == ["target's format: then tensorflow-v2, now keras-legacy-h5"]


def test_texts_are_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", text=np.array(["a", "b"]), w=np.arange(3))
    assert stored(tmp_path / "m.npz")["tensors"].keys() == {"w"}
    assert resport.verify_against(tmp_path / "manifest.json", tmp_path / "m.npz").verdict == "equal"


def test_how_the_source_was_read_is_told(tmp_path: Path) -> None:
    values = {"conv/kernel": np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype("float32")}
    path = store(tmp_path, "m.h5", values)
    manifest = stored(path, kernel_order="hwio-flipped")
    assert manifest["tensors"]["conv/kernel"]["sha256"] == sha256(values["conv/kernel"][::-1, ::-1].tobytes())
    report = resport.verify_against(tmp_path / "manifest.json", path)
    assert report.verdict == "different"
    assert "option kernel_order: then hwio-flipped, now there is none" in map(str, report.changes)
    assert resport.verify_against(tmp_path / "manifest.json", path, kernel_order="hwio-flipped").verdict == "equal"


# Every difference


def without(name: str) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda values: values.pop(name) and None


DIFFERENCES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "missing": ({"a_layer/bias": None}, {"a_layer/bias": "missing"}),
    "unexpected": ({"more": np.arange(3)}, {"more": "unexpected"}),
    "renamed": (
        {"a_layer/bias": None, "a_layer/offset": VALUES["a_layer/bias"]},
        {"a_layer/bias": "missing", "a_layer/offset": "unexpected"},
    ),
    "shape": ({"a_layer/kernel": VALUES["a_layer/kernel"].reshape(4, 3)}, {"a_layer/kernel": "shape"}),
    "dtype": ({"a_layer/bias": VALUES["a_layer/bias"].view(np.int32)}, {"a_layer/bias": "dtype"}),
    "sign of zero": ({"a_layer/bias": np.array([np.nan, 0.0, np.inf, 1], np.float32)}, {"a_layer/bias": "values"}),
    "payload of a nan": (
        {"a_layer/bias": np.array([0x7FC00001, 0x80000000, 0x7F800000, 0x3F800000], np.uint32).view(np.float32)},
        {"a_layer/bias": "values"},
    ),
    "transposed": ({"a_layer/kernel": VALUES["a_layer/kernel"].T.reshape(3, 4)}, {"a_layer/kernel": "values"}),
    "all": (dict.fromkeys(VALUES) | {"z": np.arange(2)}, dict.fromkeys(VALUES, "missing") | {"z": "unexpected"}),
}


@pytest.mark.parametrize("kind", DIFFERENCES)
def test_every_difference_is_reported(tmp_path: Path, kind: str) -> None:
    stored(store(tmp_path, "m.safetensors", VALUES))
    changes, expected = DIFFERENCES[kind]
    values = {name: array for name, array in {**VALUES, **changes}.items() if array is not None}
    (tmp_path / "other").mkdir()
    other = store(tmp_path / "other", "m.safetensors", values)
    report = resport.verify_against(tmp_path / "manifest.json", other)
    assert {each.name: each.kind for each in report.weights.differences} == expected
    assert report.weights.equal == len(VALUES) - sum(kind != "unexpected" for kind in expected.values())
    result = CliRunner().invoke(verify, ["--against", str(tmp_path / "manifest.json"), str(other)])
    assert result.exit_code == 1
    assert result.output.startswith("different\n")
    for name, what in expected.items():
        assert f"{name}: {what}" in result.output
    result = CliRunner().invoke(verify, ["--against", str(tmp_path / "manifest.json"), str(other), "--json"])
    told = json.loads(result.stdout)
    assert result.exit_code == 1 and told["verdict"] == "different" and told["forward"] is None
    assert {each["name"]: each["kind"] for each in told["weights"]["differences"]} == expected
    with pytest.raises(ResportError):
        report.raise_for_difference()


def test_no_tensor_at_all_is_no_success(tmp_path: Path) -> None:
    stored(tiny.write_values(tmp_path / "m.safetensors", {}))
    assert resport.verify_against(tmp_path / "manifest.json", tmp_path / "m.safetensors").verdict == "different"


# The command line


def test_the_command_line(tmp_path: Path) -> None:
    path, manifest = store(tmp_path, "m.safetensors", VALUES), tmp_path / "m.json"
    result = CliRunner().invoke(inspect, [str(path), "--manifest", str(manifest)])
    assert result.exit_code == 0 and result.output.endswith(f"wrote the manifest {manifest}\n")
    before = manifest.read_bytes()
    result = CliRunner().invoke(verify, ["--against", str(manifest), str(path)])
    assert result.exit_code == 0
    assert f"  weights    {len(VALUES)} of {len(VALUES)} tensors are equal bit for bit\n" in result.output
    assert "  forward    not run: a manifest holds no outputs, only the tensors\n" in result.output
    result = CliRunner().invoke(inspect, [str(path), "--manifest", str(manifest), "--json"])
    assert isinstance(result.exception, TargetExistsError) and manifest.read_bytes() == before
    result = CliRunner().invoke(inspect, [str(path), "--manifest", str(manifest), "--json", "--force"])
    assert json.loads(result.stdout)["n_tensors"] == len(VALUES) and manifest.read_bytes() == before


def test_the_network_is_named_where_it_is_known(tmp_path: Path) -> None:
    table = tiny.write_table(tmp_path)
    path = tiny.write_values(tmp_path / "m.safetensors", tiny.slim_values())
    stored(path)
    report = resport.verify_against(tmp_path / "manifest.json", path, table=table)
    assert (report.target.variant, report.target.dialect, report.source.format) == ("tiny_2", "slim", "manifest")


# Where it is written


@pytest.mark.parametrize("how", ["itself", "link"])
def test_a_checkpoint_is_never_replaced_by_its_manifest(tmp_path: Path, how: str) -> None:
    path = store(tmp_path, "m.safetensors", VALUES)
    before, manifest = path.read_bytes(), path
    if how == "link":
        manifest = tmp_path / "link"
        manifest.hardlink_to(path)
    with pytest.raises(OptionError, match="is a file of the checkpoint"):
        resport.inspect(path, manifest=manifest, force=True)
    assert path.read_bytes() == before


def test_a_manifest_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, manifest = store(tmp_path, "m.safetensors", VALUES), tmp_path / "m.json"
    manifest.write_text("old")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TargetWriteError, match="no space left on device"):
        resport.inspect(path, manifest=manifest, force=True)
    assert manifest.read_text() == "old"
    assert {file.name for file in tmp_path.iterdir()} == {"m.safetensors", "m.json", "values.npz"}


def test_a_damaged_checkpoint_gets_no_manifest(tmp_path: Path) -> None:
    path = store(tmp_path, "m", VALUES)
    flip(tmp_path)
    with pytest.raises(ChecksumError):
        resport.inspect(path, manifest=tmp_path / "m.json")
    assert not (tmp_path / "m.json").exists()
    path.with_name("m.data-00000-of-00001").unlink()
    with pytest.raises(FormatError, match="is missing"):
        resport.inspect(path, manifest=tmp_path / "m.json")


def flip(folder: Path) -> None:
    """Change one bit of a value behind the back of a TensorFlow checkpoint."""
    victim, value = folder / "m.data-00000-of-00001", VALUES["a_layer/kernel"].tobytes()
    data = bytearray(victim.read_bytes())
    data[data.index(value)] ^= 1
    victim.write_bytes(data)


# Without checksums


def test_damaged_values_are_read_by_choice(tmp_path: Path) -> None:
    path = store(tmp_path, "m", VALUES)
    manifest = tmp_path / "manifest.json"
    stored(path)
    flip(tmp_path)
    with pytest.raises(ChecksumError):
        resport.verify_against(manifest, path)
    report = resport.verify_against(manifest, path, checksum=False)
    assert [(each.name, each.kind) for each in report.weights.differences] == [("a_layer/kernel", "values")]
    assert [change.what for change in report.changes] == ["sha256 of m.data-00000-of-00001"]
    source = tmp_path / "values.npz"
    for compare in (
        lambda **options: resport.diff(source, path, **options).differences,
        lambda **options: resport.verify(source, path, weights_only=True, **options).weights.differences,
        lambda **options: resport.verify(path, source, weights_only=True, **options).weights.differences,
    ):
        with pytest.raises(ChecksumError):
            compare()
        assert [each.name for each in compare(checksum=False)] == ["a_layer/kernel"]
    for command, arguments in (
        (diff, [str(source), str(path)]),
        (verify, [str(source), str(path), "--weights-only"]),
        (verify, ["--against", str(manifest), str(path)]),
    ):
        assert isinstance(CliRunner().invoke(command, arguments).exception, ChecksumError)
        assert CliRunner().invoke(command, [*arguments, "--no-checksum"]).exit_code == 1


# Manifests of strangers

TENSOR = {"shape": [1], "dtype": "float32", "sha256": "0" * 64}


def described(**changes: Any) -> bytes:
    usual = {"resport_manifest": 1, "format": "npz", "reading": {}, "files": {}, "tensors": {"w": TENSOR}}
    return json.dumps({**usual, **changes}).encode()


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is not valid JSON"),
    "binary": (bytes(range(256)), "is not valid JSON"),
    "a list": (b"[]", "is not a JSON object"),
    "other json": (b'{"verdict": "equal"}', "is no manifest of a checkpoint"),
    "an empty object": (b"{}", "is no manifest of a checkpoint"),
    "later": (described(resport_manifest=2), "is of another version"),
    "true for one": (described(resport_manifest=True), "has no valid `resport_manifest`"),
    "no tensors": (b'{"resport_manifest": 1}', "has no valid `tensors`"),
    "tensors in a list": (described(tensors=[TENSOR]), "has no valid `tensors`"),
    "a tensor of text": (described(tensors={"w": "x"}), "has no valid `w`"),
    "a shape of text": (described(tensors={"w": {**TENSOR, "shape": "1"}}), "has no valid `shape`"),
    "a negative shape": (described(tensors={"w": {**TENSOR, "shape": [-1]}}), "has no valid shape"),
    "a shape beyond numbers": (described(tensors={"w": {**TENSOR, "shape": [1 << 70]}}), "has no valid shape"),
    "a shape of many axes": (described(tensors={"w": {**TENSOR, "shape": [1] * 65}}), "has no valid shape"),
    "an unknown dtype": (described(tensors={"w": {**TENSOR, "dtype": "x" * 9999}}), "has an unknown dtype"),
    "no sha256": (described(tensors={"w": {**TENSOR, "sha256": "0" * 63}}), "has no valid sha256"),
    "an upper-case sha256": (described(tensors={"w": {**TENSOR, "sha256": "A" * 64}}), "has no valid sha256"),
    "files in a list": (described(files=[]), "has no valid `files`"),
    "a name twice": (described()[:-1] + b', "tensors": {}}', "stands in it twice"),
    "deep": (b'{"resport_manifest": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "wide": (b'{"resport_manifest": [' + b"[]," * 800_000 + b"[]]}", "more parts than any file of weights"),
    "a number of many digits": (b'{"resport_manifest": ' + b"9" * 100_000 + b"}", "is not valid JSON"),
    "half a surrogate pair": (described(files={"\ud800": "0"}), "half of a surrogate pair"),
    "a command to the terminal": (described(tensors={"\x1b[2J\n": 1}), r"has no valid `\\x1b\[2J\\n`"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_manifest_is_refused(tmp_path: Path, kind: str) -> None:
    path = store(tmp_path, "m.npz", {"w": np.zeros(1, np.float32)})
    content, message = HOSTILE[kind]
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        resport.verify_against(tmp_path / "manifest.json", path)
    assert caught.value.path == str(tmp_path / "manifest.json")
    assert len(str(caught.value)) < 600 and all(line.isprintable() for line in str(caught.value).splitlines())


_plain = st.none() | st.booleans() | st.integers(-2, 70) | st.text(max_size=5) | st.floats()
_tensor = st.fixed_dictionaries(
    {"shape": st.lists(_plain, max_size=2) | _plain, "dtype": st.just("float32") | _plain, "sha256": st.just("0" * 64)}
)
_manifest = st.fixed_dictionaries(
    {
        "resport_manifest": st.just(1) | _plain,
        "format": st.text(max_size=3) | _plain,
        "reading": st.dictionaries(st.text(max_size=3), _plain, max_size=2),
        "files": st.dictionaries(st.text(max_size=3), st.just("0") | _plain, max_size=2),
        "tensors": st.dictionaries(st.text(max_size=3), _tensor | _plain, max_size=3),
    }
)


@given(st.binary(max_size=200) | _manifest.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=100, deadline=None)
def test_any_manifest(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "manifest.json"
    path.write_bytes(data)
    try:
        stored = load_manifest(path)
    except FormatError:
        return
    assert all(tensor.spec.dtype == "float32" for tensor in stored.side.tensors.values())
    assert json.loads(data)["tensors"].keys() == stored.side.tensors.keys()


def test_a_manifest_without_end(tmp_path: Path) -> None:
    path = store(tmp_path, "m.npz", VALUES)
    (tmp_path / "manifest.json").touch()
    os.truncate(tmp_path / "manifest.json", JSON_MAX_BYTES + 1)
    with pytest.raises(FormatError, match="is too large"):
        resport.verify_against(tmp_path / "manifest.json", path)


def test_a_manifest_that_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = store(tmp_path, "m.npz", VALUES)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FormatError, match="cannot be read"):
        resport.verify_against(tmp_path / "fifo", path)
    with pytest.raises(SourceNotFoundError, match="there is no reference"):
        resport.verify_against(tmp_path / "nowhere", path)
    with pytest.raises(SystemExit) as caught:
        main(["verify", "--against", str(tmp_path / "fifo"), str(path)])
    assert caught.value.code == 2 and "a FIFO" in capsys.readouterr().err


def test_names_in_a_manifest_are_printed_harmlessly(tmp_path: Path) -> None:
    path = store(tmp_path, "m.npz", {"w": np.zeros(1, np.float32)})
    (tmp_path / "m.json").write_bytes(
        described(tensors={"\x1b[2J": TENSOR}, files={"\x1b]0;x\x07": "y"}, reading={"\x1b[1m": "\x1b"}, format="\x1b")
    )
    result = CliRunner().invoke(verify, ["--against", str(tmp_path / "m.json"), str(path)])
    assert result.exit_code == 1 and "\x1b" not in result.output and "\x07" not in result.output
