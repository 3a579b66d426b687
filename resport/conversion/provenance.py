"""Where an output came from: one JSON value under one metadata key of every file that resport writes.

The value names resport's version, the source's format and sha256, the table and its sha256, and the options that
changed values. It holds no time, path or host, so the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from resport.conversion.background import Background
from resport.errors import FormatError
from resport.formats import Reader
from resport.mapping import Plan, PlanOptions, Table

PROVENANCE_KEY = "resport"

_CHUNK_BYTES = 2 << 20


def provenance(
    reader: Reader,
    plan: Plan,
    table: Table | None,
    options: PlanOptions,
    reading: Mapping[str, str | float],
    digest: str,
) -> str:
    """The provenance of an output as JSON.

    Args:
        reader: the source.
        plan: what is carried out.
        table: the table that gave the names, or None where nothing is renamed.
        options: what was asked for.
        reading: the options with which the source was read.
        digest: sha256 of the source, as ``SourceDigest`` gives it.
    """
    value: dict[str, Any] = {
        "resport": _version(),
        "source": {"format": reader.format, "sha256": digest},
        "options": {**options.value_changes(), **reading},
    }
    if table is not None:
        value["table"] = {"name": table.family, "sha256": table.sha256}
        value["variant"] = plan.variant
        value["from"] = plan.source_dialect
        value["to"] = plan.target_dialect
    if options.ignore:
        value["ignored"] = list(options.ignore)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def stored_provenance(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """The provenance that a file carries, or None where it has none that can be read."""
    try:
        value = json.loads(metadata.get(PROVENANCE_KEY, ""))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def stored_options(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The options that changed values, as a file's provenance has them; they may be anything."""
    options = (stored_provenance(metadata) or {}).get("options")
    return options if isinstance(options, dict) else {}


UNKNOWN_DIGEST = "0" * 64
"""Holds the place of a source's sha256 until all of the source has been read."""


class SourceDigest:
    """The sha256 of files one after the other, as ``cat FILES | sha256sum`` prints it, worked out in a thread.

    A conversion so reads its source twice at once: the digest all of it in order, the plan as the target has it. What
    both have read is one and the same only if the files stay as they are: they are looked at before and after.

    A context manager: when it is left, the thread is stopped.

    Args:
        files: the files.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self._states = [_state_of(file) for file in files]
        self._is_stopped = False
        self._digest = Background(self._run, "resport-digest")

    @property
    def fingerprint(self) -> list[dict[str, int] | None]:
        """What the system says of each file without reading it, wherever it lies: size and time of the last change."""
        return [None if state is None else {"nbytes": state[2], "changed_ns": state[3]} for state in self._states]

    def __enter__(self) -> Self:
        self._digest.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_stopped = True
        self._digest.__exit__(kind, error, trace)

    def result(self) -> str:
        """Wait for it.

        Raises:
            FormatError: a file is missing, or was changed or replaced meanwhile.
            OSError: a file cannot be read.
        """
        result = self._digest.result()
        for file, before in zip(self._files, self._states, strict=True):
            if _state_of(file) != before:
                raise FormatError(
                    f"`{file}` was changed while it was read", path=file, hint="try again when nothing writes to it"
                )
        return result

    def _run(self) -> str:
        digest = hashlib.sha256()
        for piece in self._pieces():
            digest.update(piece)
        return "" if self._is_stopped else digest.hexdigest()

    def _pieces(self) -> Iterator[memoryview]:
        view = memoryview(bytearray(_CHUNK_BYTES))
        for file in self._files:
            if not Path(file).is_file():
                raise FormatError(
                    f"`{file}` is missing, a part of the source", path=file, hint="put all files of it in one folder"
                )
            with Path(file).open("rb", buffering=0) as handle:
                while not self._is_stopped and (count := handle.readinto(view)):
                    yield view[:count]


def _state_of(file: str) -> tuple[int, ...] | None:
    """What changes when a file is written or replaced; None where there is none."""
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def sha256_of(files: Sequence[str]) -> str:
    """The sha256 of files; see ``SourceDigest``.

    Raises:
        FormatError: one of them is missing.
    """
    with SourceDigest(files) as digest:
        return digest.result()


def _version() -> str:
    from resport import __version__

    return __version__
