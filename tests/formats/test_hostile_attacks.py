"""Every attack that is known by name ends in one clean error, in seconds and within bounds of memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fuzz.attacks import ATTACKS, HARMLESS
from tests.fuzz.attempt import MEGABYTES, READ, REFUSED, Outcome


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """All attacks, each tried in a process of its own."""
    paths = {}
    for name, make in {**ATTACKS, **HARMLESS}.items():
        paths[name] = make(tmp_path_factory.mktemp(name))
    command = [sys.executable, "-m", "tests.fuzz.attempt", *map(str, paths.values())]
    environment = {**os.environ, "RESPORT_ATTEMPT_SECONDS": "30"}
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment)
    found = (json.loads(line) for line in run.stdout.splitlines())
    by_path = {value.pop("path"): Outcome(**value) for value in found}
    return {name: by_path[str(path)] for name, path in paths.items()}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused(outcomes: dict[str, Outcome], attack: str) -> None:
    outcome = outcomes[attack]
    assert outcome.verdict == REFUSED, outcome
    assert outcome.megabytes < MEGABYTES


@pytest.mark.parametrize("attack", HARMLESS)
def test_an_attack_has_no_effect(outcomes: dict[str, Outcome], attack: str) -> None:
    outcome = outcomes[attack]
    assert outcome.verdict == READ, outcome
    assert outcome.megabytes < MEGABYTES
    assert not Path("trapped").exists()
