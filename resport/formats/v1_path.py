"""Which V1 checkpoint a path means.

A V1 checkpoint is one file of its own name, or several (``NAME-00000-of-00002``, ...), which TensorFlow calls by the
pattern ``NAME-?????-of-00002``. People pass one of the shards, the name in front, the ``.meta`` beside it, the file
``checkpoint`` or the folder. As for V2 checkpoints (``checkpoint_path``), what was taken is said in a note, and nothing
is chosen where it would be a guess.

The file has no magic number at its beginning, but its first entry is the list of its tensors, which is recognised, so
that a file that was cut off is still told to be one. The index of a V2 checkpoint is the same kind of table with
another first entry.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

from resport.errors import FormatError, OptionError
from resport.formats.checkpoint_path import (
    STATE_FILE_NAME,
    ResolvedPrefix,
    has_index,
    list_prefixes,
    read_state_file,
)
from resport.formats.leveldb_table import TABLE_MAGIC, LevelDBTable
from resport.formats.protobuf import read_varint
from resport.formats.source import MAX_LISTED_ENTRIES

V1_SHARD = re.compile(r"(.+)-(\d{5}|\?{5})-of-(\d{5})", re.S)
V1_MAX_SHARDS = 10_000

_META_TAG = 0x0A  # field 1 of SavedTensorSlices, a message; an index of V2 begins with an integer
_HEAD_BYTES = 64


@dataclass(frozen=True, slots=True)
class ShardSet:
    """The files of a V1 checkpoint.

    Attributes:
        path: how TensorFlow calls it: the file, or the pattern of the shards.
        files: all files that belong to it, whether they are there or not.
    """

    path: str
    files: tuple[str, ...]


def shard_set(path: str) -> ShardSet:
    """The files of the checkpoint that a file, a shard, a pattern or the name of shards means.

    Raises:
        OptionError: the name has shards of several saves.
    """
    match = V1_SHARD.fullmatch(path)
    if match and 1 <= int(match[3]) <= V1_MAX_SHARDS and (match[2] == "?????" or int(match[2]) < int(match[3])):
        return _shards(match[1], int(match[3]))
    counts = _shard_counts(path) if not _is_file(path) else []
    if len(counts) > 1:
        raise OptionError(
            f"`{path}` has shards of {len(counts)} saves",
            got=", ".join(f"{count} shards" for count in counts),
            hint=f"pass the one that is meant, such as {_shards(path, counts[0]).path}",
        )
    return _shards(path, counts[0]) if counts else ShardSet(path, (path,))


def resolve_v1_path(path: str) -> ResolvedPrefix | None:
    """Find the V1 checkpoint that a path means.

    Args:
        path: a checkpoint of one file, a shard, the pattern or name of shards, a ``.meta``, the file ``checkpoint``,
            or a folder.

    Returns:
        What ``shard_set`` takes, or None when the path means no V1 checkpoint.

    Raises:
        OptionError: the name has shards of several saves, or the folder several checkpoints.
    """
    place = Path(path)
    if has_index(path):  # where both are there, TensorFlow takes the other one too
        return None
    if _is_file(path):
        if is_v1_file(path):
            shards = shard_set(path)
            note = f"`{path}` is one of the {len(shards.files)} shards `{shards.path}`, which were taken"
            return ResolvedPrefix(path) if shards.path == path else ResolvedPrefix(shards.path, note)
        named = read_state_file(path) if place.name == STATE_FILE_NAME else _before_meta(path)
        found = None if named is None or has_index(named) else _existing(named)
        if found is None:
            return None
        return ResolvedPrefix(found.path, f"`{path}` belongs to the checkpoint `{found.path}`, which was taken")
    if _is_folder(place):
        return _resolve_folder(place)
    found = _existing(path)
    return None if found is None else ResolvedPrefix(path)


def is_v1_file(path: str) -> bool:
    """Whether a regular file is a V1 checkpoint, or was one before it was damaged."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD_BYTES)
            file.seek(max(0, file.seek(0, 2) - len(TABLE_MAGIC)))
            if file.read(len(TABLE_MAGIC)) != TABLE_MAGIC:
                return _begins_with_meta(head)
    except OSError:
        return False
    try:
        with LevelDBTable(path) as table:
            listing = table.first_value(b"")
        return listing is not None and listing[:1] == bytes([_META_TAG])
    except FormatError:
        # Damaged: which of the two generations it was is told by its beginning, or by the name that one of them has.
        return _begins_with_meta(head) or not path.endswith(".index")


def _begins_with_meta(head: bytes) -> bool:
    """Whether a file begins with an uncompressed entry whose key is empty and whose value is a list of tensors."""
    try:
        if head[:2] != b"\0\0":
            return False
        value_bytes, offset = read_varint(head, 2)
        if not value_bytes or head[offset] != _META_TAG:
            return False
        meta_bytes, position = read_varint(head, offset + 1)
        # The list of tensors is the whole value, and begins with a tensor or, in an empty one, with the version.
        return position + meta_bytes == offset + value_bytes and head[position] in {0x0A, 0x12}
    except (FormatError, IndexError):
        return False


def _shards(name: str, n_shards: int) -> ShardSet:
    pattern = f"{name}-?????-of-{n_shards:05d}"
    return ShardSet(pattern, tuple(f"{name}-{shard:05d}-of-{n_shards:05d}" for shard in range(n_shards)))


def _shard_counts(name: str) -> list[int]:
    """Of how many shards the files are that lie at a name; each save has its own number."""
    place = Path(name)
    shard = re.compile(re.escape(place.name) + r"-\d{5}-of-(\d{5})", re.S)
    matches = (shard.fullmatch(file.name) for file in _files_of(place.parent))
    counts = {int(match[1]) for match in matches if match}
    return sorted(count for count in counts if 1 <= count <= V1_MAX_SHARDS)


def _existing(path: str) -> ShardSet | None:
    """The checkpoint of a name of which at least one file is there."""
    shards = shard_set(path)
    return shards if any(_is_file(file) and is_v1_file(file) for file in shards.files) else None


def _before_meta(path: str) -> str | None:
    return path.removesuffix(".meta") if path.endswith(".meta") else None


def _resolve_folder(folder: Path) -> ResolvedPrefix | None:
    """The checkpoint that a folder's state file names, or the only one of a folder without V2 checkpoints."""
    state = folder / STATE_FILE_NAME
    named = read_state_file(str(state)) if _is_file(str(state)) else None
    if named is not None and not has_index(named) and (found := _existing(named)):
        return ResolvedPrefix(found.path, f"`{state}` names the checkpoint `{found.path}`, which was taken")
    if list_prefixes(folder):
        return None
    paths = sorted({shard_set(str(file)).path for file in _files_of(folder) if is_v1_file(str(file))})
    if len(paths) > 1:
        raise OptionError(
            f"`{folder}` holds {len(paths)} checkpoints and no file `{STATE_FILE_NAME}` says which is meant",
            got=", ".join(f"`{path}`" for path in paths[:10]),
            hint=f"pass one of them, such as {paths[-1]}",
        )
    return (
        ResolvedPrefix(paths[0], f"`{folder}` holds one checkpoint, `{paths[0]}`, which was taken") if paths else None
    )


def _files_of(folder: Path) -> list[Path]:
    try:
        return [file for file in itertools.islice(folder.iterdir(), MAX_LISTED_ENTRIES) if _is_file(str(file))]
    except OSError:
        return []


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
