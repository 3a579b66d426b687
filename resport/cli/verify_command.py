"""``resport verify``: do two checkpoints compute the same?"""

from __future__ import annotations

from typing import Any

import click

from resport.cli.output import print_columns, print_json, print_warnings, printable, status_line
from resport.errors import OptionError
from resport.mapping.folding import shortened
from resport.verification.plot import save_plot
from resport.verification.report import EQUAL, ForwardResult, Side, VerificationReport
from resport.verification.verification import verify as verify_checkpoints


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("--weights-only", is_flag=True, help="compare the tensors and build no network")
@click.option(
    "--input-size",
    metavar="N",
    type=int,
    show_default="the network's own",
    help="of the images; N + 1 is tried too",
)
@click.option("--batch-size", metavar="N", type=int, default=2, show_default=True, help="images in each pass")
@click.option("--family", metavar="F", help="both sides' family, in place of detection")
@click.option("--variant", metavar="V", help="both sides' variant, in place of detection")
@click.option("--table", metavar="FILE", help="a mapping table of your own")
@click.option("--dtype", metavar="T", help="the target was stored as this dtype")
@click.option("--drop-background", is_flag=True, default=None, help="the target lacks the source's class 0")
@click.option("--ema", is_flag=True, default=None, help="the target has the source's moving averages")
@click.option("--fold", is_flag=True, default=None, help="the target has tensors taken into others")
@click.option("--swap-rgb", is_flag=True, default=None, help="the target takes images with their channels turned round")
@click.option("--ignore", multiple=True, metavar="GLOB", help="names that were left out (repeatable)")
@click.option("--plot", metavar="FILE", help="draw the difference at every end point (.png, .svg, .pdf)")
@click.option("--json", "as_json", is_flag=True, help="print the report as one JSON object")
@click.pass_context
def verify(ctx: click.Context, /, as_json: bool, plot: str | None, **options: Any) -> None:
    """Prove that TARGET computes what SOURCE computes.

    All weights are compared bit for bit; then both are loaded into networks of their own frameworks, run on the same
    images, and compared at every end point in float64 and float32. What the conversion changed is read off the target
    where no option says it. Exit status: 0 equal, 1 different, 2 trouble.
    """
    with status_line() as progress:
        report = verify_checkpoints(progress=progress, **options)
    if plot is not None:
        if report.forward is None:
            raise OptionError(f"there is nothing to plot: {report.forward_reason}")
        save_plot(report.forward, plot, f"{report.source.path} and {report.target.path}: {report.verdict}")
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report)
    ctx.exit(0 if report.verdict == EQUAL else 1)


def print_report(report: VerificationReport) -> None:
    """The report as people read it: the verdict first."""
    colour = "green" if report.verdict == EQUAL else "red"
    click.secho(report.verdict, fg=colour, bold=True)
    click.echo(f"  source   {_side_text(report.source)}")
    click.echo(f"  target   {_side_text(report.target)}")
    weights = report.weights
    click.echo(f"  weights  {weights.equal} of {weights.compared} tensors are equal bit for bit")
    for line in shortened([f"{each.name}: {each.kind}, {each.detail}" for each in weights.differences]):
        click.echo(f"           {printable(line)}")
    if report.forward is None:
        click.echo(f"  forward  not run: {printable(report.forward_reason or '')}")
    else:
        print_forward(report.forward)
    click.echo(f"  in {report.seconds:.1f} s")
    print_warnings(report.notes)


def print_forward(forward: ForwardResult) -> None:
    """The forward passes: the largest differences, and where the first one is."""
    sizes = ", ".join(f"{size} x {size}" for size in forward.input_sizes)
    n_points = len({point.name for point in forward.float64})
    click.echo(f"  forward  {n_points} end points, {forward.batch_size} images of {sizes}")
    worst64 = max(forward.float64, key=lambda point: point.max_rel_diff)
    worst32 = max(forward.float32, key=lambda point: point.max_rel_diff)
    print_columns(
        [
            [
                "float64",
                f"max relative difference {worst64.max_rel_diff:.1e}",
                f"limit {forward.limit:.1e}: {forward.limit_reason}",
            ],
            [
                "float32",
                f"max relative difference {worst32.max_rel_diff:.1e}",
                f"{forward.ratio:.2f} x the noise floor of {forward.noise_floor:.1e}",
            ],
        ],
        indent="           ",
    )
    first = forward.first_divergence
    if first is not None:
        click.echo(
            f"           first difference at {printable(first.name)} ({first.input_size} x {first.input_size}): "
            f"max abs {first.max_abs_diff:.3g}, relative {first.max_rel_diff:.1e}"
        )


def _side_text(side: Side) -> str:
    network = f", {side.variant} with {side.dialect} names" if side.variant else ""
    return printable(f"{side.path} ({side.format}{network})")
