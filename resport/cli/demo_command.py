"""``resport demo``: the main job from beginning to end, each step as the command that one would type."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import click

DEMO_STEPS = (
    ("make a slim checkpoint of random weights", "init {variant} slim/model.ckpt-0 --num-classes 1001"),
    ("look into it", "inspect slim/model.ckpt-0 --folded"),
    ("convert it to Keras", "slim-to-keras slim/model.ckpt-0 model.h5"),
    ("prove that both compute the same", "verify slim/model.ckpt-0 model.h5 --input-size {input_size}"),
    ("convert it back", "keras-to-slim model.h5 back/model.ckpt-0"),
    ("compare the first checkpoint and the last", "diff slim/model.ckpt-0 back/model.ckpt-0"),
)


@click.command()
@click.option("--variant", metavar="V", default="resnet_v2_50", show_default=True, help="the network")
@click.option(
    "--input-size", metavar="N", type=click.IntRange(min=1), default=224, show_default=True, help="of the images"
)
@click.option("--folder", metavar="DIR", help="keep the files in this folder; a temporary one is used if not given")
@click.pass_context
def demo(ctx: click.Context, variant: str, input_size: int, folder: str | None) -> None:
    """Convert a network from slim to Keras and back, and prove that it stays the same."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(folder or temporary)
        for name in ("slim", "back"):
            (place / name).mkdir(parents=True, exist_ok=True)
        for purpose, arguments in DEMO_STEPS:
            command = arguments.format(variant=variant, input_size=input_size)
            click.secho(f"\n# {purpose}", dim=True)
            click.secho(f"$ resport {command}", bold=True)
            status = subprocess.run([sys.executable, "-m", "resport", *shlex.split(command)], cwd=place).returncode
            if status:
                ctx.exit(status)
