"""What the commands share for printing: safe text, sizes, JSON, columns and the progress bar."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

PROGRESS_DELAY_SECONDS = 1.0
PROGRESS_INTERVAL_SECONDS = 0.1


def printable(text: str, *, lines: bool = False) -> str:
    """Text from a file with its control characters escaped, so that a name can't command the terminal.

    Args:
        text: what is to be printed.
        lines: whether it is several lines; a name is one, or it could draw a row of a table that isn't there.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or (lines and char == "\n") else ascii(char)[1:-1] for char in text)


def size_text(nbytes: int) -> str:
    """Bytes as people read them: ``102.5 MB``."""
    if nbytes < 1000:
        return f"{nbytes} bytes"
    power = min((len(str(nbytes)) - 1) // 3, 4)
    return f"{nbytes / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def shape_text(shape: Sequence[int]) -> str:
    """A shape as it is written in Python."""
    return str(tuple(shape))


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object to stdout; NaN and infinity, which JSON has not, become text."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    # JSON itself allows what a terminal obeys: the control characters from 128 on, and those that turn text round.
    click.echo("".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text))


def print_warnings(warnings: Sequence[str]) -> None:
    """Print warnings to stderr."""
    for warning in warnings:
        click.secho("note", fg="yellow", nl=False, err=True)
        click.echo(f": {printable(warning)}", err=True)


def print_columns(rows: Sequence[Sequence[str]], right: Sequence[int] = (), indent: str = "") -> None:
    """Print rows as aligned columns.

    Args:
        rows: cells of text.
        right: columns that are aligned to the right.
        indent: in front of each row.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + "  ".join(cells)).rstrip())
    if lines:  # all at once: each `echo` is a call of the system
        click.echo("\n".join(lines))


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar of bytes, rate and time left on stderr where that is a terminal; None elsewhere.

    It comes when the work has taken ``PROGRESS_DELAY_SECONDS``: what is quicker needs no bar, nor the time to load one.

    Yields:
        A function of the bytes done and those to do in all.
    """
    if not sys.stderr.isatty():
        yield None
        return
    bar = _LateBar(description)
    try:
        yield bar.update
    finally:
        bar.stop()


class _LateBar:
    """A progress bar that is drawn from the first update after the delay on."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._next = time.monotonic() + PROGRESS_DELAY_SECONDS
        self._progress: Any = None

    def update(self, done: int, total: int) -> None:
        """Say how far it is; called often, drawn seldom."""
        now = time.monotonic()
        if now < self._next and done < total:
            return
        if self._progress is None:
            if now < self._next:
                return
            self._progress = _drawn_bar()
            self._progress.add_task(self._description, total=total)
            self._progress.start()
        self._next = now + PROGRESS_INTERVAL_SECONDS
        self._progress.update(self._progress.task_ids[0], completed=done)

    def stop(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()


def _drawn_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


@contextmanager
def status_line() -> Iterator[Callable[[str], None] | None]:
    """A spinner with one line of text on stderr where that is a terminal; None elsewhere.

    Yields:
        A function that changes the text.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("reading") as status:
        yield lambda text: status.update(text)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
