"""What every on-disk format gives: a Reader that lists before it reads, a Writer that is told all specs first.

A reader parses names, shapes and dtypes when it is opened and values only when they are asked for. A writer knows
every spec before the first value, so it can lay the file out at once, accept values in any order, and produce the same
bytes whatever that order was. It writes to a temporary name beside the target; the target appears on ``commit``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from resport.dtypes import to_numpy
from resport.errors import FormatError, OptionError
from resport.formats.crc32c import extend_crc32c
from resport.formats.journal import Journal
from resport.formats.positioned import write_at
from resport.formats.staging import Staging, only_one
from resport.formats.system_errors import with_read_errors, with_read_errors_of_pieces, write_errors
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import numpy as np

Buffer = bytes | memoryview


class Reader(ABC):
    """An open checkpoint: its manifest, and its values one tensor at a time.

    Attributes:
        format: the format's id in the registry.
        path: what was opened, as the user would type it (the prefix of a TF checkpoint).
        manifest: every tensor of the checkpoint, strings included, in the file's order.
        metadata: text that the file carries beside its tensors.
        note: what was opened where that is another path than the one given, or None.
        producer: what the file says wrote it (``"keras 3.15.1"``), or None.
        files: every file that belongs to the checkpoint.
    """

    format: ClassVar[str]
    path: str
    manifest: Manifest
    metadata: Mapping[str, str]
    note: str | None = None
    producer: str | None = None
    files: tuple[str, ...]

    def __init_subclass__(cls) -> None:
        """Have what the system says while a reader of the class reads said of its checkpoint, however it reads."""
        of_pieces = with_read_errors_of_pieces
        for name, said in (("read", with_read_errors), ("pieces", of_pieces), ("unchecked_pieces", of_pieces)):
            if name in cls.__dict__:
                setattr(cls, name, said(cls.__dict__[name]))

    @abstractmethod
    def read(self, name: str) -> np.ndarray:
        """Read one tensor.

        Args:
            name: a name of the manifest.

        Returns:
            A C-contiguous array of the manifest's shape and dtype, writable and the caller's own.
            Strings come as an object array of ``bytes``.

        Raises:
            KeyError: no tensor has that name.
            FormatError: the bytes are damaged, missing or not what the manifest says.
        """

    def pieces(self, name: str) -> Iterator[Buffer]:
        """Read one tensor as bytes, a piece at a time; what only moves them needs neither an array nor its memory.

        Args:
            name: a name of the manifest; not one of strings.

        Yields:
            The bytes of the array that ``read`` gives, in order and little-endian; each piece is valid until the next
            is asked for. A fault that shows only at the end, a wrong checksum, is raised after the last piece.

        Raises:
            KeyError: no tensor has that name.
            FormatError: the bytes are damaged, missing or not what the manifest says.
        """
        yield bytes_of(self.read(name))

    def unchecked_pieces(self, name: str) -> Iterator[Buffer]:
        """``pieces`` for those who work out the CRC-32C of the bytes anyway, and hand it to ``check``.

        A checksum that the file has of the tensor may so be left to them; everything else is found as by ``pieces``.
        """
        return self.pieces(name)

    def check(self, name: str, crc: int) -> None:
        """Hold the plain CRC-32C of a tensor's ``unchecked_pieces`` against what the file says of it, if it does.

        Raises:
            ChecksumError: they differ.
        """
        return

    @abstractmethod
    def close(self) -> None:
        """Close the files. Closing twice is allowed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Writer(ABC):
    """A checkpoint being written. Use it as a context manager: left normally it commits, left by an error it aborts.

    Its files wait in a staging folder, which a subclass makes when it has laid them out.

    Args:
        path: the target (the prefix of a TF checkpoint).
        specs: every tensor that will be written.
        metadata: text to keep beside the tensors.

    Attributes:
        checksums: the plain CRC-32C of each tensor that was written, of its bytes as ``Reader.pieces`` gives them.
        resumed: the tensors that an interrupted run had written, of whose bytes this was found true.
        journal: where it is noted what is written, if an interrupted run shall be gone on with.
        guard: called before anything takes its place, while no other process can; raises where that must not be.

    Raises:
        FormatError: a name or dtype that the format cannot hold, or a name given twice.
    """

    format: ClassVar[str]
    dtypes: ClassVar[frozenset[str]]
    """Names of the dtypes that the format holds."""
    is_resumable: ClassVar[bool] = False
    """Whether each tensor has its place before the first is written, and takes no other from what comes after it."""
    staging: Staging

    def __init__(self, path: str, specs: Iterable[TensorSpec], *, metadata: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.manifest = Manifest(specs)
        self.metadata = dict(metadata or {})
        problems = self.problems(self.manifest)
        if problems:
            raise FormatError(f"`{path}` cannot hold these tensors: {'; '.join(problems[:10])}", path=path)
        self.checksums: dict[str, int] = {}
        self.resumed: set[str] = set()
        self.journal: Journal | None = None
        self.guard: Callable[[], None] | None = None
        self._unwritten = set(self.manifest)
        self._is_sealed = False
        self._is_committed = False

    @classmethod
    def problems(cls, manifest: Manifest) -> list[str]:
        """What of a manifest this format cannot hold, one sentence each; empty when it can hold all."""
        return [
            f"`{spec.name}` is {spec.dtype}, which {cls.format} has not"
            for spec in manifest.values()
            if spec.dtype not in cls.dtypes
        ]

    @classmethod
    def format_written(cls, path: str, manifest: Manifest, options: Mapping[str, Any]) -> str:
        """The id of the format in which a target comes out.

        Args:
            path: the target.
            manifest: every tensor that will be written.
            options: those of the writer.
        """
        return cls.format

    def write(self, name: str, array: np.ndarray) -> None:
        """Write one tensor; any order, each exactly once.

        Raises:
            OptionError: the name was not declared or is written already, or shape or dtype differ from its spec.
        """
        spec = self._unwritten_spec(name)
        if array.shape != spec.shape or array.dtype != to_numpy(spec.dtype):
            raise OptionError(
                f"tensor `{name}` does not fit its spec",
                expected=f"{spec.shape} {spec.dtype}",
                got=f"{array.shape} {array.dtype}",
            )
        values = array if array.flags.c_contiguous else array.copy(order="C")
        self.checksums[name] = extend_crc32c(0, bytes_of(values))
        with write_errors(self.path):
            self._write(spec, values)
        self._note(name)

    def write_pieces(self, name: str, pieces: Iterable[Buffer], check: Callable[[int], None] | None = None) -> None:
        """Write one tensor whose bytes come a piece at a time, as ``Reader.pieces`` gives them.

        Args:
            name: the tensor.
            pieces: its bytes.
            check: given their CRC-32C before the tensor counts as written; raises where that is wrong.

        Raises:
            OptionError: the name was not declared or is written already, or the bytes are not as many as its spec has.
        """
        spec = self._unwritten_spec(name)
        self._write_pieces(spec, self._counted(pieces, spec))
        if check is not None:
            check(self.checksums[name])
        self._note(name)

    def resume(self, name: str, watch: Callable[[TensorSpec, Iterable[Buffer]], Iterable[Buffer]]) -> bool:
        """Take a tensor for written that an interrupted run wrote, if its bytes still are those of then.

        Args:
            name: the tensor.
            watch: hands on the bytes, and may look at them.

        Returns:
            Whether that is so; otherwise it is still to be written.
        """
        if self.journal is None or name not in self.journal.written:
            return False
        spec, n_bytes, crc = self._unwritten_spec(name), 0, 0
        for piece in watch(spec, _as_far_as_readable(self._staged_pieces(spec))):
            n_bytes, crc = n_bytes + len(piece), extend_crc32c(crc, piece)
        if (n_bytes, crc) != (spec.nbytes, self.journal.written[name]):
            return False
        self.checksums[name] = crc
        self.resumed.add(name)
        self._unwritten.discard(name)
        return True

    def _note(self, name: str) -> None:
        """A tensor is written."""
        self._unwritten.discard(name)
        if self.journal is not None:
            with write_errors(self.path):
                self.journal.add(name, self.checksums[name], self.manifest[name].nbytes)

    def _unwritten_spec(self, name: str) -> TensorSpec:
        spec = self.manifest.get(name)
        if spec is None or name not in self._unwritten:
            state = "was written already" if spec else "was not declared"
            raise OptionError(f"tensor `{name}` {state} for `{self.path}`")
        return spec

    def seal(self) -> str:
        """Finish the files, not yet in their places, and perhaps not on disk. Sealing twice is allowed.

        Returns:
            The path at which the checkpoint can be read until the commit.

        Raises:
            OptionError: tensors that were declared have not been written.
        """
        if self._unwritten:
            missing = ", ".join(sorted(self._unwritten)[:10])
            raise OptionError(f"`{self.path}` is not complete, never written: {missing}")
        if not self._is_sealed:
            with write_errors(self.path):
                self._finish()
            self._is_sealed = True
        return self.staging.place(self.path)

    def sync(self) -> None:
        """Put what was sealed on disk, so that the commit need not wait for it."""
        with write_errors(self.path):
            self.staging.sync()

    def commit(self) -> None:
        """Finish the files and put them in place in one step.

        Raises:
            OptionError: tensors that were declared have not been written, or this was done already.
        """
        if self._is_committed:
            raise OptionError(f"`{self.path}` is finished and cannot be committed again")
        self.seal()
        self.sync()
        with write_errors(self.path), only_one(self.path):
            if self.guard is not None:
                self.guard()
            self._publish()
        self._is_committed = True
        self.abort()

    def abort(self) -> None:
        """Give up; what was written so far is removed, unless it is there to be gone on with.

        Aborting twice, or after a commit, does nothing.
        """
        # What fails here follows from what failed before.
        with suppress(OSError):
            self._close()
        if self._is_committed:
            self.staging.remove()
        else:
            self.staging.leave()

    def amend_metadata(self, key: str, text: str) -> None:
        """Change a text of the metadata for one of the same length; any time before the commit.

        Raises:
            OptionError: there is no such key, or the length is another.
        """
        n_bytes = len(text.encode())
        if self._is_sealed or len(self.metadata.get(key, "").encode()) != n_bytes:
            raise OptionError(f"metadata `{key}` of `{self.path}` cannot become another of {n_bytes} bytes")
        self.metadata[key] = text

    def _write_pieces_at(self, handle: int, pieces: Iterable[Buffer], offset: int) -> None:
        """Write pieces one after the other from a place in an open file on."""
        for piece in pieces:
            with write_errors(self.path):
                write_at(handle, piece, offset)
            offset += len(piece)

    @abstractmethod
    def _write(self, spec: TensorSpec, array: np.ndarray) -> None:
        """Write the checked, C-contiguous array of one spec."""

    def _write_pieces(self, spec: TensorSpec, pieces: Iterator[Buffer]) -> None:
        """Write the pieces of one spec, which are checked to be as many bytes as it has when the last is taken.

        What the pieces come from raises errors of its own: only writing may be put into ``write_errors``.
        """
        import numpy as np

        array = np.empty(spec.shape, to_numpy(spec.dtype))
        whole, position = bytes_of(array), 0
        for piece in pieces:
            whole[position : position + len(piece)] = piece
            position += len(piece)
        with write_errors(self.path):
            self._write(spec, array)

    def _staged_pieces(self, spec: TensorSpec) -> Iterator[Buffer]:
        """The bytes at the place of a tensor in the staged files; fewer than it has where these end."""
        return iter(())

    @classmethod
    def staged_as(cls, path: str) -> str:
        """The path of which the staging folder is, for a target."""
        return path

    @abstractmethod
    def _finish(self) -> None:
        """Complete the files in the staging folder, and leave no others there; every tensor has been written."""

    def _publish(self) -> None:
        """Put the finished files in their places."""
        from resport.formats.publication import publish_file

        publish_file(self.staging, self.path)

    def _close(self) -> None:  # noqa: B027 - not every writer holds files open
        """Close what is open. Closing twice is allowed."""

    def _counted(self, pieces: Iterable[Buffer], spec: TensorSpec) -> Iterator[Buffer]:
        """Pieces that are together as many bytes as a spec has, and never more, with their checksum."""
        expected, n_bytes, crc = spec.nbytes, 0, 0
        for piece in pieces:
            n_bytes += len(piece)
            if n_bytes > expected:
                break
            crc = extend_crc32c(crc, piece)
            yield piece
        if n_bytes != expected:
            raise OptionError(f"tensor `{spec.name}` has not as many bytes as its spec", expected=expected, got=n_bytes)
        self.checksums[spec.name] = crc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.abort()


def _as_far_as_readable(pieces: Iterable[Buffer]) -> Iterator[Buffer]:
    with suppress(OSError):
        yield from pieces


def bytes_of(array: np.ndarray) -> memoryview:
    """The bytes of a C-contiguous array, not copied."""
    import numpy as np

    return array.reshape(-1).view(np.uint8).data
