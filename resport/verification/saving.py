"""Files that a verification leaves behind, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from resport.formats.publication import replacing
from resport.formats.system_errors import write_errors


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file in one step, in place of one that may be there.

    Args:
        path: the file.
        content: its bytes.

    Raises:
        SourceNotFoundError: the folder is not there.
        TargetWriteError: the system refused; what was there before still is.
    """
    target = os.fspath(path)
    with write_errors(target), replacing(target) as temporary:
        Path(temporary).write_bytes(content)
