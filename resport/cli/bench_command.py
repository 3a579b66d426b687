"""``resport bench``: how long a forward pass takes."""

from __future__ import annotations

import time
from typing import Any

import click

from resport.cli.output import print_columns, print_json
from resport.verification.timing import (
    DEFAULT_BURN_IN,
    DEFAULT_DIALECTS,
    DEFAULT_STEPS,
    FUNCTION,
    NATIVE,
    XLA,
    TimingReport,
    time_forward,
)

DEFAULT_VARIANT = "resnet_v2_152"
LINE_STEPS = 10


@click.command()
@click.argument("variant", default=DEFAULT_VARIANT)
@click.option(
    "--dialect",
    "dialects",
    metavar="D",
    multiple=True,
    default=DEFAULT_DIALECTS,
    show_default=True,
    help="whose builder is timed (repeatable)",
)
@click.option(
    "--batch-size", metavar="N", type=click.IntRange(min=1), default=32, show_default=True, help="images in a step"
)
@click.option(
    "--input-size",
    metavar="N",
    type=click.IntRange(min=1),
    show_default="the network's own",
    help="height and width of the images",
)
@click.option(
    "--steps", metavar="N", type=click.IntRange(min=1), default=DEFAULT_STEPS, show_default=True, help="counted steps"
)
@click.option(
    "--burn-in",
    metavar="N",
    type=click.IntRange(min=0),
    default=DEFAULT_BURN_IN,
    show_default=True,
    help="steps before these",
)
@click.option(
    "--threads", metavar="N", type=click.IntRange(min=1), show_default="all processors", help="threads of TensorFlow"
)
@click.option("--dtype", metavar="T", default="float32", show_default=True, help="float32 or float64")
@click.option("--function", "mode", flag_value=FUNCTION, help="compile each network into a tf.function")
@click.option("--xla", "mode", flag_value=XLA, help="compile each network with XLA")
@click.option("--json", "as_json", is_flag=True, help="print the report as one JSON object")
def bench(variant: str, dialects: tuple[str, ...], mode: str | None, as_json: bool, **options: Any) -> None:
    """Time the forward pass of VARIANT (default: resnet_v2_152) in the networks that resport builds.

    Each network gets random weights and images. After the burn-in steps a line is printed every ten steps, and at the
    end the mean and standard deviation of the seconds per batch.
    """
    report = time_forward(
        variant,
        tuple(dict.fromkeys(dialects)),
        mode=mode or NATIVE,
        progress=None if as_json else _print_step,
        **options,
    )
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report)


def _print_step(dialect: str, step: int, seconds: float) -> None:
    if step % LINE_STEPS == 0:
        click.echo(f"{time.strftime('%H:%M:%S')}  {dialect}: step {step}, {seconds:.3f} s")


def print_report(report: TimingReport) -> None:
    """The networks side by side."""
    n_steps, batch_size = len(report.timings[0].seconds), report.timings[0].batch_size
    click.echo(
        f"\n{report.variant}, {report.dtype}, {report.mode}: {n_steps} steps of {batch_size} images of "
        f"{report.input_size}x{report.input_size} after {report.burn_in}"
    )
    rows = [["", "seconds per batch", "images/s", "parameters", "multiply-adds per image"]]
    rows += [
        [
            timing.dialect,
            f"{timing.mean:.3f} ± {timing.deviation:.3f}",
            f"{timing.images_per_second:.1f}",
            f"{timing.parameters:,}",
            f"{timing.multiply_adds:,}",
        ]
        for timing in report.timings
    ]
    print_columns(rows, right=range(1, 5))
