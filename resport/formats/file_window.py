"""A part of a file, read as if it were a file: an HDF5 file inside of an archive, where it lies and without a copy."""

from __future__ import annotations

import io
import os

from resport.formats.positioned import read_at


class FileWindow(io.RawIOBase):
    """The bytes from an offset on of an open file.

    Args:
        handle: the open file, which stays open as long as it is needed elsewhere.
        offset: where the part begins.
        size: how many bytes it has.
    """

    def __init__(self, handle: int, offset: int, size: int) -> None:
        self.handle = handle
        self.offset = offset
        self.size = size
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position of the part; moving behind its end is allowed, as in a file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, start + position)
        return self._position

    def tell(self) -> int:
        """The position in the part."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read at the position, and move behind what was read; fewer bytes come only at the end."""
        view = memoryview(buffer).cast("B")[: max(0, self.size - self._position)]
        n_read = read_at(self.handle, view, self.offset + self._position)
        self._position += n_read
        return n_read

    def pread(self, size: int, position: int) -> bytes:
        """Read at a position without moving there; fewer bytes come only at the end."""
        position = max(0, position)
        return os.pread(self.handle, max(0, min(size, self.size - position)), self.offset + position)
