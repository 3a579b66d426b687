"""FileWindow, against the bytes of the file."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from resport.formats.file_window import FileWindow

CONTENT = bytes(range(200))


@pytest.mark.parametrize(("offset", "size"), [(0, 200), (50, 100), (150, 50), (10, 0)])
def test_reads_like_the_bytes_it_shows(tmp_path: Path, offset: int, size: int) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    expected = io.BytesIO(CONTENT[offset : offset + size])
    with (tmp_path / "x").open("rb") as file:
        window = FileWindow(file.fileno(), offset, size)
        assert window.readable() and window.seekable() and not window.writable()
        for position, whence, count in [
            (0, 0, 7),
            (3, 1, 9),
            (-5, 2, 20),
            (90, 0, 60),
            (500, 0, 3),
            (0, 2, 1),
            (0, 0, 999),
        ]:
            if whence == os.SEEK_END and size < 5:
                continue
            assert window.seek(position, whence) == expected.seek(position, whence)
            assert window.read(count) == expected.read(count)
            assert window.tell() == expected.tell()
        assert window.seek(0) == 0 and window.readall() == expected.getvalue()
        assert window.pread(5, size - 3) == CONTENT[offset : offset + size][-3:]
        assert window.pread(5, size + 3) == window.pread(-1, 0) == b""


def test_a_file_that_ends_early_gives_less(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    with (tmp_path / "x").open("rb") as file:
        window = FileWindow(file.fileno(), 150, 100)
        assert window.readall() == CONTENT[150:]
