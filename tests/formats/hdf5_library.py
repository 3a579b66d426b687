"""The HDF5 library beside our own encoder: it makes the file of a tree too, and says what is in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from resport.dtypes import to_numpy
from resport.formats.hdf5_encoding.file import EncodedFile, encode_file
from resport.formats.hdf5_encoding.tree import Names, NewDataset, NewGroup, Value
from resport.tensors import TensorSpec
from tests.contracts import random_array


def datasets(tree: NewGroup) -> Iterator[NewDataset]:
    """Every dataset of a tree."""
    for member in tree.members.values():
        if isinstance(member, NewGroup):
            yield from datasets(member)
        else:
            yield member


def head_of(file: EncodedFile) -> bytes:
    """All that stands before the values."""
    return file.front + b"".join(file.rest)


def write_by_encoder(tree: NewGroup, path: Path) -> None:
    """Write a tree with random values by our encoder, the values in an order of their own."""
    file = encode_file(tree)
    with path.open("wb") as handle:
        for dataset in sorted(datasets(tree), key=lambda dataset: dataset.spec.name[::-1]):
            handle.seek(file.offsets[dataset.spec.name])
            handle.write(values_of(dataset.spec))
        handle.seek(0)
        handle.write(head_of(file))
    assert path.stat().st_size == file.n_bytes


def write_by_library(tree: NewGroup, path: Path) -> None:
    """Write a tree with the same values by the library."""
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        _fill(file, tree)


def values_of(spec: TensorSpec) -> bytes:
    """The bytes that a dataset gets."""
    return random_array(spec.dtype, spec.shape, len(spec.name)).tobytes()


def _fill(group: h5py.Group, tree: NewGroup) -> None:
    _add_attributes(group, tree.attributes)
    for name, member in tree.members.items():
        if isinstance(member, NewGroup):
            _fill(group.create_group(name), member)
        else:
            _add_attributes(_add_dataset(group, name, member.spec), member.attributes)


def _add_dataset(group: h5py.Group, name: str, spec: TensorSpec) -> h5py.Dataset:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    space = h5py.h5s.create_simple(spec.shape) if spec.shape else h5py.h5s.create(h5py.h5s.SCALAR)
    dataset = h5py.h5d.create(group.id, name.encode(), library_type(spec.dtype), space, creation)
    array = np.frombuffer(values_of(spec), library_dtype(spec.dtype)).reshape(spec.shape)
    if array.size:
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array.copy(), mtype=dataset.get_type())
    return h5py.Dataset(dataset)


def _add_attributes(node: h5py.Group | h5py.Dataset, attributes: dict[str, Value]) -> None:
    for name, value in attributes.items():
        if isinstance(value, Names):
            node.attrs.create(name, np.array(value.texts, f"S{value.width}"))
        elif isinstance(value, bytes):
            node.attrs[name] = value
        else:
            node.attrs.create(name, value, dtype=h5py.string_dtype())


def library_dtype(dtype: str) -> np.dtype:
    """numpy's type of the elements, as it is handed to the library: without the names that only ml_dtypes knows."""
    plain = to_numpy(dtype)
    return plain if plain.type.__module__ == "numpy" else np.dtype(f"V{plain.itemsize}")


def library_type(dtype: str) -> h5py.h5t.TypeID:
    """The type that the library gives such elements."""
    return h5py.h5t.py_create(library_dtype(dtype), logical=True)


def look(path: Path) -> dict[str, Any]:
    """All that the library says of a file but where things are: objects, attributes, types, shapes, properties, values."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        found["/"] = ("Group", _look_at_attributes(file), None)
        file.visititems(lambda name, node: found.__setitem__(name, _look_at(node)))
    return found


def _look_at(node: h5py.Group | h5py.Dataset) -> tuple[Any, ...]:
    return type(node).__name__, _look_at_attributes(node), _look_at_values(node)


def _look_at_attributes(node: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    found = {}
    for name in node.attrs:
        attribute = h5py.h5a.open(node.id, name.encode())
        value = node.attrs[name]
        shown = value.tolist() if isinstance(value, np.ndarray) else value
        found[name] = (attribute.get_type().encode(), attribute.get_space().encode(), type(value), shown)
    return found


def _look_at_values(node: h5py.Group | h5py.Dataset) -> tuple[Any, ...] | None:
    if isinstance(node, h5py.Group):
        return None
    creation = node.id.get_create_plist()
    properties = (creation.get_layout(), creation.get_alloc_time(), creation.get_fill_time())
    kind, space = node.id.get_type().encode(), node.id.get_space().encode()
    return kind, space, properties, creation.fill_value_defined(), node.id.get_storage_size(), node[()].tobytes()
