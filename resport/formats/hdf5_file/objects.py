"""Files, groups and datasets: what the readers of Keras' layouts work with.

Only hard links are followed. An object is known by the path by which it was reached, and by its address: two paths can
lead to one object, and a path can lead back to where it came from.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from types import TracebackType
from typing import Self, TypeVar

from resport.errors import FormatError
from resport.formats.file_window import FileWindow
from resport.formats.hdf5_file.attributes import Attribute, Unparsed, find_attributes, parse_attribute
from resport.formats.hdf5_file.chunks import Chunk, find_chunks
from resport.formats.hdf5_file.dataspace import Dataspace, parse_dataspace
from resport.formats.hdf5_file.datatype import Datatype, parse_datatype
from resport.formats.hdf5_file.file_bytes import Cursor, FileBytes
from resport.formats.hdf5_file.fill_value import parse_fill_value, parse_old_fill_value
from resport.formats.hdf5_file.filters import Filter, parse_filters
from resport.formats.hdf5_file.global_heap import GlobalHeap
from resport.formats.hdf5_file.layout import CHUNKED, COMPACT, CONTIGUOUS, Layout, parse_layout
from resport.formats.hdf5_file.links import Link, read_links
from resport.formats.hdf5_file.object_header import (
    DATASPACE,
    DATATYPE,
    EXTERNAL_FILES,
    FILL_VALUE,
    FILTERS,
    GROUP_INFO,
    LAYOUT,
    LINK,
    LINK_INFO,
    OLD_FILL_VALUE,
    SYMBOL_TABLE,
    Message,
    read_messages,
    resolve_shared,
)
from resport.formats.hdf5_file.superblock import read_superblock

_GROUP_KINDS = {SYMBOL_TABLE, LINK_INFO, LINK, GROUP_INFO}
_DATASET_KINDS = {DATASPACE, DATATYPE, LAYOUT}
MAX_HEADERS = 1 << 10
"""Kept to be looked at again; of several names that an object has, or that lead through it, one follows the other."""

T = TypeVar("T")


class Header:
    """The header of an object, parsed as far as it was asked for.

    Args:
        source: the file.
        address: where the header is.
    """

    def __init__(self, source: FileBytes, address: int) -> None:
        self.source = source
        self.address = address
        self.messages = read_messages(source, address)
        self.kinds = {message.kind for message in self.messages}
        self._links: dict[str, Link] | None = None
        self._attributes: dict[str, Unparsed] | None = None

    @property
    def links(self) -> dict[str, Link]:
        """The members of a group by their names."""
        if self._links is None:
            self._links = read_links(self.source, self.messages)
        return self._links

    @property
    def attributes(self) -> dict[str, Unparsed]:
        """The attributes by their names, not parsed."""
        if self._attributes is None:
            self._attributes = find_attributes(self.source, self.messages)
        return self._attributes

    def message(self, kind: int) -> Message | None:
        """The message of a kind, that of a committed type where it is shared; None where there is none."""
        for message in self.messages:
            if message.kind == kind:
                return resolve_shared(self.source, message)
        return None

    def needed(self, kind: int) -> Message:
        """The message of a kind that the object cannot be without.

        Raises:
            FormatError: there is none.
        """
        message = self.message(kind)
        if message is None:
            raise FormatError("it has a header without a message that it needs", got=f"none of kind {kind:#x}")
        return message


class Node:
    """A group or a dataset.

    Args:
        file: the file that it is in.
        header: the object's header.
        name: the path by which it was reached.

    Attributes:
        address: what tells it from all other objects of the file.
    """

    def __init__(self, file: HDF5File, header: Header, name: str) -> None:
        self.file = file
        self.address = header.address
        self.name = name
        self._header: Header | None = header

    @property
    def header(self) -> Header:
        """Its header."""
        return self._header or self.file.header_at(self.address)

    def release(self) -> None:
        """Let go of the header: objects are many, and what was asked for stays without it."""
        self._header = None

    @property
    def attribute_names(self) -> Iterable[str]:
        """Names of the attributes."""
        return self.header.attributes.keys()

    def has_attribute(self, name: str) -> bool:
        """Whether it has an attribute of that name."""
        return name in self.header.attributes

    def attribute(self, name: str) -> Attribute:
        """An attribute, which must be there.

        Raises:
            KeyError: it is not there.
            FormatError: it is damaged.
        """
        return parse_attribute(self.file.source, self.header.attributes[name])


class Group(Node):
    """A group."""

    def __contains__(self, name: str) -> bool:
        return name in self.header.links

    def __iter__(self) -> Iterator[str]:
        return iter(self.header.links)

    def __len__(self) -> int:
        return len(self.header.links)

    def link(self, name: str) -> Link:
        """The link to a member, which must be there.

        Raises:
            KeyError: it is not there.
        """
        return self.header.links[name]

    def member(self, name: str) -> Node:
        """The member behind a hard link; neither group nor dataset where it is a committed type.

        Raises:
            KeyError: it is not there.
            FormatError: it is damaged, or its link leads elsewhere.
        """
        link = self.header.links[name]
        if link.address is None:
            raise FormatError("it lies behind a link, which is not followed", got=link.shown)
        return self.object_at(link.address, name)

    def object_at(self, address: int, name: str) -> Node:
        """The object at an address, by the name by which it is reached from here.

        Raises:
            FormatError: it is damaged.
        """
        header = self.file.header_at(address)
        kind = Dataset if header.kinds >= _DATASET_KINDS else Node if header.kinds.isdisjoint(_GROUP_KINDS) else Group
        return kind(self.file, header, f"{self.name.rstrip('/')}/{name}")


class Dataset(Node):
    """A dataset."""

    @cached_property
    def dataspace(self) -> Dataspace:
        """Its shape."""
        return self._meaning(parse_dataspace, self.header.needed(DATASPACE), "a dataset's shape")

    @cached_property
    def datatype(self) -> Datatype:
        """What its elements are."""
        return self._meaning(parse_datatype, self.header.needed(DATATYPE), "a dataset's type")

    @cached_property
    def layout(self) -> Layout:
        """Where its values are."""
        layout = parse_layout(self.header.needed(LAYOUT).cursor(self.file.source, "a dataset's layout"))
        if layout.kind == CHUNKED and layout.element_bytes != self.datatype.size:
            raise FormatError(
                "its chunks have elements of another size",
                expected=f"{self.datatype.size} bytes",
                got=f"{layout.element_bytes} bytes",
            )
        return layout

    @cached_property
    def filters(self) -> tuple[Filter, ...]:
        """How its chunks were made smaller."""
        message = self.header.message(FILTERS)
        return () if message is None else parse_filters(message.cursor(self.file.source, "a dataset's filters"))

    @cached_property
    def chunks(self) -> list[Chunk]:
        """Those of its chunks that were written."""
        return find_chunks(self.file.source, self.layout, self.dataspace, bool(self.filters))

    @cached_property
    def fill_value(self) -> bytes:
        """The bytes of an element that was never written; none where they are zeros."""
        what = "a dataset's fill value"
        new, old = self.header.message(FILL_VALUE), self.header.message(OLD_FILL_VALUE)
        if new is not None:
            return self._meaning(parse_fill_value, new, what)
        return b"" if old is None else self._meaning(parse_old_fill_value, old, what)

    def _meaning(self, parse: Callable[[Cursor], T], message: Message, what: str) -> T:
        return self.file.source.meaning(parse, message.data, message.address, what)

    def check_fill_value(self) -> None:
        """Parse what stands in for values even where all of them were written, as the library does.

        Raises:
            FormatError: it is damaged.
        """
        _ = self.fill_value

    @property
    def has_external_files(self) -> bool:
        """Whether its values lie in other files."""
        return EXTERNAL_FILES in self.header.kinds

    @property
    def nbytes(self) -> int:
        """How many bytes its values are, as HDF5 has them and uncompressed."""
        return self.dataspace.count * self.datatype.size

    def extents(self) -> list[tuple[int, int]]:
        """Address and size of each piece of the file that holds values.

        Raises:
            FormatError: one of them lies outside of the file.
        """
        if self.layout.kind == CHUNKED:
            return [(chunk.address, chunk.size) for chunk in self.chunks]
        if self.layout.kind != CONTIGUOUS or self.layout.address is None:
            return []
        size = self.nbytes if self.layout.size is None else self.layout.size
        self.file.source.check_extent(self.layout.address, size, "the place of its values")
        return [(self.layout.address, size)]

    def stored_bytes(self) -> int:
        """How many bytes of the file hold values."""
        if self.layout.kind == COMPACT:
            return len(self.layout.data)
        return sum(size for _, size in self.extents())


class HDF5File(Group):
    """An open file, which is its own root.

    Args:
        path: the file.
        window: the bytes to read in its place, which stay open as long as they are needed; None for the file's own.

    Raises:
        OSError: the file cannot be opened.
        FormatError: it is no HDF5 file, or damaged.
    """

    def __init__(self, path: str, window: FileWindow | None = None) -> None:
        self.path = path
        self._handle = -1
        try:
            if window is None:
                self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                window = FileWindow(self._handle, 0, os.fstat(self._handle).st_size)
            self.source, root = read_superblock(window)
            self.heap = GlobalHeap(self.source)
            self._headers: OrderedDict[int, Header] = OrderedDict()
            super().__init__(self, self.header_at(root), "/")
        except BaseException:
            self.close()
            raise

    def header_at(self, address: int) -> Header:
        """The header at an address; those that were asked for last are not parsed again."""
        header = self._headers.get(address)
        if header is None:
            header = self._headers[address] = Header(self.source, address)
            if len(self._headers) > MAX_HEADERS:
                self._headers.popitem(last=False)
        else:
            with contextlib.suppress(KeyError):  # where another thread let go of it
                self._headers.move_to_end(address)
        return header

    def close(self) -> None:
        """Close what was opened. Closing twice is allowed."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
