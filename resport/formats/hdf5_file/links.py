"""The members of groups, old and new (sections IV.A.2.c, IV.A.2.g and IV.A.2.r)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from resport.formats.hdf5_file.btree_v2 import LINK_NAME, records
from resport.formats.hdf5_file.file_bytes import Cursor, FileBytes
from resport.formats.hdf5_file.fractal_heap import FractalHeap
from resport.formats.hdf5_file.local_heap import old_members
from resport.formats.hdf5_file.object_header import LINK, LINK_INFO, SYMBOL_TABLE, Message

_KINDS = {SYMBOL_TABLE, LINK, LINK_INFO}
_HARD, _SOFT, _EXTERNAL = 0, 1, 64
_SHOWN = {_SOFT: "a soft link", _EXTERNAL: "an external link"}
_HAS_ORDER, _HAS_KIND, _HAS_LETTERS = 4, 8, 16
_IS_TRACKED = 1
_HASH_BYTES, _HEAP_ID_BYTES = 4, 7


class Link(NamedTuple):
    """A member of a group.

    Attributes:
        address: of the object's header; None where the link leads elsewhere.
        shown: what kind of link it is, for a message.
    """

    address: int | None
    shown: str = "a hard link"


_SOFT_LINK = Link(None, _SHOWN[_SOFT])


def read_links(source: FileBytes, messages: Iterable[Message]) -> dict[str, Link]:
    """The members of the group that some messages make; names that are no text have surrogates in them.

    Raises:
        FormatError: the group is damaged, or two members have one name.
    """
    links: dict[str, Link] = {}
    for raw, link, place in _links(source, messages):
        name = raw.decode("utf-8", "surrogateescape")
        if name in links:
            raise place.damaged("is there twice", got=repr(name)[:200])
        links[name] = link
    return links


def _links(source: FileBytes, messages: Iterable[Message]) -> Iterator[tuple[bytes, Link, Cursor]]:
    what = "a group's member"
    for message in messages:
        if message.kind not in _KINDS:
            continue
        cursor = message.cursor(source, what)
        if message.kind == SYMBOL_TABLE:
            tree, heap = cursor.address_or_none(), cursor.address_or_none()
            if tree is None or heap is None:
                continue
            for name, address in old_members(source, tree, heap):
                yield name, Link(address) if address is not None else _SOFT_LINK, cursor
        elif message.kind == LINK:
            yield *_parse_link(cursor), cursor
        else:
            for link in _dense_links(source, cursor):
                yield *_parse_link(link), link


def _dense_links(source: FileBytes, info: Cursor) -> Iterator[Cursor]:
    """The links that a group keeps in a heap."""
    info.version(0)
    if info.uint(1) & _IS_TRACKED:
        info.take(8)
    heap_address, tree = info.address_or_none(), info.address_or_none()
    if heap_address is None or tree is None:
        return
    heap = FractalHeap(source, heap_address)
    for record in records(source, tree, LINK_NAME, "the index of a group's members"):
        record.take(_HASH_BYTES)
        yield heap.object(record.take(_HEAP_ID_BYTES), "a group's member")


def _parse_link(cursor: Cursor) -> tuple[bytes, Link]:
    cursor.version(1)
    flags = cursor.uint(1)
    kind = cursor.uint(1) if flags & _HAS_KIND else _HARD
    cursor.take(8 * bool(flags & _HAS_ORDER) + bool(flags & _HAS_LETTERS))
    name = cursor.take(cursor.uint(1 << (flags & 3)))
    if kind == _HARD:
        return name, Link(cursor.needed_address())
    return name, Link(None, _SHOWN.get(kind, "a link of a user's own kind"))
