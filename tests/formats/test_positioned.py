"""Bytes to and from a place in a file, where the system moves fewer at once than it is asked to."""

import os
from pathlib import Path

import pytest

from resport.formats.positioned import read_at, write_at

CONTENT = bytes(range(256))


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that moves at most seven bytes in a call."""
    preadv, pwrite = os.preadv, os.pwrite
    monkeypatch.setattr(
        os, "preadv", lambda handle, views, offset: preadv(handle, [view[:7] for view in views], offset)
    )
    monkeypatch.setattr(os, "pwrite", lambda handle, view, offset: pwrite(handle, view[:7], offset))


@pytest.mark.usefixtures("few_at_once")
def test_all_bytes_are_moved(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w+b", buffering=0) as file:
        write_at(file.fileno(), memoryview(CONTENT), 3)
        assert file.tell() == 0
        view = bytearray(len(CONTENT))
        assert read_at(file.fileno(), memoryview(view), 3) == len(CONTENT)
        assert file.tell() == 0
    assert path.read_bytes() == b"\0\0\0" + CONTENT
    assert view == CONTENT


@pytest.mark.usefixtures("few_at_once")
def test_the_end_of_the_file_ends_a_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    view = bytearray(b"-" * 20)
    with path.open("rb", buffering=0) as file:
        assert read_at(file.fileno(), memoryview(view), 246) == 10
        assert read_at(file.fileno(), memoryview(bytearray(1)), 256) == 0
    assert view == CONTENT[246:] + b"-" * 10
