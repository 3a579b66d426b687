"""The command-line reference, docs/cli.md, out of the commands' own help: ``python -m resport.cli.reference``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from resport.cli.main import resport

HEADING = """# Command line

Data goes to stdout, everything else to stderr. Exit status: 0 done or equal, 1 different, 2 trouble.
`resport COMMAND --help` prints what is here.
"""

HELP_WIDTH = 100


def reference() -> str:
    """The whole page."""
    return "\n".join([HEADING, *(_section(path, command) for path, command in _commands("resport", resport))])


def _commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _commands(f"{path} {name}", child)


def _section(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path, terminal_width=HELP_WIDTH, help_option_names=["-h", "--help"])
    return f"## {path}\n\n```text\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
