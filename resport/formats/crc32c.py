"""CRC-32C, the checksum of TensorFlow's checkpoints, with which resport also compares what it wrote."""

from __future__ import annotations

from collections.abc import Iterable

_COPIED_BYTES = 1 << 16
"""Little enough that memory for it is reused from call to call, where larger blocks come from the system each time."""


def crc32c_of(pieces: Iterable[bytes | memoryview]) -> int:
    """The plain CRC-32C of bytes that come in pieces, none of which is held longer than it takes."""
    crc = 0
    for piece in pieces:
        crc = extend_crc32c(crc, piece)
    return crc


def extend_crc32c(crc: int, piece: bytes | memoryview) -> int:
    """Carry a plain CRC-32C on over further bytes."""
    import google_crc32c

    if isinstance(piece, bytes):
        return int(google_crc32c.extend(crc, piece))
    # The library takes bytes alone. To copy them costs less than to import numpy, whose arrays it takes too.
    for start in range(0, len(piece), _COPIED_BYTES):
        crc = google_crc32c.extend(crc, bytes(piece[start : start + _COPIED_BYTES]))
    return crc
