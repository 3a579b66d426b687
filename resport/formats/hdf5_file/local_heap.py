"""Local heaps and symbol tables: the names and places of an old group's members (sections III.B to III.D)."""

from __future__ import annotations

from collections.abc import Iterator

from resport.formats.hdf5_file.btree_v1 import GROUP_NODE, leaf_entries
from resport.formats.hdf5_file.file_bytes import Cursor, FileBytes

HEAP_MAGIC, SYMBOLS_MAGIC = b"HEAP", b"SNOD"
SYMBOLS_VERSION = 1
SCRATCH_BYTES = 16
_SOFT_LINK = 2


def old_members(source: FileBytes, tree: int, heap: int) -> Iterator[tuple[bytes, int | None]]:
    """Yield the members of an old group.

    Args:
        source: the file.
        tree: address of the group's B-tree.
        heap: address of the heap that holds the names.

    Yields:
        A member's name, and the address of its object header: None for a soft link.

    Raises:
        FormatError: tree, nodes or heap are damaged.
    """
    names = _read_heap(source, heap)
    seen: set[int] = set()
    for _, address in leaf_entries(source, tree, GROUP_NODE, source.length_bytes, "a group's tree"):
        node = _read_node(source, address)
        if address in seen:
            raise node.damaged("belongs to the group twice")
        seen.add(address)
        while node.left:
            offset, header = node.length(), node.address_or_none()
            kind = node.uint(4)
            node.take(4 + SCRATCH_BYTES)
            if offset >= len(names.data):
                raise node.damaged("names a member that its heap has not", expected=len(names.data), got=offset)
            names.position = offset
            if kind == _SOFT_LINK:
                header = None
            elif header is None:
                raise node.damaged("has a member that leads nowhere")
            name = names.text()
            # Names that begin at every byte of one another are many times as long as the heap.
            source.count_parts(1, len(name))
            yield name, header


def _read_node(source: FileBytes, address: int) -> Cursor:
    """The entries of a node of a symbol table."""
    what = "a node of a group's symbol table"
    head = source.cursor(address, 8, what)
    if head.take(4) != SYMBOLS_MAGIC:
        raise head.damaged("is something else", expected="SNOD")
    head.version(SYMBOLS_VERSION)
    head.take(1)
    entry_bytes = source.length_bytes + source.address_bytes + 8 + SCRATCH_BYTES
    return source.cursor(address + 8, head.uint(2) * entry_bytes, what)


def _read_heap(source: FileBytes, address: int) -> Cursor:
    """The data of a local heap."""
    what = "the heap of a group's names"
    head = source.cursor(address, 8 + 2 * source.length_bytes + source.address_bytes, what)
    if head.take(4) != HEAP_MAGIC:
        raise head.damaged("is something else", expected="HEAP")
    head.version(0)
    head.take(3)
    size = head.length()
    head.length()
    return source.cursor(head.needed_address(), size, what)
