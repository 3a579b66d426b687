"""``python -m benchmarks.phases``: what the time of a conversion goes into, phase by phase.

The conversion of resnet_v2_50 runs as from the command line, in a process of its own, several times; its phases are
told apart by the functions that begin and end them. The figures are medians, in milliseconds of the clock. The source
is hashed by a thread meanwhile.

What the measured process doesn't need is imported in the functions that do.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SOURCE = "model.ckpt-0"
CHILD = "import sys; from benchmarks.phases import child; child(float(sys.argv[1]), sys.argv[2:])"
PHASES = (
    ("cli", "Python starts, click and the command line are imported"),
    ("command", "the modules of the command are imported"),
    ("opened", "the source is opened"),
    ("detected", "the network is told by its names"),
    ("planned", "the conversion is planned"),
    ("laid out", "the target is laid out"),
    ("moved", "the values are moved"),
    ("hashed", "the source's sha256 is waited for"),
    ("read", "the target is read again"),
    ("on disk", "the disk is waited for"),
    ("placed", "the target gets its name"),
    ("ended", "the report is printed, Python ends"),
)
"""What ends each phase, and what it is."""


def child(started: float, arguments: Sequence[str]) -> None:
    """Run the command line with marks set; prints their times as the last line of stderr.

    Args:
        started: when the process was started, as ``time.time`` has it.
        arguments: those of the command line.
    """
    marks: dict[str, float] = {}

    def mark(name: str) -> None:
        marks[name] = time.time() - started

    def after(owner: Any, function: str, name: str) -> None:
        wrapped: Callable[..., Any] = getattr(owner, function)

        def marking(*args: Any, **options: Any) -> Any:
            try:
                return wrapped(*args, **options)
            finally:
                mark(name)

        setattr(owner, function, marking)

    from resport.cli.main import main

    mark("cli")
    from resport.conversion import conversion, writing
    from resport.formats.base import Writer

    mark("command")
    after(conversion, "open_reader", "opened")
    after(conversion, "detect", "detected")
    after(conversion, "plan_route", "planned")
    carry_out = writing.carry_out

    def moving(*args: Any) -> None:
        mark("laid out")
        carry_out(*args)
        mark("moved")

    writing.carry_out = moving
    after(writing.SourceDigest, "result", "hashed")
    after(writing, "read_back", "read")
    after(conversion, "write_target", "on disk")
    after(Writer, "commit", "placed")
    try:
        main(list(arguments))
    finally:
        print(json.dumps(marks), file=sys.stderr)


def run(place: Path, target: str) -> dict[str, float]:
    """Seconds of each phase of one conversion."""
    import subprocess

    from benchmarks.measure import ENVIRONMENT

    for file in place.glob(f"{target}*"):
        file.unlink()
    began = time.time()
    words = ["slim-to-keras", str(place / SOURCE), str(place / target)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, repr(began), *words],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
    )
    ends = {**json.loads(done.stderr.splitlines()[-1]), "ended": time.time() - began}
    found, before = {}, 0.0
    for name, _ in PHASES:
        found[name] = ends[name] - before
        before = ends[name]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    import argparse
    import statistics
    import tempfile

    from benchmarks.files import made, write_network

    parser = argparse.ArgumentParser(prog="benchmarks.phases", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=9, metavar="N")
    parser.add_argument("--target", action="append", metavar="NAME", help="of the target (default: one of each format)")
    options = parser.parse_args(arguments)
    targets = options.target or ["a.safetensors", "a.h5", "a.weights.h5"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        made(write_network, place / SOURCE, "resnet_v2_50")
        runs: dict[str, list[dict[str, float]]] = {target: [] for target in targets}
        for turn in range(options.repetitions + 1):
            for target in targets:
                phases = run(place, target)
                if turn:
                    runs[target].append(phases)
    print(f"| ms | {' | '.join(targets)} |\n| --- |{' ---: |' * len(targets)}")
    for name, text in PHASES:
        medians = [1000 * statistics.median(each[name] for each in runs[target]) for target in targets]
        print(f"| {text} | {' | '.join(f'{each:.0f}' for each in medians)} |")
    totals = [1000 * statistics.median(sum(each.values()) for each in runs[target]) for target in targets]
    print(f"| all of it | {' | '.join(f'{each:.0f}' for each in totals)} |")


if __name__ == "__main__":
    main()
