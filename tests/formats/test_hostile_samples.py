"""Damaged checkpoints of every format: whatever is done to a file, it is read, or refused with one clean error."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from resport.errors import FormatError
from resport.formats import Reader, open_reader
from resport.formats.registry import FORMATS
from tests.contracts import assert_same_bits
from tests.fuzz.attempt import READ, REFUSED, attempt, fault_of, limited
from tests.fuzz.exhaustive import Tally, damage, without_checksums
from tests.fuzz.mutations import mutants, sampled, truncated
from tests.fuzz.samples import TENSORS, Sample, all_samples

SAMPLES = {sample.name: sample for sample in all_samples()}
INPUTS = 100
"""Of each sample here; all of them are what `python -m tests.fuzz.exhaustive` is for."""


STAND_INS: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a folder": Path.mkdir,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to what has no size": lambda path: path.symlink_to("/proc/self/status"),
    "a link to memory": lambda path: path.symlink_to("/proc/self/mem"),
}


@pytest.mark.parametrize("kind", STAND_INS)
@pytest.mark.parametrize("name", SAMPLES)
def test_what_stands_in_place_of_a_file(tmp_path: Path, name: str, kind: str) -> None:
    """Every file of a checkpoint in turn is something else; nothing waits for it, and nothing takes it for weights."""
    path = SAMPLES[name].write(tmp_path)
    for file in (tmp_path / each for each in SAMPLES[name].files):
        content = file.read_bytes()
        file.unlink()
        STAND_INS[kind](file)
        for opened in (path, tmp_path):
            outcome = limited(lambda opened=opened: attempt(opened))
            assert outcome.is_sound, (file.name, outcome)
            assert outcome.verdict == REFUSED or "index" in path.name, (file.name, outcome)
        file.rmdir() if kind == "a folder" else file.unlink()
        file.write_bytes(content)
    assert attempt(path).verdict == READ


def share(sample: Sample) -> int:
    """One mutant of how many makes about as many inputs as are wanted."""
    return max(1, 40 * sum(len(sample.files[name]) for name in sample.damaged) // INPUTS)


def test_every_format_has_a_sample() -> None:
    assert {sample.format for sample in SAMPLES.values()} == {format.id for format in FORMATS}


def failing(*arguments: object) -> bytes:
    raise OSError(errno.EIO, "Input/output error")


def take(reader: Reader, tensor: str, *, whole: bool) -> object:
    return reader.read(tensor) if whole else b"".join(reader.pieces(tensor))


@pytest.mark.parametrize("whole", [True, False])
# A graph has its small tensors in memory from when it was opened.
@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - {"frozen-graph", "saved-model"}))
def test_a_disk_that_fails_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, whole: bool
) -> None:
    path = SAMPLES[name].write(tmp_path)
    with open_reader(path) as reader:
        tensors = [tensor for tensor, spec in reader.manifest.items() if whole or spec.dtype != "string"]
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", failing)
            patch.setattr(os, "preadv", failing)
            for tensor in tensors:
                with pytest.raises(FormatError, match="Input/output error") as caught:
                    take(reader, tensor, whole=whole)
                assert not fault_of(caught.value, str(path))
        for tensor in tensors:
            take(reader, tensor, whole=whole)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - {"frozen-graph", "saved-model"}))
@pytest.mark.parametrize("checksum", [True, False])
def test_a_file_that_is_cut_while_it_is_open_is_one_error(
    tmp_path: Path, name: str, whole: bool, checksum: bool
) -> None:
    path = SAMPLES[name].write(tmp_path)
    with open_reader(path, checksum=checksum) as reader:
        for file in SAMPLES[name].files:
            os.truncate(tmp_path / file, 0)
        for tensor, spec in reader.manifest.items():
            if whole or spec.dtype != "string":
                with pytest.raises(FormatError) as caught:
                    take(reader, tensor, whole=whole)
                assert not fault_of(caught.value, str(path))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_sample_is_sound(tmp_path: Path, name: str) -> None:
    path = SAMPLES[name].write(tmp_path)
    assert attempt(path).verdict == READ
    with open_reader(path) as reader:
        assert reader.format == SAMPLES[name].format
        for tensor in set(TENSORS) & set(reader.manifest):
            assert_same_bits(reader.read(tensor), TENSORS[tensor])


@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize("name", SAMPLES)
def test_damage_is_read_or_refused(tmp_path: Path, name: str, checksums: bool) -> None:
    sample = SAMPLES[name]
    if checksums:
        tally = damage(sample, tmp_path, share(sample))
    else:
        with without_checksums():
            tally = damage(sample, tmp_path, share(sample))
    assert tally.defects == []
    assert tally.verdicts[REFUSED] > 20 and tally.verdicts.total() > INPUTS // 2


@pytest.mark.parametrize("name", ["safetensors", "npz", "npz:deflated", "npz:npy", "tensorflow-v2"])
def test_no_cut_file_is_read_whole(tmp_path: Path, name: str) -> None:
    """Containers that end with data or with a directory notice every missing byte."""
    sample = SAMPLES[name]
    for damaged in sample.damaged:
        content = sample.files[damaged]
        for _, cut in list(truncated(content))[: len(content) : 3]:
            outcome = attempt(sample.write(tmp_path, {damaged: cut}))
            assert outcome.verdict == REFUSED, (damaged, len(cut), outcome)
        sample.write(tmp_path)


def test_a_mutant_of_every_kind_is_taken() -> None:
    content = SAMPLES["npz:npy"].files["m.npy"]
    kinds = {kind for kind, _ in mutants(content)}
    assert {kind for kind, _ in sampled(content, 2000)} == kinds and len(kinds) == 13


def test_defects_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of another class, an error without its file, and one that commands the terminal."""
    path = SAMPLES["npz:npy"].write(tmp_path)

    def crash(*arguments: object) -> None:
        raise RecursionError("deep")

    monkeypatch.setattr("resport.formats.npz.parse_npy_header", crash)
    outcome = attempt(path)
    tally = Tally()
    tally.add("none", outcome, b"")
    assert (outcome.verdict, outcome.kind, len(tally.defects)) == ("crashed", "RecursionError", 1)
    assert fault_of(FormatError("it is bad"), str(path)).startswith("an error that names no file")
    hostile = FormatError(f"`{path}` is bad", path=str(path), hint="\x1b[2J")
    assert fault_of(hostile, str(path)).startswith("an error that a terminal would obey")
    assert fault_of(FormatError(f"`{path}` {'x' * 5000}", path=str(path)), str(path)).startswith("an error of")
    assert not fault_of(FormatError(f"`{path}` is bad", path=str(path)), str(path))
