"""Which files make up a sharded safetensors checkpoint: the index, the names of shards, and how tensors are dealt out.

The convention is that of the Hugging Face libraries. ``model.safetensors`` becomes
``model-00001-of-00003.safetensors`` and so on, and ``model.safetensors.index.json`` says which tensor is in which of
them. The index names files of its own folder and no others: a name with a folder in it is refused.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resport.errors import FormatError, OptionError
from resport.formats.json_text import JSON_MAX_BYTES, parse_json
from resport.formats.source import regular_file_size
from resport.tensors import TensorSpec

SAFETENSORS_SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
INDEX_MAX_BYTES = JSON_MAX_BYTES
SHARD_DEFAULT_BYTES = 5_000_000_000
SHARD_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors", re.S)

_SIZE = re.compile(r"(\d{1,15})(\.\d{1,6})?\s*([KMGT]?)(I?)B?", re.I)


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """What an index says.

    Attributes:
        weight_map: the file of each tensor, in the order of the index.
        metadata: the texts and numbers beside it.
    """

    weight_map: Mapping[str, str]
    metadata: Mapping[str, Any]


def find_index(path: str, head: bytes = b"") -> str | None:
    """The index of the sharded checkpoint that a path means.

    Args:
        path: an index, one of the shards, the folder they are in, or the name that the checkpoint would have in one
            file.
        head: the first bytes of the file at ``path``.

    Returns:
        The path of the index, or None when the path is none of a sharded checkpoint.

    Raises:
        OptionError: the folder has more than one index.
    """
    place = Path(path)
    if path.lower().endswith(INDEX_SUFFIX) or (head.lstrip()[:1] == b"{" and b'"weight_map"' in head):
        return path
    if not os.path.lexists(path):
        return _if_there(f"{path}.index.json") if path.endswith(SAFETENSORS_SUFFIX) else None
    if place.is_dir():
        return _only_index(place)
    match = SHARD_NAME.fullmatch(place.name)
    index = _if_there(str(place.parent / f"{match[1]}{INDEX_SUFFIX}")) if match else None
    # An index that doesn't name the file is that of another checkpoint.
    return index if index and place.name in read_index(index).weight_map.values() else None


def is_sharded(head: bytes, path: str) -> bool:
    """Whether a path means a sharded checkpoint."""
    return find_index(path, head) is not None


def _if_there(path: str) -> str | None:
    return path if os.path.isfile(path) else None  # noqa: PTH113 - Path.is_file raises for a path that is too long


def _only_index(folder: Path) -> str | None:
    try:
        found = sorted(str(file) for file in folder.iterdir() if file.name.endswith(INDEX_SUFFIX))
    except OSError:
        return None
    if len(found) > 1:
        raise OptionError(
            f"`{folder}` holds {len(found)} sharded checkpoints",
            got=", ".join(f"`{file}`" for file in found[:10]),
            hint=f"pass one of them, such as {found[0]}",
        )
    return found[0] if found else None


def read_index(path: str) -> ShardIndex:
    """Read and check an index.

    Raises:
        SourceNotFoundError: it is not there.
        FormatError: it is damaged, or names files that are not beside it or are no safetensors.
    """
    size_bytes = regular_file_size(path)
    if size_bytes > INDEX_MAX_BYTES:
        raise FormatError(
            f"`{path}` is too large for an index of shards",
            expected=f"at most {INDEX_MAX_BYTES} bytes",
            got=f"{size_bytes} bytes",
            path=path,
        )
    try:
        value = parse_json(Path(path).read_bytes(), unique=True)
    except OSError as error:
        raise FormatError(f"`{path}` cannot be read: {error.strerror or error}", path=path) from error
    except ValueError as error:
        raise FormatError(f"`{path}` is not valid JSON: {error}", path=path) from error
    weight_map = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(weight_map, dict):
        raise FormatError(f"`{path}` has no `weight_map`", path=path, expected="a map from tensors to files")
    for name, shard in weight_map.items():
        _check_shard_name(name, shard, path)
    metadata = value.get("metadata")
    return ShardIndex(weight_map, metadata if isinstance(metadata, dict) else {})


def _check_shard_name(name: str, shard: Any, path: str) -> None:
    if not isinstance(shard, str) or not shard or Path(shard).name != shard or set(shard) & set("\\\0"):
        raise FormatError(
            f"`{path}` puts tensor {name!r} into what is no file beside it",
            path=path,
            expected="the name of a file in the folder of the index",
            got=repr(shard)[:200],
        )
    if not shard.endswith(SAFETENSORS_SUFFIX):
        raise FormatError(
            f"`{path}` puts tensor {name!r} into a file that is no safetensors",
            path=path,
            expected=f"a name that ends in {SAFETENSORS_SUFFIX}",
            got=repr(shard)[:200],
            hint="shards of another kind are Python pickles, which can run code; save them as safetensors",
        )


def encode_index(weight_map: Mapping[str, str], total_bytes: int) -> bytes:
    """An index as the Hugging Face libraries write it."""
    value = {"metadata": {"total_size": total_bytes}, "weight_map": dict(weight_map)}
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def target_stem(path: str) -> str:
    """A target's path without the suffix of a safetensors file or of an index.

    Raises:
        OptionError: it has neither.
    """
    for suffix in (INDEX_SUFFIX, SAFETENSORS_SUFFIX):
        if path.lower().endswith(suffix) and len(Path(path).name) > len(suffix):
            return path[: -len(suffix)]
    raise OptionError(
        f"`{path}` cannot be split into shards",
        expected=f"a name that ends in {SAFETENSORS_SUFFIX} or {INDEX_SUFFIX}",
        got=Path(path).name,
    )


def shard_path(stem: str, shard: int, n_shards: int) -> str:
    """The path of one shard, counted from 1."""
    return f"{stem}-{shard:05d}-of-{n_shards:05d}{SAFETENSORS_SUFFIX}"


def existing_files(path: str) -> list[str]:
    """The files that lie where a target would be written: in one piece, the index, shards of any number."""
    stem = target_stem(path)
    folder, name = Path(stem).parent, Path(stem).name
    try:
        matches = [(file, SHARD_NAME.fullmatch(file.name)) for file in sorted(folder.iterdir())]
    except OSError:
        matches = []
    shards = [str(file) for file, match in matches if match and match[1] == name]
    return [
        f"{stem}{suffix}" for suffix in (SAFETENSORS_SUFFIX, INDEX_SUFFIX) if Path(f"{stem}{suffix}").exists()
    ] + shards


def unused_count(files: Iterable[str], n_shards: int) -> int:
    """The next larger number of shards that no file has in its name."""
    matches = [SHARD_NAME.fullmatch(Path(file).name) for file in files]
    taken = {int(match[3]) for match in matches if match}
    return next(count for count in itertools.count(n_shards + 1) if count not in taken)


def deal_out(specs: Iterable[TensorSpec], max_bytes: int) -> list[list[TensorSpec]]:
    """Deal tensors out to shards in their order; a tensor larger than a shard gets one of its own.

    Args:
        specs: the tensors.
        max_bytes: the most bytes of values in a shard.

    Returns:
        The specs of each shard; one shard at least.
    """
    shards: list[list[TensorSpec]] = [[]]
    n_bytes = 0
    for spec in specs:
        if shards[-1] and n_bytes + spec.nbytes > max_bytes:
            shards.append([])
            n_bytes = 0
        shards[-1].append(spec)
        n_bytes += spec.nbytes
    return shards


def parse_size(size: int | str) -> int:
    """A number of bytes, from a number or from text such as ``500MB``, ``2GB`` or ``1.5GiB``.

    Raises:
        OptionError: it is none, or not positive.
    """
    from fractions import Fraction

    fault = OptionError(
        "this is no size of a shard", expected="a number of bytes, or one with KB, MB, GB or GiB", got=f"{size}"
    )
    match = _SIZE.fullmatch(str(size).strip())
    if match is None or isinstance(size, bool):
        raise fault
    whole, fraction, unit, binary = match.groups()
    factor = (1024 if binary else 1000) ** " KMGT".index(unit.upper())
    n_bytes = int(Fraction(f"{whole}{fraction or ''}") * factor)
    if n_bytes < 1 or ((binary or fraction) and not unit):
        raise fault
    return n_bytes


def shards_of(index: ShardIndex) -> Sequence[str]:
    """The files that an index names, sorted."""
    return sorted(set(index.weight_map.values()))
