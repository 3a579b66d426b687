"""The signature of HDF5: told without anything else of what reads such a file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from resport.formats.file_window import FileWindow

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
HDF5_FIRST_USER_BLOCK_BYTES = 512


def has_signature(head: bytes, path: str) -> bool:
    """Whether a file is HDF5.

    Args:
        head: its first bytes.
        path: the file, which may have a user block in front.
    """
    if head.startswith(HDF5_SIGNATURE):
        return True
    with contextlib.suppress(OSError), Path(path).open("rb", buffering=0) as file:
        return find_signature(FileWindow(file.fileno(), 0, os.fstat(file.fileno()).st_size)) is not None
    return False


def find_signature(window: FileWindow) -> int | None:
    """Where the signature stands: at the begin, or after a user block of 512, 1024, 2048, … bytes."""
    offset = 0
    while signature := window.pread(len(HDF5_SIGNATURE), offset):
        if signature == HDF5_SIGNATURE:
            return offset
        offset = 2 * offset or HDF5_FIRST_USER_BLOCK_BYTES
    return None
