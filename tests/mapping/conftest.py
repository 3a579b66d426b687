"""What the tests of the mapping tables share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resport.mapping import Table, load_table


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Table]:
    """Write TOML text to a file and load it as a table."""

    def load_text(text: str) -> Table:
        path = tmp_path / "toy.toml"
        path.write_text(text, encoding="utf-8")
        return load_table(path)

    return load_text
