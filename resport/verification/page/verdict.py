"""The top of the page: the verdict, why, and its four figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from resport.verification.page.markup import TIMES, images, number, plural, prose, text
from resport.verification.page.passes import Passes, worst

Report = Mapping[str, Any]


def verdict_section(report: Report) -> str:
    """The verdict with one paragraph of reasons.

    Args:
        report: what ``VerificationReport.to_dict()`` gives.
    """
    is_equal = report["verdict"] == "equal"
    reasons = " ".join(sentence for sentence in _sentences(report))
    return (
        f'<section class="verdict" aria-labelledby="verdict">'
        f'<p class="badge"><span aria-hidden="true">{"✓" if is_equal else "≠"}</span> {text(report["verdict"])}</p>'
        f'<h1 id="verdict">{_headline(report)}</h1><p>{reasons}</p>'
        f'<ul class="figures">{"".join(_figures(report))}</ul></section>'
    )


def _headline(report: Report) -> str:
    if report["verdict"] != "equal":
        return "The target differs from the source"
    # Without a forward pass nothing is known of what it computes.
    verb = "holds" if report["forward"] is None else "computes"
    return f"The target {verb} what the source {verb}"


def _sentences(report: Report) -> Iterator[str]:
    weights = report["weights"]
    if report.get("weights_reason"):
        yield f"No tensors were compared: {prose(report['weights_reason'])}."
    elif weights["compared"] == 0:
        yield "No tensor was compared."
    elif weights["equal"] == weights["compared"]:
        count = weights["compared"]
        yield f"{'The one tensor is' if count == 1 else f'All {count:,} tensors are'} equal bit for bit."
    else:
        yield f"{weights['compared'] - weights['equal']:,} of {plural(weights['compared'], 'tensor')} differ."
    if report["forward"] is None:
        yield f"No network was run: {prose(report['forward_reason'])}."
    else:
        yield _forward_sentence(Passes.of(report["forward"]), "")
    if report.get("probe"):
        yield _forward_sentence(Passes.of(report["probe"]), "with random, sensitive weights ")


def _forward_sentence(passes: Passes, circumstances: str) -> str:
    if passes.first is not None:
        first = passes.first
        return (
            f"The outputs {circumstances}differ, first at <code>{text(first['name'])}</code> with images of "
            f"{images(first['input_size'])}, by {number(first['max_rel_diff'])} of the largest value there."
        )
    if passes.is_noisy:
        return f"The outputs {circumstances}differ in float32 by more than its noise."
    if not passes.points:
        return "The two networks have no end point in common."
    count = len(passes.names())
    where = f"{'' if count == 1 else 'all '}{plural(count, 'end point')}"
    largest = worst(passes.points)
    if largest == 0:
        return f"The outputs {circumstances}are the same in {passes.dtype} at {where}, to the last bit."
    return (
        f"The outputs {circumstances}agree in {passes.dtype} at {where}, to {number(largest)} of the largest value "
        "there."
    )


def _figures(report: Report) -> Iterator[str]:
    weights = report["weights"]
    equal, compared = weights["equal"], weights["compared"]
    if not report.get("weights_reason"):
        yield _figure("Tensors equal, bit for bit", f"{equal:,} of {compared:,}", "", equal < compared or not compared)
    if report["forward"] is not None:
        yield from _forward_figures(Passes.of(report["forward"]))
    self_test = report.get("self_test")
    if self_test:
        caught, mutants = self_test["caught"], self_test["mutants"]
        margin = f"smallest margin {number(self_test['smallest_margin'])} {TIMES}"
        yield _figure("Deliberate mistakes caught", f"{caught} of {mutants}", margin, caught < mutants or not mutants)


def _forward_figures(passes: Passes) -> Iterator[str]:
    if passes.points64:
        largest = worst(passes.points64)
        limit = f"limit {number(passes.limit64)}"
        yield _figure("Largest difference in float64", number(largest), limit, not largest <= passes.limit64)
    floor = f"of the noise floor, {number(passes.floor)}"
    yield _figure("Largest difference in float32", f"{number(passes.ratio)} {TIMES}", floor, passes.is_noisy)


def _figure(label: str, value: str, remark: str, is_bad: bool) -> str:
    mark = '<span class="sign" aria-hidden="true">≠</span> ' if is_bad else ""
    below = f'<span class="remark">{text(remark)}</span>' if remark else ""
    return (
        f'<li class="{"bad" if is_bad else "good"}"><span class="label">{text(label)}</span>'
        f'<span class="value">{mark}{text(value)}</span>{below}</li>'
    )
