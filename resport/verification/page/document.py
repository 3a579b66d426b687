"""The page as one document: sections, style and script put together, with a policy that forbids everything else.

The policy names the hashes of the one style sheet and the one script that are in the page. A browser loads nothing
else and runs nothing else, whatever a name in a checkpoint looks like and whoever edits the page later.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from resport.verification.page.markup import json_in_script, text
from resport.verification.page.sections import (
    changes_section,
    compared_section,
    diagnosis_section,
    forward_section,
    notes_section,
    self_test_section,
    weights_section,
)
from resport.verification.page.verdict import verdict_section

PAGE_GENERATOR = "resport verify"
"""What the page calls itself, by which it is known when it is to be replaced."""


def render_page(report: Mapping[str, Any]) -> str:
    """The report as one HTML document; the same report gives the same text.

    Args:
        report: what ``VerificationReport.to_dict()`` gives. The duration isn't shown: it differs from run to run.
    """
    style, script = _part("page.css"), _part("page.js")
    lasting = {name: value for name, value in report.items() if name != "seconds"}
    sections = (
        verdict_section(report),
        diagnosis_section(report),
        changes_section(report),
        compared_section(report),
        forward_section(report["forward"], "end-points", "Difference at every end point"),
        forward_section(report.get("probe"), "probe", "The same with random, sensitive weights"),
        weights_section(report),
        self_test_section(report),
        notes_section(report),
    )
    version = (report.get("record") or {}).get("environment", {}).get("resport", "")
    return Template(_part("page.html")).substitute(
        policy=_policy(style, script),
        generator=PAGE_GENERATOR,
        title=text(f"{report['verdict']}: {report['source']['path']} and {report['target']['path']}"),
        verdict=text(report["verdict"]),
        version=text(version),
        style=style,
        script=script,
        sections="\n".join(each for each in sections if each),
        data=json_in_script(lasting),
    )


def _part(name: str) -> str:
    return files("resport.verification.page").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src '{_source_hash(style)}'; script-src '{_source_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _source_hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
