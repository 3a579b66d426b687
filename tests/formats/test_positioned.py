"""Bytes to and from a place in a file, where the system moves fewer at once than it is asked to."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resport.formats.positioned import PIECE_BYTES, pieces_at, read_at, write_at

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


def test_pieces_share_buffers_and_never_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = os.urandom(3 * PIECE_BYTES + 5)
    path.write_bytes(content)
    with path.open("rb", buffering=0) as file:
        handle = file.fileno()
        one, other = pieces_at(handle, 0, len(content)), pieces_at(handle, 1, PIECE_BYTES)
        first = next(one)
        (second,) = other
        assert first == content[:PIECE_BYTES]
        assert second == content[1 : PIECE_BYTES + 1]
        assert b"".join(map(bytes, one)) == content[PIECE_BYTES:]
        assert b"".join(map(bytes, pieces_at(handle, 7, 2 * len(content)))) == content[7:]
        assert list(pieces_at(handle, len(content), 1)) == []


def test_threads_never_share_a_buffer(tmp_path: Path) -> None:
    contents = {tmp_path / str(number): bytes([number]) * (2 * PIECE_BYTES) for number in range(8)}
    for path, content in contents.items():
        path.write_bytes(content)

    def are_read(path: Path) -> bool:
        with path.open("rb", buffering=0) as file:
            expected = contents[path][:1]
            return all(
                piece.tobytes().strip(expected) == b""
                for _ in range(20)
                for piece in pieces_at(file.fileno(), 0, 2 * PIECE_BYTES)
            )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(are_read, contents))
