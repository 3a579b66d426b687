"""What h5py says of a file, beside what our own reader says."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from resport.formats.hdf5_file.layout import IMPLICIT
from resport.formats.hdf5_file.objects import Dataset, Group, HDF5File, Node
from resport.formats.hdf5_file.texts import texts_of
from resport.formats.hdf5_file.values import read_numbers, read_texts


def check_same(path: Path | str) -> int:
    """Every group, attribute and value that h5py finds is found, and nothing else.

    Returns:
        How many objects were compared.
    """
    with h5py.File(path) as theirs, HDF5File(str(path)) as ours:
        return check_node(ours, theirs)


def check_node(ours: Node, theirs: h5py.Group | h5py.Dataset) -> int:
    """Like ``check_same``, for an object and all that is below it."""
    assert ours.name == theirs.name
    assert ours.address == h5py.h5o.get_info(theirs.id).addr
    check_attributes(ours, theirs)
    if isinstance(theirs, h5py.Dataset):
        assert isinstance(ours, Dataset)
        check_dataset(ours, theirs)
        return 1
    assert isinstance(ours, Group)
    assert sorted(ours) == sorted(theirs) and len(ours) == len(theirs)
    n_objects = 1
    for name in theirs:
        kind = theirs.get(name, getlink=True)
        assert (ours.link(name).address is None) == (not isinstance(kind, h5py.HardLink))
        if isinstance(kind, h5py.HardLink) and not isinstance(theirs[name], h5py.Datatype):
            n_objects += check_node(ours.member(name), theirs[name])
    return n_objects


def check_attributes(ours: Node, theirs: h5py.Group | h5py.Dataset) -> None:
    assert sorted(ours.attribute_names) == sorted(theirs.attrs)
    for name in theirs.attrs:
        attribute = ours.attribute(name)
        raw = h5py.h5a.open(theirs.id, name.encode())
        is_null = raw.get_space().get_simple_extent_type() == h5py.h5s.NULL
        assert attribute.dataspace.shape == (None if is_null else raw.shape)
        if is_null:
            continue
        if raw.get_type().get_class() == h5py.h5t.STRING:
            value = theirs.attrs[name]
            texts = [
                text.encode() if isinstance(text, str) else bytes(text)
                for text in ([value] if raw.shape == () else np.ravel(value))
            ]
            assert texts_of(attribute.datatype, attribute.elements, attribute.dataspace.count, ours.file.heap) == texts
        elif raw.get_type().get_class() in {h5py.h5t.INTEGER, h5py.h5t.FLOAT}:
            array = np.empty(raw.shape, raw.dtype)
            raw.read(array, mtype=raw.get_type())
            assert attribute.elements == array.tobytes()


def check_dataset(ours: Dataset, theirs: h5py.Dataset) -> None:
    assert ours.dataspace.shape == theirs.shape
    if theirs.shape is None or not ours.datatype.element:
        return
    if theirs.chunks is not None:
        assert ours.layout.chunk == theirs.chunks
    # The library leaves out the chunks of a row that are beyond the shape.
    assert ours.stored_bytes() == theirs.id.get_storage_size() or (ours.layout.index == IMPLICIT)
    kind = theirs.id.get_type()
    if kind.get_class() == h5py.h5t.STRING:
        flat = [] if theirs.size == 0 else np.ravel(theirs[()]).tolist()
        assert read_texts(ours) == flat
        return
    wanted = np.empty(theirs.shape, theirs.dtype.newbyteorder("<"))
    array = np.empty(theirs.shape, wanted.dtype)
    if wanted.size:
        theirs.read_direct(wanted)
    read_numbers(ours, array)
    assert array.tobytes() == wanted.tobytes()
