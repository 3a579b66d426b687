"""What the writers of formats in one flat file share: its temporary name, its handle, and how it comes to its place."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from resport.formats.base import Buffer, Writer, bytes_of
from resport.formats.positioned import pieces_at, write_at
from resport.formats.staging import Staging
from resport.formats.system_errors import write_errors
from resport.tensors import TensorSpec

if TYPE_CHECKING:
    import numpy as np


class SingleFileWriter(Writer):
    """A new file in which every tensor has its place before the first value comes.

    Args:
        path: the file.
        specs: every tensor that will be written.
        metadata: text to keep beside the tensors.
        staging: where the file waits, if it is one of several that wait together.

    Raises:
        FormatError: what the layout cannot hold.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        specs: Iterable[TensorSpec],
        *,
        metadata: Mapping[str, str] | None = None,
        staging: Staging | None = None,
    ) -> None:
        super().__init__(os.fspath(path), specs, metadata=metadata)
        head = self._lay_out()
        self.staging = staging or Staging(self.path)
        self._handle = -1
        try:
            staged = self.staging.create(self.path, self._n_bytes(head))
            self._handle = os.open(staged, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._write_head(head)
        except BaseException:
            self.abort()
            raise

    @abstractmethod
    def _lay_out(self) -> bytes:
        """Give each tensor its place, before there is a file.

        Returns:
            What the file begins with.
        """

    def _write_head(self, head: bytes) -> None:
        """Write what the file begins with."""
        self._write_at(head, 0)

    def _n_bytes(self, head: bytes) -> int:
        """The length of the finished file, where that is known before; 0 elsewhere."""
        return 0

    def _write_at(self, piece: bytes | memoryview, offset: int) -> None:
        write_at(self._handle, piece, offset)

    def _finish(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)


class PlacedFileWriter(SingleFileWriter):
    """A new file in which a head tells all, and the values behind it are nothing but their bytes."""

    _offsets: Mapping[str, int]
    """Where in the file each tensor begins, when it is laid out."""

    def _staged_pieces(self, spec: TensorSpec) -> Iterator[Buffer]:
        return pieces_at(self._handle, self._offsets[spec.name], spec.nbytes)

    def amend_metadata(self, key: str, text: str) -> None:
        super().amend_metadata(key, text)
        with write_errors(self.path):
            self._amend(key)

    def _amend(self, key: str) -> None:
        """Write a text of the metadata that is another now."""
        self._write_at(self._lay_out(), 0)

    def _write(self, spec: TensorSpec, array: np.ndarray) -> None:
        self._write_at(bytes_of(array), self._offsets[spec.name])

    def _write_pieces(self, spec: TensorSpec, pieces: Iterator[Buffer]) -> None:
        self._write_pieces_at(self._handle, pieces, self._offsets[spec.name])
