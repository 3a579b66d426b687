"""Proofs that are kept: what a reference holds, that it repeats the proof, and that nothing in it is believed unchecked."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import resport
from resport.cli.main import main
from resport.conversion import initialize
from resport.errors import ChecksumError, FormatError, OptionError, SourceNotFoundError, TargetExistsError
from resport.formats import open_reader
from resport.mapping import PlanOptions, load_table
from resport.verification import load_reference, save_reference, verify_against
from resport.verification.forward.forward import compare_forward
from resport.verification.pairing import paired
from resport.verification.references.against import compare_with_passes
from resport.verification.references.recording import Recording
from resport.verification.report import EQUAL, Side, VerificationReport
from resport.verification.weights import compare_weights
from tests.tiny import keras_values, slim_values, write_table, write_values

KERNEL = np.random.default_rng(4).normal(size=(3, 48))


class Tiny:
    """A network in numpy with one map that is sampled, one that is kept whole, and logits."""

    def __init__(self, edit: Callable[[np.ndarray], np.ndarray] = lambda value: value) -> None:
        self._edit = edit

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        return [self._outputs(batch.astype(dtype), KERNEL.astype(dtype)) for batch in images]

    def _outputs(self, images: np.ndarray, kernel: np.ndarray) -> dict[str, np.ndarray]:
        large = self._edit(np.maximum(images @ kernel, 0))
        return {"large": large, "small": large[:, ::8, ::8], "logits": large.mean(axis=(1, 2))}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path)


def store(folder: Path, table: Path, *, side: Tiny | None = None, keras: Any = None, force: bool = False) -> Path:
    """A reference of the tiny network, made without a framework."""
    source, target = folder / "slim.safetensors", folder / "keras.safetensors"
    if not source.exists():
        write_values(source, slim_values())
        write_values(target, keras or keras_values(slim_values()))
    with open_reader(source) as left, open_reader(target) as right:
        pair = paired(left, right, PlanOptions(), [load_table(table)], None)
        recording = Recording(side) if side else None
        forward = compare_forward(recording, Tiny(), (32, 33)) if recording else None
        report = VerificationReport(
            source=Side(left.path, left.format, "tiny", "tiny_2", "slim", 7),
            target=Side(right.path, right.format, "tiny", "tiny_2", "keras", 7),
            weights=compare_weights(left, right, pair.plan, pair.ignored),
            forward=forward,
            forward_reason=None if forward else "none",
            options={},
            seconds=1.0,
        )
        save_reference(folder / "proof", pair, report, recording, force=force)
    return folder / "proof"


def description(proof: Path) -> dict[str, Any]:
    return json.loads((proof / "reference.json").read_text("utf-8"))


def test_a_reference_holds_hashes_that_others_compute(tmp_path: Path, table: Path) -> None:
    proof = store(tmp_path, table)
    stored = description(proof)
    assert [file.name for file in proof.iterdir()] == ["reference.json"] and stored["outputs"] is None
    keras = safetensors.numpy.load_file(tmp_path / "keras.safetensors")
    assert {name: entry["sha256"] for name, entry in stored["target"]["tensors"].items()} == {
        name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in keras.items()
    }
    assert stored["source"]["sha256"] == hashlib.sha256((tmp_path / "slim.safetensors").read_bytes()).hexdigest()
    assert stored["source"]["path"] == "slim.safetensors"
    assert stored["environment"]["numpy"] == np.__version__
    assert str(tmp_path) not in (proof / "reference.json").read_text("utf-8")


def test_the_same_proof_gives_the_same_bytes(tmp_path: Path, table: Path) -> None:
    proof = store(tmp_path, table, side=Tiny())
    before = {file.name: file.read_bytes() for file in proof.iterdir()}
    assert len(before) == 2
    store(tmp_path, table, side=Tiny(), force=True)
    assert {file.name: file.read_bytes() for file in proof.iterdir()} == before


def test_outputs_are_those_of_the_source_read_with_another_library(tmp_path: Path, table: Path) -> None:
    proof = store(tmp_path, table, side=Tiny())
    (file,) = proof.glob("outputs-*.safetensors")
    arrays = safetensors.numpy.load_file(file)
    assert file.name == f"outputs-{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}.safetensors"
    (outputs,) = Tiny().run("float64", [arrays["images/33"]])
    positions = arrays["positions/33/large"]
    np.testing.assert_array_equal(arrays["float64/33/large"][0, :-1], outputs["large"].reshape(-1, 48)[positions])
    np.testing.assert_array_equal(arrays["float64/33/small"], outputs["small"])
    np.testing.assert_array_equal(arrays["float64/33/logits"], outputs["logits"])
    assert arrays["float32/32/logits"].dtype == np.float32
    assert "positions/33/small" not in arrays
    passes = description(proof)["outputs"]["passes"]
    assert [(each["dtype"], each["input_size"]) for each in passes] == [
        ("float64", 32),
        ("float64", 33),
        ("float32", 32),
    ]
    assert passes[0]["end_points"][0] == {"name": "large", "shape": [2, 32, 32, 48], "sampled": True}


def test_the_proof_is_repeated_with_its_own_floor(tmp_path: Path, table: Path) -> None:
    reference = load_reference(store(tmp_path, table, side=Tiny()))
    result = compare_with_passes(reference, Tiny())
    assert result.is_equal and result.limit == 1e-9
    assert [(point.name, point.input_size) for point in result.float64] == [
        (name, size) for size in (32, 33) for name in ("large", "small", "logits")
    ]
    assert {point.name for point in result.float32} == {"large", "small", "logits"}
    assert 0 < result.noise_floor < 1e-6 and result.input_sizes == (32, 33) and result.batch_size == 2
    assert result.float64[2].top1_agreement == 1.0 and result.float64[0].top1_agreement is None


@pytest.mark.parametrize(
    "edit",
    [
        lambda value: value * (1 + 1e-7),
        lambda value: np.roll(value, 1, axis=1),
        lambda value: value + 1e-4 * (np.arange(48) == 17),
        lambda value: np.where(np.arange(value.shape[1])[:, None, None] == value.shape[1] - 1, value + 1e-3, value),
        lambda value: value[:, :-1],
        lambda value: value * np.nan,
    ],
    ids=["scale", "shift", "one channel", "one row", "shape", "not finite"],
)
def test_other_outputs_are_found_at_the_first_end_point(
    tmp_path: Path, table: Path, edit: Callable[[np.ndarray], np.ndarray]
) -> None:
    result = compare_with_passes(load_reference(store(tmp_path, table, side=Tiny())), Tiny(edit))
    assert not result.is_equal
    assert result.first_divergence is not None and result.first_divergence.name == "large"


def test_an_end_point_that_is_gone_is_a_difference(tmp_path: Path, table: Path) -> None:
    class Without(Tiny):
        def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
            return [{"large": each["large"]} for each in super().run(dtype, images)]

    result = compare_with_passes(load_reference(store(tmp_path, table, side=Tiny())), Without())
    assert result.first_divergence is not None and result.first_divergence.name == "small"


def test_weights_against_a_reference_in_any_format(tmp_path: Path, table: Path) -> None:
    proof = store(tmp_path, table)
    report = verify_against(proof, tmp_path / "keras.safetensors", table=table)
    assert (report.verdict, report.weights.equal, report.changes) == ("equal", 14, ())
    assert "--weights-only" in str(report.forward_reason)
    report = verify_against(proof, write_values(tmp_path / "keras.h5", keras_values(slim_values())), table=table)
    assert report.verdict == "equal"
    assert {change.what for change in report.changes} == {"target's format", "target's sha256"}
    assert report.to_dict()["changes"][0] == {
        "what": "target's format",
        "before": "safetensors",
        "after": "keras-legacy-h5",
    }
    report = verify_against(proof, tmp_path / "slim.safetensors", table=table)
    assert (report.verdict, report.weights.equal) == ("equal", 12)


def test_the_source_of_then_is_judged_by_its_tensors_alone(tmp_path: Path, table: Path) -> None:
    """What its network computes is what the reference holds: run again, it would be compared with itself."""
    proof = store(tmp_path, table, side=Tiny())
    report = verify_against(proof, tmp_path / "slim.safetensors", table=table)
    assert report.verdict == EQUAL and report.forward is None
    assert "this is the reference's source" in str(report.forward_reason)
    target = verify_against(proof, tmp_path / "keras.safetensors", table=table)
    assert "source" not in str(target.forward_reason)


def test_sides_of_the_same_names_are_told_by_their_tensors(tmp_path: Path, table: Path) -> None:
    source, target, proof = tmp_path / "slim.ckpt", tmp_path / "half.safetensors", tmp_path / "proof"
    write_values(source, slim_values())
    resport.convert(source, target, dtype="float16")
    assert resport.verify(source, target, table=table, weights_only=True, save_reference=proof).verdict == "equal"
    for judged in (target, source):
        report = verify_against(proof, judged, table=table)
        assert (report.verdict, report.weights.equal) == ("equal", 12)
    wrong = {name: array.astype(np.float16) for name, array in slim_values(seed=1).items()}
    report = verify_against(proof, write_values(tmp_path / "wrong.npz", wrong), table=table)
    assert {difference.kind for difference in report.weights.differences} == {"values"}


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (lambda values: values["conv2_bn/gamma"].view(np.uint32).__ixor__(1), "values"),
        (lambda values: values.pop("conv3_bn/beta"), "missing"),
        (lambda values: values.update(other=np.ones(2, np.float32)), "unexpected"),
        (lambda values: values.update({"conv2_bn/beta": values["conv2_bn/beta"].astype("f8")}), "dtype"),
        (lambda values: values.update({"predictions/bias": values["predictions/bias"][None]}), "shape"),
    ],
)
def test_every_kind_of_other_weights_is_told(
    tmp_path: Path, table: Path, edit: Callable[[dict[str, np.ndarray]], None], kind: str
) -> None:
    proof = store(tmp_path, table)
    values = {name: array.copy() for name, array in keras_values(slim_values()).items()}
    edit(values)
    target = write_values(tmp_path / "other.npz", values)
    # Without a table's help, too: what differs may have made the network unknown.
    for known in (table, None):
        report = verify_against(proof, target, weights_only=True, table=known)
        assert report.verdict == "different"
        assert [difference.kind for difference in report.weights.differences] == [kind]


def test_versions_and_options_that_changed_are_said(tmp_path: Path, table: Path) -> None:
    proof = store(tmp_path, table)
    stored = description(proof)
    stored["environment"] |= {"numpy": "1.0", "tf-slim": None} | {"platform": "VMS vax"}
    del stored["environment"]["tf-slim"]
    stored["options"] = {"dtype": "float16"}
    (proof / "reference.json").write_text(json.dumps(stored), "utf-8")
    provenance = {"resport": json.dumps({"options": {}})}
    target = write_values(tmp_path / "again.safetensors", keras_values(slim_values()), provenance)
    report = verify_against(proof, target, weights_only=True)
    said = {change.what: (change.before, change.after) for change in report.changes}
    assert said["version of numpy"] == ("1.0", np.__version__)
    assert said["platform"][0] == "VMS vax"
    assert said["option dtype"] == ("float16", None)
    assert [str(change) for change in report.changes if change.what == "option dtype"] == [
        "option dtype: then float16, now there is none"
    ]


def test_names_that_are_of_neither_side_are_refused(tmp_path: Path, table: Path) -> None:
    other = write_values(tmp_path / "other.npz", {"a": np.ones(2, np.float32)})
    with pytest.raises(OptionError, match="no tensor that the reference knows"):
        verify_against(store(tmp_path, table), other)


def test_a_folder_is_replaced_only_when_asked_and_only_a_reference(tmp_path: Path, table: Path) -> None:
    proof = store(tmp_path, table, side=Tiny())
    with pytest.raises(TargetExistsError, match="holds a reference already"):
        store(tmp_path, table)
    store(tmp_path, table, side=Tiny(lambda value: value), force=True)
    assert len(list(proof.iterdir())) == 2
    store(tmp_path, table, force=True)
    assert [file.name for file in proof.iterdir()] == ["reference.json"]
    assert load_reference(proof).passes == ()
    shutil.rmtree(proof)
    proof.mkdir()
    (proof / "holiday.jpg").write_text("")
    with pytest.raises(TargetExistsError, match="no reference"):
        store(tmp_path, table, force=True)
    assert [file.name for file in proof.iterdir()] == ["holiday.jpg"]


def test_what_fails_leaves_nothing_behind(tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proof = store(tmp_path, table, side=Tiny())
    before = {file.name: file.read_bytes() for file in proof.iterdir()}

    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("resport.verification.references.reference.json.dumps", full)
    for is_new in (False, True):
        if is_new:
            shutil.rmtree(proof)
        with pytest.raises(resport.ResportError, match="no space left"):
            store(tmp_path, table, side=Tiny(lambda value: value), force=True)
        assert proof.exists() is not is_new
        assert not list(tmp_path.glob(".resport-*"))
        if not is_new:
            assert {file.name: file.read_bytes() for file in proof.iterdir()} == before


def test_what_differs_is_no_reference(tmp_path: Path, table: Path) -> None:
    wrong = keras_values(slim_values()) | {"conv2_bn/gamma": np.ones(3, np.float32)}
    with pytest.raises(OptionError, match="what differs is no reference"):
        store(tmp_path, table, keras=wrong)
    assert not (tmp_path / "proof").exists()


def edited(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets the value of a dotted key."""

    def edit(stored: dict[str, Any]) -> None:
        *path, last = key.split(".")
        for each in path:
            stored = stored[int(each)] if each.isdigit() else stored[each]
        stored[last] = value

    return edit


POINT = "outputs.passes.0.end_points.0"


@pytest.mark.parametrize(
    "edit",
    [
        edited("reference", 2),
        edited("reference", True),
        edited("verdict", "different"),
        edited("source", []),
        edited("target.sha256", "../../etc/passwd"),
        edited("target.tensors.predictions/bias", {"shape": [7], "dtype": "float32"}),
        edited("target.tensors.predictions/bias.shape", [-7]),
        edited("target.tensors.predictions/bias.shape", [True]),
        edited("target.tensors.predictions/bias.dtype", "object"),
        edited("options", {"dtype": ["float16"]}),
        edited("build", {"num_classes": 10**12}),
        edited("environment", {"numpy": 2}),
        edited("outputs", {}),
        edited("outputs.sha256", "0" * 64),
        edited("outputs.sha256", "0" * 63 + "/"),
        edited("outputs.passes", [7]),
        edited("outputs.passes.0.dtype", "int64"),
        edited("outputs.passes.0.input_size", 33.0),
        edited("outputs.passes.0.input_size", 31),
        edited("outputs.passes.0.end_points", []),
        edited(f"{POINT}.name", "nothing"),
        edited(f"{POINT}.shape", [2, 1, 1, 48]),
        edited(f"{POINT}.shape", [2, 32, 32, 47]),
        edited(f"{POINT}.shape", []),
        edited(f"{POINT}.sampled", False),
        edited("outputs.passes.0.end_points.1.sampled", True),
    ],
)
def test_nothing_in_the_json_is_believed(tmp_path: Path, table: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    proof = store(tmp_path, table, side=Tiny())
    stored = description(proof)
    edit(stored)
    (proof / "reference.json").write_text(json.dumps(stored), "utf-8")
    with pytest.raises(FormatError):
        load_reference(proof)


@pytest.mark.parametrize("name", ["float64/33/logits", "positions/33/large", "images/33"])
def test_arrays_of_another_dtype_are_refused_whatever_their_sha256(tmp_path: Path, table: Path, name: str) -> None:
    proof = store(tmp_path, table, side=Tiny())
    (file,) = proof.glob("outputs-*.safetensors")
    arrays = safetensors.numpy.load_file(file)
    arrays[name] = arrays[name].astype(np.int32 if name.startswith("positions") else np.float16)
    safetensors.numpy.save_file(arrays, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    file.rename(proof / f"outputs-{digest[:16]}.safetensors")
    stored = description(proof)
    stored["outputs"]["sha256"] = digest
    (proof / "reference.json").write_text(json.dumps(stored), "utf-8")
    with pytest.raises(FormatError, match=name):
        load_reference(proof)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"\xff\xfe", b"{" * 100_000, b"[" * 100_000, b'{"reference": 1, "reference": 1}', b"nonsense"],
)
def test_a_json_that_is_none_is_refused(tmp_path: Path, table: Path, text: bytes) -> None:
    proof = store(tmp_path, table)
    (proof / "reference.json").write_bytes(text)
    with pytest.raises(FormatError):
        load_reference(proof)


def test_outputs_that_changed_or_are_gone_and_folders_that_are_none(tmp_path: Path, table: Path) -> None:
    proof = store(tmp_path, table, side=Tiny())
    (file,) = proof.glob("outputs-*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ChecksumError):
        load_reference(proof)
    file.unlink()
    with pytest.raises(FormatError, match="is missing"):
        load_reference(proof)
    (proof / "reference.json").unlink()
    with pytest.raises(SourceNotFoundError):
        load_reference(proof)
    with pytest.raises(SourceNotFoundError) as caught:
        load_reference(tmp_path / "nowhere")
    assert "--save-reference" in str(caught.value.hint)


def test_a_report_of_a_reference_is_equal_only_when_its_forward_pass_is(tmp_path: Path, table: Path) -> None:
    reference = load_reference(store(tmp_path, table, side=Tiny()))
    report = verify_against(tmp_path / "proof", tmp_path / "keras.safetensors", weights_only=True, table=table)
    assert report.verdict == EQUAL
    wrong = compare_with_passes(reference, Tiny(lambda value: value * 1.001))
    assert replace(report, forward=wrong).verdict == "different"


@pytest.mark.tf
def test_a_proof_of_real_networks_is_repeated_without_the_source(tmp_path: Path) -> None:
    source, target, proof = tmp_path / "model.ckpt", tmp_path / "model.weights.h5", tmp_path / "proof"
    initialize("resnet_v2_50", source, num_classes=7, seed=5)
    resport.convert(source, target, to="keras")
    report = resport.verify(source, target, input_size=32, save_reference=proof)
    assert report.verdict == "equal"
    for file in tmp_path.glob("model.ckpt*"):
        file.unlink()
    again = resport.verify_against(proof, target)
    assert (again.verdict, again.changes) == ("equal", ())
    assert report.forward is not None and again.forward is not None
    assert [point.name for point in again.forward.float64] == [point.name for point in report.forward.float64]
    assert max(point.max_rel_diff for point in again.forward.float64) <= 1e-12

    with open_reader(target) as reader:
        values = {name: reader.read(name) for name in reader.manifest}
    first, second = "conv3_block1_1_bn/beta", "conv3_block1_1_bn/moving_mean"
    values[first], values[second] = values[second], values[first]
    wrong = resport.verify_against(proof, write_values(tmp_path / "wrong.safetensors", values))
    assert wrong.verdict == "different"
    assert {difference.name for difference in wrong.weights.differences} == {first, second}
    assert wrong.forward is not None and wrong.forward.first_divergence is not None
    assert wrong.forward.first_divergence.name == "block2/unit_1/bottleneck_v2/conv1"


def test_the_command_repeats_a_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str], table: Path) -> None:
    source = write_values(tmp_path / "slim.safetensors", slim_values())
    target = write_values(tmp_path / "keras.safetensors", keras_values(slim_values()))
    wrong = keras_values(slim_values()) | {"conv2_bn/gamma": np.ones(3, np.float32)}
    proof = str(tmp_path / "proof")
    common = ["--table", str(table), "--weights-only", "--json"]

    def run(*arguments: object) -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as ended:
            main(["verify", *map(str, arguments), *common])
        return int(str(ended.value.code)), json.loads(capsys.readouterr().out)

    assert run(source, target, "--save-reference", proof)[0] == 0
    assert run(source, target, "--save-reference", proof)[0] == 2
    status, report = run("--against", proof, target)
    assert (status, report["verdict"], report["changes"]) == (0, "equal", [])
    assert run("--against", proof, write_values(tmp_path / "wrong.npz", wrong))[0] == 1
    assert run("--against", tmp_path, target)[0] == 2
