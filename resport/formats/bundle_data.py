"""The data files of a V2 checkpoint: moving bytes between a file and an array, with their checksum, and strings.

Bytes go straight between the file and the array that the caller has, in pieces that are still in the processor's cache
when their checksum is computed: reading a checkpoint costs hardly more than copying its files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from resport.dtypes import to_numpy
from resport.errors import ChecksumError, FormatError
from resport.formats.crc32c import extend_crc32c
from resport.formats.damage import check_text_count, quoted
from resport.formats.leveldb_table import mask_crc32c
from resport.formats.positioned import read_at
from resport.formats.protobuf import read_varint
from resport.tensors import TensorSpec

if TYPE_CHECKING:
    import numpy as np

BUNDLE_CHUNK_BYTES = 1 << 20
"""Read or written at once: little enough to stay in the cache between the file and the checksum."""


def read_into(file: BinaryIO, raw: np.ndarray, offset: int, path: str) -> int:
    """Fill an array from a place in a file, without moving the file's position.

    Args:
        file: an open, unbuffered file.
        raw: where the bytes go; uint8, one axis.
        offset: where they start in the file.
        path: the file's name for messages.

    Returns:
        The plain CRC-32C of the bytes.

    Raises:
        FormatError: the file ends before.
    """
    crc = 0
    for start in range(0, raw.nbytes, BUNDLE_CHUNK_BYTES):
        chunk = raw[start : start + BUNDLE_CHUNK_BYTES]
        n_read = read_at(file.fileno(), chunk.data, offset + start)
        if n_read < chunk.nbytes:
            raise FormatError(f"`{path}` became shorter while it was read", path=path, offset=offset + start + n_read)
        crc = extend_crc32c(crc, chunk.data)
    return crc


def empty_array(spec: TensorSpec, path: str) -> np.ndarray:
    """An array for a tensor, whose size has been found in the file.

    Raises:
        FormatError: no array can have that shape.
    """
    import numpy as np

    try:
        return np.empty(spec.shape, to_numpy(spec.dtype))
    except ValueError as error:  # more axes than numpy has, or a size beside a 0 that no address reaches
        raise FormatError(
            f"the shape {spec.shape} of {quoted(spec.name)} in `{path}` cannot be: {error}", path=path
        ) from None


def parse_strings(data: bytes, n_strings: int) -> tuple[list[bytes], int]:
    """Take a stored string tensor apart: varint lengths, their masked checksum, the strings.

    Args:
        data: the stored bytes.
        n_strings: number of strings.

    Returns:
        The strings, and the checksum that the entry has in masked form: that of the lengths (as integers of four
        bytes, or eight for those that need it), their checksum and the strings.

    Raises:
        FormatError: the lengths are not those of the bytes.
        ChecksumError: the checksum of the lengths is wrong.
    """
    import google_crc32c

    if n_strings == 0 and not data:
        return [], 0
    check_text_count(n_strings)
    lengths, offset = [], 0
    for _ in range(n_strings):
        length, offset = read_varint(data, offset)
        lengths.append(length)
    if offset + 4 + sum(lengths) != len(data):
        raise FormatError(
            "the lengths of the strings are wrong", expected=len(data) - offset - 4, got=f"{sum(lengths)} bytes"
        )
    plain = b"".join(length.to_bytes(4 if length < 1 << 32 else 8, "little") for length in lengths)
    crc = google_crc32c.value(plain)
    stored = int.from_bytes(data[offset : offset + 4], "little")
    if stored != mask_crc32c(crc):
        raise ChecksumError(
            "the checksum of the lengths is wrong", expected=f"{stored:#010x}", got=f"{mask_crc32c(crc):#010x}"
        )
    crc = google_crc32c.extend(crc, data[offset:])
    offset += 4
    strings = []
    for length in lengths:
        strings.append(data[offset : offset + length])
        offset += length
    return strings, crc
