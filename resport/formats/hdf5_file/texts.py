"""Texts of fixed and of variable length, as attributes and datasets have them."""

from __future__ import annotations

from resport.errors import FormatError
from resport.formats.hdf5_file.datatype import TEXT, TEXT_REFERENCE, Datatype
from resport.formats.hdf5_file.global_heap import GlobalHeap

_ENDS_AT_NUL, _PADDED_WITH_NUL, _PADDED_WITH_BLANKS = range(3)


def texts_of(datatype: Datatype, elements: bytes, count: int, heap: GlobalHeap) -> list[bytes]:
    """The texts that some elements are, or refer to.

    Args:
        datatype: their type, which is one of texts.
        elements: their bytes in the file.
        count: how many there are.
        heap: the file's texts of variable length.

    Raises:
        FormatError: a text is not where it should be, or padded in an unknown way.
    """
    if datatype.element == TEXT_REFERENCE:
        return heap.texts(elements, count)
    if datatype.element != TEXT or datatype.padding > _PADDED_WITH_BLANKS:
        raise FormatError("it has texts that are padded in an unknown way", got=datatype.padding)
    size = datatype.size
    return [
        _without_padding(elements[start : start + size], datatype.padding) for start in range(0, count * size, size)
    ]


def _without_padding(text: bytes, padding: int) -> bytes:
    if padding == _ENDS_AT_NUL:
        return text.partition(b"\0")[0]
    return text.rstrip(b"\0") if padding == _PADDED_WITH_NUL else text.rstrip(b" ").rstrip(b"\0")
