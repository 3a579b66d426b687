"""Contexts that say more of an error than what raised it knows."""

from __future__ import annotations

from abc import abstractmethod
from types import TracebackType


class ErrorContext:
    """A context around work on a file.

    A class rather than a generator: it is entered several times for each tensor, and a generator takes three times as
    long.

    Args:
        path: the file or checkpoint, as the user gave it.
    """

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing is done before there is an error."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._say(error)

    @abstractmethod
    def _say(self, error: BaseException) -> None:
        """Raise the error that says more; return where this one is none to say more of."""
