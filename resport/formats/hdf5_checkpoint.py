"""A reader and a writer of tensors in HDF5; a Keras layout adds where the datasets lie and what they are called.

Metadata are text attributes of the root. The writer gives the library's version bounds itself, because its defaults
change from release to release and the bytes must not.
"""

from __future__ import annotations

import contextlib
import os
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from resport.dtypes import BY_NAME, OPAQUE
from resport.errors import FormatError, OptionError
from resport.formats.atomic import remove_file, replace_file, temporary_path
from resport.formats.base import Reader, Writer
from resport.formats.damage import quoted
from resport.formats.file_window import FileWindow
from resport.formats.hdf5 import hdf5_errors, open_file, text_attribute
from resport.formats.hdf5_dataset import dataset_spec, read_dataset, stored_view
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import h5py
    import numpy as np

Found = list[tuple["h5py.Dataset", tuple[str, ...]]]
"""Each dataset with the names that it can have, the best first; the others serve where that is taken."""

METADATA_PREFIX = "metadata:"
"""Stands before the key of a metadata text that the layout would take for an attribute of its own."""


class HDF5Reader(Reader):
    """An HDF5 file of tensors; a layout says which datasets they are.

    Args:
        path: the file.
        window: the bytes to read in its place: a part of it, or what was unpacked from it.

    Raises:
        SourceNotFoundError: nothing is there.
        FormatError: the file is damaged or not of the layout.
    """

    reserved: ClassVar[re.Pattern[str]]
    """Root attributes that belong to the layout and are no metadata."""

    def __init__(self, path: str | os.PathLike[str], window: FileWindow | None = None) -> None:
        self.path = os.fspath(path)
        self.files = (self.path,)
        self._opened: list[h5py.File] = []
        try:
            self._opened.append(open_file(self.path, window))
            self._list_tensors()
        except BaseException:
            self.close()
            raise

    def _list_tensors(self) -> None:
        """Read metadata, names and specs from the opened files."""
        with hdf5_errors(self.path):
            self.metadata = _read_metadata(self._opened[0], self.reserved, self.path)
            self._datasets = self._name_datasets()
            self._stored = {
                name: dataset_spec(dataset, name, self._path_of(dataset)) for name, dataset in self._datasets.items()
            }
            self.manifest = Manifest(self._interpret(self._stored))

    def _path_of(self, dataset: h5py.Dataset) -> str:
        """The file that a dataset is in, for messages."""
        return self.path

    def _name_datasets(self) -> dict[str, h5py.Dataset]:
        found = self._find(self._opened[0])
        names = _distinct([names for _, names in found])
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise FormatError(f"`{self.path}` has two tensors of one name: {quoted(twice)}", path=self.path)
        return {name: dataset for name, (dataset, _) in zip(names, found, strict=True)}

    @abstractmethod
    def _find(self, file: h5py.File) -> Found:
        """Find every tensor of the layout, in the manifest's order."""

    def _interpret(self, stored: dict[str, TensorSpec]) -> list[TensorSpec]:
        """The specs of what ``read`` gives, from those of what the file has; a layout may see them differently."""
        return list(stored.values())

    def read(self, name: str) -> np.ndarray:
        dataset = self._datasets[name]
        return read_dataset(dataset, self._stored[name], self._path_of(dataset))

    def close(self) -> None:
        for file in self._opened:
            # A damaged file can fail to close as well; nothing was written that could be lost.
            with contextlib.suppress(Exception):
                file.close()


class HDF5Writer(Writer):
    """A new HDF5 file of tensors; a layout says where they go.

    Args:
        path: the file.
        specs: every tensor that will be written.
        metadata: text to keep as attributes of the root.

    Raises:
        FormatError: a name, dtype or text that the layout cannot hold.
    """

    dtypes: ClassVar[frozenset[str]] = frozenset(BY_NAME) - OPAQUE
    reserved: ClassVar[re.Pattern[str]]
    """Root attributes that belong to the layout; metadata of these names is kept under others."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        specs: Iterable[TensorSpec],
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        import h5py

        super().__init__(os.fspath(path), specs, metadata=metadata)
        for key, text in self.metadata.items():
            problem = "has no key" if not key else text_problem(key) or text_problem(text)
            if problem:
                raise FormatError(f"metadata {quoted(key)} for `{self.path}` {problem}", path=self.path)
        self._temporary = temporary_path(self.path)
        self._file: h5py.File | None = None
        try:
            # The oldest layout that can hold a file is what Keras itself writes, and every release of HDF5 reads it.
            self._file = h5py.File(self._temporary, "w", libver=("earliest", "v110"))
            self._places = self._lay_out(self._file)
            _write_metadata(self._file, self.metadata, self.reserved)
        except BaseException:
            self.abort()
            raise

    @abstractmethod
    def _lay_out(self, file: h5py.File) -> dict[str, str]:
        """Create all groups, attributes and datasets.

        Returns:
            The path of each tensor's dataset in the file.
        """

    def _write(self, spec: TensorSpec, array: np.ndarray) -> None:
        if self._file is None:
            raise OptionError(f"`{self.path}` is finished, tensor {quoted(spec.name)} cannot be written any more")
        if array.size:
            self._file[self._places[spec.name]].write_direct(stored_view(array, spec.dtype))

    def _commit(self) -> None:
        if self._file is None:
            raise OptionError(f"`{self.path}` is finished and cannot be committed again")
        file, self._file = self._file, None
        file.close()
        replace_file(self._temporary, self.path)

    def abort(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # On a full disk closing fails too, and the file is removed anyway.
            with contextlib.suppress(Exception):
                file.close()
        remove_file(self._temporary)


def text_problem(text: str) -> str | None:
    """Why HDF5 cannot hold a text as a name or attribute; None where it can."""
    if "\0" in text:
        return "contains the character NUL"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "is not valid Unicode text"
    return None


def _read_metadata(node: h5py.Group, reserved: re.Pattern[str], path: str) -> dict[str, str]:
    metadata = {}
    for name in sorted(node.attrs):
        text = None if reserved.fullmatch(name) else text_attribute(node, name, path)
        if text is not None:
            metadata[name.removeprefix(METADATA_PREFIX)] = text
    return metadata


def _write_metadata(node: h5py.Group, metadata: Mapping[str, str], reserved: re.Pattern[str]) -> None:
    for key, text in sorted(metadata.items()):
        is_plain = not reserved.fullmatch(key) and not key.startswith(METADATA_PREFIX)
        node.attrs[key if is_plain else METADATA_PREFIX + key] = text


def _distinct(candidates: list[tuple[str, ...]]) -> list[str]:
    """Choose a name for each tensor, replacing those that several have by the next choice, as long as there is one."""
    levels = [0] * len(candidates)
    while True:
        names = [choices[level] for choices, level in zip(candidates, levels, strict=True)]
        counts: dict[str, int] = {}
        for name in names:
            counts[name] = counts.get(name, 0) + 1
        clashing = [
            index for index, name in enumerate(names) if counts[name] > 1 and levels[index] + 1 < len(candidates[index])
        ]
        if not clashing:
            return names
        for index in clashing:
            levels[index] += 1
