"""``python -m benchmarks.verification``: what ``verify`` costs beside building and running both networks once.

Each runs in a process of its own, interleaved, and is measured in seconds of the processor as well as of the clock,
because the clock also counts what else the machine does. The limit imports both frameworks, builds resnet_v2_50 in
both, fills them and runs each once on two images of 224 x 224 in float32.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

VARIANT = "resnet_v2_50"
SOURCE, TARGET = "model.ckpt-0", "model.h5"
LIMIT = f"""
import numpy
from resport.architectures import open_network
images = numpy.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype("float32")
for dialect in ("slim", "keras"):
    with open_network("{VARIANT}", dialect, num_classes=1001) as network:
        network.initialize(0)
        network.forward(images)
"""


def measured(command: Sequence[str], place: Path) -> tuple[float, float]:
    """Seconds of the clock and of the processor that a command takes.

    Args:
        command: what to run.
        place: where to run it.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    elapsed = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.verification", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    options = parser.parse_args(arguments)
    resport = (sys.executable, "-m", "resport")
    commands = {
        "import, build and run both": (sys.executable, "-c", LIMIT),
        "verify": (*resport, "verify", SOURCE, TARGET),
        "verify --probe": (*resport, "verify", SOURCE, TARGET, "--probe"),
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        measured([*resport, "init", VARIANT, SOURCE, "--num-classes", "1001"], place)
        measured([*resport, "slim-to-keras", SOURCE, TARGET], place)
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(options.repetitions):
            for name, command in commands.items():
                runs[name].append(measured(command, place))
    medians = {name: [statistics.median(column) for column in zip(*each, strict=True)] for name, each in runs.items()}
    limit = medians["import, build and run both"]
    print("| | clock s | ratio | processor s | ratio |\n| --- | --- | --- | --- | --- |")
    for name, (clock, processor) in medians.items():
        print(f"| {name} | {clock:.1f} | {clock / limit[0]:.2f} | {processor:.1f} | {processor / limit[1]:.2f} |")


if __name__ == "__main__":
    main()
