"""B-trees of version 2, which index what new groups, objects with many attributes and chunks have (section III.A.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from resport.formats.hdf5_file.file_bytes import Cursor, FileBytes

HUGE_OBJECT, LINK_NAME, ATTRIBUTE_NAME, CHUNK, FILTERED_CHUNK = 1, 5, 8, 10, 11
_HEADER_FIXED_BYTES = 22
# Signature, version and kind in front, the checksum behind.
_NODE_FIXED_BYTES = 10
_MAX_DEPTH = 32


class _Tree(NamedTuple):
    kind: int
    record_bytes: int
    pointer_bytes: tuple[tuple[int, int], ...]
    """For each depth, the widths of the two counts beside the address of a child; none at depth 0."""


def records(source: FileBytes, address: int, kind: int, what: str) -> Iterator[Cursor]:
    """Yield every record of a tree, in no particular order.

    Args:
        source: the file.
        address: where the tree's header is.
        kind: what the records are of.
        what: what the tree is, for messages.

    Raises:
        FormatError: the tree is damaged, or its nodes lead to one another in a circle.
    """
    size = _HEADER_FIXED_BYTES + source.address_bytes + source.length_bytes
    header = source.checked(address, size, b"BTHD", what)
    header.version(0)
    found = header.uint(1)
    if found != kind:
        raise header.damaged("holds something else", expected=f"records of kind {kind}", got=found)
    node_bytes, record_bytes, depth = header.uint(4), header.uint(2), header.uint(2)
    header.take(2)
    root, n_root, n_all = header.address_or_none(), header.uint(2), header.length()
    if not 0 < record_bytes <= node_bytes or depth > _MAX_DEPTH:
        raise header.damaged("is damaged", got=f"records of {record_bytes} bytes in nodes of {node_bytes}")
    tree = _Tree(kind, record_bytes, _pointer_widths(source, node_bytes, record_bytes, depth))
    n_found = 0
    if root is not None:
        for record in _walk(source, tree, (root, n_root, depth), what):
            n_found += 1
            yield record
    if n_found != n_all:
        raise header.damaged("has not as many records as it says", expected=n_all, got=n_found)


def _pointer_widths(source: FileBytes, node_bytes: int, record_bytes: int, depth: int) -> tuple[tuple[int, int], ...]:
    """Widths of the counts in nodes of each depth: wide enough for the fullest node, and the fullest tree, below."""
    most = (node_bytes - _NODE_FIXED_BYTES) // record_bytes
    count_bytes = _width(most)
    in_tree, tree_bytes = most, 0
    widths = [(0, 0)]
    for _ in range(depth):
        widths.append((count_bytes, tree_bytes))
        pointer_bytes = source.address_bytes + count_bytes + tree_bytes
        most = max(0, (node_bytes - _NODE_FIXED_BYTES - pointer_bytes) // (record_bytes + pointer_bytes))
        in_tree = (most + 1) * in_tree + most
        tree_bytes = _width(in_tree)
    return tuple(widths)


def _width(number: int) -> int:
    return max(1, (number.bit_length() + 7) // 8)


def _walk(source: FileBytes, tree: _Tree, root: tuple[int, int, int], what: str) -> Iterator[Cursor]:
    seen: set[int] = set()
    pending = [root]
    while pending:
        address, count, depth = pending.pop()
        widths = tree.pointer_bytes[depth]
        pointers = (count + 1) * (source.address_bytes + sum(widths)) if depth else 0
        size = _NODE_FIXED_BYTES + count * tree.record_bytes + pointers
        node = source.checked(address, size, b"BTIN" if depth else b"BTLF", what)
        node.version(0)
        if node.uint(1) != tree.kind or address in seen:
            raise node.damaged("leads to a node of another tree or in a circle")
        seen.add(address)
        source.count_parts(count)
        for _ in range(count):
            start = node.position
            yield Cursor(source, node.take(tree.record_bytes), address + start, what)
        for _ in range(count + 1 if depth else 0):
            child = node.needed_address(), node.uint(widths[0]), depth - 1
            node.take(widths[1])
            pending.append(child)
