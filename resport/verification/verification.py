"""Prove that two checkpoints are the same network: exact weights through the table, then forward passes past it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from resport.conversion.conversion import considered_tables
from resport.conversion.provenance import stored_provenance
from resport.conversion.target import check_complete
from resport.dtypes import to_numpy
from resport.errors import DetectError, OptionError
from resport.formats import Reader, open_reader
from resport.mapping import (
    Detection,
    Plan,
    PlanOptions,
    Table,
    detect,
    expand,
    plan_conversion,
    plan_copy,
)
from resport.mapping.detection import ignored_kind
from resport.verification.forward import NetworkSide, compare_forward
from resport.verification.report import ForwardResult, Side, VerificationReport, WeightsResult
from resport.verification.weights import compare_weights

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two open checkpoints, what they were detected as, and how one becomes the other."""

    source: Reader
    target: Reader
    source_detection: Detection | None
    target_detection: Detection | None
    plan: Plan
    options: PlanOptions


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
        options, notes = _options(judged, given, tuple(ignore))
        pair = _pair(reference, judged, options, considered_tables(family, table), variant)
        weights = compare_weights(reference, judged, pair.plan, _ignored_names(pair))
        reason = "only the weights were asked for" if weights_only else _no_forward(pair)
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


def _options(target: Reader, given: Mapping[str, Any], ignore: tuple[str, ...]) -> tuple[PlanOptions, tuple[str, ...]]:
    """What the conversion changed: as given, else as the target's provenance says."""
    recorded = stored_provenance(target.metadata) or {}
    options_recorded = recorded.get("options")
    changes = options_recorded if isinstance(options_recorded, dict) else {}
    values = {name: changes.get(name) if value is None else value for name, value in given.items()}
    left_out = ignore or tuple(str(glob) for glob in recorded.get("ignored", ()))
    options = PlanOptions(
        bool(values["drop_background"]),
        bool(values["ema"]),
        bool(values["fold"]),
        values["dtype"],
        left_out,
        bool(values["swap_rgb"]),
    )
    taken = [name for name, value in given.items() if value is None and changes.get(name)]
    notes = (f"the target says that it was made with {', '.join(taken)}",) if taken else ()
    return options, notes


def _pair(source: Reader, target: Reader, options: PlanOptions, tables: Sequence[Table], variant: str | None) -> _Pair:
    """Detect both sides; networks that no table knows are compared by name."""
    try:
        found = detect(source.manifest, tables, variant=variant)
    except DetectError:
        return _Pair(source, target, None, None, plan_copy(source.manifest, options), options)
    judged = detect(target.manifest, [found.table], variant=variant or found.variant)
    expansion = found.expand({judged.dialect: judged.root}, judged.named_classes or judged.num_classes)
    if found.dialect == judged.dialect and found.root != judged.root:
        raise OptionError(
            f"both sides have {found.dialect} names, below different scopes",
            expected=f"`{found.root}`",
            got=f"`{judged.root}`",
            hint="`resport diff` compares by full name",
        )
    plan = plan_conversion(source.manifest, expansion, found.dialect, judged.dialect, options)
    return _Pair(source, target, found, judged, plan, options)


def _ignored_names(pair: _Pair) -> set[str]:
    """Target names that an ignore rule explains."""
    if pair.target_detection is None:
        return set()
    globs = pair.target_detection.table.ignore[pair.target_detection.dialect]
    return {name for name in pair.target.manifest if ignored_kind(name, globs)}


def _no_forward(pair: _Pair) -> str | None:
    """Why no forward pass can be run, or None."""
    from resport.architectures.registry import find_builder

    if pair.source_detection is None or pair.target_detection is None:
        return "no family is known for these names, so there is no network to run"
    for detection in (pair.source_detection, pair.target_detection):
        try:
            find_builder(detection.variant, detection.dialect)
        except OptionError as error:
            return str(error.message)
    return None


def _forward(
    pair: _Pair, input_size: int | None, batch_size: int, progress: Callable[[str], None] | None
) -> ForwardResult:
    from resport.architectures.registry import own_input_size

    assert pair.source_detection is not None and pair.target_detection is not None
    source = _network_side(pair.source, pair.source_detection, _source_read(pair))
    target = _network_side(pair.target, pair.target_detection, pair.target.read)
    if pair.options.swap_rgb:
        target = replace(target, is_reversed=True)
    if pair.options.drop_background:
        source = replace(source, adjust={"logits": _without_background, "predictions": _renormalised})
    input_sizes = _input_sizes(own_input_size(source.variant, source.dialect) if input_size is None else input_size)
    return compare_forward(
        source, target, input_sizes, batch_size=batch_size, rounds=pair.options.fold, progress=progress
    )


def _contradiction(pair: _Pair, weights: WeightsResult, forward: ForwardResult | None) -> tuple[str, ...]:
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


def _network_side(reader: Reader, detection: Detection, read: Callable[[str], np.ndarray]) -> NetworkSide:
    """The network of one side; its builder's names get the file's scope in front."""
    builder_root = expand(detection.table, detection.variant).roots[detection.dialect]
    options: dict[str, Any] = {"num_classes": detection.num_classes, "input_size": None}
    if detection.embedding_size is not None:
        options["embedding_size"] = detection.embedding_size

    def read_builder_name(name: str) -> np.ndarray:
        return read(detection.root + name.removeprefix(builder_root))

    return NetworkSide(detection.variant, detection.dialect, options, read_builder_name, {})


def _source_read(pair: _Pair) -> Callable[[str], np.ndarray]:
    """Reads the source as the target was made: its moving averages, rounded to the stored dtype."""
    assert pair.source_detection is not None
    suffix = pair.source_detection.table.shadow.get(pair.source_detection.dialect, "")
    shadowed = frozenset(pair.plan.shadowed)

    def read(name: str) -> np.ndarray:
        array = pair.source.read(name + suffix if name in shadowed else name)
        return array if pair.options.dtype is None else array.astype(to_numpy(pair.options.dtype))

    return read


def _without_background(logits: np.ndarray) -> np.ndarray:
    return logits[..., 1:]


def _renormalised(predictions: np.ndarray) -> np.ndarray:
    kept = predictions[..., 1:]
    return kept / kept.sum(axis=-1, keepdims=True)


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
