"""The bytes of a zip file's member, into memory that the caller has: read in place, or inflated piece by piece.

A member's size is believed only as far as its compressed bytes can bear it out.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

from resport.errors import FormatError
from resport.formats.positioned import read_at
from resport.formats.zip_directory import ZIP_DEFLATED, ZIP_STORED, ZipMember

MEMBER_CHUNK_BYTES = 1 << 20
MEMBER_MAX_RATIO = 1040
"""Deflate makes at most 1032 bytes of one; a member that claims more has not what it says."""
MEMBER_BOMB_BYTES = 64 << 20
MEMBER_BOMB_RATIO = 100
"""Weights hardly shrink, and zeros shrink a thousandfold: that many zeros in one tensor are no weights."""


def inflate(handle: int, member: ZipMember, chunk_bytes: int = MEMBER_CHUNK_BYTES) -> Iterator[bytes]:
    """The bytes of a deflated member, piece by piece, none of them longer than ``chunk_bytes``.

    Raises:
        FormatError: the stream is damaged or ends early.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    position, left = member.data_offset, member.stored_bytes
    pending = b""
    try:
        while not stream.eof:
            if not pending:
                pending = os.pread(handle, min(chunk_bytes, left), position)
                position, left = position + len(pending), left - len(pending)
            piece = stream.decompress(pending, chunk_bytes)
            is_stuck = not pending and not piece
            pending = stream.unconsumed_tail
            if piece:
                yield piece
            elif is_stuck:
                raise FormatError("its compressed bytes end early", offset=position)
    except zlib.error as error:
        raise FormatError(f"its compressed bytes are no deflate stream: {error}", offset=position) from None


def check_readable(member: ZipMember) -> None:
    """Refuse what is encrypted, compressed in another way, or larger than its bytes can be.

    Raises:
        FormatError: without a path, which ``located`` adds.
    """
    if member.is_encrypted:
        raise FormatError("it is encrypted", hint="unzip it with its password, and zip its members again")
    if member.method not in {ZIP_STORED, ZIP_DEFLATED}:
        raise FormatError("its compression is unknown", expected="stored (0) or deflated (8)", got=member.method)
    if member.method == ZIP_STORED and member.stored_bytes != member.size_bytes:
        raise FormatError("its two sizes differ", expected=member.stored_bytes, got=member.size_bytes)
    ratio = member.size_bytes / max(member.stored_bytes, 1)
    is_bomb = member.size_bytes > MEMBER_BOMB_BYTES and ratio > MEMBER_BOMB_RATIO
    if ratio > MEMBER_MAX_RATIO or is_bomb:
        raise FormatError(
            "it would be blown up out of all proportion",
            expected=f"at most {MEMBER_BOMB_RATIO if is_bomb else MEMBER_MAX_RATIO} times {member.stored_bytes} bytes",
            got=f"{member.size_bytes} bytes",
            hint="if it is honest, save it without compression: numpy.savez in place of numpy.savez_compressed",
        )


def read_stored(handle: int, view: memoryview, offset: int, crc: int) -> int:
    """Fill a view from a place in the file.

    Args:
        handle: an open file.
        view: where the bytes go.
        offset: where they start in the file.
        crc: the CRC-32 of what stands in front of them.

    Returns:
        The CRC-32 of both together.

    Raises:
        FormatError: the file ends before.
    """
    for start in range(0, len(view), MEMBER_CHUNK_BYTES):
        chunk = view[start : start + MEMBER_CHUNK_BYTES]
        n_read = read_at(handle, chunk, offset + start)
        if n_read < len(chunk):
            raise FormatError("the file became shorter while it was read", offset=offset + start + n_read)
        crc = zlib.crc32(chunk, crc)
    return crc


def read_deflated(handle: int, view: memoryview, member: ZipMember, n_header: int) -> int:
    """Fill a view from a deflated member; memory is touched only as the stream really gives bytes.

    Args:
        handle: an open file.
        view: where the bytes go.
        member: what to read.
        n_header: how many of its first bytes do not go into the view.

    Returns:
        The CRC-32 of all of the member's bytes.

    Raises:
        FormatError: the stream is damaged, or gives more or fewer bytes than the member says.
    """
    crc = 0
    position = -n_header
    for piece in inflate(handle, member):
        crc = zlib.crc32(piece, crc)
        values = memoryview(piece)[max(-position, 0) :]
        begin = max(position, 0)
        position += len(piece)
        if position > len(view):
            raise FormatError("its compressed bytes are more than it says", expected=f"{member.size_bytes} bytes")
        view[begin : begin + len(values)] = values
    if position != len(view):
        raise FormatError(
            "its compressed bytes are fewer than it says",
            expected=f"{member.size_bytes} bytes",
            got=f"{position + n_header} bytes",
        )
    return crc
