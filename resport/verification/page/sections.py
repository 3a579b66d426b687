"""The sections below the verdict, each from the part of the report that it is about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from resport.verification.page.chart import NARROW, WIDE, chart, legend
from resport.verification.page.markup import (
    MINUS,
    NO_VALUE,
    TIMES,
    Cell,
    Row,
    definitions,
    images,
    name_cell,
    number,
    number_cell,
    optional_code,
    plural,
    prose,
    table,
    text,
)
from resport.verification.page.passes import Passes, Point, by_size, worst

Report = Mapping[str, Any]

OUTPUT_MEASURES = {"top1_agreement": "Top-1 agrees", "top5_agreement": "Top-5 agrees", "cosine": "Cosine, smallest"}
"""Measures that only classes and embeddings have, with their headings."""

MARGIN_WIDTH = 160
"""Pixels of the longest bar of a margin."""


def section(name: str, heading: str, content: str) -> str:
    """A section with its heading.

    Args:
        name: its anchor.
        heading: as text.
        content: HTML.
    """
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{text(heading)}</h2>{content}</section>'


def diagnosis_section(report: Report) -> str:
    """What explains a difference, and what mends it."""
    if not report["diagnosis"]:
        return ""
    return section("diagnosis", "Diagnosis", "".join(_finding(each) for each in report["diagnosis"]))


def _finding(finding: Mapping[str, Any]) -> str:
    kinds = " ".join(f"<code>{text(kind)}</code>" for kind in finding["kinds"])
    remedy = f'<p><b class="remedy">What to do</b> {prose(finding["remedy"])}</p>' if finding["remedy"] else ""
    change = f"largest difference {number(finding['before'])} as it is, {number(finding['after'])} with this undone"
    return (
        f'<article class="finding"><p class="sentence">{prose(finding["sentence"])}</p>{remedy}'
        f'<p class="muted">{kinds} {change}</p></article>'
    )


def compared_section(report: Report) -> str:
    """What was compared with what: the files, the mapping, the options, the versions."""
    record = report.get("record") or {}
    sides = "".join(
        f'<div class="card"><h3>{heading}</h3>{_side(report[name], record.get(f"{name}_sha256"))}</div>'
        for name, heading in (("source", "Source"), ("target", "Target"))
    )
    options = _options(report["options"])
    conditions = definitions(
        [
            ("Mapping", optional_code(record["table"]) if record.get("table") else "none: compared by name"),
            ("sha256 of the mapping", _digest(record.get("table_sha256"))),
            ("Options", options or "none"),
            ("Images", _images(report["forward"])),
        ]
        if record
        else [("Options", options or "none")]
    )
    versions = definitions((name, text(version)) for name, version in record.get("environment", {}).items())
    environment = f'<div class="card"><h3>Versions</h3><div class="versions">{versions}</div></div>' if record else ""
    content = f'<div class="cards">{sides}<div class="card"><h3>How</h3>{conditions}</div>{environment}</div>'
    return section("compared", "What was compared", content)


def _options(options: Mapping[str, Any]) -> str | None:
    return ", ".join(text(f"{name} = {value}") for name, value in options.items()) or None


def _side(side: Mapping[str, Any], digest: str | None) -> str:
    network = f"{text(side['variant'])}, {text(side['dialect'])} names" if side["variant"] else "not recognised"
    return definitions(
        [
            ("File", optional_code(side["path"])),
            ("Format", text(side["format"])),
            ("Network", network),
            ("Classes", None if side["num_classes"] is None else text(side["num_classes"])),
            ("sha256", _digest(digest)),
        ]
    )


def _digest(digest: str | None) -> str | None:
    return None if digest is None else f'<code class="digest">{text(digest)}</code>'


def _images(forward: Mapping[str, Any] | None) -> str | None:
    if forward is None:
        return None
    sizes = " and ".join(images(size) for size in forward["input_sizes"])
    return f"{plural(forward['batch_size'], 'image')} of {sizes}, random, from {MINUS}1 to 1"


def forward_section(forward: Mapping[str, Any] | None, name: str, heading: str) -> str:
    """One pair of forward passes: the difference over depth, and the table of end points.

    Args:
        forward: what ``ForwardResult.to_dict()`` gives, or None.
        name: the section's anchor.
        heading: its heading, as text.
    """
    if forward is None:
        return ""
    passes = Passes.of(forward)
    title = "Relative difference of the two networks at each end point, from the input to the output."
    title += f" The first difference is at {passes.first['name']}." if passes.first else " All lie below the limit."
    drawings = "".join(chart(passes, frame, title) for frame in (WIDE, NARROW))
    limit = f"The limit in float64 is {number(passes.limit64)}: {passes.limit_reason}." if passes.points64 else ""
    return section(
        name,
        heading,
        f'<figure class="card">{legend(passes)}{drawings}<p class="readout" aria-hidden="true" hidden></p>'
        f"<figcaption>{prose(limit)} {_noise(passes)}</figcaption></figure>{_outputs(passes)}{_end_points(passes)}",
    )


def _outputs(passes: Passes) -> str:
    """What the networks are run for, judged as their users judge it."""
    rows = [
        Row((name_cell(point["name"]), Cell(f"{dtype}, {images(point['input_size'])}"), *_output_cells(point)))
        for dtype, points in (("float64", passes.points64), ("float32", passes.points32))
        for point in points
        if any(point.get(key) is not None for key in OUTPUT_MEASURES)
    ]
    headings = ["Output", "Computed in", *OUTPUT_MEASURES.values(), "numpy.allclose holds from"]
    return table("Outputs: classes and embeddings", headings, rows, "only those that differ") if rows else ""


def _output_cells(point: Point) -> Iterator[Cell]:
    for key in OUTPUT_MEASURES:
        value = point.get(key)
        if key == "cosine":
            yield Cell(NO_VALUE if value is None else f"{value:.9g}", value, "number")
        else:
            yield Cell(NO_VALUE if value is None else f"{100 * value:.4g}%", value, "number")
    yield number_cell(point["tolerance"])


def _noise(passes: Passes) -> str:
    """How the noise floor was measured."""
    measured = "; ".join(
        f"{text(each['what'])}: {number(each['max_rel_diff'])} at <code>{text(each['end_point'])}</code>"
        for each in passes.noise
    )
    explained = "The noise floor is how far float32 outputs of the source itself are from its own other outputs"
    return f"{explained} ({measured})." if measured else f"{explained}."


def _end_points(passes: Passes) -> str:
    """The table of end points: every measure in a column of its own."""
    measured = list(_measured(passes))
    headings = ["End point", "#", *(f"{dtype}, {images(size)}" for dtype, size, _ in measured)]
    headings += [f"float32 {TIMES} floor"] if passes.points32 else []
    headings += ["Max abs", "99.9%", "Mean abs", "Tolerance"]
    rows = []
    for depth, name in enumerate(passes.names(), start=1):
        points = [(dtype, by_name.get(name)) for dtype, _, by_name in measured]
        rows.append(_end_point_row(passes, name, depth, points))
    caption = "End points, with the largest difference over the largest value of the reference"
    return table(caption, headings, rows, "only those that differ")


def _measured(passes: Passes) -> Iterator[tuple[str, int, dict[str, Point]]]:
    """End points by name for each dtype and input size."""
    for dtype, points in (("float64", passes.points64), ("float32", passes.points32)):
        for size, by_name in by_size(points).items():
            yield dtype, size, by_name


def _end_point_row(passes: Passes, name: str, depth: int, points: Sequence[tuple[str, Point | None]]) -> Row:
    cells = [name_cell(name), number_cell(depth)]
    is_different = False
    for dtype, point in points:
        value = point["max_rel_diff"] if point else None
        is_bad = value is not None and not value <= (passes.limit64 if dtype == "float64" else passes.limit32)
        is_different = is_different or is_bad
        cells.append(number_cell(value, is_bad=is_bad))
    if passes.points32:
        worst32 = worst([point for dtype, point in points if dtype == "float32" and point])
        cells.append(number_cell(worst32 / passes.floor if passes.floor else (math.inf if worst32 else 0.0)))
    judged = [point for dtype, point in points if dtype == passes.dtype and point]
    quantiles = [p["quantiles"]["0.999"] for p in judged if p["quantiles"]]
    largest = [_largest(judged, "max_abs_diff"), max(quantiles, default=None)]
    largest += [_largest(judged, "mean_abs_diff"), _largest(judged, "tolerance")]
    cells += [number_cell(value) for value in largest]
    return Row(tuple(cells), is_different)


def _largest(points: Sequence[Point], measure: str) -> float | None:
    return max((point[measure] for point in points if point[measure] is not None), default=None)


def weights_section(report: Report) -> str:
    """Every tensor with what became of it; without a record, those that differ."""
    weights = report["weights"]
    details = {each["name"]: each["detail"] for each in weights["differences"]}
    record = report.get("record")
    if report.get("weights_reason"):
        return section("weights", "Weights", f"<p>No tensors were compared: {prose(report['weights_reason'])}.</p>")
    verdict = f"{weights['equal']:,} of {plural(weights['compared'], 'tensor')} are equal bit for bit."
    if record:
        rows = [_tensor_row(each, details.get(each["target"])) for each in record["tensors"]]
        headings = ["Target", "Source", "Shape", "dtype", "Move", "Result"]
        listed = table("Tensors, in the target's order", headings, rows, "only those that differ")
    elif details:
        differences = [
            Row((name_cell(d["name"]), Cell(_result(d["kind"], d["detail"])))) for d in weights["differences"]
        ]
        listed = table("Tensors that differ", ["Target", "Result"], differences, "only those that differ")
    else:
        listed = ""
    return section("weights", "Weights", f"<p>{verdict}</p>{listed}")


def _tensor_row(tensor: Mapping[str, Any], detail: str | None) -> Row:
    sources = "<br>".join(f"<code>{text(name)}</code>" for name in tensor["sources"]) or NO_VALUE
    target = NO_VALUE if tensor["target"] is None else f"<code>{text(tensor['target'])}</code>"
    shape = f" {TIMES} ".join(str(size) for size in tensor["shape"]) or "scalar"
    cells = (
        Cell(target, css="name"),
        Cell(sources, css="name"),
        Cell(shape, math.prod(tensor["shape"]), "shape"),
        Cell(text(tensor["dtype"])),
        Cell(text(tensor["move"]), css="move"),
        Cell(_result(tensor["result"], detail)),
    )
    return Row(cells, tensor["result"] not in ("equal", "left out"))


def _result(kind: str, detail: str | None) -> str:
    if kind == "equal":
        return '<span class="good">equal</span>'
    if kind == "left out":
        return '<span class="muted">left out</span>'
    return f'<span class="bad">≠ {text(kind)}</span> {text(detail or "")}'


def self_test_section(report: Report) -> str:
    """The mistakes that were made on purpose, with the margin by which each was caught."""
    result = report.get("self_test")
    if not result:
        return ""
    largest = max((_decades(each["margin"]) for each in result["results"] if math.isfinite(each["margin"])), default=1)
    headings = ["Mistake", "Margin", "On a log scale", "Caught by", "What was done", "First difference"]
    # The diagnosis is put to the test where that is asked for; a column of dashes would say that it failed.
    is_diagnosed = any(each["diagnosed"] for each in result["results"])
    headings += ["Diagnosed as"] if is_diagnosed else []
    rows = [_mutant_row(each, max(largest, 1.0), is_diagnosed) for each in result["results"]]
    caught = f"{result['caught']} of {plural(result['mutants'], 'mistake')} made on purpose were caught"
    if result["results"]:
        closest = min(result["results"], key=lambda each: each["margin"])
        caught += f", the closest, <code>{text(closest['kind'])}</code>, {number(closest['margin'])} {TIMES} its limit"
    margin = "the margin is the measured difference over the limit of the check, and what lies at 1 or below is missed"
    passed = f"<p>{caught}; {margin}.</p>"
    content = passed + table("Mistakes made on purpose", headings, rows, "only those that were missed")
    return section("self-test", "Self-test", content + _not_applicable(result["not_applicable"]))


def _mutant_row(mutant: Mapping[str, Any], largest: float, is_diagnosed: bool) -> Row:
    is_missed = not mutant["caught"]
    caught = '<span class="bad">≠ missed</span>' if is_missed else text(mutant["check"])
    cells = (
        Cell(f"<code>{text(mutant['kind'])}</code>", css="kind"),
        number_cell(mutant["margin"], f" {TIMES}", is_bad=is_missed),
        Cell(_margin_bar(mutant["margin"], largest, is_missed), None, "bar"),
        Cell(caught),
        Cell(prose(mutant["description"]), css="what"),
        Cell(
            f"<code>{text(mutant['first_divergence'])}</code>" if mutant["first_divergence"] else NO_VALUE, css="name"
        ),
    )
    diagnosed = Cell(f"<code>{text(mutant['diagnosed'])}</code>" if mutant["diagnosed"] else NO_VALUE)
    return Row((*cells, diagnosed) if is_diagnosed else cells, is_missed)


def _decades(margin: float) -> float:
    return math.log10(margin) if margin > 1 else 0.0


def _margin_bar(margin: float, largest: float, is_missed: bool) -> str:
    width = MARGIN_WIDTH if math.isinf(margin) else MARGIN_WIDTH * _decades(margin) / largest
    return (
        f'<svg class="margin" viewBox="0 0 {MARGIN_WIDTH} 10" aria-hidden="true">'
        f'<rect class="track" width="{MARGIN_WIDTH}" height="10" rx="2"/>'
        f'<rect class="{"missed" if is_missed else "caught"}" width="{max(width, 2):.1f}" height="10" rx="2"/></svg>'
    )


def _not_applicable(kinds: Mapping[str, str]) -> str:
    if not kinds:
        return ""
    items = definitions((kind, text(reason)) for kind, reason in kinds.items())
    return (
        f"<details><summary>{plural(len(kinds), 'kind')} that this network has no place for</summary>{items}</details>"
    )


def changes_section(report: Report) -> str:
    """What is no longer as it was when a reference was stored."""
    changes = report.get("changes")
    if not changes:
        return ""
    rows = [
        Row((name_cell(each["what"]), *(Cell(_plain(each[when]), css="name") for when in ("before", "after"))), True)
        for each in changes
    ]
    listed = table("What changed since the reference was stored", ["What", "Then", "Now"], rows, "only changes")
    return section("changes", "Since the reference was stored", listed)


def _plain(value: object) -> str:
    return NO_VALUE if value is None else f"<code>{text(value)}</code>"


def notes_section(report: Report) -> str:
    """What else is to be known."""
    if not report["notes"]:
        return ""
    return section("notes", "Notes", f"<ul>{''.join(_notes(report['notes']))}</ul>")


def _notes(notes: Sequence[str]) -> Iterator[str]:
    return (f"<li>{prose(note)}</li>" for note in notes)
