"""Damage every sample in every way, and count how the readers took it: ``python -m tests.fuzz.exhaustive``.

    python -m tests.fuzz.exhaustive [--one-in N] [--samples NAME…] [--report FILE]

Beneath the checksums, damage is done a second time with their comparison switched off: otherwise they would catch it
before it gets to the parser that it is meant for, and whoever makes a hostile file computes them anew.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from tests.fuzz.attempt import READ, REFUSED, Outcome, attempt, limited
from tests.fuzz.mutations import mutants, sampled
from tests.fuzz.samples import Sample, all_samples

CHECKSUMS = (
    "resport.formats.leveldb_table._check_crc32c",
    "resport.formats.tensor_bundle.TensorBundleReader._check_crc",
    "resport.formats.hdf5_file.file_bytes.FileBytes.check_sum",
)
"""What compares the checksums of metadata, and of values where these are parsed."""
SHOWN_DEFECTS = 5


@dataclass
class Tally:
    """What came of the mutants of one sample.

    Attributes:
        kinds: how often each kind of damage was done.
        verdicts: how often an attempt ended so.
        defects: the first outcomes that are defects, with what they were made of.
        slowest: the longest attempt, in seconds of the processor.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, kind: str, outcome: Outcome, content: bytes) -> None:
        """Count one attempt."""
        self.kinds[kind] += 1
        self.verdicts[outcome.verdict] += 1
        self.slowest = max(self.slowest, outcome.seconds)
        if not outcome.is_sound and len(self.defects) < 200:
            self.defects.append(
                f"{kind}: {outcome.verdict} {outcome.message} | {content.hex() if len(content) < 200 else len(content)}"
            )


@contextmanager
def without_checksums() -> Iterator[None]:
    """Take every stored checksum for right."""
    with ExitStack() as stack:
        for name in CHECKSUMS:
            stack.enter_context(mock.patch(name, lambda *arguments: None))
        yield


def damage(sample: Sample, folder: Path, one_in: int = 1, tally: Tally | None = None) -> Tally:
    """Read the mutants of a sample.

    Args:
        sample: the sound checkpoint.
        folder: where it is written.
        one_in: take one mutant of so many.
        tally: what to add to.
    """
    tally = Tally() if tally is None else tally
    path = sample.write(folder)
    for name in sample.damaged:
        content = sample.files[name]
        chosen = mutants(content) if one_in == 1 else sampled(content, max(1, 40 * len(content) // one_in), one_in // 2)
        for kind, changed in chosen:
            (folder / name).write_bytes(changed)
            tally.add(kind, limited(lambda: attempt(path)), changed)
        (folder / name).write_bytes(content)
    return tally


def report(tallies: dict[str, Tally], seconds: float) -> str:
    """The counts as a table."""
    lines = [
        "| sample | inputs | read as something | one clean error | defects | slowest, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    whole = Tally()
    for name, tally in tallies.items():
        lines.append(_row(name, tally))
        whole.kinds += tally.kinds
        whole.verdicts += tally.verdicts
        whole.slowest = max(whole.slowest, tally.slowest)
    lines += [_row("all", whole), "", "| damage | inputs |", "| --- | ---: |"]
    lines += [f"| {kind} | {count:,} |" for kind, count in sorted(whole.kinds.items())]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines += ["", f"{seconds:.0f} s; memory of the process at its peak, Python and numpy included: {peak:.0f} MB"]
    for name, tally in tallies.items():
        lines += [f"{name}: {defect}" for defect in tally.defects[:SHOWN_DEFECTS]]
    return "\n".join(lines)


def _row(name: str, tally: Tally) -> str:
    verdicts = tally.verdicts
    n_defects = verdicts.total() - verdicts[READ] - verdicts[REFUSED]
    counts = f"{verdicts.total():,} | {verdicts[READ]:,} | {verdicts[REFUSED]:,} | {n_defects:,}"
    return f"| {name} | {counts} | {tally.slowest:.2f} |"


def main() -> int:
    """Run, print the table, and say by the exit status whether there were defects."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.exhaustive", description=__doc__.partition("\n")[0])
    parser.add_argument("--one-in", type=int, default=1, metavar="N", help="take one mutant of N")
    parser.add_argument("--samples", nargs="*", default=[], metavar="NAME", help="only these samples")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the table there too")
    options = parser.parse_args()
    begin = time.monotonic()
    tallies: dict[str, Tally] = {}
    for sample in all_samples():
        if options.samples and sample.name not in options.samples:
            continue
        with tempfile.TemporaryDirectory() as folder:
            tally = damage(sample, Path(folder), options.one_in)
            with without_checksums():
                tallies[sample.name] = damage(sample, Path(folder), options.one_in, tally)
        print(_row(sample.name, tally), *tally.defects[:SHOWN_DEFECTS], sep="\n", flush=True)
    text = report(tallies, time.monotonic() - begin)
    print(text)
    if options.report:
        options.report.write_text(text + "\n")
    return int(any(tally.defects for tally in tallies.values()))


if __name__ == "__main__":
    raise SystemExit(main())
