"""Two checkpoints put side by side: what each was detected as, how one becomes the other, and the networks to run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from resport.conversion.provenance import stored_provenance
from resport.conversion.reading import ReadingOptions, open_both
from resport.errors import DetectError, OptionError
from resport.formats import Reader
from resport.mapping import Detection, Plan, PlanOptions, Table, detect, expand, plan_conversion, plan_copy
from resport.mapping.detection import ignored_kind
from resport.verification.forward.forward import NetworkSide
from resport.verification.forward.networks import NetworkPool, Read
from resport.verification.report import Side
from resport.verification.rounding import rounded_read

if TYPE_CHECKING:
    import numpy as np


KERAS_MODEL_FORMATS = frozenset({"keras-archive", "keras-legacy-h5"})
MODEL_CONFIG = "model_config"


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Which networks are run in the forward passes.

    Attributes:
        build: options of the target's builder.
        build_source: options of the source's builder.
        is_native: run resport's builders even where a file describes its own model.
        pool: keeps networks open between passes.
    """

    build: Mapping[str, Any] = field(default_factory=dict)
    build_source: Mapping[str, Any] = field(default_factory=dict)
    is_native: bool = False
    pool: NetworkPool | None = None

    def described(self) -> dict[str, str | bool]:
        """The options that were given, as reports name them."""
        texts = {"build": self.build, "build_source": self.build_source}
        found: dict[str, str | bool] = {
            name: ", ".join(f"{option}={value}" for option, value in options.items())
            for name, options in texts.items()
            if options
        }
        return found | ({"native": True} if self.is_native else {})


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
        networks: which networks are run.
    """

    source: Reader
    target: Reader
    source_detection: Detection | None
    target_detection: Detection | None
    plan: Plan
    options: PlanOptions
    networks: NetworkOptions = field(default_factory=NetworkOptions)

    @property
    def ignored(self) -> frozenset[str]:
        """Target names that an ignore rule explains."""
        if self.target_detection is None:
            return frozenset()
        globs = self.target_detection.table.ignore[self.target_detection.dialect]
        return frozenset(name for name in self.target.manifest if ignored_kind(name, globs))


@contextmanager
def opened_pair(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    reading: ReadingOptions,
    given: Mapping[str, Any],
    ignore: tuple[str, ...],
    tables: Sequence[Table],
    variant: str | None = None,
    *,
    checksum: bool = True,
) -> Iterator[tuple[Pair, tuple[str, ...]]]:
    """Open two checkpoints and put them side by side.

    Args:
        source: the reference.
        target: what is judged.
        reading: how old Keras files are read; the source as the target's provenance says, where nothing is given.
        given: options of the conversion by name; None for what the target's provenance says.
        ignore: globs of names that were left out.
        tables: those that may name the tensors.
        variant: both sides' variant, or None to detect it.
        checksum: hold the values against the checksums that the two have of them.

    Yields:
        The pair, and notes about what the two files told.

    Raises:
        ResportError: one of them cannot be read, or the two do not fit; see ``open_both`` and ``paired``.
    """
    with open_both(source, target, reading, recorded=True, checksum=checksum) as (reference, judged):
        options, notes = conversion_options(judged, given, ignore)
        notes = (*(reader.note for reader in (reference, judged) if reader.note), *notes)
        yield paired(reference, judged, options, tables, variant), notes


def side_of(reader: Reader, detection: Detection | None) -> Side:
    """A checkpoint as reports describe it.

    Args:
        reader: the open checkpoint.
        detection: what it was detected as, or None.
    """
    if detection is None:
        return Side(reader.path, reader.format, None, None, None, None)
    family, variant, dialect = detection.family, detection.variant, detection.dialect
    return Side(reader.path, reader.format, family, variant, dialect, detection.num_classes)


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


def own_graphs(pair: Pair) -> tuple[str, ...]:
    """What is to be known about the graphs that the files describe themselves: which are run, and which cannot be."""
    notes = []
    for reader, detection, build in _described_sides(pair):
        graph, problem = _own_graph(reader, detection, build, pair.networks.is_native)
        if graph is not None:
            notes.append(f"`{reader.path}` describes its own model: that was run, not the one that resport builds")
        elif problem is not None:
            notes.append(f"the network that resport builds was run: {problem}")
    return tuple(notes)


def source_side(pair: Pair, read: Read | None = None) -> NetworkSide:
    """The source's network, read as the target was made: its moving averages, rounded as the stored values are.

    Args:
        pair: the two checkpoints.
        read: gives a tensor by the source's name, in place of the file.
    """
    assert pair.source_detection is not None
    adjust = {"logits": _without_background, "predictions": _renormalised} if pair.options.drop_background else {}
    values = _source_read(pair, read or pair.source.read)
    side = _network_side(pair.source_detection, values, pair.networks.build_source, pair.networks.pool)
    graph, _ = _own_graph(pair.source, pair.source_detection, pair.networks.build_source, pair.networks.is_native)
    return replace(side, adjust=adjust, graph=graph)


def target_side(pair: Pair, read: Read | None = None) -> NetworkSide:
    """The target's network, read by its own names.

    Args:
        pair: the two checkpoints.
        read: gives a tensor by the target's name, in place of the file.
    """
    assert pair.target_detection is not None
    side = _network_side(pair.target_detection, read or pair.target.read, pair.networks.build, pair.networks.pool)
    graph, _ = _own_graph(pair.target, pair.target_detection, pair.networks.build, pair.networks.is_native)
    return replace(side, is_reversed=pair.options.swap_rgb, graph=graph)


def _described_sides(pair: Pair) -> list[tuple[Reader, Detection, Mapping[str, Any]]]:
    assert pair.source_detection is not None and pair.target_detection is not None
    return [
        (pair.source, pair.source_detection, pair.networks.build_source),
        (pair.target, pair.target_detection, pair.networks.build),
    ]


def _own_graph(
    reader: Reader, detection: Detection, build: Mapping[str, Any], is_native: bool
) -> tuple[str | None, str | None]:
    """The graph that a file describes itself; or None, and why it has one that is not run."""
    from resport.architectures.keras_own_graph import describe_own_graph
    from resport.architectures.registry import find_builder

    if reader.format not in KERAS_MODEL_FORMATS or MODEL_CONFIG not in reader.metadata or is_native:
        return None, None
    if build:
        return None, f"`{reader.path}` describes its own model, which has no options to build it with"
    if not find_builder(detection.variant, detection.dialect).end_points:
        return None, f"`{reader.path}` describes its own model, and dialect {detection.dialect} is none of Keras"
    largest = max((size for spec in reader.manifest.values() for size in spec.shape), default=1)
    try:
        return describe_own_graph(reader.metadata[MODEL_CONFIG], largest), None
    except OptionError as error:
        got = "" if error.got is None else f" ({error.got})"
        return None, f"`{reader.path}` describes its own model, but {error.message}{got}"


def _network_side(detection: Detection, read: Read, build: Mapping[str, Any], pool: NetworkPool | None) -> NetworkSide:
    """The network of one side; its builder's names get the file's scope in front."""
    builder_root = expand(detection.table, detection.variant).roots[detection.dialect]
    options: dict[str, Any] = {"num_classes": detection.num_classes, "input_size": None}
    if detection.embedding_size is not None:
        options["embedding_size"] = detection.embedding_size

    def read_builder_name(name: str) -> np.ndarray:
        return read(detection.root + name.removeprefix(builder_root))

    return NetworkSide(detection.variant, detection.dialect, {**options, **build}, read_builder_name, {}, pool=pool)


def _source_read(pair: Pair, stored: Read) -> Read:
    assert pair.source_detection is not None
    suffix = pair.source_detection.table.shadow.get(pair.source_detection.dialect, "")
    shadowed = frozenset(pair.plan.shadowed)
    rounded = rounded_read(pair.plan, stored, pair.options.dtype)

    def read(name: str) -> np.ndarray:
        return rounded(name + suffix if name in shadowed else name)

    return read


def _without_background(logits: np.ndarray) -> np.ndarray:
    return logits[..., 1:]


def _renormalised(predictions: np.ndarray) -> np.ndarray:
    kept = predictions[..., 1:]
    return kept / kept.sum(axis=-1, keepdims=True)
