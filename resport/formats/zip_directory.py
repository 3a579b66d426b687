"""The directory of a zip file: where each member's bytes lie, and the records that say so.

``zipfile`` of the standard library is not used, for two reasons. It gives members as streams, while a stored member is
here read straight from its place in the file into the array; and it believes a directory that says one thing while the
headers in front of the members say another, or that lets two members share their bytes, as zip bombs do. Here the whole
directory is checked against the file when it is opened, and memory is taken for it in proportion to the file.

What is written is stored, not compressed, and holds no time, system or permission, so that the bytes are the same
everywhere. Sizes and offsets from 4 GiB on, and many members, get the records of ZIP64.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from resport.errors import FormatError
from resport.formats.damage import quoted

ZIP_STORED = 0
ZIP_DEFLATED = 8
ZIP_MAX_COMMENT_BYTES = 0xFFFF
ZIP_MAX_NAME_BYTES = 0xFFFF
ZIP_MAX_MEMBERS = 1 << 18
"""A network has some ten thousand tensors at most."""
ZIP_MAX_EXTRAS = 64
"""Extra fields of a member; programs write a handful."""
ZIP_MAX_DIRECTORY_BYTES = 24 << 20
ZIP_LIMIT = 0xFFFFFFFF
"""The first size or offset for which four bytes are not enough."""
ZIP_COUNT_LIMIT = 0xFFFF

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_END64_MAGIC, _LOCATOR_MAGIC = b"PK\x06\x06", b"PK\x06\x07"
_ENCRYPTED, _STREAMED, _UTF8 = 0x0001, 0x0008, 0x0800
_VERSION, _VERSION64 = 20, 45
_EPOCH = (0, (1 << 5) | 1)
"""Midnight of 1 January 1980, the first time that a zip file can tell."""
_ZIP64_EXTRA = 0x0001
ZIP_DTYPE_EXTRA = int.from_bytes(b"Rp", "little")
"""Number of the extra field in which resport names a dtype that numpy has not."""
_KEPT_EXTRAS = frozenset({_ZIP64_EXTRA, ZIP_DTYPE_EXTRA})


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One member, as the directory has it.

    Attributes:
        name: its name; only that, never a path to write to.
        method: ``ZIP_STORED``, ``ZIP_DEFLATED``, or one that is not read.
        crc32: the checksum of its bytes before compression.
        stored_bytes: how many bytes it has in the file.
        size_bytes: how many it has uncompressed.
        offset: where its header begins.
        data_offset: where its bytes begin.
        is_encrypted: whether a password is needed.
        extra: the fields that mean something here, each once: their numbers and their bytes.
    """

    name: str
    method: int
    crc32: int
    stored_bytes: int
    size_bytes: int
    offset: int
    data_offset: int = 0
    is_encrypted: bool = False
    extra: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class ZipDirectory:
    """What the end of a zip file says of it.

    Attributes:
        members: in the order of the directory.
        comment: the comment of the whole file.
    """

    members: tuple[ZipMember, ...]
    comment: bytes


def read_directory(handle: int, size_bytes: int, path: str) -> ZipDirectory:
    """Read the directory of a zip file and check it against the file.

    Args:
        handle: an open file.
        size_bytes: its size.
        path: its name for messages.

    Raises:
        FormatError: the file is cut, has no directory, or one that doesn't fit the file.
    """
    count, begin, end, comment = _read_end(handle, size_bytes, path)
    if count > ZIP_MAX_MEMBERS or end - begin > ZIP_MAX_DIRECTORY_BYTES:
        raise FormatError(
            f"the directory of `{path}` is too large for tensors",
            expected=f"at most {ZIP_MAX_MEMBERS} members and {ZIP_MAX_DIRECTORY_BYTES} bytes",
            got=f"{count} members and {end - begin} bytes",
            path=path,
            offset=begin,
        )
    members = list(_parse_entries(os.pread(handle, end - begin, begin), path))
    if len(members) != count:
        raise FormatError(
            f"the directory of `{path}` is damaged", expected=f"{count} members", got=f"{len(members)}", path=path
        )
    _check_names(members, path)
    return ZipDirectory(_place(handle, members, begin, path), comment)


def _read_end(handle: int, size_bytes: int, path: str) -> tuple[int, int, int, bytes]:
    """Number of members, where the directory begins and ends, and the comment."""
    tail_offset = max(0, size_bytes - _END.size - ZIP_MAX_COMMENT_BYTES)
    tail = os.pread(handle, size_bytes - tail_offset, tail_offset)
    at = tail.rfind(_END_MAGIC)
    # The magic can stand in a comment too: the right one is that whose comment ends with the file.
    while at >= 0 and (len(tail) - at < _END.size or at + _END.size + _END.unpack_from(tail, at)[7] != len(tail)):
        at = tail.rfind(_END_MAGIC, 0, at)
    if at < 0:
        raise FormatError(
            f"`{path}` ends before its zip directory does",
            path=path,
            offset=size_bytes,
            hint="the download or copy was cut short, or this is no zip file",
        )
    _, disk, first_disk, _, count, directory_bytes, begin, _ = _END.unpack_from(tail, at)
    end = tail_offset + at
    comment = tail[at + _END.size :]
    locator = os.pread(handle, _LOCATOR.size, end - _LOCATOR.size) if end >= _LOCATOR.size else b""
    if locator.startswith(_LOCATOR_MAGIC):
        end = _LOCATOR.unpack(locator)[2]
        record = os.pread(handle, _END64.size, end) if end < size_bytes else b""
        if len(record) < _END64.size or not record.startswith(_END64_MAGIC):
            raise FormatError(f"`{path}` has no ZIP64 record where it says", path=path, offset=min(end, size_bytes))
        _, _, _, _, disk, first_disk, _, count, directory_bytes, begin = _END64.unpack(record)
    if disk or first_disk or begin + directory_bytes != end:
        raise FormatError(
            f"the directory of `{path}` does not lie where the file says",
            expected=f"{directory_bytes} bytes from {begin} on, up to byte {end}",
            path=path,
            offset=tail_offset + at,
        )
    return count, begin, end, comment


def _parse_entries(data: bytes, path: str) -> Iterator[ZipMember]:
    position = 0
    while position < len(data):
        fault = FormatError(f"the directory of `{path}` is damaged at its byte {position}", path=path)
        if len(data) - position < _CENTRAL.size:
            raise fault
        fields = _CENTRAL.unpack_from(data, position)
        magic, _, _, flags, method, _, _, crc, stored, size, n_name, n_extra, n_comment, disk, _, _, offset = fields
        end = position + _CENTRAL.size + n_name + n_extra + n_comment
        if magic != _CENTRAL_MAGIC or end > len(data) or disk:
            raise fault
        begin = position + _CENTRAL.size
        try:
            name = data[begin : begin + n_name].decode("utf-8" if flags & _UTF8 else "cp437")
            extra = tuple(_parse_extra(data[begin + n_name : begin + n_name + n_extra]))
            size, stored, offset = _with_zip64((size, stored, offset), extra)
        except (UnicodeDecodeError, struct.error):
            raise fault from None
        yield ZipMember(name, method, crc, stored, size, offset, 0, bool(flags & _ENCRYPTED), extra)
        position = end


def _parse_extra(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The extra fields that mean something here, each once; raises ``struct.error`` for half a one, or too many."""
    # Thousands of fields fit into one entry: to keep them takes thirty times their bytes, to pass over them, seconds.
    wanted = set(_KEPT_EXTRAS)
    position = n_fields = 0
    while position < len(data):
        number, length = struct.unpack_from("<2H", data, position)
        position += 4
        (field,) = struct.unpack_from(f"{length}s", data, position)
        position += length
        n_fields += 1
        if n_fields > ZIP_MAX_EXTRAS:
            raise struct.error("more extra fields than any program writes")
        if number in wanted:
            wanted.discard(number)
            yield number, field


def _with_zip64(values: tuple[int, int, int], extra: tuple[tuple[int, bytes], ...]) -> tuple[int, ...]:
    """Put the eight-byte values of ZIP64 in the place of those that four bytes can't hold."""
    long = next((field for number, field in extra if number == _ZIP64_EXTRA), b"")
    n_long = values.count(ZIP_LIMIT)
    numbers = iter(struct.unpack_from(f"<{n_long}Q", long) if long else [ZIP_LIMIT] * n_long)
    return tuple(next(numbers) if value == ZIP_LIMIT else value for value in values)


def _check_names(members: Sequence[ZipMember], path: str) -> None:
    seen: set[str] = set()
    for member in members:
        if member.name in seen:
            raise FormatError(f"`{path}` has two members of the name {quoted(member.name)}", path=path)
        seen.add(member.name)


def _place(handle: int, members: Sequence[ZipMember], directory_offset: int, path: str) -> tuple[ZipMember, ...]:
    """Find each member's bytes behind its own header, and check that no two members share any."""
    placed = {}
    ordered = sorted(members, key=lambda member: member.offset)
    starts = [*(min(member.offset, directory_offset) for member in ordered[1:]), directory_offset]
    for member, end in zip(ordered, starts, strict=False):
        data_offset = _data_offset(handle, member, end, path)
        if data_offset + member.stored_bytes > end:
            raise FormatError(
                f"member {quoted(member.name)} of `{path}` reaches into what follows it",
                expected=f"bytes up to {end}",
                got=f"up to {data_offset + member.stored_bytes}",
                path=path,
                offset=member.offset,
            )
        placed[member.name] = data_offset
    return tuple(replace(member, data_offset=placed[member.name]) for member in members)


def _data_offset(handle: int, member: ZipMember, end: int, path: str) -> int:
    """Where a member's bytes begin; its own header must name it as the directory does."""
    fault = FormatError(
        f"member {quoted(member.name)} of `{path}` does not lie where the directory says",
        path=path,
        offset=member.offset,
    )
    if member.offset + _LOCAL.size > end:
        raise fault
    magic, _, flags, method, _, _, crc, stored, size, n_name, n_extra = _LOCAL.unpack(
        os.pread(handle, _LOCAL.size, member.offset)
    )
    data_offset = member.offset + _LOCAL.size + int(n_name) + int(n_extra)
    if magic != _LOCAL_MAGIC or method != member.method or data_offset > end:
        raise fault
    tail = os.pread(handle, n_name + n_extra, member.offset + _LOCAL.size)
    try:
        name = tail[:n_name].decode("utf-8" if flags & _UTF8 else "cp437")
        size, stored, _ = _with_zip64((size, stored, 0), tuple(_parse_extra(tail[n_name:])))
    except (UnicodeDecodeError, struct.error):
        raise fault from None
    # A header that was written before the bytes were known leaves what it cannot know to a record behind them.
    unknown = {0} if flags & _STREAMED else set()
    known = ((crc, member.crc32), (stored, member.stored_bytes), (size, member.size_bytes))
    if name != member.name or any(here != there and here not in unknown for here, there in known):
        raise fault
    return data_offset


def encode_local(member: ZipMember) -> bytes:
    """The header in front of a stored member."""
    name = member.name.encode()
    is_long = member.size_bytes >= ZIP_LIMIT
    long = (_ZIP64_EXTRA, struct.pack("<2Q", member.size_bytes, member.stored_bytes))
    extra = _encode_extra([long, *member.extra] if is_long else member.extra)
    size, stored = (ZIP_LIMIT, ZIP_LIMIT) if is_long else (member.size_bytes, member.stored_bytes)
    version = _VERSION64 if is_long else _VERSION
    fixed = (_LOCAL_MAGIC, version, _flags(name), member.method, *_EPOCH, member.crc32, stored, size)
    return _LOCAL.pack(*fixed, len(name), len(extra)) + name + extra


def encode_directory(members: Sequence[ZipMember], offset: int, comment: bytes) -> bytes:
    """The directory and the end of a zip file.

    Args:
        members: in the order to list them.
        offset: where the directory begins.
        comment: at most ``ZIP_MAX_COMMENT_BYTES`` for the whole file.
    """
    entries = b"".join(_encode_entry(member) for member in members)
    count = len(members)
    records = b""
    if count >= ZIP_COUNT_LIMIT or offset >= ZIP_LIMIT or len(entries) >= ZIP_LIMIT:
        numbers = (0, 0, count, count, len(entries), offset)
        records = _END64.pack(_END64_MAGIC, _END64.size - 12, _VERSION64, _VERSION64, *numbers)
        records += _LOCATOR.pack(_LOCATOR_MAGIC, 0, offset + len(entries), 1)
    short = min(count, ZIP_COUNT_LIMIT)
    bounds = (min(len(entries), ZIP_LIMIT), min(offset, ZIP_LIMIT))
    return entries + records + _END.pack(_END_MAGIC, 0, 0, short, short, *bounds, len(comment)) + comment


def _encode_entry(member: ZipMember) -> bytes:
    name = member.name.encode()
    values = (member.size_bytes, member.stored_bytes, member.offset)
    long = b"".join(struct.pack("<Q", value) for value in values if value >= ZIP_LIMIT)
    extra = _encode_extra([(_ZIP64_EXTRA, long), *member.extra] if long else member.extra)
    size, stored, offset = (min(value, ZIP_LIMIT) for value in values)
    version = _VERSION64 if long else _VERSION
    fixed = (_CENTRAL_MAGIC, version, version, _flags(name), member.method, *_EPOCH, member.crc32, stored, size)
    return _CENTRAL.pack(*fixed, len(name), len(extra), 0, 0, 0, 0, offset) + name + extra


def _encode_extra(fields: Sequence[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack("<2H", number, len(field)) + field for number, field in fields)


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else _UTF8
