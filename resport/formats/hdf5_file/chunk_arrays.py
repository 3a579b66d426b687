"""Fixed and extensible arrays, which index the chunks of newer datasets (sections III.A.4 and III.A.5).

Both hold one entry for each chunk, whether it was written or not, in blocks; blocks that would be long are cut into
pages, of which only those exist that were written to.
"""

from __future__ import annotations

from collections.abc import Iterator

from resport.formats.hdf5_file.file_bytes import CHECKSUM_BYTES, Cursor, FileBytes

_FIXED, _EXTENSIBLE = "an array of chunks", "an extensible array of chunks"
_MAX_PAGE_BITS = 30
_MAX_COUNT_BITS = 64
Entry = tuple[int, Cursor]
"""The number of a chunk and what the array says of it."""


def fixed_array(source: FileBytes, address: int, is_filtered: bool) -> Iterator[Entry]:
    """Yield the entries of a fixed array, with all that were never written in blocks and pages that exist.

    Raises:
        FormatError: the array is damaged.
    """
    head_bytes = 8 + source.length_bytes + source.address_bytes + CHECKSUM_BYTES
    header = source.checked(address, head_bytes, b"FAHD", _FIXED)
    header.version(0)
    _check_filtered(header, is_filtered)
    entry_bytes, page_bits, count = header.uint(1), header.uint(1), header.length()
    block = header.address_or_none()
    if entry_bytes == 0 or page_bits > _MAX_PAGE_BITS:
        raise header.damaged("has impossible entries", got=f"{entry_bytes} bytes, pages of 2^{page_bits}")
    if block is None:
        return
    per_page = 1 << page_bits
    prefix_bytes = 6 + source.address_bytes
    if count <= per_page:
        size = prefix_bytes + count * entry_bytes + CHECKSUM_BYTES
        data = _block(source, block, size, b"FADB", address, _FIXED)
        yield from _entries(data, 0, count, entry_bytes)
        return
    n_pages = -(-count // per_page)
    prefix_bytes += -(-n_pages // 8)
    data = _block(source, block, prefix_bytes + CHECKSUM_BYTES, b"FADB", address, _FIXED)
    pages = block + prefix_bytes + CHECKSUM_BYTES
    for page in _set_bits(data, -(-n_pages // 8), n_pages):
        first = page * per_page
        place = pages + page * (per_page * entry_bytes + CHECKSUM_BYTES)
        yield from _page(source, place, first, min(per_page, count - first), entry_bytes, _FIXED)


class _Shape:
    """How the blocks of an extensible array grow: each group of blocks has twice the blocks or twice the entries."""

    def __init__(self, header: Cursor) -> None:
        self.entry_bytes, count_bits, self.n_inner = header.uint(1), header.uint(1), header.uint(1)
        first, n_pointers, page_bits = header.uint(1), header.uint(1), header.uint(1)
        is_power = all(number and not number & (number - 1) for number in (first, n_pointers))
        if not self.entry_bytes or not is_power or count_bits > _MAX_COUNT_BITS or page_bits > _MAX_PAGE_BITS:
            raise header.damaged("has blocks of impossible sizes", got=f"{first} entries, {n_pointers} addresses")
        self.per_page = 1 << page_bits
        self.offset_bytes = (count_bits + 7) // 8
        n_groups = max(0, 1 + count_bits - (first.bit_length() - 1))
        # For each group: how many blocks it has, and how many entries each of them.
        self.groups = [(1 << group // 2, first << (group + 1) // 2) for group in range(n_groups)]
        # The blocks of the first groups are listed beside the first entries.
        self.n_direct_groups = min(2 * (n_pointers.bit_length() - 1), n_groups)


def extensible_array(source: FileBytes, address: int, is_filtered: bool) -> Iterator[Entry]:
    """Yield the entries of an extensible array, with all that were never written in blocks and pages that exist.

    Raises:
        FormatError: the array is damaged.
    """
    head_bytes = 12 + 6 * source.length_bytes + source.address_bytes + CHECKSUM_BYTES
    header = source.checked(address, head_bytes, b"EAHD", _EXTENSIBLE)
    header.version(0)
    _check_filtered(header, is_filtered)
    shape = _Shape(header)
    header.take(6 * source.length_bytes)
    index = header.address_or_none()
    if index is None:
        return
    direct = shape.groups[: shape.n_direct_groups]
    n_blocks = sum(count for count, _ in direct)
    n_addresses = n_blocks + len(shape.groups) - len(direct)
    size = 6 + source.address_bytes + shape.n_inner * shape.entry_bytes + n_addresses * source.address_bytes
    block = _block(source, index, size + CHECKSUM_BYTES, b"EAIB", address, _EXTENSIBLE)
    yield from _entries(block, 0, shape.n_inner, shape.entry_bytes)
    first = shape.n_inner
    for group, (count, per_block) in enumerate(shape.groups):
        if group < shape.n_direct_groups:
            for number in range(count):
                place = block.address_or_none()
                if place is not None:
                    yield from _data_block(source, address, shape, place, first + number * per_block, per_block, None)
        else:
            place = block.address_or_none()
            if place is not None:
                yield from _secondary_block(source, address, shape, place, first, (count, per_block))
        first += count * per_block


def _secondary_block(
    source: FileBytes, owner: int, shape: _Shape, address: int, first: int, group: tuple[int, int]
) -> Iterator[Entry]:
    """The entries of the blocks that a secondary block lists, with the pages of each that were written to."""
    count, per_block = group
    n_pages = per_block // shape.per_page if per_block > shape.per_page else 0
    map_bytes = -(-n_pages // 8)
    size = 6 + source.address_bytes + shape.offset_bytes + count * (map_bytes + source.address_bytes) + CHECKSUM_BYTES
    block = _block(source, address, size, b"EASB", owner, _EXTENSIBLE)
    block.take(shape.offset_bytes)
    # The bits of all blocks follow one another, without gaps.
    written: dict[int, list[int]] = {}
    for bit in _set_bits(block, count * map_bytes, count * n_pages):
        written.setdefault(bit // n_pages, []).append(bit % n_pages)
    for number in range(count):
        place = block.address_or_none()
        if place is not None:
            start = first + number * per_block
            pages = written.get(number, []) if n_pages else None
            yield from _data_block(source, owner, shape, place, start, per_block, pages)


def _data_block(
    source: FileBytes, owner: int, shape: _Shape, address: int, first: int, count: int, pages: list[int] | None
) -> Iterator[Entry]:
    """The entries of a block, or of those of its pages that were written to."""
    prefix_bytes = 6 + source.address_bytes + shape.offset_bytes
    if pages is None:
        size = prefix_bytes + count * shape.entry_bytes + CHECKSUM_BYTES
        block = _block(source, address, size, b"EADB", owner, _EXTENSIBLE)
        block.take(shape.offset_bytes)
        yield from _entries(block, first, count, shape.entry_bytes)
        return
    _block(source, address, prefix_bytes + CHECKSUM_BYTES, b"EADB", owner, _EXTENSIBLE)
    page_bytes = shape.per_page * shape.entry_bytes + CHECKSUM_BYTES
    for page in pages:
        place = address + prefix_bytes + CHECKSUM_BYTES + page * page_bytes
        start = first + page * shape.per_page
        yield from _page(source, place, start, shape.per_page, shape.entry_bytes, _EXTENSIBLE)


def _check_filtered(header: Cursor, is_filtered: bool) -> None:
    if header.uint(1) != is_filtered:
        raise header.damaged("is that of other chunks", expected="filtered" if is_filtered else "unfiltered")


def _block(source: FileBytes, address: int, size: int, magic: bytes, owner: int, what: str) -> Cursor:
    """A block of an array, the cursor behind what all of them begin with."""
    block = source.checked(address, size, magic, what)
    block.version(0)
    block.take(1)
    if block.address_or_none() != owner:
        raise block.damaged("has a block of another array", expected=owner)
    return block


def _page(source: FileBytes, address: int, first: int, count: int, entry_bytes: int, what: str) -> Iterator[Entry]:
    page = source.checked(address, count * entry_bytes + CHECKSUM_BYTES, b"", what)
    yield from _entries(page, first, count, entry_bytes)


def _entries(cursor: Cursor, first: int, count: int, entry_bytes: int) -> Iterator[Entry]:
    cursor.source.count_parts(count)
    for number in range(first, first + count):
        start = cursor.address + cursor.position
        yield number, Cursor(cursor.source, cursor.take(entry_bytes), start, cursor.what)


def _set_bits(cursor: Cursor, n_bytes: int, count: int) -> Iterator[int]:
    """Numbers of the bits that are set in the next bytes, the highest of each byte being its first."""
    bits = cursor.take(n_bytes)
    cursor.source.count_parts(int.from_bytes(bits, "big").bit_count())
    for place, byte in enumerate(bits):
        for bit in range(8 if byte else 0):
            if byte & 0x80 >> bit and 8 * place + bit < count:
                yield 8 * place + bit
