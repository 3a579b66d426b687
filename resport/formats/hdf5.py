"""HDF5 files opened with care: the objects and attributes that the Keras layouts are made of.

What a file says is parsed by ``hdf5_file``, without the HDF5 library, which a crafted file can bring down. Only hard
links are followed: soft links, external links, external storage and virtual datasets lead out of the file or nowhere.
"""

from __future__ import annotations

from collections.abc import Callable

from resport.errors import FormatError
from resport.formats.damage import located, quoted
from resport.formats.error_context import ErrorContext
from resport.formats.file_window import FileWindow
from resport.formats.hdf5_file.datatype import OPAQUE, TEXT, TEXT_REFERENCE
from resport.formats.hdf5_file.objects import Dataset, Group, HDF5File, Node
from resport.formats.hdf5_file.texts import texts_of
from resport.formats.source import regular_file_size

# An attribute must fit into one message of an object header (64 KB); Keras leaves the rest of it for the message's own
# fields, and splits a list of names that is longer.
HDF5_MAX_ATTRIBUTE_BYTES = 64512
HDF5_MAX_COMPONENTS = 256
"""Of the path of an object; a file can make a path as long as it likes by leading it in a circle."""
FEW_COMPONENTS = 4


class HDF5Errors(ErrorContext):
    """Says in which file, and in which part of it, the damage is that a parser found, as a context.

    Args:
        path: the file.
        what: gives the part. It is asked when there is damage: this stands around every look at an object.
    """

    __slots__ = ("_what",)

    def __init__(self, path: str, what: Callable[[], str] | None = None) -> None:
        super().__init__(path)
        self._what = what

    def _say(self, error: BaseException) -> None:
        if not isinstance(error, FormatError | OSError):
            return
        what = self._what() if self._what else ""
        if isinstance(error, FormatError):
            with located(what or "HDF5", self._path):
                raise error
        subject = f"{what} in `{self._path}`" if what else f"`{self._path}`"
        raise FormatError(f"{subject} cannot be read: {error.strerror or error}", path=self._path) from error


def open_file(path: str, window: FileWindow | None = None) -> HDF5File:
    """Open an HDF5 file for reading.

    Args:
        path: the file.
        window: the bytes to read in its place: a part of it, or what was unpacked from it.

    Raises:
        SourceNotFoundError: nothing is there.
        FormatError: it is no regular file, no HDF5 file, or damaged.
    """
    regular_file_size(path)
    with HDF5Errors(path):
        return HDF5File(path, window)


# Objects


def follow(group: Group, name: str, path: str) -> Node:
    """The object at a path below a group, reached by hard links alone.

    Raises:
        FormatError: nothing is there, or a link leads elsewhere.
    """
    components = name.split("/")
    if not {"", ".", ".."}.isdisjoint(components) or len(components) > HDF5_MAX_COMPONENTS:
        raise FormatError(f"{quoted(name)} in `{path}` is no path of an object", path=path)
    current: Node = group
    with HDF5Errors(path, lambda: shown(group, name)):
        # Thousands of names that lead through a circle again and again are the work of as many members.
        group.file.source.count_parts(len(components) // FEW_COMPONENTS)
        for component in components:
            if not isinstance(current, Group) or component not in current.header.links:
                raise FormatError(f"{shown(group, name)} is missing in `{path}`", path=path)
            link = current.header.links[component]
            if link.address is None:
                raise FormatError(
                    f"{shown(group, name)} in `{path}` lies behind a link, which is not followed",
                    path=path,
                    expected="an object in the file itself",
                    got=link.shown,
                )
            current = current.object_at(link.address, component)
    return current


def follow_group(group: Group, name: str, path: str) -> Group:
    """Like ``follow``, for what must be a group."""
    found = follow(group, name, path)
    if not isinstance(found, Group):
        raise FormatError(f"{shown(group, name)} in `{path}` is not a group", path=path)
    return found


def follow_dataset(group: Group, name: str, path: str) -> Dataset:
    """Like ``follow``, for what must be a dataset."""
    found = follow(group, name, path)
    if not isinstance(found, Dataset):
        raise FormatError(f"{shown(group, name)} in `{path}` is not a dataset", path=path)
    return found


def child_names(group: Group, path: str) -> list[str]:
    """Names of a group's members, sorted.

    Raises:
        FormatError: one of them is no text.
    """
    with HDF5Errors(path, lambda: shown(group)):
        names = sorted(group)
    if not all(map(is_text, names)):
        raise FormatError(f"{shown(group)} in `{path}` has a member whose name is not UTF-8", path=path)
    return names


def is_text(name: str) -> bool:
    """Whether a name that a file gives is text: bytes that are none come as surrogates."""
    return "\0" not in name and (name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name))


def shown(node: Node, name: str = "") -> str:
    """An object, or a path below it, for a message."""
    return quoted(f"{node.name.rstrip('/')}/{name}" if name else node.name)


# Attributes


def read_texts(node: Node, name: str, path: str) -> list[str] | None:
    """A list of names kept in an attribute, or in several (``name0``, ``name1``, …) where it was too long for one."""
    if node.has_attribute(name):
        return _list_of_texts(node, name, path)
    texts: list[str] = []
    number = 0
    while node.has_attribute(f"{name}{number}"):
        texts += _list_of_texts(node, f"{name}{number}", path)
        number += 1
    return texts if number else None


def text_attribute(node: Node, name: str, path: str) -> str | None:
    """An attribute that is one text; None where it is missing or something else."""
    found = _texts(node, name, path) if node.has_attribute(name) else None
    return _decoded(found[0][0], path) if found is not None and found[1] == () else None


def count_attribute(node: Node, name: str, path: str) -> int:
    """An attribute that is one number, none of them below zero.

    Raises:
        FormatError: it is missing, or something else.
    """
    with HDF5Errors(path, lambda: f"attribute {quoted(name)} of {shown(node)}"):
        if not node.has_attribute(name):
            raise FormatError("it is missing")
        attribute = node.attribute(name)
        kind = attribute.datatype
        if "int" not in kind.element or attribute.dataspace.count != 1:
            raise FormatError("it is no count", got=kind.shown)
        is_signed = not kind.element.startswith("u")
        count = int.from_bytes(attribute.elements, "big" if kind.is_big_endian else "little", signed=is_signed)
        if count < 0:
            raise FormatError("it is no count", got=count)
        return count


def _texts(node: Node, name: str, path: str) -> tuple[list[bytes], tuple[int, ...]] | None:
    """The texts of an attribute and its shape; None where it holds something else."""
    with HDF5Errors(path, lambda: f"attribute {quoted(name)} of {shown(node)}"):
        attribute = node.attribute(name)
        shape, count = attribute.dataspace.shape, attribute.dataspace.count
        if shape is None:
            return None
        if attribute.datatype.element in {TEXT, TEXT_REFERENCE}:
            node.file.source.count_parts(count)
            return texts_of(attribute.datatype, attribute.elements, count, node.file.heap), shape
        # An empty list of names is one of numbers: numpy gives it no other type.
        is_empty = count == 0 and attribute.datatype.element not in {"", OPAQUE}
        return ([], shape) if is_empty else None


def _list_of_texts(node: Node, name: str, path: str) -> list[str]:
    found = _texts(node, name, path)
    if found is None or len(found[1]) != 1:
        raise FormatError(f"attribute {quoted(name)} of {shown(node)} in `{path}` is not a list of names", path=path)
    return [_decoded(text, path) for text in found[0]]


def _decoded(text: bytes, path: str) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"`{path}` has a text that is not UTF-8", path=path, got=repr(text[:40])) from None
