"""How finished files come from their staging folder to their places, so that a path never holds a mixture.

A single file takes its place by one rename. A checkpoint of several files is what its index names: data first, index
last. Where the new data files have the names of old ones, which the old index still names, they go a way round:

1. the new data gets second names (hard links) that no file has: those of a checkpoint with another number of shards;
2. an index that names these is renamed over the old one: from here on the new checkpoint is there, and the old is not;
3. the data files are renamed over the old ones, which no index names any more;
4. the final index is renamed over that of step 2;
5. the second names are removed.

At every instant the path so holds the old or the new checkpoint, whole, for any reader. A process killed on the way
leaves files that no index names; the next run to the same target removes them. On a file system without hard links
the data is copied in step 1.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from resport.formats.atomic import create_file, remove_file, sync_file, sync_folder, take_permissions
from resport.formats.staging import Staging, staged


class Detour(NamedTuple):
    """The checkpoint of steps 1 and 2.

    Attributes:
        data: the second names of the data files, in their order.
        empty: further files that its index asks for, without data.
        index_bytes: the content of its index.
    """

    data: Sequence[str]
    empty: Sequence[str]
    index_bytes: bytes


@contextmanager
def replacing(target: str) -> Iterator[str]:
    """Write a file in one step: yields a temporary path, which takes the target's place unless an error comes.

    A target that is replaced keeps its permissions, and where the system allows it its owner.

    Raises:
        SourceNotFoundError: the folder does not exist.
    """
    with staged(target) as staging:
        yield staging.create(target)
        staging.sync()
        publish_file(staging, target)


def publish_folder(staging: Staging, target: str) -> None:
    """Put the folder itself, with its finished and synced files, where there is nothing yet."""
    mode = min(stat.S_IMODE(file.stat().st_mode) for file in Path(staging.path).iterdir())
    # It was private; who may read its files may look into it.
    Path(staging.path).chmod(mode | (mode & 0o444) >> 2)
    Path(staging.path).rename(target)
    sync_folder(target)


def publish_file(staging: Staging, target: str) -> None:
    """Put a finished file, synced already, in the target's place."""
    staged = staging.place(target)
    take_permissions(staged, target)
    Path(staged).replace(target)
    sync_folder(target)


def publish_files(staging: Staging, data: Sequence[str], index: str, detour: Callable[[], Detour]) -> None:
    """Put the finished files of a checkpoint, synced already, in their places; see the module's text.

    Args:
        staging: where they are.
        data: the paths of the data files.
        index: the path of the index.
        detour: gives the way round, where one is needed.
    """
    for target in (*data, index):
        take_permissions(staging.place(target), target if Path(target).exists() else index)
    if Path(index).exists() and any(Path(target).exists() for target in data):
        _go_round(staging, data, index, detour())
        for target in data:
            Path(staging.place(target)).replace(target)
    else:
        for target in data:
            _publish_new(staging.place(target), target)
    sync_folder(index)
    publish_file(staging, index)


def _go_round(staging: Staging, data: Sequence[str], index: str, detour: Detour) -> None:
    """Steps 1 and 2. Where they fail, what they made is removed."""
    staged = staging.create()
    Path(staged).write_bytes(detour.index_bytes)
    take_permissions(staged, index)
    sync_file(staged)
    try:
        for target, second in zip(data, detour.data, strict=True):
            _link(staging.place(target), second)
        for second in detour.empty:
            create_file(second)
            take_permissions(second, index)
        sync_folder(index)
        Path(staged).replace(index)
    except BaseException:
        # An interrupt can come when the index has been renamed: then it names them.
        if Path(staged).exists():
            for second in (*detour.data, *detour.empty):
                remove_file(second)
        raise
    sync_folder(index)


def _publish_new(staged: str, target: str) -> None:
    """Give a data file its name while its staging folder keeps it too, so that it is known if the index never comes."""
    if not Path(target).exists():
        try:
            os.link(staged, target)
        except OSError:
            # No hard links, or a name that is there after all.
            Path(staged).replace(target)
    else:
        Path(staged).replace(target)


def _link(staged: str, second: str) -> None:
    try:
        os.link(staged, second)
    except FileExistsError:
        raise
    except OSError:
        import shutil

        shutil.copy2(staged, second)
        sync_file(second)
