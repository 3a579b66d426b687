"""A stored manifest: which tensors a checkpoint has, and the sha256 of each, to hold the same or another file against.

What it says of a tensor rests on its values alone, as they lie in memory in C order and little-endian: it is the same
whatever container holds them. What it says of the files holds for these files. It has no path, time or host.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resport.conversion.provenance import sha256_of
from resport.dtypes import OPAQUE
from resport.errors import OptionError
from resport.formats import Reader
from resport.formats.atomic import check_replaceable
from resport.formats.publication import replacing
from resport.formats.system_errors import write_errors
from resport.tensors import TensorSpec

MANIFEST_KEY = "resport_manifest"
"""Has the version, and tells a manifest from other JSON."""
MANIFEST_VERSION = 1


def write_manifest(
    path: str | os.PathLike[str], reader: Reader, reading: Mapping[str, str | float], *, force: bool = False
) -> None:
    """Write the manifest of an open checkpoint.

    Args:
        path: the file.
        reader: the checkpoint.
        reading: the options with which it was opened, where values depend on them.
        force: replace a file that is there.

    Raises:
        TargetExistsError: it exists, and ``force`` was not given.
        OptionError: it is a file of the checkpoint.
        FormatError: the checkpoint is damaged, or a file of it is missing.
        TargetWriteError: the system refused; what was there before still is.
    """
    target = os.fspath(path)
    check_replaceable(target, force=force)
    if Path(target).exists() and any(Path(target).samefile(file) for file in reader.files):
        raise OptionError(f"`{target}` is a file of the checkpoint", hint="give the manifest another name")
    text = json.dumps(manifest_of(reader, reading), indent=1, ensure_ascii=True) + "\n"
    with write_errors(target), replacing(target) as temporary:
        Path(temporary).write_text(text, encoding="ascii")


def manifest_of(reader: Reader, reading: Mapping[str, str | float]) -> dict[str, Any]:
    """The manifest of a checkpoint, its tensors in the order of their names.

    Args:
        reader: the checkpoint.
        reading: the options with which it was opened.
    """
    return {
        MANIFEST_KEY: MANIFEST_VERSION,
        "format": reader.format,
        "reading": dict(reading),
        "files": file_hashes(reader),
        "tensors": dict(sorted(hashed_tensors(reader).items())),
    }


def file_hashes(reader: Reader) -> dict[str, str]:
    """The sha256 of each file of a checkpoint, by its name in the folder that all of them are in."""
    folder = os.path.commonpath([str(Path(file).absolute().parent) for file in reader.files])
    return {Path(os.path.relpath(file, folder)).as_posix(): sha256_of([file]) for file in reader.files}


def hashed_tensors(reader: Reader) -> dict[str, dict[str, Any]]:
    """Shape, dtype and sha256 of each tensor of a checkpoint, in the file's order; of texts nothing."""
    return {
        name: {"shape": list(spec.shape), "dtype": spec.dtype, "sha256": values_sha256(reader, spec)}
        for name, spec in reader.manifest.items()
        if spec.dtype not in OPAQUE
    }


def values_sha256(reader: Reader, spec: TensorSpec) -> str:
    """The sha256 of a tensor's values, in C order and little-endian."""
    digest = hashlib.sha256()
    for piece in reader.pieces(spec.name):
        digest.update(piece)
    return digest.hexdigest()
