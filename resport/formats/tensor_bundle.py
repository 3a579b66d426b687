"""TensorFlow's V2 checkpoints: ``PREFIX.index`` and ``PREFIX.data-SSSSS-of-NNNNN``.

The index is a table of names (``leveldb_table``), each with dtype, shape, place and checksum (``bundle_entry``); the
data files are the values back to back. Opening parses the index alone, a few milliseconds for a network; a data file is
opened when a tensor of it is read, so that a checkpoint with missing shards can still be listed.

Reading: sizes are checked against the shape when the index is parsed and against the data file's real size before
memory is taken. Bytes go from the file straight into the array, in pieces that are still in the processor's cache when
their checksum is computed. Reads name their offset (``preadv``), so threads can share a reader.

Writing: every offset follows from the specs, so values may come in any order and the bytes are the same; entries and
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
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from resport.dtypes import DTYPES, OPAQUE
from resport.errors import ChecksumError, FormatError, OptionError
from resport.formats.atomic import remove_file, replace_file, temporary_path
from resport.formats.base import Reader, Writer
from resport.formats.bundle_data import empty_array, parse_strings, read_into, write_array
from resport.formats.bundle_entry import (
    BUNDLE_MAX_SHARDS,
    BundleEntry,
    BundleHeader,
    encode_entry,
    encode_header,
    parse_entry,
    parse_header,
)
from resport.formats.checkpoint_path import missing_index_error, shard_files, shard_path, write_state_file
from resport.formats.damage import located, quoted
from resport.formats.leveldb_table import LevelDBTable, mask_crc32c
from resport.formats.leveldb_writer import encode_table
from resport.formats.object_graph import OBJECT_GRAPH_KEY, parse_object_graph, shown_names
from resport.formats.tensor_slice import check_cover, resolve_slice, slice_key
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import numpy as np

BUNDLE_FORMAT = "tensorflow-v2"
BUNDLE_HEADER_KEY = b""
BUNDLE_MAX_INDEX_BYTES = 256 << 20
"""An index with four million tensors; a larger file is something else."""

Part = tuple[tuple[tuple[int, int], ...], BundleEntry]
"""Start and stop on each axis of a partitioned tensor, and the entry of the data there."""


class TensorBundleReader(Reader):
    """An open V2 checkpoint.

    Args:
        path: the prefix; ``checkpoint_path.resolve_prefix`` finds it for other paths.
        verify_checksums: whether values are checked against the checksums in the index. The index itself always is.

    Attributes:
        shards: the paths of the data files.
        keys: for each name of the manifest the name in the file; another one in TF2's object-graph checkpoints.

    Raises:
        SourceNotFoundError: there is no index.
        FormatError: the index is damaged, big-endian, or of a later version.
    """

    format: ClassVar[str] = BUNDLE_FORMAT

    def __init__(self, path: str, *, verify_checksums: bool = True) -> None:
        self.path = path
        self._index_path = f"{path}.index"
        self._verify_checksums = verify_checksums
        self._lock = threading.Lock()
        self._open_shards: dict[str, BinaryIO] = {}
        self._is_closed = False
        header, entries = self._read_index()
        self.shards = tuple(shard_path(path, shard, header.n_shards) for shard in range(header.n_shards))
        self.files = (self._index_path, *self.shards)
        self.metadata = header.metadata
        self._parts: dict[str, list[Part]] = {}
        self._entries = self._join_slices(entries)
        self.keys = self._find_names()
        self.manifest = Manifest(replace(self._entries[key].spec, name=name) for name, key in self.keys.items())

    def read(self, name: str) -> np.ndarray:
        """Read one tensor; see ``Reader.read``. Partitioned tensors are put together."""
        entry = self._entries[self.keys[name]]
        parts = self._parts.get(self.keys[name])
        if parts is None:
            return self._read_data(entry)
        for _, part in parts:  # all of them, before memory is taken for the whole
            self._locate(part)
        array = empty_array(entry.spec, self._index_path)
        for bounds, part in parts:
            array[tuple(slice(start, stop) for start, stop in bounds)] = self._read_data(part)
        return array

    def close(self) -> None:
        """Close the data files. Closing twice is allowed."""
        with self._lock:
            self._is_closed = True
            while self._open_shards:
                self._open_shards.popitem()[1].close()

    def _read_index(self) -> tuple[BundleHeader, dict[bytes, BundleEntry]]:
        """The header and all entries, those of slices included, by key and in the order of the index."""
        if not Path(self._index_path).is_file():
            raise missing_index_error(self.path)
        with LevelDBTable(self._index_path) as table:
            if table.size_bytes > BUNDLE_MAX_INDEX_BYTES:
                raise FormatError(
                    f"`{self._index_path}` is too large for an index of tensors",
                    expected=f"at most {BUNDLE_MAX_INDEX_BYTES} bytes",
                    got=f"{table.size_bytes} bytes",
                    path=self._index_path,
                )
            items = dict(table.items())
        if BUNDLE_HEADER_KEY not in items:
            raise FormatError(
                f"`{self._index_path}` is no index of a V2 checkpoint, it has no header", path=self._index_path
            )
        with located("the header", self._index_path):
            header = parse_header(items.pop(BUNDLE_HEADER_KEY))
        entries = {}
        for key, value in items.items():
            # The keys of slices are not UTF-8; of the names that remain without them it is required below.
            name = key.decode("utf-8", "surrogateescape")
            with located("the entry of", self._index_path, name):
                entries[key] = parse_entry(name, value)
                if entries[key].shard >= header.n_shards:
                    raise FormatError(
                        "its shard does not exist", expected=f"below {header.n_shards}", got=entries[key].shard
                    )
        return header, entries

    def _join_slices(self, entries: dict[bytes, BundleEntry]) -> dict[str, BundleEntry]:
        """Hang the slices of partitioned tensors on these, and leave the entries of whole tensors by name."""
        claimed: set[bytes] = set()
        for entry in entries.values():
            if entry.slices:
                with located("the entry of", self._index_path, entry.spec.name):
                    _check_name(entry.spec.name)
                    keys, self._parts[entry.spec.name] = _find_parts(entry, entries)
                    claimed.update(keys)
        whole = {}
        for key, entry in entries.items():
            if key not in claimed:
                with located("the entry of", self._index_path, entry.spec.name):
                    _check_name(entry.spec.name)
                whole[entry.spec.name] = entry
        return whole

    def _find_names(self) -> dict[str, str]:
        """The key of each name; the keys are the names where the file has no object graph that could be read."""
        graph = self._entries.get(OBJECT_GRAPH_KEY)
        if graph is None or graph.spec.dtype != "string" or not Path(self.shards[graph.shard]).is_file():
            return {key: key for key in self._entries}
        try:
            data = b"".join(self._read_data(graph).reshape(-1))
            with located("the object graph", self.shards[graph.shard]):
                return shown_names(self._entries, parse_object_graph(data))
        except BaseException:
            self.close()
            raise

    def _locate(self, entry: BundleEntry) -> BinaryIO:
        """The data file of an entry, which is checked to reach as far as the entry's data."""
        path = self.shards[entry.shard]
        with self._lock:
            if self._is_closed:
                raise OptionError(f"`{self.path}` is closed")
            if path not in self._open_shards:
                if not Path(path).is_file():
                    raise FormatError(
                        f"`{path}` is missing, which holds {quoted(entry.spec.name)} of `{self.path}`",
                        path=path,
                        hint=f"put all {len(self.shards)} data files beside {self._index_path}",
                    )
                try:
                    self._open_shards[path] = Path(path).open("rb", buffering=0)
                except OSError as error:
                    raise FormatError(f"`{path}` cannot be read: {error.strerror or error}", path=path) from error
            file = self._open_shards[path]
        size_bytes = os.fstat(file.fileno()).st_size
        if entry.offset + entry.size_bytes > size_bytes:
            raise FormatError(
                f"`{path}` is too short for {quoted(entry.spec.name)}",
                expected=f"at least {entry.offset + entry.size_bytes} bytes",
                got=f"{size_bytes} bytes",
                path=path,
                offset=size_bytes,
            )
        return file

    def _read_data(self, entry: BundleEntry) -> np.ndarray:
        """Read the values that an entry points to, and verify them."""
        import numpy as np

        path, spec = self.shards[entry.shard], entry.spec
        if spec.dtype in OPAQUE - {"string"}:
            raise FormatError(f"{quoted(spec.name)} in `{path}` is a {spec.dtype}, which has no values", path=path)
        file = self._locate(entry)
        if spec.dtype == "string":
            raw = np.empty(entry.size_bytes, np.uint8)
            read_into(file, raw, entry.offset, path)
            with located("the string tensor", path, spec.name):
                strings, crc = parse_strings(raw.tobytes(), spec.size)
            array = np.empty(spec.shape, object)
            array.reshape(-1)[:] = strings
        else:
            array = empty_array(spec, self._index_path)
            crc = read_into(file, array.reshape(-1).view(np.uint8), entry.offset, path)
        if self._verify_checksums and mask_crc32c(crc) != entry.crc32c:
            raise ChecksumError(
                f"checksum of {quoted(spec.name)} in `{path}` is wrong, "
                f"bytes {entry.offset}-{entry.offset + entry.size_bytes}",
                expected=f"{entry.crc32c:#010x}",
                got=f"{mask_crc32c(crc):#010x}",
                path=path,
                offset=entry.offset,
            )
        return array


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
            if not name or not _is_utf8(name)
        ]
        return super().problems(manifest) + names

    def _write(self, spec: TensorSpec, array: np.ndarray) -> None:
        import numpy as np

        entry = self._entries[spec.name]
        raw = array.reshape(-1).view(np.uint8)
        with Path(self._temporaries[self._targets[entry.shard]]).open("r+b", buffering=0) as file:
            crc = write_array(file, raw, entry.offset)
        self._entries[spec.name] = replace(entry, crc32c=mask_crc32c(crc))

    def _commit(self) -> None:
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


def _find_parts(entry: BundleEntry, entries: Mapping[bytes, BundleEntry]) -> tuple[list[bytes], list[Part]]:
    """The keys and entries of a partitioned tensor's slices, checked to make it up."""
    spec = entry.spec
    keys, parts = [], []
    for extents in entry.slices:
        bounds = resolve_slice(spec.shape, extents)
        key = slice_key(spec.name, extents)
        part = entries.get(key)
        if part is None:
            raise FormatError("the index does not have one of its slices", got=f"no slice {bounds}")
        shape = tuple(stop - start for start, stop in bounds)
        if part.slices or (part.spec.shape, part.spec.dtype) != (shape, spec.dtype):
            raise FormatError(
                "one of its slices does not fit",
                expected=f"{shape} {spec.dtype}",
                got=f"{part.spec.shape} {part.spec.dtype}",
            )
        keys.append(key)
        parts.append((bounds, replace(part, spec=replace(part.spec, name=spec.name))))
    check_cover(spec.shape, [bounds for bounds, _ in parts])
    return keys, parts


def _check_name(name: str) -> None:
    if not _is_utf8(name):
        raise FormatError("its name is not UTF-8, and it is no slice of a tensor in the index")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
