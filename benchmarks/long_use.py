"""Descriptors and memory over many conversions in one process: ``python -m benchmarks.long_use [N]``."""

from __future__ import annotations

import itertools
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

import resport

TARGETS = ("m.safetensors", "m.npz", "m.h5", "m.weights.h5", "m")
N_CONVERSIONS = 1000


def main(n_conversions: int) -> None:
    """Convert a small file to one format after the other, and print what the process holds."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source.npz")
        rng = np.random.default_rng(0)
        np.savez(source, **{f"layer_{i}/w": rng.standard_normal((64, 64), dtype="f4") for i in range(20)})
        print(f"{'conversions':>12}{'descriptors':>13}{'resident KB':>13}")
        for number, target in zip(range(n_conversions + 1), itertools.cycle(TARGETS), strict=False):
            if number % (n_conversions // 10) == 0:
                print(
                    f"{number:12}{len(list(Path('/proc/self/fd').iterdir())):13}{_resident_bytes() >> 10:13}",
                    flush=True,
                )
            resport.convert(source, Path(folder, target), force=True)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else N_CONVERSIONS)
