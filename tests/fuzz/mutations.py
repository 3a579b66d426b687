"""Damage, done systematically: every cut and every changed byte, and numbers at their limits in every place."""

from __future__ import annotations

from collections.abc import Iterator

from resport.formats.protobuf import encode_varint

LIMITS = (0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
"""Lengths and offsets: the least, and both sides of where 32 bits and 64 bits end, with a sign and without; -1."""
WIDTHS = (2, 4, 8)
WORDS = (b"\0", b"\n", b"\x1b[2J", b"../", b"\xff\xfe", b'"', b"{" * 20, b"[" * 20)
"""What names and JSON don't expect."""

Mutant = tuple[str, bytes]
"""The kind of damage, and the content with it."""


def mutants(content: bytes) -> Iterator[Mutant]:
    """All mutants of some bytes, kind by kind."""
    yield from truncated(content)
    yield from flipped(content)
    yield from at_limits(content)
    yield from with_words(content)
    yield from rearranged(content)


def truncated(content: bytes) -> Iterator[Mutant]:
    """Cut off at every byte, and without every first part."""
    for size in range(len(content)):
        yield "truncated", content[:size]
    for size in range(1, len(content), max(1, len(content) // 64)):
        yield "beheaded", content[size:]


def flipped(content: bytes) -> Iterator[Mutant]:
    """Each byte inverted, one more, zero, and with each of its bits changed."""
    for place, byte in enumerate(content):
        for kind, changed in (
            ("inverted byte", byte ^ 0xFF),
            ("increased byte", (byte + 1) & 0xFF),
            ("zeroed byte", 0),
            *((("changed bit", byte ^ 1 << bit)) for bit in range(8)),
        ):
            if changed != byte:
                yield kind, content[:place] + bytes([changed]) + content[place + 1 :]


def at_limits(content: bytes) -> Iterator[Mutant]:
    """Numbers at their limits, fixed and as varints, in every place."""
    for place in range(len(content)):
        for value in LIMITS:
            for width in WIDTHS:
                if place + width <= len(content) and value < 1 << 8 * width:
                    yield "limit", content[:place] + value.to_bytes(width, "little") + content[place + width :]
            yield "varint at its limit", content[:place] + encode_varint(value) + content[place + 1 :]
        yield "varint too long", content[:place] + b"\x80" * 11 + content[place + 1 :]


def with_words(content: bytes) -> Iterator[Mutant]:
    """What a terminal or a parser would obey, over each byte and pushed in between."""
    for place in range(len(content)):
        for word in WORDS:
            yield "hostile text", content[:place] + word + content[place + len(word) :]
            yield "hostile text", content[:place] + word + content[place:]


def rearranged(content: bytes) -> Iterator[Mutant]:
    """Parts that stand twice, are missing, or have changed places."""
    step = max(1, len(content) // 48)
    for start in range(0, len(content), step):
        for stop in range(start + step, len(content), 7 * step):
            yield "part twice", content[:stop] + content[start:stop] + content[stop:]
            yield "part missing", content[:start] + content[stop:]
            yield "parts exchanged", content[:start] + content[stop:] + content[start:stop]


def sampled(content: bytes, n_mutants: int, offset: int = 0) -> Iterator[Mutant]:
    """Some of all mutants, evenly spread over their kinds and places."""
    n_all = sum(1 for _ in mutants(content))
    stride = max(1, n_all // n_mutants)
    # No divisor of how many changes a byte has, or one kind of change would be taken alone.
    stride += stride % 2 == 0
    for number, mutant in enumerate(mutants(content)):
        if number % stride == offset % stride:
            yield mutant
