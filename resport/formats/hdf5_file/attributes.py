"""Attributes of groups and datasets (sections IV.A.2.m and IV.A.2.v)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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


def find_attributes(source: FileBytes, messages: Iterable[Message]) -> dict[str, Message]:
    """The attributes that some messages make, not parsed; names that are no text have surrogates in them.

    Raises:
        FormatError: the object is damaged, or two attributes have one name.
    """
    found: dict[str, Message] = {}
    for message in _messages(source, messages):
        cursor = message.cursor(source, _WHAT)
        name = _split(cursor)[0].decode("utf-8", "surrogateescape")
        if name in found:
            raise cursor.damaged("is there twice", got=repr(name)[:200])
        found[name] = message
    return found


def parse_attribute(source: FileBytes, message: Message) -> Attribute:
    """Parse an attribute.

    Raises:
        FormatError: it is damaged, or has fewer elements than it says.
    """
    cursor = message.cursor(source, _WHAT)
    _, flags, type_message, space_message = _split(cursor)
    datatype = parse_datatype(_part(source, type_message, bool(flags & _TYPE_IS_SHARED)))
    dataspace = parse_dataspace(_part(source, space_message, bool(flags & _SPACE_IS_SHARED)))
    n_bytes = dataspace.count * datatype.size
    if n_bytes > cursor.left:
        raise cursor.damaged("is larger than the file has it", expected=f"{n_bytes} bytes", got=f"{cursor.left}")
    return Attribute(datatype, dataspace, cursor.take(n_bytes))


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


def _split(cursor: Cursor) -> tuple[bytes, int, Message, Message]:
    """Name, flags, type and shape of an attribute; behind them stand its elements."""
    version, flags = cursor.version(1, 2, 3), cursor.uint(1)
    sizes = [cursor.uint(2) for _ in range(3)]
    if version == 3:
        cursor.take(1)
    parts = []
    for size in sizes:
        start = cursor.position
        parts.append((cursor.take(size), cursor.address + start))
        if version == 1:
            # Name, type and shape are filled up to multiples of eight bytes.
            cursor.take(-size % 8)
    (name, _), (kind, kind_place), (space, space_place) = parts
    return (
        name.partition(b"\0")[0],
        flags if version > 1 else 0,
        Message(DATATYPE, 0, kind, kind_place),
        Message(DATASPACE, 0, space, space_place),
    )


def _part(source: FileBytes, message: Message, is_shared: bool) -> Cursor:
    if is_shared:
        message = resolve_shared(source, message._replace(flags=IS_SHARED))
    return message.cursor(source, "the type or shape of an attribute")
