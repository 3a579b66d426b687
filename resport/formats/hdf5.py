"""HDF5 files opened with care: the objects and attributes that the Keras layouts are made of.

HDF5 is too large a format to parse by hand, so h5py reads it; what a file may make h5py do is bounded here. Only hard
links are followed: soft links, external links, external storage and virtual datasets lead out of the file or nowhere.
Whatever h5py raises on a damaged file, and it raises nearly everything, becomes one ``FormatError``.
"""

from __future__ import annotations

import contextlib
import math
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resport.errors import FormatError, ResportError
from resport.formats.damage import located, quoted
from resport.formats.file_window import FileWindow
from resport.formats.hdf5_text import TextSource
from resport.formats.source import regular_file_size

if TYPE_CHECKING:
    import h5py

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
HDF5_FIRST_USER_BLOCK_BYTES = 512
# An attribute must fit into one message of an object header (64 KB); Keras leaves the rest of it for the message's own
# fields, and splits a list of names that is longer.
HDF5_MAX_ATTRIBUTE_BYTES = 64512


def has_signature(head: bytes, path: str) -> bool:
    """Whether a file is HDF5: the signature stands at its begin, or after a user block of 512, 1024, 2048, … bytes."""
    if head.startswith(HDF5_SIGNATURE):
        return True
    offset = HDF5_FIRST_USER_BLOCK_BYTES
    if len(head) < offset:
        return False
    with contextlib.suppress(OSError), Path(path).open("rb") as file:
        file.seek(offset)
        while signature := file.read(len(HDF5_SIGNATURE)):
            if signature == HDF5_SIGNATURE:
                return True
            offset *= 2
            file.seek(offset)
    return False


# h5py gives no way back from an object to the Python file that it is read through. HDF5 numbers the files it has open,
# and holds on to theirs as long.
_windows: weakref.WeakValueDictionary[int, FileWindow] = weakref.WeakValueDictionary()


@contextlib.contextmanager
def hdf5_errors(path: str, what: str = "") -> Iterator[None]:
    """Turn whatever h5py raises on a damaged file into a ``FormatError`` that names the file."""
    try:
        with located(what or "file", path):
            yield
    except ResportError:
        raise
    # Every kind on purpose: OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError and more were seen.
    except Exception as error:
        message = " ".join(str(error).split()) or type(error).__name__
        subject = f"{what} in `{path}`" if what else f"`{path}`"
        raise FormatError(f"{subject} cannot be read as HDF5: {message}", path=path) from error


def open_file(path: str, window: FileWindow | None = None) -> h5py.File:
    """Open an HDF5 file for reading.

    Args:
        path: the file.
        window: the bytes to read in its place: a part of it, or what was unpacked from it.

    Raises:
        SourceNotFoundError: nothing is there.
        FormatError: it is no regular file, no HDF5 file, or damaged.
    """
    import h5py

    regular_file_size(path)
    with hdf5_errors(path):
        if window is not None:
            file = h5py.File(window, "r")
            _windows[h5py.h5o.get_info(file.id).fileno] = window
            return file
        # With h5py's own locking, or Keras could not open the file beside us.
        return h5py.File(path, "r")


def window_of(node: h5py.Group | h5py.Dataset) -> FileWindow:
    """The bytes of the file that an object is in."""
    import h5py

    window = _windows.get(h5py.h5o.get_info(node.file.id).fileno)
    if window is None:
        handle = node.file.id.get_vfd_handle()
        window = FileWindow(handle, 0, os.fstat(handle).st_size)
    return window


# Objects


def has_member(group: h5py.Group, name: str) -> bool:
    """Whether a group has a member of that name, wherever its link leads."""
    return bool(group.id.links.exists(name.encode()))


def follow(group: h5py.Group, name: str, path: str) -> h5py.Group | h5py.Dataset:
    """The object at a path below a group, reached by hard links alone.

    Raises:
        FormatError: nothing is there, or a link leads elsewhere.
    """
    import h5py

    current = group
    for component in name.split("/"):
        if component in {"", ".", ".."}:
            raise FormatError(f"{quoted(name)} in `{path}` is no path of an object", path=path)
        if not isinstance(current, h5py.Group) or not has_member(current, component):
            raise FormatError(f"{shown(group, name)} is missing in `{path}`", path=path)
        with hdf5_errors(path, shown(group, name)):
            kind = current.id.links.get_info(component.encode()).type
            if kind != h5py.h5l.TYPE_HARD:
                raise FormatError(
                    f"{shown(group, name)} in `{path}` lies behind a link, which is not followed",
                    path=path,
                    expected="an object in the file itself",
                    got="a soft link" if kind == h5py.h5l.TYPE_SOFT else "an external link",
                )
            current = current[component]
    return current


def follow_group(group: h5py.Group, name: str, path: str) -> h5py.Group:
    """Like ``follow``, for what must be a group."""
    import h5py

    found = follow(group, name, path)
    if not isinstance(found, h5py.Group):
        raise FormatError(f"{shown(group, name)} in `{path}` is not a group", path=path)
    return found


def follow_dataset(group: h5py.Group, name: str, path: str) -> h5py.Dataset:
    """Like ``follow``, for what must be a dataset."""
    import h5py

    found = follow(group, name, path)
    if not isinstance(found, h5py.Dataset):
        raise FormatError(f"{shown(group, name)} in `{path}` is not a dataset", path=path)
    return found


def child_names(group: h5py.Group, path: str) -> list[str]:
    """Names of a group's members, sorted.

    Raises:
        FormatError: one of them is no text.
    """
    with hdf5_errors(path, shown(group)):
        names = list(group)
        # h5py gives the bytes where they are no text.
        if not all(isinstance(name, str) and "\0" not in name for name in names):
            raise FormatError(f"{shown(group)} in `{path}` has a member whose name is not UTF-8", path=path)
    return sorted(names)


def shown(node: h5py.Group | h5py.Dataset, name: str = "") -> str:
    """An object, or a path below it, for a message."""
    return quoted(f"{str(node.name).rstrip('/')}/{name}" if name else str(node.name))


# Attributes


def read_texts(node: h5py.Group, name: str, path: str) -> list[str] | None:
    """A list of names kept in an attribute, or in several (``name0``, ``name1``, …) where it was too long for one."""
    if name in node.attrs:
        return _texts(node, name, path)
    texts: list[str] = []
    number = 0
    while f"{name}{number}" in node.attrs:
        texts += _texts(node, f"{name}{number}", path)
        number += 1
    return texts if number else None


def write_texts(node: h5py.Group, name: str, texts: list[str]) -> None:
    """Keep a list of names in an attribute, or in several where it is too long for one; as Keras splits them."""
    import numpy as np

    array = np.array([text.encode() for text in texts], dtype=bytes)
    rows_in_one = HDF5_MAX_ATTRIBUTE_BYTES // array.itemsize
    if len(array) <= rows_in_one:
        node.attrs[name] = array
        return
    for number, part in enumerate(np.array_split(array, -(-len(array) // rows_in_one))):
        node.attrs[f"{name}{number}"] = part


def text_attribute(node: h5py.Group | h5py.Dataset, name: str, path: str) -> str | None:
    """An attribute that is one text; None where it is missing or something else."""
    return _as_text(_attribute(node, name, path), path) if name in node.attrs else None


def count_attribute(node: h5py.Group, name: str, path: str) -> int:
    """An attribute that is one number, none of them below zero.

    Raises:
        FormatError: it is missing, or something else.
    """
    import h5py

    with hdf5_errors(path, f"attribute {quoted(name)} of {shown(node)}"):
        attribute = h5py.h5a.open(node.id, name.encode())
        is_number = attribute.get_type().get_class() == h5py.h5t.INTEGER and math.prod(attribute.shape) == 1
        count = int(node.attrs[name].item()) if is_number else -1
        if count < 0:
            raise FormatError("it is no count")
        return count


def _attribute(node: h5py.Group | h5py.Dataset, name: str, path: str) -> Any:
    import h5py

    with hdf5_errors(path, f"attribute {quoted(name)} of {shown(node)}"):
        attribute = h5py.h5a.open(node.id, name.encode())
        kind = attribute.get_type()
        count = math.prod(attribute.shape)
        # Before h5py makes an array of as many elements as the attribute says that it has.
        if count * kind.get_size() > window_of(node).size:
            raise FormatError("it is larger than the file")
        if kind.get_class() in {h5py.h5t.INTEGER, h5py.h5t.FLOAT}:
            # An empty list of names is one of numbers: numpy gives it no other type.
            return [] if count == 0 and len(attribute.shape) == 1 else None
        if kind.get_class() != h5py.h5t.STRING:
            # Not even looked at: the library crashes on a damaged sequence of variable length.
            return None
        if not kind.is_variable_str():
            return node.attrs[name]
        texts = TextSource(node.file, window_of(node)).attribute(h5py.h5o.get_info(node.id).addr, name, count)
        return texts if attribute.shape else texts[0]


def _texts(node: h5py.Group, name: str, path: str) -> list[str]:
    import numpy as np

    value = _attribute(node, name, path)
    is_list = isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim == 1)
    texts = [_as_text(item, path) for item in value] if is_list else [None]
    if None in texts:
        raise FormatError(f"attribute {quoted(name)} of {shown(node)} in `{path}` is not a list of names", path=path)
    return [text for text in texts if text is not None]


def _as_text(value: Any, path: str) -> str | None:
    if not isinstance(value, bytes):
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"`{path}` has a text that is not UTF-8", path=path, got=repr(value[:40])) from None
