"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_reference_is_fresh(root: Path) -> None:
    page = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    # In a process of its own: click keeps the help option of whoever asked first.
    command = [sys.executable, "-m", "resport.cli.reference"]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert page == written, "run `make docs`"
