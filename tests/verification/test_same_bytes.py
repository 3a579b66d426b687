"""Bytes compared as they come, and what is said where they differ."""

from collections.abc import Iterator

import numpy as np
import pytest

from resport.verification.weights import are_same_bytes, value_difference

CONTENT = np.random.default_rng(0).bytes(300_007)


def pieces(content: bytes, *lengths: int) -> Iterator[memoryview]:
    """A content in pieces of these lengths, in turn, the last of them again and again; out of one buffer."""
    buffer, start = bytearray(max(lengths) or 1), 0
    while start < len(content):
        length = lengths[0]
        lengths = lengths[1:] or lengths
        part = content[start : start + length]
        buffer[: len(part)] = part
        yield memoryview(buffer)[: len(part)]
        start += length


@pytest.mark.parametrize("lengths", [(300_007,), (1, 0, 65_536), (65_537,), (99_999, 3, 200_000)])
@pytest.mark.parametrize("others", [(300_007,), (0, 70_000), (1 << 18,)])
def test_bytes_are_compared_wherever_they_are_divided(lengths: tuple[int, ...], others: tuple[int, ...]) -> None:
    assert are_same_bytes(pieces(CONTENT, *lengths), pieces(CONTENT, *others))
    for place in (0, 65_535, 65_536, 300_006):
        changed = bytearray(CONTENT)
        changed[place] ^= 1
        assert not are_same_bytes(pieces(CONTENT, *lengths), pieces(bytes(changed), *others)), place
    for longer in (CONTENT + b"\0", CONTENT * 2):
        assert not are_same_bytes(pieces(CONTENT, *lengths), pieces(longer, *others))
        assert not are_same_bytes(pieces(longer, *lengths), pieces(CONTENT, *others))
    assert not are_same_bytes(iter(()), pieces(CONTENT, *others))
    assert are_same_bytes(iter(()), iter((b"",)))


def test_both_are_read_to_the_end() -> None:
    """A wrong checksum is told behind the last piece."""

    def damaged() -> Iterator[bytes]:
        yield CONTENT
        raise ValueError("checksum")

    with pytest.raises(ValueError, match="checksum"):
        are_same_bytes(iter((CONTENT,)), damaged())


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "float32", "complex64", "complex128"])
def test_values_that_differ_are_counted(dtype: str) -> None:
    values = np.zeros((3, 4), dtype)
    assert value_difference("w", values, values.copy()) is None
    assert value_difference("w", values[:, :0], values[:, :0]) is None
    other = values.copy()
    other[1, 2] = other[2, 0] = 1
    found = value_difference("w", values, other)
    assert found is not None
    assert (found.kind, found.n_different, found.max_abs_diff) == ("values", 2, 1.0)


def test_the_sign_of_zero_and_the_payload_of_a_nan_count() -> None:
    for one, other in ((0.0, -0.0), (np.uint32(0x7FC00001).view(np.float32), np.float32("nan"))):
        left, right = np.array([one], np.float32), np.array([other], np.float32)
        found = value_difference("w", left, right)
        assert found is not None and found.n_different == 1
        assert value_difference("w", left, left.copy()) is None
