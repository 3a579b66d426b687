"""``resport convert``, and ``slim-to-keras`` and ``keras-to-slim``, which are it with both dialects given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

import resport
from resport.cli.output import print_json, print_warnings, printable, progress_bar, size_text
from resport.cli.reading import checksum_option, reading_options
from resport.conversion import ConversionReport
from resport.mapping.folding import fold_names, shortened

Command = Callable[..., None]


def conversion_options(command: Command) -> Command:
    """The options that all three commands have."""
    options: list[Callable[[Command], Command]] = [
        click.argument("source"),
        click.argument("target"),
        click.option("--family", metavar="F", help="the source's family, in place of detection"),
        click.option("--variant", metavar="V", help="the source's variant, in place of detection"),
        click.option("--table", metavar="FILE", help="a mapping table of your own"),
        click.option(
            "--dtype", metavar="T", help="store floating-point tensors as this dtype (float16, bfloat16, ...)"
        ),
        click.option("--drop-background", is_flag=True, help="cut class 0 off the classifier (1001 classes to 1000)"),
        click.option("--ema", is_flag=True, help="take the moving averages in place of the raw variables"),
        click.option("--fold", is_flag=True, help="take tensors that the target lacks into those that it has"),
        click.option("--swap-rgb", is_flag=True, help="turn the input's colour channels round (RGB to BGR and back)"),
        click.option("--ignore", multiple=True, metavar="GLOB", help="leave out tensors of these names (repeatable)"),
        reading_options,
        click.option("--dry-run", is_flag=True, help="plan and check, write nothing"),
        click.option("--force", is_flag=True, help="replace an existing target"),
        click.option("--format", metavar="ID", help="the target's format, in place of what its name tells"),
        click.option("--max-shard-size", metavar="SIZE", help="split safetensors into files of this size (500MB, 2GB)"),
        click.option("--n-shards", type=int, metavar="N", help="split a TensorFlow checkpoint into N data files"),
        click.option("--write-state", is_flag=True, help="also write TensorFlow's `checkpoint` file beside the target"),
        checksum_option,
        click.option("--readback/--no-readback", default=True, help="read the target again before it takes its place"),
        click.option(
            "--resume",
            is_flag=True,
            help="go on with an interrupted conversion; leave this one's work if it is interrupted",
        ),
        click.option("--json", "as_json", is_flag=True, help="print the report as one JSON object"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@conversion_options
@click.option("--from", "from_", metavar="D", help="the source's dialect, in place of detection")
@click.option("--to", metavar="D", help="the target's dialect (slim, keras, ...); without it nothing is renamed")
def convert(**arguments: Any) -> None:
    """Convert the checkpoint SOURCE to TARGET, whose name tells the format.

    `.safetensors`, `.npz`, `.weights.h5` (Keras 3), `.h5` or `.hdf5` (Keras 1 and 2, which Keras 3 reads too) and
    `.keras` (a whole Keras 3 model) are files; any other name is the prefix of a TensorFlow checkpoint.
    """
    run(**arguments)


@click.command("slim-to-keras")
@conversion_options
def slim_to_keras(**arguments: Any) -> None:
    """Convert a checkpoint with slim's names, SOURCE, to one with those of Keras, TARGET."""
    run(from_="slim", to="keras", **arguments)


@click.command("keras-to-slim")
@conversion_options
def keras_to_slim(**arguments: Any) -> None:
    """Convert a checkpoint with the names of Keras, SOURCE, to one with slim's, TARGET."""
    run(from_="keras", to="slim", **arguments)


def run(source: str, target: str, as_json: bool, **options: Any) -> None:
    """Convert and print the report."""
    with progress_bar("converting") as progress:
        # Only the JSON has the target's digest.
        report = resport.convert(source, target, target_digest=as_json, progress=progress, **options)
    if as_json:
        print_json(report.to_dict())
        return
    print_report(report)
    if options["resume"] and not report.dry_run:
        print_resumed(report)
    print_warnings(report.warnings)


def print_report(report: ConversionReport) -> None:
    """The report as people read it."""
    renamed = (
        f"{report.variant}, {report.source_dialect} to {report.target_dialect}" if report.variant else "names kept"
    )
    verb = "would write" if report.dry_run else "wrote"
    click.echo(f"{verb} {printable(report.target)} ({report.target_format})")
    click.echo(f"  {renamed}" + (f", {report.num_classes} classes" if report.num_classes else ""))
    click.echo(
        f"  {report.moved} tensors moved, {len(report.filled)} filled, {len(report.ignored)} left out; "
        f"{report.n_targets} written, {size_text(report.nbytes)} in {report.seconds:.2f} s"
    )
    if report.options:
        changes = ", ".join(name if value is True else f"{name} {value}" for name, value in report.options.items())
        click.echo(f"  values changed by: {changes}")
    for value in dict.fromkeys(fill.value for fill in report.filled):
        names = [fill.target.name for fill in report.filled if fill.value == value]
        _print_list(f"filled with {value:g}", names)
    for rule in dict.fromkeys(each.rule for each in report.ignored):
        _print_list(f"left out ({rule})", [each.name for each in report.ignored if each.rule == rule])


def print_resumed(report: ConversionReport) -> None:
    """How much was there of an interrupted conversion."""
    if report.n_resumed:
        click.echo(f"  {report.n_resumed} of them, {size_text(report.resumed_nbytes)}, had been written before")
    else:
        click.echo("  nothing was there to go on from")


def _print_list(heading: str, names: list[str]) -> None:
    click.echo(f"  {heading}:")
    for line in shortened(fold_names(names)):
        click.echo(f"    {printable(line)}")
