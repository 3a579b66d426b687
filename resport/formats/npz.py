"""NumPy's ``.npz``, a zip file with one ``.npy`` array for each tensor; and a single ``.npy``.

Opening reads the zip directory and the header of each array, no values. A stored member's values go from their place
in the file straight into the array, a deflated one's through one buffer; both are checked against the member's CRC-32.
Nothing is unpickled: arrays of Python objects are refused.

Names. A member ``conv0/W.npy`` is the tensor ``conv0/W``. Tools that dump TensorFlow graphs name a tensor's first
output too, ``conv0/W:0``; where every name of a file ends so, it is cut off, and ``note`` says so. The arrays that
``resport`` itself wrote keep their names as they are.

What numpy can't say stands in places of the zip file that numpy doesn't look at, so that ``numpy.load`` gives exactly
the tensors: a dtype like bfloat16, stored as bytes without a meaning, in an extra field of its member; the metadata, as
JSON, in the comment of the file. A member of its own was not chosen: programs that walk through all arrays of a file
would take it for a weight.
"""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from resport.dtypes import DTYPES, OPAQUE, to_numpy
from resport.errors import ChecksumError, FormatError, OptionError
from resport.formats.base import Reader, bytes_of
from resport.formats.damage import check_text_count, located, quoted
from resport.formats.npy_header import (
    NPY_MAGIC,
    NPY_MAX_HEADER_BYTES,
    NPY_PREFIX_BYTES,
    NpyHeader,
    encode_npy_header,
    npy_descr,
    npy_header_bytes,
    parse_npy_header,
)
from resport.formats.npz_metadata import encode_comment, parse_comment
from resport.formats.single_file import SingleFileWriter
from resport.formats.source import regular_file_size
from resport.formats.zip_directory import (
    ZIP_DTYPE_EXTRA,
    ZIP_MAX_NAME_BYTES,
    ZIP_STORED,
    ZipMember,
    encode_directory,
    encode_local,
    read_directory,
)
from resport.formats.zip_member import MEMBER_CHUNK_BYTES, check_readable, inflate, read_deflated, read_stored
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import numpy as np

NPY_SUFFIX = ".npy"


@dataclass(frozen=True, slots=True)
class NpzArray:
    """One array of a file.

    Attributes:
        member: where its bytes are; for a single .npy, the whole file.
        header: what the array is.
        has_checksum: whether the member's CRC-32 is known.
    """

    member: ZipMember
    header: NpyHeader
    has_checksum: bool


class NpzReader(Reader):
    """A .npz or .npy file.

    Args:
        path: the file.

    Raises:
        SourceNotFoundError: nothing is there.
        FormatError: the file is damaged, encrypted, a bomb, or has an array that holds no weights.
    """

    format: ClassVar[str] = "npz"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.files = (self.path,)
        self.metadata = {}
        size_bytes = regular_file_size(self.path)
        self._file = Path(self.path).open("rb", buffering=0)
        try:
            if os.pread(self.handle, len(NPY_MAGIC), 0) == NPY_MAGIC:
                self._arrays = self._single_array(size_bytes)
            else:
                self._arrays = self._arrays_of_zip(size_bytes)
            specs = (TensorSpec(name, each.header.shape, each.header.dtype) for name, each in self._arrays.items())
            self.manifest = Manifest(specs)
        except BaseException:
            self._file.close()
            raise

    @property
    def handle(self) -> int:
        """The open file."""
        return self._file.fileno()

    def read(self, name: str) -> np.ndarray:
        """Read one tensor; see ``Reader.read``. Text comes in UTF-8."""
        import numpy as np

        spec, header = self.manifest[name], self._arrays[name].header
        dtype = header.text or to_numpy(spec.dtype)
        try:
            array = np.empty(spec.shape[::-1] if header.fortran_order else spec.shape, dtype)
        except ValueError as error:
            raise FormatError(f"{quoted(name)} in `{self.path}` cannot be: {error}", path=self.path) from None
        self._fill(name, bytes_of(array))
        if header.is_big_endian and not header.text:
            array.byteswap(inplace=True)
        if header.fortran_order and array.ndim > 1:
            array = np.array(array.T, order="C")
        with located("the array", self.path, self._arrays[name].member.name):
            return _to_strings(array) if header.text else array

    def close(self) -> None:
        self._file.close()

    def _single_array(self, size_bytes: int) -> dict[str, NpzArray]:
        whole = ZipMember(Path(self.path).name, ZIP_STORED, 0, size_bytes, size_bytes, 0)
        self.note = "a .npy file has no name for its array, which was given that of the file"
        return {Path(self.path).stem: self._array(whole, has_checksum=False)}

    def _arrays_of_zip(self, size_bytes: int) -> dict[str, NpzArray]:
        directory = read_directory(self.handle, size_bytes, self.path)
        comment = parse_comment(directory.comment)
        self.metadata = comment or {}
        members = [member for member in directory.members if member.name.endswith(NPY_SUFFIX)]
        names = [member.name.removesuffix(NPY_SUFFIX) for member in members]
        notes = []
        if names and comment is None and all(len(name) > 2 and name.endswith(":0") for name in names):
            names = [name.removesuffix(":0") for name in names]
            notes.append("every name ends in `:0`, which was cut off")
        others = [member.name for member in directory.members if not member.name.endswith(NPY_SUFFIX)]
        if others and not names:
            raise FormatError(
                f"`{self.path}` is a zip file without arrays",
                path=self.path,
                expected=f"members whose names end in {NPY_SUFFIX}",
                got=", ".join(map(quoted, others[:3])),
            )
        if others:
            notes.append(f"what is no array was left out: {', '.join(map(quoted, others[:10]))}")
        self.note = "; ".join(notes) or None
        return {name: self._array(member, has_checksum=True) for name, member in zip(names, members, strict=True)}

    def _array(self, member: ZipMember, *, has_checksum: bool) -> NpzArray:
        """Read an array's header and check its size against the member's."""
        with located("the array", self.path, member.name):
            check_readable(member)
            n_header = npy_header_bytes(self._head(member, NPY_PREFIX_BYTES))
            head = self._head(member, n_header)
            if len(head) < n_header:
                raise FormatError("it ends inside its header")
            extra = next((field for number, field in member.extra if number == ZIP_DTYPE_EXTRA), b"")
            header = parse_npy_header(head, extra.decode("latin-1"))
            if header.text:
                check_text_count(math.prod(header.shape))
            if header.header_bytes + header.data_bytes != member.size_bytes:
                raise FormatError(
                    "its size is not its shape times its dtype",
                    expected=f"{header.header_bytes + header.data_bytes} bytes for {header.shape} {header.dtype}",
                    got=f"{member.size_bytes} bytes",
                )
        return NpzArray(member, header, has_checksum)

    def _head(self, member: ZipMember, n_bytes: int) -> bytes:
        """The first bytes of a member, uncompressed; fewer where it has no more."""
        n_bytes = min(n_bytes, member.size_bytes)
        if member.method == ZIP_STORED:
            return os.pread(self.handle, n_bytes, member.data_offset)
        head = bytearray()
        for piece in inflate(self.handle, member, min(NPY_MAX_HEADER_BYTES, 4 * n_bytes + 1024)):
            head += piece[: n_bytes - len(head)]
            if len(head) == n_bytes:
                break
        return bytes(head)

    def _fill(self, name: str, view: memoryview) -> None:
        """Read the values into memory and compare the checksum of the whole member."""
        array = self._arrays[name]
        member, n_header = array.member, array.header.header_bytes
        with located("the array", self.path, member.name):
            if member.method == ZIP_STORED:
                crc = zlib.crc32(os.pread(self.handle, n_header, member.data_offset))
                crc = read_stored(self.handle, view, member.data_offset + n_header, crc)
            else:
                crc = read_deflated(self.handle, view, member, n_header)
        if array.has_checksum and crc != member.crc32:
            raise ChecksumError(
                f"checksum of {quoted(name)} in `{self.path}` is wrong",
                expected=f"{member.crc32:#010x}",
                got=f"{crc:#010x}",
                path=self.path,
                offset=member.data_offset,
            )


def is_npz(head: bytes, path: str) -> bool:
    """Whether a file that begins so is a .npz or .npy."""
    # Torch and Keras write zip files too: numpy's begins with a member of its own, or has none.
    name_bytes = int.from_bytes(head[26:28], "little")
    is_npz = head.startswith(b"PK\x03\x04") and head[30 : 30 + name_bytes].endswith(b".npy")
    is_empty = head.startswith(b"PK\x05\x06") and path.lower().endswith(".npz")
    return is_npz or is_empty or head.startswith(NPY_MAGIC)


class NpzWriter(SingleFileWriter):
    """A new .npz file, stored without compression.

    Args:
        path: the file.
        specs: every tensor that will be written, in the order of the zip directory.
        metadata: text to keep in the comment of the zip file.

    Raises:
        FormatError: a name or dtype that the format cannot hold, or metadata too long for a comment.
        OptionError: the path is that of a single .npy.
    """

    format: ClassVar[str] = "npz"
    dtypes: ClassVar[frozenset[str]] = frozenset(dtype.name for dtype in DTYPES if dtype.name not in OPAQUE)

    def _lay_out(self) -> bytes:
        if self.path.lower().endswith(NPY_SUFFIX):
            hint = f"write {self.path[: -len(NPY_SUFFIX)]}.npz"
            raise OptionError(f"`{self.path}` would hold one array without a name", hint=hint)
        encode_comment(self.metadata, self.path)  # refuses what it can't hold before there is a file
        self._members, self._end = lay_out(self.manifest)
        # A member's header has its checksum, and is written with its values.
        return b""

    @classmethod
    def problems(cls, manifest: Manifest) -> list[str]:
        problems = super().problems(manifest)
        for name in manifest:
            problem = _name_problem(name)
            if problem:
                problems.append(f"the name {quoted(name)} {problem}")
            elif name.endswith(NPY_SUFFIX) and name.removesuffix(NPY_SUFFIX) in manifest:
                problems.append(f"numpy.load takes {quoted(name)} for {quoted(name.removesuffix(NPY_SUFFIX))}")
        return problems

    def _write(self, spec: TensorSpec, array: np.ndarray) -> None:
        header = encode_npy_header(spec)
        values = bytes_of(array)
        crc = zlib.crc32(header)
        offset = self._members[spec.name].data_offset + len(header)
        for start in range(0, len(values), MEMBER_CHUNK_BYTES):
            chunk = values[start : start + MEMBER_CHUNK_BYTES]
            crc = zlib.crc32(chunk, crc)
            self._write_at(chunk, offset + start)
        member = replace(self._members[spec.name], crc32=crc)
        self._members[spec.name] = member
        self._write_at(encode_local(member) + header, member.offset)

    def _finish(self) -> None:
        comment = encode_comment(self.metadata, self.path)
        self._write_at(encode_directory(list(self._members.values()), self._end, comment), self._end)
        super()._finish()


def lay_out(manifest: Manifest) -> tuple[dict[str, ZipMember], int]:
    """Give each tensor its place, in the order of the specs.

    Returns:
        The members by the names of the tensors, without checksums, and where the last one ends.
    """
    members = {}
    position = 0
    for spec in manifest.values():
        is_named = "V" not in npy_descr(spec.dtype) and spec.dtype == to_numpy(spec.dtype).name
        extra = () if is_named else ((ZIP_DTYPE_EXTRA, spec.dtype.encode()),)
        n_bytes = len(encode_npy_header(spec)) + spec.nbytes
        member = ZipMember(f"{spec.name}{NPY_SUFFIX}", ZIP_STORED, 0, n_bytes, n_bytes, position, extra=extra)
        member = replace(member, data_offset=position + len(encode_local(member)))
        members[spec.name] = member
        position = member.data_offset + n_bytes
    return members, position


def _to_strings(array: np.ndarray) -> np.ndarray:
    """An array of text as one of ``bytes``."""
    import numpy as np

    strings = np.empty(array.shape, object)
    try:
        flat = [each.encode() if isinstance(each, str) else each for each in array.reshape(-1).tolist()]
    except ValueError as error:  # surrogates, or numbers that are no characters
        raise FormatError(f"it holds what is no text: {error}") from None
    strings.reshape(-1)[:] = flat
    return strings


def _name_problem(name: str) -> str:
    try:
        n_bytes = len(f"{name}{NPY_SUFFIX}".encode())
    except UnicodeEncodeError:
        return "is not valid Unicode text"
    if n_bytes > ZIP_MAX_NAME_BYTES:
        return f"is longer than {ZIP_MAX_NAME_BYTES} bytes"
    return "has a NUL in it" if "\0" in name else ""
