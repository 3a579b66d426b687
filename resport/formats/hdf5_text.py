"""Texts of variable length in HDF5, read without the HDF5 library.

The library believes what a file says of such texts: one changed bit in a length makes it clear gigabytes of memory, one
in the heap that holds the texts makes it loop for ever (1.14.6; no other part of a Keras file was found to). Keras
writes nearly all of its names so. What has to be read for them is little, and is read here with every number checked:
the messages of one object header, to find an attribute's elements, and the global heap to which the elements point.

Format: "HDF5 File Format Specification" 3.0, IV.A (object headers), IV.A.2.m (attributes), III.E (global heap).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from resport.errors import FormatError
from resport.formats.file_window import FileWindow

if TYPE_CHECKING:
    import h5py

HDF5_TEXT_ELEMENT_BYTES = 16
"""Of one element: its length, the address of a heap collection and the index of an object in it."""
HDF5_ADDRESS_BYTES = 8

_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10
_MAX_BLOCKS = 10_000
_ELEMENT = struct.Struct("<IQI")
_HEAP_HEADER = struct.Struct("<4sB3xQ")
_HEAP_OBJECT = struct.Struct("<HH4xQ")


class TextSource:
    """The bytes of an open HDF5 file.

    Args:
        file: the file, opened by h5py.
        window: its bytes.

    Raises:
        FormatError: its addresses are not of eight bytes each.
    """

    def __init__(self, file: h5py.File, window: FileWindow) -> None:
        creation = file.id.get_create_plist()
        if creation.get_sizes() != (HDF5_ADDRESS_BYTES, HDF5_ADDRESS_BYTES):
            raise FormatError("it has addresses of another size", expected="8 bytes", got=str(creation.get_sizes()))
        self._window = window
        # Addresses count from behind the user block.
        self._base = creation.get_userblock()
        self._size = window.size - self._base
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}

    def attribute(self, header: int, name: str, count: int) -> list[bytes]:
        """The texts of an attribute.

        Args:
            header: address of the object that has the attribute.
            name: the attribute's name.
            count: how many texts it has.

        Raises:
            FormatError: the attribute is damaged, or is not kept in its object's header.
        """
        wanted = name.encode()
        for kind, flags, message in self._messages(header):
            if kind == _ATTRIBUTE and not flags & 2:
                found, elements = _split_attribute(message)
                if found == wanted:
                    return self._texts(elements, count)
        raise FormatError("it is not kept in its object's header", hint="rewrite the file with the defaults of h5py")

    def dataset(self, address: int, count: int) -> list[bytes]:
        """The texts of a contiguous dataset whose elements begin at an offset of the file."""
        return self._texts(self._read(address - self._base, count * HDF5_TEXT_ELEMENT_BYTES), count)

    def _read(self, address: int, size: int) -> bytes:
        if address < 0 or size < 0 or address + size > self._size:
            raise FormatError(
                "it leads out of the file", expected=f"at most byte {self._size}", got=f"{address} to {address + size}"
            )
        data = self._window.pread(size, self._base + address)
        if len(data) != size:
            raise FormatError("it ends too early", expected=f"{size} bytes", got=f"{len(data)} bytes")
        return data

    # Object headers

    def _messages(self, header: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield type, flags and content of each message of an object header, following its continuations."""
        prefix = self._read(header, 16)
        is_new = prefix.startswith(b"OHDR")
        has_order = False
        if is_new:
            flags = prefix[5]
            has_order = bool(flags & 4)
            width = 1 << (flags & 3)
            start = header + 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
            blocks = [(start + width, int.from_bytes(self._read(start, width), "little"))]
        elif prefix[0] == 1:
            blocks = [(header + 16, int.from_bytes(prefix[8:12], "little"))]
        else:
            raise FormatError("it belongs to an object whose header is damaged")
        # The list grows while it is walked; the bound ends headers that continue in a circle.
        for number, (address, size) in enumerate(blocks):
            if number > _MAX_BLOCKS:
                raise FormatError("it belongs to an object whose header has no end")
            block = self._read(address, size)
            for kind, flags, message in _split_block(block, is_new, has_order):
                if kind == _CONTINUATION and len(message) >= 16:
                    place, length = struct.unpack_from("<QQ", message)
                    # In the new layout a signature stands in front and a checksum behind.
                    blocks.append((place + 4, length - 8) if is_new else (place, length))
                else:
                    yield kind, flags, message

    # The global heap

    def _texts(self, elements: bytes, count: int) -> list[bytes]:
        if len(elements) < count * HDF5_TEXT_ELEMENT_BYTES:
            raise FormatError("it ends too early", expected=f"{count} elements", got=f"{len(elements)} bytes")
        whole = memoryview(elements)[: count * HDF5_TEXT_ELEMENT_BYTES]
        return [self._text(*element) for element in _ELEMENT.iter_unpack(whole)]

    def _text(self, length: int, collection: int, index: int) -> bytes:
        if length == 0:
            return b""
        if collection not in self._heaps:
            self._heaps[collection] = self._objects(collection)
        address, size = self._heaps[collection].get(index, (0, 0))
        if length > size:
            raise FormatError(
                "it points at a text that is not there", expected=f"{length} bytes", got=f"{size} bytes in the heap"
            )
        # What is longer than it says ends at the NUL, as C has it.
        return self._read(address, length).partition(b"\0")[0]

    def _objects(self, collection: int) -> dict[int, tuple[int, int]]:
        """Address and size of each object of a heap collection, by index."""
        magic, version, total = _HEAP_HEADER.unpack(self._read(collection, _HEAP_HEADER.size))
        if magic != b"GCOL" or version != 1:
            raise FormatError("it points at a heap that is none", expected="GCOL", got=repr(magic))
        block = self._read(collection, total)
        objects: dict[int, tuple[int, int]] = {}
        position = _HEAP_HEADER.size
        while position + _HEAP_OBJECT.size <= total:
            index, _, size = _HEAP_OBJECT.unpack_from(block, position)
            if index == 0:
                # The rest is free.
                break
            position += _HEAP_OBJECT.size
            if size > total - position or index in objects:
                raise FormatError("it points at a damaged heap", got=f"an object of {size} bytes in {total}")
            objects[index] = (collection + position, size)
            position += -(-size // 8) * 8
        return objects


def _split_block(block: bytes, is_new: bool, has_order: bool) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, flags and content of each message of one block of an object header."""
    layout = struct.Struct("<BHB" if is_new else "<HHB3x")
    skipped = 2 if has_order else 0
    position = 0
    while position + layout.size + skipped <= len(block):
        kind, size, flags = layout.unpack_from(block, position)
        position += layout.size + skipped
        if size > len(block) - position:
            raise FormatError("it belongs to an object whose header is damaged")
        yield kind, flags, block[position : position + size]
        position += size


def _split_attribute(message: bytes) -> tuple[bytes, bytes]:
    """Name and elements of an attribute, from its message."""
    if len(message) < 9:
        raise FormatError("it belongs to an object with a damaged attribute")
    version, _, *sizes = struct.unpack_from("<BBHHH", message)
    if version not in {1, 2, 3}:
        raise FormatError("it belongs to an object with a damaged attribute", got=f"version {version}")
    start = 9 if version == 3 else 8
    # Version 1 fills name, type and shape up to multiples of eight bytes.
    step = 8 if version == 1 else 1
    end = start + sum(-(-size // step) * step for size in sizes)
    return message[start : start + sizes[0]].partition(b"\0")[0], message[end:]
