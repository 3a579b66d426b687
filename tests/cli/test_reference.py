"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

from pathlib import Path

from resport.cli.reference import reference


def test_the_reference_is_fresh(root: Path) -> None:
    page = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == reference(), "run `make docs`"
