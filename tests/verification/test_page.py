"""The report page as text: what it says, that it is whole, that nothing in it was written by a file, and how it is saved."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from resport.cli.verify_command import verify
from resport.errors import OptionError, SourceNotFoundError, TargetExistsError, TargetWriteError
from resport.verification.page import check_page_path, render_page, save_page
from resport.verification.page.markup import json_in_script, number, text
from resport.verification.page.sections import self_test_section
from resport.verification.report import VerificationReport, WeightsResult
from tests.sample_reports import END_POINTS, HOSTILE, different_report, equal_report, forward, hostile_report
from tests.tiny import write_values

VOID = {"meta", "link", "br", "input", "img"}
TIMES = "\N{MULTIPLICATION SIGN}"


class Page(HTMLParser):
    """The elements of a page and its text, with every tag closed where it has to be."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def visible(self) -> str:
        """All text, with single spaces, and the cross of sizes as the letter x."""
        return " ".join(" ".join(self.texts).split()).replace(TIMES, "x")

    def count(self, tag: str) -> int:
        """How many elements are called so."""
        return sum(each == tag for each, _ in self.elements)


def rendered(report: VerificationReport) -> str:
    return render_page(report.to_dict())


def script_of(content: str, kind: str) -> str:
    """What stands in the script tag with these attributes."""
    (found,) = re.findall(rf"<script{kind}>(.*?)</script>", content, flags=re.DOTALL)
    return str(found)


def test_the_verdict_comes_first() -> None:
    equal, different = Page(rendered(equal_report())), Page(rendered(different_report()))
    assert equal.visible.index("✓ equal The target computes what the source computes") < 100
    assert "All 6 tensors are equal bit for bit." in equal.visible
    assert "The outputs agree in float64 at all 7 end points, to 1.8e-15 of the largest value there." in equal.visible
    assert "≠ different The target differs from the source" in different.visible
    assert "1 of 6 tensors differ. The outputs differ, first at block1/unit_2 with images of 64x64" in different.visible


def test_what_was_compared_with_what() -> None:
    page = Page(rendered(equal_report()))
    for shown in (
        "File model.ckpt-7 Format tensorflow-v2 Network tiny_2, slim names Classes 5 sha256 " + "ab" * 32,
        "File model.h5 Format keras-h5 Network tiny_2, keras names Classes 5 sha256 " + "cd" * 32,
        "Mapping tiny sha256 of the mapping " + "ef" * 32,
        "Options dtype = float16 Images 2 images",
        "2 images of 64x64 and 65x65",
        "resport 0.1.0 python 3.11.7 numpy 2.4.6",
    ):
        assert shown in page.visible


def test_everything_that_a_report_says_is_on_the_page() -> None:
    visible = Page(rendered(different_report())).visible
    for shown in (
        "gamma and beta are exchanged What to do use --ema",
        "largest difference 0.03 as it is, 4e-16 with this undone",
        "float64 against float32: 1e-6 at logits",
        "≠ values 3 of 72 values differ",
        "2 of 3 mistakes made on purpose were caught",
        "0.25 x ≠ missed",
        "1 kind that this network has no place for grouped-kernels no convolution has groups",
        "the target was rounded",
        "logits float64, 64x64 50% 25% 0.975 0.03",
        "The same with random, sensitive weights",
        "global_step",
    ):
        assert shown in visible


def test_parts_that_a_report_lacks_are_not_there() -> None:
    page = Page(rendered(equal_report()))
    identifiers = {attributes.get("id") for _, attributes in page.elements}
    assert identifiers >= {"verdict", "compared", "end-points", "weights"}
    assert not identifiers & {"probe", "self-test", "diagnosis", "notes", "changes"}


def test_without_forward_passes_the_page_does_not_speak_of_computing() -> None:
    report = replace(equal_report(), forward=None, forward_reason="only the weights were asked for")
    page = Page(rendered(report))
    assert "The target holds what the source holds" in page.visible
    assert "No network was run: only the weights were asked for." in page.visible
    assert page.count("figure") == 0


def test_networks_without_float64_and_without_checkpoints() -> None:
    passes = replace(forward(), float64=(), limit_reason="a callable computes in float32")
    report = replace(equal_report(), forward=passes, weights=WeightsResult(0, 0, ()), weights_reason="there are none")
    visible = Page(rendered(replace(report, record=None))).visible
    assert "No tensors were compared: there are none." in visible
    assert "The outputs agree in float32 at all 7 end points" in visible
    assert "limit in float64" not in visible


def test_without_a_record_the_differences_are_listed() -> None:
    visible = Page(rendered(replace(different_report(), record=None))).visible
    assert "conv3/kernel ≠ values 3 of 72 values differ" in visible


def test_no_text_of_a_file_becomes_markup() -> None:
    content = rendered(hostile_report())
    harmless = json.loads(json.dumps(hostile_report().to_dict()).replace(json.dumps(HOSTILE)[1:-1], "name"))
    page, expected = Page(content), Page(render_page(harmless))
    # The same elements with the same attributes: only texts, and attributes that hold text, are other.
    assert Counter(tag for tag, _ in page.elements) == Counter(tag for tag, _ in expected.elements)
    assert [set(attributes) for _, attributes in page.elements] == [set(each) for _, each in expected.elements]
    assert page.count("script") == 2
    assert page.count("img") == 0
    assert "\x1b" not in content and "\u202e" not in content
    assert page.visible.count("<script>document.title") > 20


def test_the_report_is_in_the_page_as_json() -> None:
    for report in (different_report(), hostile_report()):
        held = json.loads(script_of(rendered(report), ' type="application/json" id="report"'))
        told = report.to_dict()
        assert "seconds" not in held
        assert held["source"] == told["source"]
        assert held["notes"] == told["notes"]
        assert held["weights"] == told["weights"]
    assert held["probe"]["first_divergence"]["max_rel_diff"] == "inf"


def test_json_in_a_script_can_not_end_it() -> None:
    value = {"</script>": ["<!--", math.nan, -math.inf, (1, 2.5)], "\u2028": "é"}
    written = json_in_script(value)
    assert "<" not in written and written.isascii()
    assert json.loads(written) == {"</script>": ["<!--", "nan", "-inf", [1, 2.5]], "\u2028": "é"}


def test_the_policy_allows_the_page_itself_and_nothing_else() -> None:
    content = rendered(equal_report())
    page = Page(content)
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", content, flags=re.DOTALL)
    digests = [
        base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script_of(content, ""))
    ]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset")
    ]
    assert addresses == ["data:,"]
    assert not re.search(r"url\(|@import|@font-face|https?:", style)
    assert not [a for _, a in page.elements if "style" in a or any(name.startswith("on") for name in a)]


def test_the_same_report_gives_the_same_bytes_however_long_it_took(tmp_path: Path) -> None:
    save_page(equal_report(), tmp_path / "a.html")
    save_page(replace(equal_report(), seconds=99.0), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def svg_of(content: str, name: str) -> str:
    (found,) = re.findall(rf'<svg class="chart {name}".*?</svg>', content, flags=re.DOTALL)
    return str(found)


def heights(drawing: str, css: str) -> list[float]:
    """Where the points of a curve are drawn."""
    (path,) = re.findall(rf'<path class="curve {css}" d="M([^"]*)"', drawing)
    return [float(point.partition(",")[2]) for point in path.split("L")]


@pytest.mark.parametrize("frame", ["wide", "narrow"])
def test_the_chart_is_drawn_to_scale(frame: str) -> None:
    drawing = svg_of(rendered(replace(equal_report(), forward=forward(2))), frame)
    first = heights(drawing, "first")
    rules = {css: float(y) for css, y in re.findall(r'<path class="rule (\w+)" d="M\d+,([\d.]+)H', drawing)}
    assert len(first) == len(END_POINTS)
    # 1e-9 and 1e-6 are the limit and the floor: the scale between them tells where every other value has to be.
    decade = (rules["limit"] - rules["floor"]) / 3
    assert rules["floor"] - rules["limit32"] == pytest.approx(decade, abs=0.2)
    assert first[1] - rules["limit"] == pytest.approx(7 * decade, abs=0.6)
    assert rules["limit"] - first[2] == pytest.approx(math.log10(3e-2 / 1e-9) * decade, abs=0.6)
    assert heights(drawing, "second")[1] == pytest.approx(first[1] - math.log10(3) * decade, abs=0.2)
    assert first[0] > max(first[1:])  # zero has a place of its own, below all others
    assert drawing.count("first difference: ") + drawing.count("…") == 1
    titles = re.findall(r"<title>(.*?)</title>", drawing.replace(TIMES, "x"), flags=re.DOTALL)
    assert [title.splitlines()[0] for title in titles] == list(END_POINTS)
    assert titles[2].splitlines()[1:] == ["float64, 64x64: 0.03", "float64, 65x65: 0.03", "float32, 64x64: 0.03"]


def test_what_is_infinite_or_no_number_has_a_place_in_the_chart() -> None:
    for value in (math.inf, math.nan):
        drawing = svg_of(rendered(replace(equal_report(), forward=forward(3, value))), "wide")
        first = heights(drawing, "first")
        assert first[3:] == [22.0] * 4
        assert "nan" not in drawing.lower().replace(": nan", "") and "inf" not in drawing.lower()
        assert '<path class="mark bad first"' in drawing
        assert ">∞</text>" in drawing


def test_numbers() -> None:
    values = [0.0, 1e-9, 1.5e-6, 0.94, 31.62, 4321.0, 4e5, -2e-5, math.inf, -math.inf, math.nan, None]
    shown = ["0", "1e-9", "1.5e-6", "0.94", "31.6", "4321", "4e5", "-2e-5", "∞", "-∞", "NaN", "\N{EN DASH}"]
    assert [number(value) for value in values] == shown


def test_text_is_fit_for_elements_and_attributes() -> None:
    assert (
        text("<a href=\"x\" id='y'>&\x00\n\udc80")
        == "&lt;a href=&quot;x&quot; id=&#x27;y&#x27;&gt;&amp;\\x00\\n\\udc80"
    )


def colours(scheme: str) -> dict[str, str]:
    """The colours of a scheme by name, as the style sheet has them."""
    style = re.findall(r"<style>(.*?)</style>", rendered(equal_report()), flags=re.DOTALL)[0]
    light, dark = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)[:2]
    found = dict(re.findall(r"--([\w-]+): (#\w{6})", light))
    return found | (dict(re.findall(r"--([\w-]+): (#\w{6})", dark)) if scheme == "dark" else {})


def luminance(colour: str) -> float:
    """As WCAG 2 defines it."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def pairs() -> Iterator[tuple[str, str]]:
    """Colours of text with what they stand on."""
    for ink in ("ink", "muted", "good", "bad", "first", "second", "third"):
        yield from ((ink, ground) for ground in ("card", "faint"))
    yield from (("ink", "good-card"), ("ink", "bad-card"), ("ink", "page"), ("muted", "page"))
    yield from (("card", "good"), ("card", "bad"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough_to_read(scheme: str) -> None:
    palette = colours(scheme)
    weak = []
    for ink, ground in pairs():
        high, low = sorted((luminance(palette[ink]), luminance(palette[ground])), reverse=True)
        if (high + 0.05) / (low + 0.05) < 4.5:
            weak.append((ink, ground))
    assert weak == []


def test_a_page_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    save_page(equal_report(), path)
    save_page(different_report(), path)
    assert "≠" in path.read_text(encoding="utf-8")
    path.write_text("<!DOCTYPE html>mine", encoding="utf-8")
    with pytest.raises(TargetExistsError, match="no report of resport"):
        save_page(equal_report(), path)
    assert path.read_text(encoding="utf-8") == "<!DOCTYPE html>mine"
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_paths_that_no_page_is_written_to(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no name for a page"):
        check_page_path(tmp_path / "model.h5")
    with pytest.raises(SourceNotFoundError, match="does not exist"):
        check_page_path(tmp_path / "nowhere" / "report.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(TargetExistsError):
        check_page_path(tmp_path / "folder.html")
    check_page_path(tmp_path / "new.HTM")


def test_a_write_that_fails_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    save_page(equal_report(), path)
    before = path.read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TargetWriteError, match=r"(?i)no space left"):
        save_page(different_report(), path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_the_command_writes_the_page_and_refuses_a_path_before_it_computes(tmp_path: Path) -> None:
    values = {"a": np.arange(3, dtype=np.float32)}
    paths = [str(write_values(tmp_path / name, values)) for name in ("one.safetensors", "two.h5")]
    page = tmp_path / "report.html"
    done = CliRunner().invoke(verify, [*paths, "--weights-only", "--report", str(page)])
    assert done.exit_code == 0, done.output
    visible = Page(page.read_text(encoding="utf-8")).visible
    assert "The target holds what the source holds The one tensor is equal" in visible
    refused = CliRunner().invoke(verify, ["nowhere.ckpt", "nowhere.h5", "--report", str(tmp_path / "two.h5")])
    assert isinstance(refused.exception, OptionError)
    assert "no name for a page" in str(refused.exception)


def test_rows_are_as_many_as_tensors() -> None:
    content = rendered(equal_report(1100))
    assert len(re.findall(r"<tr[ >]", content)) == 1 + 3 + 1 + len(END_POINTS) + 1 + 1100 + 1
    held: dict[str, Any] = json.loads(script_of(content, ' type="application/json" id="report"'))
    assert len(held["record"]["tensors"]) == 1101


def test_a_self_test_without_diagnosis_has_no_column_for_it() -> None:
    report = different_report().to_dict()
    assert report["self_test"]["results"][0]["diagnosed"]
    assert "Diagnosed as" in self_test_section(report)
    for result in report["self_test"]["results"]:
        result["diagnosed"] = None
    section = self_test_section(report)
    assert "Diagnosed as" not in section
    # Each row has as many cells as there are headings.
    n_headings = section.count('<th scope="col"')
    rows = section.split("<tbody>")[1].split("<tr")[1:]
    assert n_headings == 6 and {row.count("<td") + row.count("<th") for row in rows} == {6}
