"""A conversion that is stopped, starved or disturbed: the old output whole or the new one, and nothing left over."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import resource
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import resport
from resport.cli.main import main
from resport.conversion import conversion
from resport.conversion.odd_values import OddValueCounter
from resport.dtypes import to_numpy
from resport.errors import ChecksumError, FormatError, OptionError, TargetExistsError, TargetWriteError
from resport.formats.positioned import write_at
from resport.tensors import TensorSpec
from tests import faults
from tests.contracts import assert_same_bits, open_files, random_array
from tests.faults import TARGETS, load, store, tensors

FILES = ["m.safetensors", "m.npz", "m.h5", "m.weights.h5", "m.ckpt"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "model.ckpt"
    path.parent.mkdir()
    store(path, tensors(1))
    return path


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# Stopped at any step


@pytest.fixture
def lazy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step of syncing is still taken, but nothing is waited for."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("target", ["m.safetensors", "m.ckpt", "sharded.safetensors", "v1"])
@pytest.mark.usefixtures("lazy_disk")
def test_killed_before_any_step(tmp_path: Path, target: str, is_there: bool) -> None:
    found = list(faults.outcomes(tmp_path, target, faults.killed_at, is_there=is_there))
    held = [what for what, _ in found]
    assert len(held) > 15 and {status for _, status in found[:-1]} == {faults.DEAD}
    # One step makes the difference.
    assert held == sorted(held, key=lambda what: what == "new") and len(set(held)) == 2


@pytest.mark.parametrize("target", ["m.ckpt", "sharded.safetensors"])
@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.usefixtures("lazy_disk")
def test_interrupted_before_any_step(tmp_path: Path, target: str, is_there: bool) -> None:
    held = [what for what, _ in faults.outcomes(tmp_path, target, faults.interrupted_at, is_there=is_there)]
    assert len(set(held)) == 2


@pytest.mark.parametrize(
    ("target", "number"), [("m.h5", errno.ENOSPC), ("m.npz", errno.EACCES), ("m.ckpt", errno.ENOENT)]
)
@pytest.mark.usefixtures("lazy_disk")
def test_refused_any_step(tmp_path: Path, target: str, number: int) -> None:
    found = list(faults.outcomes(tmp_path, target, partial(faults.refused_at, number=number), is_there=True))
    assert {faults.REFUSED} <= {status for _, status in found} <= {faults.REFUSED, faults.SURVIVED, 0}


def test_a_killed_conversion_leaves_source_and_old_target(tmp_path: Path, source: Path) -> None:
    before = {file.name: file.read_bytes() for file in source.parent.iterdir()}
    target = tmp_path / "m.safetensors"
    held = set()
    for step in range(0, 200, 4):
        store(target, tensors(2))
        status = faults.killed_at(step, lambda: resport.convert(source, target, force=True))
        found = load(target)
        held.add("new" if found == load(source) else "old")
        assert found in (load(source), {name: array.tobytes() for name, array in tensors(2).items()})
        if status == 0:
            break
    assert status == 0 and held == {"old", "new"}
    assert {file.name: file.read_bytes() for file in source.parent.iterdir()} == before
    assert names(tmp_path) == ["m.safetensors", "source"]


def test_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    for seed in (1, 2, 3):
        store(tmp_path / "m", tensors(seed), n_shards=2)
        assert load(tmp_path / "m") == {name: array.tobytes() for name, array in tensors(seed).items()}
    assert len(names(tmp_path)) == 3


# A full disk, a lost folder, a changed source


@pytest.mark.parametrize("name", FILES)
def test_a_full_disk(tmp_path: Path, name: str) -> None:
    values = {"large/w": random_array("float32", (1 << 18,))}
    source, target = tmp_path / "source.npz", tmp_path / name
    np.savez(source, **values)
    store(target, tensors(1))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    done = faults.convert_on_full_disk(source, target, 1 << 19, "--force")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: `{target}` cannot be written: file too large")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", FILES)
def test_the_folder_goes_meanwhile(tmp_path: Path, source: Path, name: str) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()

    def lose(done: int, total: int) -> None:
        if folder.exists():
            folder.rename(tmp_path / "elsewhere")

    with pytest.raises(TargetWriteError, match="cannot be written: no such file"):
        resport.convert(source, folder / name, progress=lose)
    assert not folder.exists()


@pytest.mark.parametrize("how", ["truncated", "written", "replaced", "removed"])
def test_the_source_changes_meanwhile(tmp_path: Path, how: str) -> None:
    source, target = tmp_path / "source.npz", tmp_path / "m.safetensors"
    np.savez(source, **tensors(1))
    store(target, tensors(2))

    def change(done: int, total: int) -> None:
        data = source.read_bytes()
        if how == "truncated":
            os.truncate(source, len(data) - 1)
        elif how == "written":
            with source.open("r+b") as file:
                file.write(data[:1])
            os.utime(source, ns=(0, 0))
        elif how == "replaced":
            (tmp_path / "other").write_bytes(data)
            (tmp_path / "other").replace(source)
        else:
            source.unlink(missing_ok=True)
            source.touch()

    with pytest.raises(FormatError, match=r"source\.npz` was changed while it was read"):
        resport.convert(source, target, force=True, progress=change)
    assert load(target) == {name: array.tobytes() for name, array in tensors(2).items()}
    assert names(tmp_path) == ["m.safetensors", "source.npz"]


# Two at once


def test_two_processes_to_one_target(tmp_path: Path) -> None:
    """Each puts its files there as a whole, and a checkpoint of several files is never one of each."""
    sources = [tmp_path / f"{seed}.npz" for seed in (1, 2)]
    for seed, path in enumerate(sources, 1):
        np.savez(path, **tensors(seed))
    expected = [{name: array.tobytes() for name, array in tensors(seed).items()} for seed in (1, 2)]
    (tmp_path / "out").mkdir()
    for _ in range(5):
        children = []
        for path in sources:
            child = os.fork()
            if child == 0:
                resport.convert(path, tmp_path / "out" / "m", n_shards=2, force=True)
                os._exit(0)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        assert load(tmp_path / "out" / "m") in expected
        assert names(tmp_path / "out") == ["m.data-00000-of-00002", "m.data-00001-of-00002", "m.index"]


@pytest.mark.parametrize("target", TARGETS)
def test_what_came_meanwhile_is_not_replaced(tmp_path: Path, target: str) -> None:
    path, options = tmp_path / target.split()[0], TARGETS[target]
    empty = {**options, "config": faults.described(())} if "config" in options else options
    with pytest.raises(TargetExistsError), resport.open_writer(path, [], **empty) as writer:
        store(path, tensors(1), **options)
        before = names(tmp_path)
    assert writer.manifest.nbytes == 0
    assert names(tmp_path) == [name for name in before if not name.endswith(".partial")]


def test_a_living_run_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with resport.open_writer(path, [], force=True) as first:
        staged = Path(first.seal())
        store(path, tensors(1))
        assert staged.exists()
    assert names(tmp_path) == ["m.safetensors"]
    assert load(path) == {}


# Source and target


@pytest.mark.parametrize("link", ["symbolic", "hard", "folder"])
def test_links_between_source_and_target_are_refused(tmp_path: Path, source: Path, link: str) -> None:
    before = {file.name: file.read_bytes() for file in source.parent.iterdir()}
    target = tmp_path / "other"
    if link == "folder":
        (tmp_path / "link").symlink_to(source.parent)
        target = tmp_path / "link" / source.name
    else:
        for file in source.parent.iterdir():
            place = tmp_path / file.name.replace("model.ckpt", "other")
            place.symlink_to(file) if link == "symbolic" else place.hardlink_to(file)
    with pytest.raises(OptionError, match="source and target are the same"):
        resport.convert(source, target, force=True)
    assert {file.name: file.read_bytes() for file in source.parent.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "target", "options"),
    [
        ("m.data-00000-of-00001", "m", {}),
        ("m.data-00007-of-00009", "m", {}),
        ("checkpoint", "m", {"write_state": True}),
        ("m-00001-of-00002.safetensors", "m.safetensors", {"max_shard_size": 60}),
        ("m.safetensors", "m.safetensors.index.json", {}),
    ],
)
def test_a_source_that_the_target_would_replace(
    tmp_path: Path, name: str, target: str, options: dict[str, object]
) -> None:
    store(tmp_path / name, tensors(1), format="safetensors")
    with pytest.raises(OptionError, match="source and target are the same"):
        resport.convert(tmp_path / name, tmp_path / target, force=True, **options)
    assert names(tmp_path) == [name]


# Corruption


@pytest.mark.parametrize("name", ["m.safetensors", "m.h5", "m.ckpt", "m.npz"])
@pytest.mark.parametrize("readback", [True, False])
def test_what_is_not_written_as_it_was_meant(
    tmp_path: Path, source: Path, name: str, readback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that turns one bit round: it is seen before the old target goes, unless one chose not to look."""
    target = tmp_path / name
    store(target, tensors(2))
    before = load(target)

    def turn(handle: int, view: bytes | memoryview, offset: int) -> None:
        changed = bytearray(view)
        if len(changed) == 48:  # the largest tensor's values, and nothing else
            changed[5] ^= 1
        write_at(handle, bytes(changed), offset)

    for module in ("single_file", "base"):
        monkeypatch.setattr(f"resport.formats.{module}.write_at", turn)
    if readback:
        with pytest.raises(TargetWriteError, match="reads otherwise, nothing was replaced"):
            resport.convert(source, target, force=True)
        assert load(target) == before
    else:
        report = resport.convert(source, target, force=True, readback=False)
        assert report.target_sha256 is None


def test_report_has_the_sha256_of_the_target(tmp_path: Path, source: Path) -> None:
    report = resport.convert(source, tmp_path / "m", n_shards=2)
    with resport.open_reader(tmp_path / "m") as reader:
        content = b"".join(Path(file).read_bytes() for file in reader.files)
    assert report.to_dict()["target_sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("format", ["tensorflow-v2", "tensorflow-v1"])
def test_a_wrong_checksum_is_an_error_unless_one_chooses_otherwise(tmp_path: Path, format: str) -> None:
    store(tmp_path / "m", tensors(1), format=format)
    victim = tmp_path / ("m" if format == "tensorflow-v1" else "m.data-00000-of-00001")
    data, value = bytearray(victim.read_bytes()), tensors(1)["conv/kernel"].tobytes()
    data[data.index(value[:8])] ^= 1
    victim.write_bytes(data)
    with pytest.raises(ChecksumError):
        resport.convert(tmp_path / "m", tmp_path / "m.npz")
    with pytest.raises(ChecksumError):
        resport.inspect(tmp_path / "m", stats=True)
    assert resport.inspect(tmp_path / "m", stats=True, checksum=False).statistics.keys() == tensors(1).keys()
    resport.convert(tmp_path / "m", tmp_path / "m.npz", checksum=False)
    found, expected = load(tmp_path / "m.npz"), {name: array.tobytes() for name, array in tensors(1).items()}
    assert found is not None and found["conv/bias"] == expected["conv/bias"]
    assert [a ^ b for a, b in zip(found["conv/kernel"], expected["conv/kernel"], strict=True) if a != b] == [1]


# Long use


def test_many_conversions_leave_nothing_behind(tmp_path: Path) -> None:
    np.savez(tmp_path / "source.npz", **tensors(1))

    def all_targets() -> None:
        for name in FILES:
            with contextlib.suppress(TargetExistsError):
                resport.convert(tmp_path / "source.npz", tmp_path / name)
            resport.convert(tmp_path / "source.npz", tmp_path / name, force=True)

    for _ in range(2):
        all_targets()
    before, size = len(open_files()), resident_bytes()
    for _ in range(8):
        all_targets()
    assert len(open_files()) == before
    assert resident_bytes() - size < 8 << 20
    assert threading.active_count() == 1


def resident_bytes() -> int:
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


@pytest.mark.parametrize("target", TARGETS)
def test_threads_share_a_reader(tmp_path: Path, target: str) -> None:
    values = {f"layer_{i}/w": random_array("float32", (50 + i, 40), i) for i in range(12)}
    path, options = tmp_path / target.split()[0], dict(TARGETS[target])
    if "max_shard_size" in options:
        options["max_shard_size"] = 20_000
    if "config" in options:
        options["config"] = faults.described(f"layer_{i}" for i in range(12))
        values = {name.replace("/w", "/kernel"): array for name, array in values.items()}
    store(path, values, **options)
    readable = f"{path}.index.json" if "max_shard_size" in options else path
    with resport.open_reader(readable) as reader, ThreadPoolExecutor(8) as pool:
        for name, array in pool.map(lambda name: (name, reader.read(name)), [*values] * 8):
            assert_same_bits(array, values[name])


@pytest.mark.parametrize("name", ["größe.safetensors", "重み.npz", "x" * 250 + ".npz", "ü" * 120 + ".h5", "y" * 233])
def test_awkward_and_longest_names(tmp_path: Path, source: Path, name: str) -> None:
    for _ in range(2):
        resport.convert(source, tmp_path / name, force=True)
        assert load(tmp_path / name) == load(source)


@pytest.mark.parametrize("name", [*FILES, "m.index.d"])
def test_umask_and_permissions(tmp_path: Path, source: Path, name: str) -> None:
    def modes() -> set[int]:
        return {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir() if file.is_file()}

    before = os.umask(0o027)
    try:
        resport.convert(source, tmp_path / name)
        assert modes() == {0o640}
        for file in tmp_path.iterdir():
            if file.is_file():
                file.chmod(0o604)
        resport.convert(source, tmp_path / name, force=True)
        assert modes() == {0o604}
    finally:
        os.umask(before)


def test_a_checkpoint_of_other_shards_has_the_permissions_of_the_old_one(tmp_path: Path) -> None:
    store(tmp_path / "m", tensors(1), n_shards=2)
    for file in tmp_path.iterdir():
        file.chmod(0o600)
    store(tmp_path / "m", tensors(2), n_shards=3)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    assert len(names(tmp_path)) == 4


def test_a_source_that_may_only_be_read(tmp_path: Path, source: Path) -> None:
    for file in source.parent.iterdir():
        file.chmod(0o444)
    source.parent.chmod(0o555)
    try:
        resport.convert(source, tmp_path / "m.h5")
        assert load(tmp_path / "m.h5") == load(source)
    finally:
        source.parent.chmod(0o755)


def test_ctrl_c_is_one_message_and_status_2(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "write_target", interrupt)
    with pytest.raises(SystemExit) as caught:
        main(["convert", str(source), str(tmp_path / "m.h5")])
    assert caught.value.code == 2
    # Behind the ^C that a terminal shows comes a new line.
    assert capsys.readouterr() == ("", "\nerror: interrupted: an output is as it was before, or complete\n")
    assert names(tmp_path) == ["source"]


# Values that are no numbers


def test_odd_values_are_counted_and_kept(tmp_path: Path) -> None:
    values = {
        "nan/w": np.array([1, np.nan, -np.nan, np.inf], np.float32),
        "huge/w": np.full((7,), 3e38, np.float32),  # their squares are infinite, they are not
        "inf/w": np.array([[np.inf, -np.inf], [0, 1]], np.float64),
        "half/w": np.array([np.inf, 1], np.float16),
        "count": np.array([-1], np.int64),
        "late/w": np.append(np.zeros(1 << 17, np.float32), np.float32("nan")),
    }
    np.savez(tmp_path / "source.npz", **values)
    report = resport.convert(tmp_path / "source.npz", tmp_path / "m.safetensors")
    expected = {"nan/w": (2, 1), "inf/w": (0, 2), "half/w": (0, 1), "late/w": (1, 0)}
    assert {each.name: (each.n_nan, each.n_infinite) for each in report.odd_values} == expected
    assert report.to_dict()["odd_values"][0] == {"name": "nan/w", "nan": 2, "inf": 1}
    (warning,) = report.warnings
    assert warning.startswith(
        "values that are no finite numbers were moved as they are: `nan/w` (2 NaN and 1 infinite)"
    )
    assert load(tmp_path / "m.safetensors") == {name: array.tobytes() for name, array in values.items()}


def test_odd_values_across_pieces_and_of_every_kind() -> None:
    values = np.array([1, np.nan, np.inf, 2, -np.inf], np.float32).tobytes()
    for width in (1, 3, 7, 20):
        counter, pieces = OddValueCounter(), [values[at : at + width] for at in range(0, len(values), width)]
        assert list(counter.passing(TensorSpec("w", (5,), "float32"), pieces)) == pieces
        assert [(each.n_nan, each.n_infinite) for each in counter.found()] == [(1, 2)]
    counter = OddValueCounter()
    for dtype, bits, n_nan, n_infinite in (
        ("bfloat16", b"\xc0\x7f\x80\x7f", 1, 1),
        ("float8_e5m2", b"\x7c\x7f\x00", 1, 1),
        ("complex64", np.array([complex(np.nan, np.inf)], np.complex64).tobytes(), 1, 1),
    ):
        list(counter.passing(TensorSpec(dtype, (len(bits),), dtype), [bits]))
        assert [(each.n_nan, each.n_infinite) for each in counter.found()][-1] == (n_nan, n_infinite), dtype


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "complex64", "complex128", "float16"])
def test_odd_values_are_found_without_numpy(dtype: str) -> None:
    kind = to_numpy(dtype)
    values = np.random.default_rng(0).normal(size=40_000).astype(kind)
    sound = values.tobytes()
    values[[0, 20_001, 39_999, 16_383]] = [np.nan, np.inf, -np.inf, -np.nan]
    script = (
        "import sys\n"
        "from resport.conversion.odd_values import OddValueCounter\n"
        "from resport.tensors import TensorSpec\n"
        "data = sys.stdin.buffer.read()\n"
        "counter = OddValueCounter()\n"
        f"for name, part in (('sound', data[:{len(sound)}]), ('odd', data[{len(sound)}:])):\n"
        f"    pieces = [memoryview(bytearray(part[at : at + 99_999])) for at in range(0, len(part), 99_999)]\n"
        f"    assert b''.join(counter.passing(TensorSpec(name, (40_000,), {dtype!r}), pieces)) == part\n"
        "    print('numpy' in sys.modules)\n"
        "print(*counter.found())\n"
    )
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, input=sound + values.tobytes(), stdout=subprocess.PIPE, check=True)
    is_told = dtype != "float16"
    assert run.stdout.decode().splitlines() == [str(not is_told), "True", "`odd` (2 NaN and 2 infinite)"]


@pytest.mark.tf
@pytest.mark.parametrize("n_shards", [1, 3])
def test_tensorflow_reads_every_checkpoint_on_the_way(
    tmp_path: Path, n_shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    replace, seen = Path.replace, []

    def look(path: Path, target: Path | str) -> Path:
        result = replace(path, target)
        reader = tf.train.load_checkpoint(str(tmp_path / "m"))
        found = {name: reader.get_tensor(name).tobytes() for name in tensors(0)}
        seen.append(next(seed for seed in (1, 2) if found == {k: v.tobytes() for k, v in tensors(seed).items()}))
        return result

    store(tmp_path / "m", tensors(1), n_shards=n_shards)
    monkeypatch.setattr(Path, "replace", look)
    store(tmp_path / "m", tensors(2), n_shards=n_shards)
    # The index of the way round, the data files, the final index.
    assert seen == [2] * (n_shards + 2)
