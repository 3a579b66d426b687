"""The rules of the house that a linter doesn't know, read from the source; and the documents, held against the tree.

Each rule is a function from files to lines of complaint: empty on the repository, and not empty on a small tree with
that one mistake.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

PUBLIC_API = {
    "ResportError",
    "build",
    "convert",
    "diff",
    "inspect",
    "load_table",
    "open_reader",
    "open_writer",
    "verify",
    "verify_against",
    "verify_networks",
}
MODULE_LINES = 400
FUNCTION_LINES = 80
PICTURE_BYTES = 200_000
VAGUE_NAMES = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}
CODE_RUNNING_MODULES = {"dill", "joblib", "marshal", "pickle", "shelve"}

Rule = Callable[[Path], Iterable[str]]


def sources(root: Path) -> Iterator[tuple[Path, ast.Module]]:
    """The modules of the package and of the benchmarks, parsed."""
    for folder in ("resport", "benchmarks"):
        for file in sorted((root / folder).rglob("*.py")):
            yield file, ast.parse(file.read_text(encoding="utf-8"), str(file))


def long_modules(root: Path) -> Iterator[str]:
    for file, _ in sources(root):
        n_lines = len(file.read_text(encoding="utf-8").splitlines())
        if n_lines > MODULE_LINES:
            yield f"{file}: {n_lines} lines, more than {MODULE_LINES}"


def long_functions(root: Path) -> Iterator[str]:
    for file, tree in sources(root):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if n_lines > FUNCTION_LINES:
                    yield f"{file}:{node.lineno}: {node.name} has {n_lines} lines, more than {FUNCTION_LINES}"


def vague_modules(root: Path) -> Iterator[str]:
    for file, _ in sources(root):
        for part in file.relative_to(root).parts:
            if part.removesuffix(".py") in VAGUE_NAMES:
                yield f"{file}: `{part}` says nothing of what is in it"


def modules_without_docstring(root: Path) -> Iterator[str]:
    for file, tree in sources(root):
        if ast.get_docstring(tree) is None:
            yield f"{file}: has no docstring"


def shadowed_modules(root: Path) -> Iterator[str]:
    """Names that a package gives its users and that are also modules of it: which of the two one gets is chance."""
    for file, tree in sources(root):
        if file.name == "__init__.py":
            modules = {path.stem for path in file.parent.iterdir() if path.suffix == ".py" or path.is_dir()}
            for name in sorted(names_bound(tree) & modules):
                yield f"{file}: `{name}` is a module of this package too"


def names_bound(tree: ast.Module) -> set[str]:
    """The names that a module defines, imports from elsewhere, lists in ``__all__`` or looks up when asked."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            assigned = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in assigned if isinstance(target, ast.Name)}
            # `__all__`, and the table of a lazy `__getattr__`, whose keys are the names.
            listed = node.value.keys if isinstance(node.value, ast.Dict) else getattr(node.value, "elts", [])
            names |= {str(item.value) for item in listed if isinstance(item, ast.Constant)}
    return names


def printing(root: Path) -> Iterator[str]:
    """Calls of ``print`` outside the command line and the benchmarks: a library hands back what it has to say."""
    for file, tree in sources(root):
        if file.relative_to(root).parts[:2] in {("resport", "cli")} or file.is_relative_to(root / "benchmarks"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "sys.stdout.write", "click.echo"}:
                yield f"{file}:{node.lineno}: prints"


def code_from_files(root: Path) -> Iterator[str]:
    """Ways in which a file's content would run as code."""
    for file, tree in sources(root):
        for node in ast.walk(tree):
            imported: set[str] = set()
            if isinstance(node, ast.Import):
                imported = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported = {node.module or ""}
            elif isinstance(node, ast.Call):
                if ast.unparse(node.func) in {"eval", "exec"}:
                    yield f"{file}:{node.lineno}: runs text as code"
                if any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords):
                    yield f"{file}:{node.lineno}: allows pickles"
            for module in sorted(imported & CODE_RUNNING_MODULES):
                yield f"{file}:{node.lineno}: imports {module}"


# Put together from halves, so that this file keeps the rule too.
UNFINISHED_WORDS = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "not supported " + "yet", "Not" + "ImplementedError"]
SKIPS = ["pytest.sk" + "ip", "pytest.xf" + "ail", "import" + "orskip", "mark.sk" + "ip", "mark.xf" + "ail"]
UNFINISHED = re.compile("|".join(rf"\b{re.escape(word)}" for word in UNFINISHED_WORDS + SKIPS))


def written_files(root: Path) -> Iterator[Path]:
    """The files that people write: code, tables and documents."""
    folders = ("resport", "mappings", "tests", "benchmarks", "docs", ".ci")
    files = [path for folder in folders for path in sorted((root / folder).rglob("*"))]
    files += [path for path in sorted(root.iterdir()) if path.suffix in {".md", ".toml"} or path.name == "Makefile"]
    return (path for path in files if path.is_file() and "__pycache__" not in path.parts)


def unfinished(root: Path) -> Iterator[str]:
    for file in written_files(root):
        if file.suffix not in {".py", ".toml", ".md", ""}:
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if found := UNFINISHED.search(line):
                yield f"{file}:{number}: {found.group()}"


def binary_files(root: Path) -> Iterator[str]:
    """Files that nobody can review: tests make their checkpoints, or hold their names as text.

    Pictures in the documents are to be looked at; they stay small.
    """
    for file in written_files(root):
        if file.suffix == ".png" and file.parent == root / "docs":
            if file.stat().st_size > PICTURE_BYTES:
                yield f"{file}: {file.stat().st_size:,} bytes, more than {PICTURE_BYTES:,}"
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            yield f"{file}: is not text"


def documents(root: Path) -> list[Path]:
    """README, CONTRIBUTING, CHANGELOG and all of docs."""
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")])


def broken_links(root: Path) -> Iterator[str]:
    """Relative links to files, or headings, that are not there."""
    for file in documents(root):
        for target in re.findall(r"\]\(([^)\s]+)\)", without_code(file)):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            linked = (file.parent / path).resolve() if path else file
            if not linked.exists():
                yield f"{file}: `{target}` is not there"
            elif anchor and linked.suffix == ".md" and anchor not in anchors(linked):
                yield f"{file}: `{path}` has no heading `{anchor}`"


def without_code(file: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(file: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *#*$", without_code(file), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PATH = re.compile(r"`((?:resport|tests|mappings|benchmarks|docs|\.ci)/[\w./*-]*)(?::\w+)?`")


def paths_not_there(root: Path) -> Iterator[str]:
    """Paths of the repository that a document names and that are not there; a name with a hole in it is an example."""
    for file in documents(root):
        for path in PATH.findall(without_code(file)):
            if not any(root.glob(path)):
                yield f"{file}: `{path}` is not there"


RULES: list[Rule] = [
    long_modules,
    long_functions,
    vague_modules,
    modules_without_docstring,
    shadowed_modules,
    printing,
    code_from_files,
    unfinished,
    binary_files,
    broken_links,
    paths_not_there,
]

MISTAKES: list[tuple[Rule, str, str]] = [
    (long_modules, "resport/a.py", "'''A.'''\n" * 401),
    (long_functions, "resport/a.py", "def f():\n" + "    pass\n" * 80),
    (long_functions, "benchmarks/a.py", "class C:\n    async def f():\n" + "        pass\n" * 80),
    (vague_modules, "resport/formats/utils.py", "'''U.'''"),
    (modules_without_docstring, "resport/a.py", "import os"),
    (shadowed_modules, "resport/__init__.py", "from resport.formats.x import formats"),
    (shadowed_modules, "resport/__init__.py", "def formats(): ..."),
    (shadowed_modules, "resport/__init__.py", "__all__ = ['formats']"),
    (shadowed_modules, "resport/__init__.py", "LAZY: dict = {'formats': 'resport.formats.x'}"),
    (printing, "resport/formats/x.py", "def f():\n    print('x')"),
    (code_from_files, "resport/formats/x.py", "import pickle"),
    (code_from_files, "resport/formats/x.py", "def f():\n    from marshal import loads"),
    (code_from_files, "resport/formats/x.py", "np.load(path, allow_pickle=True)"),
    (code_from_files, "resport/formats/x.py", "eval(text)"),
    *((unfinished, "resport/a.py", f"# {word} more") for word in UNFINISHED_WORDS),
    *((unfinished, "tests/test_a.py", f"@pytest.{word}('x')") for word in SKIPS),
    (binary_files, "tests/small.ckpt", "\0"),
    (binary_files, "tests/small.png", "\0"),
    (binary_files, "docs/large.png", "." * 200_001),
    (broken_links, "CHANGELOG.md", "see [the guide](docs/guide.md)"),
    (broken_links, "docs/a.md", "see [setup](../README.md#setup)"),
    (paths_not_there, "README.md", "tables are in `mappings/nowhere.toml`"),
    (paths_not_there, "docs/a.md", "each of `mappings/resnext_*.toml`"),
    (paths_not_there, "CONTRIBUTING.md", "see `resport/formats/y.py:reader`"),
]

SOUND = {
    "README.md": "# Set up!\n[guide](docs/a.md) [top](#set-up) `mappings/<family>.toml` `resport/formats/x.py:f`\n",
    "docs/a.md": "[back](../README.md#set-up) <https://example.org> [x](https://example.org/a) `tests/test_*.py`\n",
    "mappings/a.toml": "family = 'a'\n",
    "resport/__init__.py": "'''R.'''\nfrom resport.formats.x import f\n__all__ = ['f']\n",
    "resport/formats/__init__.py": "'''F.'''\n",
    "resport/formats/x.py": "'''X.'''\ndef f():\n    skip(1)\n    np.load(p, allow_pickle=False)\n",
    "resport/cli/main.py": "'''C.'''\nprint(1)\n",
    "tests/test_a.py": "def test_a():\n    assert 1\n",
}


def write_tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_is_kept(rule: Rule, root: Path) -> None:
    assert list(rule(root)) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_accepts_a_sound_tree(rule: Rule, tmp_path: Path) -> None:
    write_tree(tmp_path, SOUND)
    assert list(rule(tmp_path)) == []


@pytest.mark.parametrize(("rule", "file", "text"), MISTAKES)
def test_rule_finds_the_mistake(rule: Rule, file: str, text: str, tmp_path: Path) -> None:
    write_tree(tmp_path, SOUND | {file: text})
    assert len(list(rule(tmp_path))) == 1


def test_every_rule_is_tried() -> None:
    assert {rule for rule, _, _ in MISTAKES} == set(RULES)


def test_public_api_is_what_was_designed() -> None:
    import resport

    assert set(resport.__all__) == PUBLIC_API
    assert {name for name in PUBLIC_API if not callable(getattr(resport, name))} == set()
    assert set(dir(resport)) >= PUBLIC_API


def commands() -> list[str]:
    """Every command as one types it, ``resport mappings list`` for one in a group."""
    import click

    import resport.cli.main

    def below(group: click.Group, typed: str) -> Iterator[str]:
        context = click.Context(group)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            if isinstance(found, click.Group):
                yield from below(found, f"{typed} {name}")
            else:
                yield f"{typed} {name}"

    groups = [value for value in vars(resport.cli.main).values() if isinstance(value, click.Group)]
    (top,) = [group for group in groups if "convert" in group.list_commands(click.Context(group))]
    return list(below(top, "resport"))


def test_readme_shows_every_command(root: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert len(commands()) >= 12
    assert [command for command in commands() if not re.search(rf"{command}\b", readme)] == []


def test_every_make_target_in_the_documents_exists(root: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert targets >= {"demo", "test", "check", "bench"}
    named = {name for file in documents(root) for name in re.findall(r"`make ([a-z]+)", file.read_text("utf-8"))}
    assert named - targets == set()
