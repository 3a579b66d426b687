"""What is in a checkpoint, from its manifest alone; values are read only when their statistics are asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resport.conversion.reading import reading_options
from resport.dtypes import FLOATING, OPAQUE
from resport.formats import Reader, open_reader
from resport.mapping import Detection, candidates, shipped_tables
from resport.mapping.detection import DETECTION_MIN_SCORE
from resport.mapping.roles import role_of
from resport.tensors import TensorSpec

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class TensorStatistics:
    """What the values of one tensor are like; of the finite ones, where there are others.

    Attributes:
        minimum: smallest value; None, like the next three, where no value is finite.
        maximum: largest value.
        mean: mean value.
        deviation: standard deviation.
        n_nan: how many are NaN.
        n_infinite: how many are infinite.
        n_zero: how many are zero.
    """

    minimum: float | None
    maximum: float | None
    mean: float | None
    deviation: float | None
    n_nan: int
    n_infinite: int
    n_zero: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "min": self.minimum,
            "max": self.maximum,
            "mean": self.mean,
            "std": self.deviation,
            "nan": self.n_nan,
            "inf": self.n_infinite,
            "zero": self.n_zero,
        }


@dataclass(frozen=True, slots=True)
class InspectionReport:
    """What is in a checkpoint.

    Attributes:
        path: what was opened.
        format: id of its format.
        note: what was opened where that is another path than the one given, or None.
        producer: what the file says wrote it.
        tensors: every tensor in the file's order.
        roles: what each tensor is for, by name.
        metadata: text beside the tensors.
        detected: the family that explains the names, or None.
        nearest: the nearest family where none explains them.
        statistics: by name, where they were asked for.
    """

    path: str
    format: str
    note: str | None
    producer: str | None
    tensors: tuple[TensorSpec, ...]
    roles: Mapping[str, str]
    metadata: Mapping[str, str]
    detected: Detection | None
    nearest: Detection | None
    statistics: Mapping[str, TensorStatistics]

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return sum(spec.nbytes for spec in self.tensors)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "path": self.path,
            "format": self.format,
            "note": self.note,
            "producer": self.producer,
            "n_tensors": len(self.tensors),
            "nbytes": self.nbytes,
            "tensors": [self._tensor(spec) for spec in self.tensors],
            "metadata": dict(self.metadata),
            "detected": self.detected.to_dict() if self.detected else None,
            "nearest": self.nearest.to_dict() if self.nearest else None,
        }

    def _tensor(self, spec: TensorSpec) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "name": spec.name,
            "shape": list(spec.shape),
            "dtype": spec.dtype,
            "nbytes": spec.nbytes,
            "role": self.roles[spec.name],
        }
        if spec.name in self.statistics:
            entry["stats"] = self.statistics[spec.name].to_dict()
        return entry


def inspect(
    path: str | os.PathLike[str],
    *,
    stats: bool = False,
    kernel_order: str | None = None,
    deviation_epsilon: float | None = None,
    checksum: bool = True,
    manifest: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> InspectionReport:
    """List a checkpoint.

    Args:
        path: a checkpoint of any format that resport reads.
        stats: also read every tensor, one after the other, for its statistics.
        kernel_order: how a Keras HDF5 file has its convolution kernels; see ``convert``.
        deviation_epsilon: batch norm's epsilon in a file older than Keras 1.0.6; see ``convert``.
        checksum: hold the values against the checksums that the file has of them.
        manifest: a file to store the names, shapes, dtypes and sha256 of all tensors in, for ``verify_against``.
        force: replace a manifest that is there.

    Raises:
        FormatError: the file is damaged, or of no known format.
        SourceNotFoundError: there is nothing at ``path``.
        OptionError: files of its format are read without one of the options.
        TargetExistsError: the manifest exists, and ``force`` was not given.
        TargetWriteError: the manifest cannot be written.
    """
    reading = reading_options(kernel_order=kernel_order, deviation_epsilon=deviation_epsilon)
    with open_reader(path, checksum=checksum, **reading) as reader:
        if manifest is not None:
            from resport.conversion.manifest_file import write_manifest

            write_manifest(manifest, reader, reading, force=force)
        found = candidates(reader.manifest, shipped_tables())
        best = found[0] if found else None
        is_detected = best is not None and best.score >= DETECTION_MIN_SCORE
        return InspectionReport(
            path=reader.path,
            format=reader.format,
            note=reader.note,
            producer=reader.producer,
            tensors=tuple(reader.manifest.values()),
            roles={spec.name: role_of(spec) for spec in reader.manifest.values()},
            metadata=dict(reader.metadata),
            detected=best if is_detected else None,
            nearest=None if is_detected else best,
            statistics=_all_statistics(reader) if stats else {},
        )


def _all_statistics(reader: Reader) -> dict[str, TensorStatistics]:
    return {
        name: tensor_statistics(reader.read(name))
        for name, spec in reader.manifest.items()
        if spec.dtype not in OPAQUE and not spec.dtype.startswith("complex")
    }


def tensor_statistics(array: np.ndarray) -> TensorStatistics:
    """The statistics of one tensor of real numbers, computed in float64."""
    import numpy as np

    floating = array.dtype.name in FLOATING
    # Eight-byte integers lose their last digits here, which statistics can bear.
    values = array.astype(np.float64, copy=False).reshape(-1)
    finite = values[np.isfinite(values)] if floating else values
    summary = (
        (float(finite.min()), float(finite.max()), float(finite.mean()), float(finite.std()))
        if finite.size
        else (None, None, None, None)
    )
    minimum, maximum, mean, deviation = summary
    return TensorStatistics(
        minimum,
        maximum,
        mean,
        deviation,
        n_nan=int(np.isnan(values).sum()),
        n_infinite=int(np.isinf(values).sum()),
        n_zero=int((values == 0).sum()),
    )
