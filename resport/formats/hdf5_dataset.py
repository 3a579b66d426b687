"""Tensors as HDF5 datasets: believed only as far as the file bears them out, and written so that bytes never vary.

A dataset is believed to be as large as it says only when the file holds that much, or that much could come out of the
compressed bytes it holds. Its values must lie in the file itself: external storage and virtual datasets are refused.

Datasets are created without timestamps, and their place allocated, before the first value is written: so the order of
writing leaves no trace. Element types that HDF5 lacks (bfloat16, float8, int4) are stored as Keras 3 stores bfloat16:
opaque elements, with the type's name in an attribute ``dtype`` of the dataset.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from resport.dtypes import BY_NAME, OPAQUE, from_numpy, to_numpy
from resport.errors import ChecksumError, FormatError
from resport.formats.hdf5 import hdf5_errors, shown, text_attribute, window_of
from resport.formats.hdf5_text import TextSource
from resport.tensors import TensorSpec

if TYPE_CHECKING:
    import h5py
    import numpy as np

# deflate makes at most 1032 bytes of one.
HDF5_MAX_EXPANSION = 1100
DTYPE_ATTRIBUTE = "dtype"

# Those that HDF5 can describe by itself.
_NATIVE = frozenset(
    "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64 complex64 complex128".split()
)


def dataset_spec(dataset: h5py.Dataset, name: str, path: str) -> TensorSpec:
    """The spec of a dataset, whose size is checked against the file.

    Args:
        dataset: the dataset.
        name: the tensor's name.
        path: the file.

    Raises:
        FormatError: it is no plain array, lies outside of the file, or claims more than the file can hold.
    """
    import h5py

    with hdf5_errors(path, shown(dataset)):
        creation = dataset.id.get_create_plist()
        layout = creation.get_layout()
        if layout == h5py.h5d.VIRTUAL or creation.get_external_count():
            raise FormatError(
                f"the values of {shown(dataset)} lie outside of `{path}`",
                path=path,
                expected="values in the file itself",
                got="a virtual dataset" if layout == h5py.h5d.VIRTUAL else "external storage",
            )
        if dataset.shape is None:
            raise FormatError(f"{shown(dataset)} in `{path}` is not an array", path=path)
        spec = TensorSpec(name, tuple(int(axis) for axis in dataset.shape), _dtype_of(dataset, path))
        _check_size(dataset, spec, creation, path)
    return spec


def _dtype_of(dataset: h5py.Dataset, path: str) -> str:
    """The dtype of a dataset's elements: that of its attribute ``dtype`` if the elements can be of it."""
    import h5py

    # Sequences of variable length and references are not even looked at: the library crashes on damaged ones.
    held = dataset.id.get_type().get_class()
    if held in {h5py.h5t.VLEN, h5py.h5t.REFERENCE, h5py.h5t.ARRAY, h5py.h5t.NO_CLASS}:
        raise FormatError(
            f"{shown(dataset)} in `{path}` is not an array of numbers or text", path=path, got="nested elements"
        )
    kind = dataset.dtype
    marked = BY_NAME.get(text_attribute(dataset, DTYPE_ATTRIBUTE, path) or "")
    if kind.kind == "V" and kind.names is None and kind.subdtype is None:
        if marked and marked.name not in OPAQUE and marked.itemsize == kind.itemsize:
            return marked.name
        if kind.itemsize == 2:
            # Keras 3 marks bfloat16 in `.weights.h5` only; nothing else that weights are made of is opaque there.
            return "bfloat16"
    elif held == h5py.h5t.STRING:
        return "string"
    elif kind.kind in "biufc" and kind.name in _NATIVE:
        stored = from_numpy(kind)
        return marked.name if marked and marked.numpy == stored else stored
    raise FormatError(
        f"{shown(dataset)} in `{path}` is not an array of numbers or text", path=path, got=f"elements of {kind}"
    )


def _check_size(dataset: h5py.Dataset, spec: TensorSpec, creation: Any, path: str) -> None:
    import h5py

    nbytes = spec.size * dataset.dtype.itemsize
    if nbytes == 0:
        return
    file_bytes = window_of(dataset).size
    stored = dataset.id.get_storage_size()
    limit = stored
    if creation.get_layout() == h5py.h5d.CHUNKED:
        limit = stored * HDF5_MAX_EXPANSION
        # One chunk is held in memory as a whole, and may be larger than the dataset.
        nbytes = max(nbytes, math.prod(creation.get_chunk()) * dataset.dtype.itemsize)
    if not 0 < stored <= file_bytes or nbytes > limit:
        raise FormatError(
            f"{shown(dataset)} in `{path}` has not the values that it should have",
            path=path,
            expected=f"{nbytes} bytes for {spec.shape} {spec.dtype}",
            got=f"{stored} stored bytes in a file of {file_bytes}",
        )


def read_dataset(dataset: h5py.Dataset, spec: TensorSpec, path: str) -> np.ndarray:
    """Read a dataset into a new array of its spec's shape and dtype, in native byte order."""
    import numpy as np

    with hdf5_errors(path, shown(dataset)):
        if spec.dtype == "string":
            array = np.empty(spec.shape, object)
            array.reshape(-1)[:] = _text_values(dataset, spec.size)
            return array
        array = np.empty(spec.shape, to_numpy(spec.dtype))
        if array.size:
            _fill(dataset, stored_view(array, spec.dtype), path)
        return array


def _fill(dataset: h5py.Dataset, array: np.ndarray, path: str) -> None:
    try:
        dataset.read_direct(array)
    except OSError as error:
        # The checksum is the last filter when writing, and so the first that can fail when reading.
        if dataset.fletcher32 and "filter returned failure" in str(error):
            raise ChecksumError(f"checksum of {shown(dataset)} in `{path}` is wrong", path=path) from error
        raise


def _text_values(dataset: h5py.Dataset, count: int) -> list[bytes]:
    import h5py
    import numpy as np

    if not dataset.id.get_type().is_variable_str():
        return np.ravel(dataset[()]).tolist() if count else []
    if dataset.id.get_create_plist().get_layout() != h5py.h5d.CONTIGUOUS:
        raise FormatError("it has texts of variable length in chunks", hint="rewrite it without chunks")
    return TextSource(dataset.file, window_of(dataset)).dataset(dataset.id.get_offset(), count) if count else []


def create_dataset(group: h5py.Group, name: str, spec: TensorSpec) -> h5py.Dataset:
    """Create a contiguous dataset, its place in the file allocated but its values not written yet."""
    import h5py
    import numpy as np

    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    links.set_char_encoding(h5py.h5t.CSET_UTF8)
    space = h5py.h5s.create_simple(spec.shape) if spec.shape else h5py.h5s.create(h5py.h5s.SCALAR)
    stored = stored_view(np.empty((), to_numpy(spec.dtype)), spec.dtype).dtype
    kind = h5py.h5t.py_create(stored, logical=True)
    dataset = h5py.Dataset(h5py.h5d.create(group.id, name.encode(), kind, space, creation, links))
    if spec.dtype not in _NATIVE:
        dataset.attrs[DTYPE_ATTRIBUTE] = spec.dtype
    return dataset


def stored_view(array: np.ndarray, dtype: str) -> np.ndarray:
    """An array with its elements as HDF5 has them: those of types that HDF5 lacks are opaque."""
    is_native = (BY_NAME[dtype].numpy or dtype) in _NATIVE
    return array if is_native else array.view(f"V{array.dtype.itemsize}")
