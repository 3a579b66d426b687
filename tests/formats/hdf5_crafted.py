"""HDF5 structures by hand, for files that no program would write."""

from __future__ import annotations

UNDEFINED = b"\xff" * 8


def number(value: int, width: int = 8) -> bytes:
    return value.to_bytes(width, "little")


def old_file(root: bytes, rest: bytes = b"") -> bytes:
    """A file of version 0 whose root has one block of messages; what follows it begins at byte 4096."""
    head = bytes([1, 0]) + number(1, 2) + number(1, 4) + number(len(root), 4) + bytes(4)
    body = (bytes(96) + head + root).ljust(4096, b"\0") + rest
    block = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + number(4, 2) + number(16, 2) + bytes(4)
    block += number(0) + UNDEFINED + number(len(body)) + UNDEFINED + number(0) + number(96) + bytes(24)
    return block + body[len(block) :]


def message(kind: int, data: bytes, flags: int = 0) -> bytes:
    data += bytes(-len(data) % 8)
    return number(kind, 2) + number(len(data), 2) + bytes([flags, 0, 0, 0]) + data


def tree_node(kind: int, level: int, entries: list[tuple[bytes, int]], last: bytes) -> bytes:
    head = b"TREE" + bytes([kind, level]) + number(len(entries), 2) + UNDEFINED * 2
    return head + b"".join(key + number(child) for key, child in entries) + last


FLOAT32 = bytes([0x11, 0x20, 0x1F, 0]) + number(4, 4) + bytes([0, 0, 32, 0, 23, 8, 0, 23]) + number(127, 4)


def space(*shape: int) -> bytes:
    return message(1, bytes([1, len(shape), 0, 0, 0, 0, 0, 0]) + b"".join(map(number, shape)))


def dataset(*shape: int, layout: bytes, kind: bytes = FLOAT32) -> bytes:
    return space(*shape) + message(3, kind) + message(8, layout)


def chunked(address: int, *chunk: int) -> bytes:
    return bytes([3, 2, len(chunk) + 1]) + number(address) + b"".join(number(axis, 4) for axis in (*chunk, 4))
