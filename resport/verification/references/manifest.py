"""A checkpoint held against a stored manifest: every tensor, by its name, shape, dtype and the sha256 of its values."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resport.conversion.manifest_file import MANIFEST_KEY, MANIFEST_VERSION, file_hashes
from resport.conversion.target import check_complete
from resport.errors import DetectError, FormatError
from resport.formats import Reader, open_reader
from resport.formats.damage import quoted
from resport.mapping import Detection, Table, detect
from resport.verification.pairing import side_of
from resport.verification.references.changes import Change, changed
from resport.verification.references.hashes import compare_hashes
from resport.verification.references.reference import StoredSide
from resport.verification.references.stored_reference import Fields, read_json, stored_tensors
from resport.verification.report import Side, VerificationReport

NO_FORWARD = "a manifest holds no outputs, only the tensors"


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """What a manifest says.

    Attributes:
        side: the checkpoint's tensors; its path is the manifest's.
        format: id of the checkpoint's format.
        files: the sha256 of each of its files, by name.
        reading: the options with which it was read.
    """

    side: StoredSide
    format: str
    files: Mapping[str, str]
    reading: Mapping[str, str | float]


def is_manifest(path: str | os.PathLike[str]) -> bool:
    """Whether what is there can only be a manifest, if anything: a reference is a folder."""
    try:
        return not stat.S_ISDIR(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def load_manifest(path: str | os.PathLike[str]) -> StoredManifest:
    """Read a manifest and check all of it: anybody may have written it.

    Raises:
        SourceNotFoundError: it is not there.
        FormatError: it is damaged, none, or of a later version.
    """
    text = os.fspath(path)
    fields = Fields(_object(text), text, "manifest")
    if (version := fields.get(MANIFEST_KEY, int)) != MANIFEST_VERSION:
        raise fields.fault("is of another version", expected=MANIFEST_VERSION, got=version)
    side = Side(text, "manifest", None, None, None, None)
    return StoredManifest(
        side=StoredSide(side, "", stored_tensors(fields.below("tensors"))),
        format=fields.get("format", str),
        files=fields.below("files").all_of((str,)),
        reading=fields.below("reading").all_of((str, float, int)),
    )


def _object(path: str) -> Mapping[str, Any]:
    value = read_json(path)
    if MANIFEST_KEY not in value:
        raise FormatError(
            f"`{path}` is no manifest of a checkpoint",
            path=path,
            expected=f"JSON with `{MANIFEST_KEY}`",
            got=f"JSON with {', '.join(quoted(key) for key in [*value][:5]) or 'nothing in it'}",
            hint="resport inspect CHECKPOINT --manifest FILE makes one",
        )
    return value


def verify_manifest(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    tables: Sequence[Table],
    variant: str | None,
    reading: Mapping[str, str | float],
    *,
    checksum: bool = True,
) -> VerificationReport:
    """Compare every tensor of a checkpoint with a manifest.

    Args:
        path: the manifest.
        target: what is judged, in any format.
        tables: those that may name the tensors.
        variant: the target's variant, or None to detect it.
        reading: how an old Keras file is read.
        checksum: hold the values against the checksums that the target has of them.

    Returns:
        The verdict; its ``changes`` are those of the format and, within one, of the files.

    Raises:
        FormatError: the manifest or the target is damaged.
        SourceNotFoundError: one of them is not there.
    """
    started = time.perf_counter()
    stored = load_manifest(path)
    with open_reader(target, checksum=checksum, **reading) as judged:
        check_complete(judged)
        weights = compare_hashes(stored.side, judged)
        return VerificationReport(
            source=stored.side.side,
            target=side_of(judged, _detected(judged, tables, variant)),
            weights=weights,
            forward=None,
            forward_reason=NO_FORWARD,
            options={},
            seconds=time.perf_counter() - started,
            notes=(judged.note,) if judged.note else (),
            changes=tuple(_changes(stored, judged, reading)),
        )


def _detected(judged: Reader, tables: Sequence[Table], variant: str | None) -> Detection | None:
    try:
        return detect(judged.manifest, tables, variant=variant)
    except DetectError:
        return None


def _changes(stored: StoredManifest, judged: Reader, reading: Mapping[str, str | float]) -> Iterator[Change]:
    yield from changed("target's", {"format": stored.format}, {"format": judged.format})
    yield from changed("option", stored.reading, reading)
    if stored.format == judged.format:
        yield from changed("sha256 of", stored.files, file_hashes(judged))
