"""LZF, the compression of its own that h5py brings along."""

from __future__ import annotations

from resport.errors import FormatError

_LITERALS_BELOW = 32
_LONG = 7


def expand_lzf(data: bytes | bytearray, most: int) -> bytearray:
    """Undo LZF.

    Args:
        data: runs of bytes as they are, and references to what came before.
        most: how many bytes may come of it.

    Raises:
        FormatError: the bytes are none that LZF makes, or more come of them.
    """
    expanded = bytearray()
    position, end = 0, len(data)
    try:
        while position < end:
            control = data[position]
            position += 1
            if control < _LITERALS_BELOW:
                run = data[position : position + control + 1]
                if len(run) <= control:
                    raise FormatError("a chunk's LZF bytes end too early", got=f"{len(data)} bytes")
                expanded += run
                position += control + 1
            else:
                length = control >> 5
                if length == _LONG:
                    length += data[position]
                    position += 1
                distance = ((control & 0x1F) << 8 | data[position]) + 1
                position += 1
                _repeat(expanded, distance, length + 2)
            if len(expanded) > most:
                raise FormatError("a chunk's LZF bytes become more than they should", expected=f"at most {most} bytes")
    except IndexError:
        raise FormatError("a chunk's LZF bytes end too early", got=f"{len(data)} bytes") from None
    return expanded


def _repeat(expanded: bytearray, distance: int, length: int) -> None:
    """Append a copy of what stands so far back; where it is shorter than the copy, it repeats itself."""
    start = len(expanded) - distance
    if start < 0:
        raise FormatError("a chunk's LZF bytes refer to what is not there", got=f"{distance} bytes back")
    piece = expanded[start : start + length]
    if len(piece) < length:
        piece = (piece * (length // distance + 1))[:length]
    expanded += piece
