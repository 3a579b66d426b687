"""What outputs that appear whole or not at all rest on: creating, syncing, permissions, and what may be replaced."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from resport.errors import OptionError, SourceNotFoundError, TargetExistsError
from resport.formats.source import kind_of


def folder_of(target: str) -> Path:
    """The folder of a target.

    Raises:
        SourceNotFoundError: it does not exist.
    """
    folder = Path(target).parent
    if not folder.is_dir():
        raise SourceNotFoundError(f"the folder `{folder}` does not exist", hint=f"mkdir -p {folder}")
    return folder


def create_file(path: str) -> None:
    """Create an empty file where there is none."""
    # With the mode of an ordinary new file, so that the umask holds; tempfile would make it private.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))


def take_permissions(path: str, model: str) -> None:
    """Give a file the mode and, where the system allows it, the owner of another, if that is there."""
    with contextlib.suppress(FileNotFoundError):
        wanted, has = Path(model).stat(), Path(path).stat()
        if (wanted.st_uid, wanted.st_gid) != (has.st_uid, has.st_gid):
            with contextlib.suppress(PermissionError):
                os.chown(path, wanted.st_uid, wanted.st_gid)
        Path(path).chmod(wanted.st_mode & 0o7777)


def remove_file(path: str) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()


def sync_file(path: str) -> None:
    """Put a file's content on disk."""
    _sync(path, os.O_RDWR)


def sync_folder(path: str) -> None:
    """Put on disk what the folder of a path is, so that what was renamed there stays renamed."""
    _sync(str(Path(path).parent), os.O_RDONLY)


def _sync(path: str, flags: int) -> None:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_replaceable(path: str, *, force: bool) -> None:
    """Check that a target can take a path.

    Raises:
        TargetExistsError: something is there that is no file, or a file and ``force`` was not given.
        OptionError: the path cannot be one.
    """
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise OptionError(f"`{path}` cannot be a target: {error}") from error
    file = Path(path)
    if not file.is_file() and not file.is_symlink():
        raise TargetExistsError(f"`{path}` cannot be replaced", expected="a regular file", got=kind_of(mode))
    if not force:
        raise TargetExistsError(f"`{path}` exists already", hint="add `--force` to replace it")
