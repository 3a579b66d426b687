"""Filters: how the chunks of a dataset were compressed and checked (section IV.A.2.l).

Undone are those that HDF5 and h5py always have: deflate, shuffle, Fletcher-32 and LZF. Nothing is made larger than the
chunk it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from resport.errors import ChecksumError, FormatError
from resport.formats.hdf5_file.checksum import fletcher32
from resport.formats.hdf5_file.file_bytes import CHECKSUM_BYTES, Cursor
from resport.formats.hdf5_file.lzf import expand_lzf

if TYPE_CHECKING:
    from collections.abc import Callable

Bytes = bytes | bytearray
MAX_FILTERS = 32
_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_SHOWN = {4: "szip", 5: "nbit", 6: "scaleoffset", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32015: "zstd"}
_FIRST_WITH_NAME = 256


class Filter(NamedTuple):
    """One filter of a dataset.

    Attributes:
        id: its number.
        values: what it was told; the size of an element, for shuffle.
    """

    id: int
    values: tuple[int, ...]


def parse_filters(cursor: Cursor) -> tuple[Filter, ...]:
    """Parse the message.

    Raises:
        FormatError: it is damaged.
    """
    version, count = cursor.version(1, 2), cursor.uint(1)
    if count > MAX_FILTERS:
        raise cursor.damaged("has too many filters", expected=f"at most {MAX_FILTERS}", got=count)
    if version == 1:
        cursor.take(6)
    filters = []
    for _ in range(count):
        id = cursor.uint(2)
        name_bytes = cursor.uint(2) if version == 1 or id >= _FIRST_WITH_NAME else 0
        cursor.take(2)
        n_values = cursor.uint(2)
        cursor.take(name_bytes + (-name_bytes % 8 if version == 1 else 0))
        filters.append(Filter(id, tuple(cursor.uint(4) for _ in range(n_values))))
        if version == 1 and n_values % 2:
            cursor.take(4)
    return tuple(filters)


def undo_filters(data: Bytes, filters: Sequence[Filter], mask: int, n_bytes: int) -> Bytes:
    """The elements of a chunk.

    Args:
        data: the chunk as it is stored.
        filters: those of the dataset, in the order in which they were applied.
        mask: the filters that were left out for this chunk, a bit for each.
        n_bytes: how many bytes the chunk has.

    Raises:
        FormatError: a filter is not known, or the bytes are not what it makes.
        ChecksumError: they are not those that were written.
    """
    # What one filter gives, the next may have added a checksum to.
    most = n_bytes + CHECKSUM_BYTES * len(filters)
    for number, each in reversed(list(enumerate(filters))):
        if not mask >> number & 1:
            undo = _UNDO.get(each.id)
            if undo is None:
                raise FormatError(
                    f"its values were passed through the filter {_SHOWN.get(each.id, 'of this number')}, not read here",
                    expected="deflate, shuffle, fletcher32 or lzf",
                    got=f"filter {each.id}",
                    hint="where the filter is installed: `h5repack -f NONE FILE OTHER`",
                )
            data = undo(data, each, most)
    if len(data) != n_bytes:
        raise FormatError("a chunk is not as large as it should be", expected=f"{n_bytes} bytes", got=f"{len(data)}")
    return data


def _inflate(data: Bytes, each: Filter, most: int) -> Bytes:
    stream = zlib.decompressobj()
    try:
        # One more than there can be, so that the end is seen.
        expanded = stream.decompress(data, most + 1)
    except zlib.error as error:
        raise FormatError(f"a chunk is no deflate stream: {error}") from None
    if not stream.eof:
        raise FormatError("a chunk's deflate stream ends too early, or too late", expected=f"at most {most} bytes")
    return expanded


def _unshuffle(data: Bytes, each: Filter, most: int) -> Bytes:
    import numpy as np

    width = each.values[0] if each.values else 0
    if width < 2 or len(data) < width:
        return data
    n_elements = len(data) // width
    planes = np.frombuffer(data, np.uint8, n_elements * width).reshape(width, n_elements)
    return planes.T.tobytes() + data[n_elements * width :]


def _check_fletcher32(data: Bytes, each: Filter, most: int) -> Bytes:
    if len(data) < CHECKSUM_BYTES:
        raise FormatError("a chunk is too short for its checksum", got=f"{len(data)} bytes")
    body, stored = data[:-CHECKSUM_BYTES], bytes(data[-CHECKSUM_BYTES:])
    computed = fletcher32(body).to_bytes(CHECKSUM_BYTES, "little")
    # Releases before 1.6.3 had the bytes of each half in the other order on such machines.
    swapped = bytes((computed[1], computed[0], computed[3], computed[2]))
    if stored not in {computed, swapped}:
        raise ChecksumError("the checksum of a chunk is wrong", expected=stored.hex(), got=computed.hex())
    return body


def _expand_lzf(data: Bytes, each: Filter, most: int) -> Bytes:
    return expand_lzf(data, most)


_UNDO: dict[int, Callable[[Bytes, Filter, int], Bytes]] = {
    _DEFLATE: _inflate,
    _SHUFFLE: _unshuffle,
    _FLETCHER32: _check_fletcher32,
    _LZF: _expand_lzf,
}
