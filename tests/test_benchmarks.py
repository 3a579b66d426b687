"""What the benchmarks say of what they measured: every aim finds its figures, and one that is missed shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.aims import AIMS, aims_table
from benchmarks.cases import GROUPS, LIMIT, PEER, Case
from benchmarks.measure import Sample, summary
from benchmarks.results import GroupResult, fill_page, table, to_dict

GB = 10**9


def results(sample: Callable[[Case], Sample]) -> list[GroupResult]:
    return [
        GroupResult(group.title, group.cases, {case.name: summary([sample(case)]) for case in group.cases})
        for group in GROUPS
    ]


def fast(case: Case) -> Sample:
    """As quick as the limit, the peers a hundred times slower."""
    return Sample(100.0, 100.0, 10 * GB) if case.kind == PEER else Sample(1.0, 1.0, GB)


def slow(case: Case) -> Sample:
    return Sample(1.0, 1.0, GB) if case.kind in (LIMIT, PEER) else Sample(2.0, 2.0, 2 * GB)


def test_each_aim_has_its_figures_and_those_that_miss_it_are_bold() -> None:
    reached, missed = aims_table(results(fast)), aims_table(results(slow))
    for text in (reached, missed):
        assert len(text.splitlines()) == 3 + len(AIMS)
        assert all(aim.text in text for aim in AIMS)
    assert "**" not in reached
    for line in missed.splitlines()[3:]:
        figures = line.split(" | ")[1].removesuffix(" |").split(", ")
        assert all(figure.startswith("**") and figure.endswith("**") for figure in figures), line


def test_aims_of_groups_that_were_not_measured_are_left_out() -> None:
    assert aims_table([]) == ""
    assert aims_table([each for each in results(fast) if "listing" in each.title]).count("inspect V2 1.00") == 1


def test_a_table_has_medians_and_ratios_and_a_page_keeps_what_is_around_it(tmp_path) -> None:
    (first, *_) = results(slow)
    text = table([first])
    assert "| slim to .h5" in text and text.count(" 2.00 |") == sum(case.kind == "resport" for case in first.cases)
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- measured: written by `python -m benchmarks --page` -->\nold\n"
        "<!-- end of what was measured -->\nafter\n"
    )
    fill_page(str(page), text)
    content = page.read_text()
    assert content.startswith("before\n") and content.endswith("\nafter\n") and text.strip() in content
    assert "old" not in content
    fill_page(str(page), text)
    assert page.read_text() == content


@pytest.mark.parametrize(("seconds", "median"), [([3.0, 1.0, 2.0], 2.0), ([4.0, 2.0], 3.0)])
def test_summaries(seconds: list[float], median: float) -> None:
    found = summary([Sample(each, each / 2, int(each)) for each in seconds])
    assert (found.seconds, found.fastest, found.slowest, found.runs) == (
        median,
        min(seconds),
        max(seconds),
        len(seconds),
    )
    assert found.cpu_seconds == median / 2
    assert to_dict([], {})["groups"] == []
