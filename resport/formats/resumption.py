"""Going on with an interrupted run: its staging folder is taken over, with what its journal says of it.

A folder is taken if it is this user's own, no living process holds it, and there is nothing in it but plain files, each
with no other name. A file with a second name is already being put in place, and is no longer one to write to. The
journal says what was being written, and out of what: only the same work goes on. What it says of the tensors is held
against their bytes, one tensor at a time, when it is their turn.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from resport.errors import FormatError, OptionError, ResportError, TargetWriteError
from resport.formats.base import Writer
from resport.formats.journal import Noted, begin_journal, continue_journal, read_journal
from resport.formats.registry import format_of_target, open_writer
from resport.formats.staging import Staging, is_at, open_folder, remove_orphans, staging_folders, try_lock
from resport.formats.system_errors import write_errors
from resport.tensors import TensorSpec

GO_ON = "run the same command again to go on from there"
SHOWN_DIFFERENCES = 5
SHOWN_CHARS = 120


@contextmanager
def journalled_writer(
    path: str, specs: Iterable[TensorSpec], work: Mapping[str, Any], *, resume: bool = False, **options: Any
) -> Iterator[Writer]:
    """A writer that keeps a journal, where its format has a place for each tensor from the beginning.

    Args:
        path: the target.
        specs: every tensor that will be written.
        work: what decides the bytes of the target, as plain values: what is another then is another work.
        resume: go on with what an interrupted run left, and leave what this one has written if it is interrupted; only
            where the format's writer ``is_resumable``.
        options: those of ``open_writer``.

    Raises:
        OptionError: what was interrupted is another work.
        TargetWriteError: another process is writing the target.
        ResportError: what ``open_writer`` raises.
    """
    kind = format_of_target(path, options.get("format"), sharded="max_shard_size" in options).load_writer()
    staging = adopted(kind.staged_as(path), work) if resume else None
    taken: dict[str, Any] = {} if staging is None else {"staging": staging}
    try:
        with open_writer(path, specs, **taken, **options) as writer:
            staging = writer.staging
            staging.remove_rest()
            if kind.is_resumable and staging.journal is None:
                with write_errors(path):
                    staging.journal = begin_journal(staging.path, work, is_kept=resume)
            writer.journal = staging.journal
            try:
                yield writer
            except FormatError:
                # What is wrong with the source, or changed there, is in what was written too.
                if staging.journal is not None:
                    staging.journal.is_kept = False
                raise
    except BaseException as error:
        _give_up(staging, error)
        raise


def _give_up(staging: Staging | None, error: BaseException) -> None:
    """Leave what can be gone on with, and say so."""
    if staging is None or staging.journal is None:
        return
    staging.leave()
    if staging.is_left and os.path.isdir(staging.path):  # noqa: PTH112 - as it was typed
        if isinstance(error, ResportError):
            error.hint = f"{error.hint}; then {GO_ON}" if error.hint else GO_ON
        else:
            error.add_note(GO_ON)


def adopted(target: str, work: Mapping[str, Any]) -> Staging | None:
    """The folder that an interrupted run to a target left, taken over; None where there is none to be taken.

    Args:
        target: the target, as ``Writer.staged_as`` gives it.
        work: what is to be written.

    Raises:
        OptionError: what was interrupted is another work.
        TargetWriteError: another process is writing the target.
    """
    wanted = json.loads(json.dumps(work))
    with ExitStack() as opened:
        found = [(path, lock, _noted(lock)) for path, lock in _dead_folders(target, opened)]
        left = [(path, lock, noted) for path, lock, noted in found if noted is not None]
        if not left:
            return None
        path, lock, noted = max(left, key=lambda each: (each[2].work == wanted, len(each[2].written)))
        _check_same(target, noted.work, wanted)
        journal = continue_journal(lock, noted)
        # The lock goes with the last of the descriptors that share it.
        staging = Staging(target, (path, os.dup(lock)))
        staging.journal = journal
        return staging


def _dead_folders(target: str, opened: ExitStack) -> Iterator[tuple[str, int]]:
    """The folders of a target with the locks on them, which are now ours; they are closed with the stack."""
    for path in staging_folders(target):
        try:
            lock = open_folder(path)
        except OSError:
            continue
        opened.callback(os.close, lock)
        is_locked = try_lock(lock)
        if is_locked is False:
            raise TargetWriteError(
                f"`{target}` is being written by another process, which `--resume` would disturb",
                hint="wait until it ends, or stop it",
            )
        if is_locked and is_at(lock, path):
            with suppress(OSError):
                remove_orphans(Path(path).parent, lock)
            yield path, lock


def _noted(folder: int) -> Noted | None:
    """The journal in a folder; None where it has none, or is not one to write in."""
    try:
        return read_journal(folder) if _is_own(folder) else None
    except (OSError, ValueError):
        return None


def _is_own(folder: int) -> bool:
    """Whether a folder and all in it are this user's alone, and what is in it plain files without a second name."""
    status = os.fstat(folder)
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    files = [os.stat(name, dir_fd=folder, follow_symlinks=False) for name in os.listdir(folder)]
    return all(stat.S_ISREG(each.st_mode) and each.st_nlink == 1 and each.st_uid == status.st_uid for each in files)


def _check_same(target: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    was, wanted = dict(_flat(before)), dict(_flat(now))
    other = [key for key in {**was, **wanted} if was.get(key) != wanted.get(key)]
    if other or before != now:
        raise OptionError(
            f"what was interrupted at `{target}` is another conversion, it cannot be gone on with",
            expected=_shown(was, other),
            got=_shown(wanted, other),
            hint="run it without `--resume`: it begins anew, and what is left of the other is removed",
        )


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """The plain values in a work, as text, by where they are: ``options.dtype``."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield place, json.dumps(value)
    else:
        for key, inner in items:
            yield from _flat(inner, f"{place}.{key}" if place else str(key))


def _shown(values: Mapping[str, str], keys: Sequence[str]) -> str:
    shown = ", ".join(f"{key} {values.get(key, 'none')}"[:SHOWN_CHARS] for key in keys[:SHOWN_DIFFERENCES])
    return f"{shown} and {len(keys) - SHOWN_DIFFERENCES} more" if len(keys) > SHOWN_DIFFERENCES else shown
