"""Output that appears complete or not at all: a temporary file beside the target, synced, then renamed over it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from resport.errors import SourceNotFoundError


def temporary_path(target: str) -> str:
    """Create an empty file beside ``target`` that ``replace_file`` can rename over it, and return its path.

    The file is made in the target's own folder because a rename is atomic only within one file system.

    Raises:
        SourceNotFoundError: the folder does not exist.
    """
    folder = Path(target).parent
    if not folder.is_dir():
        raise SourceNotFoundError(f"the folder `{folder}` does not exist", hint=f"mkdir -p {folder}")
    # A name of its own, not the target's with a suffix: a 255-byte target name leaves no room for one.
    path = folder / f".resport-{os.urandom(8).hex()}.partial"
    # Created with the mode of an ordinary new file, so that the umask holds; tempfile would make it private.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return str(path)


def replace_file(temporary: str, target: str) -> None:
    """Put a finished temporary file in the target's place, on disk and not only in the cache.

    A target that is replaced keeps its permissions.
    """
    with contextlib.suppress(FileNotFoundError):
        Path(temporary).chmod(Path(target).stat().st_mode & 0o7777)
    _sync(temporary, os.O_RDWR)
    Path(temporary).replace(target)
    _sync(str(Path(target).parent), os.O_RDONLY)


def remove_file(path: str) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()


def _sync(path: str, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
