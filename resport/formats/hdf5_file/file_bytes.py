"""The bytes of an HDF5 file by address, none from outside of it, and the little-endian numbers in them.

What is parsed is read once and kept by whoever parsed it. A file whose structures refer to the same bytes over and
over, or that is made of nothing but tiny structures, would make that endless, so all that is parsed is counted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from resport.errors import ChecksumError, FormatError
from resport.formats.file_window import FileWindow
from resport.formats.hdf5_file.checksum import lookup3
from resport.formats.positioned import all_pieces_at, read_at

STRUCTURE_MAX_BYTES = 64 << 20
"""Of one piece of metadata: the largest are heaps that hold a model's description."""
STRUCTURES_MAX_BYTES = 512 << 20
"""Of all metadata together; a file of a hundred thousand layers has 200 MB."""
CHECKED_MAX_BYTES = 4 << 20
"""Of one piece with a checksum, which is computed in Python."""
ALL_CHECKED_MAX_BYTES = 8 << 20
"""Of all pieces with a checksum together: a second, and half as much again as ten thousand layers have."""
CHECKSUM_BYTES = 4
MIN_MAX_PARTS = 1 << 18
"""Headers, messages, members, and entries of trees and arrays, all together: as many as ten thousand layers have, and
as many as are parsed in a few seconds."""
TYPICAL_PART_BYTES = 64
"""Less than files of layers have of them; only a file that is large enough for it has more than the least limit."""
MAX_CHUNKS = 1 << 19
"""Of all datasets together; where they are is kept as long as the file is open."""
MIN_MAX_CHUNKS = 1 << 16
TYPICAL_CHUNK_BYTES = 1 << 14
"""What programs make of small tensors; only a file that is large enough for it has more chunks than the least limit."""
BLOCK_BYTES = 1 << 14
"""Of metadata, read at once: programs put the structures of an object, and of the next one, beside each other."""
MAX_BLOCKS = 64
MAX_MEANINGS = 1 << 10
"""Messages of which it is kept what they say: weights are of few types, and their shapes recur."""
MAX_MEANING_BYTES = 256
# Some pieces are read twice, to see how long they are.
_READINGS = 4
_READINGS_SLACK = 1 << 20

T = TypeVar("T")


class FileBytes:
    """The bytes of a file from its superblock on.

    Args:
        window: the file, or the part of one that is the file.
        base: where address 0 is.
        address_bytes: width of an address.
        length_bytes: width of a length.
    """

    def __init__(self, window: FileWindow, base: int = 0, address_bytes: int = 8, length_bytes: int = 8) -> None:
        self.window = window
        self.base = base
        self.size = max(0, window.size - base)
        self.address_bytes = address_bytes
        self.length_bytes = length_bytes
        self.undefined = (1 << 8 * address_bytes) - 1
        self._left = min(_READINGS * self.size + _READINGS_SLACK, STRUCTURES_MAX_BYTES)
        self._left_checked = ALL_CHECKED_MAX_BYTES
        self.left_parts = self.max_parts = MIN_MAX_PARTS + self.size // TYPICAL_PART_BYTES
        self._left_chunks = self.max_chunks = min(MIN_MAX_CHUNKS + self.size // TYPICAL_CHUNK_BYTES, MAX_CHUNKS)
        self._blocks: dict[int, bytes] = {}
        self._meanings: dict[tuple[Callable[[Cursor], Any], bytes], Any] = {}

    def read(self, address: int, size: int, what: str) -> bytes:
        """Read a piece of metadata.

        Args:
            address: where it is.
            size: how many bytes it has.
            what: what it is, for messages.

        Raises:
            FormatError: it lies outside of the file, is too large, or too much was read already.
        """
        number, start = divmod(self.base + address, BLOCK_BYTES)
        block = self._blocks.get(number)
        if block is not None and size <= self._left:
            data = block[start : start + size]
            if len(data) == size:
                self._left -= size
                return data
        return self._read_anew(address, size, what)

    def _read_anew(self, address: int, size: int, what: str) -> bytes:
        """Read a piece of metadata that does not lie in one of the blocks that are kept."""
        self.check_extent(address, size, what)
        self._left -= size
        if size > STRUCTURE_MAX_BYTES or self._left < 0:
            raise FormatError(
                f"{what} is too large, or is referred to too often",
                offset=self.base + address,
                expected=f"at most {STRUCTURE_MAX_BYTES} bytes, and no byte of the file in several structures",
                got=f"{size} bytes",
            )
        number, start = divmod(self.base + address, BLOCK_BYTES)
        if start + size > BLOCK_BYTES or number in self._blocks:
            data = self.window.pread(size, self.base + address)
        else:
            if len(self._blocks) == MAX_BLOCKS:
                self._blocks.clear()
            self._blocks[number] = self.window.pread(BLOCK_BYTES, number * BLOCK_BYTES)
            data = self._blocks[number][start : start + size]
        if len(data) != size:
            raise self._shortened(what, address + len(data), size, len(data))
        return data

    def read_into(self, view: memoryview, address: int, what: str) -> None:
        """Fill a view with the bytes at an address; for values, which are not counted.

        Raises:
            FormatError: they lie outside of the file.
        """
        self.check_extent(address, len(view), what)
        n_read = read_at(self.window.handle, view, self.window.offset + self.base + address)
        if n_read != len(view):
            raise self._shortened(what, address + n_read, len(view), n_read)

    def pieces(self, address: int, size: int, what: str) -> Iterator[memoryview]:
        """The bytes at an address, piece by piece, each valid until the next is asked for; for values, as they are.

        Raises:
            FormatError: they lie outside of the file.
        """
        self.check_extent(address, size, what)
        place = self.window.offset + self.base + address
        yield from all_pieces_at(
            self.window.handle, place, size, lambda n_read: self._shortened(what, address + n_read, size, n_read)
        )

    def count_parts(self, n_parts: int, n_bytes: int = 0) -> None:
        """Count what is parsed out of metadata.

        Args:
            n_parts: how many messages, members or entries.
            n_bytes: how many bytes are copied for them out of pieces that were read.

        Raises:
            FormatError: there are too many.
        """
        self.left_parts -= n_parts
        self._left -= n_bytes
        if self.left_parts < 0 or self._left < 0:
            raise FormatError(
                "its metadata are too much, or refer to one place over and over",
                offset=self.base,
                expected=f"at most {self.max_parts} headers, messages and entries, {STRUCTURES_MAX_BYTES} bytes",
            )

    def count_chunk(self, n_axes: int) -> None:
        """Count a chunk that was found; one of many axes counts as several.

        Raises:
            FormatError: there are too many.
        """
        self._left_chunks -= 1 + n_axes // 8
        if self._left_chunks < 0:
            raise FormatError(
                "its datasets have too many chunks",
                offset=self.base,
                expected=f"at most {self.max_chunks}",
                hint="rewrite the file without chunks: `h5repack -l CONTI FILE OTHER`",
            )

    def check_extent(self, address: int, size: int, what: str) -> None:
        """Refuse what does not lie in the file as a whole.

        Raises:
            FormatError: it does not.
        """
        if address + size > self.size:
            raise FormatError(
                f"{what} leads out of the file",
                offset=self.base + address,
                expected=f"at most byte {self.size}",
                got=f"bytes {address} to {address + size}",
            )

    def cursor(self, address: int, size: int, what: str) -> Cursor:
        """Read a piece of metadata to be parsed."""
        return Cursor(self, self.read(address, size, what), address, what)

    def meaning(self, parse: Callable[[Cursor], T], data: bytes, address: int, what: str) -> T:
        """What a message says by itself: those of the same bytes say the same, and are parsed once.

        Args:
            parse: parses the message.
            data: its content.
            address: where the content is.
            what: what it is, for messages.

        Raises:
            FormatError: it is damaged.
        """
        found: T | None = self._meanings.get((parse, data))
        if found is None:
            found = parse(Cursor(self, data, address, what))
            if len(data) <= MAX_MEANING_BYTES:
                if len(self._meanings) == MAX_MEANINGS:
                    self._meanings.clear()
                self._meanings[parse, data] = found
        return found

    def checked(self, address: int, size: int, magic: bytes, what: str) -> Cursor:
        """Read a piece that begins with a signature and ends with a checksum; the cursor stands behind the signature.

        Args:
            address: where it is.
            size: how many bytes it has, signature and checksum included.
            magic: the signature.
            what: what it is, for messages.

        Raises:
            FormatError: it is something else, or too large.
            ChecksumError: its bytes are not those that were written.
        """
        self._left_checked -= size
        if size > CHECKED_MAX_BYTES or self._left_checked < 0:
            raise FormatError(
                f"{what} is too large, or there are too many like it",
                offset=self.base + address,
                expected=f"at most {CHECKED_MAX_BYTES} bytes, and {ALL_CHECKED_MAX_BYTES} of all",
                got=f"{size} bytes",
            )
        data = self.read(address, size, what)
        if not data.startswith(magic):
            raise FormatError(
                f"{what} is something else",
                offset=self.base + address,
                expected=magic.decode("ascii"),
                got=repr(data[: len(magic)]),
            )
        body, stored = data[:-CHECKSUM_BYTES], int.from_bytes(data[-CHECKSUM_BYTES:], "little")
        self.check_sum(body, stored, address, what)
        cursor = Cursor(self, body, address, what)
        cursor.position = len(magic)
        return cursor

    def check_sum(self, body: bytes, stored: int, address: int, what: str) -> None:
        """Compare the checksum of a piece of metadata with the stored one.

        Raises:
            ChecksumError: they differ.
        """
        computed = lookup3(body)
        if computed != stored:
            raise ChecksumError(
                f"the checksum of {what} is wrong",
                offset=self.base + address,
                expected=f"{stored:#010x}",
                got=f"{computed:#010x}",
            )

    def _shortened(self, what: str, end: int, expected: int, got: int) -> FormatError:
        return FormatError(
            f"the file became shorter while {what} was read",
            offset=self.base + end,
            expected=f"{expected} bytes",
            got=f"{got} bytes",
        )


class Cursor:
    """Takes numbers off a piece of the file, one behind the other.

    Args:
        source: the file.
        data: the piece.
        address: where it begins.
        what: what it is, for messages.
    """

    __slots__ = ("address", "data", "position", "source", "what")

    def __init__(self, source: FileBytes, data: bytes, address: int, what: str) -> None:
        self.source = source
        self.data = data
        self.address = address
        self.what = what
        self.position = 0

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            FormatError: the piece ends before.
        """
        end = self.position + size
        if end > len(self.data):
            raise self.damaged("ends too early", expected=f"{size} bytes more", got=f"{len(self.data) - self.position}")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def uint(self, width: int) -> int:
        """The next number of so many bytes, without a sign."""
        position = self.position
        end = position + width
        if end > len(self.data):
            raise self.damaged("ends too early", expected=f"{width} bytes more", got=f"{len(self.data) - position}")
        self.position = end
        return int.from_bytes(self.data[position:end], "little")

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        """The next numbers, all at once.

        Raises:
            FormatError: the piece ends before.
        """
        position = self.position
        if position + layout.size > len(self.data):
            self.take(layout.size)
        self.position = position + layout.size
        return layout.unpack_from(self.data, position)

    def length(self) -> int:
        """The next length."""
        return self.uint(self.source.length_bytes)

    def address_or_none(self) -> int | None:
        """The next address; None where it leads nowhere on purpose."""
        value = self.uint(self.source.address_bytes)
        return None if value == self.source.undefined else value

    def needed_address(self) -> int:
        """The next address, of something that must be there.

        Raises:
            FormatError: it leads nowhere.
        """
        value = self.address_or_none()
        if value is None:
            raise self.damaged("leads nowhere")
        return value

    def text(self) -> bytes:
        """The bytes up to the next NUL, which is skipped.

        Raises:
            FormatError: there is none.
        """
        end = self.data.find(b"\0", self.position)
        if end < 0:
            raise self.damaged("has a name without an end")
        piece = self.data[self.position : end]
        self.position = end + 1
        return piece

    def version(self, *known: int) -> int:
        """The next byte as a version.

        Raises:
            FormatError: it is none that is known.
        """
        version = self.uint(1)
        if version not in known:
            expected = " or ".join(map(str, known))
            raise self.damaged("is of an unknown version", expected=expected, got=version)
        return version

    def signature(self, magic: bytes, *versions: int) -> int:
        """The version behind the signature with which a structure begins.

        Raises:
            FormatError: it is something else, or of an unknown version.
        """
        if self.take(len(magic)) != magic:
            raise self.damaged("is something else", expected=magic.decode("ascii"))
        return self.version(*versions)

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self.data) - self.position

    def damaged(self, problem: str, **details: Any) -> FormatError:
        """The error for what stands here."""
        return FormatError(f"{self.what} {problem}", offset=self.source.base + self.address + self.position, **details)
