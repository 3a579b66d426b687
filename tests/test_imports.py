"""Imports run one way, and the frameworks stay where they belong: read from the source, then watched in a process.

The source is read with ``ast``, so that every import counts, wherever it stands and whether a test reaches it or not.
Only the process shows what a third package brings along. The checker itself is tried on small packages with one mistake
each: it would otherwise be worth nothing on the day when it finds nothing.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

CORE = {"lazy", "nearest", "errors", "dtypes", "tensors"}
LAYERS: dict[str, set[str]] = {
    "lazy": set(),
    "nearest": set(),
    "errors": set(),
    "dtypes": {"errors"},
    "tensors": {"errors", "dtypes"},
    "formats": CORE,
    "mapping": CORE,
    "conversion": CORE | {"formats", "mapping"},
    "architectures": CORE,
    "verification": CORE | {"formats", "mapping", "conversion", "architectures"},
    "cli": CORE | {"formats", "mapping", "conversion", "architectures", "verification", "resport"},
    "__main__": {"cli"},
    # The public API looks its names up when they are asked for: it may look anywhere but at the command line.
    "__init__": CORE | {"formats", "mapping", "conversion", "architectures", "verification"},
}
"""For each part of the package the parts that it may import, ``resport`` being the public API."""

FRAMEWORKS = {"tensorflow", "keras", "tf_keras", "tf_slim", "matplotlib"}
GUESTS = {"architectures", "verification"}
"""The parts that may import a framework, inside functions."""

VERIFICATION: dict[str, set[str]] = {
    "forward": set(),
    "mistakes": {"forward", "pairing", "probe", "report", "weights"},
    "own_networks": {"forward", "mistakes", "pairing", "report", "weights"},
    "references": {"environment", "forward", "pairing", "report", "weights"},
    "page": {"report", "saving"},
}
"""For each folder of ``verification`` what else of it the folder may import; the modules beside them hold them together."""


@dataclass(frozen=True)
class Import:
    """One import: the dotted module, what is taken from it, and whether it waits for a call."""

    module: str
    names: tuple[str, ...]
    line: int
    in_function: bool


def imports(file: Path, package: str) -> Iterator[Import]:
    """All imports of a source file of ``package``, those that name their module in a string included."""
    yield from walk(ast.parse(file.read_text(encoding="utf-8"), str(file)), package, False)


def walk(node: ast.AST, package: str, in_function: bool) -> Iterator[Import]:
    """The imports in and below a node."""
    yield from imports_of(node, package, in_function)
    # Decorators and defaults run where the function is defined, but no import statement can stand in either.
    inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    otherwise = node.orelse if isinstance(node, ast.If) else []
    for child in ast.iter_child_nodes(node):
        # No run enters `if TYPE_CHECKING:`: its imports load nothing, but are dependencies. Its `else` is ordinary.
        guarded = is_type_checking(node) and child not in otherwise
        yield from walk(child, package, inside or guarded)


def imports_of(node: ast.AST, package: str, in_function: bool) -> Iterator[Import]:
    """The imports that one node makes by itself."""
    line = getattr(node, "lineno", 0)
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, (), line, in_function) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        # Level 1 is the file's own folder, and each further dot one folder up.
        folders = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
        module = ".".join([*folders, *([node.module] if node.module else [])])
        yield Import(module, tuple(alias.name for alias in node.names), line, in_function)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        if ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield Import(str(node.args[0].value), (), line, in_function)
    elif isinstance(node, ast.Constant) and re.fullmatch(r"resport(\.\w+)+(:\w+)?", str(node.value)):
        # How the registries name what they import later.
        yield Import(str(node.value).partition(":")[0], (), line, True)


def is_type_checking(node: ast.AST) -> bool:
    """Whether a node is ``if TYPE_CHECKING:``, the block that type checkers alone read."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def part_of(folder: Path, file: Path) -> str:
    """The part of the package that a file belongs to: the name of its top folder, or of the module."""
    return file.relative_to(folder).parts[0].removesuffix(".py")


def targets(entry: Import, parts: set[str]) -> list[str]:
    """The parts of resport that an import reaches; ``resport`` stands for the public API itself."""
    if entry.module == "resport":
        own = [name if name in parts else "resport" for name in entry.names if name != "__version__"]
        return own if entry.names else ["resport"]
    return [entry.module.split(".")[1]] if entry.module.startswith("resport.") else []


def problems(folder: Path) -> list[str]:
    """What is wrong with the imports of the package in ``folder``, one line each.

    Args:
        folder: a folder with the contents of the package ``resport``.
    """
    files = sorted(folder.rglob("*.py"))
    parts = {part_of(folder, file) for file in files}
    lines = [f"{part}: has no place in LAYERS" for part in sorted(parts - set(LAYERS))]
    for file in files:
        part = part_of(folder, file)
        package = ".".join(["resport", *file.relative_to(folder).parts[:-1]])
        for entry in imports(file, package):
            place = f"{file.relative_to(folder)}:{entry.line}"
            for target in targets(entry, parts):
                if target != part and target not in LAYERS.get(part, parts):
                    lines.append(f"{place}: {part} imports {target}")
            if (framework := entry.module.split(".")[0]) in FRAMEWORKS:
                if part not in GUESTS:
                    lines.append(f"{place}: {part} imports {framework}")
                elif not entry.in_function:
                    lines.append(f"{place}: {framework} is imported with the module")
    return lines


def test_imports_run_one_way(root: Path) -> None:
    assert problems(root / "resport") == []


def test_the_folders_of_verification_rest_on_what_they_may(root: Path) -> None:
    folder = root / "resport" / "verification"
    assert {path.parent.name for path in folder.glob("*/__init__.py")} == set(VERIFICATION)
    wrong = [
        f"{file.relative_to(folder)}:{entry.line}: {entry.module}"
        for name, allowed in VERIFICATION.items()
        for file in sorted((folder / name).rglob("*.py"))
        for entry in imports(file, f"resport.verification.{name}")
        if (inner := re.match(r"resport\.verification\b\.?(\w*)", entry.module)) and inner[1] not in allowed | {name}
    ]
    assert wrong == []


SOUND = {
    "__init__.py": "def __getattr__(name):\n from resport.verification import verify\n return verify\n",
    "errors.py": "class ResportError(Exception): ...\n",
    "formats/__init__.py": "from .registry import open_reader\n",
    "formats/registry.py": "from resport import __version__\nfrom ..errors import X\nR = 'resport.formats.x:Y'\n",
    "mapping/tables.py": "import tomllib\n'tensorflow'\n'''keras, resport.formats'''\n",
    "conversion/plan.py": "from resport.mapping import tables\nfrom resport.formats import registry\n",
    "architectures/slim.py": "def build():\n import tensorflow as tf\n from tf_slim.ops import variables\n",
    "verification/__init__.py": "class V:\n def f(self):\n  import keras\n  from resport.architectures import slim\n",
    "cli/main.py": "import resport\nfrom resport.verification import verify\n",
}

MISTAKES = [
    ("errors.py", "from resport.dtypes import DTYPES", "errors imports dtypes"),
    ("formats/x.py", "from resport.mapping import tables", "formats imports mapping"),
    ("formats/x.py", "from resport import mapping", "formats imports mapping"),
    ("formats/x.py", "from .. import mapping", "formats imports mapping"),
    ("formats/x.py", "from ..mapping.tables import load", "formats imports mapping"),
    ("formats/x.py", "WRITER = 'resport.conversion.stream:Stream'", "formats imports conversion"),
    ("formats/x.py", "if TYPE_CHECKING:\n    import resport.mapping.tables", "formats imports mapping"),
    ("formats/x.py", "def f():\n    from resport import convert", "formats imports resport"),
    ("mapping/x.py", "def f():\n    import resport.formats.base", "mapping imports formats"),
    ("mapping/x.py", "import resport", "mapping imports resport"),
    ("conversion/x.py", "from resport.architectures import build", "conversion imports architectures"),
    ("conversion/x.py", "from resport.verification import verify", "conversion imports verification"),
    ("architectures/x.py", "from resport.mapping import tables", "architectures imports mapping"),
    ("verification/x.py", "from resport.cli.main import main", "verification imports cli"),
    ("__init__.py", "def f():\n    from resport.cli import main", "__init__ imports cli"),
    ("tables.py", "import tomllib", "tables: has no place in LAYERS"),
    ("formats/x.py", "def f():\n    import tensorflow", "formats imports tensorflow"),
    ("formats/x.py", "def f():\n    importlib.import_module('tensorflow.python')", "formats imports tensorflow"),
    (
        "conversion/x.py",
        "def f():\n    try:\n        from keras import Model\n    except ImportError: ...",
        "imports keras",
    ),
    ("cli/x.py", "def f():\n    import matplotlib.pyplot", "cli imports matplotlib"),
    ("architectures/x.py", "import tf_slim as slim", "tf_slim is imported with the module"),
    (
        "architectures/x.py",
        "try:\n    import tf_keras\nexcept ImportError: ...",
        "tf_keras is imported with the module",
    ),
    ("architectures/x.py", "if TYPE_CHECKING: ...\nelse: import keras", "keras is imported with the module"),
    ("verification/x.py", "class C:\n    import keras", "keras is imported with the module"),
]


def write_package(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def test_checker_accepts_a_sound_package(tmp_path: Path) -> None:
    write_package(tmp_path, SOUND)
    assert problems(tmp_path) == []


@pytest.mark.parametrize(("file", "text", "expected"), MISTAKES)
def test_checker_finds_each_mistake(tmp_path: Path, file: str, text: str, expected: str) -> None:
    write_package(tmp_path, SOUND | {file: text})
    (line,) = problems(tmp_path)
    assert expected in line


def test_every_foreign_import_is_declared(root: Path, project: dict[str, Any]) -> None:
    """What the package imports is what pyproject.toml asks for: the frameworks as an extra, the rest always."""
    used = {
        entry.module.split(".")[0]
        for file in (root / "resport").rglob("*.py")
        for entry in imports(file, ".".join(file.relative_to(root).parts[:-1]))
    } - {"resport", *sys.stdlib_module_names}
    providers = metadata.packages_distributions()
    names = {module: spelled(providers.get(module, [module])[0]) for module in used}
    extras = project["optional-dependencies"]["verify"]
    assert {names[module] for module in used - FRAMEWORKS} == {spelled(text) for text in project["dependencies"]}
    assert {names[module] for module in used & FRAMEWORKS} == {spelled(text) for text in extras}


def spelled(requirement: str) -> str:
    """The name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", Requirement(requirement).name).lower()


def modules_after(code: str, cwd: Path) -> set[str]:
    """The top-level modules that a new process has imported when ``code`` is done."""
    report = "import json, pathlib, sys\npathlib.Path('modules.json').write_text(json.dumps(list(sys.modules)))"
    code = f"try:\n    {code}\nexcept SystemExit as end:\n    assert not end.code, end.code\n{report}"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in json.loads((cwd / "modules.json").read_text(encoding="utf-8"))}


def command(*arguments: str) -> str:
    """The code that runs the command line as the installed script does."""
    return f"import sys; from resport.cli.main import main; sys.argv = {['resport', *arguments]}; sys.exit(main())"


@pytest.fixture
def folder(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small checkpoint of no known network in each of the three main formats."""
    import resport
    from resport.tensors import TensorSpec

    monkeypatch.setenv("PYTHONPATH", str(root))
    values = np.random.default_rng(7).normal(size=(2, 3)).astype("float32")
    for name in ("small.safetensors", "small.h5", "small.ckpt"):
        with resport.open_writer(tmp_path / name, [TensorSpec("layer/kernel", (2, 3), "float32")]) as writer:
            writer.write("layer/kernel", values)
    return tmp_path


@pytest.mark.parametrize("code", ["import resport", "from resport.cli.main import main", command("--help")])
def test_start_is_light(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """What every run pays for: neither a framework nor numpy and h5py, which take most of the time of a start."""
    monkeypatch.setenv("PYTHONPATH", str(root))
    modules = modules_after(code, tmp_path)
    assert "resport" in modules
    assert modules & (FRAMEWORKS | {"numpy", "h5py", "einops", "cramjam", "ml_dtypes"}) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "small.ckpt"),
        ("inspect", "small.h5", "--json", "--stats"),
        ("convert", "small.safetensors", "out.h5"),
        ("convert", "small.h5", "out.ckpt"),
        ("convert", "small.ckpt", "out.safetensors"),
        ("diff", "small.ckpt", "small.h5"),
        ("mappings", "check"),
    ],
)
def test_commands_import_no_framework(folder: Path, arguments: tuple[str, ...]) -> None:
    assert modules_after(command(*arguments), folder) & (FRAMEWORKS | {"h5py"}) == set()


def test_process_check_sees_a_framework(folder: Path) -> None:
    """The check of the processes can fail: a module that is called like a framework is seen."""
    (folder / "keras.py").write_text("", encoding="utf-8")
    assert "keras" in modules_after("import keras", folder)
