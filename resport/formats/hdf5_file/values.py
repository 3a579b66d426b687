"""The values of a dataset, from wherever its layout has them.

How large a dataset is has been held against the file before: here memory is taken for what it says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from resport.errors import FormatError
from resport.formats.hdf5_file.chunks import Chunk
from resport.formats.hdf5_file.filters import undo_filters
from resport.formats.hdf5_file.layout import CHUNKED, COMPACT, CONTIGUOUS
from resport.formats.hdf5_file.objects import Dataset
from resport.formats.hdf5_file.texts import texts_of

if TYPE_CHECKING:
    import numpy as np

_WHAT = "the place of its values"
# Plain numbers are moved faster than elements that numpy knows nothing of.
_MOVED_AS = {1: "u1", 2: "u2", 4: "u4", 8: "u8"}


def read_numbers(dataset: Dataset, array: np.ndarray) -> None:
    """Fill an array with the values of a dataset.

    Args:
        dataset: the dataset.
        array: C-contiguous and little-endian, of the dataset's shape, and of elements as wide as those in the file; for
            truth values, of one byte whatever their width in the file.

    Raises:
        FormatError: the values are damaged.
    """
    import numpy as np

    if dataset.datatype.element != "bool":
        raw = array.reshape(-1).view(np.uint8)
        _read_raw(dataset, raw)
        if dataset.datatype.is_big_endian:
            array.byteswap(inplace=True)
        return
    wide = np.empty(dataset.nbytes, np.uint8)
    _read_raw(dataset, wide)
    order = ">" if dataset.datatype.is_big_endian else "<"
    numbers = wide.view(f"{order}u{dataset.datatype.size}").reshape(array.shape)
    if numbers.size and int(numbers.max()) > 1:
        raise FormatError("it has a truth value that is neither true nor false", got=int(numbers.max()))
    array[...] = numbers.astype(np.bool_)


def plain_pieces(dataset: Dataset) -> Iterator[memoryview] | None:
    """The values of a dataset as pieces of the file; None where they don't lie there as ``read_numbers`` gives them."""
    layout, kind = dataset.layout, dataset.datatype
    if layout.kind != CONTIGUOUS or layout.address is None or kind.is_big_endian or kind.element == "bool":
        return None
    return dataset.file.source.pieces(layout.address, dataset.nbytes, _WHAT)


def read_texts(dataset: Dataset) -> list[bytes]:
    """The texts of a dataset, the last axis fastest.

    Raises:
        FormatError: the values are damaged, or refer to texts that are not there.
    """
    import numpy as np

    raw = np.empty(dataset.nbytes, np.uint8)
    _read_raw(dataset, raw)
    return texts_of(dataset.datatype, raw.tobytes(), dataset.dataspace.count, dataset.file.heap)


def _read_raw(dataset: Dataset, raw: np.ndarray) -> None:
    """Fill an array of bytes with the elements as the file has them."""
    import numpy as np

    layout = dataset.layout
    if layout.kind == COMPACT and len(layout.data) >= len(raw):
        raw[:] = np.frombuffer(layout.data, np.uint8)[: len(raw)]
    elif layout.kind == CONTIGUOUS and layout.address is not None:
        dataset.file.source.read_into(raw.data, layout.address, _WHAT)
    elif layout.kind == CHUNKED:
        _read_chunks(dataset, raw)
    elif len(raw):
        raise FormatError("its values were never stored", expected=f"{len(raw)} bytes")


def _read_chunks(dataset: Dataset, raw: np.ndarray) -> None:
    """Put every chunk in its place; where one was never written, elements have the fill value."""
    shape = dataset.dataspace.shape or ()
    layout = dataset.layout
    elements = raw.view(_MOVED_AS.get(layout.element_bytes, f"V{layout.element_bytes}")).reshape(shape)
    grid = [-(-axis // step) for axis, step in zip(shape, layout.chunk, strict=True)]
    inside = [chunk for chunk in dataset.chunks if all(at < count for at, count in zip(chunk.place, grid, strict=True))]
    if len(inside) < math.prod(grid):
        _fill_up(dataset, elements)
    for chunk in inside:
        starts = [at * step for at, step in zip(chunk.place, layout.chunk, strict=True)]
        ends = [min(start + step, axis) for start, step, axis in zip(starts, layout.chunk, shape, strict=True)]
        part = elements[tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))]
        if not dataset.filters and part.shape == layout.chunk and part.flags.c_contiguous:
            dataset.file.source.read_into(part.reshape(-1).view(raw.dtype).data, chunk.address, _WHAT)
        else:
            whole = _read_chunk(dataset, chunk, elements.dtype)
            part[...] = whole[tuple(slice(0, end - start) for start, end in zip(starts, ends, strict=True))]


def _read_chunk(dataset: Dataset, chunk: Chunk, kind: np.dtype) -> np.ndarray:
    """The elements of a chunk, its filters undone."""
    import numpy as np

    layout = dataset.layout
    stored = bytearray(chunk.size)
    dataset.file.source.read_into(memoryview(stored), chunk.address, _WHAT)
    n_bytes = math.prod(layout.chunk) * layout.element_bytes
    data = undo_filters(stored, dataset.filters, chunk.mask, n_bytes)
    return np.frombuffer(data, kind).reshape(layout.chunk)


def _fill_up(dataset: Dataset, elements: np.ndarray) -> None:
    import numpy as np

    value = dataset.fill_value
    if value and len(value) != dataset.datatype.size:
        raise FormatError(
            "its fill value is not as large as an element",
            expected=f"{dataset.datatype.size} bytes",
            got=f"{len(value)} bytes",
        )
    elements[...] = np.frombuffer(value or bytes(dataset.datatype.size), elements.dtype)[0]
