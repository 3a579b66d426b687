"""How the time of a conversion grows with the bytes of a checkpoint, and with the number of its tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import files
from benchmarks.cases import OURS, RESPORT, Case, copy_of
from benchmarks.measure import Summary, interleaved

SIZES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 4_000_000_000)
COUNTS = (10, 100, 1_000, 10_000, 100_000)
TARGETS = {"to .safetensors": "out/a.safetensors", "to .weights.h5": "out/a.weights.h5", "to V2": "out/b.ckpt"}


@dataclass(frozen=True, slots=True)
class Curve:
    """One kind of command over several files.

    Attributes:
        name: what is done.
        points: bytes or tensors, and what it took.
    """

    name: str
    points: Sequence[tuple[int, Summary]]

    @property
    def growth(self) -> float:
        """By what power the time grows between the last two points, where the constant part counts least: 1 is linear.

        It is below 1 as long as a constant part counts.
        """
        (first, before), (second, after) = self.points[-2:]
        return math.log(after.seconds / before.seconds) / math.log(second / first)


def measure_growth(
    place: Path,
    amounts: Sequence[int],
    write: Callable[[Path, int], None],
    repetitions: int,
    say: Callable[[str], None],
    clean: Callable[[], None],
) -> list[Curve]:
    """Convert files of growing size.

    Args:
        place: an empty folder.
        amounts: bytes or tensors.
        write: makes a checkpoint of an amount.
        repetitions: of each command.
        say: told what runs.
        clean: empties ``out``.
    """
    found: dict[str, list[tuple[int, Summary]]] = {}
    for amount in amounts:
        files.made(write, place / "model", amount)
        cases = [
            copy_of("model.*"),
            *(Case(name, [*RESPORT, "convert", "model", to], OURS) for name, to in TARGETS.items()),
        ]
        commands = {case.name: case.command for case in cases}
        runs = interleaved(commands, place, dict.fromkeys(commands, repetitions), clean, say)
        for name, summary in runs.items():
            found.setdefault(name, []).append((amount, summary))
        for file in place.glob("model.*"):
            file.unlink()
    return [Curve(name, points) for name, points in found.items()]


def over_size(place: Path, sizes: Sequence[int], *rest: object) -> list[Curve]:
    """Growth over bytes, for those sizes that the disk has room for."""
    fitting = [size for size in sizes if files.has_room(place, 2 * size)]
    return measure_growth(place, fitting, files.write_sized, *rest)  # type: ignore[arg-type]


def over_count(place: Path, counts: Sequence[int], *rest: object) -> list[Curve]:
    """Growth over the number of tensors."""
    return measure_growth(place, counts, files.write_many, *rest)  # type: ignore[arg-type]
