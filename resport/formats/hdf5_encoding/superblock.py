"""The superblock in bytes (section II.A), of version 0: with addresses and lengths of eight bytes."""

from __future__ import annotations

import struct

from resport.formats.hdf5_encoding.group import HALF_NODE, HALF_SYMBOLS, Place, encode_entry
from resport.formats.hdf5_encoding.message import NOWHERE
from resport.formats.hdf5_file.signature import HDF5_SIGNATURE

_FIXED = struct.Struct("<8s8B2HI4Q")
SUPERBLOCK_BYTES = 96
_WIDTH = 8


def encode_superblock(root: Place, end: int) -> bytes:
    """The superblock.

    Args:
        root: where the root is.
        end: how long the file is.
    """
    versions_and_widths = (0, 0, 0, 0, 0, _WIDTH, _WIDTH, 0)
    fixed = _FIXED.pack(HDF5_SIGNATURE, *versions_and_widths, HALF_SYMBOLS, HALF_NODE, 0, 0, NOWHERE, end, NOWHERE)
    return fixed + encode_entry(0, root)
