"""Run a command in a process of its own and measure it: wall time, processor time, peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


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


def run_once(command: Sequence[str], cwd: Path) -> Sample:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; the message has what it printed.
    """
    # To a file, not to a pipe: a full pipe would make the command wait for us.
    log = cwd / ".bench-log"
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} failed with {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
    log.unlink()
    return Sample(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def interleaved(
    commands: Mapping[str, Sequence[str]], cwd: Path, repetitions: int, clean: Callable[[], None]
) -> dict[str, list[Sample]]:
    """Run commands in turn, several times over, so that what slows the machine slows all of them.

    Args:
        commands: by name.
        cwd: where they run.
        repetitions: how often each is run.
        clean: called before each run.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for _ in range(repetitions):
        for name, command in commands.items():
            clean()
            samples[name].append(run_once(command, cwd))
    return samples


def median(samples: Sequence[Sample]) -> Sample:
    """The median of each measure."""
    return Sample(
        statistics.median(sample.seconds for sample in samples),
        statistics.median(sample.cpu_seconds for sample in samples),
        int(statistics.median(sample.peak_bytes for sample in samples)),
    )
