"""Where an output came from: one JSON value under one metadata key of every file that resport writes.

The value names resport's version, the source's format and sha256, the table and its sha256, and the options that
changed values. It holds no time, path or host, so the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resport.errors import FormatError
from resport.formats import Reader
from resport.mapping import Plan, PlanOptions, Table

PROVENANCE_KEY = "resport"

_CHUNK_BYTES = 1 << 20


def provenance(reader: Reader, plan: Plan, table: Table | None, options: PlanOptions, digest: str) -> str:
    """The provenance of an output as JSON.

    Args:
        reader: the source.
        plan: what is carried out.
        table: the table that gave the names, or None where nothing is renamed.
        options: what was asked for.
        digest: sha256 of the source, as ``sha256_of`` gives it.
    """
    value: dict[str, Any] = {
        "resport": _version(),
        "source": {"format": reader.format, "sha256": digest},
        "options": options.value_changes(),
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


def sha256_of(files: Sequence[str]) -> str:
    """The sha256 of files one after the other, as ``cat FILES | sha256sum`` prints it.

    Raises:
        FormatError: one of them is missing.
    """
    digest = hashlib.sha256()
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    for file in files:
        if not Path(file).is_file():
            raise FormatError(
                f"`{file}` is missing, a part of the source", path=file, hint="put all files of it in one folder"
            )
        with Path(file).open("rb", buffering=0) as handle:
            while count := handle.readinto(buffer):
                digest.update(view[:count])
    return digest.hexdigest()


def _version() -> str:
    from resport import __version__

    return __version__
