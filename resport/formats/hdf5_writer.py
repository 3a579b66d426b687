"""A writer of tensors in HDF5; a Keras layout adds where the datasets lie and what they are called.

The file is laid out by ``hdf5_encoding``, without the HDF5 library, whose import takes as long as writing the values.
Metadata are text attributes of the root.

Element types that HDF5 lacks (bfloat16, float8, int4) are stored as Keras 3 stores bfloat16: opaque elements, with the
type's name in an attribute ``dtype`` of the dataset.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import ClassVar

from resport.dtypes import BY_NAME, OPAQUE
from resport.errors import FormatError
from resport.formats.damage import quoted
from resport.formats.hdf5 import HDF5_MAX_ATTRIBUTE_BYTES
from resport.formats.hdf5_dataset import DTYPE_ATTRIBUTE
from resport.formats.hdf5_encoding.datatype import is_told_by_type
from resport.formats.hdf5_encoding.file import encode_file
from resport.formats.hdf5_encoding.tree import Names, NewGroup, Value
from resport.formats.hdf5_file.dataspace import MAX_RANK
from resport.formats.single_file import PlacedFileWriter
from resport.tensors import Manifest, TensorSpec

METADATA_PREFIX = "metadata:"
"""Stands before the key of a metadata text that the layout would take for an attribute of its own."""


class HDF5Writer(PlacedFileWriter):
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
    _texts: Mapping[str, int]
    """Where in the file the texts of the root's attributes are, when it is laid out."""
    _rest: Iterator[bytes]
    """What follows the first bytes of the head, until it is written."""

    @classmethod
    def problems(cls, manifest: Manifest) -> list[str]:
        return [
            *super().problems(manifest),
            *(
                f"{quoted(spec.name)} has {len(spec.shape)} axes, and HDF5 holds {MAX_RANK}"
                for spec in manifest.values()
                if len(spec.shape) > MAX_RANK
            ),
        ]

    def _lay_out(self) -> bytes:
        for key in self.metadata:
            self._check_metadata(key)
        try:
            root = self._describe()
            for key, text in sorted(self.metadata.items()):
                root.attributes[self._attribute(key)] = text
            file = encode_file(root)
        except FormatError as error:
            raise FormatError(
                f"`{self.path}` cannot hold these tensors and texts: {error.message}",
                path=self.path,
                expected=error.expected,
                got=error.got,
            ) from None
        self._offsets, self._end = file.offsets, file.n_bytes
        self._texts, self._rest = file.texts, file.rest
        return file.front

    def _write_head(self, head: bytes) -> None:
        offset = 0
        for piece in chain((head,), self._rest):
            self._write_at(piece, offset)
            offset += len(piece)

    def _amend(self, key: str) -> None:
        self._check_metadata(key)
        self._write_at(self.metadata[key].encode(), self._texts[self._attribute(key)])

    def _check_metadata(self, key: str) -> None:
        problem = "has no key" if not key else text_problem(key) or text_problem(self.metadata[key])
        if problem:
            raise FormatError(f"metadata {quoted(key)} for `{self.path}` {problem}", path=self.path)

    def _attribute(self, key: str) -> str:
        """The attribute that a text of the metadata is kept as."""
        is_plain = not self.reserved.fullmatch(key) and not key.startswith(METADATA_PREFIX)
        return key if is_plain else METADATA_PREFIX + key

    @abstractmethod
    def _describe(self) -> NewGroup:
        """The root, with all groups, datasets and attributes but those of the metadata."""


def type_attribute(spec: TensorSpec) -> dict[str, Value]:
    """The attribute of a dataset that tells the dtype of its elements, where these don't."""
    return {} if is_told_by_type(spec.dtype) else {DTYPE_ATTRIBUTE: spec.dtype}


def name_list(name: str, texts: Sequence[str]) -> dict[str, Value]:
    """A list of names as an attribute, or as several where it is too long for one; as Keras splits them."""
    encoded = [text.encode() for text in texts]
    width = max((len(text) for text in encoded), default=1) or 1
    n_parts = -(-len(encoded) // (HDF5_MAX_ATTRIBUTE_BYTES // width))
    if n_parts <= 1:
        return {name: Names(tuple(encoded), width)}
    # Parts of one length, the first of them longer by one as far as that doesn't come out.
    length, n_longer = divmod(len(encoded), n_parts)
    bounds = [number * length + min(number, n_longer) for number in range(n_parts + 1)]
    return {
        f"{name}{number}": Names(tuple(encoded[bounds[number] : bounds[number + 1]]), width)
        for number in range(n_parts)
    }


def text_problem(text: str) -> str | None:
    """Why HDF5 cannot hold a text as a name or attribute; None where it can."""
    if "\0" in text:
        return "contains the character NUL"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "is not valid Unicode text"
    return None
