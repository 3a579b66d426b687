"""Global heaps in bytes (section III.E): the texts of variable length, each with a place of its own.

Two attributes never share a text, because the library frees it with the first of them that is removed.
"""

from __future__ import annotations

import struct

from resport.formats.hdf5_file.global_heap import COLLECTION_MAGIC, COLLECTION_VERSION, HEAP_HEAD_BYTES

# The library reads as much before it knows how long a collection is.
MIN_COLLECTION_BYTES = 4096
MAX_COLLECTION_BYTES = 1 << 16
"""Of one that has several texts; a longer text has one of its own."""
_REFERENCE = struct.Struct("<IQI")
_HEAD = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<HHIQ")


class TextHeap:
    """Texts as they are added, one collection behind the other.

    Args:
        address: where the first collection will be.

    Attributes:
        last: where the text that was added last will be.
    """

    def __init__(self, address: int) -> None:
        self._closed: list[bytes] = []
        self._begin = address
        self._texts: list[bytes] = []
        self._used = HEAP_HEAD_BYTES
        self.last = 0

    def add(self, text: bytes) -> bytes:
        """Add a text.

        Returns:
            The element that stands for it.
        """
        n_bytes = HEAP_HEAD_BYTES + len(text) + -len(text) % 8
        if self._texts and self._used + n_bytes > MAX_COLLECTION_BYTES:
            self._close()
        self._texts.append(text)
        self.last = self._begin + self._used + HEAP_HEAD_BYTES
        self._used += n_bytes
        return _REFERENCE.pack(len(text), self._begin, len(self._texts))

    def finish(self) -> bytes:
        """The bytes of all collections; nothing can be added any more."""
        if self._texts:
            self._close()
        return b"".join(self._closed)

    def _close(self) -> None:
        """Begin a new collection behind this one."""
        collection = encode_collection(self._texts)
        self._closed.append(collection)
        self._begin += len(collection)
        self._texts, self._used = [], HEAP_HEAD_BYTES


def encode_collection(texts: list[bytes]) -> bytes:
    """A collection of texts, which are numbered from 1; what is left of it is an object of number 0."""
    objects = [
        _OBJECT.pack(number, 0, 0, len(text)) + text + bytes(-len(text) % 8) for number, text in enumerate(texts, 1)
    ]
    body = b"".join(objects)
    n_bytes = max(MIN_COLLECTION_BYTES, HEAP_HEAD_BYTES + len(body))
    free = n_bytes - HEAP_HEAD_BYTES - len(body)
    if free >= HEAP_HEAD_BYTES:
        body += _OBJECT.pack(0, 0, 0, free)
    return (_HEAD.pack(COLLECTION_MAGIC, COLLECTION_VERSION, n_bytes) + body).ljust(n_bytes, b"\0")
