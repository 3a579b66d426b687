"""Small HDF5 files with something of everything, and the way to ask all of it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from resport.errors import FormatError
from resport.formats.file_window import FileWindow
from resport.formats.hdf5 import child_names, read_texts, text_attribute
from resport.formats.hdf5_dataset import check_apart, dataset_spec, read_dataset
from resport.formats.hdf5_file.objects import Dataset, Group, HDF5File, Node

MAX_DEPTH = 5


def write_varied(path: Path, libver: str, *, n_attributes: int = 2, n_members: int = 2) -> Path:
    """A file of a few kilobytes: groups, texts, and datasets of every layout."""
    rng = np.random.default_rng(4)
    array = rng.normal(size=(5, 4)).astype("float32")
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["fixed"] = np.array([b"ab", b"c"])
        for number in range(n_attributes):
            file.attrs[f"text {number}"] = f"value {number}"
        file["kind"] = np.dtype(">f2")
        group = file.create_group("group")
        for number in range(n_members):
            group[f"scalar {number}"] = np.float64(number)
        group["again"] = group["scalar 0"]
        group["soft"] = h5py.SoftLink("/kind")
        group["external"] = h5py.ExternalLink("other.h5", "/kind")
        group.create_dataset("half", data=array, dtype=file["kind"])
        group["bool"] = array > 0
        group["complex"] = array.astype("complex64")
        group["texts"] = ["a", "größe"]
        group.create_dataset("tree", data=array, chunks=(2, 3), compression="gzip", shuffle=True)
        group.create_dataset("arrays", data=array, chunks=(3, 3), maxshape=(None, 4), fletcher32=True)
        group.create_dataset("grown", data=array, chunks=(3, 3), maxshape=(None, None), compression="lzf")
        group.create_dataset("part", (5, 4), "f4", chunks=(2, 4), fillvalue=2.5)[:2] = array[:2]
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(array.shape)
        h5py.h5d.create(group.id, b"compact", h5py.h5t.IEEE_F32LE, space, compact).write(
            h5py.h5s.ALL, h5py.h5s.ALL, array
        )
    return path


def read_everything(path: Path, handle: int, size: int) -> int:
    """Ask a file for all that it has, as the readers do.

    Returns:
        How many parts of it could not be given.
    """
    datasets: list[Dataset] = []
    with HDF5File(str(path), FileWindow(handle, 0, size)) as file:
        n_errors = _visit(file, str(path), 0, datasets)
        try:
            check_apart((dataset, str(path)) for dataset in datasets)
        except FormatError:
            n_errors += 1
    return n_errors


def _visit(node: Node, path: str, depth: int, datasets: list[Dataset]) -> int:
    n_errors = 0
    try:
        names = list(node.attribute_names)
    except FormatError:
        return 1
    for name in names:
        for read in (text_attribute, read_texts):
            try:
                read(node, name, path)
            except FormatError:
                n_errors += 1
    if isinstance(node, Dataset):
        try:
            read_dataset(node, dataset_spec(node, "t", path), path)
            datasets.append(node)
        except FormatError:
            n_errors += 1
    if isinstance(node, Group) and depth < MAX_DEPTH:
        try:
            members = child_names(node, path)
        except FormatError:
            return n_errors + 1
        for name in members:
            try:
                member = node.member(name)
            except FormatError:
                n_errors += 1
            else:
                n_errors += _visit(member, path, depth + 1, datasets)
    return n_errors
