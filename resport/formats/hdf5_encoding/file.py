"""A whole file laid out: the head with all that is no value, and the places of the values behind it.

superblock | texts | headers of datasets | groups, those inside of others first | values
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resport.formats.hdf5_encoding.group import Place, encode_group
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


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """A file of which the values are still to come.

    Attributes:
        head: the bytes in front of the values.
        offsets: where the values of each tensor begin, from the begin of the file.
        n_bytes: how long the file is.
    """

    head: bytes
    offsets: Mapping[str, int]
    n_bytes: int


def encode_file(root: NewGroup) -> EncodedFile:
    """Lay out a file.

    Raises:
        FormatError: it has attributes that are too long or too many.
    """
    groups, datasets = _objects(root)
    heap = TextHeap(SUPERBLOCK_BYTES)
    group_attributes = [encode_attributes(group.attributes, heap) for group in groups]
    messages = [
        [*describe_elements(dataset.spec.dtype, dataset.spec.shape), *encode_attributes(dataset.attributes, heap)]
        for dataset in datasets
    ]
    texts = heap.finish()
    places, end = _place_headers(datasets, messages, SUPERBLOCK_BYTES + len(texts))
    root_place, encoded_groups = _encode_groups(groups, group_attributes, places, end)
    begin = end + len(encoded_groups)
    offsets, n_bytes = _place_values(datasets, begin + -begin % VALUES_ALIGNMENT_BYTES)
    headers = [
        encode_header([*described, encode_layout(offsets[dataset.spec.name], dataset.spec.nbytes)])
        for dataset, described in zip(datasets, messages, strict=True)
    ]
    superblock = encode_superblock(root_place, n_bytes)
    return EncodedFile(b"".join((superblock, texts, *headers, encoded_groups)), offsets, n_bytes)


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


def _place_headers(
    datasets: Sequence[NewDataset], messages: Sequence[Sequence[bytes]], address: int
) -> tuple[dict[int, Place], int]:
    """Where the headers of datasets are, by the objects' identities, and where they end."""
    places = {}
    for dataset, described in zip(datasets, messages, strict=True):
        places[id(dataset)] = Place(address)
        address += header_bytes(described) + LAYOUT_MESSAGE_BYTES
    return places, address


def _encode_groups(
    groups: Sequence[NewGroup], attributes: Sequence[Sequence[bytes]], places: dict[int, Place], address: int
) -> tuple[Place, bytes]:
    """All groups, and where the first of them is, the root; ``places`` gets those of the others too."""
    parts = []
    for group, messages in zip(reversed(groups), reversed(attributes), strict=True):
        members = {name.encode(): places[id(member)] for name, member in group.members.items()}
        places[id(group)], encoded = encode_group(address, members, messages)
        parts.append(encoded)
        address += len(encoded)
    return places[id(groups[0])], b"".join(parts)


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
