"""Object headers: the messages that groups, datasets and committed types are made of (section IV.A)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from resport.formats.hdf5_file.file_bytes import CHECKSUM_BYTES, Cursor, FileBytes

DATASPACE, LINK_INFO, DATATYPE, OLD_FILL_VALUE, FILL_VALUE, LINK, EXTERNAL_FILES, LAYOUT = range(0x01, 0x09)
GROUP_INFO, FILTERS, ATTRIBUTE = 0x0A, 0x0B, 0x0C
CONTINUATION, SYMBOL_TABLE = 0x10, 0x11
ATTRIBUTE_INFO = 0x15
_LAST_KNOWN = 0x18

IS_CONSTANT, IS_SHARED = 0x01, 0x02
_MUST_BE_KNOWN = 0x80
_HAS_TIMES, _HAS_PHASE_CHANGE, _HAS_ORDER = 0x20, 0x10, 0x04
OLD_HEADER_VERSION = 1
HEADER_PREFIX_BYTES = 16
OLD_MESSAGE_PREFIX = struct.Struct("<HHB3x")
"""Kind, size and flags of a message in a header of version 1."""
# What it takes to read one, counted in messages.
_HEADER_PARTS = 2
_BLOCK_MAGIC = b"OCHK"


class Message(NamedTuple):
    """One message of an object header.

    Attributes:
        kind: what it is about.
        flags: whether it is shared, and what to do if it is not known.
        data: its content.
        address: where the content is.
    """

    kind: int
    flags: int
    data: bytes
    address: int

    def cursor(self, source: FileBytes, what: str) -> Cursor:
        """Parse the content."""
        return Cursor(source, self.data, self.address, what)


def read_messages(source: FileBytes, address: int) -> list[Message]:
    """The messages of the object whose header is at an address.

    Raises:
        FormatError: there is no header, or it is damaged.
    """
    what = "an object header"
    source.count_parts(_HEADER_PARTS)
    prefix = source.cursor(address, HEADER_PREFIX_BYTES, what)
    if prefix.data[0] == OLD_HEADER_VERSION:
        size = int.from_bytes(prefix.data[8:12], "little")
        return _walk(source, source.cursor(address + HEADER_PREFIX_BYTES, size, what), _Old(source))
    if prefix.data.startswith(b"OHDR"):
        blocks = _New(source, address, prefix)
        return _walk(source, blocks.first(), blocks)
    raise prefix.damaged("is something else", expected="OHDR, or version 1", got=repr(prefix.data[:4]))


class _Old:
    """Blocks of messages of version 1: nothing but messages, padded to eight bytes."""

    prefix = OLD_MESSAGE_PREFIX

    def __init__(self, source: FileBytes) -> None:
        self._source = source

    def block(self, address: int, size: int) -> Cursor:
        """A block in which a header goes on."""
        return self._source.cursor(address, size, "an object header's continuation")


class _New:
    """Blocks of messages of version 2: each with a signature and a checksum."""

    def __init__(self, source: FileBytes, address: int, prefix: Cursor) -> None:
        prefix.take(4)
        prefix.version(2)
        flags = prefix.uint(1)
        self._source = source
        self._address = address
        self._skipped = 16 * bool(flags & _HAS_TIMES) + 4 * bool(flags & _HAS_PHASE_CHANGE)
        self._width = 1 << (flags & 3)
        self.prefix = struct.Struct("<BHB2x" if flags & _HAS_ORDER else "<BHB")

    def first(self) -> Cursor:
        """The block that the header itself is."""
        what = "an object header"
        start = 6 + self._skipped + self._width
        n_messages = self._source.cursor(self._address + start - self._width, self._width, what).uint(self._width)
        cursor = self._source.checked(self._address, start + n_messages + CHECKSUM_BYTES, b"OHDR", what)
        cursor.position = start
        return cursor

    def block(self, address: int, size: int) -> Cursor:
        """A block in which a header goes on."""
        cursor = self._source.cursor(address, len(_BLOCK_MAGIC), "an object header's continuation")
        if size < len(_BLOCK_MAGIC) + CHECKSUM_BYTES:
            raise cursor.damaged("is too short", got=f"{size} bytes")
        return self._source.checked(address, size, _BLOCK_MAGIC, cursor.what)


def _walk(source: FileBytes, block: Cursor, layout: _Old | _New) -> list[Message]:
    """The messages of a header's blocks, which may continue in others but not in a circle."""
    messages: list[Message] = []
    blocks = [block]
    seen = {block.address + block.position}
    for current in blocks:
        for address, size in _split(current, layout.prefix, messages):
            if address in seen:
                raise current.damaged("leads in a circle, the header has no end")
            seen.add(address)
            blocks.append(layout.block(address, size))
    return messages


def _split(block: Cursor, prefix: struct.Struct, messages: list[Message]) -> Iterator[tuple[int, int]]:
    """Add the messages of a block to others, and yield address and size of each block in which the header goes on."""
    source, data, position = block.source, block.data, block.position
    n_messages = 0
    # What is shorter than the prefix of a message is a gap.
    while position + prefix.size <= len(data) and n_messages <= source.left_parts:
        kind, size, flags = prefix.unpack_from(data, position)
        block.position = position = position + prefix.size
        n_messages += 1
        if kind > _LAST_KNOWN and flags & _MUST_BE_KNOWN:
            raise block.damaged("has a message that must be known to read the object", got=f"kind {kind:#x}")
        content = data[position : position + size]
        if len(content) != size:
            block.take(size)
        message = Message(kind, flags, content, block.address + position)
        position += size
        if kind != CONTINUATION:
            messages.append(message)
        else:
            cursor = message.cursor(source, "an object header's continuation")
            yield cursor.needed_address(), cursor.length()
    source.count_parts(n_messages)


def resolve_shared(source: FileBytes, message: Message) -> Message:
    """The message that a shared one stands for: that of a committed type (section IV.A.2, "Shared Message").

    Raises:
        FormatError: it stands for none, for another shared one, or for one in the file's table of shared messages.
    """
    if not message.flags & IS_SHARED:
        return message
    address = read_shared(message.cursor(source, "a shared message"))
    for other in read_messages(source, address):
        if other.kind == message.kind and not other.flags & IS_SHARED:
            return other
    raise message.cursor(source, "a shared message").damaged("leads to an object that has none of its kind")


def read_shared(cursor: Cursor) -> int:
    """The address of the object that a shared message belongs to.

    Raises:
        FormatError: the message is in the file's table of shared messages, or damaged.
    """
    version = cursor.version(1, 2, 3)
    place = cursor.uint(1)
    if version == 1:
        cursor.take(6)
        cursor.length()
    elif version == 3 and place != 2:
        raise cursor.damaged(
            "is kept in the file's table of shared messages, which is not read", hint="rewrite the file with `h5repack`"
        )
    return cursor.needed_address()
