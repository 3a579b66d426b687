"""What all tests share: quiet frameworks, no network, and an environment that holds the core dependencies alone."""

from __future__ import annotations

import os

# Read by the frameworks when they are imported, here and in every process that a test starts; hence before all else.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a GPU rounds otherwise: the tolerances are those of the CPU
os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the home directory's keras.json says
os.environ["MPLBACKEND"] = "Agg"
os.environ["PIP_NO_INDEX"] = "1"

import json
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import settings
from packaging.requirements import Requirement

from tests.browser import find_browser

ROOT = Path(__file__).resolve().parent.parent

pytest.register_assert_rewrite("tests.contracts")

# The same examples on every run: a test that fails for one person fails for all.
settings.register_profile("resport", deadline=None, derandomize=True, database=None)
settings.load_profile("resport")


def pytest_report_header() -> str:
    """Say which browser the pages are tried in."""
    return f"browser: {find_browser() or 'none, so that the tests that need one are left out'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need a browser where there is none; CI requires one, so that they fail without it."""
    if find_browser() is not None or os.environ.get("RESPORT_BROWSER") == "required":
        return
    needing = [item for item in items if item.get_closest_marker("browser")]
    config.hook.pytest_deselected(items=needing)
    items[:] = [item for item in items if item not in needing]


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Make every connection to another machine an error: a test that needs one is no test of this repository."""

    def refuse(*args: Any, **options: Any) -> NoReturn:
        raise OSError(f"a test asked for the network: {args}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr(socket, "create_connection", refuse)
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    """The table ``[project]`` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class Isolated:
    """Python with the standard library and the given folders, and nothing else to import from.

    ``-I -S`` leaves out the site-packages of the environment, the user's own, PYTHONPATH and the current folder.
    """

    def __init__(self, *folders: Path) -> None:
        self.folders = [str(folder) for folder in folders]

    def run(self, code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a piece of Python in the folder ``cwd``."""
        start = f"import sys; sys.path[:0] = {json.dumps(self.folders)}\n"
        command = [sys.executable, "-I", "-S", "-c", start + code]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)

    def resport(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run the command line as the installed script does."""
        code = f"from resport.cli.main import main\nsys.argv = {json.dumps(['resport', *arguments])}\nsys.exit(main())"
        return self.run(code, cwd=cwd)


@pytest.fixture(scope="session")
def core_packages(tmp_path_factory: pytest.TempPathFactory, project: dict[str, Any]) -> Path:
    """A folder with links to the files of the core dependencies, and of what these depend on, and to no others."""
    folder = tmp_path_factory.mktemp("core-packages")
    for distribution in distributions(project["dependencies"]):
        for file in distribution.files or ():
            if ".." not in file.parts:
                link = folder / file
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(distribution.locate_file(file))
    return folder


def distributions(requirements: list[str]) -> list[metadata.Distribution]:
    """The installed distributions that requirements ask for, directly or through others."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = requirement.name.lower().replace("_", "-")
        if name not in found:
            found[name] = metadata.distribution(name)
            waiting += [Requirement(text) for text in found[name].requires or ()]
    return list(found.values())
