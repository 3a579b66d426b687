"""Files that appear complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resport.errors import SourceNotFoundError
from resport.formats.atomic import remove_file, replace_file, temporary_path


def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        temporary = temporary_path(str(tmp_path / "a"))
        Path(temporary).write_bytes(b"new")
        replace_file(temporary, str(tmp_path / "a"))
    finally:
        os.umask(before)
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "a").stat().st_mode & 0o777) == (b"new", 0o640)
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    target.chmod(0o604)
    temporary = temporary_path(str(target))
    assert target.read_bytes() == b"old"
    Path(temporary).write_bytes(b"new")
    replace_file(temporary, str(target))
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"new", 0o604)


def test_the_longest_name_has_room(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 255)
    replace_file(temporary_path(str(target)), str(target))
    assert target.exists()


def test_a_missing_folder_is_named_with_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="nowhere` does not exist") as caught:
        temporary_path(str(tmp_path / "nowhere" / "a"))
    assert caught.value.hint == f"mkdir -p {tmp_path / 'nowhere'}"


def test_removing_twice_is_no_error(tmp_path: Path) -> None:
    temporary = temporary_path(str(tmp_path / "a"))
    remove_file(temporary)
    remove_file(temporary)
    assert list(tmp_path.iterdir()) == []
