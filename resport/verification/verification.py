"""Prove that two checkpoints are the same network: exact weights through the table, then forward passes past it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from resport.conversion.conversion import considered_tables
from resport.conversion.provenance import SourceDigest
from resport.conversion.reading import reading_options
from resport.verification.forward.networks import NetworkPool
from resport.verification.pairing import NetworkOptions, Pair, no_networks, opened_pair, side_of
from resport.verification.passes import PassOptions, PassResults, run_passes
from resport.verification.record import make_record
from resport.verification.references.recording import Recording
from resport.verification.report import EQUAL, ForwardResult, VerificationReport, WeightsResult
from resport.verification.weights import compare_weights


def verify(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    weights_only: bool = False,
    input_size: int | None = None,
    batch_size: int = 2,
    probe: bool | None = None,
    thorough: bool = False,
    build: Mapping[str, Any] | None = None,
    build_source: Mapping[str, Any] | None = None,
    native: bool = False,
    self_test: bool = False,
    diagnose: bool = True,
    save_reference: str | os.PathLike[str] | None = None,
    force: bool = False,
    family: str | None = None,
    variant: str | None = None,
    table: str | os.PathLike[str] | None = None,
    drop_background: bool | None = None,
    ema: bool | None = None,
    fold: bool | None = None,
    swap_rgb: bool | None = None,
    dtype: str | None = None,
    ignore: Iterable[str] = (),
    kernel_order: str | None = None,
    deviation_epsilon: float | None = None,
    checksum: bool = True,
    progress: Callable[[str], None] | None = None,
) -> VerificationReport:
    """Verify that a target computes what its source computes.

    What the conversion changed, and how it read its source, is taken from the target's provenance where it isn't given.

    Args:
        source: the reference.
        target: what is judged.
        weights_only: compare the tensors and build no network.
        input_size: height and width of the images; None for the network's own. One even and one odd size are tried.
        batch_size: images in each pass.
        probe: run random weights, moved as the file's were; None where the file's own could hide a mistake.
        thorough: measure the noise of float32 with other numbers of threads and other kernels too.
        build: options of the target's builder, as ``resport.build`` has them.
        build_source: the same of the source's.
        native: run the networks that resport builds even where a file describes its own model.
        self_test: make every known mistake on the target, and see whether it is caught.
        diagnose: look for an explanation where the outputs differ.
        save_reference: a new folder for the proof, which ``verify_against`` repeats later without the source.
        force: replace a reference that is there.
        family: both sides' family, where detection should not tell it.
        variant: both sides' variant, likewise.
        table: a mapping table of one's own.
        drop_background: the target lacks the source's class 0.
        ema: the target has the source's moving averages.
        fold: the target has tensors taken into others.
        swap_rgb: the target takes images with their colour channels turned round.
        dtype: floating-point tensors were stored as this dtype; the source is rounded to it before it is compared.
        ignore: globs of names that were left out.
        kernel_order: how a Keras HDF5 file has its convolution kernels; see ``convert``.
        deviation_epsilon: batch norm's epsilon in a file older than Keras 1.0.6; see ``convert``.
        checksum: hold the values against the checksums that the two have of them.
        progress: called with what is done next.

    Returns:
        The verdict with its evidence.

    Raises:
        ResportError: one of the files cannot be read, or a source and plan do not fit.
        MissingDependencyError: forward passes need ``resport[verify]``.

    Example:
        >>> resport.verify("model.ckpt-88000", "model.h5").raise_for_difference()  # doctest: +SKIP
    """
    given = {"drop_background": drop_background, "ema": ema, "fold": fold, "swap_rgb": swap_rgb, "dtype": dtype}
    reading = reading_options(kernel_order=kernel_order, deviation_epsilon=deviation_epsilon)
    passes = PassOptions(input_size, batch_size, probe, thorough, self_test, diagnose, progress)
    opening = partial(opened_pair, source, target, reading, given, tuple(ignore), considered_tables(family, table))
    networks = partial(NetworkOptions, build or {}, build_source or {}, native)
    opened = partial(opening, variant, checksum=checksum)
    return _verified(opened, networks, weights_only, passes, save_reference, force)


def _verified(
    opened: Callable[[], AbstractContextManager[tuple[Pair, tuple[str, ...]]]],
    networks: Callable[[NetworkPool], NetworkOptions],
    weights_only: bool,
    passes: PassOptions,
    save_reference: str | os.PathLike[str] | None,
    force: bool,
) -> VerificationReport:
    """Open a pair and judge it; whether a reference may be stored where it shall be is looked at before that."""
    if save_reference is not None:
        from resport.verification.references.reference import check_reference_target

        check_reference_target(save_reference, force=force)
    with (
        opened() as (bare, notes),
        SourceDigest(bare.source.files) as of_source,
        SourceDigest(bare.target.files) as of_target,
        NetworkPool() as pool,
    ):
        pair = replace(bare, networks=networks(pool))
        report, recording = _judge(pair, weights_only, passes, notes, lambda: (of_source.result(), of_target.result()))
        return report if save_reference is None else _stored(save_reference, pair, report, recording, force)


def _stored(
    directory: str | os.PathLike[str],
    pair: Pair,
    report: VerificationReport,
    recording: Recording | None,
    force: bool,
) -> VerificationReport:
    """Store a proof, if it is one; the report then says so."""
    from resport.verification.references.reference import save_reference

    if report.verdict != EQUAL:
        return replace(report, notes=(*report.notes, "no reference was stored: the two differ"))
    save_reference(directory, pair, report, recording, force=force)
    return report


def _judge(
    pair: Pair,
    weights_only: bool,
    passes: PassOptions,
    notes: Sequence[str],
    digests: Callable[[], tuple[str, str]],
) -> tuple[VerificationReport, Recording | None]:
    """The verdict on a pair, and what a reference stores of the source's outputs."""
    started = time.perf_counter()
    weights = compare_weights(pair.source, pair.target, pair.plan, pair.ignored)
    reason = "only the weights were asked for" if weights_only else _no_passes(pair, weights)
    results = PassResults() if reason else run_passes(pair, weights, passes)
    report = VerificationReport(
        source=side_of(pair.source, pair.source_detection),
        target=side_of(pair.target, pair.target_detection),
        weights=weights,
        forward=results.forward,
        forward_reason=reason,
        options={**pair.options.value_changes(), **pair.networks.described()},
        seconds=time.perf_counter() - started,
        notes=(
            *notes,
            *results.notes,
            *(() if results.has_other_graphs else _contradiction(pair, weights, results.forward)),
        ),
        probe=results.probe,
        self_test=results.self_test,
        diagnosis=results.diagnosis,
        record=make_record(pair, weights, *digests()),
    )
    return report, results.recording


def _no_passes(pair: Pair, weights: WeightsResult) -> str | None:
    """Why no forward pass can be run, or None."""
    unfit = next((each for each in weights.differences if each.kind in ("missing", "shape")), None)
    return no_networks(pair) or (f"`{unfit.name}` of the target fits no network: {unfit.detail}" if unfit else None)


def _contradiction(pair: Pair, weights: WeightsResult, forward: ForwardResult | None) -> tuple[str, ...]:
    """Where the forward passes are not what the table says of the two dialects."""
    source, target = pair.source_detection, pair.target_detection
    if source is None or target is None or forward is None or source.dialect == target.dialect:
        return ()
    relation = source.table.relation(source.dialect, target.dialect)
    # Networks whose weights differ may differ: that says nothing of the table.
    if relation is None or not weights.is_equal or forward.is_equal == relation.is_same_function:
        return ()
    found = "agree" if forward.is_equal else "differ"
    return (f"the forward passes {found}, against the table: {relation.sentence}",)
