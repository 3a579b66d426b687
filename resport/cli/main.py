"""The command ``resport``: finds the subcommand, runs it, and turns every error into one message and an exit status.

Exit status as ``cmp`` has it: 0 done or equal, 1 different, 2 trouble. Each subcommand is imported when it is called,
so that ``resport --help`` and ``resport inspect`` stay quick.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import NoReturn

import click

from resport import __version__
from resport.errors import ResportError

COMMANDS = {
    "inspect": ("resport.cli.inspect_command", "what is in a checkpoint"),
    "convert": ("resport.cli.convert_command", "convert a checkpoint to another format and dialect"),
    "slim-to-keras": ("resport.cli.convert_command", "convert slim names and layouts to those of Keras"),
    "keras-to-slim": ("resport.cli.convert_command", "convert Keras names and layouts to those of slim"),
    "verify": ("resport.cli.verify_command", "prove that two checkpoints compute the same"),
    "diff": ("resport.cli.diff_command", "compare two checkpoints tensor by tensor"),
    "init": ("resport.cli.init_command", "make a checkpoint of random weights"),
    "mappings": ("resport.cli.mappings_command", "list, show and check the mapping tables"),
    "bench": ("resport.cli.bench_command", "time the forward pass of a network"),
    "demo": ("resport.cli.demo_command", "convert a network there and back, and prove it"),
}

EXIT_TROUBLE = 2
SWITCH_INTERVAL_SECONDS = 0.0005


class Commands(click.Group):
    """The subcommands, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="resport")
def resport() -> None:
    """Convert the weights of convolutional networks between formats and frameworks, exactly, and prove it."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status."""
    # A thread hashes the source meanwhile. Whenever it comes back from the system it waits for its turn, which while a
    # conversion is planned is as long as this: at Python's own 5 ms it would get nowhere.
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    try:
        status = resport.main(arguments, prog_name="resport", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our pipe has gone (`| head`): not an error, but nothing more can be written, at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_TROUBLE)
    except (KeyboardInterrupt, click.Abort) as error:
        fail("interrupted: an output is as it was before, or complete", _hint(error))
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_TROUBLE)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except ResportError as error:
        if "--json" in (sys.argv[1:] if arguments is None else arguments):
            from resport.cli.output import print_json

            print_json({"error": error.to_dict()})
        fail(str(error), error.hint)
    except MemoryError as error:
        fail("there is not enough memory for the largest tensor", _hint(error))
    except OSError as error:
        fail(f"{error.strerror or error}" + (f", `{error.filename}`" if error.filename else ""), _hint(error))
    # What is left goes with the process. To look for cycles in it, as Python does at its end, takes 20 ms.
    gc.freeze()
    sys.exit(status if isinstance(status, int) else 0)


def _hint(error: BaseException) -> str | None:
    """What was noted on an error that has no hint of its own."""
    # Click makes an Abort of Ctrl-C.
    notes = getattr(error, "__notes__", None) or getattr(error.__context__, "__notes__", [])
    return "; ".join(notes) or None


def fail(message: str, hint: str | None = None) -> NoReturn:
    """Print an error as every command prints it, and exit with status 2."""
    from resport.cli.output import printable

    click.secho("error", fg="red", bold=True, nl=False, err=True)
    click.echo(f": {printable(message, lines=True)}", err=True)
    if hint:
        click.secho("hint", fg="cyan", nl=False, err=True)
        click.echo(f": {printable(hint, lines=True)}", err=True)
    sys.exit(EXIT_TROUBLE)
