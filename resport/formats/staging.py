"""Where the files of a target wait until they are whole: a hidden folder beside it, which belongs to one run.

The folder lies in the target's own one because a rename is atomic only within one file system. In it the files have the
names that they will have, so that a checkpoint can be read and compared there before it takes its place, and a name of
255 bytes needs no room for a suffix.

Its run holds a lock on it (``flock``), which the system takes away when the process ends, however it ends. A folder
without a lock is what a dead run left: the next run to the same target removes it, or goes on in it where it was told
to (see ``resumption``). With a folder go the data files that have their own names already while their index, which
comes last, has not: no index names them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from resport.errors import TargetWriteError
from resport.formats.atomic import create_file, folder_of, remove_file, sync_file
from resport.formats.journal import JOURNAL_NAME, Journal

INDEX_ENDINGS = (".index", ".index.json")
"""What the names of indexes end in: with them a checkpoint of several files is there."""


class Staging:
    """The folder in which a run's files wait. What dead runs to the same target left is removed first.

    Args:
        target: the path of the target.
        found: a folder that an interrupted run left, and its lock, which this run holds; None makes a new one.

    Attributes:
        path: the folder.
        journal: what is written in it, where a run can go on that is interrupted.

    Raises:
        SourceNotFoundError: the target's folder does not exist.
        OSError: the system refused.
    """

    def __init__(self, target: str, found: tuple[str, int] | None = None) -> None:
        folder_of(target)
        if found is None:
            remove_dead(target)
        self.path, self._lock = found or _locked_folder(target)
        self.journal: Journal | None = None
        self._found = {file.name for file in Path(self.path).iterdir()} - {JOURNAL_NAME}

    def place(self, target: str) -> str:
        """The path here of the file that will be ``target``."""
        return os.path.join(self.path, os.path.basename(target))  # noqa: PTH118, PTH119 - as it was typed

    def create(self, target: str = "", n_bytes: int = 0) -> str:
        """Create the empty file that will be ``target``, or one that will be none, and return its path.

        One that an interrupted run left is taken as it is, unless it has more than the ``n_bytes`` that it should get.
        """
        path = self.place(target or f".{os.urandom(8).hex()}")
        if Path(path).name in self._found:
            self._found.discard(Path(path).name)
            if Path(path).stat().st_size <= n_bytes:
                return path
            remove_file(path)
        create_file(path)
        return path

    def remove_rest(self) -> None:
        """Remove the files that an interrupted run left and this one has not taken."""
        while self._found:
            remove_file(self.place(self._found.pop()))

    def sync(self) -> None:
        """Put on disk what the files hold."""
        for file in sorted(Path(self.path).iterdir()):
            if file.name != JOURNAL_NAME:
                sync_file(str(file))

    def remove(self) -> None:
        """Remove the folder with what is in it. Removing twice is allowed; what cannot be is left to the next run."""
        lock = self._end()
        if lock >= 0:
            with contextlib.suppress(OSError), _closing(lock):
                if not is_at(lock, self.path):
                    # It has its place.
                    return
                remove_orphans(Path(self.path).parent, lock)
                _remove_folder(self.path, lock)

    def leave(self) -> None:
        """Give up: what a later run shall go on with stays, and everything else goes."""
        if self.is_left:
            lock = self._end()
            if lock >= 0:
                with contextlib.suppress(OSError), _closing(lock):
                    remove_orphans(Path(self.path).parent, lock)
        else:
            self.remove()

    @property
    def is_left(self) -> bool:
        """Whether the folder is for a later run to go on with, where this one gives up."""
        return self.journal is not None and self.journal.is_kept and bool(self.journal.written)

    def _end(self) -> int:
        """The lock, which is no longer this run's; -1 where it was not before."""
        if self.journal is not None:
            with contextlib.suppress(OSError):
                self.journal.close()
        lock, self._lock = self._lock, -1
        return lock


@contextlib.contextmanager
def staged(target: str) -> Iterator[Staging]:
    """A new folder, which is removed in the end; what it had in it has its place by then, or is given up."""
    staging = Staging(target)
    try:
        yield staging
    finally:
        staging.remove()


def remove_dead(target: str) -> None:
    """Remove what runs to the same target left that were killed. What cannot be removed is left where it is."""
    for path in staging_folders(target):
        with contextlib.suppress(OSError):
            with _closing(open_folder(path)) as lock:
                if try_lock(lock):
                    remove_orphans(Path(path).parent, lock)
                    _remove_folder(path, lock)


def staging_folders(target: str) -> list[str]:
    """The folders of all runs to a target, living or dead."""
    folder, stem = Path(target).parent, _stem(target)
    try:
        names = sorted(file.name for file in folder.iterdir())
    except OSError:
        return []
    return [str(folder / name) for name in names if name.startswith(stem) and name.endswith(".partial")]


@contextlib.contextmanager
def only_one(target: str) -> Iterator[None]:
    """Let one process at a time put its files in a target's place; the others wait, for as long as renaming takes."""
    path = str(Path(target).parent / f"{_stem(target)}.lock")
    with _closing(_locked_file(path)):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                remove_file(path)


@contextlib.contextmanager
def _closing(handle: int) -> Iterator[int]:
    try:
        yield handle
    finally:
        os.close(handle)


def _stem(target: str) -> str:
    """What the names of a target's folders begin with; the same for an index and the checkpoint that it is of."""
    name = Path(target).name.removesuffix(".index.json")
    return f".resport-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


def _locked_folder(target: str) -> tuple[str, int]:
    """Make a folder that is locked by this process.

    Returns:
        Its path, and the open folder that holds the lock.
    """
    for _ in range(100):
        path = Path(target).parent / f"{_stem(target)}-{os.urandom(8).hex()}.partial"
        path.mkdir(0o700)
        lock = open_folder(str(path))
        # Between making and locking another run may have taken it for a dead one's.
        if try_lock(lock) is not False and is_at(lock, str(path)):
            return str(path), lock
        os.close(lock)
    raise TargetWriteError(f"`{target}` cannot be written: no folder beside it can be locked")


def _locked_file(path: str) -> int:
    while True:
        lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        # A file system without locks leaves it to chance, as all programs do there.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if is_at(lock, path):
            return lock
        os.close(lock)


def open_folder(path: str) -> int:
    """Open a folder that is none by a link."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def try_lock(handle: int) -> bool | None:
    """Lock a file; False where another process has, None where the file system knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_at(handle: int, path: str) -> bool:
    """Whether an open file still is the one at a path."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), Path(path).stat())
    return False


def _remove_folder(path: str, handle: int) -> None:
    """Remove a folder of files, and nothing that it links to."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(handle):
            os.unlink(name, dir_fd=handle)
        Path(path).rmdir()


def remove_orphans(folder: Path, handle: int) -> None:
    """Remove the files beside a staging folder that are links to files in it, if an index is still in it."""
    names = os.listdir(handle)
    if not any(name.endswith(INDEX_ENDINGS) for name in names):
        return
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            here, there = os.stat(name, dir_fd=handle, follow_symlinks=False), os.lstat(folder / name)
            if stat.S_ISREG(here.st_mode) and os.path.samestat(here, there):
                (folder / name).unlink()
