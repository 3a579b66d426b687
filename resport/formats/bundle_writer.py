"""Writing TensorFlow's V2 checkpoints, ``PREFIX.index`` and ``PREFIX.data-SSSSS-of-NNNNN``; see ``tensor_bundle``.

Every offset follows from the specs, so values may come in any order and the bytes are the same; entries and
data are in the order of the names' bytes. How the finished files come to their places is told in ``publication``: as
an index names its data files by their number alone, the second names there are those of more shards, the last of them
empty. Data files of another number of shards, which no index names any more, are removed at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from resport.dtypes import DTYPES, OPAQUE
from resport.errors import OptionError
from resport.formats.atomic import remove_file
from resport.formats.base import Buffer, Writer, bytes_of
from resport.formats.bundle_entry import (
    BUNDLE_FORMAT,
    BUNDLE_HEADER_KEY,
    BUNDLE_MAX_SHARDS,
    BundleEntry,
    BundleHeader,
    encode_entry,
    encode_header,
    name_problems,
)
from resport.formats.checkpoint_path import shard_files, shard_path, write_state_file
from resport.formats.leveldb_table import mask_crc32c
from resport.formats.leveldb_writer import encode_table
from resport.formats.positioned import pieces_at, write_at
from resport.formats.publication import Detour, publish_files
from resport.formats.staging import Staging
from resport.formats.system_errors import write_errors
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import numpy as np


class TensorBundleWriter(Writer):
    """A V2 checkpoint being written; see ``Writer``, and the module's text for the order of a commit.

    Args:
        path: the prefix.
        specs: every tensor that will be written.
        metadata: text to keep in the index, where TensorFlow skips it.
        n_shards: number of data files; each gets about the same number of bytes.
        write_state: whether the file ``checkpoint`` in the folder shall name this checkpoint.
        staging: where the files wait, if an interrupted run left some.

    Raises:
        OptionError: the path has no last part, or the number of shards cannot be.
    """

    format: ClassVar[str] = BUNDLE_FORMAT
    dtypes: ClassVar[frozenset[str]] = frozenset(
        dtype.name for dtype in DTYPES if dtype.tensorflow is not None and dtype.name not in OPAQUE
    )
    is_resumable: ClassVar[bool] = True

    def __init__(
        self,
        path: str,
        specs: Iterable[TensorSpec],
        *,
        metadata: Mapping[str, str] | None = None,
        n_shards: int = 1,
        write_state: bool = False,
        staging: Staging | None = None,
    ) -> None:
        if path.endswith("/") or not Path(path).name:
            raise OptionError(f"`{path}` is a folder, not the prefix of a checkpoint", hint=f"pass {path}model.ckpt")
        if not 1 <= n_shards <= BUNDLE_MAX_SHARDS:
            raise OptionError(
                "this number of shards cannot be", expected=f"1 to {BUNDLE_MAX_SHARDS}", got=f"{n_shards}"
            )
        super().__init__(path, specs, metadata=metadata)
        self._write_state = write_state
        self._entries = lay_out(self.manifest.values(), n_shards)
        self._targets = [shard_path(path, shard, n_shards) for shard in range(n_shards)]
        self.staging = staging or Staging(path)
        self._handles: dict[int, int] = {}
        try:
            for target, n_bytes in zip(self._targets, self._shard_bytes(), strict=True):
                self.staging.create(target, n_bytes)
        except BaseException:
            self.abort()
            raise

    @classmethod
    def problems(cls, manifest: Manifest) -> list[str]:
        """What of a manifest cannot be written: foreign dtypes, and names that are no keys."""
        return super().problems(manifest) + name_problems(manifest)

    def _shard_bytes(self) -> list[int]:
        """The length of each data file."""
        n_bytes = [0] * len(self._targets)
        for entry in self._entries.values():
            n_bytes[entry.shard] += entry.size_bytes
        return n_bytes

    def _write(self, spec: TensorSpec, array: np.ndarray) -> None:
        entry = self._entries[spec.name]
        write_at(self._handle(entry.shard), bytes_of(array), entry.offset)

    def _write_pieces(self, spec: TensorSpec, pieces: Iterator[Buffer]) -> None:
        entry = self._entries[spec.name]
        with write_errors(self.path):
            handle = self._handle(entry.shard)
        self._write_pieces_at(handle, pieces, entry.offset)

    def _staged_pieces(self, spec: TensorSpec) -> Iterator[Buffer]:
        entry = self._entries[spec.name]
        return pieces_at(self._handle(entry.shard), entry.offset, spec.nbytes)

    def _handle(self, shard: int) -> int:
        """A shard's temporary file, open; only the last one used is, for there may be thousands."""
        if shard not in self._handles:
            self._close()
            place = self.staging.place(self._targets[shard])
            self._handles[shard] = os.open(place, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        return self._handles[shard]

    def _close(self) -> None:
        while self._handles:
            os.close(self._handles.popitem()[1])

    def _finish(self) -> None:
        self._close()
        Path(self.staging.create(f"{self.path}.index")).write_bytes(self._encode_index(len(self._targets)))

    def _publish(self) -> None:
        publish_files(self.staging, self._targets, f"{self.path}.index", self._detour)
        for stale in shard_files(self.path).keys() - {os.fspath(Path(target)) for target in self._targets}:
            remove_file(stale)
        if self._write_state:
            write_state_file(self.path)

    def _detour(self) -> Detour:
        taken = set(shard_files(self.path).values())
        n_shards = next(
            count for count in range(len(self._targets) + 1, len(self._targets) + 2 + len(taken)) if count not in taken
        )
        names = [shard_path(self.path, shard, n_shards) for shard in range(n_shards)]
        n_data = len(self._targets)
        return Detour(names[:n_data], names[n_data:], self._encode_index(n_shards))

    def _encode_index(self, n_shards: int) -> bytes:
        header = encode_header(BundleHeader(n_shards, self.metadata))
        entries = [
            (name.encode(), encode_entry(entry._replace(crc32c=mask_crc32c(self.checksums[name]))))
            for name, entry in self._entries.items()
        ]
        return encode_table([(BUNDLE_HEADER_KEY, header), *entries])


def lay_out(specs: Iterable[TensorSpec], n_shards: int) -> dict[str, BundleEntry]:
    """Give each tensor its place: in the order of the names' bytes, runs of about equal size in each shard.

    Args:
        specs: the tensors.
        n_shards: number of data files, at least 1.

    Returns:
        The entries in that order, without checksums.
    """
    ordered = sorted(specs, key=lambda spec: spec.name.encode())
    total_bytes = sum(spec.nbytes for spec in ordered)
    n_before = 0
    ends = [0] * n_shards
    entries = {}
    for spec in ordered:
        shard = min(n_before * n_shards // total_bytes, n_shards - 1) if total_bytes else 0
        entries[spec.name] = BundleEntry(spec, shard, ends[shard], spec.nbytes)
        ends[shard] += spec.nbytes
        n_before += spec.nbytes
    return entries
