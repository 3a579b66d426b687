"""Messages of Protocol Buffers that are too large to be in memory: their fields, found in the file.

A graph can have two gigabytes, nearly all of it values inside messages inside messages. ``MessageFile.fields`` walks
over the fields of a message as ``protobuf.read_fields`` does, and yields where they are instead of what they are. A
message that lies within another is walked over by its place, so that of a value nothing is read but the length in
front of it.

The file is read (``pread``), not mapped: a mapped file that another program cuts off ends this one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from resport.errors import FormatError
from resport.formats.protobuf import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT, read_varint

MESSAGE_WINDOW_BYTES = 1 << 16
"""Read at once while fields are looked for; a large value is skipped and never read."""

MESSAGE_MAX_FIELDS = 600_000
"""Looked at in one file: a graph of ten thousand nodes has some two hundred thousand, each takes microseconds."""
MESSAGE_MAX_TEXT_BYTES = 1 << 16
"""Of one text: the name of a node, an operation or an input."""
MESSAGE_MAX_TEXTS_BYTES = 32 << 20
"""Of all texts that are read of one file."""

_FIELD_MAX_HEAD_BYTES = 20


class FieldPlace(NamedTuple):
    """A field and where its value is.

    Attributes:
        number: the field's number.
        wire_type: its wire type.
        value: the integer of a ``VARINT``, ``FIXED64`` or ``FIXED32``; 0 for what has a length.
        start: where its content begins in the file.
        end: where it ends.
    """

    number: int
    wire_type: int
    value: int
    start: int
    end: int

    @property
    def is_bytes(self) -> bool:
        """Whether the content is a string, bytes or a message."""
        return self.wire_type == LENGTH_DELIMITED


class MessageFile:
    """An open file that is one message, or holds some.

    Args:
        path: the file.

    Attributes:
        n_bytes: size of the file.

    Raises:
        FormatError: the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._file = Path(path).open("rb", buffering=0)
        except OSError as error:
            raise FormatError(f"`{path}` cannot be read: {error.strerror or error}", path=path) from error
        self.n_bytes = os.fstat(self._file.fileno()).st_size
        self._window = b""
        self._window_start = 0
        self._fields_left = MESSAGE_MAX_FIELDS
        self._text_bytes_left = MESSAGE_MAX_TEXTS_BYTES

    def fields(self, start: int, end: int) -> Iterator[FieldPlace]:
        """Iterate over the fields of the message between two places of the file.

        Raises:
            FormatError: the message ends within a field, or a field has the number 0 or a wire type out of use.
        """
        position = start
        while position < end:
            base = self._look_at(position)
            limit = min(len(self._window), end - base)
            window = self._window
            try:
                tag, offset = read_varint(window, position - base, limit)
                number, wire_type = tag >> 3, tag & 7
                value = 0
                if wire_type == VARINT:
                    value, offset = read_varint(window, offset, limit)
                    size = 0
                elif wire_type == LENGTH_DELIMITED:
                    size, offset = read_varint(window, offset, limit)
                elif wire_type in {FIXED32, FIXED64}:
                    size = 4 if wire_type == FIXED32 else 8
                    value = int.from_bytes(window[offset : offset + size], "little")
                else:
                    raise FormatError(f"protobuf field {number} has the wire type {wire_type}")
                if number == 0:
                    raise FormatError("a protobuf field has the number 0")
                if base + offset + size > end:
                    raise FormatError(
                        f"protobuf field {number} reaches beyond its message",
                        expected=f"at most {end - base - offset} bytes",
                        got=f"{size} bytes",
                    )
            except FormatError as error:
                error.offset = position
                raise
            self._fields_left -= 1
            if self._fields_left < 0:
                raise FormatError(
                    "it has more parts than any graph", expected=f"at most {MESSAGE_MAX_FIELDS}", offset=position
                )
            yield FieldPlace(number, wire_type, value, base + offset, base + offset + size)
            position = base + offset + size

    def read(self, place: FieldPlace) -> bytes:
        """Read the content of a field.

        Raises:
            FormatError: the field has none, being an integer, or the file was cut off meanwhile.
        """
        if not place.is_bytes:
            raise FormatError(
                f"protobuf field {place.number} is of the wrong type",
                expected="bytes",
                got="an integer",
                offset=place.start,
            )
        start, window_end = place.start - self._window_start, self._window_start + len(self._window)
        if start >= 0 and place.end <= window_end:
            return self._window[start : place.end - self._window_start]
        data = os.pread(self._file.fileno(), place.end - place.start, place.start)
        while len(data) < place.end - place.start:
            piece = os.pread(self._file.fileno(), place.end - place.start - len(data), place.start + len(data))
            if not piece:
                raise FormatError(f"`{self.path}` became shorter while it was read", path=self.path, offset=place.start)
            data += piece
        return data

    def read_text(self, place: FieldPlace) -> str:
        """Read the content of a field that must be UTF-8 text.

        Raises:
            FormatError: it is an integer, not UTF-8, or longer than names are.
        """
        n_bytes = place.end - place.start
        self._text_bytes_left -= n_bytes
        if n_bytes > MESSAGE_MAX_TEXT_BYTES or self._text_bytes_left < 0:
            raise FormatError(
                f"protobuf field {place.number} is too long for a name",
                expected=f"at most {MESSAGE_MAX_TEXT_BYTES} bytes, and {MESSAGE_MAX_TEXTS_BYTES} in all names",
                got=f"{n_bytes} bytes",
                offset=place.start,
            )
        try:
            return self.read(place).decode()
        except UnicodeDecodeError as error:
            raise FormatError(
                f"protobuf field {place.number} is not UTF-8: {error.reason}", offset=place.start + error.start
            ) from None

    def inner(self, place: FieldPlace) -> Iterator[FieldPlace]:
        """Iterate over the fields of a message inside another.

        Raises:
            FormatError: as ``fields`` does, or the field is an integer.
        """
        if not place.is_bytes:
            raise FormatError(
                f"protobuf field {place.number} is of the wrong type",
                expected="a message",
                got="an integer",
                offset=place.start,
            )
        return self.fields(place.start, place.end)

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _look_at(self, position: int) -> int:
        """Have the window hold the head of a field at a place, and return where the window begins."""
        window_end = self._window_start + len(self._window)
        inside = self._window_start <= position
        if not inside or (position + _FIELD_MAX_HEAD_BYTES > window_end and window_end < self.n_bytes):
            self._window = os.pread(self._file.fileno(), MESSAGE_WINDOW_BYTES, position)
            self._window_start = position
        elif position >= window_end:
            self._window, self._window_start = b"", position
        return self._window_start
