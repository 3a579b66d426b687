"""Sorted tables of keys and values, in the layout of LevelDB that both generations of TensorFlow checkpoints use.

A table is a run of blocks. A block holds entries in key order, each storing only what its key does not share with the
key before (every few entries there is a *restart* with the whole key), then the offsets of the restarts; behind it
stand the compression and a masked CRC-32C. The last block but the footer, the index, maps the last key of each data
block to its place. The footer, the last 48 bytes, leads to the index.

In a V2 checkpoint the table holds the names and places of the tensors, in a V1 checkpoint the values too. Therefore
``LevelDBTable`` keeps no block but the index and reads one data block at a time. All checksums are verified, always:
a table that can't be trusted is of no use, and its bytes are few.

A file can lie about sizes in three ways, and each is bounded before memory is taken: places (every block must lie in
the file), Snappy (which cannot expand more than about 21 times), shared prefixes (``_KEY_EXPANSION``). Keys must ascend
strictly, so that no block can be visited twice.

``leveldb_writer`` makes the same bytes as TensorFlow's own writer, which is checked in the tests, and is the best proof
that nothing of the format was misread.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from resport.errors import ChecksumError, FormatError
from resport.formats.crc32c import crc32c_of, extend_crc32c
from resport.formats.damage import located
from resport.formats.positioned import pieces_at
from resport.formats.protobuf import Buffer, read_short_varint, read_varint
from resport.formats.source import read_head, refuse_foreign

TABLE_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
TABLE_FOOTER_BYTES = 48
TABLE_TRAILER_BYTES = 5
TABLE_BLOCK_BYTES = 256 * 1024
"""Size from which TensorFlow closes a block."""
TABLE_NO_COMPRESSION, TABLE_SNAPPY = 0, 1

_MASK_DELTA = 0xA282EAD8
# The densest Snappy element makes 64 bytes out of 3; the surplus covers the length in front.
_SNAPPY_EXPANSION = 32
# Between two restarts, 16 entries by default, keys can share what is stored once; real names reach about 5.
_KEY_EXPANSION = 64
_KEY_ALLOWANCE_BYTES = 1 << 20
_MAX_KEY_BYTES = 32 << 20

TABLE_MAX_INDEX_BYTES = 24 << 20
"""Of the index block, and of every block of a table that holds no values: the largest real ones have some megabytes."""
TABLE_MAX_BLOCKS = 200_000
TABLE_KEPT_BLOCK_BYTES = 4 * TABLE_BLOCK_BYTES
"""Of a block with many small values, which are asked for one after the other."""


def mask_crc32c(crc: int) -> int:
    """The form in which a CRC-32C is stored, rotated and shifted so that checksums of checksums stay meaningful."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def masked_crc32c(data: Buffer) -> int:
    """The masked CRC-32C of some bytes."""
    return mask_crc32c(extend_crc32c(0, data))


class LevelDBTable:
    """An open table: its entries in key order, or one by its key.

    Reading keeps no position in the file, so that threads can share a table.

    Args:
        path: the file.
        verify_checksums: whether blocks are checked against their checksums.
        max_block_bytes: how long a block of entries may be; as long as the file where it holds values.

    Attributes:
        size_bytes: size of the file.

    Raises:
        FormatError: the file cannot be opened, is not a table, or its footer or index is damaged.
    """

    def __init__(self, path: str, *, verify_checksums: bool = True, max_block_bytes: int | None = None) -> None:
        self.path = path
        self._verify_checksums = verify_checksums
        self._max_block_bytes = max_block_bytes
        self._kept: tuple[int, dict[bytes, Buffer]] = (-1, {})
        try:
            self._file = Path(path).open("rb")
        except OSError as error:
            raise FormatError(f"`{path}` cannot be read: {error.strerror or error}", path=path) from error
        try:
            self.size_bytes = os.fstat(self._file.fileno()).st_size
            self._max_key_bytes = min(_KEY_EXPANSION * self.size_bytes + _KEY_ALLOWANCE_BYTES, _MAX_KEY_BYTES)
            self._index = self._read_index()
        except BaseException:
            self.close()
            raise

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries, in the order of their keys.

        Raises:
            FormatError: a block is damaged, keys do not ascend, or they are longer than their file can mean.
        """
        previous: bytes | None = None
        max_key_bytes = self._max_key_bytes
        for last_key, offset, size in self._index:
            with located(f"the block at byte {offset}", self.path):
                for key, value in block_entries(
                    bytes(self._read_block(offset, size, self._max_block_bytes)), max_key_bytes
                ):
                    if (previous is not None and key <= previous) or key > last_key:
                        raise FormatError(f"the key {key[:80]!r} is out of order", offset=offset)
                    previous = key
                    max_key_bytes -= len(key)
                    yield key, bytes(value)

    def get(self, key: bytes) -> bytes | None:
        """The value of one key, or None when the table does not have it; reads one block.

        Raises:
            FormatError: the block is damaged.
        """
        value = self.view(key)
        return None if value is None else bytes(value)

    def first_value(self, key: bytes) -> bytes | None:
        """``get`` for a key in front of all others: of its block, which may be as long as the file, little is kept.

        Raises:
            FormatError: the block is damaged, or begins with an entry that is too long.
        """
        _, offset, size = self._index[0] if self._index else (b"", 0, 0)
        if size <= TABLE_MAX_INDEX_BYTES:
            return self.get(key)
        with located(f"the block at byte {offset}", self.path):
            self._check_place(offset, size)
            trailer = self._read_at(offset + size, TABLE_TRAILER_BYTES)
            if trailer[0] != TABLE_NO_COMPRESSION:
                _check_length(size, TABLE_MAX_INDEX_BYTES)
            if self._verify_checksums:
                crc = crc32c_of(pieces_at(self._file.fileno(), offset, size + 1))
                _check_crc32c(mask_crc32c(crc), trailer[1:], offset)
            return _first_entry(self._read_at(offset, TABLE_MAX_INDEX_BYTES), key)

    def limit_blocks(self, n_bytes: int) -> None:
        """Refuse blocks of entries that are longer than this from now on."""
        self._max_block_bytes = n_bytes
        self._kept = -1, {}

    def view(self, key: bytes) -> Buffer | None:
        """``get`` without a copy: a view of the block, which it keeps in memory.

        Raises:
            FormatError: the block is damaged.
        """
        position = bisect_left(self._index, key, key=lambda entry: entry[0])
        if position == len(self._index):
            return None
        _, offset, size = self._index[position]
        with located(f"the block at byte {offset}", self.path):
            if size <= TABLE_KEPT_BLOCK_BYTES:
                return self._kept_entries(offset, size).get(key)
            entries = block_entries(self._read_block(offset, size, self._max_block_bytes), self._max_key_bytes)
            return next((value for found, value in entries if found == key), None)

    def _kept_entries(self, offset: int, size: int) -> dict[bytes, Buffer]:
        """The entries of a block, which are kept until those of another are asked for."""
        kept_offset, entries = self._kept
        if kept_offset != offset:
            block = self._read_block(offset, size, self._max_block_bytes)
            entries = dict(block_entries(block, self._max_key_bytes))
            self._kept = offset, entries  # in one step: threads may share the table
        return entries

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_index(self) -> list[tuple[bytes, int, int]]:
        """The index block: last key, offset and size of each data block."""
        if self.size_bytes < TABLE_FOOTER_BYTES:
            raise FormatError(
                f"`{self.path}` is too short for a table",
                expected=f"at least {TABLE_FOOTER_BYTES} bytes",
                got=f"{self.size_bytes} bytes",
                path=self.path,
                offset=self.size_bytes,
            )
        footer_offset = self.size_bytes - TABLE_FOOTER_BYTES
        footer = self._read_at(footer_offset, TABLE_FOOTER_BYTES)
        if footer[-8:] != TABLE_MAGIC:
            refuse_foreign(self.path, read_head(self.path))
            raise FormatError(
                f"`{self.path}` does not end like a table, it is cut off or another kind of file",
                expected=TABLE_MAGIC.hex(),
                got=footer[-8:].hex(),
                path=self.path,
                offset=footer_offset + 40,
            )
        with located("the footer", self.path):
            _, _, position = _read_handle(footer, 0)
            offset, size, _ = _read_handle(footer, position)
        index: list[tuple[bytes, int, int]] = []
        with located("the table's index", self.path):
            block = self._read_block(offset, size, TABLE_MAX_INDEX_BYTES)
            for key, handle in block_entries(block, self._max_key_bytes):
                block_offset, block_size, _ = _read_handle(handle, 0)
                if index and key < index[-1][0]:
                    raise FormatError(f"the key {key[:80]!r} is out of order", offset=offset)
                index.append((key, block_offset, block_size))
                if len(index) > TABLE_MAX_BLOCKS:
                    raise FormatError(
                        "it has more blocks than any checkpoint", expected=f"at most {TABLE_MAX_BLOCKS}", offset=offset
                    )
        return index

    def _read_block(self, offset: int, size: int, max_bytes: int | None) -> Buffer:
        """Read, verify and decompress the block at a place that the file names."""
        self._check_place(offset, size)
        _check_length(size, max_bytes)
        raw = memoryview(self._read_at(offset, size + TABLE_TRAILER_BYTES))
        if self._verify_checksums:
            _check_crc32c(masked_crc32c(raw[:-4]), raw[-4:], offset)
        if raw[size] == TABLE_NO_COMPRESSION:
            return raw[:size]
        if raw[size] == TABLE_SNAPPY:
            return decompress_snappy(bytes(raw[:size]), max_bytes)
        raise FormatError(f"a block has the unknown compression {raw[size]}", offset=offset + size)

    def _check_place(self, offset: int, size: int) -> None:
        end = self.size_bytes - TABLE_FOOTER_BYTES - TABLE_TRAILER_BYTES
        if offset + size > end:
            raise FormatError(
                "a block reaches beyond the file",
                expected=f"an end at {end} or before",
                got=f"bytes {offset} to {offset + size}",
                offset=offset,
            )

    def _read_at(self, offset: int, size: int) -> bytes:
        """Read bytes whose place has been checked; a file that shrinks meanwhile is an error."""
        data = os.pread(self._file.fileno(), size, offset)
        while len(data) < size:
            piece = os.pread(self._file.fileno(), size - len(data), offset + len(data))
            if not piece:
                raise FormatError(f"`{self.path}` became shorter while it was read", path=self.path, offset=offset)
            data += piece
        return data


def _check_length(n_bytes: int, max_bytes: int | None) -> None:
    """Refuse a block that is longer than it may be."""
    if max_bytes is not None and n_bytes > max_bytes:
        raise FormatError("a block is too long", expected=f"at most {max_bytes} bytes", got=f"{n_bytes} bytes")


def _check_crc32c(computed: int, stored: Buffer, offset: int) -> None:
    """Compare the masked checksum of a block with the one behind it."""
    expected = int.from_bytes(stored, "little")
    if expected != computed:
        raise ChecksumError(
            "the checksum of a block is wrong", expected=f"{expected:#010x}", got=f"{computed:#010x}", offset=offset
        )


def block_entries(block: Buffer, max_key_bytes: int) -> Iterator[tuple[bytes, Buffer]]:
    """The keys and values of a decompressed block, in the order of the block.

    Args:
        block: the block without its trailer; the values are pieces of it.
        max_key_bytes: how long all keys together may become.

    Raises:
        FormatError: an entry or the restarts reach beyond the block, a key shares more than the key before has, or
            the keys become longer than allowed.
    """
    end = _entries_end(block)
    offset, key = 0, b""
    while offset < end:
        start = offset
        shared, offset = read_short_varint(block, offset, end)
        unshared, offset = read_short_varint(block, offset, end)
        value_size, offset = read_short_varint(block, offset, end)
        if shared > len(key) or offset + unshared + value_size > end:
            raise FormatError("an entry of a block reaches beyond it", offset=start)
        max_key_bytes -= shared + unshared
        if max_key_bytes < 0:
            raise FormatError("the keys are too long for the size of the file", offset=start)
        key = key[:shared] + bytes(block[offset : offset + unshared])
        offset += unshared
        yield key, block[offset : offset + value_size]
        offset += value_size


def _first_entry(head: bytes, key: bytes) -> bytes | None:
    """The value of the first entry of a block, of which only the beginning is there, if it has a key."""
    shared, offset = read_varint(head, 0)
    unshared, offset = read_varint(head, offset)
    value_size, offset = read_varint(head, offset)
    if shared or head[offset : offset + unshared] != key:
        return None
    _check_length(offset + unshared + value_size, len(head))
    return head[offset + unshared : offset + unshared + value_size]


def _entries_end(block: Buffer) -> int:
    """Where the entries of a block end and its restart offsets begin."""
    n_restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * n_restarts
    if len(block) < 4 or end < 0:
        raise FormatError("the restart offsets of a block reach beyond it", got=f"{n_restarts} restarts")
    return end


def _read_handle(data: Buffer, offset: int) -> tuple[int, int, int]:
    """Offset and size of a block, and the offset behind the two."""
    block_offset, offset = read_varint(data, offset)
    block_size, offset = read_varint(data, offset)
    return block_offset, block_size, offset


def decompress_snappy(data: bytes, max_bytes: int | None = None) -> bytes:
    """Decompress a raw Snappy block, after its claimed size has been found possible.

    Args:
        data: the compressed bytes.
        max_bytes: how long they may become.

    Raises:
        FormatError: the data is damaged, or claims to become larger than Snappy can make it.
    """
    size, _ = read_varint(data, 0)
    if size > _SNAPPY_EXPANSION * len(data):
        raise FormatError(
            "a Snappy block claims an impossible size",
            expected=f"at most {_SNAPPY_EXPANSION * len(data)} bytes from {len(data)}",
            got=f"{size} bytes",
        )
    _check_length(size, max_bytes)
    import cramjam

    output = bytearray(size)
    try:
        written = cramjam.snappy.decompress_raw_into(data, output)
    except cramjam.DecompressionError as error:
        raise FormatError(f"a Snappy block is damaged: {error}") from None
    if written != size:
        raise FormatError("a Snappy block ends early", expected=f"{size} bytes", got=f"{written} bytes")
    return bytes(output)
