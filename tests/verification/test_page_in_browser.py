"""The report page in a real browser: it asks for nothing, complains of nothing, and its tables and colours work."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from resport.verification.page import save_page
from resport.verification.report import VerificationReport
from tests.browser import Browser
from tests.sample_reports import END_POINTS, different_report, equal_report, hostile_report

pytestmark = pytest.mark.browser

PHONE = 360
NAMES = "Array.from(document.querySelectorAll('{} tbody th'), cell => cell.textContent)"
TENSORS = "section[aria-labelledby=weights]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Browser:
    """The browser as a desktop has it."""
    browser.resize(1280)
    browser.media(prefers_color_scheme="light")
    return browser


def show(browser: Browser, folder: Path, report: VerificationReport) -> str:
    """Open a report as a file and return its address."""
    path = folder / "report.html"
    save_page(report, path)
    browser.open(path.as_uri())
    return path.as_uri()


@pytest.mark.parametrize("report", [equal_report, different_report, hostile_report])
@pytest.mark.parametrize("width", [PHONE, 1280])
def test_nothing_is_asked_for_and_nothing_runs_but_the_page(
    page: Browser, tmp_path: Path, report: object, width: int
) -> None:
    assert callable(report)
    page.resize(width, mobile=width == PHONE)
    address = show(page, tmp_path, report())
    for height in (0, 2000, 4000):
        page.value(f"scrollTo(0, {height})")
    assert [request for request in page.requests if request != "data:,"] == [address]
    assert page.complaints == []
    assert page.value("document.title").startswith(("equal: ", "different: "))
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.value("document.querySelectorAll('img, iframe, object').length") == 0


def test_the_policy_stops_a_script_and_a_request_that_got_in(page: Browser, tmp_path: Path) -> None:
    show(page, tmp_path, equal_report())
    page.value("""
        const script = document.createElement("script");
        script.textContent = "document.title = 'taken'";
        document.body.append(script);
        const image = document.createElement("img");
        image.src = "https://example.org/x.png";
        document.body.append(image);
    """)
    page.wait_for("performance.now() > 0")
    assert page.value("document.title") != "taken"
    assert sum("Content Security Policy" in complaint for complaint in page.complaints) == 2


def test_search_leaves_the_rows_that_have_every_word(page: Browser, tmp_path: Path) -> None:
    show(page, tmp_path, equal_report(30))
    names = NAMES.format(TENSORS)
    assert len(page.value(names)) == 31
    page.value(f"document.querySelector('{TENSORS} input[type=search]').focus()")
    page.write("BLOCK3 conv1")
    assert page.value(names) == ["conv10/kernel", "conv17/kernel"]
    assert page.value(f"document.querySelector('{TENSORS} output').textContent") == "2 of 31 rows"
    page.value(f"document.querySelector('{TENSORS} input[type=search]').select()")
    page.write("nowhere")
    assert page.value(names) == []


def test_only_what_differs(page: Browser, tmp_path: Path) -> None:
    show(page, tmp_path, different_report())
    page.value(f"document.querySelector('{TENSORS} input[type=checkbox]').click()")
    assert page.value(NAMES.format(TENSORS)) == ["conv3/kernel"]
    end_points = "section[aria-labelledby=end-points] .data:last-child"
    page.value(f"document.querySelector('{end_points} input[type=checkbox]').click()")
    assert page.value(NAMES.format(end_points)) == list(END_POINTS[2:])
    mutants = "section[aria-labelledby=self-test]"
    page.value(f"document.querySelector('{mutants} input[type=checkbox]').click()")
    assert page.value(NAMES.format(mutants)) == ["one-element"]


def test_headings_sort_with_the_keyboard_and_say_so(page: Browser, tmp_path: Path) -> None:
    show(page, tmp_path, different_report())
    mutants = "section[aria-labelledby=self-test]"
    page.value(f"document.querySelector('{mutants} .scroll').focus()")
    for _ in range(2):
        page.press("Tab")
    assert page.value("document.activeElement.textContent") == "Margin"
    sorts = f"Array.from(document.querySelectorAll('{mutants} thead th'), cell => cell.getAttribute('aria-sort'))"
    expected = [
        ("ascending", ["one-element", "bn-gamma-beta", "class-shift"]),
        ("descending", ["class-shift", "bn-gamma-beta", "one-element"]),
        (None, ["bn-gamma-beta", "one-element", "class-shift"]),
    ]
    for direction, order in expected:
        page.press("Enter")
        assert page.value(NAMES.format(mutants)) == order
        assert page.value(sorts) == [None, direction, None, None, None, None, None]
    assert page.value("document.activeElement.textContent") == "Margin"


def test_names_sort_by_the_numbers_in_them(page: Browser, tmp_path: Path) -> None:
    show(page, tmp_path, equal_report(12))
    page.value(f"document.querySelectorAll('{TENSORS} thead button')[0].click()")
    # What has no name in the target comes with its dash.
    assert [name for name in page.value(NAMES.format(TENSORS)) if "/" in name] == [f"conv{i}/kernel" for i in range(12)]


@pytest.mark.parametrize("n_tensors", [1100, 10_000])
def test_thousands_of_tensors_are_folded_and_all_can_be_reached(page: Browser, tmp_path: Path, n_tensors: int) -> None:
    show(page, tmp_path, equal_report(n_tensors))
    rows = f"document.querySelectorAll('{TENSORS} tbody tr').length"
    assert page.value(rows) == 40
    more = f"document.querySelector('{TENSORS} .more')"
    assert page.value(f"{more}.textContent") == "Show 1,000 more rows"
    page.value(f"document.querySelector('{TENSORS} input[type=search]').focus()")
    page.write(f"conv{n_tensors - 1}/")
    assert page.value(NAMES.format(TENSORS)) == [f"conv{n_tensors - 1}/kernel"]
    page.value(f"document.querySelector('{TENSORS} input[type=search]').select()")
    page.write("kernel")
    assert page.value(rows) == 40
    page.value(f"{more}.click()")
    assert page.value(rows) == 1040
    page.value(f"for (let clicks = 0; clicks < {n_tensors // 1000}; clicks++) {more}.click()")
    assert page.value(rows) == n_tensors
    assert page.value(f"{more}.hidden")


def test_the_page_is_whole_without_a_script(page: Browser, tmp_path: Path) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        show(page, tmp_path, equal_report(100))
        assert page.value(f"document.querySelectorAll('{TENSORS} tbody tr').length") == 101
        visible = "getComputedStyle(document.querySelector('{}')).display"
        for selector in (".tools", ".more", "#save", ".readout"):
            assert page.value(visible.format(selector)) == "none"
        assert page.value(visible.format(".chart.wide")) == "block"
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(page: Browser, tmp_path: Path, scheme: str) -> None:
    page.media(prefers_color_scheme=scheme)
    show(page, tmp_path, different_report())
    style = "getComputedStyle(document.querySelector('{}')).{}"
    colours = {
        "light": ["rgb(246, 247, 249)", "rgb(28, 33, 40)", "rgb(11, 97, 196)", "rgb(179, 32, 27)"],
        "dark": ["rgb(15, 19, 24)", "rgb(230, 234, 239)", "rgb(108, 178, 255)", "rgb(255, 138, 128)"],
    }
    found = [
        page.value(style.format("body", "backgroundColor")),
        page.value(style.format("body", "color")),
        page.value(style.format(".curve.first", "stroke")),
        page.value(style.format(".rule.limit", "stroke")),
    ]
    assert found == colours[scheme]


def test_a_phone_gets_a_chart_of_its_own(page: Browser, tmp_path: Path) -> None:
    show(page, tmp_path, equal_report())
    shown = "Array.from(document.querySelectorAll('.chart')).filter(c => c.checkVisibility()).map(c => c.classList[1])"
    assert page.value(shown) == ["wide"]
    page.resize(PHONE, mobile=True)
    assert page.value(shown) == ["narrow"]
    # Text is drawn at about the size it is read at.
    assert page.value("document.querySelector('.chart.narrow .tick').getBoundingClientRect().height") > 9


def test_labels_of_a_chart_lie_inside_it_and_apart_from_each_other(page: Browser, tmp_path: Path) -> None:
    boxes = """
        Array.from(document.querySelectorAll('.chart.{} text'), each => {{
            const box = each.getBBox();
            return [box.x, box.y, box.x + box.width, box.y + box.height];
        }})
    """
    for width, frame, size in ((1280, "wide", (960, 380)), (PHONE, "narrow", (380, 320))):
        page.resize(width)
        show(page, tmp_path, replace(different_report(), probe=None))
        found = page.value(boxes.format(frame))
        assert len(found) > 10
        assert [box for box in found if box[0] < 0 or box[1] < 0 or box[2] > size[0] or box[3] > size[1]] == []
        overlapping = [
            (a, b)
            for index, a in enumerate(found)
            for b in found[:index]
            # A line box is higher than its letters: two may share a few pixels.
            if min(a[2], b[2]) - max(a[0], b[0]) > 0 and min(a[3], b[3]) - max(a[1], b[1]) > 4
        ]
        assert overlapping == []


def test_pointing_at_an_end_point_tells_its_values(page: Browser, tmp_path: Path) -> None:
    show(page, tmp_path, equal_report())
    page.value("document.querySelector('.chart.wide').scrollIntoView({block: 'center'})")
    x, y = page.value(
        "(() => { const box = document.querySelectorAll('.chart.wide .column')[3].getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    page.point_at(x, y)
    page.wait_for("!document.querySelector('.readout').hidden")
    told = page.value("document.querySelector('.readout').textContent").replace("\N{MULTIPLICATION SIGN}", "x")
    assert told == "block1 · float64, 64x64: 3e-16 · float64, 65x65: 9e-16 · float32, 64x64: 3e-7"


def test_the_page_is_accessible(page: Browser, tmp_path: Path) -> None:
    show(page, tmp_path, different_report())
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")
    ]
    by_role = {role: [name for each, name in roles if each == role] for role, _ in roles}
    assert len(by_role["table"]) == 6 and all(by_role["table"])
    assert all(by_role["columnheader"]) and all(by_role["rowheader"])
    assert all(by_role["button"]) and all(by_role["searchbox"]) and all(by_role["checkbox"])
    assert [name for name in by_role["image"] if name.startswith("Relative difference")]
    levels = page.value("Array.from(document.querySelectorAll('h1, h2, h3'), each => Number(each.tagName[1]))")
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_it_prints_without_what_can_not_be_clicked_on_paper(page: Browser, tmp_path: Path) -> None:
    show(page, tmp_path, different_report())
    page.media("print")
    for selector in (".tools", "#save"):
        assert page.value(f"getComputedStyle(document.querySelector('{selector}')).display") == "none"
    paper = page.call("Page.printToPDF", preferCSSPageSize=True)["data"]
    assert base64.b64decode(paper).startswith(b"%PDF-")
