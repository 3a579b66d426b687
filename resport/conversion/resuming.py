"""What a conversion is, as its journal has it: an interrupted one is gone on with by the same alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from resport.formats import Format
from resport.mapping import Plan

_LAYOUT_OPTIONS = ("max_shard_size", "n_shards")


def work_of(
    plan: Plan,
    origin: str,
    fingerprint: Sequence[Mapping[str, int] | None],
    format: Format,
    writing: Mapping[str, Any],
    metadata: Mapping[str, str],
    *,
    checksum: bool,
) -> dict[str, Any]:
    """What decides the bytes of a target, as plain values.

    That the source is the same is known by the sizes of its files and the times of their last change, as ``make`` and
    ``rsync`` know it; by their content it would be known only when all of it had been read, which is what going on with
    an interrupted conversion shall spare.

    Args:
        plan: what is carried out.
        origin: the provenance, but for the sha256 of the source.
        fingerprint: the source's files, as ``SourceDigest`` has it.
        format: that of the target.
        writing: the options of its writer.
        metadata: what will be kept beside the tensors.
        checksum: whether values are held against the checksums of the source.
    """
    tensors = [(spec.name, spec.shape, spec.dtype) for spec in plan.targets.values()]
    moves = [(move.sources, [spec.name for spec in move.targets]) for move in plan.moves]
    described = json.dumps([tensors, moves, sorted(metadata.items())])
    return {
        **json.loads(origin),
        "files": list(fingerprint),
        "checksum": checksum,
        "target": {"format": format.id, **{key: str(writing[key]) for key in _LAYOUT_OPTIONS if key in writing}},
        "tensors": {"n": len(tensors), "sha256": hashlib.sha256(described.encode()).hexdigest()},
    }
