"""``resport mappings``: the tables themselves."""

from __future__ import annotations

import click

from resport.cli.output import print_columns, printable
from resport.errors import OptionError, TableError
from resport.formats import open_reader
from resport.mapping import Parameter, detect, expand, load_table, shipped_tables, table_paths
from resport.mapping.axes import AxisMove
from resport.mapping.checking import CHECK_CLASSES, CHECK_SIZES, check_against, check_table
from resport.mapping.expansion import Expansion
from resport.mapping.folding import fold_digits, fold_numbers


@click.group()
def mappings() -> None:
    """List, show and check the mapping tables."""


@mappings.command("list")
def list_tables() -> None:
    """List the families with their variants, dialects and tensor counts."""
    rows = [["family", "variant", "dialect", "tensors"]]
    for table in shipped_tables():
        for variant in table.variants:
            expansion = expand(table, variant)
            for dialect in table.dialects:
                rows.append([table.family, variant, dialect, str(len(expansion.by_name[dialect]))])
    print_columns(rows, right=[3])


@mappings.command()
@click.argument("family")
@click.option("--variant", metavar="V", help="which variant to expand; the first one if not given")
@click.option("--all", "show_all", is_flag=True, help="a row for each tensor instead of folded ones")
def show(family: str, variant: str | None, show_all: bool) -> None:
    """Show the table of FAMILY, or a table file, expanded for a variant: names in every dialect, axes and shapes.

    Below them stands what the table says of each pair of dialects: equal, transformed, graph or different.
    """
    table = load_table(family)
    expansion = expand(table, variant or next(iter(table.variants)), num_classes=CHECK_CLASSES)
    rows = [[*table.dialects, "axes", "shape"]]
    groups: dict[tuple[object, ...], list[Parameter]] = {}
    for position, parameter in enumerate(expansion.parameters):
        folded = fold_digits(parameter.names[_home(parameter)][0])
        key = (position,) if show_all else (parameter.group, parameter.row, folded)
        groups.setdefault(key, []).append(parameter)
    rows.extend(_row(expansion, members) for members in groups.values())
    click.echo(f"{expansion.variant}, of table `{table.family}`")
    print_columns(rows)
    for relation in table.relations:
        click.echo(f"{relation.kind}: {relation.sentence}")


@mappings.command()
@click.argument("files", nargs=-1)
@click.option(
    "--against", metavar="CHECKPOINT", help="also compare the table with this real checkpoint's names and shapes"
)
@click.option("--variant", metavar="V", help="the variant that the checkpoint holds, in place of detection")
def check(files: tuple[str, ...], against: str | None, variant: str | None) -> None:
    """Check tables: every rule of the language, every variant, every pair of dialects.

    Without FILES the shipped tables are checked.
    """
    if against and len(files) != 1:
        raise OptionError("`--against` compares one table with one checkpoint", got=f"{len(files)} tables")
    for file in files or [str(path) for path in table_paths()]:
        table = load_table(file)
        for line in check_table(table):
            click.echo(f"{table.family}: {line}")
        if against:
            _check_checkpoint(file, against, variant)


@mappings.command()
@click.argument("tensor")
@click.option("--variant", metavar="V", help="look in this variant alone")
@click.option("--table", metavar="FILE", help="look in this table alone")
def explain(tensor: str, variant: str | None, table: str | None) -> None:
    """Show what TENSOR, a name of any dialect, is called in the others, and how its axes move."""
    found = False
    for each in shipped_tables() if table is None else [load_table(table)]:
        for name in each.variants if variant is None else [v for v in each.variants if v == variant]:
            expansion = expand(each, name)
            for dialect in each.dialects:
                parameter = expansion.by_name[dialect].get(tensor)
                if parameter is not None:
                    found = True
                    _explain(expansion, parameter)
                    break
    if not found:
        raise OptionError(f"no table has a tensor `{tensor}`", hint="give the full name, as `resport inspect` lists it")


def _row(expansion: Expansion, members: list[Parameter]) -> list[str]:
    """One row of ``show``: parameters that differ only by numbers."""
    cells = [printable(_cell(members, dialect)) for dialect in expansion.table.dialects]
    shapes = [str(member.shape(_home(member), CHECK_SIZES) or "") for member in members]
    several = f"{shapes[0]} … {shapes[-1]}" if shapes[0] != shapes[-1] else shapes[0]
    return [*cells, _axes_text(members[0]), several]


def _cell(members: list[Parameter], dialect: str) -> str:
    names = [name for member in members for name in member.names[dialect]]
    return fold_numbers(names) if names else f"={members[0].constants[dialect]:g}"


def _home(parameter: Parameter) -> str:
    """The first dialect that has a tensor for a parameter."""
    return next(dialect for dialect, names in parameter.names.items() if names)


def _axes_text(parameter: Parameter) -> str:
    """The axes of a parameter in its dialects, once where they are all alike."""
    texts = dict.fromkeys(str(parameter.axes[dialect]) for dialect, names in parameter.names.items() if names)
    return " | ".join(texts)


def _explain(expansion: Expansion, parameter: Parameter) -> None:
    home = _home(parameter)
    click.echo(
        f"{expansion.variant}, group {parameter.group} of table `{expansion.table.family}`, row `{parameter.row}`"
    )
    rows = []
    for dialect in expansion.table.dialects:
        names = parameter.names[dialect]
        text = fold_numbers(names) if names else f"no tensor, {parameter.constants[dialect]:g} throughout"
        shape = parameter.shape(dialect)
        move = parameter.move(home, dialect, {**_unknown_sizes(parameter), **parameter.sizes}) if names else None
        rows.append(
            [
                dialect,
                printable(text),
                f"axes `{parameter.axes[dialect]}`",
                str(shape or ""),
                _move_text(home, dialect, move),
            ]
        )
    print_columns(rows, indent="  ")


def _unknown_sizes(parameter: Parameter) -> dict[str, int]:
    """A stand-in for sizes that a pattern does not need."""
    return {name: 0 for axes in parameter.axes.values() for name in axes.names}


def _move_text(home: str, dialect: str, move: AxisMove | None) -> str:
    if move is None or dialect == home:
        return ""
    return f"as in {home}" if move.is_identity else f"from {home}: {move.pattern}"


def _check_checkpoint(file: str, checkpoint: str, variant: str | None) -> None:
    """Compare one table with one checkpoint.

    Raises:
        TableError: names or shapes differ.
    """
    table = load_table(file)
    with open_reader(checkpoint) as reader:
        detection = detect(reader.manifest, [table], variant=variant)
        problems = check_against(detection, reader.manifest)
    if problems:
        raise TableError(f"{detection.variant} differs from `{checkpoint}`: " + "; ".join(problems), file=file)
    click.echo(
        f"{table.family}: {detection.variant} ({detection.dialect}) equals {printable(checkpoint)} "
        "in every name and shape"
    )
