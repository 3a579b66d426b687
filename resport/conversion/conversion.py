"""Convert a checkpoint: detect, expand, plan, stream, finish, report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from resport.conversion.provenance import PROVENANCE_KEY, UNKNOWN_DIGEST, SourceDigest, provenance
from resport.conversion.reading import ReadingOptions, reading_options
from resport.conversion.report import ConversionReport
from resport.conversion.resuming import work_of
from resport.conversion.stream import Progress, check_constants, check_diagonals
from resport.conversion.target import (
    Describe,
    check_capacity,
    check_files,
    model_options,
    target_format,
    writer_options,
    written_format,
)
from resport.conversion.writing import Written, write_target
from resport.errors import OptionError
from resport.formats import Format, Reader, open_reader
from resport.formats.resumption import journalled_writer
from resport.mapping import (
    Detection,
    Move,
    Plan,
    PlanOptions,
    Table,
    detect,
    load_table,
    plan_conversion,
    plan_copy,
    shipped_tables,
)
from resport.mapping.outlines import outlines_of
from resport.mapping.plan import ignore_rule
from resport.mapping.relations import EQUAL
from resport.tensors import Manifest


class Route(NamedTuple):
    """How a source is to be read and named: the plan, and what it rests on."""

    plan: Plan
    table: Table | None
    detection: Detection | None


class Naming(NamedTuple):
    """What the user says of a source's names and of the target's; None where it is to be found out."""

    from_: str | None
    to: str | None
    family: str | None
    variant: str | None
    table: str | os.PathLike[str] | None


class Safety(NamedTuple):
    """What is checked, and what may be changed on disk; see ``convert``."""

    checksum: bool
    readback: bool
    force: bool
    dry_run: bool
    resume: bool
    target_digest: bool


class Request(NamedTuple):
    """What is to be converted, and how; see ``convert``."""

    source: str
    target: str
    options: PlanOptions
    reading: ReadingOptions
    naming: Naming
    safety: Safety


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    from_: str | None = None,
    to: str | None = None,
    family: str | None = None,
    variant: str | None = None,
    table: str | os.PathLike[str] | None = None,
    dtype: str | None = None,
    drop_background: bool = False,
    ema: bool = False,
    fold: bool = False,
    swap_rgb: bool = False,
    ignore: Iterable[str] = (),
    dry_run: bool = False,
    force: bool = False,
    format: str | None = None,
    max_shard_size: int | str | None = None,
    n_shards: int | None = None,
    write_state: bool = False,
    kernel_order: str | None = None,
    deviation_epsilon: float | None = None,
    checksum: bool = True,
    readback: bool = True,
    resume: bool = False,
    target_digest: bool = True,
    describe: Describe | None = None,
    progress: Progress | None = None,
) -> ConversionReport:
    """Convert a checkpoint to the format that the target's name asks for and, with ``to``, to another dialect.

    Args:
        source: a checkpoint of any format that resport reads.
        target: the file to write, or the prefix of a TensorFlow checkpoint.
        from_: the source's dialect, where detection should not tell it.
        to: the target's dialect; None renames nothing.
        family: the source's family, where detection should not tell it.
        variant: the source's variant, where detection should not tell it.
        table: a mapping table of one's own, in place of the shipped ones.
        dtype: store floating-point tensors as this dtype.
        drop_background: cut class 0 off the classifier.
        ema: take the moving averages in place of the raw variables.
        fold: take tensors that the target has no place for into those that it has.
        swap_rgb: turn the input's colour channels round, from RGB to BGR or back.
        ignore: globs of names to leave out.
        dry_run: plan and check, write nothing.
        force: replace an existing target.
        format: id of the target's format, where its name should not tell it.
        max_shard_size: split a safetensors target into files of so many bytes at most (a number, or ``"2GB"``).
        n_shards: split a TensorFlow checkpoint into so many data files.
        write_state: also write the ``checkpoint`` file beside a TensorFlow checkpoint.
        kernel_order: how a Keras HDF5 source has its kernels: ``hwio``, ``oihw``, ``hwio-flipped``, ``oihw-flipped``.
        deviation_epsilon: batch norm's epsilon in a source older than Keras 1.0.6: turns deviations into variances.
        checksum: hold the values against the checksums that the source has of them.
        readback: read the finished target again, and compare it with what was written, before it takes its place.
        resume: go on with an interrupted conversion, and leave what this one has written where it is interrupted.
        target_digest: work out the sha256 of the target for the report, where it is read again.
        describe: gives the model of a ``.keras`` target; ``resport.convert`` takes resport's own where it is None.
        progress: called as values are written.

    Returns:
        What was done.

    Raises:
        ResportError: one of its kinds; nothing was written then.

    Example:
        >>> report = resport.convert("model.ckpt-88000", "model.h5", to="keras")  # doctest: +SKIP
    """
    options = PlanOptions(drop_background, ema, fold, dtype, tuple(ignore), swap_rgb)
    reading = reading_options(kernel_order=kernel_order, deviation_epsilon=deviation_epsilon)
    naming = Naming(from_, to, family, variant, table)
    safety = Safety(checksum, readback, force, dry_run, resume, target_digest)
    request = Request(os.fspath(source), os.fspath(target), options, reading, naming, safety)
    chosen = target_format(request.target, format, max_shard_size, resume=resume)
    writing = writer_options(chosen, request.target, write_state, max_shard_size, n_shards)
    return _convert(request, chosen, writing, describe, progress)


def _convert(
    request: Request,
    chosen: Format,
    writing: dict[str, Any],
    describe: Describe | None,
    progress: Progress | None,
) -> ConversionReport:
    started = time.perf_counter()
    options, target, safety = request.options, request.target, request.safety
    with (
        open_reader(request.source, checksum=safety.checksum, **request.reading) as reader,
        SourceDigest(() if safety.dry_run else reader.files) as digest,
    ):
        check_files(reader, target, chosen)
        route = plan_route(reader.manifest, options, *request.naming)
        writing |= model_options(chosen, target, route.plan, _target_classes(route, options), describe)
        _check_plan(reader, chosen, target, route.plan)
        written = Written() if safety.dry_run else _write(request, reader, route, chosen, writing, digest, progress)
        report = _report(request, reader, route, written_format(chosen, target, route.plan.targets, writing), written)
        return replace(report, seconds=time.perf_counter() - started)


def _write(
    request: Request,
    reader: Reader,
    route: Route,
    chosen: Format,
    writing: dict[str, Any],
    digest: SourceDigest,
    progress: Progress | None,
) -> Written:
    safety = request.safety
    origin = partial(provenance, reader, route.plan, route.table, request.options, request.reading)
    metadata = {**reader.metadata, PROVENANCE_KEY: origin(UNKNOWN_DIGEST)}
    identity = origin(UNKNOWN_DIGEST), digest.fingerprint, chosen, writing, metadata
    work = work_of(route.plan, *identity, checksum=safety.checksum)
    opening = {"metadata": metadata, "force": safety.force, "format": chosen.id, "resume": safety.resume, **writing}
    with journalled_writer(request.target, route.plan.targets.values(), work, **opening) as writer:
        return write_target(
            route.plan,
            reader,
            writer,
            digest,
            origin,
            readback=safety.readback,
            target_digest=safety.target_digest,
            progress=progress,
        )


def _check_plan(reader: Reader, format: Format, target: str, plan: Plan) -> None:
    """Check what the target can hold, and that nothing is lost of the tensors of which it has not everything."""
    check_capacity(format, target, plan.targets)
    check_constants(reader, plan.checks)
    check_diagonals(reader, plan.moves)


def _target_classes(route: Route, options: PlanOptions) -> int | None:
    """The class count of the target, where it has a classifier."""
    num_classes = route.detection.num_classes if route.detection else None
    return num_classes - options.drop_background if num_classes else None


def plan_route(
    manifest: Manifest,
    options: PlanOptions,
    from_: str | None = None,
    to: str | None = None,
    family: str | None = None,
    variant: str | None = None,
    table: str | os.PathLike[str] | None = None,
) -> Route:
    """Decide how a source becomes a target: a plain copy, or a move between dialects through a table.

    Args:
        manifest: the source's.
        options: what to change or leave out.
        from_: the source's dialect, or None to detect it.
        to: the target's dialect, or None to keep the names.
        family: the family, or None to detect it.
        variant: the variant, or None to detect it.
        table: a table of one's own.

    Raises:
        DetectError: the names fit no family.
        OptionError: a dialect or variant that the family has not.
        PlanError: names or shapes that do not fit.
    """
    if to is None and not (options.drop_background or options.ema or options.fold or options.swap_rgb):
        return Route(plan_copy(manifest, options), None, None)
    tables = considered_tables(family, table)
    for dialect in filter(None, (from_, to)):
        _check_dialect(dialect, (each for outline in outlines_of(tables) for each in outline.dialects))
    # What is left out has no say in what the rest is.
    considered = Manifest(spec for spec in manifest.values() if not ignore_rule(spec.name, options.ignore))
    detection = detect(considered, tables, variant=variant, dialect=from_)
    target_dialect = to or detection.dialect
    _check_dialect(target_dialect, detection.table.dialects)
    classes = (detection.num_classes or 1) - options.drop_background
    expansion = detection.expand(num_classes=classes or None)
    if table is not None:
        expansion.check()
    plan = plan_conversion(manifest, expansion, detection.dialect, target_dialect, options)
    return Route(plan, detection.table, detection)


def considered_tables(family: str | None, table: str | os.PathLike[str] | None) -> Sequence[Table]:
    """The tables that may name a checkpoint's tensors: one's own, one family's, or all that are shipped.

    Raises:
        OptionError: one's own table is of another family than the one that is asked for.
    """
    if table is not None:
        own = load_table(Path(table))
        if family not in (None, own.family):
            raise OptionError(f"`{table}` is a table of family `{own.family}`", expected=family, got=own.family)
        return [own]
    return shipped_tables() if family is None else [load_table(family)]


def _check_dialect(dialect: str, known: Iterable[str]) -> None:
    if dialect not in (known := dict.fromkeys(known)):
        raise OptionError(f"there is no dialect `{dialect}`", expected=", ".join(known), got=dialect)


def _report(request: Request, reader: Reader, route: Route, target_format: str, written: Written) -> ConversionReport:
    plan, detection = route.plan, route.detection
    return ConversionReport(
        source=reader.path,
        source_format=reader.format,
        target=request.target,
        target_format=target_format,
        family=plan.family,
        variant=plan.variant,
        source_dialect=plan.source_dialect,
        target_dialect=plan.target_dialect,
        num_classes=detection.num_classes if detection else None,
        moved=len({name for move in plan.moves for name in (*move.sources, *_operands(move))}),
        n_targets=len(plan.targets),
        ignored=plan.ignored,
        filled=plan.fills,
        options={**request.options.value_changes(), **request.reading},
        nbytes=plan.targets.nbytes,
        seconds=0.0,
        warnings=(*_warnings(reader, route, request.options), *_odd_values_warning(written)),
        dry_run=request.safety.dry_run,
        evidence=detection.evidence if detection else (),
        odd_values=written.odd_values,
        target_sha256=written.sha256,
        n_resumed=len(written.resumed),
        resumed_nbytes=sum(spec.nbytes for spec in written.resumed),
    )


def _odd_values_warning(written: Written) -> list[str]:
    """That some values are no numbers, where some are not."""
    odd = written.odd_values
    if not odd:
        return []
    shown = ", ".join(str(each) for each in odd[:5]) + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
    return [f"values that are no finite numbers were moved as they are: {shown}"]


def _warnings(reader: Reader, route: Route, options: PlanOptions) -> list[str]:
    """What the user should know about the result."""
    plan, table = route.plan, route.table
    warnings = [reader.note] if reader.note else []
    stock = table.stock.get(plan.target_dialect or "") if table is not None else None
    variant = plan.variant or ""
    if stock is not None and variant in stock.classes and plan.source_dialect != plan.target_dialect:
        instead = stock.instead.replace("{variant}", variant)
        warnings.append(
            f"{stock.classes[variant]} loads these weights and computes something else: {stock.why}; "
            f"the outputs differ by {stock.difference}; use {instead}"
        )
    relation = table.relation(plan.source_dialect or "", plan.target_dialect or "") if table is not None else None
    if relation is not None and relation.kind != EQUAL:
        warnings.append(relation.sentence)
    if table is not None and not options.fold:
        warnings.extend(_epsilon_warning(table, plan.source_dialect or "", plan.target_dialect or ""))
    averages = [each for each in plan.ignored if each.rule == "average"]
    if averages and not options.ema:
        warnings.append(f"the raw variables were taken; {len(averages)} have moving averages, `--ema` takes those")
    if options.ema:
        raw = len(plan.moves) - len(plan.shadowed)
        warnings.append(f"the moving averages of {len(plan.shadowed)} variables were taken; {raw} have none")
    if any(each.rule.endswith("s are no weights") for each in plan.ignored):
        warnings.append("tensors of text were left out, they are no weights")
    return warnings


def _epsilon_warning(table: Table, source: str, target: str) -> list[str]:
    """That the epsilons of two dialects differ, where they do."""
    here, there = table.epsilon.get(source), table.epsilon.get(target)
    if here is None or there is None or here == there:
        return []
    return [
        f"batch norm's epsilon is {here:g} in {source} and {there:g} in {target}; "
        "`--fold` makes up for it in the moving variances"
    ]


def _operands(move: Move) -> Iterator[str]:
    """The tensors that a move takes into another: one may go into several."""
    return (name for adjustment in move.adjustments for name in adjustment.operands)
