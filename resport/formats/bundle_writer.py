"""Writing TensorFlow's V2 checkpoints, ``PREFIX.index`` and ``PREFIX.data-SSSSS-of-NNNNN``; see ``tensor_bundle``.

Every offset follows from the specs, so values may come in any order and the bytes are the same; entries and
data are in the order of the names' bytes. Values go to temporary files. On commit
1. the index is written, and all files are synced, under temporary names;
2. where a data file with the final name exists (the same number of shards), the old index is removed: from here on the
   path holds no checkpoint rather than an old index over new values;
3. the data files are renamed;
4. the index is renamed, and with it the new checkpoint is there;
5. data files of another number of shards, which no index names any more, are removed.
With another number of shards the old checkpoint is whole until step 4, otherwise until step 2. Steps 2 to 4 are renames
only, for which the data is on disk already.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from resport.dtypes import DTYPES, OPAQUE
from resport.errors import OptionError
from resport.formats.atomic import remove_file, replace_file, temporary_path
from resport.formats.base import Buffer, Writer, write_errors
from resport.formats.bundle_data import write_array
from resport.formats.bundle_entry import (
    BUNDLE_FORMAT,
    BUNDLE_HEADER_KEY,
    BUNDLE_MAX_SHARDS,
    BundleEntry,
    BundleHeader,
    encode_entry,
    encode_header,
    is_utf8,
)
from resport.formats.checkpoint_path import shard_files, shard_path, write_state_file
from resport.formats.damage import quoted
from resport.formats.leveldb_table import extend_crc32c, mask_crc32c
from resport.formats.leveldb_writer import encode_table
from resport.formats.positioned import write_at
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

    Raises:
        OptionError: the path has no last part, or the number of shards cannot be.
    """

    format: ClassVar[str] = BUNDLE_FORMAT
    dtypes: ClassVar[frozenset[str]] = frozenset(
        dtype.name for dtype in DTYPES if dtype.tensorflow is not None and dtype.name not in OPAQUE
    )

    def __init__(
        self,
        path: str,
        specs: Iterable[TensorSpec],
        *,
        metadata: Mapping[str, str] | None = None,
        n_shards: int = 1,
        write_state: bool = False,
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
        self._temporaries: dict[str, str] = {}
        self._handles: dict[int, int] = {}
        try:
            for target in self._targets:
                self._temporaries[target] = temporary_path(target)
        except BaseException:
            self.abort()
            raise

    @classmethod
    def problems(cls, manifest: Manifest) -> list[str]:
        """What of a manifest cannot be written: foreign dtypes, and names that are no keys."""
        names = [
            f"the name {quoted(name)} is {'empty' if not name else 'not UTF-8'}"
            for name in manifest
            if not name or not is_utf8(name)
        ]
        return super().problems(manifest) + names

    def _write(self, spec: TensorSpec, array: np.ndarray) -> None:
        import numpy as np

        entry = self._entries[spec.name]
        crc = write_array(self._handle(entry.shard), array.reshape(-1).view(np.uint8), entry.offset)
        self._entries[spec.name] = replace(entry, crc32c=mask_crc32c(crc))

    def _write_pieces(self, spec: TensorSpec, pieces: Iterator[Buffer]) -> None:
        entry = self._entries[spec.name]
        crc, offset = 0, entry.offset
        for piece in pieces:
            with write_errors(self.path):
                crc = extend_crc32c(crc, piece)
                write_at(self._handle(entry.shard), piece, offset)
            offset += len(piece)
        self._entries[spec.name] = replace(entry, crc32c=mask_crc32c(crc))

    def _handle(self, shard: int) -> int:
        """A shard's temporary file, open; only the last one used is, for there may be thousands."""
        if shard not in self._handles:
            self._close()
            self._handles[shard] = os.open(self._temporaries[self._targets[shard]], os.O_WRONLY | os.O_CLOEXEC)
        return self._handles[shard]

    def _close(self) -> None:
        while self._handles:
            os.close(self._handles.popitem()[1])

    def _commit(self) -> None:
        self._close()
        index_target = f"{self.path}.index"
        self._temporaries[index_target] = temporary_path(index_target)
        Path(self._temporaries[index_target]).write_bytes(self._encode_index())
        for temporary in self._temporaries.values():
            with Path(temporary).open("r+b") as file:
                os.fsync(file.fileno())
        if any(Path(target).exists() for target in self._targets) and Path(index_target).exists():
            Path(self._temporaries[index_target]).chmod(Path(index_target).stat().st_mode & 0o7777)
            remove_file(index_target)
        for target in (*self._targets, index_target):
            replace_file(self._temporaries[target], target)
        for stale in shard_files(self.path).keys() - {os.fspath(Path(target)) for target in self._targets}:
            remove_file(stale)
        if self._write_state:
            write_state_file(self.path)

    def abort(self) -> None:
        """Remove the temporary files. Aborting twice, or after a commit, does nothing."""
        self._close()
        for temporary in self._temporaries.values():
            remove_file(temporary)

    def _encode_index(self) -> bytes:
        header = encode_header(BundleHeader(len(self._targets), self.metadata))
        entries = [(name.encode(), encode_entry(entry)) for name, entry in self._entries.items()]
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
