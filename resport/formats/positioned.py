"""Bytes between memory and a place in an open file, all of them: the system may move fewer than it is asked to.

Every call names its place and none moves the file's own position, so threads can share a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

PIECE_BYTES = 1 << 18
"""Moved at once: little enough to stay in the processor's cache between a file, a checksum and another file."""

_idle_buffers: list[memoryview] = []
"""To read pieces into: memory fresh from the system costs ten times the reading, for each of its pages is cleared."""

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


def pieces_at(handle: int, offset: int, n_bytes: int) -> Iterator[memoryview]:
    """The bytes at a place in a file, piece by piece; fewer of them only where the file ends.

    Args:
        handle: an open file.
        offset: where they start in the file.
        n_bytes: how many they are.

    Yields:
        Views, each valid until the next is asked for.
    """
    end = offset + n_bytes
    try:  # in one step: threads never share a buffer
        buffer = _idle_buffers.pop()
    except IndexError:
        buffer = memoryview(bytearray(PIECE_BYTES))
    try:
        while offset < end:
            n_read = os.preadv(handle, [buffer[: end - offset]], offset)
            if n_read == 0:
                return
            yield buffer[:n_read]
            offset += n_read
    finally:
        _idle_buffers.append(buffer)


def all_pieces_at(
    handle: int, offset: int, n_bytes: int, shortened: Callable[[int], Exception]
) -> Iterator[memoryview]:
    """``pieces_at`` for bytes that must all be there.

    Args:
        handle: an open file.
        offset: where they start in the file.
        n_bytes: how many they are.
        shortened: gives the error, raised behind the last piece, of a file that ends after so many of them.
    """
    n_read = 0
    for piece in pieces_at(handle, offset, n_bytes):
        n_read += len(piece)
        yield piece
    if n_read < n_bytes:
        raise shortened(n_read)


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
