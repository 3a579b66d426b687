"""``.keras`` archives of Keras 3: a zip file with a model's description, and its weights in a ``.weights.h5``.

    metadata.json       which Keras wrote it
    config.json         the model: its layers, their names, classes and settings
    model.weights.h5    the weights, at places made of classes and counters

Nothing is unpacked under a name of the archive. A weights member that is stored as it is, which is how Keras stores it,
is read where it lies; only a compressed one goes to a temporary file, which has no name. The description gives layers
their names where the weights have none. Code in it (Lambda layers) is never run, other members (assets, pickles) never
opened; ``note`` says that they are there.

Whether the weights are those that were written is checked once, before the first value is read, and not when an archive
is only listed: it needs all of the member's bytes.
"""

from __future__ import annotations

import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar

from resport.errors import ChecksumError, FormatError, OptionError
from resport.formats.base import Buffer
from resport.formats.damage import located, quoted
from resport.formats.file_window import FileWindow
from resport.formats.keras_config import CONFIG_MAX_BYTES, LayerConfig, find_layers, parse_config, to_snake_case
from resport.formats.keras_layers import LAYER_VARIABLES, split_name
from resport.formats.keras_weights import KerasWeightsReader, KerasWeightsWriter
from resport.formats.positioned import pieces_at
from resport.formats.source import regular_file_size
from resport.formats.zip_directory import ZIP_STORED, ZipMember, encode_directory, encode_local, read_directory
from resport.formats.zip_member import check_readable, inflate
from resport.tensors import TensorSpec

if TYPE_CHECKING:
    import numpy as np

ARCHIVE_METADATA = "metadata.json"
ARCHIVE_CONFIG = "config.json"
ARCHIVE_WEIGHTS = "model.weights.h5"
ARCHIVE_MEMBERS = (ARCHIVE_METADATA, ARCHIVE_CONFIG, ARCHIVE_WEIGHTS)
ARCHIVE_KEYS = "model_config"
# The rules that an archive of ours follows, not the program that wrote it; and no clock, so that the bytes never vary.
_WRITTEN_METADATA = b'{"keras_version": "3.0.0", "date_saved": "1980-01-01@00:00:00"}'
# Their layers have variables whatever their settings are.
_NEVER_EMPTY = frozenset(LAYER_VARIABLES) - {"layer_normalization", "group_normalization", "rms_normalization"}


def is_keras_archive(head: bytes, path: str) -> bool:
    """Whether a file is a zip file that begins as Keras' archives do, or is called as they are."""
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return False
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return first in {name.encode() for name in ARCHIVE_MEMBERS} or path.lower().endswith(".keras")


class KerasArchiveReader(KerasWeightsReader):
    """A ``.keras`` archive.

    Args:
        path: the file.

    Raises:
        SourceNotFoundError: nothing is there.
        FormatError: the file is damaged, encrypted, a bomb, or has no weights that are read.
    """

    format: ClassVar[str] = "keras-archive"
    reserved: ClassVar[re.Pattern[str]] = re.compile(ARCHIVE_KEYS)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        name = os.fspath(path)
        size_bytes = regular_file_size(name)
        self._unpacked: IO[bytes] | None = None
        self._opened = []
        self._archive = Path(name).open("rb", buffering=0)
        try:
            directory = read_directory(self._archive.fileno(), size_bytes, name)
            members = {member.name: member for member in directory.members}
            weights = _weights_member(members, name)
            config = self._text(members, ARCHIVE_CONFIG, name)
            described = parse_config(config, name)
            layers = find_layers(described, name)
            self.layer_names = {layer.place: layer.name for layer in layers if layer.name}
            version = parse_config(self._text(members, ARCHIVE_METADATA, name), name).get("keras_version")
            self._unchecked: ZipMember | None = weights
            super().__init__(name, self._window(weights, name))
        except BaseException:
            self.close()
            raise
        self.metadata = {ARCHIVE_KEYS: config, **self.metadata}
        self.producer = f"keras {version}" if isinstance(version, str) else None
        self.note = "; ".join(filter(None, (self.note, _note(members, layers)))) or None

    def _text(self, members: Mapping[str, ZipMember], member: str, path: str) -> str:
        """A short member as text; an empty object for one that is missing, as only its weights are needed."""
        if member not in members:
            return "{}"
        with located("the member", path, member):
            check_readable(members[member])
            if members[member].size_bytes > CONFIG_MAX_BYTES:
                raise FormatError("it is too long", expected=f"at most {CONFIG_MAX_BYTES} bytes")
            data = b"".join(map(bytes, _pieces(self._archive.fileno(), members[member])))
            try:
                return data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise FormatError(f"it is no text: {error}") from None

    def _window(self, member: ZipMember, path: str) -> FileWindow:
        """The bytes of the weights: where they lie, or in a temporary file if they are compressed."""
        with located("the member", path, member.name):
            check_readable(member)
            if member.method == ZIP_STORED:
                return FileWindow(self._archive.fileno(), member.data_offset, member.size_bytes)
            try:
                self._unpacked = tempfile.TemporaryFile(buffering=0)
                for piece in _pieces(self._archive.fileno(), member):
                    self._unpacked.write(piece)
            except OSError as error:
                raise FormatError(
                    f"it cannot be unpacked: {error.strerror}", hint="set TMPDIR to a larger disk"
                ) from None
            self._unchecked = None
            return FileWindow(self._unpacked.fileno(), 0, member.size_bytes)

    def read(self, name: str) -> np.ndarray:
        self._check_member()
        return super().read(name)

    def pieces(self, name: str) -> Iterator[Buffer]:
        self._check_member()
        return super().pieces(name)

    def _check_member(self) -> None:
        """Hold the weights against the checksum of their member, before the first value is read."""
        if self._unchecked is not None:
            with located("the member", self.path, self._unchecked.name):
                for _ in _pieces(self._archive.fileno(), self._unchecked):
                    pass
            self._unchecked = None

    def close(self) -> None:
        super().close()
        self._archive.close()
        if self._unpacked is not None:
            self._unpacked.close()


def _pieces(handle: int, member: ZipMember) -> Iterable[Buffer]:
    """The bytes of a member piece by piece, each valid until the next is asked for.

    Behind the last, size and checksum are compared.
    """
    crc = 0
    size = 0
    is_stored = member.method == ZIP_STORED
    place = handle, member.data_offset, member.size_bytes
    for piece in pieces_at(*place) if is_stored else inflate(handle, member):
        crc = zlib.crc32(piece, crc)
        size += len(piece)
        if size > member.size_bytes:
            break
        yield piece
    if size != member.size_bytes:
        raise FormatError("it is not as long as the directory says", expected=f"{member.size_bytes} bytes")
    if crc != member.crc32:
        raise ChecksumError(
            "its checksum is wrong", expected=f"{member.crc32:#010x}", got=f"{crc:#010x}", offset=member.data_offset
        )


def _weights_member(members: Mapping[str, ZipMember], path: str) -> ZipMember:
    if ARCHIVE_WEIGHTS in members:
        return members[ARCHIVE_WEIGHTS]
    raise FormatError(
        f"`{path}` is a zip file without a Keras model's weights",
        path=path,
        expected=f"a member `{ARCHIVE_WEIGHTS}`",
        got=", ".join(map(quoted, list(members)[:8])) or "no members",
    )


def _note(members: Mapping[str, ZipMember], layers: list[LayerConfig]) -> str | None:
    notes = []
    code = [layer.full_name for layer in layers if layer.class_name in {"Lambda", "__lambda__"}]
    if code:
        notes.append(f"the code of its Lambda layers is not run: {', '.join(map(quoted, code[:10]))}")
    others = [name for name in members if name not in ARCHIVE_MEMBERS and not name.endswith("/")]
    if others:
        notes.append(f"what is no weights was left out: {', '.join(map(quoted, others[:10]))}")
    return "; ".join(notes) or None


class KerasArchiveWriter(KerasWeightsWriter):
    """A new ``.keras`` archive, which Keras 3 opens as a whole model.

    The weights go where the description says that their layers are. The file is stored without compression and holds
    no time.

    Args:
        path: the file.
        specs: every tensor that will be written, named ``layer/variable``.
        metadata: text to keep as attributes of the weights' root.
        config: the model's description, as ``keras.Model.to_json`` gives it.

    Raises:
        FormatError: a name, dtype or text that the format cannot hold, or layers that are in one of description and
            tensors only.
        OptionError: there is no description, or it is none.
    """

    format: ClassVar[str] = "keras-archive"
    reserved: ClassVar[re.Pattern[str]] = re.compile(ARCHIVE_KEYS)

    def __init__(
        self,
        path: str | os.PathLike[str],
        specs: Iterable[TensorSpec],
        *,
        metadata: Mapping[str, str] | None = None,
        config: str | None = None,
    ) -> None:
        target = os.fspath(path)
        if config is None:
            raise OptionError(
                f"`{target}` would be a whole model, and the tensors alone don't tell which",
                expected="a model's description, as `model.to_json()` gives it",
                hint="write `.weights.h5` or `.h5`, which hold weights alone",
            )
        specs = list(specs)
        self._config = config
        self._described = _described_layers(config, specs, target)
        super().__init__(target, specs, metadata=metadata)

    def _layer_places(self, layers: Mapping[str, list[str]]) -> dict[str, str]:
        return {layer: self._described[layer].place for layer in layers}

    def _layer_name(self, layer: str) -> str:
        return self._described[layer].name

    def _lay_out(self) -> bytes:
        head = super()._lay_out()
        texts = {ARCHIVE_METADATA: _WRITTEN_METADATA, ARCHIVE_CONFIG: self._config.encode()}
        front, self._members = b"", []
        for name, text in texts.items():
            member = ZipMember(name, ZIP_STORED, zlib.crc32(text), len(text), len(text), len(front))
            front += encode_local(member) + text
            self._members.append(member)
        weights = ZipMember(ARCHIVE_WEIGHTS, ZIP_STORED, 0, self._end, self._end, len(front))
        # Its checksum is known in the end.
        front += encode_local(weights)
        self._weights = replace(weights, data_offset=len(front))
        self._offsets = {name: len(front) + offset for name, offset in self._offsets.items()}
        self._texts = {name: len(front) + offset for name, offset in self._texts.items()}
        self._end += len(front)
        return front + head

    def _finish(self) -> None:
        crc = 0
        for piece in pieces_at(self._handle, self._weights.data_offset, self._weights.size_bytes):
            crc = zlib.crc32(piece, crc)
        weights = replace(self._weights, crc32=crc)
        self._write_at(encode_local(weights), weights.offset)
        self._write_at(encode_directory([*self._members, weights], self._end, b""), self._end)
        super()._finish()


def _described_layers(config: str, specs: list[TensorSpec], path: str) -> dict[str, LayerConfig]:
    """The layers of a description by their names, after checking that they are those of the tensors."""
    try:
        layers = find_layers(parse_config(config, path), path)
    except FormatError as error:
        raise OptionError(f"`config` for `{path}` describes no model: {error.message}") from None
    described = {layer.full_name: layer for layer in layers}
    given = {split_name(spec.name)[0] for spec in specs}
    unknown = [layer for layer in given if layer not in described]
    if unknown:
        raise FormatError(f"the model for `{path}` has no layers for some tensors", got=_some(unknown), path=path)
    empty = [name for name, layer in described.items() if to_snake_case(layer.class_name) in _NEVER_EMPTY]
    missing = [name for name in empty if name not in given]
    if missing:
        raise FormatError(f"layers of the model for `{path}` have no tensors", got=_some(missing), path=path)
    return described


def _some(names: list[str]) -> str:
    return ", ".join(map(quoted, sorted(names)[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
