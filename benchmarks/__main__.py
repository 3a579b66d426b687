"""``python -m benchmarks``: resport, its peers and the limit on the same files, in one run, interleaved.

Every command runs in a process of its own. The table gives medians with the fastest and slowest run, processor time,
peak memory, and the ratio to the limit of its group.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.aims import aims_table
from benchmarks.cases import GROUPS, Case, Group
from benchmarks.files import has_room, made
from benchmarks.measure import interleaved
from benchmarks.results import GroupResult, draw, fill_page, growth_table, machine_text, table, to_dict
from benchmarks.scaling import COUNTS, SIZES, Curve, over_count, over_size

SLOW_REPETITIONS = 2
QUICK_SIZES, QUICK_COUNTS = SIZES[:3], COUNTS[:4]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the 100 MB network alone, and small files for growth")
    parser.add_argument("--repetitions", type=int, metavar="N", help="runs of each command (default: 5, quick: 3)")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="groups with this in their title")
    parser.add_argument("--folder", metavar="FOLDER", help="where files are made (default: the system's temporary one)")
    parser.add_argument("--json", metavar="FILE", help="write all figures as JSON")
    parser.add_argument("--picture", metavar="FILE", help="draw them (.png, .svg)")
    parser.add_argument("--page", metavar="FILE", help="put the tables into this page, as docs/performance.md has them")
    options = parser.parse_args(arguments)
    repetitions = options.repetitions or (3 if options.quick else 5)
    texts = [machine_text()]
    print(texts[0])
    results = []
    for group in GROUPS:
        wanted = (
            any(text in group.title for text in options.only) if options.only else group.is_quick or not options.quick
        )
        if wanted:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                result = measure_group(group, Path(folder), repetitions)
            if result is not None:
                results.append(result)
                texts.append(table([result]))
                print(texts[-1], flush=True)
    growth = {} if options.only else measure_growth(options.quick, options.folder, max(1, repetitions // 2))
    for unit, curves in growth.items():
        texts.append(growth_table(curves, unit))
        print(texts[-1])
    texts.append(aims_table(results))
    print(texts[-1])
    if options.json:
        Path(options.json).write_text(json.dumps(to_dict(results, growth), indent=1) + "\n", encoding="utf-8")
    if options.picture:
        draw(results, growth, options.picture)
    if options.page:
        fill_page(options.page, "\n".join(texts))


def measure_group(group: Group, place: Path, repetitions: int) -> GroupResult | None:
    """Make the files of a group and run its commands; None where the disk has no room for them."""
    if not has_room(place, group.n_files * group.nbytes):
        print(f"\n{group.title}: left out, there is no room for it in {place.parent} (`--folder` chooses another)")
        return None
    say(f"making {group.title}")
    made(group.prepare, place)
    commands = {case.name: case.command for case in group.cases}
    turns = {case.name: turns_of(case, group, repetitions) for case in group.cases}
    runs = interleaved(commands, place, turns, cleaner(place), say)
    say("")
    return GroupResult(group.title, group.cases, runs)


def turns_of(case: Case, group: Group, repetitions: int) -> int:
    """How often a case runs: less where each run takes seconds."""
    return min(repetitions, SLOW_REPETITIONS) if case.is_slow or group.is_large else repetitions


def measure_growth(is_quick: bool, folder: str | None, repetitions: int) -> dict[str, list[Curve]]:
    """Time over bytes and over tensors."""
    found = {}
    for unit, measure, amounts in (
        ("bytes", over_size, QUICK_SIZES if is_quick else SIZES),
        ("tensors", over_count, QUICK_COUNTS if is_quick else COUNTS),
    ):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            found[unit] = measure(Path(place), amounts, repetitions, say, cleaner(Path(place)))
    say("")
    return found


def cleaner(place: Path) -> Callable[[], None]:
    """What empties the folder that commands write into."""

    def clean() -> None:
        shutil.rmtree(place / "out", ignore_errors=True)
        (place / "out").mkdir()

    clean()
    return clean


def say(what: str) -> None:
    """Tell on a terminal what runs."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
