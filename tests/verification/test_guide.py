"""docs/verification.md, held against what it describes: its examples run, and its JSON has the keys that there are."""

from __future__ import annotations

import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resport
from resport.errors import ParityError
from resport.verification.references.sampling import SAMPLE_VALUES
from tests.tiny import slim_values, write_values


@pytest.fixture
def guide(root: Path) -> str:
    return (root / "docs" / "verification.md").read_text("utf-8")


def example(guide: str, name: str) -> str:
    """The block of Python behind a comment."""
    (code,) = re.findall(rf"<!-- {name} example -->\n```python\n(.*?)```", guide, flags=re.DOTALL)
    return str(code)


def test_the_pytest_example_passes_and_fails(guide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = example(guide, "pytest")
    assert len([line for line in code.splitlines() if line.strip()]) == 3
    script = tmp_path / "test_migration.py"
    script.write_text(code, "utf-8")
    monkeypatch.chdir(tmp_path)
    test = runpy.run_path(str(script))["test_the_migrated_model_is_the_same"]
    values = slim_values()
    write_values(Path("model.ckpt-88000"), values)
    write_values(Path("model.h5"), values)
    test()
    Path("model.h5").unlink()
    write_values(Path("model.h5"), values | {"tiny_2/logits/biases": np.ones(7, np.float32)})
    with pytest.raises(ParityError, match="tiny_2/logits/biases"):
        test()


def test_every_example_is_python(guide: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        compile(block, "docs/verification.md", "exec")


def test_every_key_of_the_report_is_in_the_guide(guide: str, tmp_path: Path) -> None:
    def network(images: np.ndarray) -> np.ndarray:
        return images.mean(axis=(1, 2))

    report = resport.verify_networks(network, lambda images: network(images) * 1.1)
    described = guide[guide.index("## The report as JSON") :]
    for key in keys(report.to_dict()):
        assert f"`{key}" in described or f".{key}`" in described, key


def keys(value: Mapping[str, Any]) -> set[str]:
    """The keys of a report and of all that is in it; those of ``quantiles`` are shares."""
    found = set(value)
    for key, each in value.items():
        if isinstance(each, Mapping) and key != "quantiles":
            found |= keys(each)
        elif isinstance(each, list):
            found |= {name for item in each if isinstance(item, Mapping) for name in keys(item)}
    return found


def test_the_size_of_a_sample_is_what_the_guide_says(guide: str) -> None:
    assert re.search(rf"\b{SAMPLE_VALUES} values are sampled", guide)
