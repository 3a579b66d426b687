"""Two checkpoints put side by side: what each was detected as, how one becomes the other, and the networks to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resport.conversion.provenance import stored_provenance
from resport.dtypes import to_numpy
from resport.errors import DetectError, OptionError
from resport.formats import Reader
from resport.mapping import Detection, Plan, PlanOptions, Table, detect, expand, plan_conversion, plan_copy
from resport.mapping.detection import ignored_kind
from resport.verification.forward import NetworkSide

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Pair:
    """The two open checkpoints, what they were detected as, and how one becomes the other.

    Attributes:
        source: the reference.
        target: what is judged.
        source_detection: what the source is; None where no table knows its names.
        target_detection: the same of the target.
        plan: how the source's tensors become the target's.
        options: what the conversion changed.
    """

    source: Reader
    target: Reader
    source_detection: Detection | None
    target_detection: Detection | None
    plan: Plan
    options: PlanOptions

    @property
    def ignored(self) -> frozenset[str]:
        """Target names that an ignore rule explains."""
        if self.target_detection is None:
            return frozenset()
        globs = self.target_detection.table.ignore[self.target_detection.dialect]
        return frozenset(name for name in self.target.manifest if ignored_kind(name, globs))


def conversion_options(
    target: Reader, given: Mapping[str, Any], ignore: tuple[str, ...]
) -> tuple[PlanOptions, tuple[str, ...]]:
    """What the conversion changed: as given, else as the target's provenance says.

    Args:
        target: the converted checkpoint.
        given: options that change values, by name; None where they aren't given.
        ignore: globs of names that were left out.

    Returns:
        The options, and notes about those that the target told.
    """
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


def paired(source: Reader, target: Reader, options: PlanOptions, tables: Sequence[Table], variant: str | None) -> Pair:
    """Detect both sides; networks that no table knows are compared by name.

    Args:
        source: the reference.
        target: what is judged.
        options: what the conversion changed.
        tables: those that may name the tensors.
        variant: both sides' variant, or None to detect it.

    Raises:
        DetectError: the target is not of the source's family.
        OptionError: both sides have one dialect below different scopes.
        PlanError: names or shapes that do not fit.
    """
    try:
        found = detect(source.manifest, tables, variant=variant)
    except DetectError:
        return Pair(source, target, None, None, plan_copy(source.manifest, options), options)
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
    return Pair(source, target, found, judged, plan, options)


def no_networks(pair: Pair) -> str | None:
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


def source_side(pair: Pair) -> NetworkSide:
    """The source's network, read as the target was made: its moving averages, rounded to the stored dtype."""
    assert pair.source_detection is not None
    adjust = {"logits": _without_background, "predictions": _renormalised} if pair.options.drop_background else {}
    return _network_side(pair.source_detection, _source_read(pair), adjust)


def target_side(pair: Pair) -> NetworkSide:
    """The target's network, read by its own names."""
    assert pair.target_detection is not None
    return _network_side(pair.target_detection, pair.target.read, {}, is_reversed=pair.options.swap_rgb)


def _network_side(
    detection: Detection,
    read: Callable[[str], np.ndarray],
    adjust: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    is_reversed: bool = False,
) -> NetworkSide:
    """The network of one side; its builder's names get the file's scope in front."""
    builder_root = expand(detection.table, detection.variant).roots[detection.dialect]
    options: dict[str, Any] = {"num_classes": detection.num_classes, "input_size": None}
    if detection.embedding_size is not None:
        options["embedding_size"] = detection.embedding_size

    def read_builder_name(name: str) -> np.ndarray:
        return read(detection.root + name.removeprefix(builder_root))

    return NetworkSide(detection.variant, detection.dialect, options, read_builder_name, adjust, is_reversed)


def _source_read(pair: Pair) -> Callable[[str], np.ndarray]:
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
