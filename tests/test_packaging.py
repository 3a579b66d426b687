"""What is shipped: the wheel is built, looked into, installed into an empty folder and run from there."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Isolated

# The build backend itself, called as pip calls it: no network, and no environment made for the purpose.
BUILD = "import sys; from hatchling.build import build_{kind}; print(build_{kind}(sys.argv[1]))"


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build the ``wheel`` or ``sdist`` of the project in ``source`` and return the file."""
    command = [sys.executable, "-c", BUILD.format(kind=kind), str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", root, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """The names of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True, timeout=300)
    return folder


def test_wheel_holds_the_package_and_the_tables(root: Path, names: set[str]) -> None:
    modules = {path.relative_to(root).as_posix() for path in (root / "resport").rglob("*.py")}
    tables = {f"resport/_tables/{path.name}" for path in (root / "mappings").glob("*.toml")}
    page = {f"resport/verification/page/page.{kind}" for kind in ("html", "css", "js")}
    assert len(tables) > 1
    assert modules | tables | page | {"resport/py.typed"} == {name for name in names if name.startswith("resport/")}


def test_wheel_holds_nothing_beside_it(names: set[str], project: dict[str, Any]) -> None:
    information = f"resport-{project['version']}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"resport", information}
    assert f"{information}/licenses/LICENSE" in names


def test_wheel_says_what_it_needs(wheel: Path, project: dict[str, Any]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        information = message_from_bytes(archive.read(name))
        (scripts,) = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
        assert "resport = resport.cli.main:main" in archive.read(scripts).decode()
    always = [line for line in information.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(always) == sorted(project["dependencies"])
    assert information["Requires-Python"] == ">=3.11"
    assert information["License-Expression"] == "Apache-2.0"
    assert set(information.get_all("Provides-Extra", [])) == {"dev", "verify"}


def test_wheel_of_the_source_archive_is_the_same(root: Path, wheel: Path, tmp_path: Path) -> None:
    """A source archive that lacks a file, or a build that differs from run to run, would show here."""
    archive = build("sdist", root, tmp_path)
    with tarfile.open(archive) as source:
        source.extractall(tmp_path, filter="data")
    again = build("wheel", tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path)
    assert again.read_bytes() == wheel.read_bytes()


def test_installed_package_finds_its_tables(installed: Path, core_packages: Path, root: Path, tmp_path: Path) -> None:
    python = Isolated(installed, core_packages)
    where = python.run("import resport, pathlib; print(pathlib.Path(resport.__file__).parent)", cwd=tmp_path)
    assert where.stdout.strip() == str(installed / "resport"), where.stderr
    listed = python.resport("mappings", "list", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    families = [path.stem for path in (root / "mappings").glob("[!_]*.toml")]
    assert families
    assert [family for family in families if family not in listed.stdout] == []
    checked = python.resport("mappings", "check", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr


def test_installed_package_knows_its_version(
    installed: Path, core_packages: Path, project: dict[str, Any], tmp_path: Path
) -> None:
    python = Isolated(installed, core_packages)
    assert python.run("import resport; print(resport.__version__)", cwd=tmp_path).stdout.strip() == project["version"]
    assert project["version"] in python.resport("--version", cwd=tmp_path).stdout
