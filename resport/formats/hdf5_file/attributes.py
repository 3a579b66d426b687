"""Attributes of groups and datasets (sections IV.A.2.m and IV.A.2.v)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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
# Flags, and the sizes of name, type and shape.
_SIZES = struct.Struct("<B3H")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute, whose value has not been looked at.

    Attributes:
        datatype: what its elements are.
        dataspace: its shape.
        elements: their bytes, at least as many as type and shape ask for.
    """

    datatype: Datatype
    dataspace: Dataspace
    elements: bytes


class Unparsed(NamedTuple):
    """The parts of an attribute that has not been looked at.

    Attributes:
        name: its name.
        flags: whether type and shape are those of other objects.
        datatype: its type.
        dataspace: its shape.
        rest: stands in front of its elements.
    """

    name: bytes
    flags: int
    datatype: Message
    dataspace: Message
    rest: Cursor


def find_attributes(source: FileBytes, messages: Iterable[Message]) -> dict[str, Unparsed]:
    """The attributes that some messages make, not parsed; names that are no text have surrogates in them.

    Raises:
        FormatError: the object is damaged, or two attributes have one name.
    """
    found: dict[str, Unparsed] = {}
    for message in _messages(source, messages):
        attribute = _split(message.cursor(source, _WHAT))
        name = attribute.name.decode("utf-8", "surrogateescape")
        if name in found:
            raise attribute.rest.damaged("is there twice", got=repr(name)[:200])
        found[name] = attribute
    return found


def parse_attribute(source: FileBytes, attribute: Unparsed) -> Attribute:
    """Parse an attribute.

    Raises:
        FormatError: it is damaged, or has fewer elements than it says.
    """
    datatype = _meaning(source, parse_datatype, attribute.datatype, bool(attribute.flags & _TYPE_IS_SHARED))
    dataspace = _meaning(source, parse_dataspace, attribute.dataspace, bool(attribute.flags & _SPACE_IS_SHARED))
    n_bytes = dataspace.count * datatype.size
    rest = attribute.rest
    if n_bytes > rest.left:
        raise rest.damaged("is larger than the file has it", expected=f"{n_bytes} bytes", got=f"{rest.left}")
    return Attribute(datatype, dataspace, rest.data[rest.position : rest.position + n_bytes])


def _messages(source: FileBytes, messages: Iterable[Message]) -> Iterator[Message]:
    """The messages of an object that are attributes, with those that it keeps in a heap."""
    for message in messages:
        if message.kind == ATTRIBUTE:
            yield resolve_shared(source, message)
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


def _split(cursor: Cursor) -> Unparsed:
    """The parts of an attribute."""
    version = cursor.version(1, 2, 3)
    flags, *sizes = cursor.fields(_SIZES)
    if version == 3:
        cursor.take(1)
    # In the first version name, type and shape are filled up to multiples of eight bytes.
    step = 8 if version == 1 else 1
    name, _ = _take(cursor, sizes[0], step)
    return Unparsed(
        name.partition(b"\0")[0],
        flags if version > 1 else 0,
        Message(DATATYPE, 0, *_take(cursor, sizes[1], step)),
        Message(DATASPACE, 0, *_take(cursor, sizes[2], step)),
        cursor,
    )


def _take(cursor: Cursor, size: int, step: int) -> tuple[bytes, int]:
    """The next bytes, without what they are filled up with, and where they are."""
    address = cursor.address + cursor.position
    data = cursor.take(size)
    if size % step:
        cursor.take(-size % step)
    return data, address


def _meaning(source: FileBytes, parse: Callable[[Cursor], T], message: Message, is_shared: bool) -> T:
    if is_shared:
        message = resolve_shared(source, message._replace(flags=IS_SHARED))
    return source.meaning(parse, message.data, message.address, "the type or shape of an attribute")
