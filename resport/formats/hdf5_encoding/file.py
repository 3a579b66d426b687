"""A whole file laid out: the head with all that is no value, and the places of the values behind it.

superblock | texts | headers of datasets | groups, those inside of others first | values
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import NamedTuple

from resport.formats.hdf5_encoding.group import Place, encode_group, place_group
from resport.formats.hdf5_encoding.message import (
    LAYOUT_MESSAGE_BYTES,
    describe_elements,
    encode_attributes,
    encode_header,
    encode_layout,
    header_bytes,
)
from resport.formats.hdf5_encoding.superblock import SUPERBLOCK_BYTES, encode_superblock
from resport.formats.hdf5_encoding.text_heap import TextHeap
from resport.formats.hdf5_encoding.tree import NewDataset, NewGroup

VALUES_ALIGNMENT_BYTES = 8
GATHERED_BYTES = 1 << 18
"""Of small pieces that are handed out at once."""


class EncodedFile(NamedTuple):
    """A file of which the values are still to come.

    Attributes:
        front: the first of the bytes in front of the values: superblock and texts.
        rest: the others, piece by piece, to be taken once: of many tensors they are more than memory should hold.
        offsets: where the values of each tensor begin, from the begin of the file.
        texts: where the root's texts of variable length are, by the names of its attributes.
        n_bytes: how long the file is.
    """

    front: bytes
    rest: Iterator[bytes]
    offsets: Mapping[str, int]
    texts: Mapping[str, int]
    n_bytes: int


def encode_file(root: NewGroup) -> EncodedFile:
    """Lay out a file.

    Raises:
        FormatError: it has attributes that are too long or too many.
    """
    groups, datasets = _objects(root)
    heap = TextHeap(SUPERBLOCK_BYTES)
    root_texts = {}
    root_attributes: list[bytes] = []
    for name, value in root.attributes.items():
        root_attributes += encode_attributes({name: value}, heap)
        root_texts[name] = heap.last
    group_attributes = [tuple(root_attributes), *(encode_attributes(group.attributes, heap) for group in groups[1:])]
    messages = deque(
        (*describe_elements(dataset.spec.dtype, dataset.spec.shape), *encode_attributes(dataset.attributes, heap))
        for dataset in datasets
    )
    texts = heap.finish()
    at_headers = SUPERBLOCK_BYTES + len(texts)
    addresses = array("Q", accumulate(map(_header_bytes, messages), initial=at_headers))
    at_groups = addresses.pop()
    root_place, end = _place_groups(groups, group_attributes, at_groups)
    offsets, n_bytes = _place_values(datasets, end + -end % VALUES_ALIGNMENT_BYTES)
    rest = chain(_headers(datasets, messages, offsets), _groups(groups, group_attributes, addresses, at_groups))
    return EncodedFile(encode_superblock(root_place, n_bytes) + texts, _gathered(rest), offsets, root_texts, n_bytes)


def _objects(root: NewGroup) -> tuple[list[NewGroup], list[NewDataset]]:
    """All groups of a tree, those inside of others behind them, and all datasets."""
    groups, datasets = [root], []
    for group in groups:
        for member in group.members.values():
            if isinstance(member, NewGroup):
                groups.append(member)
            else:
                datasets.append(member)
    return groups, datasets


def _place_groups(groups: Sequence[NewGroup], attributes: Sequence[Sequence[bytes]], address: int) -> tuple[Place, int]:
    """Where the first of some groups will be, the root, which comes last in the file; and where it ends."""
    for group, messages in zip(reversed(groups), reversed(attributes), strict=True):
        place, address = place_group(address, [name.encode() for name in group.members], messages)
    return place, address


def _header_bytes(described: Sequence[bytes]) -> int:
    return header_bytes(described) + LAYOUT_MESSAGE_BYTES


def _headers(
    datasets: Sequence[NewDataset], messages: deque[tuple[bytes, ...]], offsets: Mapping[str, int]
) -> Iterator[bytes]:
    """Yield the headers of all datasets, each of whose messages are let go of then."""
    for dataset in datasets:
        yield encode_header([*messages.popleft(), encode_layout(offsets[dataset.spec.name], dataset.spec.nbytes)])


def _groups(
    groups: Sequence[NewGroup], attributes: Sequence[Sequence[bytes]], addresses: array[int], address: int
) -> Iterator[bytes]:
    """Yield all groups, those inside of others first.

    Args:
        groups: the groups.
        attributes: the messages of each.
        addresses: where the headers of the datasets are.
        address: where the first of the groups will be.
    """
    # Backwards, each group has the last of the datasets that are left, and the first of the groups that are placed.
    places: deque[Place] = deque()
    for group, messages in zip(reversed(groups), reversed(attributes), strict=True):
        members = {
            name.encode(): places.popleft() if isinstance(member, NewGroup) else Place(addresses.pop())
            for name, member in reversed(group.members.items())
        }
        place, address = place_group(address, members, messages)
        places.append(place)
        yield encode_group(place, members, messages)


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield small pieces as larger ones."""
    gathered: list[bytes] = []
    n_bytes = 0
    for piece in pieces:
        gathered.append(piece)
        n_bytes += len(piece)
        if n_bytes >= GATHERED_BYTES:
            yield b"".join(gathered)
            gathered, n_bytes = [], 0
    yield b"".join(gathered)


def _place_values(datasets: Sequence[NewDataset], address: int) -> tuple[dict[str, int], int]:
    """Where the values of each dataset are, and where the last of them ends."""
    offsets = {}
    end = address
    for dataset in datasets:
        spec = dataset.spec
        offsets[spec.name] = end + -end % VALUES_ALIGNMENT_BYTES
        # Nothing is written that would fill a gap behind the last value.
        end = offsets[spec.name] + spec.nbytes if spec.nbytes else end
    return offsets, end
