"""The path doctor: which TensorFlow checkpoint a path means, whatever of its files was named.

A V2 checkpoint has no file of its own name. It is a *prefix* of several (``PREFIX.index``,
``PREFIX.data-00000-of-00001``, ``PREFIX.meta``), and a folder holds many of them and a file ``checkpoint`` that says
which is the latest. People pass any of these. ``resolve_prefix`` takes them all and says what it took, in a note that
the caller shows; nothing is chosen silently, and where a choice would be a guess it is refused.

The file ``checkpoint`` is text from somewhere else, often with absolute paths of another machine. Only what lies in
its own folder is ever opened: a path that leads out of it is reduced to its last part.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from resport.errors import OptionError, SourceNotFoundError
from resport.formats.leveldb_table import TABLE_MAGIC
from resport.formats.publication import replacing

STATE_FILE_NAME = "checkpoint"
STATE_FILE_MAX_BYTES = 1 << 20
SHARD_SUFFIX = re.compile(r"\.data-(\d{5})-of-(\d{5})")
_SHARD_OF_PREFIX = re.compile(rf"(.+){SHARD_SUFFIX.pattern}", re.S)

_STATE_LINE = re.compile(
    r"""^[ \t]*model_checkpoint_path[ \t]*:?[ \t]*("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""", re.M
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.S)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_STEP = re.compile(r"(.*)-(\d+)", re.S)
# A path that is nowhere is taken for a TensorFlow checkpoint with a typing mistake when it has no other suffix.
_LIKE_A_PREFIX = re.compile(r"[^.]+|.*\.ckpt(-\d+)?", re.S)


class ResolvedPrefix(NamedTuple):
    """The checkpoint that a path means.

    Attributes:
        prefix: what its files begin with.
        note: a sentence that says what was taken, or None when the path was the prefix itself.
    """

    prefix: str
    note: str | None = None


def resolve_prefix(path: str) -> ResolvedPrefix | None:
    """Find the V2 checkpoint that a path means.

    Args:
        path: a prefix, a file of a checkpoint, the file ``checkpoint``, or a folder.

    Returns:
        The prefix, whose index is there, or None when the path is none of a V2 checkpoint.

    Raises:
        SourceNotFoundError: the path belongs to a V2 checkpoint whose index is missing, or to none while there are
            others in its folder.
        OptionError: the path is a folder with several checkpoints and nothing says which is meant.
    """
    if has_index(path):
        return ResolvedPrefix(path)
    place = Path(path)
    if not _is_file(place) and os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a path that is too long
        return _resolve_folder(place)
    if place.name == STATE_FILE_NAME and _is_file(place):
        return _resolve_state(place)
    prefix = prefix_of_file(path)
    if prefix is None:
        if not os.path.lexists(path) and _LIKE_A_PREFIX.fullmatch(place.name) and list_prefixes(place.parent):
            raise missing_index_error(path)
        return None
    if has_index(prefix):
        return ResolvedPrefix(prefix, f"`{path}` is a file of the checkpoint `{prefix}`, which was taken")
    # Some other program's index, or the .meta of a V1 checkpoint, whose own file has the name of a V2 prefix.
    if (place.name.endswith(".index") and _is_file(place)) or _has_v1_file(prefix):
        return None
    raise missing_index_error(prefix)


def has_index(prefix: str) -> bool:
    """Whether there is the index of a V2 checkpoint.

    Files of other programs end in ``.index`` too; one that is no table counts only beside a data file, as an index that
    is damaged.
    """
    if prefix.endswith("/") or not Path(prefix).name:
        return False
    index = Path(f"{prefix}.index")
    if not _is_file(index):
        return False
    return _is_table(index) or bool(shard_files(prefix))


def _is_table(index: Path) -> bool:
    """Whether a regular file ends as a table does."""
    with contextlib.suppress(OSError), index.open("rb") as file:
        size_bytes = file.seek(0, 2)
        file.seek(max(0, size_bytes - len(TABLE_MAGIC)))
        return file.read(len(TABLE_MAGIC)) == TABLE_MAGIC
    return False


def _has_v1_file(prefix: str) -> bool:
    """Whether there is a V1 checkpoint of that name, in one file or in shards."""
    name, folder = Path(prefix).name, Path(prefix).parent
    shard = re.compile(re.escape(name) + r"-\d{5}-of-\d{5}")
    return _is_file(Path(prefix)) or any(shard.fullmatch(file.name) for file in _files_of(folder))


def _is_file(path: Path) -> bool:
    """Whether there is a regular file; no error for a path that the system refuses, such as one that is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def _files_of(folder: Path) -> list[Path]:
    """What is in a folder, sorted; nothing when it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def prefix_of_file(path: str) -> str | None:
    """What stands before the suffix of a checkpoint's file, or None for a name without such a suffix."""
    name = Path(path).name
    shard = _SHARD_OF_PREFIX.fullmatch(name)
    if shard:
        return path[: len(path) - len(name) + shard.end(1)]
    for suffix in (".index", ".meta"):
        if path.endswith(suffix) and name != suffix:
            return path.removesuffix(suffix)
    return None


def shard_files(prefix: str) -> dict[str, int]:
    """The data files that lie at a prefix: their paths, and the number of shards that each belongs to."""
    folder, name = Path(prefix).parent, Path(prefix).name
    shard_name = re.compile(re.escape(name) + SHARD_SUFFIX.pattern)
    matches = ((file, shard_name.fullmatch(file.name)) for file in _files_of(folder))
    return {str(file): int(match[2]) for file, match in matches if match}


def claimed_files(prefix: str) -> list[str]:
    """The files that writing a checkpoint at a prefix could replace or remove."""
    return [f"{prefix}.index", *shard_files(prefix), str(Path(prefix).parent / STATE_FILE_NAME)]


def shard_path(prefix: str, shard: int, n_shards: int) -> str:
    """The path of one data file."""
    return f"{prefix}.data-{shard:05d}-of-{n_shards:05d}"


def list_prefixes(folder: Path) -> list[str]:
    """The names of all V2 checkpoints in a folder, those with steps in the order of their steps."""
    files = [file.name for file in _files_of(folder)]
    # Looked up here: `has_index` lists the folder for every index that is no table.
    with_data = {match[1] for match in map(_SHARD_OF_PREFIX.fullmatch, files) if match}
    names = [name.removesuffix(".index") for name in files if name.endswith(".index")]
    indexes = ((name, folder / f"{name}.index") for name in names if name)
    return sorted(
        (name for name, index in indexes if _is_file(index) and (_is_table(index) or name in with_data)), key=_step_key
    )


def _step_key(name: str) -> tuple[str, int, str]:
    stem, step = _step_of(name)
    return stem, -1 if step is None else step, name


def _step_of(name: str) -> tuple[str, int | None]:
    """A name without its step, and the step: ``model.ckpt-88000`` is (``model.ckpt``, 88000)."""
    match = _STEP.fullmatch(name)
    # More digits than any counter has would be slow to convert, and mean something else.
    return (match[1], int(match[2])) if match and len(match[2]) < 20 else (name, None)


def read_state_file(path: str) -> str | None:
    """The checkpoint that a file ``checkpoint`` calls the latest, as a prefix in the folder of that file.

    Returns:
        The prefix, where there need not be a checkpoint any more; None when the file is another or names nothing.
    """
    place = Path(path)
    with place.open("rb") as file:
        raw = file.read(STATE_FILE_MAX_BYTES)
    match = _STATE_LINE.search(raw.decode("utf-8", "surrogateescape"))
    if match is None:
        return None
    try:
        named = _unescape(match[1][1:-1].encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        return None
    if not named or named[-1] in "/\\" or "\0" in named:
        return None
    inside = place.parent / named
    # Not `Path.resolve`, which gives up with an error of its own where links lead in a circle.
    folder, own = Path(os.path.realpath(inside.parent)), Path(os.path.realpath(place.parent))
    is_inside = folder.is_relative_to(own)
    if is_inside and (has_index(str(inside)) or _has_v1_file(str(inside))):
        return str(inside)
    # A path of the machine that wrote it, perhaps with Windows' separators: the checkpoint was moved with this file.
    return str(place.parent / re.split(r"[/\\]", named)[-1])


def _unescape(text: bytes) -> bytes:
    """Undo the escapes of a string in protobuf's text format."""

    def replace(match: re.Match[bytes]) -> bytes:
        octal, hexadecimal, letter = match.groups()
        if letter is not None:
            return _ESCAPED.get(letter, letter)
        return bytes([(int(octal, 8) if octal else int(hexadecimal, 16)) & 0xFF])

    return _ESCAPE.sub(replace, text)


def _escape(text: str) -> str:
    """A string in protobuf's text format: everything but printable ASCII as octal numbers of its bytes."""
    plain = {byte: chr(byte) for byte in range(0x20, 0x7F)} | {ord('"'): '\\"', ord("\\"): "\\\\"}
    return "".join(plain.get(byte, f"\\{byte:03o}") for byte in text.encode())


def write_state_file(prefix: str) -> str:
    """Write the file ``checkpoint`` beside a checkpoint and name that one in it, and no other.

    The name is written without its folder, so that the folder can be moved.

    Returns:
        The path of the file.

    Raises:
        SourceNotFoundError: the folder does not exist.
    """
    target = str(Path(prefix).parent / STATE_FILE_NAME)
    name = _escape(Path(prefix).name)
    with replacing(target) as temporary:
        Path(temporary).write_text(
            f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n', encoding="ascii"
        )
    return target


def _resolve_folder(folder: Path) -> ResolvedPrefix | None:
    """The checkpoint that a folder's state file names, or the only one, or that of the newest step."""
    state = folder / STATE_FILE_NAME
    prefix = read_state_file(str(state)) if _is_file(state) else None
    if prefix is not None and has_index(prefix):
        return ResolvedPrefix(prefix, f"`{state}` names the checkpoint `{prefix}`, which was taken")
    names = list_prefixes(folder)
    if not names:
        return None
    newest = str(folder / names[-1])
    if len(names) == 1:
        return ResolvedPrefix(newest, f"`{folder}` holds one checkpoint, `{newest}`, which was taken")
    if len({_step_of(name)[0] for name in names}) == 1 and all(_step_of(name)[1] is not None for name in names):
        return ResolvedPrefix(newest, f"`{newest}`, the newest of {len(names)} checkpoints in `{folder}`, was taken")
    raise OptionError(
        f"`{folder}` holds {len(names)} checkpoints and no file `{STATE_FILE_NAME}` says which is meant",
        got=_listed(names),
        hint=f"pass one of them, such as {newest}",
    )


def _resolve_state(state: Path) -> ResolvedPrefix | None:
    """The checkpoint that a state file names; None when it names a V1 checkpoint or is no state file."""
    prefix = read_state_file(str(state))
    if prefix is None or _has_v1_file(prefix):
        return None
    if has_index(prefix):
        return ResolvedPrefix(prefix, f"`{state}` names the checkpoint `{prefix}`, which was taken")
    raise missing_index_error(prefix)


def missing_index_error(prefix: str) -> SourceNotFoundError:
    """The error for a checkpoint without its index, with what else is in the folder."""
    names = list_prefixes(Path(prefix).parent)
    others = f"; in this folder: {_listed(names)}" if names else ""
    return SourceNotFoundError(
        f"`{prefix}` is not a TensorFlow checkpoint, `{prefix}.index` is missing",
        hint=f"pass the prefix before `.index`{others}",
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown
