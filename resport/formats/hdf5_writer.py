"""A writer of tensors in HDF5; a Keras layout adds where the datasets lie and what they are called.

The library lays out the file: groups, attributes, and datasets without timestamps whose places are allocated before the
first value comes, so that the order of writing leaves no trace. The values then go straight to these places: to the
library, writing a dataset is ten times the work of writing its bytes, and it would keep the file to one thread.
Metadata are text attributes of the root and come last, when all of them are known. The library's version bounds are
given, because its defaults change from release to release and the bytes must not.

Element types that HDF5 lacks (bfloat16, float8, int4) are stored as Keras 3 stores bfloat16: opaque elements, with the
type's name in an attribute ``dtype`` of the dataset.
"""

from __future__ import annotations

import contextlib
import os
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from resport.dtypes import BY_NAME, OPAQUE, to_numpy
from resport.errors import FormatError, OptionError
from resport.formats.base import Buffer, Writer
from resport.formats.damage import quoted
from resport.formats.hdf5 import HDF5_MAX_ATTRIBUTE_BYTES
from resport.formats.hdf5_dataset import DTYPE_ATTRIBUTE, stored_view
from resport.formats.positioned import write_at
from resport.formats.staging import Staging
from resport.tensors import TensorSpec

if TYPE_CHECKING:
    import h5py
    import numpy as np

METADATA_PREFIX = "metadata:"
"""Stands before the key of a metadata text that the layout would take for an attribute of its own."""


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
        self.staging = Staging(self.path)
        self._file: h5py.File | None = None
        self._handle = -1
        try:
            self._temporary = self._create()
            # The oldest layout that can hold a file is what Keras itself writes, and every release of HDF5 reads it.
            self._file = h5py.File(self._temporary, "w", libver=("earliest", "v110"))
            self._offsets = self._lay_out(self._file)
            self._handle = os.open(self._temporary, os.O_WRONLY | os.O_CLOEXEC)
        except BaseException:
            self.abort()
            raise

    def _create(self) -> str:
        """Create the file of the values."""
        return self.staging.create(self.path)

    @abstractmethod
    def _lay_out(self, file: h5py.File) -> dict[str, int]:
        """Create all groups, attributes and datasets.

        Returns:
            Where the values of each tensor begin in the file.
        """

    def _write(self, spec: TensorSpec, array: np.ndarray) -> None:
        import numpy as np

        write_at(self._open_handle(spec), array.reshape(-1).view(np.uint8).data, self._offsets[spec.name])

    def _write_pieces(self, spec: TensorSpec, pieces: Iterator[Buffer]) -> None:
        self._write_pieces_at(self._open_handle(spec), pieces, self._offsets[spec.name])

    def _open_handle(self, spec: TensorSpec) -> int:
        if self._file is None:
            raise OptionError(f"`{self.path}` is finished, tensor {quoted(spec.name)} cannot be written any more")
        return self._handle

    def _finish(self) -> None:
        """Write what comes last, and close the temporary file."""
        file = self._file
        assert file is not None  # it is taken away here and by closing alone
        for key, text in sorted(self.metadata.items()):
            is_plain = not self.reserved.fullmatch(key) and not key.startswith(METADATA_PREFIX)
            write_text(file.id, key if is_plain else METADATA_PREFIX + key, text)
        file.close()
        self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # On a full disk closing fails too, and the file is removed anyway.
            with contextlib.suppress(Exception):
                file.close()
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def create_dataset(group: h5py.Group, name: str, spec: TensorSpec) -> h5py.h5d.DatasetID:
    """Create a contiguous dataset, its place in the file allocated but its values not written yet."""
    import h5py

    creation, links = _dataset_properties()
    space = h5py.h5s.create_simple(spec.shape) if spec.shape else h5py.h5s.create(h5py.h5s.SCALAR)
    kind, is_named = _stored_type(spec.dtype)
    dataset = h5py.h5d.create(group.id, name.encode(), kind, space, creation, links)
    if not is_named:
        write_text(dataset, DTYPE_ATTRIBUTE, spec.dtype)
    return dataset


def create_group(parent: h5py.Group, name: str) -> h5py.Group:
    """Create a group, and those on the way to it."""
    import h5py

    return h5py.Group(h5py.h5g.create(parent.id, name.encode(), lcpl=_dataset_properties()[1]))


def values_offset(dataset: h5py.h5d.DatasetID) -> int:
    """Where a dataset's values begin in the file; 0 where it has none."""
    offset = dataset.get_offset()
    return 0 if offset is None else int(offset)


def write_text(node: h5py.h5g.GroupID | h5py.h5d.DatasetID, name: str, text: str) -> None:
    """Keep a text in an attribute of an object, which is given as the library knows it."""
    import h5py
    import numpy as np

    attribute = h5py.h5a.create(node, name.encode(), _text_type(), h5py.h5s.create(h5py.h5s.SCALAR))
    attribute.write(np.array(text, dtype=h5py.string_dtype()))


def write_texts(node: h5py.Group, name: str, texts: list[str]) -> None:
    """Keep a list of names in an attribute, or in several where it is too long for one; as Keras splits them."""
    import h5py
    import numpy as np

    array = np.array([text.encode() for text in texts], dtype=bytes)
    rows_in_one = HDF5_MAX_ATTRIBUTE_BYTES // array.itemsize
    if len(array) <= rows_in_one:
        parts = {name: array}
    else:
        split = np.array_split(array, -(-len(array) // rows_in_one))
        parts = {f"{name}{number}": part for number, part in enumerate(split)}
    for key, part in parts.items():
        kind = h5py.h5t.py_create(part.dtype, logical=True)
        h5py.h5a.create(node.id, key.encode(), kind, h5py.h5s.create_simple(part.shape)).write(part)


def text_problem(text: str) -> str | None:
    """Why HDF5 cannot hold a text as a name or attribute; None where it can."""
    if "\0" in text:
        return "contains the character NUL"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "is not valid Unicode text"
    return None


# Making these takes longer than making a dataset of them, and none of them belongs to a file.


@cache
def _dataset_properties() -> tuple[Any, Any]:
    """How datasets are made, and how their links."""
    import h5py

    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    links.set_char_encoding(h5py.h5t.CSET_UTF8)
    return creation, links


@cache
def _stored_type(dtype: str) -> tuple[Any, bool]:
    """The type of a dataset's elements, and whether it says by itself which they are."""
    import h5py
    import numpy as np

    plain = np.empty((), to_numpy(dtype))
    stored = stored_view(plain, dtype)
    return h5py.h5t.py_create(stored.dtype, logical=True), stored is plain and not BY_NAME[dtype].numpy


@cache
def _text_type() -> Any:
    import h5py

    return h5py.h5t.py_create(h5py.string_dtype(), logical=True)
