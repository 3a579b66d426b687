"""``resport verify``: do two checkpoints compute the same?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

import resport
from resport.cli.output import print_json, status_line
from resport.cli.reading import checksum_option, reading_options
from resport.cli.verify_output import print_report
from resport.errors import OptionError
from resport.verification.report import EQUAL, VerificationReport

AGAINST_OPTIONS = (
    "weights_only",
    "family",
    "variant",
    "table",
    "kernel_order",
    "deviation_epsilon",
    "checksum",
)
"""What has a meaning where a stored reference stands for the source and for all that was said of it."""

BUILDER_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "none": None}


def builder_options(ctx: click.Context, parameter: click.Parameter, given: Sequence[str]) -> dict[str, Any]:
    """Options of a builder as ``NAME=VALUE``: numbers, ``true``, ``false`` and ``none`` are what they say."""
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"`{text}` is not of the form NAME=VALUE", ctx, parameter)
        options[name] = builder_value(value)
    return options


def builder_value(text: str) -> Any:
    """A value as a builder takes it."""
    if text.lower() in BUILDER_WORDS:
        return BUILDER_WORDS[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


@click.command()
@click.argument("source")
@click.argument("target", required=False)
@click.option("--weights-only", is_flag=True, help="compare the tensors and build no network")
@click.option(
    "--input-size",
    metavar="N",
    type=int,
    show_default="the network's own, and a small one",
    help="of the images; N + 1 is tried too",
)
@click.option("--batch-size", metavar="N", type=int, default=2, show_default=True, help="images in each pass")
@click.option(
    "--probe/--no-probe",
    default=None,
    show_default="where the file's own weights could hide a mistake",
    help="run both networks with random weights too, moved as the file's were",
)
@click.option("--thorough", is_flag=True, help="measure float32's noise with other threads and kernels too")
@click.option("--self-test", is_flag=True, help="make every known mistake on the target: is each of them caught?")
@click.option(
    "--diagnose/--no-diagnose", default=True, show_default=True, help="explain a difference by the known mistakes"
)
@click.option(
    "--build",
    multiple=True,
    metavar="NAME=VALUE",
    callback=builder_options,
    help="of the target's builder (repeatable)",
)
@click.option(
    "--build-source", multiple=True, metavar="NAME=VALUE", callback=builder_options, help="of the source's (repeatable)"
)
@click.option("--native", is_flag=True, help="run resport's networks even where a file describes its own model")
@click.option("--family", metavar="F", help="both sides' family, in place of detection")
@click.option("--variant", metavar="V", help="both sides' variant, in place of detection")
@click.option("--table", metavar="FILE", help="a mapping table of your own")
@click.option("--dtype", metavar="T", help="the target was stored as this dtype")
@click.option("--drop-background", is_flag=True, default=None, help="the target lacks the source's class 0")
@click.option("--ema", is_flag=True, default=None, help="the target has the source's moving averages")
@click.option("--fold", is_flag=True, default=None, help="the target has tensors taken into others")
@click.option("--swap-rgb", is_flag=True, default=None, help="the target takes images with their channels turned round")
@click.option("--ignore", multiple=True, metavar="GLOB", help="names that were left out (repeatable)")
@reading_options
@checksum_option
@click.option("--save-reference", metavar="DIR", help="store the proof, to be repeated with --against")
@click.option("--force", is_flag=True, help="replace a reference that is there")
@click.option(
    "--against", metavar="PATH", help="judge TARGET, given alone, by a stored reference (a folder) or manifest (a file)"
)
@click.option("--report", "page", metavar="FILE", help="write the report as one page (.html)")
@click.option("--plot", metavar="FILE", help="draw the difference at every end point (.png, .svg, .pdf)")
@click.option("--json", "as_json", is_flag=True, help="print the report as one JSON object")
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    source: str,
    target: str | None,
    against: str | None,
    page: str | None,
    plot: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Prove that TARGET computes what SOURCE computes.

    All weights are compared bit for bit; then both are loaded into networks of their own frameworks, run on the same
    images, and compared at every end point in float64 and float32. What the conversion changed is read off the target
    where no option says it. `--save-reference` stores the proof, and `--against` repeats it later without the source;
    with a manifest, which `resport inspect --manifest` writes, it compares every tensor with what is stored of it.
    Exit status: 0 equal, 1 different, 2 trouble (so is a self-test that missed a mistake).
    """
    if page is not None:
        from resport.verification.page import check_page_path, save_page

        check_page_path(page)
    if against is None and target is None:
        raise click.MissingParameter(ctx=ctx, param_hint="'TARGET'", param_type="argument")
    with status_line() as progress:
        if against is not None:
            report = resport.verify_against(against, source, progress=progress, **_against_options(ctx, target))
        else:
            report = resport.verify(source, str(target), progress=progress, **options)
    if plot is not None:
        if report.forward is None:
            raise OptionError(f"there is nothing to plot: {report.forward_reason}")
        from resport.verification.plot import save_plot

        save_plot(report.forward, plot, f"{report.source.path} and {report.target.path}: {report.verdict}")
    if page is not None:
        save_page(report, page)
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report)
    ctx.exit(exit_status(report))


def exit_status(report: VerificationReport) -> int:
    """0 equal, 1 different, 2 equal by a check that lets a known mistake pass."""
    if report.verdict != EQUAL:
        return 1
    return 0 if report.self_test is None or report.self_test.is_passed else 2


def _against_options(ctx: click.Context, target: str | None) -> dict[str, Any]:
    """The options that go with a reference.

    Raises:
        UsageError: one was given that doesn't.
    """
    if target is not None:
        raise click.UsageError("--against takes the TARGET alone: the reference stands for the source", ctx)
    fitting = {"source", "target", "against", "page", "plot", "as_json", *AGAINST_OPTIONS}
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name not in fitting and ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} has no meaning with --against: the reference says it", ctx)
    return {name: ctx.params[name] for name in AGAINST_OPTIONS}
