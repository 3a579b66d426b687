"""Tensors held against the sha256 that was stored of each."""

from __future__ import annotations

from resport.conversion.manifest_file import values_sha256
from resport.dtypes import OPAQUE
from resport.formats import Reader
from resport.verification.references.reference import StoredSide
from resport.verification.report import TensorDifference, WeightsResult
from resport.verification.weights import spec_difference


def compare_hashes(stored: StoredSide, judged: Reader, ignored: frozenset[str] = frozenset()) -> WeightsResult:
    """Compare every tensor with what is stored of it.

    Args:
        stored: the side of the reference that the tensors belong to, or a manifest.
        judged: what is judged.
        ignored: names that no parameter has.
    """
    present = [name for name, spec in judged.manifest.items() if spec.dtype not in OPAQUE]
    extras = [name for name in present if name not in stored.tensors and name not in ignored]
    differences = [difference for name in stored.tensors if (difference := _hash_difference(stored, judged, name))]
    differences += [TensorDifference(name, "unexpected", "the reference has no tensor for it") for name in extras]
    compared = len(stored.tensors) + len(extras)
    return WeightsResult(compared, compared - len(differences), tuple(differences))


def _hash_difference(stored: StoredSide, judged: Reader, name: str) -> TensorDifference | None:
    tensor, spec = stored.tensors[name], judged.manifest.get(name)
    if spec is None:
        return TensorDifference(name, "missing", f"expected {tensor.spec.shape} {tensor.spec.dtype}")
    difference = spec_difference(tensor.spec, spec)
    if difference is None and values_sha256(judged, spec) != tensor.sha256:
        difference = TensorDifference(name, "values", "they are not those of the reference, by their sha256")
    return difference
