"""A reader of tensors in HDF5; a Keras layout adds where the datasets lie and what they are called.

Metadata are text attributes of the root.
"""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from resport.errors import FormatError
from resport.formats.base import Buffer, Reader
from resport.formats.damage import quoted
from resport.formats.file_window import FileWindow
from resport.formats.hdf5 import HDF5Errors, is_text, open_file, shown, text_attribute
from resport.formats.hdf5_dataset import check_apart, dataset_pieces, dataset_spec, read_dataset
from resport.formats.hdf5_file.objects import Dataset, HDF5File, Node
from resport.formats.hdf5_writer import METADATA_PREFIX
from resport.tensors import Manifest

if TYPE_CHECKING:
    import numpy as np

Found = Iterator[tuple[Dataset, tuple[str, ...]]]
"""Each dataset with the names that it can have, the best first; the others serve where that is taken."""


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
        self._opened: list[HDF5File] = []
        try:
            self._opened.append(open_file(self.path, window))
            self._list_tensors()
        except BaseException:
            self.close()
            raise

    def _list_tensors(self) -> None:
        """Read metadata, names and specs from the opened files."""
        with HDF5Errors(self.path):
            self.metadata = _read_metadata(self._opened[0], self.reserved, self.path)
            self._list_datasets()
            check_apart((dataset, self._path_of(dataset)) for dataset in self._datasets.values())
            self.manifest = self._interpret(self._stored)

    def _path_of(self, dataset: Dataset) -> str:
        """The file that a dataset is in, for messages."""
        return self.path

    def _list_datasets(self) -> None:
        """Find, check and name the datasets, of which no more is kept than reading the values needs."""
        datasets, specs, choices = [], [], []
        for dataset, candidates in self._find(self._opened[0]):
            specs.append(dataset_spec(dataset, candidates[0], self._path_of(dataset)))
            dataset.release()
            datasets.append(dataset)
            choices.append(candidates)
        names = _distinct(choices)
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise FormatError(f"`{self.path}` has two tensors of one name: {quoted(twice)}", path=self.path)
        self._datasets = dict(zip(names, datasets, strict=True))
        self._stored = Manifest(
            spec if spec.name == name else replace(spec, name=name) for spec, name in zip(specs, names, strict=True)
        )

    @abstractmethod
    def _find(self, file: HDF5File) -> Found:
        """Find every tensor of the layout, in the manifest's order."""

    def _interpret(self, stored: Manifest) -> Manifest:
        """The specs of what ``read`` gives, from those of what the file has; a layout may see them differently."""
        return stored

    def read(self, name: str) -> np.ndarray:
        dataset = self._datasets[name]
        return read_dataset(dataset, self._stored[name], self._path_of(dataset))

    def pieces(self, name: str) -> Iterator[Buffer]:
        dataset = self._datasets[name]
        pieces = None
        if self._is_stored_as_read(name):
            pieces = dataset_pieces(dataset, self._stored[name], self._path_of(dataset))
        yield from super().pieces(name) if pieces is None else pieces

    def _is_stored_as_read(self, name: str) -> bool:
        """Whether ``read`` gives the values of a dataset as they are; a layout may see them differently."""
        return True

    def close(self) -> None:
        for file in self._opened:
            file.close()


def _read_metadata(node: Node, reserved: re.Pattern[str], path: str) -> dict[str, str]:
    metadata = {}
    for name in sorted(node.attribute_names):
        if not is_text(name):
            raise FormatError(f"{shown(node)} in `{path}` has an attribute whose name is not UTF-8", path=path)
        text = None if reserved.fullmatch(name) else text_attribute(node, name, path)
        if text is not None:
            metadata[name.removeprefix(METADATA_PREFIX)] = text
    return metadata


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
