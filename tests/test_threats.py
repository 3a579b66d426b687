"""docs/threats.md names tests and attacks: all of them are there, and no attack is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fuzz.attacks import ATTACKS, HARMLESS

PAGE = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


def missing(root: Path, named: list[tuple[str, str]]) -> list[str]:
    """Those of the named tests that are not in their files."""
    lost = []
    for file, test in named:
        text = (root / file).read_text(encoding="utf-8") if (root / file).is_file() else ""
        if not re.search(rf"^\s*def {test}\(", text, flags=re.MULTILINE):
            lost.append(f"{file}::{test}")
    return lost


def test_every_named_test_exists() -> None:
    assert missing(ROOT, NAMED) == []
    assert missing(ROOT, [("tests/test_threats.py", "test_that_is_nowhere")]) != []


def test_every_row_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    heads = [line for line in rows if line.split("|")[3].strip() == "test"]
    assert len(heads) == 7
    for row in rows:
        assert row in heads or "::test_" in row.split("|")[3], row


@pytest.mark.parametrize("attack", [*ATTACKS, *HARMLESS])
def test_every_attack_is_listed(attack: str) -> None:
    assert f"`{attack}`" in PAGE


def test_every_listed_attack_exists() -> None:
    listed = {name for names in re.findall(r"\[(`[^\]]+`)\]", PAGE) for name in re.findall(r"`(\w+)`", names)}
    assert listed <= {*ATTACKS, *HARMLESS}
