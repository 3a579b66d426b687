"""Files that a verification leaves behind, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from resport.errors import SourceNotFoundError, TargetWriteError
from resport.formats.atomic import remove_file, replace_file, temporary_path


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
    try:
        temporary = temporary_path(target)
        try:
            Path(temporary).write_bytes(content)
            replace_file(temporary, target)
        finally:
            remove_file(temporary)
    except SourceNotFoundError:
        raise
    except OSError as error:
        raise TargetWriteError(f"`{target}` could not be written: {error.strerror or error}") from error
