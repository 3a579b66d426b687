"""What every on-disk format gives: a Reader that lists before it reads, a Writer that is told all specs first.

A reader parses names, shapes and dtypes when it is opened and values only when they are asked for. A writer knows
every spec before the first value, so it can lay the file out at once, accept values in any order, and produce the same
bytes whatever that order was. It writes to a temporary name beside the target; the target appears on ``commit``.
"""

from __future__ import annotations

import errno
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from resport.dtypes import to_numpy
from resport.errors import FormatError, OptionError, ResportError, TargetWriteError
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import numpy as np


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

    Args:
        path: the target (the prefix of a TF checkpoint).
        specs: every tensor that will be written.
        metadata: text to keep beside the tensors.

    Raises:
        FormatError: a name or dtype that the format cannot hold, or a name given twice.
    """

    format: ClassVar[str]
    dtypes: ClassVar[frozenset[str]]
    """Names of the dtypes that the format holds."""

    def __init__(self, path: str, specs: Iterable[TensorSpec], *, metadata: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.manifest = Manifest(specs)
        self.metadata = dict(metadata or {})
        problems = self.problems(self.manifest)
        if problems:
            raise FormatError(f"`{path}` cannot hold these tensors: {'; '.join(problems[:10])}", path=path)
        self._unwritten = set(self.manifest)

    @classmethod
    def problems(cls, manifest: Manifest) -> list[str]:
        """What of a manifest this format cannot hold, one sentence each; empty when it can hold all."""
        return [
            f"`{spec.name}` is {spec.dtype}, which {cls.format} has not"
            for spec in manifest.values()
            if spec.dtype not in cls.dtypes
        ]

    def write(self, name: str, array: np.ndarray) -> None:
        """Write one tensor; any order, each exactly once.

        Raises:
            OptionError: the name was not declared or is written already, or shape or dtype differ from its spec.
        """
        spec = self.manifest.get(name)
        if spec is None or name not in self._unwritten:
            state = "was written already" if spec else "was not declared"
            raise OptionError(f"tensor `{name}` {state} for `{self.path}`")
        if array.shape != spec.shape or array.dtype != to_numpy(spec.dtype):
            raise OptionError(
                f"tensor `{name}` does not fit its spec",
                expected=f"{spec.shape} {spec.dtype}",
                got=f"{array.shape} {array.dtype}",
            )
        with write_errors(self.path):
            self._write(spec, array if array.flags.c_contiguous else array.copy(order="C"))
        self._unwritten.discard(name)

    def commit(self) -> None:
        """Finish the files and put them in place in one step.

        Raises:
            OptionError: tensors that were declared have not been written.
        """
        if self._unwritten:
            missing = ", ".join(sorted(self._unwritten)[:10])
            raise OptionError(f"`{self.path}` is not complete, never written: {missing}")
        with write_errors(self.path):
            self._commit()

    @abstractmethod
    def _write(self, spec: TensorSpec, array: np.ndarray) -> None:
        """Write the checked, C-contiguous array of one spec."""

    @abstractmethod
    def _commit(self) -> None:
        """Finish, flush and rename; every tensor has been written."""

    @abstractmethod
    def abort(self) -> None:
        """Remove what was written so far. Aborting twice, or after a commit, does nothing."""

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


@contextmanager
def write_errors(path: str) -> Iterator[None]:
    """Say of which target the system's error is, and what it means."""
    try:
        yield
    except ResportError:
        raise
    except OSError as error:
        # HDF5 gives the system's number in its text alone.
        found = re.search(r"errno = (\d+)", str(error))
        number = error.errno or (int(found.group(1)) if found else None)
        reason = os.strerror(number) if number else str(error)
        hint = "free some space, or give a target on another disk" if number in (errno.ENOSPC, errno.EDQUOT) else None
        raise TargetWriteError(f"`{path}` cannot be written: {reason[:1].lower()}{reason[1:]}", hint=hint) from error
