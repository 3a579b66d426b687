"""B-trees of version 1, which hold the members of old groups and the chunks of datasets (section III.A.1)."""

from __future__ import annotations

from collections.abc import Iterator

from resport.formats.hdf5_file.file_bytes import Cursor, FileBytes

GROUP_NODE, CHUNK_NODE = 0, 1
TREE_MAGIC = b"TREE"


def leaf_entries(source: FileBytes, root: int, kind: int, key_bytes: int, what: str) -> Iterator[tuple[Cursor, int]]:
    """Yield the key and the child of every entry of a tree's leaves, from left to right.

    Args:
        source: the file.
        root: address of the tree's root.
        kind: what the tree holds.
        key_bytes: size of a key.
        what: what the tree is, for messages.

    Raises:
        FormatError: the tree is damaged, or its nodes lead to one another in a circle.
    """
    seen: set[int] = set()
    pending: list[tuple[int, int | None]] = [(root, None)]
    while pending:
        address, expected_level = pending.pop()
        level, entries = _read_node(source, address, kind, key_bytes, what)
        if address in seen or (expected_level is not None and level != expected_level):
            raise entries.damaged("leads to a node of another level or in a circle", expected=expected_level, got=level)
        seen.add(address)
        children = []
        source.count_parts(entries.left // (key_bytes + source.address_bytes))
        while entries.left >= key_bytes + source.address_bytes:
            key = Cursor(source, entries.data, entries.address, what)
            key.position = entries.position
            entries.position += key_bytes
            child = entries.needed_address()
            if level == 0:
                yield key, child
            else:
                children.append((child, level - 1))
        pending += reversed(children)


def _read_node(source: FileBytes, address: int, kind: int, key_bytes: int, what: str) -> tuple[int, Cursor]:
    """The level of a node, and its entries: keys and children in turns, and one key more."""
    head_bytes = 8 + 2 * source.address_bytes
    head = source.cursor(address, head_bytes, what)
    magic, found, level, count = head.take(4), head.uint(1), head.uint(1), head.uint(2)
    if magic != TREE_MAGIC or found != kind:
        raise head.damaged("has a node that is something else", expected=f"TREE of kind {kind}", got=repr(magic))
    return level, source.cursor(address + head_bytes, count * (key_bytes + source.address_bytes) + key_bytes, what)
