"""Local heaps and symbol tables: the names and places of an old group's members (sections III.B to III.D)."""

from __future__ import annotations

import struct
from functools import cache

from resport.formats.hdf5_file.btree_v1 import GROUP_NODE, leaf_entries
from resport.formats.hdf5_file.file_bytes import Cursor, FileBytes

HEAP_MAGIC, SYMBOLS_MAGIC = b"HEAP", b"SNOD"
SYMBOLS_VERSION = 1
SCRATCH_BYTES = 16
_SOFT_LINK = 2
_CODES = {2: "H", 4: "I", 8: "Q"}


def old_members(source: FileBytes, tree: int, heap: int) -> list[tuple[bytes, int | None]]:
    """The members of an old group.

    Args:
        source: the file.
        tree: address of the group's B-tree.
        heap: address of the heap that holds the names.

    Returns:
        Of each member the name, and the address of its object header: None for a soft link.

    Raises:
        FormatError: tree, nodes or heap are damaged.
    """
    names = _read_heap(source, heap)
    entry = _entry(source.length_bytes, source.address_bytes)
    seen: set[int] = set()
    members: list[tuple[bytes, int | None]] = []
    for _, address in leaf_entries(source, tree, GROUP_NODE, source.length_bytes, "a group's tree"):
        node = _read_node(source, address, entry.size)
        if address in seen:
            raise node.damaged("belongs to the group twice")
        seen.add(address)
        for offset, header, kind in entry.iter_unpack(node.data):
            node.position += entry.size
            if offset >= len(names.data):
                raise node.damaged("names a member that its heap has not", expected=len(names.data), got=offset)
            if header == source.undefined and kind != _SOFT_LINK:
                raise node.damaged("has a member that leads nowhere")
            names.position = offset
            name = names.text()
            # Names that begin at every byte of one another are many times as long as the heap.
            source.count_parts(1, len(name))
            members.append((name, None if kind == _SOFT_LINK else header))
    return members


@cache
def _entry(length_bytes: int, address_bytes: int) -> struct.Struct:
    """An entry of a symbol table: where the name is, where the object is, and of which kind it is."""
    return struct.Struct(f"<{_CODES[length_bytes]}{_CODES[address_bytes]}I4x{SCRATCH_BYTES}x")


@cache
def _heap(length_bytes: int, address_bytes: int) -> struct.Struct:
    """What follows the version of a heap: its size, a list of free places, and where it is."""
    return struct.Struct(f"<3x2{_CODES[length_bytes]}{_CODES[address_bytes]}")


def _read_node(source: FileBytes, address: int, entry_bytes: int) -> Cursor:
    """The entries of a node of a symbol table."""
    what = "a node of a group's symbol table"
    head = source.cursor(address, 8, what)
    head.signature(SYMBOLS_MAGIC, SYMBOLS_VERSION)
    count = int.from_bytes(head.data[6:], "little")
    return source.cursor(address + 8, count * entry_bytes, what)


def _read_heap(source: FileBytes, address: int) -> Cursor:
    """The data of a local heap."""
    what = "the heap of a group's names"
    head = source.cursor(address, 8 + 2 * source.length_bytes + source.address_bytes, what)
    head.signature(HEAP_MAGIC, 0)
    size, _, data = head.fields(_heap(source.length_bytes, source.address_bytes))
    if data == source.undefined:
        raise head.damaged("leads nowhere")
    return source.cursor(data, size, what)
