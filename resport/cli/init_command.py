"""``resport init``: a checkpoint of random, sensitive weights."""

from __future__ import annotations

from typing import Any

import click

from resport.cli.output import printable, size_text
from resport.conversion.initialization import DEFAULT_EMBEDDING, initialize
from resport.mapping.expansion import DEFAULT_CLASSES


@click.command()
@click.argument("variant")
@click.argument("target")
@click.option("--dialect", metavar="D", default="slim", show_default=True, help="whose names it gets")
@click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="the same seed gives the same bytes",
)
@click.option(
    "--num-classes",
    metavar="N",
    type=click.IntRange(min=1),
    default=DEFAULT_CLASSES,
    show_default=True,
    help="size of the classifier",
)
@click.option(
    "--embedding-size",
    metavar="N",
    type=click.IntRange(min=1),
    default=DEFAULT_EMBEDDING,
    show_default=True,
    help="number of values of the embedding, in networks that have one",
)
@click.option("--dtype", metavar="T", default="float32", show_default=True, help="of every tensor")
@click.option("--table", metavar="FILE", help="a mapping table of your own that has the variant")
@click.option("--force", is_flag=True, help="replace an existing target")
def init(variant: str, target: str, dialect: str, **options: Any) -> None:
    """Write random weights for VARIANT to TARGET, such that every mistake of a conversion shows.

    No bias is zero, no variance one, some gammas are negative. No framework is needed.
    """
    specs = initialize(variant, target, dialect=dialect, **options)
    click.echo(
        f"wrote {printable(target)}: {variant}, {dialect} names, {len(specs)} tensors, {size_text(specs.nbytes)}"
    )
