"""Tensors as HDF5 datasets, believed only as far as the file bears them out.

A dataset is believed to be as large as it says only when the file holds that much, or that much could come out of the
compressed bytes it holds; one whose values were never stored has none, whatever they would be filled with. Its values
must lie in the file itself: external storage and virtual datasets are refused.

Element types that HDF5 lacks (bfloat16, float8, int4) are stored as Keras 3 stores bfloat16: opaque elements, with the
type's name in an attribute ``dtype`` of the dataset.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from resport.dtypes import BY_NAME, OPAQUE, to_numpy
from resport.errors import FormatError
from resport.formats.base import Buffer
from resport.formats.damage import check_text_count
from resport.formats.hdf5 import HDF5Errors, shown, text_attribute
from resport.formats.hdf5_file import datatype
from resport.formats.hdf5_file.layout import CHUNKED, VIRTUAL
from resport.formats.hdf5_file.objects import Dataset
from resport.formats.hdf5_file.values import plain_pieces, read_numbers, read_texts
from resport.tensors import TensorSpec

if TYPE_CHECKING:
    import numpy as np

HDF5_MAX_EXPANSION = 1100
"""Deflate makes at most 1032 bytes of one."""
HDF5_BOMB_BYTES = 64 << 20
HDF5_BOMB_EXPANSION = 100
"""Weights hardly shrink: so much out of so little are none."""
HDF5_MAX_EMPTY = 1 << 48
DTYPE_ATTRIBUTE = "dtype"


def dataset_spec(dataset: Dataset, name: str, path: str) -> TensorSpec:
    """The spec of a dataset, whose size is checked against the file.

    Args:
        dataset: the dataset.
        name: the tensor's name.
        path: the file.

    Raises:
        FormatError: it is no plain array, lies outside of the file, or claims more than the file can hold.
    """
    with HDF5Errors(path, lambda: shown(dataset)):
        is_virtual = dataset.layout.kind == VIRTUAL
        if is_virtual or dataset.has_external_files:
            raise FormatError(
                f"the values of {shown(dataset)} lie outside of `{path}`",
                path=path,
                expected="values in the file itself",
                got="a virtual dataset" if is_virtual else "external storage",
            )
        if dataset.dataspace.shape is None:
            raise FormatError(f"{shown(dataset)} in `{path}` is not an array", path=path)
        spec = TensorSpec(name, dataset.dataspace.shape, _dtype_of(dataset, path))
        if spec.dtype == "string":
            check_text_count(spec.size)
        dataset.check_fill_value()
        _check_size(dataset, spec, path)
    return spec


def _dtype_of(dataset: Dataset, path: str) -> str:
    """The dtype of a dataset's elements: that of its attribute ``dtype`` if the elements can be of it."""
    kind = dataset.datatype
    if kind.element in {datatype.TEXT, datatype.TEXT_REFERENCE}:
        return "string"
    marked = BY_NAME.get(text_attribute(dataset, DTYPE_ATTRIBUTE, path) or "")
    if kind.element == datatype.OPAQUE:
        if marked and marked.name not in OPAQUE and marked.itemsize == kind.size:
            return marked.name
        if kind.size == 2:
            # Keras 3 marks bfloat16 in `.weights.h5` only; nothing else that weights are made of is opaque there.
            return "bfloat16"
    elif kind.element:
        return marked.name if marked and marked.numpy == kind.element else kind.element
    raise FormatError(f"{shown(dataset)} in `{path}` is not an array of numbers or text", path=path, got=kind.shown)


def _check_size(dataset: Dataset, spec: TensorSpec, path: str) -> None:
    nbytes = dataset.nbytes
    if nbytes == 0:
        # Memory is not asked for, but numpy multiplies the other axes all the same.
        if math.prod(filter(None, spec.shape)) > HDF5_MAX_EMPTY:
            raise FormatError("it has an impossible shape", got=spec.shape)
        return
    file_bytes = dataset.file.source.size
    stored = limit = dataset.stored_bytes()
    if dataset.layout.kind == CHUNKED:
        # One chunk is held in memory as a whole, and may be larger than the dataset.
        nbytes = max(nbytes, math.prod(dataset.layout.chunk) * dataset.layout.element_bytes)
        limit = stored * (HDF5_MAX_EXPANSION if nbytes <= HDF5_BOMB_BYTES else HDF5_BOMB_EXPANSION)
    if not 0 < stored <= file_bytes or nbytes > limit:
        raise FormatError(
            f"{shown(dataset)} in `{path}` has not the values that it should have",
            path=path,
            expected=f"{nbytes} bytes for {spec.shape} {spec.dtype}",
            got=f"{stored} stored bytes in a file of {file_bytes}",
        )


def check_apart(datasets: Iterable[tuple[Dataset, str]]) -> None:
    """Refuse datasets of which two have their values at one place: a small file would be of any size.

    Args:
        datasets: each with its file; one that is there twice is one.

    Raises:
        FormatError: two of them overlap.
    """
    distinct = {(path, dataset.address): dataset for dataset, path in datasets}
    pieces = sorted(
        (path, start, start + size, shown(dataset))
        for (path, _), dataset in distinct.items()
        for start, size in dataset.extents()
        if size
    )
    for (path, _, end, name), (next_path, start, _, next_name) in itertools.pairwise(pieces):
        if path == next_path and start < end:
            raise FormatError(
                f"values of {name} and of {next_name} lie at one place of `{path}`",
                path=path,
                offset=start,
                expected=f"byte {end} or later",
                got=f"byte {start}",
            )


def read_dataset(dataset: Dataset, spec: TensorSpec, path: str) -> np.ndarray:
    """Read a dataset into a new array of its spec's shape and dtype, in native byte order."""
    import numpy as np

    with HDF5Errors(path, lambda: shown(dataset)):
        if spec.dtype == "string":
            array = np.empty(spec.shape, object)
            array.reshape(-1)[:] = read_texts(dataset) if array.size else []
            return array
        array = np.empty(spec.shape, to_numpy(spec.dtype))
        if array.size:
            read_numbers(dataset, array)
        return array


def dataset_pieces(dataset: Dataset, spec: TensorSpec, path: str) -> Iterator[Buffer] | None:
    """The bytes of the array that ``read_dataset`` gives, piece by piece; None where the file has them otherwise."""
    pieces = None if spec.dtype == "string" else plain_pieces(dataset)
    return None if pieces is None else _located_pieces(pieces, dataset, path)


def _located_pieces(pieces: Iterator[Buffer], dataset: Dataset, path: str) -> Iterator[Buffer]:
    with HDF5Errors(path, lambda: shown(dataset)):
        yield from pieces
