"""Read a file as a user would, and say how that went: ``python -m tests.fuzz.attempt PATH…`` tries files at arm's length.

Each path is tried in a child process of its own with a bound on time and memory, so that a hang or a crash is a result
like others.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from resport.errors import FormatError, ResportError
from resport.formats import open_reader

SECONDS = int(os.environ.get("RESPORT_ATTEMPT_SECONDS", "5"))
"""Of the processor, for one file; the suite allows more, for it runs on slow machines too."""
CLOCK_SECONDS = 60
"""By the clock: what waits for ever takes no time of the processor, and a busy machine is slow."""
MEGABYTES = 300
MESSAGE_CHARS = 2000
READ, REFUSED, UNCLEAR, CRASHED, HUNG, GREEDY = "read", "refused", "unclear", "crashed", "hung", "greedy"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        verdict: ``read``; ``refused`` with a clean error; or what is a defect: an error that says too little or too
            much (``unclear``), another exception or a signal (``crashed``), ``hung``, or too much memory (``greedy``).
        message: the first error's text.
        seconds: how long it took.
        megabytes: how far the memory rose, where that was measured.
        kind: the class of the error.
    """

    verdict: str
    message: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0
    kind: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with how it ended."""
        return self.verdict in {READ, REFUSED}


class TooSlow(BaseException):
    """No exception that a reader could catch by chance."""


def attempt(path: str | Path) -> Outcome:
    """Open a checkpoint, read all that it lists, and close it.

    A tensor that is refused ends nothing: the next is read. No exception gets out.
    """
    errors: list[ResportError] = []
    try:
        with open_reader(path) as reader:
            for name in reader.manifest:
                try:
                    reader.read(name)
                except FormatError as error:
                    errors.append(error)
    except ResportError as error:
        errors.append(error)
    except Exception as error:
        return Outcome(CRASHED, f"{type(error).__name__}: {error}"[:MESSAGE_CHARS], kind=type(error).__name__)
    faults = [fault for error in errors if (fault := fault_of(error, str(path)))]
    verdict = UNCLEAR if faults else REFUSED if errors else READ
    message = faults[0] if faults else errors[0].message if errors else ""
    return Outcome(verdict, message, kind=type(errors[0]).__name__ if errors else "")


def fault_of(error: ResportError, path: str) -> str:
    """What is wrong with an error that a hostile file gave; empty where it is as it should be."""
    text = f"{error}\n{error.hint or ''}"
    if len(text) > MESSAGE_CHARS:
        return f"an error of {len(text)} characters: {text[:200]}"
    if "\n" in error.message or not all(char.isprintable() or char == "\n" for char in text.replace(path, "")):
        return f"an error that a terminal would obey: {text!r}"
    folder = str(Path(path).parent)
    if folder not in text or (isinstance(error, FormatError) and not error.path.startswith(folder)):
        return f"an error that names no file: {text}"
    return ""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TooSlow`` in the main thread when the time is over."""

    def stop(signum: int, frame: object) -> None:
        raise TooSlow

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGALRM, signal.SIGPROF)]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, CLOCK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)


def limited(run: Callable[[], Outcome]) -> Outcome:
    """An attempt within the limit of time, which is measured."""
    begin = time.process_time()
    try:
        with time_limit(SECONDS):
            outcome = run()
    except TooSlow:
        outcome = Outcome(HUNG)
    return Outcome(**{**asdict(outcome), "seconds": time.process_time() - begin})


def guarded(path: str) -> Outcome:
    """An attempt in a child process, with limits of time and memory."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        _attempt_in_child(path, sending)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if not answer:
        return Outcome(HUNG if os.waitstatus_to_exitcode(status) == -signal.SIGKILL else CRASHED, f"status {status}")
    return Outcome(**json.loads(answer))


def _attempt_in_child(path: str, pipe: int) -> None:
    # What is inside of a library's C code when its time is over sees no signal of Python's: the system ends it.
    resource.setrlimit(resource.RLIMIT_CPU, (2 * SECONDS, 2 * SECONDS))
    before = _peak_megabytes(reset=True)
    outcome = limited(lambda: attempt(path))
    rise = _peak_megabytes() - before
    if rise > MEGABYTES and outcome.is_sound:
        outcome = Outcome(GREEDY, outcome.message)
    answer = json.dumps({**asdict(outcome), "megabytes": round(rise, 1)})
    os.write(pipe, answer.encode("utf-8", "backslashreplace")[: 1 << 16])
    os._exit(0)


def _peak_megabytes(reset: bool = False) -> float:
    """The most memory that the process has held since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def main() -> None:
    """Try each path, and print one line of JSON for it."""
    # Loaded before the first child, so that no child is charged with them.
    import google_crc32c  # noqa: F401
    import ml_dtypes  # noqa: F401
    import numpy as np  # noqa: F401

    for path in sys.argv[1:]:
        print(json.dumps({"path": path, **asdict(guarded(path))}), flush=True)


if __name__ == "__main__":
    main()
