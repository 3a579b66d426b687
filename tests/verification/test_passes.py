"""Whole verifications of narrow, shallow networks: what each option runs, and what it finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resport
from resport.conversion import initialize
from resport.errors import OptionError, ParityError
from resport.formats import open_reader
from resport.verification.report import VerificationReport
from tests.tiny import write_values
from tests.verification.small_pairs import RESNET_V2

pytestmark = pytest.mark.tf

VARIANT = RESNET_V2.variant
OPTIONS = dict(RESNET_V2.options)
UNTRAINED = {"gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0, "biases": 0.0}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return RESNET_V2.table(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def slim(table: Path) -> Path:
    source = table.parent / "slim.safetensors"
    initialize(VARIANT, source, num_classes=7, seed=3, table=table)
    return source


@pytest.fixture(scope="module")
def keras(slim: Path, table: Path) -> Path:
    return convert(slim, table.parent / "keras.safetensors", table)


def convert(source: Path, target: Path, table: Path, to: str = "keras", **options: Any) -> Path:
    resport.convert(source, target, to=to, variant=VARIANT, table=table, **options)
    return target


def verify(source: Path, target: Path, table: Path, **options: Any) -> VerificationReport:
    usual = {"build": OPTIONS, "build_source": OPTIONS, "input_size": 32, "diagnose": False, "variant": VARIANT}
    return resport.verify(source, target, table=table, **{**usual, **options})


def values_of(path: Path) -> dict[str, np.ndarray]:
    with open_reader(path) as reader:
        return {name: reader.read(name) for name in reader.manifest}


def test_sensitive_weights_are_not_probed_unless_asked(slim: Path, keras: Path, table: Path) -> None:
    assert verify(slim, keras, table).probe is None
    probe = verify(slim, keras, table, probe=True).probe
    assert probe is not None and probe.is_equal
    assert probe.float32 == () and len(probe.float64) > 20


def test_weights_that_were_never_trained_hide_an_exchange_and_the_probe_shows_it(
    tmp_path: Path, slim: Path, table: Path
) -> None:
    values = values_of(slim)
    for name in values:
        constant = UNTRAINED.get(name.rpartition("/")[2])
        if constant is not None:
            values[name] = np.full_like(values[name], constant)
    source = write_values(tmp_path / "untrained.safetensors", values)
    text = table.read_text()
    row = next(line for line in text.splitlines() if line.strip().startswith('["postnorm/{bn}"'))
    words = ("gamma", "beta", "moving_mean", "moving_variance")
    wrong = dict(zip(words, ("moving_variance", "beta", "moving_mean", "gamma"), strict=True))
    cells = [cell.strip() for cell in row.strip().removeprefix("[").removesuffix("],").split(",")]
    torch = dict(zip(words, ("weight", "bias", "running_mean", "running_var"), strict=True))
    rows = []
    for word in words:
        line = [cells[0].replace("{bn}", word), cells[1].replace("{bn}", wrong[word])]
        line += [cell.replace("{bn}", torch[word]) for cell in cells[2:]]
        rows.append(f"[{', '.join(line)}],")
    mistaken = tmp_path / "mistaken.toml"
    mistaken.write_text(text.replace(row, "\n".join(rows)))
    target = convert(source, tmp_path / "keras.safetensors", mistaken)
    hidden = verify(source, target, mistaken, probe=False)
    assert hidden.verdict == "equal"
    assert any("(--probe) would show them" in note for note in hidden.notes)
    report = verify(source, target, mistaken)
    assert report.forward is not None and report.forward.is_equal
    assert report.probe is not None and not report.probe.is_equal
    assert report.probe.first_divergence is not None
    assert report.verdict == "different"
    with pytest.raises(ParityError, match="outputs with random weights differ, first at"):
        report.raise_for_difference()


def test_options_of_the_builders(slim: Path, keras: Path, table: Path) -> None:
    report = verify(slim, keras, table, build={**OPTIONS, "pool1": "padded"})
    assert report.verdict == "different"
    assert report.forward is not None and report.forward.first_divergence is not None
    assert report.forward.first_divergence.name.startswith("block1/unit_1/")
    assert "pool1=padded" in str(report.options["build"])
    with pytest.raises(ParityError, match="relative difference of at most") as caught:
        report.raise_for_difference()
    assert caught.value.report is report
    with pytest.raises(OptionError, match="`pool` is not an option of the keras builder"):
        verify(slim, keras, table, build={**OPTIONS, "pool": "padded"})
    with pytest.raises(OptionError, match="`pool` is not an option of the slim builder"):
        verify(slim, keras, table, build_source={**OPTIONS, "pool": "padded"})


def test_thorough_noise(slim: Path, keras: Path, table: Path) -> None:
    forward = verify(slim, keras, table, thorough=True).forward
    assert forward is not None and forward.is_equal
    assert forward.noise_floor == max(each.max_rel_diff for each in forward.noise) > 0
    assert [each.what for each in forward.noise] == [
        "float64 against float32",
        "each image alone",
        "one thread",
        "kernels of the graph as it was built",
    ]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn"])
def test_stored_dtypes_are_judged_against_the_rounded_source(
    tmp_path: Path, slim: Path, table: Path, dtype: str
) -> None:
    stored = convert(slim, tmp_path / "stored.safetensors", table, dtype=dtype)
    report = verify(slim, stored, table)
    assert report.verdict == "equal" and report.forward is not None
    assert max(point.max_rel_diff for point in report.forward.float64) <= 1e-12
    back = convert(stored, tmp_path / "back.safetensors", table, to="slim", dtype="float32")
    assert verify(stored, back, table).verdict == "equal"
    assert verify(slim, back, table).verdict == "different"
    values = values_of(stored)
    name = "conv2_block1_1_bn/gamma"
    values[name].view(f"u{values[name].itemsize}")[0] ^= 1  # the next number of the dtype
    with open_reader(stored) as reader:
        changed = write_values(tmp_path / "changed.safetensors", values, metadata=dict(reader.metadata))
    report = verify(slim, changed, table)
    assert [each.name for each in report.weights.differences] == [name]
    assert report.forward is not None and not report.forward.is_equal


def test_a_target_that_fits_no_network_is_different_and_no_trouble(
    tmp_path: Path, slim: Path, keras: Path, table: Path
) -> None:
    values = values_of(keras)
    del values["conv2_block1_1_bn/gamma"]
    report = verify(slim, write_values(tmp_path / "less.safetensors", values), table)
    assert report.verdict == "different"
    assert report.forward is None
    assert "conv2_block1_1_bn/gamma" in str(report.forward_reason)


def test_a_difference_is_explained_and_the_check_tests_itself(
    tmp_path: Path, slim: Path, keras: Path, table: Path
) -> None:
    tested = verify(slim, keras, table, self_test=True).self_test
    assert tested is not None and tested.is_passed
    values = values_of(keras)
    first, second = "conv2_block1_1_bn/gamma", "conv2_block1_1_bn/moving_variance"
    values[first], values[second] = values[second], values[first]
    report = verify(slim, write_values(tmp_path / "wrong.safetensors", values), table, diagnose=True, self_test=True)
    assert report.self_test is None
    assert any("no self-test" in note for note in report.notes)
    assert any("conv2_block1_1_bn" in finding.sentence for finding in report.diagnosis)
    with pytest.raises(ParityError) as caught:
        report.raise_for_difference()
    assert caught.value.hint


def test_a_proof_is_stored_and_repeated(tmp_path: Path, slim: Path, keras: Path, table: Path) -> None:
    folder = tmp_path / "proof"
    assert verify(slim, keras, table, save_reference=folder).verdict == "equal"
    again = resport.verify_against(folder, keras, table=table, variant=VARIANT)
    assert again.verdict == "equal" and again.forward is not None
    values = values_of(keras)
    values["conv2_block1_1_bn/gamma"] += 1
    wrong = write_values(tmp_path / "wrong.safetensors", values)
    assert resport.verify_against(folder, wrong, table=table, variant=VARIANT).verdict == "different"
    report = verify(slim, wrong, table, save_reference=tmp_path / "none")
    assert "no reference was stored: the two differ" in report.notes
    assert not (tmp_path / "none").exists()
