"""A verification as people read it on a terminal: the verdict first, then the evidence, then what explains it."""

from __future__ import annotations

from collections.abc import Sequence

import click

from resport.cli.output import print_columns, print_warnings, printable
from resport.mapping.folding import shortened
from resport.verification.forward.evidence import EndPointDifference, ForwardResult, worst_of
from resport.verification.mistakes.findings import Finding, SelfTestResult
from resport.verification.report import EQUAL, Side, VerificationReport

INDENT = " " * 13
"""In front of what belongs to the heading above it."""


def print_report(report: VerificationReport) -> None:
    """Print all of a report."""
    colour = "green" if report.verdict == EQUAL else "red"
    click.secho(report.verdict, fg=colour, bold=True)
    _print_line("source", _side_text(report.source))
    _print_line("target", _side_text(report.target))
    for name, value in report.options.items():
        _print_line("option", printable(name if value is True else f"{name}: {value}"))
    for change in report.changes:
        _print_line("changed", printable(str(change)))
    print_weights(report)
    if report.forward is not None:
        print_forward("forward", report.forward)
    else:
        _print_line("forward", f"not run: {printable(report.forward_reason or '')}")
    if report.probe is not None:
        print_forward("random", report.probe)
    if report.self_test is not None:
        print_self_test(report.self_test)
    for finding in report.diagnosis:
        print_finding(finding)
    _print_line("time", f"{report.seconds:.1f} s")
    print_warnings(report.notes)


def print_weights(report: VerificationReport) -> None:
    """The comparison of the tensors."""
    weights = report.weights
    if report.weights_reason is not None:
        _print_line("weights", f"not compared: {printable(report.weights_reason)}")
        return
    _print_line("weights", f"{weights.equal} of {weights.compared} tensors are equal bit for bit")
    for line in shortened([f"{each.name}: {each.kind}, {each.detail}" for each in weights.differences]):
        click.echo(f"{INDENT}{printable(line)}")


def print_forward(heading: str, forward: ForwardResult) -> None:
    """The forward passes: the largest differences beside their limits, the output, and the first difference."""
    points = forward.float64 or forward.float32
    sizes = ", ".join(f"{size} x {size}" for size in dict.fromkeys(point.input_size for point in points))
    n_points = len({point.name for point in points})
    with_what = "random weights at " if heading == "random" else ""
    _print_line(heading, f"{with_what}{n_points} end points, {forward.batch_size} images of {sizes}")
    rows = []
    worst64, worst32 = worst_of(forward.float64), worst_of(forward.float32)
    if worst64 is not None:
        rows.append(
            [
                "float64",
                f"max relative difference {worst64.max_rel_diff:.1e}",
                f"limit {forward.limit:.1e}: {forward.limit_reason}",
            ]
        )
    else:
        rows.append(["float64", "not run", forward.limit_reason])
    if worst32 is not None:
        rows.append(
            [
                "float32",
                f"max relative difference {worst32.max_rel_diff:.1e}",
                f"{forward.ratio:.2f} x the noise floor of {forward.noise_floor:.1e}",
            ]
        )
    print_columns(rows, indent=INDENT)
    if forward.noise:
        noise = ", ".join(f"{each.what} {each.max_rel_diff:.1e}" for each in forward.noise)
        click.echo(f"{INDENT}noise of the source itself: {noise}")
    _print_output(forward.outputs)
    first = forward.first_divergence
    if first is not None:
        click.echo(
            f"{INDENT}first difference at {printable(first.name)} ({first.input_size} x {first.input_size}): "
            f"max abs {first.max_abs_diff:.3g}, relative {first.max_rel_diff:.1e}"
        )


def _print_output(outputs: Sequence[EndPointDifference]) -> None:
    """What a user of the network would notice of the difference: classes, angles, and a tolerance for numpy."""
    if not outputs:
        return
    worst = worst_of(outputs)
    assert worst is not None
    parts = []
    for what, measure in (("top-1", "top1_agreement"), ("top-5", "top5_agreement")):
        shares = [getattr(each, measure) for each in outputs if getattr(each, measure) is not None]
        if shares:
            parts.append(f"{what} agrees in {min(shares):.0%}")
    cosines = [each.cosine for each in outputs if each.cosine is not None]
    if cosines:
        parts.append(f"cosine at least {min(cosines):.9f}")
    tolerances = [each.tolerance for each in outputs if each.tolerance is not None]
    if tolerances:
        parts.append(f"numpy.allclose holds from {max(tolerances):.1e} on")
    if parts:
        click.echo(f"{INDENT}{printable(worst.name)}: {', '.join(parts)}")


def print_self_test(result: SelfTestResult) -> None:
    """How many of the mistakes were caught, which was the closest, and which were missed."""
    colour = "green" if result.is_passed else "red"
    text = click.style(f"{result.caught} of {len(result.results)} mistakes are caught", fg=colour)
    _print_line("self-test", f"{text}, the closest {result.smallest_margin:.3g} times above its limit")
    for each in result.results:
        if not each.caught:
            click.echo(f"{INDENT}missed: {printable(each.kind)}, {printable(each.description)}")
    for kind, reason in result.not_applicable.items():
        click.echo(f"{INDENT}no place for {printable(kind)}: {printable(reason)}")


def print_finding(finding: Finding) -> None:
    """An explanation of the difference, and what mends it."""
    _print_line("diagnosis", printable(finding.sentence))
    if finding.remedy:
        click.echo(f"{INDENT}{click.style('remedy', fg='cyan')}: {printable(finding.remedy)}")
    if finding.kinds:
        click.echo(f"{INDENT}undone, the difference falls from {finding.before:.1e} to {finding.after:.1e}")


def _print_line(heading: str, text: str) -> None:
    click.echo(f"  {heading:<{len(INDENT) - 2}}{text}")


def _side_text(side: Side) -> str:
    network = f", {side.variant} with {side.dialect} names" if side.variant else ""
    return printable(f"{side.path} ({side.format}{network})")
