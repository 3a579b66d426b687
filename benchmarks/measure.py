"""Run a command in a process of its own and measure it: wall time, processor time, peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Compiled modules are kept, as they are for everyone who runs a program twice.
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a command.

    Attributes:
        seconds: wall time.
        cpu_seconds: processor time, of all threads.
        peak_bytes: largest resident memory.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Several runs of a command: the median of each measure, and the fastest and slowest wall time."""

    seconds: float
    fastest: float
    slowest: float
    cpu_seconds: float
    peak_bytes: int
    runs: int


def run_once(command: Sequence[str], cwd: Path) -> Sample:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; the message has what it printed.
    """
    # To a file, not to a pipe: a full pipe would make the command wait for us.
    log = cwd / ".bench-log"
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=ENVIRONMENT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1 is what a comparison says of different files
        raise RuntimeError(f"{command} failed with {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
    log.unlink()
    return Sample(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def interleaved(
    commands: Mapping[str, Sequence[str]],
    cwd: Path,
    repetitions: Mapping[str, int],
    clean: Callable[[], None],
    say: Callable[[str], None],
) -> dict[str, Summary]:
    """Run commands in turn, several times over, so that what slows the machine slows all of them.

    Each is run once before, for the caches of the disk and of Python and the memory that a virtual machine is given
    by its host, and not counted.

    Args:
        commands: by name.
        cwd: where they run.
        repetitions: how often each is run.
        clean: called before each run.
        say: told what runs.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for turn in range(max(repetitions.values()) + 1):
        for name, command in commands.items():
            if turn <= repetitions[name]:
                say(name)
                clean()
                sample = run_once(command, cwd)
                if turn:
                    samples[name].append(sample)
    clean()
    return {name: summary(runs) for name, runs in samples.items()}


def summary(samples: Sequence[Sample]) -> Summary:
    """The medians of some runs."""
    seconds = [sample.seconds for sample in samples]
    return Summary(
        statistics.median(seconds),
        min(seconds),
        max(seconds),
        statistics.median(sample.cpu_seconds for sample in samples),
        int(statistics.median(sample.peak_bytes for sample in samples)),
        len(samples),
    )
