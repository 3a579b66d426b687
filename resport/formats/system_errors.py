"""What the system says of a file, said of the checkpoint that it belongs to."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

from resport.errors import FormatError, ResportError, TargetWriteError
from resport.formats.error_context import ErrorContext

_FULL = (errno.ENOSPC, errno.EDQUOT)


class read_errors(ErrorContext):
    """Say of which file the system's error is that reading it gave: no permission, a broken disk, a name too long."""

    __slots__ = ()

    def _say(self, error: BaseException) -> None:
        if isinstance(error, OSError) and not isinstance(error, ResportError):
            said = f"`{self._path}` cannot be read: {error.strerror or error}"
            raise FormatError(said, path=self._path) from error


def with_read_errors(read: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """A reader's method within ``read_errors`` of the reader's path."""

    @functools.wraps(read)
    def said(reader: Any, name: str) -> Any:
        with read_errors(reader.path):
            return read(reader, name)

    return said


def with_read_errors_of_pieces(pieces: Callable[[Any, str], Iterator[Any]]) -> Callable[[Any, str], Iterator[Any]]:
    """``with_read_errors`` for a method that yields."""

    @functools.wraps(pieces)
    def said(reader: Any, name: str) -> Iterator[Any]:
        with read_errors(reader.path):
            yield from pieces(reader, name)

    return said


class write_errors(ErrorContext):
    """Say of which target the system's error is, and what it means."""

    __slots__ = ()

    def _say(self, error: BaseException) -> None:
        if isinstance(error, OSError) and not isinstance(error, ResportError):
            number = error.errno
            reason = os.strerror(number) if number else str(error)
            hint = "free some space, or give a target on another disk" if number in _FULL else None
            said = f"`{self._path}` cannot be written: {reason[:1].lower()}{reason[1:]}"
            raise TargetWriteError(said, hint=hint) from error
