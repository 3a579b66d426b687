"""A target judged by a stored reference: without the source, and without the source's framework.

Its tensors must have the sha256 that the reference holds, and its network must give the outputs that the source's
gave: at the positions that were kept, in both dtypes, within the limits of any verification. Where something differs,
what else has changed since then stands beside it: tensors, versions, options.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resport.conversion.conversion import considered_tables
from resport.conversion.provenance import sha256_of, stored_options, stored_provenance
from resport.conversion.reading import reading_options
from resport.conversion.target import check_complete
from resport.errors import DetectError, OptionError
from resport.formats import Reader, open_reader
from resport.mapping import PlanOptions, Table, detect, plan_copy
from resport.verification.environment import environment
from resport.verification.forward.evidence import EndPointDifference, ForwardResult, Noise, worst_of
from resport.verification.forward.forward import (
    FORWARD_FLOAT32_RATIO,
    FORWARD_FLOAT64_LIMIT,
    FORWARD_FLOAT64_REASON,
    Runnable,
    end_point_difference,
)
from resport.verification.forward.networks import NetworkPool
from resport.verification.forward.noise import OTHER_DTYPE
from resport.verification.pairing import NetworkOptions, Pair, no_networks, own_graphs, side_of, target_side
from resport.verification.references.changes import Change, changed
from resport.verification.references.hashes import compare_hashes
from resport.verification.references.manifest import is_manifest, verify_manifest
from resport.verification.references.recording import KeptOutput, KeptPass
from resport.verification.references.reference import Reference, StoredSide
from resport.verification.references.sampling import sampled
from resport.verification.references.stored_reference import load_reference
from resport.verification.report import Side, VerificationReport, WeightsResult

if TYPE_CHECKING:
    import numpy as np

NETWORK_OPTIONS = frozenset({"build", "build_source", "native"})
"""Options of the forward pass, not of the conversion: no provenance has them."""


def verify_against(
    directory: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    weights_only: bool = False,
    family: str | None = None,
    variant: str | None = None,
    table: str | os.PathLike[str] | None = None,
    build: Mapping[str, Any] | None = None,
    native: bool | None = None,
    kernel_order: str | None = None,
    deviation_epsilon: float | None = None,
    checksum: bool = True,
    progress: Callable[[str], None] | None = None,
) -> VerificationReport:
    """Repeat a proof that ``verify(..., save_reference=directory)`` stored, or hold a target against a manifest.

    Args:
        directory: the reference; or the file that ``inspect(..., manifest=file)`` wrote, which has the tensors alone.
        target: what is judged: the target of then, in any format, or what is to take its place. The source of then can
            be given too; its tensors alone are compared, because its outputs are what the reference holds.
        weights_only: compare the tensors and run no network.
        family: the target's family, where detection should not tell it.
        variant: the target's variant, where detection should not tell it.
        table: a mapping table of one's own.
        build: options of the target's builder; None for those of the proof.
        native: run the network that resport builds even where the target describes its own model; None for what the
            proof was made with.
        kernel_order: how a Keras HDF5 file has its convolution kernels; see ``convert``.
        deviation_epsilon: batch norm's epsilon in a file older than Keras 1.0.6; see ``convert``.
        checksum: hold the values against the checksums that the target has of them.
        progress: called with what is done next.

    Returns:
        The verdict with its evidence; ``changes`` is what is not as it was.

    Raises:
        FormatError: the reference or the target is damaged.
        SourceNotFoundError: one of them is not there.
        OptionError: the target has no tensor that the reference knows, or an option is given that it can't have.
        MissingDependencyError: the forward pass needs the target's framework.
    """
    started = time.perf_counter()
    reading = reading_options(kernel_order=kernel_order, deviation_epsilon=deviation_epsilon)
    if is_manifest(directory):
        return verify_manifest(directory, target, considered_tables(family, table), variant, reading, checksum=checksum)
    reference = load_reference(directory)
    with open_reader(target, checksum=checksum, **reading) as judged, NetworkPool() as pool:
        check_complete(judged)
        stored = _stored_side(reference, judged)
        networks = NetworkOptions(
            reference.build if build is None else build, {}, reference.is_native if native is None else native, pool
        )
        pair = _pair(judged, reference, considered_tables(family, table), variant, networks)
        weights = compare_hashes(stored, judged, pair.ignored)
        reason = "only the weights were asked for" if weights_only else _no_forward(reference, stored, pair, weights)
        forward = None if reason else compare_with_passes(reference, target_side(pair), progress)
        # Both sides of the pair are the target, so each note comes twice.
        notes = () if reason else tuple(dict.fromkeys(own_graphs(pair)))
        side = side_of(judged, pair.target_detection)
        changes = tuple(_changes(reference, stored, judged, side))
        return VerificationReport(
            source=replace(reference.source.side, path=reference.directory, format="reference"),
            target=side,
            weights=weights,
            forward=forward,
            forward_reason=reason,
            options=reference.options,
            seconds=time.perf_counter() - started,
            notes=(*((judged.note,) if judged.note else ()), *notes, *_reading_of(weights, forward, changes)),
            changes=changes,
        )


def compare_with_passes(
    reference: Reference, target: Runnable, progress: Callable[[str], None] | None = None
) -> ForwardResult:
    """Run a target on a reference's images and compare what was kept of each end point.

    Args:
        reference: the reference.
        target: the network that is judged.
        progress: called with what is done next.
    """
    points: dict[str, tuple[EndPointDifference, ...]] = {"float64": (), "float32": ()}
    for dtype in points:
        passes = [each for each in reference.passes if each.dtype == dtype]
        if passes:
            (progress or (lambda _: None))(f"target in {dtype}")
            outputs = target.run(dtype, [each.images for each in passes])
            points[dtype] = tuple(
                point for each, found in zip(passes, outputs, strict=True) for point in _compared(each, found)
            )
    noise = tuple(_noise(reference.passes))
    floor = max((each.max_rel_diff for each in noise), default=0.0)
    return ForwardResult(
        float64=points["float64"],
        float32=points["float32"],
        noise_floor=floor,
        limit=FORWARD_FLOAT64_LIMIT,
        limit_reason=FORWARD_FLOAT64_REASON if points["float64"] else "the reference has no outputs in float64",
        float32_ratio_limit=FORWARD_FLOAT32_RATIO,
        input_sizes=tuple(dict.fromkeys(each.input_size for each in reference.passes)),
        batch_size=len(reference.passes[0].images),
        noise=noise,
    )


def _stored_side(reference: Reference, judged: Reader) -> StoredSide:
    """The side of the reference whose tensors the judged file has; the target where both are as near."""

    def nearness(side: StoredSide) -> tuple[int, int]:
        shared = [tensor.spec for name, tensor in side.tensors.items() if name in judged.manifest]
        return len(shared), sum(judged.manifest[spec.name] == spec for spec in shared)

    nearest = max((reference.target, reference.source), key=nearness)
    if nearness(nearest) == (0, 0):
        raise OptionError(
            f"`{judged.path}` has no tensor that the reference knows",
            expected=", ".join([*reference.target.tensors][:3]),
            got=", ".join([*judged.manifest][:3]),
            hint="give the target that was verified, or the source; names below another scope are other names",
        )
    return nearest


def _pair(
    judged: Reader, reference: Reference, tables: Sequence[Table], variant: str | None, networks: NetworkOptions
) -> Pair:
    """The target beside itself, with the options of the proof: all that building its network asks for."""
    try:
        found = detect(judged.manifest, tables, variant=variant)
    except DetectError:
        found = None
    options = PlanOptions(swap_rgb=bool(reference.options.get("swap_rgb")))
    return Pair(judged, judged, found, found, plan_copy(judged.manifest), options, networks)


def _no_forward(reference: Reference, stored: StoredSide, pair: Pair, weights: WeightsResult) -> str | None:
    if not reference.passes:
        return "the reference holds no outputs: it was made with --weights-only, or of a network that none can build"
    if stored is reference.source:
        return "this is the reference's source, whose outputs are what it holds"
    if any(difference.kind in ("missing", "shape") for difference in weights.differences):
        return "the target lacks tensors of the reference, or has them in other shapes"
    return no_networks(pair)


def _compared(kept: KeptPass, found: Mapping[str, np.ndarray]) -> Iterator[EndPointDifference]:
    for name, output in kept.outputs.items():
        value = found.get(name)
        if value is None or value.shape != output.shape:
            infinity = float("inf")
            yield EndPointDifference(name, kept.input_size, infinity, infinity, infinity)
        else:
            yield end_point_difference(name, kept.input_size, output.values, sampled(value, output.positions))


def _noise(passes: Sequence[KeptPass]) -> Iterator[Noise]:
    """How far the source's kept float32 outputs are from its float64 ones."""
    exact: dict[tuple[int, str], KeptOutput] = {
        (each.input_size, name): output
        for each in passes
        if each.dtype == "float64"
        for name, output in each.outputs.items()
    }
    points = [
        end_point_difference(name, each.input_size, exact[each.input_size, name].values, output.values)
        for each in passes
        if each.dtype == "float32"
        for name, output in each.outputs.items()
        if (each.input_size, name) in exact
    ]
    worst = worst_of(points)
    if worst is not None:
        yield Noise(OTHER_DTYPE, worst.max_rel_diff, worst.name)


def _changes(reference: Reference, stored: StoredSide, judged: Reader, side: Side) -> Iterator[Change]:
    identity = ("format", "family", "variant", "dialect", "num_classes")
    was, is_now = stored.side.to_dict(), side.to_dict()
    whose = "source's" if stored is reference.source else "target's"
    yield from changed(whose, {key: was[key] for key in identity}, {key: is_now[key] for key in identity})
    yield from changed(whose, {"sha256": stored.sha256}, {"sha256": sha256_of(judged.files)})
    if stored is reference.target and stored_provenance(judged.metadata) is not None:
        then = {name: value for name, value in reference.options.items() if name not in NETWORK_OPTIONS}
        yield from changed("option", then, stored_options(judged.metadata))
    before, after = dict(reference.environment), environment()
    yield from changed("", {"platform": before.pop("platform", None)}, {"platform": after.pop("platform")})
    yield from changed("version of", before, after)


def _reading_of(weights: WeightsResult, forward: ForwardResult | None, changes: Sequence[Change]) -> tuple[str, ...]:
    """What a difference means, where the changes tell."""
    if forward is None or forward.is_equal or not weights.is_equal:
        return ()
    moved = [change.what for change in changes if change.what.startswith(("version of", "platform"))]
    if not moved:
        return ("the tensors and all versions are those of the reference, the outputs are not",)
    return (f"the tensors are those of the reference, so what runs them computes otherwise: {', '.join(moved)}",)
