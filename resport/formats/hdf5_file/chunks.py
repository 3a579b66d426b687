"""The chunks of a dataset, found through any of the six indexes that layouts have (section III.A and appendix C)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from resport.errors import FormatError
from resport.formats.hdf5_file.btree_v1 import CHUNK_NODE, leaf_entries
from resport.formats.hdf5_file.btree_v2 import CHUNK, FILTERED_CHUNK, records
from resport.formats.hdf5_file.chunk_arrays import extensible_array, fixed_array
from resport.formats.hdf5_file.dataspace import Dataspace
from resport.formats.hdf5_file.file_bytes import Cursor, FileBytes
from resport.formats.hdf5_file.layout import EXTENSIBLE_ARRAY, FIXED_ARRAY, IMPLICIT, SINGLE, TREE_V1, Layout

_WHAT = "the index of a dataset's chunks"
_MASK_BYTES = 4
_OFFSET_BYTES = 8


class Chunk(NamedTuple):
    """A chunk that was written.

    Attributes:
        place: how many chunks lie in front of it, along each axis.
        address: where its bytes are.
        size: how many bytes are stored.
        mask: the filters that were left out for it, a bit for each.
    """

    place: tuple[int, ...]
    address: int
    size: int
    mask: int = 0


def find_chunks(source: FileBytes, layout: Layout, dataspace: Dataspace, is_filtered: bool) -> list[Chunk]:
    """All chunks of a dataset that were written; those beyond its shape can be among them.

    Args:
        source: the file.
        layout: the dataset's layout, which is chunked.
        dataspace: the dataset's shape.
        is_filtered: whether its chunks pass through filters.

    Raises:
        FormatError: the index is damaged, or leads to chunks twice or outside of the file.
    """
    if dataspace.shape is None or len(dataspace.shape) != len(layout.chunk):
        raise FormatError("its chunks have not as many axes as it has", expected=dataspace.shape, got=layout.chunk)
    if layout.address is None:
        return []
    chunks = []
    for chunk in _indexed(source, layout, layout.address, dataspace, is_filtered):
        source.count_chunk(len(layout.chunk))
        chunks.append(chunk)
    if len({chunk.place for chunk in chunks}) != len(chunks):
        raise FormatError("it has two chunks at one place", offset=source.base + layout.address)
    n_bytes = math.prod(layout.chunk) * layout.element_bytes
    for chunk in chunks:
        source.check_extent(chunk.address, chunk.size, "a chunk")
        if not is_filtered and chunk.size != n_bytes:
            raise FormatError("a chunk is not as large as it should be", expected=f"{n_bytes} bytes", got=chunk.size)
        if chunk.size == 0:
            raise FormatError("it has a chunk without bytes", offset=source.base + chunk.address)
    return chunks


def _indexed(
    source: FileBytes, layout: Layout, address: int, dataspace: Dataspace, is_filtered: bool
) -> Iterator[Chunk]:
    n_bytes = math.prod(layout.chunk) * layout.element_bytes
    if layout.index == TREE_V1:
        return _from_old_tree(source, layout, address)
    if layout.index == SINGLE:
        return iter([Chunk((0,) * len(layout.chunk), address, layout.size or n_bytes, layout.mask)])
    if layout.index == IMPLICIT:
        return _in_a_row(source, layout, address, dataspace, n_bytes)
    if layout.index == FIXED_ARRAY:
        entries = fixed_array(source, address, is_filtered)
        return _from_array(entries, _counts(dataspace, layout), None, n_bytes)
    if layout.index == EXTENSIBLE_ARRAY:
        entries = extensible_array(source, address, is_filtered)
        endless = [axis for axis, most in enumerate(dataspace.maximum) if most is None]
        if len(endless) != 1:
            raise FormatError("its chunks are in an array for one axis without a bound", got=dataspace.maximum)
        return _from_array(entries, _counts(dataspace, layout), endless[0], n_bytes)
    return _from_new_tree(source, layout, address, is_filtered, n_bytes)


def _counts(dataspace: Dataspace, layout: Layout) -> list[int]:
    """How many chunks there can be along each axis; 1 along one without a bound."""
    axes = zip(dataspace.maximum, layout.chunk, strict=True)
    return [1 if most is None else -(-most // step) for most, step in axes]


def _from_old_tree(source: FileBytes, layout: Layout, address: int) -> Iterator[Chunk]:
    rank = len(layout.chunk)
    key_bytes = 8 + _OFFSET_BYTES * (rank + 1)
    for key, child in leaf_entries(source, address, CHUNK_NODE, key_bytes, _WHAT):
        size, mask = key.uint(4), key.uint(4)
        starts = [key.uint(_OFFSET_BYTES) for _ in range(rank)]
        if any(start % step for start, step in zip(starts, layout.chunk, strict=True)):
            raise key.damaged("has a chunk at an impossible place", expected=f"multiples of {layout.chunk}", got=starts)
        yield Chunk(tuple(start // step for start, step in zip(starts, layout.chunk, strict=True)), child, size, mask)


def _from_new_tree(source: FileBytes, layout: Layout, address: int, is_filtered: bool, n_bytes: int) -> Iterator[Chunk]:
    place_bytes = _OFFSET_BYTES * len(layout.chunk)
    for record in records(source, address, FILTERED_CHUNK if is_filtered else CHUNK, _WHAT):
        place = Cursor(source, record.data, record.address, _WHAT)
        place.position = max(0, len(record.data) - place_bytes)
        found = _entry(record, place.position, n_bytes)
        if found is not None:
            yield Chunk(tuple(place.uint(_OFFSET_BYTES) for _ in layout.chunk), *found)


def _in_a_row(source: FileBytes, layout: Layout, address: int, dataspace: Dataspace, n_bytes: int) -> Iterator[Chunk]:
    """Chunks that follow one another, all of them."""
    counts = _counts(dataspace, layout)
    n_chunks = math.prod(counts)
    source.check_extent(address, n_chunks * n_bytes, "a row of chunks")
    for number in range(n_chunks):
        yield Chunk(_place(number, counts), address + number * n_bytes, n_bytes)


def _from_array(
    entries: Iterable[tuple[int, Cursor]], counts: Sequence[int], endless: int | None, n_bytes: int
) -> Iterator[Chunk]:
    """The chunks of an array, which counts along the axis without a bound last, as if it were the first axis."""
    order = list(range(len(counts)))
    if endless is not None:
        order.insert(0, order.pop(endless))
    ordered = [counts[axis] for axis in order]
    n_chunks = math.prod(ordered)
    for number, entry in entries:
        found = _entry(entry, len(entry.data), n_bytes)
        if found is None:
            continue
        if endless is None and number >= n_chunks:
            raise entry.damaged("has more chunks than the dataset", expected=n_chunks, got=number)
        place = _place(number, ordered)
        yield Chunk(tuple(place[order.index(axis)] for axis in range(len(order))), *found)


def _entry(cursor: Cursor, end: int, n_bytes: int) -> tuple[int, int, int] | None:
    """Address, size and mask of a chunk; None for one that was never written."""
    address = cursor.address_or_none()
    if address is None:
        return None
    size_bytes = end - cursor.position - _MASK_BYTES
    if size_bytes <= 0:
        return address, n_bytes, 0
    return address, cursor.uint(size_bytes), cursor.uint(_MASK_BYTES)


def _place(number: int, counts: Sequence[int]) -> tuple[int, ...]:
    """Where the chunk of a number is; along the first axis there can be more of them than its count says."""
    place = []
    for count in reversed(counts[1:]):
        number, rest = divmod(number, max(1, count))
        place.append(rest)
    return (number, *reversed(place))
