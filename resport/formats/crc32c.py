"""CRC-32C, the checksum of TensorFlow's checkpoints, with which resport also compares what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def extend_crc32c(crc: int, piece: bytes | memoryview | np.ndarray) -> int:
    """Carry a plain CRC-32C on over further bytes, without a copy of them."""
    import google_crc32c

    if isinstance(piece, memoryview):
        import numpy as np

        # The library takes no view, but it takes an array.
        piece = np.frombuffer(piece, np.uint8) if len(piece) else b""
    extended: int = google_crc32c.extend(crc, piece)
    return extended
