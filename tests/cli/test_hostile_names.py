"""Names out of files never command the terminal, nor draw rows that aren't there, whichever command prints them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from resport.cli.main import main
from resport.formats import open_writer
from resport.tensors import TensorSpec

NAME = "evil\x1b[2J\x1b]0;owned\x07\r\nfc/kernel  (9, 9)  float32\u202e"
COMMANDS = {
    "inspect": ["inspect", "a.safetensors"],
    "stats": ["inspect", "a.safetensors", "--stats"],
    "json": ["inspect", "a.safetensors", "--json"],
    "convert": ["convert", "a.safetensors", "c.npz"],
    "refused": ["convert", "a.safetensors", "c.h5", "--to", "keras"],
    "diff": ["diff", "a.safetensors", "b.safetensors"],
    "verify": ["verify", "a.safetensors", "b.safetensors", "--weights-only"],
    "explain": ["mappings", "explain", NAME],
    "path": ["inspect", NAME],
}


def write(path: Path, names: list[str]) -> None:
    with open_writer(path, [TensorSpec(name, (2,), "float32") for name in names]) as writer:
        for number, name in enumerate(names):
            writer.write(name, np.full(2, number + len(names), "float32"))


def run(arguments: list[str]) -> Result:
    return CliRunner().invoke(command(), arguments)


def command() -> object:
    """The command line as one function of its arguments, exit status and all."""
    import click

    @click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True}, add_help_option=False)
    @click.pass_context
    def whole(context: click.Context) -> None:
        main(context.args)

    return whole


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_obeys_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.safetensors", [NAME, "other"])
    write(tmp_path / "b.safetensors", [NAME, "another", "third"])
    result = run(COMMANDS[name])
    printed = result.output
    assert "evil" in printed or name == "convert", printed
    assert not set(printed) & set("\x1b\x07\r\u202e"), printed
    assert not any(line.lstrip().startswith("fc/kernel") for line in printed.splitlines()), printed
