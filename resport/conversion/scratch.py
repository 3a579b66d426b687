"""Memory that tensors are read into, one after the other.

Memory fresh from the system costs several times the reading of a large tensor, for each of its pages is cleared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resport.dtypes import to_numpy
from resport.formats import Reader
from resport.formats.crc32c import extend_crc32c

if TYPE_CHECKING:
    import numpy as np


class Scratch:
    """Reads tensors into one and the same memory.

    Args:
        reader: what they are read from.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._memory: np.ndarray | None = None

    def read(self, name: str) -> np.ndarray:
        """The tensor of a name, until the next one is read; see ``Reader.read``."""
        spec = self._reader.manifest[name]
        whole, position, crc = self._first(spec.nbytes), 0, 0
        view = whole.data
        for piece in self._reader.unchecked_pieces(name):
            view[position : position + len(piece)] = piece
            position += len(piece)
            crc = extend_crc32c(crc, piece)
        self._reader.check(name, crc)
        return whole.view(to_numpy(spec.dtype)).reshape(spec.shape)

    def _first(self, n_bytes: int) -> np.ndarray:
        import numpy as np

        if self._memory is None or self._memory.nbytes < n_bytes:
            self._memory = None  # before more is taken
            self._memory = np.empty(n_bytes, np.uint8)
        return self._memory[:n_bytes]
