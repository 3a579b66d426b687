"""The first look at a path that is to be read: is something there, is it a plain file, how does it begin.

A path is looked at with ``stat`` before it is opened, because opening a FIFO waits for whoever writes to it and opening
a device can do anything.
"""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

from resport.errors import FormatError, SourceNotFoundError, UnknownFormatError
from resport.formats.system_errors import read_errors
from resport.nearest import nearest

HEAD_BYTES = 4096
MAX_LISTED_ENTRIES = 10_000
SHOWN_BYTES = 16

# What people hold in their hands when a download went wrong, or when the file is of another world.
FOREIGN_CONTENT: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "this is a git-lfs pointer, not the file itself; run `git lfs pull`"),
    (b"<!DOCTYPE", "this is a web page, not a checkpoint; download the file itself"),
    (b"<html", "this is a web page, not a checkpoint; download the file itself"),
    (b"node {", "this is a graph saved as text; save it with `tf.io.write_graph(..., as_text=False)`"),
    (b"\x1f\x8b", "this is gzip-compressed; unpack it with `tar -xzf` or `gunzip` first"),
    (b"\x80\x02", "this is a Python pickle, which can run code; save the weights as safetensors where it was made"),
)


def regular_file_size(path: str) -> int:
    """Size in bytes of a regular file.

    Raises:
        SourceNotFoundError: nothing is there; the hint has the nearest names in its folder.
        FormatError: it is a folder, FIFO, device or socket.
    """
    try:
        status = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise not_found(path) from None
    except (OSError, ValueError) as error:
        raise FormatError(f"`{path}` cannot be looked at: {error}", path=path) from error
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(
            f"`{path}` cannot be read as a checkpoint",
            path=path,
            expected="a regular file",
            got=kind_of(status.st_mode),
        )
    return status.st_size


def kind_of(mode: int) -> str:
    """What a file that is not a regular one is, in words."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
    }
    return kinds.get(stat.S_IFMT(mode), "a special file")


def not_found(path: str) -> SourceNotFoundError:
    """The error for a path where nothing is, with the nearest names of its folder as hint."""
    folder, name = Path(path).parent, Path(path).name
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in itertools.islice(entries, MAX_LISTED_ENTRIES))
    except OSError:
        return SourceNotFoundError(f"`{path}` does not exist, nor does its folder `{folder}`")
    near = nearest(name, names, n=3, cutoff=0.5)
    hint = f"in this folder: {', '.join(f'`{candidate}`' for candidate in near)}" if near else None
    return SourceNotFoundError(f"`{path}` does not exist", hint=hint)


def read_head(path: str) -> bytes:
    """The first bytes of a file that is known to be regular."""
    with read_errors(path), Path(path).open("rb") as file:
        # Files of /proc say that they are empty, and some of them wait for whoever fills them.
        return file.read(min(HEAD_BYTES, os.fstat(file.fileno()).st_size))


def refuse_foreign(path: str, head: bytes) -> None:
    """Refuse what is known to be no checkpoint, with what to do about it.

    Raises:
        UnknownFormatError: the content is of another world.
    """
    for magic, hint in FOREIGN_CONTENT:
        if head.startswith(magic):
            raise UnknownFormatError(f"`{path}` is not a checkpoint", path=path, got=shown(head), hint=hint)


def shown(head: bytes) -> str:
    """The beginning of a file for a message."""
    if not head:
        return "an empty file"
    shown = head[:SHOWN_BYTES]
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in shown)
    return f"a file that begins with {shown.hex(' ')} ({text})"
