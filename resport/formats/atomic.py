"""Files that appear complete or not at all: written under another name in the same folder, synced, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from resport.errors import OptionError, SourceNotFoundError, TargetExistsError
from resport.formats.source import kind_of


def temporary_path(target: str) -> str:
    """Create an empty file beside ``target`` that ``replace_file`` can rename over it, and return its path.

    The file is made in the target's own folder because a rename is atomic only within one file system.

    Raises:
        SourceNotFoundError: the folder does not exist.
    """
    # A name of its own, not the target's with a suffix: a 255-byte target name leaves no room for one.
    path = str(folder_of(target) / f".resport-{os.urandom(8).hex()}.partial")
    create_file(path)
    return path


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


def replace_file(temporary: str, target: str) -> None:
    """Put a finished temporary file in the target's place, on disk and not only in the cache.

    A target that is replaced keeps its permissions, and where the system allows it its owner.
    """
    take_permissions(temporary, target)
    sync_file(temporary)
    Path(temporary).replace(target)
    sync_folder(target)


@contextlib.contextmanager
def replacing(target: str) -> Iterator[str]:
    """Write a file in one step: yields a temporary path, which takes the target's place unless an error comes.

    Raises:
        SourceNotFoundError: the folder does not exist.
    """
    temporary = temporary_path(target)
    try:
        yield temporary
        replace_file(temporary, target)
    finally:
        remove_file(temporary)


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
