"""Global heaps, which hold the texts of variable length (section III.E)."""

from __future__ import annotations

import struct

from resport.errors import FormatError
from resport.formats.hdf5_file.file_bytes import FileBytes

_WHAT = "a heap of texts"
COLLECTION_MAGIC, COLLECTION_VERSION = b"GCOL", 1
HEAP_HEAD_BYTES = 16
"""Of a collection and of an object in it, filled up where lengths are narrow."""
# Of a text, by the width of an address: its length, its heap, and its number there.
_REFERENCES = {2: struct.Struct("<IHI"), 4: struct.Struct("<III"), 8: struct.Struct("<IQI")}


class GlobalHeap:
    """The heaps of a file, each of them read when a text in it is asked for.

    Args:
        source: the file.
    """

    def __init__(self, source: FileBytes) -> None:
        self._source = source
        self._collections: dict[int, dict[int, bytes]] = {}

    def texts(self, elements: bytes, count: int) -> list[bytes]:
        """The texts that elements of variable length refer to.

        Args:
            elements: length, heap and number of each text.
            count: how many there are.

        Raises:
            FormatError: there are fewer, or a text is not where it should be, or texts are referred to over and over.
        """
        reference = _REFERENCES[self._source.address_bytes]
        if len(elements) < count * reference.size:
            raise FormatError("it ends too early", expected=f"{count} texts", got=f"{len(elements)} bytes")
        texts = []
        left = self._source.size
        for length, address, number in reference.iter_unpack(elements[: count * reference.size]):
            left -= length
            if left < 0:
                raise FormatError("its texts are longer than the file", expected=f"{self._source.size} bytes")
            texts.append(self._text(length, address, number))
        return texts

    def _text(self, length: int, address: int, number: int) -> bytes:
        if length == 0:
            return b""
        if address not in self._collections:
            self._collections[address] = self._read(address)
        text = self._collections[address].get(number, b"")
        if length > len(text):
            raise FormatError(
                "it points at a text that is not there",
                offset=self._source.base + address,
                expected=f"{length} bytes",
                got=f"{len(text)} bytes in the heap",
            )
        # What is longer than it says ends at the NUL, as C has it.
        return text[:length].partition(b"\0")[0]

    def _read(self, address: int) -> dict[int, bytes]:
        """The objects of a collection by their numbers."""
        head = self._source.cursor(address, HEAP_HEAD_BYTES, _WHAT)
        magic = head.take(4)
        if magic != COLLECTION_MAGIC or head.uint(1) != COLLECTION_VERSION:
            raise head.damaged("is none", expected="GCOL of version 1", got=repr(magic))
        head.take(3)
        cursor = self._source.cursor(address, head.length(), _WHAT)
        cursor.position = HEAP_HEAD_BYTES
        objects: dict[int, bytes] = {}
        while cursor.left >= HEAP_HEAD_BYTES:
            number = cursor.uint(2)
            if number == 0:
                # The rest is free.
                break
            cursor.take(6)
            size = cursor.length()
            cursor.take(8 - self._source.length_bytes)
            if size > cursor.left or number in objects:
                raise cursor.damaged("is damaged", got=f"an object of {size} bytes, number {number}")
            self._source.count_parts(1)
            objects[number] = cursor.take(size)
            cursor.position += -size % 8
        return objects
