"""TensorFlow's V2 checkpoints: ``PREFIX.index`` and ``PREFIX.data-SSSSS-of-NNNNN``.

The index is a table of names (``leveldb_table``), each with dtype, shape, place and checksum (``bundle_entry``); the
data files are the values back to back. Opening parses the index alone, a few milliseconds for a network; a data file is
opened when a tensor of it is read, so that a checkpoint with missing shards can still be listed.

Reading: sizes are checked against the shape when the index is parsed and against the data file's real size before
memory is taken. Bytes go from the file straight into the array, in pieces that are still in the processor's cache when
their checksum is computed. Reads name their offset (``preadv``), so threads can share a reader.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from resport.dtypes import OPAQUE
from resport.errors import ChecksumError, FormatError, OptionError
from resport.formats.base import Buffer, Reader
from resport.formats.bundle_data import empty_array, parse_strings, read_into
from resport.formats.bundle_entry import (
    BUNDLE_FORMAT,
    BUNDLE_HEADER_KEY,
    BundleEntry,
    BundleHeader,
    is_utf8,
    parse_entry,
    parse_header,
)
from resport.formats.checkpoint_path import missing_index_error, shard_path
from resport.formats.crc32c import extend_crc32c
from resport.formats.damage import located, quoted
from resport.formats.leveldb_table import LevelDBTable, mask_crc32c
from resport.formats.object_graph import OBJECT_GRAPH_KEY, parse_object_graph, shown_names
from resport.formats.positioned import all_pieces_at
from resport.formats.source import read_head, refuse_foreign
from resport.formats.tensor_slice import check_cover, resolve_slice, slice_key
from resport.tensors import Manifest

if TYPE_CHECKING:
    import numpy as np

BUNDLE_MAX_INDEX_BYTES = 24 << 20
"""A network has some ten thousand tensors at most, of a hundred bytes each in the index."""
BUNDLE_MAX_TENSORS = 1 << 18

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
        self._open_shards: dict[str, tuple[BinaryIO, int]] = {}
        self._is_closed = False
        header, entries = self._read_index()
        self.shards = tuple(shard_path(path, shard, header.n_shards) for shard in range(header.n_shards))
        self.files = (self._index_path, *self.shards)
        self.metadata = header.metadata
        self._parts: dict[str, list[Part]] = {}
        self._entries = self._join_slices(entries)
        self.keys = self._find_names()
        specs = ((name, self._entries[key].spec) for name, key in self.keys.items())
        self.manifest = Manifest(spec if spec.name == name else replace(spec, name=name) for name, spec in specs)

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

    def pieces(self, name: str) -> Iterator[Buffer]:
        """Read one tensor piece by piece; see ``Reader.pieces``."""
        if not self._is_in_one_piece(name):
            yield from super().pieces(name)
            return
        crc = 0
        for piece in self.unchecked_pieces(name):
            crc = extend_crc32c(crc, piece)
            yield piece
        self.check(name, crc)

    def unchecked_pieces(self, name: str) -> Iterator[Buffer]:
        """Read one tensor piece by piece; see ``Reader.unchecked_pieces``."""
        if not self._is_in_one_piece(name):
            yield from super().pieces(name)
            return
        entry = self._entries[self.keys[name]]
        file, path = self._locate(entry), self.shards[entry.shard]

        def shortened(n_read: int) -> FormatError:
            return FormatError(f"`{path}` became shorter while it was read", path=path, offset=entry.offset + n_read)

        yield from all_pieces_at(file.fileno(), entry.offset, entry.spec.nbytes, shortened)

    def check(self, name: str, crc: int) -> None:
        """Hold a tensor's CRC-32C against the index; see ``Reader.check``."""
        if self._is_in_one_piece(name):
            self._check_crc(self._entries[self.keys[name]], crc)

    def _is_in_one_piece(self, name: str) -> bool:
        """Whether the bytes of a tensor lie in the file as they are; those of others are put together and checked."""
        key = self.keys[name]
        return key not in self._parts and self._entries[key].spec.dtype not in OPAQUE

    def close(self) -> None:
        """Close the data files. Closing twice is allowed."""
        with self._lock:
            self._is_closed = True
            while self._open_shards:
                self._open_shards.popitem()[1][0].close()

    def _read_index(self) -> tuple[BundleHeader, dict[bytes, BundleEntry]]:
        """The header and all entries, those of slices included, by key and in the order of the index."""
        if not Path(self._index_path).is_file():
            raise missing_index_error(self.path)
        with LevelDBTable(self._index_path, max_block_bytes=BUNDLE_MAX_INDEX_BYTES) as table:
            if table.size_bytes > BUNDLE_MAX_INDEX_BYTES:
                raise FormatError(
                    f"`{self._index_path}` is too large for an index of tensors",
                    expected=f"at most {BUNDLE_MAX_INDEX_BYTES} bytes",
                    got=f"{table.size_bytes} bytes",
                    path=self._index_path,
                )
            items = dict(islice(table.items(), BUNDLE_MAX_TENSORS + 1))
        if len(items) > BUNDLE_MAX_TENSORS:
            raise FormatError(
                f"`{self._index_path}` has more entries than any network",
                expected=f"at most {BUNDLE_MAX_TENSORS}",
                path=self._index_path,
            )
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
            if graph.size_bytes > BUNDLE_MAX_INDEX_BYTES:
                raise FormatError(
                    f"the object graph in `{self.shards[graph.shard]}` is too large",
                    expected=f"at most {BUNDLE_MAX_INDEX_BYTES} bytes",
                    got=f"{graph.size_bytes} bytes",
                    path=self.shards[graph.shard],
                    offset=graph.offset,
                )
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
                    opened = Path(path).open("rb", buffering=0)
                except OSError as error:
                    raise FormatError(f"`{path}` cannot be read: {error.strerror or error}", path=path) from error
                self._open_shards[path] = opened, os.fstat(opened.fileno()).st_size
            file, size_bytes = self._open_shards[path]
        if entry.offset + entry.size_bytes > size_bytes:
            refuse_foreign(path, read_head(path))
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
        self._check_crc(entry, crc)
        return array

    def _check_crc(self, entry: BundleEntry, crc: int) -> None:
        """Hold the plain CRC-32C of an entry's bytes against the index."""
        if self._verify_checksums and mask_crc32c(crc) != entry.crc32c:
            path = self.shards[entry.shard]
            raise ChecksumError(
                f"checksum of {quoted(entry.spec.name)} in `{path}` is wrong, "
                f"bytes {entry.offset}-{entry.offset + entry.size_bytes}",
                expected=f"{entry.crc32c:#010x}",
                got=f"{mask_crc32c(crc):#010x}",
                path=path,
                offset=entry.offset,
            )


def _find_parts(entry: BundleEntry, entries: Mapping[bytes, BundleEntry]) -> tuple[list[bytes], list[Part]]:
    """The keys and entries of a partitioned tensor's slices, checked to make it up."""
    spec = entry.spec
    keys, parts = [], []
    for extents in entry.slices:
        bounds = resolve_slice(spec.shape, extents)
        key = slice_key(spec.name, extents)
        part = entries.get(key)
        if part is None:
            raise FormatError("the index does not have one of its slices", got=f"no slice {bounds}"[:200])
        shape = tuple(stop - start for start, stop in bounds)
        if part.slices or (part.spec.shape, part.spec.dtype) != (shape, spec.dtype):
            raise FormatError(
                "one of its slices does not fit",
                expected=f"{shape} {spec.dtype}",
                got=f"{part.spec.shape} {part.spec.dtype}",
            )
        keys.append(key)
        parts.append((bounds, part._replace(spec=replace(part.spec, name=spec.name))))
    check_cover(spec.shape, [bounds for bounds, _ in parts])
    return keys, parts


def _check_name(name: str) -> None:
    if not is_utf8(name):
        raise FormatError("its name is not UTF-8, and it is no slice of a tensor in the index")
