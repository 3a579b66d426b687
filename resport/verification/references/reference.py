"""A proof that is kept: what the source computed, what the target's tensors were, and with what it was computed.

A reference is a folder of two files. ``reference.json`` names the networks, the options, the versions and the sha256
of every tensor of both sides. ``outputs-<sha256>.safetensors`` holds the images and, for each dtype and input size, the
source's end points (of large maps a sample, see ``sampling``). With it a target is judged again on a machine where the
source's framework is not installed, or no framework at all.

It holds no time, host or path: the same proof gives the same bytes. It appears complete or not at all: a new folder is
renamed into place; in one that is replaced the JSON is, and it names the file of outputs that belongs to it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resport.conversion.manifest_file import hashed_tensors
from resport.conversion.provenance import sha256_of
from resport.errors import OptionError, SourceNotFoundError, TargetExistsError
from resport.formats import Reader
from resport.formats.atomic import remove_file
from resport.formats.publication import publish_file, publish_folder
from resport.formats.safetensors import SafetensorsWriter
from resport.formats.staging import Staging, staged
from resport.formats.system_errors import write_errors
from resport.tensors import TensorSpec
from resport.verification.environment import environment
from resport.verification.pairing import Pair
from resport.verification.references.recording import KeptPass, Recording
from resport.verification.references.sampling import SAMPLE_POSITIONS, SAMPLE_VALUES
from resport.verification.report import EQUAL, Side, VerificationReport

if TYPE_CHECKING:
    import numpy as np

REFERENCE_VERSION = 1
REFERENCE_JSON = "reference.json"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """What a reference knows of one tensor.

    Attributes:
        spec: name, shape and dtype.
        sha256: of its values, as they lie in memory in C order and little-endian.
    """

    spec: TensorSpec
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredSide:
    """One of the two checkpoints that were compared.

    Attributes:
        side: what it was; its path is the file's name alone.
        sha256: of its files, one after the other.
        tensors: its tensors by name.
    """

    side: Side
    sha256: str
    tensors: Mapping[str, StoredTensor]


@dataclass(frozen=True, slots=True)
class Reference:
    """A stored proof.

    Attributes:
        directory: the folder that it was read from.
        source: the checkpoint whose outputs are stored.
        target: the checkpoint that was proven to compute the same.
        options: what the conversion changed, and how its source was read.
        build: options of the target's builder.
        is_native: resport's builder was run even where the target describes its own model.
        environment: versions by name.
        passes: the source's forward passes; empty where only the weights were compared.
    """

    directory: str
    source: StoredSide
    target: StoredSide
    options: Mapping[str, Any]
    build: Mapping[str, Any]
    is_native: bool
    environment: Mapping[str, str]
    passes: tuple[KeptPass, ...]


def check_reference_target(directory: str | os.PathLike[str], *, force: bool = False) -> None:
    """Check that a reference may be written to a folder, before the work is done that it is to hold.

    Args:
        directory: the folder.
        force: replace a reference that is there.

    Raises:
        TargetExistsError: something is there and ``force`` was not given, or what is there is no reference.
        SourceNotFoundError: the folder that it would be in does not exist.
    """
    path = Path(directory)
    if not os.path.lexists(path):
        if not path.absolute().parent.is_dir():
            raise SourceNotFoundError(f"the folder `{path.parent}` does not exist", hint=f"mkdir -p {path.parent}")
    elif not (path / REFERENCE_JSON).is_file():
        raise TargetExistsError(f"`{path}` exists and is no reference, so it is not replaced", hint="give another name")
    elif not force:
        raise TargetExistsError(f"`{path}` holds a reference already", hint="--force replaces it")


def save_reference(
    directory: str | os.PathLike[str],
    pair: Pair,
    report: VerificationReport,
    recording: Recording | None = None,
    *,
    force: bool = False,
) -> None:
    """Store a proof, so that it can be repeated without its source.

    ``resport.verify(..., save_reference=directory)`` is the way to it.

    Args:
        directory: a new folder.
        pair: the two checkpoints.
        report: the verdict on the two.
        recording: the source's network, after it was run; None where it wasn't.
        force: replace a reference that is there.

    Raises:
        OptionError: the two differ: that is nothing to hold others to.
        TargetExistsError: see ``check_reference_target``.
        TargetWriteError: the system refuses.
    """
    if report.verdict != EQUAL:
        raise OptionError("what differs is no reference", expected=EQUAL, got=report.verdict)
    check_reference_target(directory, force=force)
    passes = _shared_passes(recording, report)
    record = report.record
    description = {
        "reference": REFERENCE_VERSION,
        "verdict": report.verdict,
        "source": _side_description(report.source, pair.source, record.source_sha256 if record else None),
        "target": _side_description(report.target, pair.target, record.target_sha256 if record else None),
        "options": dict(report.options),
        "build": dict(pair.networks.build),
        "native": pair.networks.is_native,
        "environment": environment(),
    }
    path = Path(directory).absolute()
    with write_errors(str(path)):
        if path.exists():
            _replace(path, description, passes)
        else:
            _create(path, description, passes)


def output_arrays(passes: Iterable[KeptPass]) -> Iterator[tuple[str, np.ndarray]]:
    """Every array of a reference with its name in the file of outputs.

    Images and positions are those of a size; values are those of a dtype and a size.
    """
    named: set[str] = set()
    for each in passes:
        arrays = [(images_name(each.input_size), each.images)]
        for name, output in each.outputs.items():
            if output.positions is not None:
                arrays.append((positions_name(each.input_size, name), output.positions))
            arrays.append((values_name(each.dtype, each.input_size, name), output.values))
        for name, array in arrays:
            if name not in named:
                named.add(name)
                yield name, array


def images_name(size: int) -> str:
    """The name of the images of a size."""
    return f"images/{size}"


def positions_name(size: int, end_point: str) -> str:
    """The name of an end point's positions."""
    return f"positions/{size}/{end_point}"


def values_name(dtype: str, size: int, end_point: str) -> str:
    """The name of an end point's values."""
    return f"{dtype}/{size}/{end_point}"


def outputs_name(sha256: str) -> str:
    """The name of the file of outputs with a sha256."""
    return f"outputs-{sha256[:16]}.safetensors"


def _shared_passes(recording: Recording | None, report: VerificationReport) -> tuple[KeptPass, ...]:
    """What was recorded of the passes and end points that the verdict rests on."""
    if recording is None or report.forward is None:
        return ()
    compared = {
        (dtype, point.input_size, point.name)
        for dtype, points in (("float64", report.forward.float64), ("float32", report.forward.float32))
        for point in points
    }
    passes = []
    for (dtype, size), each in recording.passes.items():
        outputs = {name: output for name, output in each.outputs.items() if (dtype, size, name) in compared}
        if outputs:
            passes.append(KeptPass(dtype, each.images, outputs))
    return tuple(passes)


def _side_description(side: Side, reader: Reader, known_sha256: str | None) -> dict[str, Any]:
    return {
        **side.to_dict(),
        "path": Path(reader.path).name,
        "sha256": known_sha256 or sha256_of(reader.files),
        "tensors": hashed_tensors(reader),
    }


def _pass_descriptions(passes: Sequence[KeptPass]) -> list[dict[str, Any]]:
    return [
        {
            "dtype": each.dtype,
            "input_size": each.input_size,
            "end_points": [
                {"name": name, "shape": list(output.shape), "sampled": output.positions is not None}
                for name, output in each.outputs.items()
            ],
        }
        for each in passes
    ]


def _create(path: Path, description: Mapping[str, Any], passes: Sequence[KeptPass]) -> None:
    """Make the folder under another name, and give it its own when it is complete."""
    with staged(str(path)) as staging:
        _stage_files(staging, description, passes)
        staging.sync()
        publish_folder(staging, str(path))


def _replace(folder: Path, description: Mapping[str, Any], passes: Sequence[KeptPass]) -> None:
    """Replace the JSON, which is one step, and then remove the outputs that it no longer names."""
    before = set(folder.glob("outputs-*.safetensors"))
    with staged(str(folder / REFERENCE_JSON)) as staging:
        names = _stage_files(staging, description, passes)
        staging.sync()
        for name in names:
            publish_file(staging, str(folder / name))
    for file in before - {folder / name for name in names}:
        remove_file(str(file))


def _stage_files(staging: Staging, description: Mapping[str, Any], passes: Sequence[KeptPass]) -> list[str]:
    """Write the outputs, and the JSON that names them.

    Returns:
        The names of the files, the JSON last.
    """
    names, outputs = [REFERENCE_JSON], None
    if passes:
        digest = _stage_outputs(staging, passes)
        names.insert(0, outputs_name(digest))
        sample = {"values": SAMPLE_VALUES, "positions": SAMPLE_POSITIONS}
        outputs = {"sha256": digest, "sample_at_least": sample, "passes": _pass_descriptions(passes)}
    text = json.dumps({**description, "outputs": outputs}, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
    Path(staging.create(REFERENCE_JSON)).write_text(text, encoding="utf-8")
    return names


def _stage_outputs(staging: Staging, passes: Sequence[KeptPass]) -> str:
    """Write the file of outputs under the name that its sha256 gives it.

    Returns:
        The sha256.
    """
    arrays = dict(output_arrays(passes))
    specs = [TensorSpec(name, array.shape, array.dtype.name) for name, array in arrays.items()]
    writer = SafetensorsWriter("outputs.safetensors", specs, staging=staging)
    try:
        for name, array in arrays.items():
            writer.write(name, array)
        place = writer.seal()
    except BaseException:
        writer.abort()
        raise
    digest = sha256_of([place])
    Path(place).rename(staging.place(outputs_name(digest)))
    return digest
