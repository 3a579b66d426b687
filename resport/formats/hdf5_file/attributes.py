"""Attributes of groups and datasets (sections IV.A.2.m and IV.A.2.v)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from resport.formats.hdf5_file.btree_v2 import ATTRIBUTE_NAME, records
from resport.formats.hdf5_file.dataspace import Dataspace, parse_dataspace
from resport.formats.hdf5_file.datatype import Datatype, parse_datatype
from resport.formats.hdf5_file.file_bytes import Cursor, FileBytes
from resport.formats.hdf5_file.fractal_heap import FractalHeap
from resport.formats.hdf5_file.object_header import (
    ATTRIBUTE,
    ATTRIBUTE_INFO,
    DATASPACE,
    DATATYPE,
    IS_SHARED,
    Message,
    resolve_shared,
)

_WHAT = "an attribute"
_IS_TRACKED = 1
_HEAP_ID_BYTES = 8
_TYPE_IS_SHARED, _SPACE_IS_SHARED = 1, 2
# Version and flags, and the sizes of name, type and shape.
_HEAD = struct.Struct("<BB3H")

T = TypeVar("T")


class Attribute(NamedTuple):
    """An attribute, whose value has not been looked at.

    Attributes:
        datatype: what its elements are.
        dataspace: its shape.
        elements: their bytes, at least as many as type and shape ask for.
    """

    datatype: Datatype
    dataspace: Dataspace
    elements: bytes


class Head(NamedTuple):
    """What stands in front of an attribute's elements; the places are those in the attribute's message.

    Attributes:
        name: the attribute's name; one that is no text has surrogates in it.
        flags: whether type and shape are those of other objects.
        datatype: its type, not parsed, and the place of that.
        dataspace: its shape, not parsed, and the place of that.
        n_bytes: where the elements begin.
    """

    name: str
    flags: int
    datatype: tuple[bytes, int]
    dataspace: tuple[bytes, int]
    n_bytes: int


class Unparsed(NamedTuple):
    """An attribute that has not been looked at.

    Attributes:
        head: what stands in front of its elements.
        message: the message that it is.
    """

    head: Head
    message: Message


def find_attributes(source: FileBytes, messages: Iterable[Message]) -> dict[str, Unparsed]:
    """The attributes that some messages make, not parsed; names that are no text have surrogates in them.

    Raises:
        FormatError: the object is damaged, or two attributes have one name.
    """
    found: dict[str, Unparsed] = {}
    for message in _messages(source, messages):
        # Attributes of one name are alike up to their elements.
        data = message.data[: _head_bytes(message.data)]
        head = source.meaning(_parse_head, data, message.address, _WHAT)
        if head.name in found:
            raise _at_elements(source, head, message).damaged("is there twice", got=repr(head.name)[:200])
        found[head.name] = Unparsed(head, message)
    return found


def parse_attribute(source: FileBytes, attribute: Unparsed) -> Attribute:
    """Parse an attribute.

    Raises:
        FormatError: it is damaged, or has fewer elements than it says.
    """
    head, message = attribute
    datatype = _meaning(source, parse_datatype, DATATYPE, head.datatype, message, bool(head.flags & _TYPE_IS_SHARED))
    dataspace = _meaning(
        source, parse_dataspace, DATASPACE, head.dataspace, message, bool(head.flags & _SPACE_IS_SHARED)
    )
    end = head.n_bytes + dataspace.count * datatype.size
    if end > len(message.data):
        raise _at_elements(source, head, message).damaged(
            "is larger than the file has it",
            expected=f"{end - head.n_bytes} bytes",
            got=f"{len(message.data) - head.n_bytes}",
        )
    return Attribute(datatype, dataspace, message.data[head.n_bytes : end])


def _at_elements(source: FileBytes, head: Head, message: Message) -> Cursor:
    cursor = message.cursor(source, _WHAT)
    cursor.position = head.n_bytes
    return cursor


def _messages(source: FileBytes, messages: Iterable[Message]) -> Iterator[Message]:
    """The messages of an object that are attributes, with those that it keeps in a heap."""
    for message in messages:
        if message.kind == ATTRIBUTE:
            yield resolve_shared(source, message) if message.flags & IS_SHARED else message
        elif message.kind == ATTRIBUTE_INFO:
            yield from _dense_attributes(source, message.cursor(source, "the index of an object's attributes"))


def _dense_attributes(source: FileBytes, info: Cursor) -> Iterator[Message]:
    info.version(0)
    if info.uint(1) & _IS_TRACKED:
        info.take(2)
    heap_address, tree = info.address_or_none(), info.address_or_none()
    if heap_address is None or tree is None:
        return
    heap = FractalHeap(source, heap_address)
    for record in records(source, tree, ATTRIBUTE_NAME, info.what):
        id, flags = record.take(_HEAP_ID_BYTES), record.uint(1)
        if flags & IS_SHARED:
            raise record.damaged(
                "is kept in the file's table of shared messages, which is not read",
                hint="rewrite the file with `h5repack`",
            )
        cursor = heap.object(id, _WHAT)
        yield Message(ATTRIBUTE, 0, cursor.data, cursor.address)


def _head_bytes(data: bytes) -> int:
    """How many bytes stand in front of an attribute's elements, if it is none that is damaged."""
    if len(data) < _HEAD.size:
        return len(data)
    version, _, *sizes = _HEAD.unpack_from(data)
    # In the first version name, type and shape are filled up to multiples of eight bytes.
    step = 8 if version == 1 else 1
    n_bytes: int = _HEAD.size + (version == 3) + sum(size + -size % step for size in sizes)
    return n_bytes


def _parse_head(cursor: Cursor) -> Head:
    version = cursor.version(1, 2, 3)
    flags, *sizes = cursor.uint(1), cursor.uint(2), cursor.uint(2), cursor.uint(2)
    cursor.take(version == 3)
    parts = []
    for size in sizes:
        place = cursor.position
        parts.append((cursor.take(size), place))
        cursor.take(-size % 8 if version == 1 else 0)
    name = parts[0][0].partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return Head(name, flags if version > 1 else 0, parts[1], parts[2], cursor.position)


def _meaning(
    source: FileBytes,
    parse: Callable[[Cursor], T],
    kind: int,
    part: tuple[bytes, int],
    attribute: Message,
    is_shared: bool,
) -> T:
    """What the type or the shape of an attribute is."""
    data, address = part[0], attribute.address + part[1]
    if is_shared:
        _, _, data, address = resolve_shared(source, Message(kind, IS_SHARED, data, address))
    return source.meaning(parse, data, address, "the type or shape of an attribute")
