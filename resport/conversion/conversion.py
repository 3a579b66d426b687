"""Convert a checkpoint: detect, expand, plan, stream, finish, report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from resport.conversion.provenance import PROVENANCE_KEY, provenance, sha256_of
from resport.conversion.report import ConversionReport
from resport.conversion.stream import check_constants, stream
from resport.errors import OptionError, PlanError
from resport.formats import Reader, format_of_target, open_reader, open_writer
from resport.mapping import (
    Detection,
    Plan,
    PlanOptions,
    Table,
    detect,
    expand,
    load_table,
    plan_conversion,
    plan_copy,
    shipped_tables,
)
from resport.tensors import Manifest

Progress = Callable[[int, int], None]
"""Called with the bytes of values written so far and those to write in all."""


@dataclass(frozen=True, slots=True)
class Route:
    """How a source is to be read and named: the plan, and what it rests on."""

    plan: Plan
    table: Table | None
    detection: Detection | None


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
    ignore: Iterable[str] = (),
    dry_run: bool = False,
    force: bool = False,
    write_state: bool = False,
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
        ignore: globs of names to leave out.
        dry_run: plan and check, write nothing.
        force: replace an existing target.
        write_state: also write the ``checkpoint`` file beside a TensorFlow checkpoint.
        progress: called as values are written.

    Returns:
        What was done.

    Raises:
        ResportError: one of its kinds; nothing was written then.

    Example:
        >>> report = resport.convert("model.ckpt-88000", "model.h5", to="keras")  # doctest: +SKIP
    """
    started = time.perf_counter()
    source, target = os.fspath(source), os.fspath(target)
    options = PlanOptions(drop_background, ema, fold, dtype, tuple(ignore))
    with open_reader(source) as reader:
        _refuse_same_files(reader, target)
        route = plan_route(reader.manifest, options, from_, to, family, variant, table)
        plan = route.plan
        writer_options = _writer_options(target, plan.targets, write_state)
        check_constants(reader, plan.checks)
        if not dry_run:
            metadata = dict(reader.metadata)
            metadata[PROVENANCE_KEY] = provenance(reader, plan, route.table, options, sha256_of(reader.files))
            total = plan.targets.nbytes
            done = 0
            with open_writer(target, plan.targets.values(), metadata=metadata, force=force, **writer_options) as writer:
                for spec, array in stream(plan, reader.read):
                    writer.write(spec.name, array)
                    done += spec.nbytes
                    if progress is not None:
                        progress(done, total)
        return _report(reader, target, route, options, time.perf_counter() - started, dry_run)


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
    if to is None and not (options.drop_background or options.ema or options.fold):
        return Route(plan_copy(manifest, options), None, None)
    tables = _tables(family, table)
    for dialect in (from_, to):
        _check_dialect(dialect, tables)
    detection = detect(manifest, tables, variant=variant, dialect=from_)
    target_dialect = to or detection.dialect
    _check_dialect(target_dialect, [detection.table])
    roots = {detection.dialect: detection.root}
    expansion = expand(detection.table, detection.variant, roots)
    plan = plan_conversion(manifest, expansion, detection.dialect, target_dialect, options)
    return Route(plan, detection.table, detection)


def _tables(family: str | None, table: str | os.PathLike[str] | None) -> Sequence[Table]:
    if table is not None:
        own = load_table(Path(table))
        if family not in (None, own.family):
            raise OptionError(f"`{table}` is a table of family `{own.family}`", expected=family, got=own.family)
        return [own]
    return shipped_tables() if family is None else [load_table(family)]


def _check_dialect(dialect: str | None, tables: Sequence[Table]) -> None:
    known = dict.fromkeys(each for table in tables for each in table.dialects)
    if dialect is not None and dialect not in known:
        raise OptionError(f"there is no dialect `{dialect}`", expected=", ".join(known), got=dialect)


def _refuse_same_files(reader: Reader, target: str) -> None:
    """Refuse a target that is one of the source's own files, under whatever name."""
    if os.path.realpath(reader.path) == os.path.realpath(target) or any(
        Path(target).exists() and Path(target).samefile(file) for file in reader.files
    ):
        raise OptionError(f"source and target are the same: `{target}`", hint="give the target another name")


def _writer_options(target: str, targets: Manifest, write_state: bool) -> dict[str, bool]:
    """Check that the target's format holds what is planned, and give the options that its writer takes."""
    format_ = format_of_target(target)
    problems = format_.load_writer().problems(targets)
    if problems:
        raise PlanError(f"`{target}` cannot hold what is planned, nothing was written", problems=problems[:10])
    if write_state and format_.id != "tensorflow-v2":
        raise OptionError(f"only a TensorFlow checkpoint has a `checkpoint` file, and `{target}` is none")
    return {"write_state": True} if write_state else {}


def _report(
    reader: Reader, target: str, route: Route, options: PlanOptions, seconds: float, dry_run: bool
) -> ConversionReport:
    plan, detection = route.plan, route.detection
    return ConversionReport(
        source=reader.path,
        source_format=reader.format,
        target=target,
        target_format=format_of_target(target).id,
        family=plan.family,
        variant=plan.variant,
        source_dialect=plan.source_dialect,
        target_dialect=plan.target_dialect,
        num_classes=detection.num_classes if detection else None,
        moved=sum(len(move.sources) + sum(len(a.operands) for a in move.adjustments) for move in plan.moves),
        n_targets=len(plan.targets),
        ignored=plan.ignored,
        filled=plan.fills,
        options=options.value_changes(),
        nbytes=plan.targets.nbytes,
        seconds=seconds,
        warnings=tuple(_warnings(reader.manifest, route, options)),
        dry_run=dry_run,
        evidence=detection.evidence if detection else (),
    )


def _warnings(manifest: Manifest, route: Route, options: PlanOptions) -> list[str]:
    """What the user should know about the result."""
    plan, table = route.plan, route.table
    warnings = []
    stock = table.stock.get(plan.target_dialect or "") if table is not None else None
    if stock is not None and plan.variant in stock.classes and plan.source_dialect != plan.target_dialect:
        instead = stock.instead.replace("{variant}", str(plan.variant))
        warnings.append(
            f"{stock.classes[plan.variant]} loads these weights and computes something else: {stock.why}; "
            f"the outputs differ by {stock.difference}; use {instead}"
        )
    averages = [each for each in plan.ignored if each.rule == "average"]
    if averages and not options.ema:
        warnings.append(f"the raw variables were taken; {len(averages)} have moving averages, `--ema` takes those")
    if options.ema:
        raw = len(plan.moves) - len(plan.shadowed)
        warnings.append(f"the moving averages of {len(plan.shadowed)} variables were taken; {raw} have none")
    if any(each.rule.endswith("s are no weights") for each in plan.ignored):
        warnings.append("tensors of text were left out, they are no weights")
    return warnings
