"""Bytes between memory and a place in an open file, all of them: the system may move fewer than it is asked to.

Every call names its place and none moves the file's own position, so threads can share a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

PIECE_BYTES = 1 << 18
"""Moved at once: little enough to stay in the processor's cache between a file, a checksum and another file."""

# Linux moves at most 2 GiB in one call.
_MAX_IO_BYTES = 1 << 30


def read_at(handle: int, view: memoryview, offset: int) -> int:
    """Fill a view from a place in a file.

    Args:
        handle: an open file.
        view: where the bytes go.
        offset: where they start in the file.

    Returns:
        How many bytes were read; fewer than the view has only where the file ends.
    """
    done = 0
    while done < len(view):
        count = os.preadv(handle, [view[done : done + _MAX_IO_BYTES]], offset + done)
        if count == 0:
            break
        done += count
    return done


def pieces_at(handle: int, offset: int, n_bytes: int) -> Iterator[bytes]:
    """The bytes at a place in a file, piece by piece; fewer of them only where the file ends."""
    end = offset + n_bytes
    while offset < end:
        piece = os.pread(handle, min(PIECE_BYTES, end - offset), offset)
        if not piece:
            return
        yield piece
        offset += len(piece)


def write_at(handle: int, view: bytes | memoryview, offset: int) -> None:
    """Write a view to a place in a file.

    Args:
        handle: an open file.
        view: the bytes.
        offset: where they start in the file.
    """
    done = os.pwrite(handle, view, offset)
    # Rarely: of more than the system writes at once, or where a signal came between.
    while done < len(view):
        done += os.pwrite(handle, memoryview(view)[done : done + _MAX_IO_BYTES], offset + done)
