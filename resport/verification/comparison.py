"""``diff``: two checkpoints of any formats, tensor by tensor, by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from resport.conversion.reading import open_both, reading_options
from resport.dtypes import OPAQUE
from resport.formats import Reader
from resport.verification.report import DIFFERENT, EQUAL, TensorDifference
from resport.verification.weights import spec_difference, tensor_difference


@dataclass(frozen=True, slots=True)
class DiffReport:
    """Two checkpoints compared tensor by tensor.

    Attributes:
        a: the first path.
        b: the second path.
        only_in_a: names that b lacks.
        only_in_b: names that a lacks.
        n_equal: tensors with one name that are equal bit for bit.
        differences: tensors with one name that are not.
    """

    a: str
    b: str
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    n_equal: int
    differences: tuple[TensorDifference, ...]

    @property
    def verdict(self) -> str:
        """``equal`` when both have the same tensors, bit for bit, and at least one."""
        alike = not (self.only_in_a or self.only_in_b or self.differences)
        return EQUAL if alike and self.n_equal else DIFFERENT

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "verdict": self.verdict,
            "a": self.a,
            "b": self.b,
            "only_in_a": list(self.only_in_a),
            "only_in_b": list(self.only_in_b),
            "equal": self.n_equal,
            "differences": [difference.to_dict() for difference in self.differences],
        }


def diff(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    kernel_order: str | None = None,
    deviation_epsilon: float | None = None,
    checksum: bool = True,
) -> DiffReport:
    """Compare two checkpoints by name, whatever their formats.

    Args:
        a: a checkpoint.
        b: another one.
        kernel_order: how those of the two that are Keras HDF5 files have their convolution kernels; see ``convert``.
        deviation_epsilon: batch norm's epsilon in those older than Keras 1.0.6; see ``convert``.
        checksum: hold the values against the checksums that the two have of them.

    Raises:
        FormatError: one of them is damaged, or of no known format.
        SourceNotFoundError: one of them is not there.
        OptionError: neither is read with one of the options.
    """
    reading = reading_options(kernel_order=kernel_order, deviation_epsilon=deviation_epsilon)
    with open_both(a, b, reading, checksum=checksum) as (left, right):
        shared = [name for name in left.manifest if name in right.manifest]
        differences = tuple(_differences(left, right, shared))
        return DiffReport(
            a=left.path,
            b=right.path,
            only_in_a=tuple(name for name in left.manifest if name not in right.manifest),
            only_in_b=tuple(name for name in right.manifest if name not in left.manifest),
            n_equal=len(shared) - len(differences),
            differences=differences,
        )


def _differences(left: Reader, right: Reader, names: list[str]) -> Iterator[TensorDifference]:
    for name in names:
        spec = left.manifest[name]
        difference = spec_difference(spec, right.manifest[name])
        if difference is None and spec.dtype in OPAQUE:
            if spec.dtype == "string" and left.read(name).tolist() != right.read(name).tolist():
                difference = TensorDifference(name, "values", "the texts differ")
        elif difference is None:
            difference = tensor_difference(left, name, right, name)
        if difference is not None:
            yield difference
