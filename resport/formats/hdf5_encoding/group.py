"""The members of a group in bytes: a heap of names, nodes of symbols, a B-tree over these (sections III.A to III.D).

The nodes of each level are as full as they can be, but for the last.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from resport.formats.hdf5_encoding.message import (
    NOWHERE,
    SYMBOL_TABLE_MESSAGE_BYTES,
    check_count,
    encode_header,
    encode_symbol_table,
    header_bytes,
)
from resport.formats.hdf5_file.btree_v1 import GROUP_NODE, TREE_MAGIC
from resport.formats.hdf5_file.local_heap import HEAP_MAGIC, SYMBOLS_MAGIC, SYMBOLS_VERSION

HALF_SYMBOLS, HALF_NODE = 4, 16
"""Half of what a node of symbols and a node of the tree can have; the library's own numbers."""
_MAX_SYMBOLS, _MAX_CHILDREN = 2 * HALF_SYMBOLS, 2 * HALF_NODE
_IS_GROUP = 1
_EMPTY_NAME_BYTES = 8
# Where a list of free places would begin.
_NO_FREE_PLACE = 1
_ENTRY = struct.Struct("<2QI4x2Q")
_SYMBOLS = struct.Struct("<4sBxH")
_HEAP = struct.Struct("<4sB3x3Q")
_NODE = struct.Struct("<4s2BH2Q")
_SYMBOLS_BYTES = _SYMBOLS.size + _MAX_SYMBOLS * _ENTRY.size
_NODE_BYTES = _NODE.size + 8 * (2 * _MAX_CHILDREN + 1)


class Place(NamedTuple):
    """Where an object is.

    Attributes:
        header: address of its header.
        tree: of a group, that of the tree of its members.
        heap: of a group, that of their names.
    """

    header: int
    tree: int = NOWHERE
    heap: int = 0


def place_group(address: int, names: Collection[bytes], attributes: Sequence[bytes]) -> tuple[Place, int]:
    """Where the parts of a group will be.

    Args:
        address: where it will be.
        names: those of its members.
        attributes: the messages of its attributes.

    Returns:
        The place, and where the group ends.

    Raises:
        FormatError: it has too many attributes.
    """
    check_count(1 + len(attributes))
    heap = address + header_bytes(attributes) + SYMBOL_TABLE_MESSAGE_BYTES
    names_bytes = _EMPTY_NAME_BYTES + sum(len(name) + 8 - len(name) % 8 for name in names)
    n_symbols = -(-len(names) // _MAX_SYMBOLS)
    n_nodes = n_level = max(1, -(-n_symbols // _MAX_CHILDREN))
    while n_level > 1:
        n_level = -(-n_level // _MAX_CHILDREN)
        n_nodes += n_level
    end = heap + _HEAP.size + names_bytes + n_symbols * _SYMBOLS_BYTES + n_nodes * _NODE_BYTES
    return Place(address, end - _NODE_BYTES, heap), end


def encode_group(place: Place, members: Mapping[bytes, Place], attributes: Sequence[bytes]) -> bytes:
    """A group: header, heap, symbols and tree.

    Args:
        place: where it will be, as ``place_group`` says.
        members: where its members are, by their names.
        attributes: the messages of its attributes.
    """
    names = sorted(members)
    heap, offsets = _encode_names(names)
    at_symbols = place.heap + _HEAP.size + len(heap)
    symbols = [encode_entry(offset, members[name]) for name, offset in zip(names, offsets, strict=True)]
    nodes = [_encode_symbols(symbols[start : start + _MAX_SYMBOLS]) for start in range(0, len(names), _MAX_SYMBOLS)]
    last = [*offsets[_MAX_SYMBOLS - 1 : -1 : _MAX_SYMBOLS], *offsets[-1:]]
    children = [(at_symbols + number * _SYMBOLS_BYTES, key) for number, key in enumerate(last)]
    tree = _encode_tree(at_symbols + len(nodes) * _SYMBOLS_BYTES, children)
    head = _HEAP.pack(HEAP_MAGIC, 0, len(heap), _NO_FREE_PLACE, place.heap + _HEAP.size)
    header = encode_header([encode_symbol_table(place.tree, place.heap), *attributes])
    return b"".join((header, head, heap, *nodes, tree))


def encode_entry(name: int, place: Place) -> bytes:
    """The entry of an object in a node of symbols.

    Args:
        name: where its name is in the heap.
        place: where the object is.
    """
    if place.tree == NOWHERE:
        return _ENTRY.pack(name, place.header, 0, 0, 0)
    return _ENTRY.pack(name, place.header, _IS_GROUP, place.tree, place.heap)


def _encode_names(names: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """The data of a heap, at the begin of which the empty name is, and where in it the names are."""
    parts, offsets, end = [bytes(_EMPTY_NAME_BYTES)], [], _EMPTY_NAME_BYTES
    for name in names:
        part = name + bytes(8 - len(name) % 8)
        parts.append(part)
        offsets.append(end)
        end += len(part)
    return b"".join(parts), offsets


def _encode_symbols(entries: Sequence[bytes]) -> bytes:
    head = _SYMBOLS.pack(SYMBOLS_MAGIC, SYMBOLS_VERSION, len(entries))
    return (head + b"".join(entries)).ljust(_SYMBOLS_BYTES, b"\0")


def _encode_tree(address: int, children: Sequence[tuple[int, int]]) -> bytes:
    """A tree over nodes of symbols; its root comes last.

    Args:
        address: where it will be.
        children: where the nodes are, each with the place of its last name in the heap.
    """
    nodes: list[bytes] = []
    level = 0
    while len(children) > _MAX_CHILDREN:
        first = address + len(nodes) * _NODE_BYTES
        runs = [children[start : start + _MAX_CHILDREN] for start in range(0, len(children), _MAX_CHILDREN)]
        # What a node's names lie behind: the last name of the node before it.
        bounds = [0, *(run[-1][1] for run in runs[:-1])]
        for number, (run, bound) in enumerate(zip(runs, bounds, strict=True)):
            left = first + (number - 1) * _NODE_BYTES if number else NOWHERE
            right = first + (number + 1) * _NODE_BYTES if number + 1 < len(runs) else NOWHERE
            nodes.append(_encode_node(level, left, right, bound, run))
        children = [(first + number * _NODE_BYTES, run[-1][1]) for number, run in enumerate(runs)]
        level += 1
    return b"".join((*nodes, _encode_node(level, NOWHERE, NOWHERE, 0, children)))


def _encode_node(level: int, left: int, right: int, bound: int, children: Sequence[tuple[int, int]]) -> bytes:
    head = _NODE.pack(TREE_MAGIC, GROUP_NODE, level, len(children), left, right)
    numbers = [bound, *chain.from_iterable(children)]
    return (head + struct.pack(f"<{len(numbers)}Q", *numbers)).ljust(_NODE_BYTES, b"\0")
