"""safetensors in several files with an index, as large models are published.

Opening reads the index and the header of every shard, and holds them against each other: each tensor is in the shard
that the index names, and in no other. Where a shard is missing, the shapes of its tensors are nowhere; what is there
can be listed, ``note`` says what is not, and reading says which shard is missing and which tensors need it.
``total_size`` is compared too, but a wrong one is only noted: nothing rests on it, and published ones are often wrong.

Writing follows the order of the specs. Each shard is a complete file in the staging folder; how they come to their
places is told in ``publication``. At the end what is left of an old checkpoint is removed: the file in one piece, which
loaders prefer, an index, and shards of another number.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from resport.errors import FormatError, OptionError
from resport.formats.atomic import remove_file
from resport.formats.base import Buffer, Reader, Writer
from resport.formats.damage import quoted
from resport.formats.publication import Detour, publish_file, publish_files
from resport.formats.safetensors import SafetensorsReader, SafetensorsWriter
from resport.formats.shard_index import (
    INDEX_SUFFIX,
    SAFETENSORS_SUFFIX,
    SHARD_DEFAULT_BYTES,
    deal_out,
    encode_index,
    existing_files,
    find_index,
    parse_size,
    read_index,
    shard_path,
    shards_of,
    target_stem,
    unused_count,
)
from resport.formats.staging import Staging
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import numpy as np

SHARDED_FORMAT = "safetensors-sharded"
MAX_OPEN_SHARDS = 64
"""Shards that a reader keeps open; those after them are opened for each tensor."""
MAX_WRITTEN_SHARDS = 512
"""Each shard is open while the checkpoint is written, and systems allow a process about a thousand files."""

_SHOWN_SHARDS = 10


class ShardedSafetensorsReader(Reader):
    """A sharded safetensors checkpoint.

    Args:
        path: the index, or what ``find_index`` takes for it.

    Raises:
        SourceNotFoundError: there is no index.
        FormatError: the index or a shard is damaged, or they contradict each other.
    """

    format: ClassVar[str] = SHARDED_FORMAT

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = os.fspath(path)
        self.path = find_index(given) or given
        index = read_index(self.path)
        folder = Path(self.path).parent
        self._shard_of = {name: str(folder / shard) for name, shard in index.weight_map.items()}
        shards = [str(folder / shard) for shard in shards_of(index)]
        self.files = (self.path, *shards)
        self._missing = {shard for shard in shards if not Path(shard).is_file()}
        self._open: dict[str, SafetensorsReader] = {}
        found: dict[str, TensorSpec] = {}
        metadata = {key: value for key, value in index.metadata.items() if isinstance(value, str)}
        try:
            for shard in shards:
                if shard not in self._missing:
                    self._read_shard(shard, found, metadata)
        except BaseException:
            self.close()
            raise
        # In the order of the shards, and in that of each of their headers.
        self.manifest = Manifest(found.values())
        self.metadata = metadata
        self.note = "; ".join(self._notes(given, index.metadata.get("total_size"))) or None

    def read(self, name: str) -> np.ndarray:
        """Read one tensor; see ``Reader.read``."""
        with self._shard_with(name) as reader:
            return reader.read(name)

    def pieces(self, name: str) -> Iterator[Buffer]:
        """Read one tensor piece by piece; see ``Reader.pieces``."""
        with self._shard_with(name) as reader:
            yield from reader.pieces(name)

    @contextmanager
    def _shard_with(self, name: str) -> Iterator[SafetensorsReader]:
        """The shard that a tensor lies in, open."""
        shard = self._shard_of[name]
        if shard in self._missing:
            needing = [other for other, its_shard in self._shard_of.items() if its_shard == shard]
            raise FormatError(
                f"`{shard}` is missing, which holds {_listed(needing)} of `{self.path}`",
                path=shard,
                hint=f"put all {len(self.files) - 1} shards beside {self.path}",
            )
        if shard in self._open:
            yield self._open[shard]
            return
        with SafetensorsReader(shard) as reader:
            if reader.manifest.get(name) != self.manifest[name]:
                raise FormatError(f"`{shard}` was changed while `{self.path}` was open", path=shard)
            yield reader

    def close(self) -> None:
        """Close the shards. Closing twice is allowed."""
        for reader in self._open.values():
            reader.close()

    def _read_shard(self, shard: str, found: dict[str, TensorSpec], metadata: dict[str, str]) -> None:
        """Read a shard's header and compare it with the index; of texts under one key the first shard's is kept."""
        reader = SafetensorsReader(shard)
        try:
            self._check_shard(shard, reader.manifest)
            found.update(reader.manifest)
            for key, text in reader.metadata.items():
                metadata.setdefault(key, text)
        finally:
            if len(self._open) < MAX_OPEN_SHARDS:
                self._open[shard] = reader
            else:
                reader.close()

    def _check_shard(self, shard: str, manifest: Manifest) -> None:
        for name in manifest:
            named = self._shard_of.get(name)
            if named != shard:
                raise FormatError(
                    f"`{self.path}` and `{shard}` contradict each other about {quoted(name)}",
                    path=self.path,
                    expected=f"it in `{named}` alone" if named else "it in no shard, the index does not name it",
                    got=f"it in `{shard}`",
                    hint="take index and shards from one and the same place",
                )
        absent = [name for name, its_shard in self._shard_of.items() if its_shard == shard and name not in manifest]
        if absent:
            raise FormatError(
                f"`{shard}` has not {_listed(absent)}, which `{self.path}` puts there",
                path=shard,
                hint="take index and shards from one and the same place",
            )

    def _notes(self, given: str, total_size: object) -> list[str]:
        notes = [] if given == self.path else [f"`{given}` belongs to the checkpoint `{self.path}`, which was taken"]
        n_tensors = Counter(self._shard_of.values())
        missing = sorted(self._missing)
        for shard in missing[:_SHOWN_SHARDS]:
            notes.append(f"`{shard}` is missing, and its {n_tensors[shard]} tensors are not listed")
        if len(missing) > _SHOWN_SHARDS:
            notes.append(f"{len(missing) - _SHOWN_SHARDS} more shards are missing")
        if isinstance(total_size, int) and total_size != self.manifest.nbytes and not self._missing:
            notes.append(f"`{self.path}` says {total_size} bytes in all, its shards hold {self.manifest.nbytes}")
        return notes


class ShardedSafetensorsWriter(Writer):
    """A safetensors checkpoint in files of a largest size.

    Args:
        path: ``NAME.safetensors``, which becomes a plain file when all fits into one shard, or
            ``NAME.safetensors.index.json``, which always becomes an index.
        specs: every tensor that will be written, in the order in which they are dealt out.
        metadata: text to keep in the header of every shard.
        max_shard_size: the most bytes of values in a shard, as a number or as text (``"500MB"``, ``"2GB"``).
        staging: where the files wait, if an interrupted run left some.

    Raises:
        FormatError: what ``SafetensorsWriter`` raises.
        OptionError: the size cannot be, or is so small that there would be too many shards.
    """

    format: ClassVar[str] = SHARDED_FORMAT
    dtypes: ClassVar[frozenset[str]] = SafetensorsWriter.dtypes
    is_resumable: ClassVar[bool] = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        specs: Iterable[TensorSpec],
        *,
        metadata: Mapping[str, str] | None = None,
        max_shard_size: int | str = SHARD_DEFAULT_BYTES,
        staging: Staging | None = None,
    ) -> None:
        super().__init__(os.fspath(path), specs, metadata=metadata)
        stem = target_stem(self.path)
        max_bytes = parse_size(max_shard_size)
        dealt = deal_out(self.manifest.values(), max_bytes)
        if len(dealt) > MAX_WRITTEN_SHARDS:
            raise OptionError(
                f"`{self.path}` would be split into {len(dealt)} shards",
                expected=f"at most {MAX_WRITTEN_SHARDS}",
                got=f"{self.manifest.nbytes} bytes in shards of {max_bytes}",
                hint="give a larger size",
            )
        self._index = f"{stem}{INDEX_SUFFIX}" if _has_index(self.path, dealt) else ""
        targets = [
            shard_path(stem, shard, len(dealt)) if self._index else f"{stem}{SAFETENSORS_SUFFIX}"
            for shard in range(1, len(dealt) + 1)
        ]
        self._shards: list[SafetensorsWriter] = []
        self._shard_of: dict[str, SafetensorsWriter] = {}
        self.staging = staging or Staging(self.staged_as(self.path))
        self._open_shards(targets, dealt)

    @classmethod
    def problems(cls, manifest: Manifest) -> list[str]:
        return SafetensorsWriter.problems(manifest)

    @classmethod
    def format_written(cls, path: str, manifest: Manifest, options: Mapping[str, Any]) -> str:
        dealt = deal_out(manifest.values(), parse_size(options.get("max_shard_size", SHARD_DEFAULT_BYTES)))
        return cls.format if _has_index(path, dealt) else SafetensorsWriter.format

    def _open_shards(self, targets: Sequence[str], dealt: Sequence[Sequence[TensorSpec]]) -> None:
        try:
            for target, specs in zip(targets, dealt, strict=True):
                writer = SafetensorsWriter(target, specs, metadata=self.metadata, staging=self.staging)
                self._shards.append(writer)
                self._shard_of.update(dict.fromkeys((spec.name for spec in specs), writer))
        except BaseException:
            self.abort()
            raise

    @classmethod
    def staged_as(cls, path: str) -> str:
        return f"{target_stem(path)}{SAFETENSORS_SUFFIX}"

    def amend_metadata(self, key: str, text: str) -> None:
        super().amend_metadata(key, text)
        for writer in self._shards:
            writer.amend_metadata(key, text)

    def _write(self, spec: TensorSpec, array: np.ndarray) -> None:
        self._shard_of[spec.name]._write(spec, array)

    def _write_pieces(self, spec: TensorSpec, pieces: Iterator[Buffer]) -> None:
        self._shard_of[spec.name]._write_pieces(spec, pieces)

    def _staged_pieces(self, spec: TensorSpec) -> Iterator[Buffer]:
        return self._shard_of[spec.name]._staged_pieces(spec)

    def _finish(self) -> None:
        for writer in self._shards:
            writer._finish()
        if self._index:
            Path(self.staging.create(self._index)).write_bytes(self._encode_index([w.path for w in self._shards]))

    def _publish(self) -> None:
        data = [writer.path for writer in self._shards]
        if self._index:
            publish_files(self.staging, data, self._index, self._detour)
        else:
            publish_file(self.staging, data[0])
        new = {Path(file).name for file in (*data, self._index) if file}
        # In this order: while there is an index, all that it names is there.
        for old in existing_files(self.path):
            if Path(old).name not in new:
                remove_file(old)

    def _detour(self) -> Detour:
        stem, n_data = target_stem(self.path), len(self._shards)
        count = unused_count(existing_files(self.path), n_data)
        names = [shard_path(stem, shard, count) for shard in range(1, n_data + 1)]
        return Detour(names, [], self._encode_index(names))

    def _encode_index(self, shards: Sequence[str]) -> bytes:
        """The index of a checkpoint whose shards have these paths."""
        names = {writer.path: Path(shard).name for writer, shard in zip(self._shards, shards, strict=True)}
        weight_map = {name: names[writer.path] for name, writer in self._shard_of.items()}
        return encode_index(weight_map, self.manifest.nbytes)

    def _close(self) -> None:
        for writer in self._shards:
            writer._close()


def _has_index(path: str, dealt: Sequence[Sequence[TensorSpec]]) -> bool:
    """Whether a target gets an index: it is named as one, or does not fit into one shard."""
    return len(dealt) > 1 or path.lower().endswith(INDEX_SUFFIX)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(quoted(name) for name in names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown
