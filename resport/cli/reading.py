"""The options that tell how an old source is to be read, which all commands share that read one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]


def checksum_option(command: Command) -> Command:
    """Add the option that reads what is damaged."""
    return click.option(
        "--checksum/--no-checksum", default=True, help="hold values against the checksums of a TF checkpoint"
    )(command)


def reading_options(command: Command) -> Command:
    """Add the options to a command."""
    options = [
        click.option(
            "--kernel-order",
            metavar="ORDER",
            help="how a Keras HDF5 file has its convolution kernels (hwio, oihw, hwio-flipped, oihw-flipped)",
        ),
        click.option(
            "--deviation-epsilon",
            metavar="E",
            type=float,
            help="batch norm's epsilon in a file older than Keras 1.0.6: turns its deviations into variances",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command
