"""Hostile HDF5 files: all sound as far as checksums go, and small on disk; what they ask for is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from resport.formats.hdf5_file.checksum import lookup3
from tests.formats.hdf5_crafted import UNDEFINED, dataset, message, number, old_file, tree_node

MEGABYTE = 1 << 20
REST = 4096
"""Where what lies behind the root begins: the group of layers, and from twice that on what it refers to."""
TEXT = bytes([0x13, 0, 0, 0]) + number(1, 4)
"""The type of texts of one byte."""


def group_of_layers(folder: Path, messages: bytes, rest: bytes = b"", n_bytes: int = 0) -> Path:
    """A file whose layers are what some messages say; ``rest`` is at twice ``REST``."""
    link = message(6, bytes([1, 0, 6]) + b"layers" + number(REST))
    group = header(messages).ljust(REST, b"\0") + rest
    return put(folder, old_file(message(2, bytes([0, 0]) + UNDEFINED * 2) + link, group), n_bytes)


def header(messages: bytes, size: int = 0) -> bytes:
    return bytes([1, 0]) + number(1, 2) + number(1, 4) + number(size or len(messages), 4) + bytes(4) + messages


def put(folder: Path, content: bytes, n_bytes: int = 0) -> Path:
    path = folder / "m.weights.h5"
    path.write_bytes(content)
    # What is behind the content are zeros that take no room on the disk.
    os.truncate(path, max(n_bytes, len(content)))
    return path


def sealed(structure: bytes) -> bytes:
    return structure + number(lookup3(structure), 4)


def laid_out(*parts: bytes) -> tuple[bytes, list[int]]:
    """Structures one behind the other from twice ``REST`` on, and their addresses."""
    whole, addresses = b"", []
    for part in parts:
        addresses.append(2 * REST + len(whole))
        whole += part + bytes(-len(part) % 8)
    return whole, addresses


def heap(id_bytes: int, block_bytes: int, block: int | None, huge: int | None = None) -> bytes:
    """The header of a heap of one block, or of huge objects that a tree lists."""
    fields = b"FRHP" + bytes([0]) + number(id_bytes, 2) + bytes(3) + number((1 << 24) - 1, 4) + number(0)
    fields += (UNDEFINED if huge is None else number(huge)) + number(0) + UNDEFINED + bytes(64)
    fields += number(4, 2) + number(block_bytes) * 2 + number(24, 2) + number(0, 2)
    return sealed(fields + (UNDEFINED if block is None else number(block)) + number(0, 2))


def tree(kind: int, records: list[bytes], leaf: int) -> tuple[bytes, bytes]:
    """A tree of one leaf, which will be at an address: its header, and the leaf."""
    size = len(records[0])
    node = sealed(b"BTLF" + bytes([0, kind]) + b"".join(records))
    top = b"BTHD" + bytes([0, kind]) + number(len(node) + 16, 4) + number(size, 2) + number(0, 2) + bytes([100, 40])
    return sealed(top + number(leaf) + number(len(records), 2) + number(len(records))), node


def hdf5_names_at_every_byte_of_one_another(folder: Path) -> Path:
    """Two hundred kilobytes without an end in between, in which twenty thousand names begin."""
    count, n_bytes = 20_000, 200_000
    names = b"HEAP" + bytes(4) + number(n_bytes) + UNDEFINED + number(2 * REST + 32) + b"a" * (n_bytes - 1) + b"\0"
    members = (number(place) + number(96) + bytes(24) for place in range(count))
    symbols = b"SNOD" + bytes([1, 0]) + number(count, 2) + b"".join(members)
    _, (heap_at, symbols_at, tree_at) = laid_out(names, symbols, b"")
    rest, _ = laid_out(names, symbols, tree_node(0, 0, [(number(0), symbols_at)], number(0)))
    return group_of_layers(folder, message(0x11, number(tree_at) + number(heap_at)), rest)


def hdf5_links_at_every_byte_of_one_another(folder: Path) -> Path:
    """Links of two megabytes each, ten thousand of them in four megabytes."""
    count, name_bytes, block_bytes = 10_000, 2 * MEGABYTE, 4 * MEGABYTE
    places = range(64, 64 + 32 * count, 32)
    head = heap(7, block_bytes, 0)
    _, (heap_at, block_at, leaf_at, tree_at) = laid_out(head, bytes(block_bytes), bytes(10 + 11 * count + 4), b"")
    block = bytearray(b"FHDB" + bytes([0]) + number(heap_at) + bytes(block_bytes - 13))
    for number_of, place in enumerate(places):
        block[place : place + 14] = bytes([1, 2]) + number(name_bytes, 4) + b"%08d" % number_of
    links = [number(place, 4) + bytes([0]) + number(place, 3) + number(name_bytes + 14, 3) for place in places]
    top, leaf = tree(5, links, leaf_at)
    rest, _ = laid_out(heap(7, block_bytes, block_at), bytes(block), leaf, top)
    return group_of_layers(folder, message(2, bytes([0, 0]) + number(heap_at) + number(tree_at)), rest)


def hdf5_header_of_empty_messages(folder: Path) -> Path:
    """Eight million messages without a byte."""
    n_bytes = 60 * MEGABYTE
    link = message(6, bytes([1, 0, 1]) + b"x" + number(2 * REST))
    return group_of_layers(
        folder, message(2, bytes([0, 0]) + UNDEFINED * 2) + link, header(b"", n_bytes), 2 * REST + 16 + n_bytes
    )


def hdf5_checksums_without_end(folder: Path) -> Path:
    """Headers of four megabytes, each of which has to be summed up."""
    filling = (bytes([0]) + number(65_000, 2) + bytes([0]) + bytes(65_000)) * 64
    large = sealed(b"OHDR" + bytes([2, 2]) + number(len(filling), 4) + filling)
    rest, places = laid_out(large, large, large)
    links = b"".join(message(6, bytes([1, 0, 1]) + b"%d" % n + number(place)) for n, place in enumerate(places))
    return group_of_layers(folder, message(2, bytes([0, 0]) + UNDEFINED * 2) + links, rest)


def with_variable(folder: Path, variable: bytes, n_bytes: int) -> Path:
    """A file of a single layer whose variable is a dataset; its values lie at four times ``REST``."""
    rest, (layer_at, variables_at, dataset_at) = laid_out(*[bytes(REST // 2)] * 3)
    info = message(2, bytes([0, 0]) + UNDEFINED * 2)
    groups = [
        header(info + message(6, bytes([1, 0, 4]) + b"vars" + number(variables_at))),
        header(info + message(6, bytes([1, 0, 1]) + b"0" + number(dataset_at))),
        header(variable),
    ]
    rest, _ = laid_out(*(each.ljust(REST // 2, b"\0") for each in groups))
    return group_of_layers(folder, info + message(6, bytes([1, 0, 1]) + b"d" + number(layer_at)), rest, n_bytes)


def hdf5_chunks_without_end(folder: Path) -> Path:
    """Half a million chunks of one number each, and of thirty-two axes."""
    count, axes = 1 << 19, [1] * 32
    layout = bytes([4, 2, 0, 33, 4]) + b"".join(number(axis, 4) for axis in (*axes, 4)) + bytes([2]) + number(4 * REST)
    return with_variable(folder, dataset(count, *axes[1:], layout=layout), 4 * REST + 4 * count)


def hdf5_of_countless_texts(folder: Path) -> Path:
    count = 40 * MEGABYTE
    layout = bytes([3, 1]) + number(4 * REST) + number(count)
    return with_variable(folder, dataset(count, layout=layout, kind=TEXT), 4 * REST + count)


def hdf5_attribute_of_countless_texts(folder: Path) -> Path:
    """An attribute of sixty megabytes, which only the heaps of newer files can hold."""
    count = 60 * MEGABYTE
    name = b"name\0"
    space = bytes([1, 1]) + bytes(6) + number(count)
    attribute = bytes([3, 0]) + number(len(name), 2) + number(len(TEXT), 2) + number(len(space), 2) + bytes([0])
    attribute += name + TEXT + space
    id = bytes([0x10]) + number(1, 7)
    sizes = (len(heap(8, 512, None)), *[64] * 4)
    _, (heap_at, huge_at, huge_leaf_at, tree_at, leaf_at) = laid_out(*map(bytes, sizes))
    values_at = leaf_at + 64
    huge_top, huge_leaf = tree(1, [number(values_at) + number(len(attribute) + count) + number(1)], huge_leaf_at)
    top, leaf = tree(8, [id + bytes(9)], leaf_at)
    parts = (heap(8, 512, None, huge_at), *(part.ljust(64, b"\0") for part in (huge_top, huge_leaf, top, leaf)))
    rest, _ = laid_out(*parts, attribute)
    info = message(0x15, bytes([0, 0]) + number(heap_at) + number(tree_at))
    link = message(6, bytes([1, 0, 6]) + b"layers" + number(REST))
    root = message(2, bytes([0, 0]) + UNDEFINED * 2) + link + info
    group = header(message(2, bytes([0, 0]) + UNDEFINED * 2)).ljust(REST, b"\0")
    return put(folder, old_file(root, group + rest), values_at + len(attribute) + count)


HDF5_ATTACKS: dict[str, Callable[[Path], Path]] = {
    attack.__name__: attack
    for attack in (
        hdf5_names_at_every_byte_of_one_another,
        hdf5_links_at_every_byte_of_one_another,
        hdf5_header_of_empty_messages,
        hdf5_checksums_without_end,
        hdf5_chunks_without_end,
        hdf5_of_countless_texts,
        hdf5_attribute_of_countless_texts,
    )
}
