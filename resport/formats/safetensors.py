"""safetensors: eight bytes of header length, a JSON header, the values.

The container is read and written here rather than by the library: the library's writer takes arrays that are not
C-contiguous for contiguous ones, and does not keep the order of metadata from run to run. The header lists the tensors
in the order of the specs. Their values are laid out by falling item size, so that each begins on a multiple of it
without a gap, which the format forbids.

The header is checked as a whole before the first value is read: its length against the file's, every tensor's bytes
against its shape, and that the tensors together cover the data without holes or overlaps.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

from resport.dtypes import BY_NAME, BY_SAFETENSORS, to_numpy
from resport.errors import FormatError
from resport.formats.base import Buffer, Reader, bytes_of
from resport.formats.json_text import parse_json
from resport.formats.positioned import all_pieces_at, read_at
from resport.formats.registry import SAFETENSORS_MAX_HEADER_BYTES
from resport.formats.single_file import PlacedFileWriter
from resport.formats.source import read_head, refuse_foreign, regular_file_size
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import numpy as np

SAFETENSORS_LENGTH_BYTES = 8
SAFETENSORS_ALIGNMENT_BYTES = 8
SAFETENSORS_METADATA_KEY = "__metadata__"
# numpy's own limits since version 2 (32 axes before); a longer shape could not be read, only multiplied for hours.
MAX_AXES = 64
MAX_ARRAY_BYTES = 2**63 - 1


class SafetensorsReader(Reader):
    """A safetensors file.

    Args:
        path: the file.

    Raises:
        SourceNotFoundError: nothing is there.
        FormatError: the file is damaged or no safetensors file.
    """

    format: ClassVar[str] = "safetensors"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.files = (self.path,)
        size = regular_file_size(self.path)
        self._file = Path(self.path).open("rb", buffering=0)
        try:
            header, data_offset = _read_header(self._file.fileno(), size, self.path)
            self.metadata = _metadata(header.pop(SAFETENSORS_METADATA_KEY, None), self.path)
            entries = {name: _entry(name, value, self.path) for name, value in header.items()}
            _check_coverage(entries, size - data_offset, self.path)
            self.manifest = Manifest(spec for spec, _ in entries.values())
            self._offsets = {name: data_offset + begin for name, (_, begin) in entries.items()}
        except BaseException:
            self._file.close()
            raise

    def read(self, name: str) -> np.ndarray:
        import numpy as np

        spec = self.manifest[name]
        array = np.empty(spec.shape, to_numpy(spec.dtype))
        n_read = read_at(self._file.fileno(), bytes_of(array), self._offsets[name])
        if n_read < spec.nbytes:
            raise self._shortened(spec, n_read)
        return array

    def pieces(self, name: str) -> Iterator[Buffer]:
        spec = self.manifest[name]
        shortened = partial(self._shortened, spec)
        yield from all_pieces_at(self._file.fileno(), self._offsets[name], spec.nbytes, shortened)

    def _shortened(self, spec: TensorSpec, n_read: int) -> FormatError:
        return FormatError(
            f"`{self.path}` ends inside tensor `{spec.name}`",
            path=self.path,
            offset=self._offsets[spec.name] + n_read,
            expected=f"{spec.nbytes} bytes",
            got=f"{n_read} bytes",
        )

    def close(self) -> None:
        self._file.close()


class SafetensorsWriter(PlacedFileWriter):
    """A new safetensors file.

    Args:
        path: the file.
        specs: every tensor that will be written, in the order of the header.
        metadata: text to keep in the header.

    Raises:
        FormatError: a name or dtype that the format cannot hold, or a header over the format's limit.
    """

    format: ClassVar[str] = "safetensors"
    dtypes: ClassVar[frozenset[str]] = frozenset(dtype.name for dtype in BY_SAFETENSORS.values())
    is_resumable: ClassVar[bool] = True

    _listing: str | None = None
    """The tensors in the header, when they are laid out: no metadata changes them."""

    def _lay_out(self) -> bytes:
        if self._listing is not None:
            return _header_bytes(self._listing, self.metadata, self.path)
        begins = _lay_out(self.manifest)
        self._listing = _listing(self.manifest, begins)
        header = _header_bytes(self._listing, self.metadata, self.path)
        self._offsets = {name: len(header) + begin for name, begin in begins.items()}
        return header

    def _n_bytes(self, head: bytes) -> int:
        return len(head) + self.manifest.nbytes

    @classmethod
    def problems(cls, manifest: Manifest) -> list[str]:
        problems = super().problems(manifest)
        for name in manifest:
            if name == SAFETENSORS_METADATA_KEY:
                problems.append(f"`{name}` is the header's key for metadata and no tensor's name")
            elif not is_unicode(name):
                problems.append(f"{name!r} is not valid Unicode text")
        return problems


def _read_header(handle: int, size: int, path: str) -> tuple[dict[str, Any], int]:
    """Read and parse the JSON header.

    Returns:
        The header, and the offset at which the data begins.
    """
    length = int.from_bytes(os.pread(handle, SAFETENSORS_LENGTH_BYTES, 0), "little")
    data_offset = SAFETENSORS_LENGTH_BYTES + length
    if size < SAFETENSORS_LENGTH_BYTES or data_offset > size:
        refuse_foreign(path, read_head(path))
        raise FormatError(
            f"`{path}` ends before its safetensors header does",
            path=path,
            offset=size,
            expected=f"at least {max(data_offset, SAFETENSORS_LENGTH_BYTES)} bytes",
            got=f"{size} bytes",
            hint="the download or copy was cut short, or this is no safetensors file",
        )
    if length > SAFETENSORS_MAX_HEADER_BYTES:
        raise FormatError(
            f"the header of `{path}` is longer than any that is read",
            path=path,
            offset=0,
            expected=f"at most {SAFETENSORS_MAX_HEADER_BYTES} bytes",
            got=f"{length} bytes",
        )
    text = os.pread(handle, length, SAFETENSORS_LENGTH_BYTES)
    return _parse_header(text, path), data_offset


def _parse_header(text: bytes, path: str) -> dict[str, Any]:
    try:
        header = parse_json(text, unique=True)
    except ValueError as error:
        raise FormatError(f"the header of `{path}` is not valid JSON: {error}", path=path, offset=8) from error
    if not isinstance(header, dict) or not text.startswith(b"{"):
        raise FormatError(f"the header of `{path}` is not a JSON object", path=path, offset=8)
    return header


def _metadata(value: Any, path: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise FormatError(f"the metadata in `{path}` is not a map from text to text", path=path, offset=8)
    return dict(value)


def _entry(name: str, value: Any, path: str) -> tuple[TensorSpec, int]:
    """Check one tensor's entry.

    Returns:
        The tensor's spec and where its bytes begin, counted from the begin of the data.
    """

    def fault(what: str, **details: Any) -> FormatError:
        return FormatError(f"tensor {name!r} in `{path}` {what}", path=path, offset=8, **details)

    if not is_unicode(name):
        raise fault("has a name that is not valid Unicode text")
    if not isinstance(value, dict):
        raise fault("has no dtype, shape and data_offsets")
    code, shape, offsets = value.get("dtype"), value.get("shape"), value.get("data_offsets")
    dtype = BY_SAFETENSORS.get(code) if isinstance(code, str) else None
    if dtype is None:
        raise fault("has an unknown dtype", expected=f"one of {', '.join(BY_SAFETENSORS)}", got=code)
    if not _are_counts(shape) or len(shape) > MAX_AXES:
        raise fault("has no valid shape", got=_short(shape))
    # Axes of size 0 count as 1: numpy refuses the array all the same.
    if math.prod([axis or 1 for axis in shape]) * dtype.itemsize > MAX_ARRAY_BYTES:
        raise fault("has a shape that no memory can hold", got=_short(shape))
    if not _are_counts(offsets) or len(offsets) != 2:
        raise fault("has no valid data_offsets", got=_short(offsets))
    spec = TensorSpec(name, tuple(shape), dtype.name)
    begin, end = offsets
    if end - begin != spec.nbytes:
        raise fault(
            f"has {end - begin} bytes, which is not its shape times its dtype",
            expected=f"{spec.nbytes} bytes for {spec.shape} {spec.dtype}",
            got=f"{begin} to {end}",
        )
    return spec, begin


def _are_counts(value: Any) -> TypeGuard[list[int]]:
    # `type() is int`, because True and False are instances of int; and no number so long that multiplying it hurts.
    return isinstance(value, list) and all(type(number) is int and 0 <= number <= MAX_ARRAY_BYTES for number in value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _check_coverage(entries: Mapping[str, tuple[TensorSpec, int]], data_bytes: int, path: str) -> None:
    """Check that the tensors cover the data from its first byte to its last without holes or overlaps."""
    position = 0
    previous = "the header"
    for spec, begin in sorted(entries.values(), key=lambda entry: (entry[1], entry[1] + entry[0].nbytes)):
        if begin != position:
            what = "a hole between" if begin > position else "an overlap of"
            raise FormatError(
                f"`{path}` has {what} {previous} and tensor `{spec.name}`",
                path=path,
                expected=f"data of `{spec.name}` from byte {position}",
                got=f"from byte {begin}",
            )
        position = begin + spec.nbytes
        previous = f"tensor `{spec.name}`"
    if position != data_bytes:
        raise FormatError(
            f"`{path}` has not as many bytes of data as its header says",
            path=path,
            expected=f"{position} bytes",
            got=f"{data_bytes} bytes",
            hint="the download or copy was cut short" if data_bytes < position else None,
        )


def _lay_out(manifest: Manifest) -> dict[str, int]:
    """Where each tensor begins in the data: wide items first, else in order, so that all of them are aligned."""
    begins = {}
    position = 0
    # `sorted` is stable.
    for spec in sorted(manifest.values(), key=lambda spec: -BY_NAME[spec.dtype].itemsize):
        begins[spec.name] = position
        position += spec.nbytes
    return begins


def _listing(manifest: Manifest, begins: Mapping[str, int]) -> str:
    """The tensors' part of the JSON header, without the brackets around it."""
    entries = {
        name: {
            "dtype": BY_NAME[spec.dtype].safetensors,
            "shape": list(spec.shape),
            "data_offsets": [begins[name], begins[name] + spec.nbytes],
        }
        for name, spec in manifest.items()
    }
    return _json(entries)[1:-1]


def _header_bytes(listing: str, metadata: Mapping[str, str], path: str) -> bytes:
    """The length and the JSON header, padded with spaces so that the data is aligned."""
    first = _json({SAFETENSORS_METADATA_KEY: dict(sorted(metadata.items()))})[1:-1] if metadata else ""
    try:
        text = f"{{{','.join(filter(None, (first, listing)))}}}".encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"the metadata for `{path}` is not valid Unicode text", path=path) from error
    text += b" " * (-len(text) % SAFETENSORS_ALIGNMENT_BYTES)
    if len(text) > SAFETENSORS_MAX_HEADER_BYTES:
        raise FormatError(
            f"the header of `{path}` would be longer than safetensors allows",
            path=path,
            expected=f"at most {SAFETENSORS_MAX_HEADER_BYTES} bytes",
            got=f"{len(text)} bytes",
        )
    return len(text).to_bytes(SAFETENSORS_LENGTH_BYTES, "little") + text


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def is_unicode(text: str) -> bool:
    """Whether a text has no half of a surrogate pair, which no file can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
