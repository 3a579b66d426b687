"""Faults from outside for whatever writes: a kill, an interrupt or an error of the system, before any of its steps.

The work runs in a forked child, where each step that changes or opens a file first comes by here. ``python -m
tests.faults`` tries every step of every writer and prints a table.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from resport.errors import ResportError
from resport.formats import open_reader, open_writer
from tests.contracts import random_array, specs_of

Work = Callable[[], object]

# What Python announces before it does it; the rest of the steps are wrapped.
_ANNOUNCED = frozenset(
    {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod", "os.chown", "fcntl.flock"}
)
_WRAPPED = ("fsync", "pwrite", "close")


def described(layers: Iterable[str]) -> str:
    """The model of a ``.keras`` target."""
    described_layers = [{"class_name": "Dense", "config": {"name": name}} for name in layers]
    return json.dumps({"class_name": "Functional", "config": {"layers": described_layers}})


TARGETS: dict[str, dict[str, Any]] = {
    "m.safetensors": {},
    "m.npz": {},
    "m.h5": {},
    "m.weights.h5": {},
    "m.ckpt": {},
    "m.ckpt in 3": {"n_shards": 3},
    "sharded.safetensors": {"max_shard_size": 60},
    "v1": {"format": "tensorflow-v1"},
    "m.keras": {"config": described(("conv", "dense"))},
}
"""The targets of each writer: the file's name, up to a blank, and the options."""

DEAD = 128 + signal.SIGKILL
REFUSED = 2
SURVIVED = 3
"""The work was struck, and done all the same."""


def tensors(seed: int) -> dict[str, np.ndarray]:
    """Three small tensors, whose values follow from the seed."""
    shapes = {"conv/kernel": (3, 4), "conv/bias": (5,), "dense/kernel": (2, 2)}
    return {name: random_array("float32", shape, 10 * seed + i) for i, (name, shape) in enumerate(shapes.items())}


def store(path: Path, values: Mapping[str, np.ndarray], *, force: bool = True, **options: Any) -> None:
    """Write a checkpoint."""
    with open_writer(path, specs_of(values), force=force, **options) as writer:
        for name, array in values.items():
            writer.write(name, array)


def convert_on_full_disk(source: Path, target: Path, n_bytes: int, option: str) -> subprocess.CompletedProcess[str]:
    """What the command line says where no file may become longer than so many bytes."""
    code = (
        "import resource, signal\n"
        "from resport.cli.main import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({n_bytes}, {n_bytes}))\n"
        f"main(['convert', {str(source)!r}, {str(target)!r}, {option!r}])\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def load(path: Path) -> dict[str, bytes] | None:
    """The bytes of every tensor; None where there is no checkpoint."""
    try:
        with open_reader(path) as reader:
            return {name: reader.read(name).tobytes() for name in reader.manifest}
    except FileNotFoundError:
        return None


def killed_at(step: int, work: Work) -> int:
    """Do some work in a child that is killed before a step of it.

    Returns:
        The child's status; 0 where the work has no such step.
    """
    return _in_child(work, step, lambda: os.kill(os.getpid(), signal.SIGKILL))


def interrupted_at(step: int, work: Work) -> int:
    """Do some work in a child that gets Ctrl-C before a step of it."""

    def interrupt() -> NoReturn:
        raise KeyboardInterrupt

    return _in_child(work, step, interrupt)


def refused_at(step: int, work: Work, number: int = errno.ENOSPC) -> int:
    """Do some work in a child to which the system refuses a step, because the disk is full or for another reason."""

    def refuse() -> NoReturn:
        raise OSError(number, os.strerror(number))

    return _in_child(work, step, refuse)


def _in_child(work: Work, step: int, fault: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            was_struck = _strike_before(step, fault)
            status = _outcome(work) or SURVIVED * was_struck()
        finally:
            os._exit(status)
    return _status(os.waitpid(child, 0)[1])


def _outcome(work: Work) -> int:
    try:
        work()
    except (ResportError, KeyboardInterrupt):
        return REFUSED
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _status(waited: int) -> int:
    return 128 + os.WTERMSIG(waited) if os.WIFSIGNALED(waited) else os.WEXITSTATUS(waited)


def _strike_before(step: int, fault: Callable[[], object]) -> Callable[[], bool]:
    """Have a fault come before one of this process's steps, once.

    Returns:
        A function that tells whether it has come.
    """
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left == -1:
            fault()

    def announced(event: str, arguments: tuple[object, ...]) -> None:
        # Modules are opened too.
        if event in _ANNOUNCED and not str(arguments[0]).endswith((".py", ".pyc", ".so", "__pycache__")):
            count()

    sys.addaudithook(announced)
    for name in _WRAPPED:
        setattr(os, name, _counted(getattr(os, name), count))
    return lambda: left < 0


def _counted(function: Callable[..., Any], count: Callable[[], None]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **options: Any) -> Any:
        count()
        return function(*arguments, **options)

    return wrapped


def outcomes(
    folder: Path, target: str, strike: Callable[[int, Work], int], *, is_there: bool
) -> Iterator[tuple[str, int]]:
    """Strike at every step of writing a target, and look at what is there afterwards and after the next run.

    Yields:
        What the path held after each step: ``old``, ``new`` or ``none``; and the status of the child.

    Raises:
        AssertionError: it held something else, or the next run left files over.
    """
    path, options = folder / target.split()[0], TARGETS[target]
    old, new, last = ({name: array.tobytes() for name, array in tensors(seed).items()} for seed in (1, 2, 3))
    readable = folder / f"{path.name}.index.json" if "max_shard_size" in options else path
    for step in range(1000):
        if is_there:
            store(path, tensors(1), **options)
        status = strike(step, lambda: store(path, tensors(2), force=is_there, **options))
        found = load(readable)
        assert found in ((old, new) if is_there else (None, new)), (target, step, found and found.keys())
        yield "none" if found is None else "old" if found == old else "new", status
        store(path, tensors(3), force=found is not None, **options)
        assert load(readable) == last
        with open_reader(readable) as reader:
            left_over = {str(file) for file in folder.iterdir()} - set(reader.files)
        assert not left_over, (target, step, left_over)
        if not is_there:
            for file in folder.iterdir():
                file.unlink()
        if status == 0:
            return
    raise AssertionError(f"{target}: more than 1000 steps")


def main() -> None:
    """Try all, and print how often which fault had which outcome."""
    strikes = {"killed": killed_at, "interrupted": interrupted_at, "disk full": refused_at}
    print(f"{'target':22}{'before':8}{'fault':14}{'steps':>6}  outcomes")
    for target in TARGETS:
        for is_there in (False, True):
            for fault, strike in strikes.items():
                with tempfile.TemporaryDirectory() as folder:
                    found = Counter(what for what, _ in outcomes(Path(folder), target, strike, is_there=is_there))
                shown = ", ".join(f"{count} {what}" for what, count in sorted(found.items()))
                print(f"{target:22}{'old' if is_there else 'none':8}{fault:14}{found.total():6}  {shown}", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
