"""``resport init``: a checkpoint of random, sensitive weights."""

from __future__ import annotations

import click

from resport.cli.output import printable, size_text
from resport.conversion.initialization import DEFAULT_CLASSES, initialize


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
@click.option("--dtype", metavar="T", default="float32", show_default=True, help="of every tensor")
@click.option("--table", metavar="FILE", help="a mapping table of your own that has the variant")
@click.option("--force", is_flag=True, help="replace an existing target")
def init(
    variant: str, target: str, dialect: str, seed: int, num_classes: int, dtype: str, table: str | None, force: bool
) -> None:
    """Write random weights for VARIANT to TARGET, such that every mistake of a conversion shows.

    No bias is zero, no variance one, some gammas are negative. No framework is needed.
    """
    specs = initialize(
        variant, target, dialect=dialect, seed=seed, num_classes=num_classes, dtype=dtype, table=table, force=force
    )
    click.echo(
        f"wrote {printable(target)}: {variant}, {dialect} names, {len(specs)} tensors, {size_text(specs.nbytes)}"
    )
