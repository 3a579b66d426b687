"""Files that appear complete or not at all, and folders too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resport.errors import SourceNotFoundError
from resport.formats.atomic import create_file, remove_file
from resport.formats.publication import publish_folder, replacing
from resport.formats.staging import staged
from tests import faults


def write(target: Path, content: bytes = b"new") -> None:
    with replacing(str(target)) as temporary:
        Path(temporary).write_bytes(content)


def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "a")
    finally:
        os.umask(before)
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "a").stat().st_mode & 0o777) == (b"new", 0o640)
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    target.chmod(0o604)
    with replacing(str(target)) as temporary:
        Path(temporary).write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"new", 0o604)


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(str(tmp_path / "a")) as temporary:
        Path(temporary).write_bytes(b"new")
        raise KeyboardInterrupt
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


def test_the_longest_name_has_room(tmp_path: Path) -> None:
    write(tmp_path / ("x" * 255))
    assert (tmp_path / ("x" * 255)).read_bytes() == b"new"


def test_a_missing_folder_is_named_with_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="nowhere` does not exist") as caught:
        write(tmp_path / "nowhere" / "a")
    assert caught.value.hint == f"mkdir -p {tmp_path / 'nowhere'}"


def test_removing_twice_is_no_error(tmp_path: Path) -> None:
    create_file(str(tmp_path / "a"))
    remove_file(str(tmp_path / "a"))
    remove_file(str(tmp_path / "a"))
    assert list(tmp_path.iterdir()) == []


def store_folder(target: Path) -> None:
    with staged(str(target)) as staging:
        for name in "ab":
            Path(staging.create(name)).write_text(name)
        staging.sync()
        publish_folder(staging, str(target))


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o027, 0o750), (0o077, 0o700), (0o002, 0o775)])
def test_a_folder_has_the_mode_of_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        store_folder(tmp_path / "a")
    finally:
        os.umask(before)
    assert {file.name: file.read_text() for file in (tmp_path / "a").iterdir()} == {"a": "a", "b": "b"}
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path, is_folder: bool) -> None:
    """Killed before any step, it leaves nothing or all of the target; the next run leaves nothing else."""
    target = tmp_path / "a"
    work = store_folder if is_folder else write
    left_over = 0
    for step in range(100):
        status = faults.killed_at(step, lambda: work(target))
        found = [target] if target.exists() else []
        left_over += set(tmp_path.iterdir()) != set(found)
        if target.exists():
            assert len(list(target.iterdir())) == 2 if is_folder else target.read_bytes() == b"new"
            for file in target.iterdir() if is_folder else ():
                file.unlink()
            target.rmdir() if is_folder else target.unlink()
        work(target)
        assert list(tmp_path.iterdir()) == [target]
        for file in target.iterdir() if is_folder else ():
            file.unlink()
        target.rmdir() if is_folder else target.unlink()
        if status == 0:
            break
    assert status == 0 and left_over > 3
