"""Weights that Keras 3 dealt out to several files: ``m.weights.json`` and ``m_00000.weights.h5``, ``m_00001…``.

The index says in which files each group of variables is; the variables of one layer can lie in two. A layer's name is
only in the first of them. All files together are read as one ``.weights.h5``; one of them, passed alone, means all of
them: it would pass for a smaller network.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import ClassVar

from resport.errors import FormatError
from resport.formats.damage import quoted
from resport.formats.hdf5 import open_file, text_attribute
from resport.formats.hdf5_checkpoint import Found
from resport.formats.hdf5_file.objects import Dataset, Group, HDF5File
from resport.formats.keras_config import CONFIG_MAX_BYTES, parse_config
from resport.formats.keras_weights import (
    WEIGHTS_NAME_ATTRIBUTE,
    WEIGHTS_VARIABLES_GROUP,
    KerasWeightsReader,
    named_variables,
    plain_place,
    walk,
)
from resport.formats.source import regular_file_size

SHARDED_SUFFIX = ".weights.json"
SHARDED_MAX_FILES = 500
"""All are open at once; systems allow about a thousand."""
_SHARD_NAME = re.compile(r"(.+)_\d{5}\.weights\.h5", re.DOTALL)


def is_keras_sharded(head: bytes, path: str) -> bool:
    """Whether a file is the index of such weights, or one of the shards beside its index."""
    if head.lstrip()[:1] == b"{":
        return path.lower().endswith(SHARDED_SUFFIX)
    return find_index(path) is not None


def find_index(path: str) -> str | None:
    """The index of the checkpoint that a shard belongs to; None for any other file.

    Raises:
        FormatError: the index is damaged.
    """
    match = _SHARD_NAME.fullmatch(Path(path).name)
    index = Path(path).parent / f"{match[1]}{SHARDED_SUFFIX}" if match else None
    # An index that doesn't name the file is that of another checkpoint.
    is_named = index is not None and index.is_file() and Path(path).name in _shards(_read_index(str(index)))
    return str(index) if is_named else None


def _read_index(path: str) -> dict[str, list[str]]:
    """Names of the files that have each group of variables."""
    if regular_file_size(path) > CONFIG_MAX_BYTES:
        raise FormatError(
            f"`{path}` is too large for an index", path=path, expected=f"at most {CONFIG_MAX_BYTES} bytes"
        )
    weight_map = parse_config(Path(path).read_bytes(), path).get("weight_map")
    if not isinstance(weight_map, dict):
        raise FormatError(f"`{path}` has no `weight_map`", path=path)
    index = {group: files if isinstance(files, list) else [files] for group, files in weight_map.items()}
    for group, files in index.items():
        for file in files:
            # Of its own folder, and no other.
            if not isinstance(file, str) or set(file) & set("/\\\0") or not file.endswith(".h5"):
                raise FormatError(
                    f"`{path}` names no shard for {quoted(group)}",
                    path=path,
                    expected="a `.h5` file of its own folder",
                    got=repr(file)[:200],
                )
    return index


def _shards(index: dict[str, list[str]]) -> list[str]:
    return sorted({file for files in index.values() for file in files})


class KerasShardedReader(KerasWeightsReader):
    """The shards of a ``.weights.json``.

    Args:
        path: the index, or one of the shards.

    Raises:
        SourceNotFoundError: the index or a shard is missing.
        FormatError: a file is damaged, or index and shards contradict each other.
    """

    format: ClassVar[str] = "keras-weights-sharded"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = os.fspath(path)
        self.path = find_index(given) or given
        if self.path != given:
            self.note = f"`{given}` is one of the shards of `{self.path}`, which was opened"
        self._index = _read_index(self.path)
        shards = _shards(self._index)
        if not 0 < len(shards) <= SHARDED_MAX_FILES:
            raise FormatError(
                f"`{self.path}` names {len(shards)} shards", path=self.path, expected=f"1 to {SHARDED_MAX_FILES}"
            )
        folder = Path(self.path).parent
        places = [str(folder / shard) for shard in shards]
        self.files = (self.path, *places)
        self._opened = []
        try:
            for place in places:
                self._opened.append(open_file(place))
            self._list_tensors()
        except BaseException:
            self.close()
            raise

    def _path_of(self, dataset: Dataset) -> str:
        return dataset.file.path

    def _find(self, file: HDF5File) -> Found:
        files = list(zip(self._opened, self.files[1:], strict=True))
        names: dict[str, str] = {}
        found: set[tuple[str, str]] = set()
        for shard, path in files:
            for place, _, variables in walk(shard, {}, path):
                name = text_attribute(variables, WEIGHTS_NAME_ATTRIBUTE, path)
                if name is not None:
                    names.setdefault(plain_place(place), name)
                if len(variables):
                    found.add(("/" + "/".join((*place, WEIGHTS_VARIABLES_GROUP)), Path(path).name))
        self._check(found)
        # The variables of one layer may lie in two files.
        merged: dict[tuple[str, ...], tuple[tuple[str, ...], list[tuple[Group, str]]]] = {}
        for shard, path in files:
            for place, scope, variables in walk(shard, names, path):
                merged.setdefault(place, (scope, []))[1].append((variables, path))
        for place, (scope, groups) in merged.items():
            yield from named_variables(place, scope, groups)

    def _check(self, found: set[tuple[str, str]]) -> None:
        listed = {(group, file) for group, files in self._index.items() for file in files}
        if listed != found:
            group, file = sorted(listed ^ found)[0]
            raise FormatError(
                f"`{self.path}` and its shards are not of one checkpoint",
                path=self.path,
                expected=f"{quoted(group)} {'' if (group, file) in listed else 'not '}in `{file}`",
                hint="were some of the files written later than the others?",
            )
