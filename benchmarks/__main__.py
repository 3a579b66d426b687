"""``python -m benchmarks``: each peer in a process of its own, interleaved, medians, ratios to the limit."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Sample, interleaved, median, run_once

VARIANT = "resnet_v2_50"
RESPORT = (sys.executable, "-m", "resport")
SOURCE = "model.ckpt-0"


def commands(place: Path) -> dict[str, list[str]]:
    """What is run, by name; the first is the limit that the others are ratios to."""
    return {
        "import numpy, h5py; cp": ["sh", "-c", f'{sys.executable} -c "import numpy, h5py" && cp {SOURCE}.* out/'],
        "slim-to-keras .safetensors": [*RESPORT, "slim-to-keras", SOURCE, "out/keras.safetensors"],
        "slim-to-keras .h5": [*RESPORT, "slim-to-keras", SOURCE, "out/keras.h5"],
        "slim-to-keras .weights.h5": [*RESPORT, "slim-to-keras", SOURCE, "out/keras.weights.h5"],
        "by hand, .weights.h5": [
            sys.executable,
            str(Path(__file__).with_name("by_hand.py")),
            SOURCE,
            "out/hand.weights.h5",
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--json", action="store_true", help="print the medians as one JSON object")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run_once([*RESPORT, "init", VARIANT, SOURCE, "--num-classes", "1001"], place)

        def clean() -> None:
            shutil.rmtree(place / "out", ignore_errors=True)
            (place / "out").mkdir()

        clean()
        for command in commands(place).values():  # once for the caches of the disk and of Python
            run_once(command, place)
            clean()
        samples = interleaved(commands(place), place, options.repetitions, clean)
    medians = {name: median(runs) for name, runs in samples.items()}
    if options.json:
        print(json.dumps({name: vars_of(sample) for name, sample in medians.items()}, indent=2))
    else:
        print_table(medians)


def vars_of(sample: Sample) -> dict[str, float]:
    """A sample as plain values."""
    return {"seconds": sample.seconds, "cpu_seconds": sample.cpu_seconds, "peak_bytes": sample.peak_bytes}


def print_table(medians: dict[str, Sample]) -> None:
    """Medians, and ratios to the first row."""
    limit = next(iter(medians.values())).seconds
    print(f"{'':28}{'wall':>9}{'ratio':>8}{'CPU':>9}{'memory':>10}")
    for name, sample in medians.items():
        print(
            f"{name:28}{sample.seconds:8.2f}s{sample.seconds / limit:8.2f}{sample.cpu_seconds:8.2f}s"
            f"{sample.peak_bytes / 1e6:7.0f} MB"
        )


if __name__ == "__main__":
    main()
