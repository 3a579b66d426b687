"""Prove that two checkpoints are the same network: exact weights through the table, then forward passes past it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from resport.conversion.conversion import considered_tables
from resport.conversion.target import check_complete
from resport.errors import OptionError
from resport.formats import Reader, open_reader
from resport.mapping import Detection
from resport.verification.forward import compare_forward
from resport.verification.pairing import Pair, conversion_options, no_networks, paired, source_side, target_side
from resport.verification.report import ForwardResult, Side, VerificationReport, WeightsResult
from resport.verification.weights import compare_weights


def verify(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    weights_only: bool = False,
    input_size: int | None = None,
    batch_size: int = 2,
    family: str | None = None,
    variant: str | None = None,
    table: str | os.PathLike[str] | None = None,
    drop_background: bool | None = None,
    ema: bool | None = None,
    fold: bool | None = None,
    swap_rgb: bool | None = None,
    dtype: str | None = None,
    ignore: Iterable[str] = (),
    progress: Callable[[str], None] | None = None,
) -> VerificationReport:
    """Verify that a target computes what its source computes.

    What a conversion was asked to change (``drop_background``, ``ema``, ``fold``, ``swap_rgb``, ``dtype``, ``ignore``)
    is read off the target's provenance where it isn't given.

    Args:
        source: the reference.
        target: what is judged.
        weights_only: compare the tensors and build no network.
        input_size: height and width of the images, or None for those that the network was made for; the next odd or
            even size is tried as well.
        batch_size: images in each pass.
        family: both sides' family, where detection should not tell it.
        variant: both sides' variant, where detection should not tell it.
        table: a mapping table of one's own.
        drop_background: the target lacks the source's class 0.
        ema: the target has the source's moving averages.
        fold: the target has tensors taken into others.
        swap_rgb: the target takes images with their colour channels turned round.
        dtype: floating-point tensors were stored as this dtype; the source is rounded to it before it is compared.
        ignore: globs of names that were left out.
        progress: called with what is done next.

    Returns:
        The verdict with its evidence.

    Raises:
        ResportError: one of the files cannot be read, or a source and plan do not fit.
        MissingDependencyError: forward passes need ``resport[verify]``.

    Example:
        >>> resport.verify("model.ckpt-88000", "model.h5").raise_for_difference()  # doctest: +SKIP
    """
    started = time.perf_counter()
    given = {"drop_background": drop_background, "ema": ema, "fold": fold, "swap_rgb": swap_rgb, "dtype": dtype}
    with open_reader(source) as reference, open_reader(target) as judged:
        check_complete(reference)
        check_complete(judged)
        options, notes = conversion_options(judged, given, tuple(ignore))
        pair = paired(reference, judged, options, considered_tables(family, table), variant)
        weights = compare_weights(reference, judged, pair.plan, pair.ignored)
        reason = "only the weights were asked for" if weights_only else no_networks(pair)
        forward = None if reason else _forward(pair, input_size, batch_size, progress)
        return VerificationReport(
            source=_side(reference, pair.source_detection),
            target=_side(judged, pair.target_detection),
            weights=weights,
            forward=forward,
            forward_reason=reason,
            options=options.value_changes(),
            seconds=time.perf_counter() - started,
            notes=(
                *(reader.note for reader in (reference, judged) if reader.note),
                *notes,
                *_contradiction(pair, weights, forward),
            ),
        )


def _forward(
    pair: Pair, input_size: int | None, batch_size: int, progress: Callable[[str], None] | None
) -> ForwardResult:
    from resport.architectures.registry import own_input_size

    source, target = source_side(pair), target_side(pair)
    input_sizes = _input_sizes(own_input_size(source.variant, source.dialect) if input_size is None else input_size)
    return compare_forward(
        source, target, input_sizes, batch_size=batch_size, rounds=pair.options.fold, progress=progress
    )


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


def _input_sizes(input_size: int) -> tuple[int, ...]:
    """The size asked for and its neighbour: one even, one odd, because paddings differ on even maps alone."""
    if input_size < 1:
        raise OptionError("an input has at least one pixel", got=input_size)
    return (input_size, input_size + 1)


def _side(reader: Reader, detection: Detection | None) -> Side:
    return Side(
        reader.path,
        reader.format,
        detection.family if detection else None,
        detection.variant if detection else None,
        detection.dialect if detection else None,
        detection.num_classes if detection else None,
    )
