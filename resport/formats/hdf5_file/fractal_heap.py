"""Fractal heaps, which hold the links of new groups and the attributes of objects that have many (section III.G).

A heap's objects lie in blocks, the blocks in a table whose rows double in size: two rows of the first size, and each
row behind them of twice the size of the one before. Rows of more than a certain size don't hold blocks but tables.
"""

from __future__ import annotations

from resport.errors import FormatError
from resport.formats.hdf5_file.btree_v2 import HUGE_OBJECT, records
from resport.formats.hdf5_file.file_bytes import CHECKED_MAX_BYTES, CHECKSUM_BYTES, Cursor, FileBytes

_MANAGED, _HUGE, _TINY = 0, 1, 2
_HAS_BLOCK_CHECKSUMS = 2
_TINY_SHORT_BYTES = 16
_WHAT = "a fractal heap"


class FractalHeap:
    """An open heap.

    Args:
        source: the file.
        address: where the heap's header is.

    Raises:
        FormatError: it is damaged, or its blocks are compressed.
    """

    def __init__(self, source: FileBytes, address: int) -> None:
        self._source = source
        self._address = address
        size = 22 + 12 * source.length_bytes + 3 * source.address_bytes + CHECKSUM_BYTES
        header = source.checked(address, size, b"FRHP", _WHAT)
        header.version(0)
        self._id_bytes, filter_bytes, flags, most = header.uint(2), header.uint(2), header.uint(1), header.uint(4)
        if filter_bytes:
            raise header.damaged("is compressed, which is not read", hint="rewrite the file with `h5repack`")
        header.length()
        self._huge_tree = header.address_or_none()
        header.length()
        header.address_or_none()
        header.take(8 * source.length_bytes)
        self._width, self._first_bytes, self._most_direct = header.uint(2), header.length(), header.length()
        bits = header.uint(2)
        header.uint(2)
        self._root, self._rows = header.address_or_none(), header.uint(2)
        self._has_checksums = bool(flags & _HAS_BLOCK_CHECKSUMS)
        self._offset_bytes = (bits + 7) // 8
        self._table_head_bytes = 5 + source.address_bytes + self._offset_bytes
        self._length_bytes = min(_width_of_log2(self._most_direct), (most.bit_length() + 7) // 8)
        self._check(header, bits)
        # Each is read once: every object of a heap is found through the same few tables.
        self._blocks: dict[int, bytes] = {}
        self._tables: dict[tuple[int, int], Cursor] = {}
        self._huge: dict[int, tuple[int, int]] | None = None

    def _check(self, header: Cursor, bits: int) -> None:
        sizes = (self._width, self._first_bytes, self._most_direct)
        if any(size <= 0 or size & (size - 1) for size in sizes) or self._first_bytes > self._most_direct:
            raise header.damaged("has blocks of impossible sizes", expected="powers of two", got=sizes)
        if self._most_direct > CHECKED_MAX_BYTES or bits > 64 or self._rows > 64 or self._id_bytes > 64:
            raise header.damaged("is larger than any", got=f"blocks of {self._most_direct} bytes, {bits} bits")
        self._direct_rows = self._most_direct.bit_length() - self._first_bytes.bit_length() + 2

    def object(self, id: bytes, what: str) -> Cursor:
        """An object of the heap, to be parsed.

        Args:
            id: what the heap calls it.
            what: what it is, for messages.

        Raises:
            FormatError: the heap has no such object, or is damaged.
        """
        cursor = Cursor(self._source, id, self._address, _WHAT)
        head = cursor.uint(1)
        kind = head >> 4 & 3
        if head >> 6 == 0 and kind == _MANAGED:
            offset, size = cursor.uint(self._offset_bytes), cursor.uint(self._length_bytes)
            return self._managed(offset, size, what)
        if head >> 6 == 0 and kind == _HUGE:
            return self._huge_object(cursor, what)
        if head >> 6 == 0 and kind == _TINY and self._id_bytes - 1 <= _TINY_SHORT_BYTES:
            return Cursor(self._source, cursor.take((head & 0x0F) + 1), self._address, what)
        raise cursor.damaged("is asked for an object of an unknown kind", got=f"{head:#04x}")

    def _managed(self, offset: int, size: int, what: str) -> Cursor:
        address, block_bytes, start = self._locate(offset)
        block = self._block(address, block_bytes)
        begin = offset - start
        if size == 0 or begin + size > len(block):
            raise FormatError(
                f"{_WHAT} has not the object that it is asked for",
                offset=self._source.base + address,
                expected=f"{size} bytes at {begin}",
                got=f"a block of {block_bytes} bytes",
            )
        self._source.count_parts(1, size)
        return Cursor(self._source, block[begin : begin + size], address + begin, what)

    def _locate(self, offset: int) -> tuple[int, int, int]:
        """Address and size of the block that has an offset, and the offset at which it begins."""
        address, rows, start = self._root, self._rows, 0
        if address is None:
            raise self._nowhere(offset)
        if rows == 0:
            return address, self._first_bytes, 0
        while True:
            # Rows 0 and 1 are of one size.
            row = ((offset - start) // (self._first_bytes * self._width)).bit_length()
            row_bytes = self._first_bytes << max(0, row - 1)
            row_start = row_bytes * self._width if row else 0
            column = (offset - start - row_start) // row_bytes
            if row >= rows:
                raise self._nowhere(offset)
            table = self._table(address, rows)
            table.position = self._table_head_bytes + (row * self._width + column) * self._source.address_bytes
            child = table.address_or_none()
            if child is None:
                raise self._nowhere(offset)
            start += row_start + column * row_bytes
            if row < self._direct_rows:
                return child, row_bytes, start
            # As many rows as hold what one place of this row stands for: fewer than here.
            address, rows = child, row + 1 - self._width.bit_length()

    def _table(self, address: int, rows: int) -> Cursor:
        """A table of that many rows; where its cursor stands is whoever's who asks."""
        if (address, rows) not in self._tables:
            size = self._table_head_bytes + rows * self._width * self._source.address_bytes + CHECKSUM_BYTES
            table = self._source.checked(address, size, b"FHIB", _WHAT)
            self._check_owner(table)
            self._tables[address, rows] = table
        return self._tables[address, rows]

    def _block(self, address: int, size: int) -> bytes:
        if address not in self._blocks:
            block = self._source.cursor(address, size, _WHAT)
            if block.take(4) != b"FHDB":
                raise block.damaged("has a block that is something else", expected="FHDB")
            self._check_owner(block)
            if self._has_checksums:
                block.take(self._offset_bytes)
                place = block.position
                stored = block.uint(CHECKSUM_BYTES)
                body = block.data[:place] + bytes(CHECKSUM_BYTES) + block.data[block.position :]
                self._source.check_sum(body, stored, address, _WHAT)
            self._blocks[address] = block.data
        return self._blocks[address]

    def _check_owner(self, block: Cursor) -> None:
        block.version(0)
        owner = block.address_or_none()
        if owner != self._address:
            raise block.damaged("has a block of another heap", expected=self._address, got=owner)

    def _huge_object(self, id: Cursor, what: str) -> Cursor:
        """An object that lies by itself: at a place that its id says, or that is looked up."""
        source = self._source
        if self._id_bytes - 1 >= source.address_bytes + source.length_bytes:
            return source.cursor(id.needed_address(), id.length(), what)
        if self._huge is None:
            self._huge = {}
            if self._huge_tree is not None:
                for record in records(source, self._huge_tree, HUGE_OBJECT, _WHAT):
                    place, size = record.needed_address(), record.length()
                    self._huge[record.length()] = place, size
        number = id.uint(min(source.length_bytes, self._id_bytes - 1))
        if number not in self._huge:
            raise id.damaged("has not the object that it is asked for", got=f"object {number}")
        address, size = self._huge[number]
        return source.cursor(address, size, what)

    def _nowhere(self, offset: int) -> FormatError:
        return FormatError(
            f"{_WHAT} has not the object that it is asked for",
            offset=self._source.base + self._address,
            got=f"an object at {offset}",
        )


def _width_of_log2(size: int) -> int:
    """How many bytes the offsets in a block of a size need, by HDF5's reckoning."""
    return (size.bit_length() - 1 + 7) // 8
