"""``resport verify --report``: the report as one HTML page that needs no network, no server and no script."""

from __future__ import annotations

import os
from pathlib import Path

from resport.errors import OptionError, SourceNotFoundError, TargetExistsError
from resport.verification.page.document import PAGE_GENERATOR, render_page
from resport.verification.report import VerificationReport
from resport.verification.saving import write_whole

__all__ = ["check_page_path", "render_page", "save_page"]

PAGE_SUFFIXES = (".html", ".htm")

_HEAD_BYTES = 4096
"""The generator stands within them."""


def save_page(report: VerificationReport, path: str | os.PathLike[str]) -> None:
    """Write a report as one self-contained HTML page, whole or not at all.

    A page from an earlier run is replaced in one step; any other file is left alone.

    Args:
        report: what was found.
        path: the page, ``.html`` or ``.htm``.

    Raises:
        OptionError: another suffix.
        SourceNotFoundError: the folder is not there.
        TargetExistsError: something is there that is no report page.
        TargetWriteError: the system refused; what was there before still is.
    """
    check_page_path(path)
    write_whole(path, render_page(report.to_dict()).encode())


def check_page_path(path: str | os.PathLike[str]) -> None:
    """Refuse a path that no page can be written to, before anything is computed.

    Args:
        path: the page.

    Raises:
        OptionError: it is not called ``.html`` or ``.htm``.
        SourceNotFoundError: the folder is not there.
        TargetExistsError: something is there that is no report page.
    """
    file = Path(path)
    if file.suffix.lower() not in PAGE_SUFFIXES:
        raise OptionError(f"`{file}` is no name for a page", expected=" or ".join(PAGE_SUFFIXES), got=file.suffix)
    if not file.parent.is_dir():
        raise SourceNotFoundError(f"the folder `{file.parent}` does not exist", hint=f"mkdir -p {file.parent}")
    if file.exists() and not _is_page(file):
        raise TargetExistsError(
            f"`{file}` is there, and is no report of resport", hint="choose another name, or remove it first"
        )


def _is_page(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as handle:
        return f'<meta name="generator" content="{PAGE_GENERATOR}">'.encode() in handle.read(_HEAD_BYTES)
