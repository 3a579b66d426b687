"""B-trees of version 1, which hold the members of old groups and the chunks of datasets (section III.A.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from resport.formats.hdf5_file.file_bytes import Cursor, FileBytes

GROUP_NODE, CHUNK_NODE = 0, 1
TREE_MAGIC = b"TREE"
_HEAD = struct.Struct("<4sBBH")


def leaf_entries(source: FileBytes, root: int, kind: int, key_bytes: int, what: str) -> Iterator[tuple[Cursor, int]]:
    """Yield the child of every entry of a tree's leaves, from left to right, and a cursor that stands at its key.

    Args:
        source: the file.
        root: address of the tree's root.
        kind: what the tree holds.
        key_bytes: size of a key.
        what: what the tree is, for messages.

    Raises:
        FormatError: the tree is damaged, or its nodes lead to one another in a circle.
    """
    entry_bytes = key_bytes + source.address_bytes
    seen: set[int] = set()
    pending: list[tuple[int, int | None]] = [(root, None)]
    while pending:
        address, expected_level = pending.pop()
        level, entries = _read_node(source, address, kind, key_bytes, what)
        if address in seen or (expected_level is not None and level != expected_level):
            raise entries.damaged("leads to a node of another level or in a circle", expected=expected_level, got=level)
        seen.add(address)
        children = []
        n_entries = len(entries.data) // entry_bytes
        source.count_parts(n_entries)
        for start in range(0, n_entries * entry_bytes, entry_bytes):
            entries.position = start + key_bytes
            child = entries.needed_address()
            if level:
                children.append((child, level - 1))
            else:
                entries.position = start
                yield entries, child
        pending += reversed(children)


def _read_node(source: FileBytes, address: int, kind: int, key_bytes: int, what: str) -> tuple[int, Cursor]:
    """The level of a node, and its entries: keys and children in turns, and one key more."""
    head_bytes = 8 + 2 * source.address_bytes
    head = source.cursor(address, head_bytes, what)
    magic, found, level, count = head.fields(_HEAD)
    if magic != TREE_MAGIC or found != kind:
        raise head.damaged("has a node that is something else", expected=f"TREE of kind {kind}", got=repr(magic))
    return level, source.cursor(address + head_bytes, count * (key_bytes + source.address_bytes) + key_bytes, what)
