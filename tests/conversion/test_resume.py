"""A conversion that is gone on with: the bytes are those of one that was never stopped, whatever was left of the first."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resport
from resport.cli.main import main
from resport.conversion import ConversionReport
from resport.conversion.stream import carry_out
from resport.errors import FormatError, OptionError, TargetExistsError, TargetWriteError
from resport.formats import journal
from resport.formats.journal import JOURNAL_NAME, Journal, read_journal
from resport.formats.json_text import JSON_MAX_BYTES
from resport.formats.resumption import GO_ON, journalled_writer
from resport.formats.staging import Staging, staging_folders
from resport.mapping import Move
from resport.mapping.axes import AxisMove, parse_axes
from resport.mapping.plan import Plan
from resport.tensors import Manifest, TensorSpec
from tests import faults, tiny
from tests.contracts import random_array

VALUES = {f"layer_{i}/w": np.random.default_rng(i).normal(size=(20 + i, 10)).astype("float32") for i in range(5)}
N_BYTES = sum(array.nbytes for array in VALUES.values())
TARGETS: dict[str, dict[str, Any]] = {
    "m.safetensors": {"max_shard_size": 2000},
    "m": {"n_shards": 3},
    "one.safetensors": {},
}


@pytest.fixture(autouse=True)
def lazy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step of syncing is still taken, but nothing is waited for."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(autouse=True)
def noted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tensors of these tests are small, and shall be noted as large ones are."""
    monkeypatch.setattr(journal, "JOURNAL_NOTED_BYTES", 0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    np.savez(tmp_path / "source.npz", **VALUES)
    return tmp_path / "source.npz"


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def new_folder(path: Path) -> Path:
    path.mkdir()
    return path


def whole(source: Path, folder: Path, name: str, **options: Any) -> dict[str, bytes]:
    """The files of a conversion that nothing stops."""
    resport.convert(source, new_folder(folder) / name, **options)
    return content(folder)


class Stop(BaseException):
    """No error of resport's or of the system's: it stops a conversion where a test wants it."""


def stop_after(n_bytes: int, error: BaseException | None = None) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= n_bytes:
            raise error or Stop

    return progress


def interrupt(source: Path, target: Path, n_bytes: int = N_BYTES, **options: Any) -> Path:
    """Stop a conversion that can be gone on with, and return the folder that it leaves."""
    with pytest.raises(Stop):
        resport.convert(source, target, progress=stop_after(n_bytes), resume=True, **options)
    (folder,) = map(Path, staging_folders(str(target)))
    return folder


def go_on(source: Path, target: Path, expected: Mapping[str, bytes], **options: Any) -> ConversionReport:
    """Go on, and see that nothing is there but what an uninterrupted conversion gives."""
    report = resport.convert(source, target, resume=True, **options)
    assert content(target.parent) == expected
    return report


# Stopped anywhere


@pytest.mark.parametrize("name", TARGETS)
def test_killed_before_any_step(tmp_path: Path, source: Path, name: str) -> None:
    options = TARGETS[name]
    expected = whole(source, tmp_path / "whole", name, **options)
    out, resumed, status = new_folder(tmp_path / "out"), [], -1
    for step in range(0, 1000, 2):
        # It need not have been started with `--resume`.
        is_asked = step % 4 == 0
        status = faults.killed_at(step, lambda: resport.convert(source, out / name, resume=is_asked, **options))  # noqa: B023
        resumed.append(go_on(source, out / name, expected, force=True, **options).n_resumed)
        for file in out.iterdir():
            file.unlink()
        if status == 0:
            break
    assert status == 0 and len(resumed) > 15
    assert {0, 5} < set(resumed) and len(set(resumed)) >= 4


def test_stopped_again_and_again(tmp_path: Path) -> None:
    """Each run gets a little farther: with kernels that are transposed, and constants that fill."""
    source, table = tmp_path / "slim.npz", tiny.write_table(tmp_path)
    np.savez(source, **tiny.slim_values())
    options: dict[str, Any] = {"to": "torch", "table": table, "max_shard_size": 300}
    expected = whole(source, tmp_path / "whole", "m.safetensors", **options)
    target, noted = new_folder(tmp_path / "out") / "m.safetensors", [0]
    for n_bytes in range(50, sum(array.nbytes for array in tiny.slim_values().values()), 50):
        with pytest.raises(Stop):
            resport.convert(source, target, resume=True, progress=stop_after(n_bytes), **options)
        noted += [lines_in(folder) - 1 for folder in staging_folders(str(target))]
    report = go_on(source, target, expected, **options)
    assert noted == sorted(noted) and report.n_resumed == noted[-1] == report.n_targets - 1
    to_keras = {**options, "to": "keras"}
    expected = whole(source, tmp_path / "keras", "m.safetensors", **to_keras)
    target = new_folder(tmp_path / "filled") / "m.safetensors"
    status = -1
    for step in range(30, 1000, 3):
        status = faults.killed_at(step, lambda: resport.convert(source, target, resume=True, **to_keras))
        report = go_on(source, target, expected, force=True, **to_keras)
        assert len(report.filled) == 2
        for file in target.parent.iterdir():
            file.unlink()
        if status == 0:
            break
    assert status == 0


def lines_in(folder: Path | str) -> int:
    return (Path(folder) / JOURNAL_NAME).read_bytes().count(b"\n")


def test_small_tensors_are_noted_together(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "JOURNAL_NOTED_BYTES", 1000)
    folder = os.open(tmp_path, os.O_RDONLY)
    noted = journal.begin_journal(str(tmp_path), {}, is_kept=True)
    for name, n_bytes, in_file in [
        ("a", 400, []),
        ("b", 599, []),
        ("c", 1, ["a", "b", "c"]),
        ("d", 1, ["a", "b", "c"]),
    ]:
        noted.add(name, 7, n_bytes)
        assert list(read_journal(folder).written) == in_file
    noted.close()
    assert read_journal(folder).written == dict.fromkeys("abcd", 7)
    os.close(folder)
    # However a run is stopped that can do something before it ends, nothing is lost.
    monkeypatch.setattr(journal, "JOURNAL_NOTED_BYTES", N_BYTES + 1)
    expected = whole(source, tmp_path / "whole", "m")
    target = new_folder(tmp_path / "out") / "m"
    interrupt(source, target)
    assert go_on(source, target, expected).n_resumed == len(VALUES) - 1


def test_killed_in_the_middle_of_a_tensor(tmp_path: Path) -> None:
    values = {"a": random_array("float32", (70_000,), 1), "b": random_array("float32", (200_000,), 2)}
    source, out = tiny.write_values(tmp_path / "s.safetensors", values), new_folder(tmp_path / "out")
    expected = whole(source, tmp_path / "whole", "m")

    def killed_in_b(done: int, total: int) -> None:
        if done > values["a"].nbytes:
            os.kill(os.getpid(), 9)

    child = os.fork()
    if child == 0:
        resport.convert(source, out / "m", progress=killed_in_b)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 9
    (folder,) = out.iterdir()
    assert 0 < (folder / "m.data-00000-of-00001").stat().st_size - values["a"].nbytes < values["b"].nbytes
    report = go_on(source, out / "m", expected)
    assert (report.n_resumed, report.resumed_nbytes) == (1, values["a"].nbytes)


def test_a_journal_that_ends_anywhere(tmp_path: Path, source: Path) -> None:
    expected = whole(source, tmp_path / "whole", "m")
    left = interrupt(source, new_folder(tmp_path / "left") / "m")
    data = (left / JOURNAL_NAME).read_bytes()
    seen = set()
    for length in range(len(data) - 1, 0, -9):
        out = tmp_path / f"out_{length}"
        shutil.copytree(left.parent, out)
        os.truncate(out / left.name / JOURNAL_NAME, length)
        report = go_on(source, out / "m", expected)
        assert report.n_resumed == max(data[:length].count(b"\n") - 1, 0)
        seen.add(report.n_resumed)
    assert seen == {0, 1, 2, 3}


def test_a_journal_goes_on_behind_its_last_whole_line(tmp_path: Path, source: Path) -> None:
    target = new_folder(tmp_path / "out") / "m"
    folder = interrupt(source, target, 2000)
    with (folder / JOURNAL_NAME).open("ab") as journal:
        journal.write(b'["layer_2/w",12')
    assert interrupt(source, target) == folder
    names = [json.loads(line)[0] for line in (folder / JOURNAL_NAME).read_bytes().splitlines()[1:]]
    assert names == [f"layer_{i}/w" for i in range(4)]


def test_moves_of_several_targets_are_gone_on_with_in_part(tmp_path: Path) -> None:
    values = random_array("float32", (2, 3, 4))
    np.savez(tmp_path / "s.npz", w=values)
    axes = AxisMove(parse_axes("g i o"), parse_axes("i o"), target_fan=("g",), sizes=(("g", 2), ("i", 3), ("o", 4)))
    specs = tuple(TensorSpec(f"t{i}", (3, 4), "float32") for i in range(2))
    plan = Plan((Move(("w",), specs, axes),), Manifest(specs))
    for n_bytes in (50, 1000):
        try:
            with (
                resport.open_reader(tmp_path / "s.npz") as reader,
                journalled_writer(str(tmp_path / "m"), specs, {}, resume=True) as writer,
            ):
                carry_out(plan, reader, writer, stop_after(n_bytes))
        except Stop:
            assert n_bytes == 50
    assert writer.resumed == {"t0"}
    with resport.open_reader(tmp_path / "m") as reader:
        assert [reader.read(f"t{i}").tolist() for i in range(2)] == values.tolist()


# What is there is held against its checksum


@pytest.mark.parametrize("victim", range(4))
@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_byte_is_written_again(tmp_path: Path, source: Path, name: str, victim: int) -> None:
    options = TARGETS[name]
    expected = whole(source, tmp_path / "whole", name, **options)
    target = new_folder(tmp_path / "out") / name
    folder = interrupt(source, target, **options)
    bytes_of_it = VALUES[f"layer_{victim}/w"].tobytes()
    (place,) = [file for file in folder.iterdir() if bytes_of_it in file.read_bytes()]
    data = bytearray(place.read_bytes())
    data[data.index(bytes_of_it) + 123] ^= 1
    place.write_bytes(data)
    seen: list[tuple[int, int]] = []
    report = go_on(source, target, expected, progress=lambda *how_far: seen.append(how_far), **options)
    assert report.n_resumed == 3
    assert max(seen) == seen[-1] == (N_BYTES, N_BYTES)
    assert report.resumed_nbytes == sum(VALUES[f"layer_{i}/w"].nbytes for i in range(4) if i != victim)


@pytest.mark.parametrize("how", ["cut", "lengthened", "removed", "head", "beside"])
@pytest.mark.parametrize("name", TARGETS)
def test_changed_files(tmp_path: Path, source: Path, name: str, how: str) -> None:
    options = TARGETS[name]
    expected = whole(source, tmp_path / "whole", name, **options)
    target = new_folder(tmp_path / "out") / name
    folder = interrupt(source, target, **options)
    for file in [file for file in folder.iterdir() if file.name != JOURNAL_NAME]:
        if how == "cut":
            os.truncate(file, file.stat().st_size // 2)
        elif how == "lengthened":
            os.truncate(file, 1 << 40)
        elif how == "removed":
            file.unlink()
        elif how == "head":
            with file.open("r+b") as handle:
                handle.write(b"garbage")
        else:
            for other in ("m.index", "m.data-00000-of-00009", "m.safetensors.index.json", "x"):
                (folder / other).write_bytes(b"garbage")
    report = go_on(source, target, expected, **options)
    least = {"cut": 0, "lengthened": 0, "removed": 0, "head": 1, "beside": 4}[how]
    assert least <= report.n_resumed <= 4


def test_odd_values_and_the_source_are_told_as_without_a_stop(tmp_path: Path) -> None:
    values = {"a/w": np.array([1, np.nan, np.inf], np.float32), **VALUES, "z/w": np.array([np.nan] * 4, np.float32)}
    np.savez(tmp_path / "s.npz", **values)
    first = resport.convert(tmp_path / "s.npz", tmp_path / "first")
    target = new_folder(tmp_path / "out") / "first"
    folder = interrupt(tmp_path / "s.npz", target)
    # The first of them reads otherwise: it is counted once all the same.
    data = bytearray((folder / "first.data-00000-of-00001").read_bytes())
    data[2] ^= 0x7F
    (folder / "first.data-00000-of-00001").write_bytes(data)
    again = resport.convert(tmp_path / "s.npz", target, resume=True)
    assert 0 < again.n_resumed < 7
    assert again.odd_values == first.odd_values and len(first.odd_values) == 2
    assert again.target_sha256 == first.target_sha256
    with resport.open_reader(target) as reader:
        provenance = json.loads(reader.metadata["resport"])
    assert provenance["source"]["sha256"] == hashlib.sha256((tmp_path / "s.npz").read_bytes()).hexdigest()


# What is another conversion is refused


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"dtype": "float16"}, "options.dtype"),
        ({"ignore": ["layer_0/w"]}, "ignored.0"),
        ({"n_shards": 2}, "target.n_shards"),
        ({"checksum": False}, "checksum"),
    ],
)
def test_other_options_are_refused(tmp_path: Path, source: Path, changes: dict[str, Any], named: str) -> None:
    target = new_folder(tmp_path / "out") / "m"
    folder = interrupt(source, target, n_shards=3)
    before = content(folder)
    with pytest.raises(OptionError, match="is another conversion, it cannot be gone on with") as caught:
        resport.convert(source, target, resume=True, **{"n_shards": 3, **changes})
    assert named in str(caught.value.expected) and named in str(caught.value.got)
    assert caught.value.hint is not None and "without `--resume`" in caught.value.hint
    assert content(folder) == before
    # It was only looked at: the same conversion still goes on, and one without the flag clears it away.
    copy = tmp_path / "copy"
    shutil.copytree(target.parent, copy)
    assert resport.convert(source, copy / "m", resume=True, n_shards=3).n_resumed == 4
    resport.convert(source, target, **{"n_shards": 3, **changes})
    assert not staging_folders(str(target))


@pytest.mark.parametrize("how", ["written", "longer", "other", "renamed tensor", "touched"])
def test_another_source_is_refused(tmp_path: Path, source: Path, how: str) -> None:
    target = new_folder(tmp_path / "out") / "m"
    interrupt(source, target)
    status = source.stat()
    if how == "written":
        data = bytearray(source.read_bytes())
        data[data.index(VALUES["layer_3/w"].tobytes())] ^= 1
        source.write_bytes(data)
    elif how == "longer":
        np.savez(source, **VALUES, more=np.arange(3))
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif how == "other":
        np.savez(source, **{name: array + 1 for name, array in VALUES.items()})
    elif how == "renamed tensor":
        np.savez(source, **{name.replace("0", "9"): array for name, array in VALUES.items()})
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert source.stat().st_size == status.st_size
    else:
        source.touch()
    with pytest.raises(OptionError, match="is another conversion") as caught:
        resport.convert(source, target, resume=True)
    named = {"longer": "nbytes", "renamed tensor": "tensors.sha256"}.get(how, "files.0.changed_ns")
    assert named in str(caught.value.got)


def test_a_source_that_was_moved_is_the_same(tmp_path: Path, source: Path) -> None:
    expected = whole(source, tmp_path / "whole", "m")
    target = new_folder(tmp_path / "out") / "m"
    interrupt(source, target)
    assert go_on(source.rename(tmp_path / "elsewhere.npz"), target, expected).n_resumed == 4


@pytest.mark.parametrize("name", ["m.h5", "m.weights.h5", "m.npz", "m.keras", "v1"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_formats_that_are_written_as_a_whole_are_refused(
    tmp_path: Path, source: Path, name: str, dry_run: bool
) -> None:
    options = {"format": "tensorflow-v1"} if name == "v1" else {}
    with pytest.raises(OptionError, match="goes on with targets in which each tensor has its place"):
        resport.convert(source, tmp_path / name, resume=True, dry_run=dry_run, **options)
    assert content(tmp_path).keys() == {"source.npz"}


# How it is stopped


def test_without_the_flag_an_interrupt_leaves_nothing(tmp_path: Path, source: Path) -> None:
    out = new_folder(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        resport.convert(source, out / "m", progress=stop_after(N_BYTES, KeyboardInterrupt()))
    assert content(out) == {}


def test_before_a_tensor_is_written_an_interrupt_leaves_nothing(tmp_path: Path, source: Path) -> None:
    out = new_folder(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt) as caught:
        resport.convert(source, out / "m", resume=True, progress=stop_after(1, KeyboardInterrupt()))
    assert content(out) == {} and not hasattr(caught.value, "__notes__")


def test_ctrl_c_is_followed_by_what_to_type(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = whole(source, tmp_path / "whole", "m")
    target = new_folder(tmp_path / "out") / "m"
    arguments = ["convert", str(source), str(target), "--resume"]
    with monkeypatch.context() as patch:
        # A signal comes anywhere: here in writing the third tensor.
        patch.setattr(os, "pwrite", _interrupting_after(2))
        with pytest.raises(SystemExit) as caught:
            main(arguments)
    assert caught.value.code == 2
    out, error = capsys.readouterr()
    assert (out, error) == ("", f"\nerror: interrupted: an output is as it was before, or complete\nhint: {GO_ON}\n")
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0 and content(target.parent) == expected
    n_bytes = sum(VALUES[f"layer_{i}/w"].nbytes for i in range(2))
    assert f"  2 of them, {n_bytes / 1000:.1f} kB, had been written before\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*arguments, "--force", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (report["n_resumed"], report["resumed_nbytes"]) == (0, 0)
    with pytest.raises(SystemExit):
        main([*arguments, "--force"])
    assert "  nothing was there to go on from\n" in capsys.readouterr().out


def _interrupting_after(n_calls: int) -> Callable[..., int]:
    calls: list[int] = []
    pwrite = os.pwrite

    def write(handle: int, view: bytes | memoryview, offset: int) -> int:
        calls.append(offset)
        if len(calls) > n_calls:
            raise KeyboardInterrupt
        return pwrite(handle, view, offset)

    return write


@pytest.mark.parametrize("command", ["slim-to-keras", "keras-to-slim"])
def test_the_short_commands_have_it_too(tmp_path: Path, source: Path, command: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, str(source), str(tmp_path / "m.h5"), "--resume"])
    assert caught.value.code == 2


@pytest.mark.parametrize("name", ["m.safetensors", "m"])
def test_a_full_disk(tmp_path: Path, name: str) -> None:
    values = {f"layer_{i}/w": random_array("float32", (1 << 16,), i) for i in range(4)}
    source, target = tmp_path / "source.npz", new_folder(tmp_path / "out") / name
    np.savez(source, **values)
    expected = whole(source, tmp_path / "whole", name)
    done = faults.convert_on_full_disk(source, target, 600_000, "--resume")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: `{target}` cannot be written: file too large")
    assert done.stderr.endswith(f"hint: {GO_ON}\n")
    assert go_on(source, target, expected).n_resumed == 2


def test_any_error_of_the_system_can_be_gone_on_from(tmp_path: Path, source: Path) -> None:
    expected = whole(source, tmp_path / "whole", "m", n_shards=2)
    out, resumed, status = new_folder(tmp_path / "out"), set(), -1
    for step in range(0, 1000, 3):
        status = faults.refused_at(
            step, lambda: resport.convert(source, out / "m", resume=True, n_shards=2), errno.ENOSPC
        )
        resumed.add(go_on(source, out / "m", expected, force=True, n_shards=2).n_resumed)
        for file in out.iterdir():
            file.unlink()
        if status == 0:
            break
    assert status == 0 and {0, 5} < resumed


def test_a_hint_says_both(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite

    def full(handle: int, view: bytes | memoryview, offset: int) -> int:
        if offset:
            raise OSError(errno.ENOSPC, "full")
        return pwrite(handle, view, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(TargetWriteError) as caught:
        resport.convert(source, tmp_path / "m", resume=True)
    assert caught.value.hint == f"free some space, or give a target on another disk; then {GO_ON}"


def test_what_is_wrong_with_the_source_is_not_gone_on_from(tmp_path: Path, source: Path) -> None:
    out = new_folder(tmp_path / "out")

    def change(done: int, total: int) -> None:
        os.utime(source, ns=(0, 0))

    with pytest.raises(FormatError, match="was changed while it was read"):
        resport.convert(source, out / "m", resume=True, progress=change)
    assert content(out) == {}


def test_a_target_that_came_meanwhile(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "m"

    def occupy(done: int, total: int) -> None:
        if done == total:
            np.savez(tmp_path / "other.npz", a=np.arange(3))
            resport.convert(tmp_path / "other.npz", target, force=True)

    with pytest.raises(TargetExistsError) as caught:
        resport.convert(source, target, resume=True, progress=occupy)
    assert caught.value.hint == f"add `--force` to replace it; then {GO_ON}"
    with pytest.raises(TargetExistsError):
        resport.convert(source, target, resume=True)
    assert resport.convert(source, target, resume=True, force=True).n_resumed == 5


def test_two_at_once(tmp_path: Path, source: Path) -> None:
    """The second is refused while the first lives, and disturbs nothing."""
    expected = whole(source, tmp_path / "whole", "m")
    target = new_folder(tmp_path / "out") / "m"
    interrupt(source, target, n_bytes=2000)
    refused = []

    def second(done: int, total: int) -> None:
        with pytest.raises(TargetWriteError, match="is being written by another process") as caught:
            resport.convert(source, target, resume=True)
        refused.append(caught.value)

    report = go_on(source, target, expected, progress=second)
    assert report.n_resumed == 2 and len(refused) == 5


def test_of_several_folders_the_fittest_is_taken(tmp_path: Path, source: Path) -> None:
    expected = whole(source, tmp_path / "whole", "m")
    target = new_folder(tmp_path / "out") / "m"
    for number, (n_bytes, options) in enumerate([(2000, {}), (N_BYTES, {"dtype": "float16"}), (3500, {}), (1700, {})]):
        other = new_folder(tmp_path / str(number))
        folder = interrupt(source, other / "m", n_bytes // (2 if options else 1), **options)
        folder.rename(target.parent / folder.name)
    assert go_on(source, target, expected).n_resumed == 4


# What a stranger left


def valid(target: Path, source: Path) -> Path:
    """The folder of an interrupted conversion, on which another one would go on."""
    return interrupt(source, target)


JOURNALS: dict[str, bytes] = {
    "empty": b"",
    "garbage": bytes(range(256)) * 9,
    "no line": b'{"journal":1,"work":{}}',
    "list": b"[1, 2]\n",
    "other version": b'{"journal":2,"work":{}}\n',
    "no work": b'{"journal":1,"work":[]}\n',
    "keys twice": b'{"journal":1,"work":{},"work":{}}\n',
    "deep": b'{"journal":1,"work":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}\n",
    "wide": b'{"journal":1,"work":{"a":[' + b"[]," * 800_000 + b"[]]}}\n",
    "not unicode": b'{"journal":1,"work":{"a":"\xff"}}\n',
}


@pytest.mark.parametrize("kind", JOURNALS)
def test_what_is_no_journal_is_not_gone_on_from(tmp_path: Path, source: Path, kind: str) -> None:
    expected = whole(source, tmp_path / "whole", "m")
    target = new_folder(tmp_path / "out") / "m"
    (valid(target, source) / JOURNAL_NAME).write_bytes(JOURNALS[kind])
    assert go_on(source, target, expected).n_resumed == 0


LINES: dict[str, bytes] = {
    "names of other places": b'["../../victim",1]\n["/etc/passwd",2]\n["m.index",3]\n["layer_4/w\\u0000",4]\n',
    "checksums of every kind": b'["layer_4/w",true]\n',
    "a huge checksum": b'["layer_4/w",' + b"9" * 4000 + b"]\n",
    "a negative checksum": b'["layer_4/w",-1]\n',
    "three in a line": b'["layer_4/w",1,2]\n',
    "half a pair": b'["\\ud800",1]\n',
    "deep": b"[" * 100_000 + b"\n",
    "blank lines": b"\n\n\n",
    "zeros": b"\0" * 1000,
    "a false checksum": b'["layer_3/w",12345]\n["layer_4/w",67890]\n',
}


@pytest.mark.parametrize("kind", LINES)
def test_hostile_lines(tmp_path: Path, source: Path, kind: str) -> None:
    expected = whole(source, tmp_path / "whole", "m")
    (tmp_path / "victim").write_bytes(b"untouched")
    target = new_folder(tmp_path / "out") / "m"
    with (valid(target, source) / JOURNAL_NAME).open("ab") as journal:
        journal.write(LINES[kind])
    assert go_on(source, target, expected).n_resumed == (3 if kind == "a false checksum" else 4)
    assert (tmp_path / "victim").read_bytes() == b"untouched"


def test_a_journal_without_end(tmp_path: Path, source: Path) -> None:
    expected = whole(source, tmp_path / "whole", "m")
    target = new_folder(tmp_path / "out") / "m"
    journal = valid(target, source) / JOURNAL_NAME
    with journal.open("r+b") as file:
        file.truncate(JSON_MAX_BYTES + 1)
    os.truncate(journal, 1 << 42)
    assert go_on(source, target, expected).n_resumed == 0


@pytest.mark.parametrize("kind", ["folder", "journal", "data", "hard link", "journal hard link", "fifo"])
def test_links_are_never_followed(tmp_path: Path, source: Path, kind: str) -> None:
    expected = whole(source, tmp_path / "whole", "m")
    target = new_folder(tmp_path / "out") / "m"
    folder, elsewhere = valid(target, source), new_folder(tmp_path / "elsewhere")
    moved = (
        folder
        if kind == "folder"
        else folder / ("m.data-00000-of-00001" if kind in ("data", "hard link") else JOURNAL_NAME)
    )
    victim = moved.rename(elsewhere / moved.name)
    before = content(victim) if kind == "folder" else victim.read_bytes()
    if kind == "fifo":
        os.mkfifo(moved)
    elif "hard" in kind:
        moved.hardlink_to(victim)
    else:
        moved.symlink_to(victim)
    report = resport.convert(source, target, resume=True)
    assert report.n_resumed == 0
    assert content_of_files(target.parent) == expected
    assert (content(victim) if kind == "folder" else victim.read_bytes()) == before


def content_of_files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_to_is_not_taken(tmp_path: Path, source: Path, mode: int) -> None:
    expected = whole(source, tmp_path / "whole", "m")
    target = new_folder(tmp_path / "out") / "m"
    valid(target, source).chmod(mode)
    assert go_on(source, target, expected).n_resumed == 0


def test_a_folder_of_another_user_is_not_taken(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = whole(source, tmp_path / "whole", "m")
    target = new_folder(tmp_path / "out") / "m"
    valid(target, source)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert go_on(source, target, expected).n_resumed == 0


def test_the_text_of_a_work_is_shown_and_not_obeyed(tmp_path: Path, source: Path) -> None:
    target = new_folder(tmp_path / "out") / "m"
    work = {f"\x1b[2J{i}": {"\n": ["x" * 5000]} for i in range(100)}
    (valid(target, source) / JOURNAL_NAME).write_text(json.dumps({"journal": 1, "work": work}) + "\n")
    with pytest.raises(OptionError, match="is another conversion") as caught:
        resport.convert(source, target, resume=True)
    assert all(line.isprintable() for line in str(caught.value).splitlines())
    assert len(str(caught.value)) < 2500


def test_where_there_are_no_locks_nothing_is_gone_on_with(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could tell whether a folder is a living run's."""
    target = new_folder(tmp_path / "out") / "m"
    folder = valid(target, source)

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert resport.convert(source, target, resume=True).n_resumed == 0
    assert folder.is_dir()


def test_a_journal_is_kept_only_where_it_serves(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    remove = Staging.remove
    monkeypatch.setattr(Staging, "remove", lambda self: (seen.update({self.path: self.journal}), remove(self))[1])
    for name in ("m.h5", "m.npz", "m.safetensors", "m"):
        resport.convert(source, tmp_path / name)
    assert [journal is not None for journal in seen.values()] == [False, False, True, True]


def test_a_disk_that_is_full_in_the_middle_of_a_line(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = whole(source, tmp_path / "whole", "m")
    target, write, calls = new_folder(tmp_path / "out") / "m", os.write, []

    def full(handle: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 3:
            write(handle, data[:7])
            raise OSError(errno.ENOSPC, "full")
        # The system may write less than it is given.
        return write(handle, data[:10]) if len(calls) == 1 else write(handle, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(TargetWriteError, match="no space left on device") as caught:
            resport.convert(source, target, resume=True)
    assert caught.value.hint is not None and caught.value.hint.endswith(GO_ON)
    assert go_on(source, target, expected).n_resumed == 1


def journals() -> st.SearchStrategy[bytes]:
    """Lines that are nearly those of a journal, one behind the other, and cut off somewhere."""
    head = st.just(b'{"journal":1,"work":{"a":1}}')
    entries = st.tuples(st.text(max_size=9), st.integers(-1, 1 << 33)).map(lambda pair: json.dumps(pair).encode())
    lines = st.lists(st.one_of(entries, entries, st.binary(max_size=20)), max_size=8)
    whole = st.tuples(head, lines).map(lambda parts: b"\n".join([parts[0], *parts[1], b""]))
    return st.tuples(whole, st.integers(0, 40)).map(lambda pair: pair[0][: len(pair[0]) - pair[1]])


@given(st.one_of(st.binary(max_size=300), journals()))
@settings(max_examples=100, deadline=None)
def test_any_journal(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """It is read as far as it is one, whatever stands in it; and what is kept of it is what was read."""
    folder = tmp_path_factory.getbasetemp()
    (folder / JOURNAL_NAME).write_bytes(data)
    handle = os.open(folder, os.O_RDONLY)
    try:
        noted = read_journal(handle)
    except ValueError:
        return
    finally:
        os.close(handle)
    assert data[: noted.n_bytes].endswith(b"\n")
    assert data[: noted.n_bytes].count(b"\n") >= len(noted.written) + 1
    assert all(type(name) is str and type(crc) is int for name, crc in noted.written.items())


@pytest.mark.parametrize("name", ["m.safetensors", "m"])
def test_an_old_target_is_whole_until_the_new_one_is(tmp_path: Path, source: Path, name: str) -> None:
    """Killed anywhere, and killed again when it is gone on with: staged bytes that have a place already stay as they are."""
    options, old, new = TARGETS[name], tmp_path / "old.npz", {n: array.tobytes() for n, array in VALUES.items()}
    np.savez(old, **{name: -array for name, array in VALUES.items()})
    before = {name: (-array).tobytes() for name, array in VALUES.items()}
    expected = whole(source, tmp_path / "whole", name, **options)
    target = new_folder(tmp_path / "out") / name
    readable = target.with_name(f"{name}.index.json") if "max_shard_size" in options else target
    hashes = {hashlib.sha256(file.read_bytes()).hexdigest() for file in (old, source)}
    resumed, status = set(), -1

    def work() -> ConversionReport:
        return resport.convert(source, target, resume=True, force=True, **options)

    for step in range(30, 1000, 3):
        resport.convert(old, target, force=True, **options)
        status = faults.killed_at(step, work)
        first = faults.load(readable)
        faults.killed_at(14 + step % 5, work)
        second = faults.load(readable)
        assert (first, second) in ((before, before), (before, new), (new, new)), step
        # Heads are written anew, without the sha256 of the source at first: never those of what is there.
        with resport.open_reader(readable) as reader:
            assert json.loads(reader.metadata["resport"])["source"]["sha256"] in hashes
        resumed.add(go_on(source, target, expected, force=True, **options).n_resumed)
        if status == 0:
            break
    assert status == 0 and {0, 5} <= resumed


def test_closing_a_journal_in_vain_is_no_failure(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = Journal.close

    def fail(self: Journal) -> None:
        close(self)
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(Journal, "close", fail)
    resport.convert(source, new_folder(tmp_path / "out") / "m")
    assert content(tmp_path / "out").keys() == {"m.index", "m.data-00000-of-00001"}
