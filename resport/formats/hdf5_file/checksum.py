"""The two checksums of HDF5: lookup3 under metadata, Fletcher-32 under values."""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
_START = 0xDEADBEEF
_FLETCHER_MODULUS = 65535
_FLETCHER_BLOCK_WORDS = 1 << 16


def lookup3(data: bytes) -> int:
    """Bob Jenkins' hash of some bytes, as HDF5 puts it under metadata."""
    a = b = c = (_START + len(data)) & _MASK
    if not data:
        return c
    # The last block, which is never empty, is filled up with zeros and mixed in another way.
    words = struct.unpack(f"<{-(-len(data) // 12) * 3}I", data + bytes(-len(data) % 12))
    for position in range(0, len(words) - 3, 3):
        a += words[position]
        b += words[position + 1]
        c += words[position + 2]
        a = ((a - c) ^ (c << 4 | (c & _MASK) >> 28)) & _MASK
        c += b
        b = ((b - a) ^ (a << 6 | a >> 26)) & _MASK
        a += c
        c = ((c - b) ^ (b << 8 | b >> 24)) & _MASK
        b += a
        a = ((a - c) ^ (c << 16 | c >> 16)) & _MASK
        c += b
        b = ((b - a) ^ (a << 19 | a >> 13)) & _MASK
        a += c
        c = ((c - b) ^ (b << 4 | b >> 28)) & _MASK
        b += a
    a, b, c = a + words[-3] & _MASK, b + words[-2] & _MASK, c + words[-1] & _MASK
    c = _final(c, b, 14)
    a = _final(a, c, 11)
    b = _final(b, a, 25)
    c = _final(c, b, 16)
    a = _final(a, c, 4)
    b = _final(b, a, 14)
    return _final(c, b, 24)


def _final(value: int, other: int, bits: int) -> int:
    return ((value ^ other) - (other << bits & _MASK | other >> 32 - bits)) & _MASK


def fletcher32(data: bytes | bytearray) -> int:
    """The Fletcher-32 checksum of some bytes, taken as big-endian numbers of 16 bits."""
    import numpy as np

    words = np.frombuffer(data + bytes(len(data) % 2), ">u2")
    first = second = 0
    for start in range(0, len(words), _FLETCHER_BLOCK_WORDS):
        block = words[start : start + _FLETCHER_BLOCK_WORDS].astype(np.uint64)
        # Every word is in the second sum as often as there are words from it on.
        weights = np.arange(len(block), 0, -1, dtype=np.uint64)
        second += first * len(block) + int((block * weights).sum())
        first += int(block.sum())
    return _folded(second) << 16 | _folded(first)


def _folded(total: int) -> int:
    """A sum in 16 bits, its carries added again; zero only if all was zero."""
    return (total - 1) % _FLETCHER_MODULUS + 1 if total else 0
