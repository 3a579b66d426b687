"""Fuzz one reader or parser with atheris: ``python -m tests.fuzz NAME --minutes 30``.

    pip install atheris          a wheel for Linux on x86 with Python 3.11 to 3.13, elsewhere it needs clang
    python -m tests.fuzz --list  the names of the harnesses

The corpus is kept in ``--corpus FOLDER/NAME`` and grows from run to run; it begins with the sound samples. An input
that does what may not be is written to ``--findings FOLDER`` and ends the run: it becomes a test first.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import pkgutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

MAX_INPUT_BYTES = 1 << 15
SECONDS_FOR_ONE = 5
MEGABYTES = 1024
"""Of the whole process with the fuzzer's own tables."""
PACKAGES = ("resport.formats", "resport.mapping")
"""Whose branches guide the fuzzer."""


def main() -> None:
    """Fuzz until the time is over or a defect is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("name", nargs="?", metavar="NAME", help="the harness")
    parser.add_argument("--list", action="store_true", help="print the names of all harnesses")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--corpus", type=Path, default=Path(tempfile.gettempdir()) / "resport-corpus")
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()) / "resport-findings")
    options = parser.parse_args()
    if not options.list and options.name is not None:
        _import_instrumented()
    # Only now: what is imported before is not instrumented.
    from tests.fuzz.harnesses import harness, names, seeds

    if options.list or options.name not in names():
        parser.exit(0 if options.list else 2, "\n".join(names()) + "\n")
    corpus = options.corpus / options.name.replace(":", "-")
    for folder in (corpus, options.findings):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds(options.name):
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    _fuzz(harness(options.name), options.name, corpus, options.findings, options.minutes)


def _import_instrumented() -> None:
    """Import all modules of the packages, which readers otherwise load when they are needed."""
    import atheris

    with atheris.instrument_imports(include=list(PACKAGES)):
        for package in PACKAGES:
            folder = importlib.import_module(package).__path__
            for module in pkgutil.walk_packages(folder, f"{package}."):
                importlib.import_module(module.name)


def _fuzz(run: Callable[[bytes], None], name: str, corpus: Path, findings: Path, minutes: float) -> None:
    import atheris

    flags = [
        f"-max_total_time={round(60 * minutes)}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-timeout={SECONDS_FOR_ONE}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-artifact_prefix={findings}/{name.replace(':', '-')}-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
