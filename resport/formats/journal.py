"""What a run has written so far, noted beside it, so that another can go on where it was interrupted.

The journal is a file in the staging folder: JSON, a line for the work that is being done, then a line for each tensor
when its bytes have been handed to the system, with their checksum. Lines are written at the end, those of small tensors
several at once. A process that is killed so leaves whole lines, and at most a part of one behind them, which counts for
nothing. Of a machine that loses its power a line may be left and its bytes not; the checksum tells.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from resport.formats.json_text import JSON_MAX_BYTES, parse_json
from resport.formats.positioned import read_at

JOURNAL_NAME = ".resport-journal"
"""No file of a checkpoint that can be gone on with has such a name: they have endings."""
JOURNAL_VERSION = 1

JOURNAL_NOTED_BYTES = 4 << 20
"""Of so many bytes of tensors the lines are written at once: a process that is killed loses no more work than that."""


class Journal:
    """An open journal.

    Args:
        handle: the file, open at its end.
        written: the checksums that are noted in it, by the names of the tensors.
        is_kept: whether the run was asked to leave what it has written, where it is interrupted.
    """

    def __init__(self, handle: int, written: Mapping[str, int], *, is_kept: bool) -> None:
        self._handle = handle
        self.written = dict(written)
        self.is_kept = is_kept
        self._lines: list[str] = []
        self._n_bytes = 0

    def add(self, name: str, crc: int, n_bytes: int) -> None:
        """Note that a tensor of so many bytes is written, and its checksum; it stands for an earlier of that name."""
        self._lines.append(f"[{json.dumps(name)},{crc}]\n")
        self.written[name] = crc
        self._n_bytes += n_bytes
        if self._n_bytes >= JOURNAL_NOTED_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is not written yet, and close the file. Closing twice is allowed."""
        if self._handle >= 0:
            try:
                self._flush()
            finally:
                handle, self._handle = self._handle, -1
                os.close(handle)

    def _flush(self) -> None:
        lines, self._lines, self._n_bytes = self._lines, [], 0
        _append(self._handle, "".join(lines))


class Noted(NamedTuple):
    """What stands in a journal.

    Attributes:
        work: what was being written, and out of what.
        written: the checksum of each tensor that was written.
        n_bytes: length of the lines that are whole.
    """

    work: Mapping[str, Any]
    written: Mapping[str, int]
    n_bytes: int


def begin_journal(folder: str, work: Mapping[str, Any], *, is_kept: bool) -> Journal:
    """Begin a journal in a folder that has none.

    Args:
        folder: the folder.
        work: what is written, and out of what; plain values.
        is_kept: see ``Journal``.
    """
    path = os.path.join(folder, JOURNAL_NAME)  # noqa: PTH118 - as it was typed
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _append(handle, json.dumps({"journal": JOURNAL_VERSION, "work": work}, separators=(",", ":")) + "\n")
    except BaseException:
        os.close(handle)
        raise
    return Journal(handle, {}, is_kept=is_kept)


def continue_journal(folder: int, noted: Noted) -> Journal:
    """Open a journal to write on where its last whole line ends.

    Args:
        folder: the open folder that it is in.
        noted: what ``read_journal`` found in it.
    """
    handle = os.open(JOURNAL_NAME, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.ftruncate(handle, noted.n_bytes)
    except BaseException:
        os.close(handle)
        raise
    return Journal(handle, noted.written, is_kept=True)


def read_journal(folder: int) -> Noted:
    """Read the journal in a folder, as far as it can be read.

    Args:
        folder: the open folder.

    Raises:
        OSError: there is none.
        ValueError: it is too large, or what it begins with is no work.
    """
    handle = os.open(JOURNAL_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        lines = _whole_lines(handle)
    finally:
        os.close(handle)
    head = parse_json(lines[0], unique=True) if lines else None
    if not isinstance(head, dict) or head.get("journal") != JOURNAL_VERSION or not isinstance(head.get("work"), dict):
        raise ValueError("it does not begin as a journal")
    written: dict[str, int] = {}
    n_bytes = len(lines[0]) + 1
    for line in lines[1:]:
        entry = _entry(line)
        if entry is None:
            break
        written[entry[0]] = entry[1]
        n_bytes += len(line) + 1
    return Noted(head["work"], written, n_bytes)


def _append(handle: int, lines: str) -> None:
    left = lines.encode()
    while left:
        left = left[os.write(handle, left) :]


def _whole_lines(handle: int) -> list[bytes]:
    size = os.fstat(handle).st_size
    if size > JSON_MAX_BYTES:
        raise ValueError(f"it has {size} bytes, at most {JSON_MAX_BYTES} are read")
    data = bytearray(size)
    n_read = read_at(handle, memoryview(data), 0)
    return bytes(data[:n_read]).split(b"\n")[:-1]


def _entry(line: bytes) -> tuple[str, int] | None:
    """The tensor and the checksum of a line; None where it has none."""
    try:
        value = parse_json(line)
    except ValueError:
        return None
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int:
        return value[0], value[1]
    return None
