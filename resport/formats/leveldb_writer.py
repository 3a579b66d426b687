"""Writing sorted tables (see ``leveldb_table``), front to back, with nothing in memory but the index.

The bytes are those of TensorFlow's own writer: the same size at which a block is closed, the same restart intervals,
the same shortened keys in the index, no compression. An entry goes to the file as it is added, in pieces as the caller
has them, so that a value can be larger than what one likes to hold.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import BinaryIO

from resport.formats.crc32c import extend_crc32c
from resport.formats.leveldb_table import (
    TABLE_BLOCK_BYTES,
    TABLE_FOOTER_BYTES,
    TABLE_MAGIC,
    TABLE_NO_COMPRESSION,
    mask_crc32c,
)
from resport.formats.protobuf import Buffer, encode_varint

TABLE_RESTART_INTERVAL = 16
TABLE_LARGE_ENTRY = 2
"""An entry so many times the size of a block begins one of its own."""


def encode_table(items: Iterable[tuple[bytes, bytes]], *, block_bytes: int = TABLE_BLOCK_BYTES) -> bytes:
    """The bytes of an uncompressed table.

    Args:
        items: keys and values, keys strictly ascending.
        block_bytes: a block is closed when it has reached this size.

    Raises:
        ValueError: the keys do not ascend.
    """
    file = io.BytesIO()
    table = TableWriter(file, block_bytes=block_bytes)
    for key, value in items:
        table.add(key, [value], len(value))
    table.finish()
    return file.getvalue()


class TableWriter:
    """An uncompressed table being written.

    Args:
        file: where it goes, from the file's position on, which is the table's beginning.
        block_bytes: a block is closed when it has reached this size.
    """

    def __init__(self, file: BinaryIO, *, block_bytes: int = TABLE_BLOCK_BYTES) -> None:
        self._file = file
        self._block_bytes = block_bytes
        self._n_bytes = 0
        self._index: list[tuple[bytes, bytes]] = []
        self._pending: bytes | None = None  # handle of a closed block, whose index key depends on the key that follows
        self._last_key: bytes | None = None
        self._block = _Block(TABLE_RESTART_INTERVAL)

    def add(self, key: bytes, value: Iterable[Buffer], value_bytes: int) -> None:
        """Add an entry.

        Args:
            key: greater than all keys before.
            value: the value in pieces.
            value_bytes: their length together.

        Raises:
            ValueError: the keys do not ascend, or the pieces are of another length.
        """
        if self._last_key is not None and key <= self._last_key:
            raise ValueError(f"table keys must ascend: {key!r} follows {self._last_key!r}")
        if self._block.n_entries and len(key) + value_bytes >= TABLE_LARGE_ENTRY * self._block_bytes:
            self._pending = self._close_block()
        if self._pending is not None and self._last_key is not None:
            self._index.append((_separator(self._last_key, key), self._pending))
            self._pending = None
        self._put(self._block.entry_head(key, value_bytes))
        end = self._n_bytes + value_bytes
        for piece in value:
            self._put(piece)
        if self._n_bytes != end:
            raise ValueError(f"the value of {key!r} is {self._n_bytes - end:+} bytes longer than said")
        self._last_key = key
        if self._block.size_bytes >= self._block_bytes:
            self._pending = self._close_block()

    def finish(self) -> None:
        """Write what is left: the last block, the index and the footer. The file stays open."""
        if self._block.n_entries:
            self._pending = self._close_block()
        handles = self._close_block()  # the empty block of metadata
        if self._pending is not None and self._last_key is not None:
            self._index.append((_successor(self._last_key), self._pending))
        self._block = _Block(restart_interval=1)
        for key, handle in self._index:
            self._put(self._block.entry_head(key, len(handle)))
            self._put(handle)
        handles += self._close_block()
        self._file.write(handles.ljust(TABLE_FOOTER_BYTES - len(TABLE_MAGIC), b"\0") + TABLE_MAGIC)

    def _put(self, piece: Buffer) -> None:
        """Write a piece of the open block."""
        self._file.write(piece)
        self._n_bytes += len(piece)
        self._block.add_bytes(piece)

    def _close_block(self) -> bytes:
        """Write the restarts and the trailer of the open block, begin the next one, and return its handle."""
        self._put(self._block.encode_restarts())
        size_bytes = self._block.n_bytes
        self._put(bytes([TABLE_NO_COMPRESSION]))
        handle = encode_varint(self._n_bytes - size_bytes - 1) + encode_varint(size_bytes)
        self._n_bytes += self._file.write(mask_crc32c(self._block.crc).to_bytes(4, "little"))
        self._block = _Block(TABLE_RESTART_INTERVAL)
        return handle


class _Block:
    """What must be known of a block whose bytes are in the file already."""

    def __init__(self, restart_interval: int) -> None:
        self.n_entries = 0
        self.n_bytes = 0
        self.crc = 0
        self._restart_interval = restart_interval
        self._restarts = [0]
        self._last_key = b""

    @property
    def size_bytes(self) -> int:
        """The size of the block if it were closed now."""
        return self.n_bytes + 4 * len(self._restarts) + 4

    def entry_head(self, key: bytes, value_bytes: int) -> bytes:
        """What stands in front of a value, for the entry that comes next."""
        shared = 0
        if self.n_entries % self._restart_interval:
            shared = _n_shared(self._last_key, key)
        elif self.n_entries:
            self._restarts.append(self.n_bytes)
        self._last_key = key
        self.n_entries += 1
        return encode_varint(shared) + encode_varint(len(key) - shared) + encode_varint(value_bytes) + key[shared:]

    def add_bytes(self, piece: Buffer) -> None:
        self.crc = extend_crc32c(self.crc, piece)
        self.n_bytes += len(piece)

    def encode_restarts(self) -> bytes:
        return b"".join(number.to_bytes(4, "little") for number in (*self._restarts, len(self._restarts)))


def _n_shared(first: bytes, second: bytes) -> int:
    """How many bytes two keys have in common at their beginnings."""
    for position, (left, right) in enumerate(zip(first, second, strict=False)):
        if left != right:
            return position
    return min(len(first), len(second))


def _separator(last_key: bytes, next_key: bytes) -> bytes:
    """A short key that is not before ``last_key`` and before ``next_key``."""
    shared = _n_shared(last_key, next_key)
    if shared < len(last_key) and last_key[shared] + 1 < next_key[shared]:
        return last_key[:shared] + bytes([last_key[shared] + 1])
    return last_key


def _successor(last_key: bytes) -> bytes:
    """A short key that is not before ``last_key``."""
    for position, byte in enumerate(last_key):
        if byte != 0xFF:
            return last_key[:position] + bytes([byte + 1])
    return last_key
