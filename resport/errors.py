"""Every error that resport raises on purpose.

    ResportError
      SourceNotFoundError      nothing to read at that path                 also FileNotFoundError
      TargetExistsError        something is there, and --force was not given also FileExistsError
      TargetWriteError         the target could not be written; it is as before  also OSError
      OptionError              an argument that cannot be meant              also ValueError
      FormatError              the file is damaged, or not of this format   (path, offset)
        UnknownFormatError     no reader knows this content                 also ValueError
        ChecksumError          the bytes are not those that were written
      TableError               a mapping table is wrong                     (file, group, row)
      DetectError              no family explains these names               (candidates)
      PlanError                the conversion would lose or invent weights  (problems)
      ParityError              verification found a difference              (report)
      MissingDependencyError   an optional package is needed                also ImportError

The message says what is wrong and where, in one line without a full stop; ``expected`` and ``got`` stand on lines of
their own; ``hint`` is what to type or edit next. The command line prints all of them, a library user finds them as
attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class ResportError(Exception):
    """Base of all errors that resport raises on purpose.

    Args:
        message: what is wrong and where; lower case, one line, no full stop.
        expected: what should have been there.
        got: what was there.
        hint: one command or one edit that gets the user on.
    """

    def __init__(
        self,
        message: str,
        *,
        expected: object = None,
        got: object = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.got = got
        self.hint = hint

    def __str__(self) -> str:
        lines = [_harmless(self.message)]
        if self.expected is not None:
            lines.append(f"  expected: {_harmless(self.expected)}")
        if self.got is not None:
            lines.append(f"  got:      {_harmless(self.got)}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "kind": type(self).__name__,
            "message": self.message,
            "expected": None if self.expected is None else str(self.expected),
            "got": None if self.got is None else str(self.got),
            "hint": self.hint,
        }


def _harmless(value: object) -> str:
    """A value out of a file as one line that a terminal shows and does not obey."""
    text = str(value)
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class SourceNotFoundError(ResportError, FileNotFoundError):
    """There is nothing to read at the given path."""


class TargetExistsError(ResportError, FileExistsError):
    """The target exists and was not allowed to be replaced."""


class TargetWriteError(ResportError, OSError):
    """The system refused to write the target, which is as it was before."""


class OptionError(ResportError, ValueError):
    """An argument or option that cannot be meant."""


class FormatError(ResportError):
    """A file is damaged, hostile, or not of the format it was opened as.

    Args:
        path: the file that is wrong, as the user gave it.
        offset: byte offset of the fault in that file, where one is known.
    """

    def __init__(self, message: str, *, path: str = "", offset: int | None = None, **details: Any) -> None:
        # One line, whatever name out of the file stands in it.
        super().__init__(_harmless(message), **details)
        self.path = path
        self.offset = offset


class UnknownFormatError(FormatError, ValueError):
    """No reader recognises the content, or no writer the name."""


class ChecksumError(FormatError):
    """Stored and computed checksums differ: the bytes are not those that were written."""


class TableError(ResportError):
    """A mapping table breaks a rule of the language.

    Args:
        file: the table's path.
        group: number of the group in the file, from 1.
        row: the row's first cell.
    """

    def __init__(
        self, message: str, *, file: str = "", group: int | None = None, row: str | None = None, **details: Any
    ) -> None:
        place = f"`{file}`" if file else "table"
        if group is not None:
            place += f", group {group}"
        if row is not None:
            place += f", row `{row}`"
        super().__init__(f"{place}: {message}", **details)
        self.file = file
        self.group = group
        self.row = row


class DetectError(ResportError):
    """No family, or more than one, explains the names of a checkpoint.

    Args:
        candidates: the nearest detections, best first.
    """

    def __init__(self, message: str, *, candidates: Sequence[Any] = (), **details: Any) -> None:
        super().__init__(message, **details)
        self.candidates = tuple(candidates)


class PlanError(ResportError):
    """A conversion would lose, invent or change weights; nothing was written.

    Args:
        problems: the lines that are printed; long lists are folded and cut.
        by_kind: all of it, by kind of problem: nothing is folded or cut.
    """

    def __init__(
        self,
        message: str,
        *,
        problems: Sequence[str] = (),
        by_kind: Mapping[str, Sequence[str]] | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, **details)
        self.problems = tuple(problems)
        self.by_kind = {kind: tuple(each) for kind, each in (by_kind or {"problems": problems}).items()}

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  {_harmless(problem)}" for problem in self.problems)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with all problems by kind."""
        return {**super().to_dict(), "problems": {kind: list(lines) for kind, lines in self.by_kind.items()}}


class ParityError(ResportError):
    """Two checkpoints do not compute the same function.

    Args:
        report: the verification report that says so.
    """

    def __init__(self, message: str, *, report: Any = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.report = report


class MissingDependencyError(ResportError, ImportError):
    """An optional package is needed for what was asked."""
