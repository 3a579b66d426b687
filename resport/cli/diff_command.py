"""``resport diff``: two checkpoints tensor by tensor."""

from __future__ import annotations

from typing import Any

import click

from resport.cli.output import print_json, printable
from resport.cli.reading import checksum_option, reading_options
from resport.mapping.folding import fold_names, shortened
from resport.verification.comparison import DiffReport
from resport.verification.comparison import diff as diff_checkpoints
from resport.verification.report import EQUAL


@click.command()
@click.argument("a")
@click.argument("b")
@reading_options
@checksum_option
@click.option("--json", "as_json", is_flag=True, help="print the report as one JSON object")
@click.pass_context
def diff(ctx: click.Context, /, a: str, b: str, as_json: bool, **reading: Any) -> None:
    """Compare the tensors of A and B by name, bit for bit, whatever their formats.

    Exit status: 0 equal, 1 different, 2 trouble.
    """
    report = diff_checkpoints(a, b, **reading)
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report)
    ctx.exit(0 if report.verdict == EQUAL else 1)


def print_report(report: DiffReport) -> None:
    """The report as people read it."""
    shared = report.n_equal + len(report.differences)
    click.echo(f"{report.verdict}: {report.n_equal} of {shared} shared tensors are equal bit for bit")
    _print_names(f"only in {report.a}", report.only_in_a)
    _print_names(f"only in {report.b}", report.only_in_b)
    if report.differences:
        click.echo(f"  {len(report.differences)} differ:")
    for line in shortened([f"{each.name}: {each.kind}, {each.detail}" for each in report.differences]):
        click.echo(f"    {printable(line)}")


def _print_names(heading: str, names: tuple[str, ...]) -> None:
    if names:
        click.echo(f"  {len(names)} {printable(heading)}:")
        for line in shortened(fold_names(names)):
            click.echo(f"    {printable(line)}")
