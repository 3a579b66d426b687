"""``python -m benchmarks.equality``: every pair of dialects of every variant, converted both ways and run forward.

For each variant one set of random, sensitive float64 weights is made in the dialect that has the most tensors and
converted to each other one, with ``fold``, so that folds are proven too. Every dialect with a builder is loaded by its
own names into its own network and run on one batch of images of an even and one of an odd size. The bits are compared
apart from that: float32 weights there and back without an option, from the side from which nothing is lost.

What comes out is held against what the tables declare; a contradiction is printed, and the exit status is 1 then. Each
variant has a process of its own, because frameworks do not give their memory back.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import resport
from resport.architectures.registry import BUILDERS, own_input_size
from resport.conversion.initialization import initialize, table_of_variant
from resport.errors import PlanError
from resport.mapping import Table, expand, shipped_tables

if TYPE_CHECKING:
    import numpy as np

EQUAL_LIMIT = 1e-9
"""Two float64 computations of one function agree to about 1e-12; the smallest known mistake makes 1e-7."""

IMAGE_SIZES = {224: 64, 160: 96, 32: 32}
"""The even size that networks made for a size are run at: small, and the last map still has a pixel."""

N_CLASSES = 10
OUTPUTS = ("logits", "Bottleneck")
"""The end point that is compared: the first of these that a network has. All others feed into it."""

HEADINGS = ("variant", "dialects", "declared", "moved", "bits there and back", "float64", "float32")


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one pair of dialects.

    Attributes:
        family: the family.
        variant: the variant.
        pair: the two dialects, in the direction in which the bits went.
        kind: what the table declares of them.
        moved: source tensors moved.
        filled: target tensors that are constants.
        is_exact: whether all bits came back; None where both ways need a fold.
        float64: largest difference of the outputs over their largest value; None without two builders.
        float32: the same in float32.
    """

    family: str
    variant: str
    pair: tuple[str, str]
    kind: str
    moved: int
    filled: int
    is_exact: bool | None
    float64: float | None
    float32: float | None

    @property
    def contradiction(self) -> str | None:
        """What is not as the table declares it, or None."""
        names = f"{self.variant}, {' and '.join(self.pair)}"
        if self.is_exact is False:
            return f"{names}: the bits that came back are others"
        if self.float64 is None:
            return None
        is_same = self.kind in ("equal", "transformed")
        if is_same != (self.float64 <= EQUAL_LIMIT):
            return f"{names} are declared {self.kind}, and the outputs differ by {self.float64:.1e} in float64"
        return None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the document, without the family."""
        bits = {True: "equal", False: "**other**", None: "folds both ways"}[self.is_exact]
        moved = f"{self.moved}, {self.filled} filled" if self.filled else str(self.moved)
        differences = ("no builder" if each is None else f"{each:.1e}" for each in (self.float64, self.float32))
        return (self.variant, " → ".join(self.pair), self.kind, moved, bits, *differences)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where something is not as declared."""
    parser = argparse.ArgumentParser(prog="benchmarks.equality", description=__doc__)
    parser.add_argument("--family", metavar="F", help="this family alone")
    parser.add_argument("--variant", metavar="V", help="this variant alone, in this process")
    parser.add_argument("--markdown", metavar="FILE", help="write the document")
    parser.add_argument("--json", action="store_true", help="print rows as JSON, a line each")
    parser.add_argument("--rows", metavar="FILE", help="take rows that --json printed before, and measure nothing")
    options = parser.parse_args(arguments)
    rows = []
    for row in _rows(options.rows, options.family, options.variant):
        rows.append(row)
        print(json.dumps(asdict(row)) if options.json else " | ".join(row.cells), flush=True)
    if options.markdown:
        Path(options.markdown).write_text(document(rows), encoding="utf-8")
    contradictions = [row.contradiction for row in rows if row.contradiction]
    print(*contradictions, sep="\n", end="\n" if contradictions else "", file=sys.stderr)
    return 1 if contradictions else 0


def document(rows: Sequence[Row]) -> str:
    """The rows as a page, a table for each family."""
    lines = [
        "# What equals what",
        "",
        "Made by `python -m benchmarks.equality --markdown docs/equality.md`, which fails where a figure contradicts",
        "the mapping tables. For each variant and pair of dialects: what the table declares of the networks that",
        "`resport.build` makes (`resport mappings show FAMILY` gives the reason), the tensors that a conversion moves,",
        "whether all bits come back from there and back again without an option, and the largest difference of the two",
        "networks' outputs relative to their largest value, from random weights, on images of an even and an odd size:",
        "in float64, where one function computed twice agrees to about 1e-12, and in float32. Folds are applied where",
        "they are needed; dialects of frameworks that resport has no builder for are `no builder`.",
        "",
        "In float32 a deep network can magnify its own rounding without end: the gates of an SE network that was never",
        "trained open and close at its noise, unit after unit. Which function it is, float64 tells.",
    ]
    for family, members in itertools.groupby(rows, key=lambda row: row.family):
        lines += ["", f"## {family}", "", _line(HEADINGS), _line("---" for _ in HEADINGS)]
        lines += [_line(row.cells) for row in members]
    return "\n".join([*lines, ""])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rows(file: str | None, family: str | None, variant: str | None) -> Iterator[Row]:
    """The rows of a file, of a variant, of a family or of all families."""
    if file is not None:
        return iter(sorted(_parsed(Path(file).read_text(encoding="utf-8")), key=_place))
    if variant is not None:
        return rows_of(variant)
    tables = [table for table in shipped_tables() if family in (None, table.family)]
    return (row for table in tables for name in table.variants for row in _in_a_process(name))


def _place(row: Row) -> int:
    """The place of a row's variant among all, in the tables' order."""
    return [variant for table in shipped_tables() for variant in table.variants].index(row.variant)


def _parsed(lines: str) -> Iterator[Row]:
    for line in lines.splitlines():
        values = json.loads(line)
        yield Row(**{**values, "pair": tuple(values["pair"])})


def _in_a_process(variant: str) -> Iterator[Row]:
    """The rows of a variant, measured by a process of its own."""
    command = [sys.executable, "-m", "benchmarks.equality", "--variant", variant, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{variant}: {' '.join(command)} ended with status {done.returncode}")
    yield from _parsed(done.stdout)


def rows_of(variant: str) -> Iterator[Row]:
    """Measure all pairs of a variant's dialects."""
    table = table_of_variant(variant)
    with tempfile.TemporaryDirectory() as folder:
        outputs = _outputs(table, variant, Path(folder))
        for source, target in itertools.combinations(table.dialects, 2):
            moved, filled, is_exact, pair = there_and_back(variant, source, target, Path(folder))
            differences = [_difference(outputs, source, target, dtype) for dtype in ("float64", "float32")]
            relation = table.relation(source, target)
            kind = relation.kind if relation else "nothing"
            yield Row(table.family, variant, pair, kind, moved, filled, is_exact, *differences)


Outputs = dict[tuple[str, str], list["np.ndarray"]]


def _outputs(table: Table, variant: str, folder: Path) -> Outputs:
    """The outputs of every dialect that has a builder, by dialect and dtype: an array for each size of images."""
    expansion = expand(table, variant)
    first = max(table.dialects, key=lambda dialect: len(expansion.by_name[dialect]))
    start, file = folder / "start.safetensors", folder / "converted.safetensors"
    initialize(variant, start, dialect=first, num_classes=N_CLASSES, dtype="float64")
    outputs: Outputs = {}
    for dialect in table.dialects:
        if any(builder.dialect == dialect and variant in builder.variants for builder in BUILDERS):
            resport.convert(start, file, from_=first, to=dialect, variant=variant, fold=True, force=True)
            for dtype in ("float64", "float32"):
                outputs[dialect, dtype] = _run(variant, dialect, dtype, file)
                gc.collect()
    return outputs


def _run(variant: str, dialect: str, dtype: str, file: Path) -> list[np.ndarray]:
    import numpy as np

    from resport.architectures import open_network

    even = IMAGE_SIZES[own_input_size(variant, dialect)]
    classes = {} if variant == "inception_resnet_v1" else {"num_classes": N_CLASSES}
    values = []
    with (
        resport.open_reader(file) as reader,
        open_network(variant, dialect, dtype=dtype, input_size=None, **classes) as network,
    ):
        network.load(reader.read)
        for size in (even, even + 1):
            images = np.random.default_rng(size).normal(size=(2, size, size, 3))
            points = network.forward(images.astype(dtype))
            values.append(next(points[name] for name in OUTPUTS if name in points))
    return values


def _difference(outputs: Outputs, source: str, target: str, dtype: str) -> float | None:
    import numpy as np

    if (source, dtype) not in outputs or (target, dtype) not in outputs:
        return None
    pairs = zip(outputs[source, dtype], outputs[target, dtype], strict=True)
    return max(float(np.abs(ours - theirs).max() / np.abs(ours).max()) for ours, theirs in pairs)


def there_and_back(
    variant: str, source: str, target: str, folder: Path
) -> tuple[int, int, bool | None, tuple[str, str]]:
    """Tensors moved and filled, whether all bits came back, and which way was taken: one that needs no fold."""
    there, back = folder / "there.safetensors", folder / "back.safetensors"
    for pair in ((source, target), (target, source)):
        start = _bits(variant, pair[0], folder)
        try:
            report = resport.convert(start, there, from_=pair[0], to=pair[1], variant=variant, force=True)
        except PlanError:
            continue
        resport.convert(there, back, from_=pair[1], to=pair[0], variant=variant, force=True)
        return report.moved, len(report.filled), resport.diff(start, back).verdict == "equal", pair
    start = _bits(variant, source, folder)
    report = resport.convert(start, there, from_=source, to=target, variant=variant, fold=True, force=True)
    return report.moved, len(report.filled), None, (source, target)


def _bits(variant: str, dialect: str, folder: Path) -> Path:
    """Random float32 weights in a dialect, made once."""
    file = folder / f"{dialect}.bits.safetensors"
    if not file.exists():
        initialize(variant, file, dialect=dialect, num_classes=N_CLASSES, seed=1)
    return file


if __name__ == "__main__":
    sys.exit(main())
