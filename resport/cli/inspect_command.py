"""``resport inspect``: what is in a checkpoint."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import click

from resport.cli.output import print_columns, print_json, print_warnings, printable, shape_text, size_text
from resport.cli.reading import checksum_option, reading_options
from resport.conversion.inspection import InspectionReport
from resport.conversion.inspection import inspect as inspect_checkpoint
from resport.conversion.summary import TensorRow, summarise
from resport.mapping.folding import fold_names, shortened
from resport.mapping.roles import STATISTIC, WEIGHT

PIPE_WIDTH = 160


@click.command()
@click.argument("checkpoint")
@click.option(
    "--stats", is_flag=True, help="read every tensor and add minimum, maximum, mean, deviation and odd values"
)
@click.option("--all/--folded", "show_all", default=None, help="a row for each tensor, or names folded by number")
@reading_options
@checksum_option
@click.option(
    "--manifest", metavar="FILE", help="store names, shapes, dtypes and sha256 as JSON, for `verify --against`"
)
@click.option("--force", is_flag=True, help="replace a manifest that is there")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
def inspect(checkpoint: str, stats: bool, show_all: bool | None, as_json: bool, **options: Any) -> None:
    """List the tensors of CHECKPOINT and tell which network it is.

    On a terminal names that differ only by numbers are folded into one row (`--all` unfolds them); in a pipe each
    tensor has its own (`--folded` folds them).
    """
    report = inspect_checkpoint(checkpoint, stats=stats, **options)
    if as_json:
        print_json(report.to_dict())
        return
    print_warnings([report.note] if report.note else [])
    print_heading(report)
    unfolded = not sys.stdout.isatty() if show_all is None else show_all
    if stats or unfolded:
        print_tensors(report)
    else:
        print_rows(summarise(report.tensors, report.roles), report.detected.root if report.detected else "")
    print_totals(report)
    if options["manifest"]:
        click.echo(f"wrote the manifest {printable(options['manifest'])}")


def print_heading(report: InspectionReport) -> None:
    """Path, format and network."""
    producer = f", written by {report.producer}" if report.producer else ""
    click.echo(f"{printable(report.path)}: {report.format}{printable(producer)}")
    if report.detected:
        found = report.detected
        classes = f"{found.num_classes} classes" if found.num_classes else "no classifier"
        scope = f", below `{found.root}`" if found.root else ""
        click.echo(f"network: {found.variant}, {found.dialect} names, {classes}{printable(scope)}")
        _print_gaps("missing", found.missing)
        _print_gaps("unexpected", found.unexpected)
        _print_gaps("of another shape", found.mismatched)
    elif report.nearest:
        near = report.nearest
        click.echo(
            f"network: not known; the nearest is {near.variant} ({near.dialect}) with {near.matched} names, "
            f"{len(near.missing)} missing, {len(near.unexpected)} unexpected"
        )
    else:
        click.echo("network: not known")
    click.echo()


def print_rows(rows: list[TensorRow], root: str) -> None:
    """Folded rows as a table of a terminal's width, without the scope that the heading names already."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tensors", overflow="fold")
    for heading in ("shape", "count", "size"):
        table.add_column(heading, justify="left" if heading == "shape" else "right", no_wrap=heading != "shape")
    # What all rows have in common goes without saying: the totals below name the roles.
    has_dtypes = len({row.dtype for row in rows}) > 1
    has_roles = any(set(row.role.split(", ")) - {WEIGHT, STATISTIC} for row in rows)
    for heading, is_shown in (("dtype", has_dtypes), ("role", has_roles)):
        if is_shown:
            table.add_column(heading)
    for row in rows:
        cells = [printable(row.name.removeprefix(root)), row.shape, str(row.count), size_text(row.nbytes)]
        table.add_row(*cells, *[row.dtype] * has_dtypes, *[row.role] * has_roles)
    # A pipe has no width: give names the room that they need.
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def print_tensors(report: InspectionReport) -> None:
    """One line for each tensor."""
    rows = []
    for spec in report.tensors:
        row = [printable(spec.name), shape_text(spec.shape), spec.dtype, report.roles[spec.name]]
        if report.statistics:
            row.extend(_statistics_cells(report, spec.name))
        rows.append(row)
    if report.statistics:
        rows.insert(0, ["tensor", "shape", "dtype", "role", "min", "max", "mean", "std", "nan", "inf", "zero"])
    print_columns(rows, right=range(4, 11))


def print_totals(report: InspectionReport) -> None:
    """Counts and bytes by role."""
    counts = Counter(report.roles[spec.name] for spec in report.tensors)
    parts = ", ".join(f"{count} {role}" for role, count in counts.items())
    values = sum(spec.size for spec in report.tensors)
    dtypes = "/".join(dict.fromkeys(spec.dtype for spec in report.tensors))
    click.echo()
    click.echo(f"{len(report.tensors)} tensors ({parts}), {values:,} {dtypes} values, {size_text(report.nbytes)}")


def _statistics_cells(report: InspectionReport, name: str) -> list[str]:
    found = report.statistics.get(name)
    if found is None:
        return ["", "", "", "", "", "", ""]
    numbers = [found.minimum, found.maximum, found.mean, found.deviation]
    odd = [found.n_nan, found.n_infinite, found.n_zero]
    return [*("" if number is None else f"{number:.4g}" for number in numbers), *map(str, odd)]


def _print_gaps(kind: str, names: tuple[str, ...]) -> None:
    if names:
        click.echo(f"  {kind}: " + printable("; ".join(shortened(fold_names(names), 5))))
