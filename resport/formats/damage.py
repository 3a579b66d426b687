"""Saying where a file is damaged: the parsers raise the bare fact, and the place is added once, above them.

A parser of varints, messages or blocks knows neither the file nor the tensor, and handing both down through every call
would bury what the parser does. It raises ``FormatError`` without a path; whoever knows more wraps the call.
"""

from __future__ import annotations

from resport.errors import FormatError
from resport.formats.error_context import ErrorContext

QUOTED_NAME_LENGTH = 200
MAX_TEXTS = 1 << 20
"""Of one tensor: each takes some fifty bytes of memory, however few it has in the file; a vocabulary has fewer."""


class located(ErrorContext):
    """Add what was read, and from which file, to the ``FormatError`` of a parser that knows neither.

    Args:
        what: the part of the file.
        path: the file as the user gave it.
        name: the tensor that the part belongs to.
    """

    __slots__ = ("_name", "_what")

    def __init__(self, what: str, path: str, name: str | None = None) -> None:
        super().__init__(path)
        self._what = what
        self._name = name

    def _say(self, error: BaseException) -> None:
        if isinstance(error, FormatError) and not error.path:
            part = self._what if self._name is None else f"{self._what} {quoted(self._name)}"
            raise type(error)(
                f"{part} in `{self._path}` is damaged: {error.message}",
                path=self._path,
                offset=error.offset,
                expected=error.expected,
                got=error.got,
                hint=error.hint,
            ) from None


def check_text_count(n_texts: int) -> None:
    """Refuse more texts than memory should be taken for.

    Raises:
        FormatError: there are too many.
    """
    if n_texts > MAX_TEXTS:
        raise FormatError(
            "it has more texts than any file of weights", expected=f"at most {MAX_TEXTS}", got=f"{n_texts} texts"
        )


def quoted(name: str) -> str:
    """A tensor's name for a message: in backticks, cut, and without what a terminal cannot show or would obey."""
    if not name.isprintable():
        name = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
    return f"`{name}`" if len(name) <= QUOTED_NAME_LENGTH else f"`{name[:QUOTED_NAME_LENGTH]}…`"
