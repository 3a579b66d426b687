"""What a file shall hold: groups, datasets and attributes, without a thought of where in the file they will be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from resport.errors import FormatError
from resport.formats.damage import quoted
from resport.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class Names:
    """A list of texts, each of which takes as much room as the longest.

    Attributes:
        texts: the texts.
        width: the room of each, in bytes; at least 1.
    """

    texts: tuple[bytes, ...]
    width: int


Value = str | bytes | Names
"""Of an attribute: one text, in UTF-8 or, as bytes, in ASCII; or a list."""


@dataclass(slots=True)
class NewDataset:
    """A dataset, whose values come later.

    Attributes:
        spec: the tensor that it will hold.
        attributes: its attributes by their names.
    """

    spec: TensorSpec
    attributes: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class NewGroup:
    """A group.

    Attributes:
        members: groups and datasets by their names.
        attributes: its attributes by their names.
    """

    members: dict[str, NewGroup | NewDataset] = field(default_factory=dict)
    attributes: dict[str, Value] = field(default_factory=dict)

    def group(self, path: str) -> NewGroup:
        """The group at a path below this one, which is made with those on the way to it where it is not there.

        Raises:
            FormatError: no group can have that path.
        """
        group = self
        for name in path.split("/"):
            member = group.members.get(name) or group._add(name, NewGroup())
            if not isinstance(member, NewGroup):
                raise FormatError(f"{quoted(path)} leads through a dataset")
            group = member
        return group

    def add_dataset(self, path: str, spec: TensorSpec, attributes: Mapping[str, Value]) -> None:
        """Put a dataset at a path below this group, and groups on the way to it.

        Raises:
            FormatError: something is there, or no dataset can have that path.
        """
        *parents, name = path.split("/")
        group = self.group("/".join(parents)) if parents else self
        if name in group.members:
            raise FormatError(f"{quoted(path)} would be there twice")
        group._add(name, NewDataset(spec, dict(attributes)))

    def _add(self, name: str, member: NewGroup | NewDataset) -> NewGroup | NewDataset:
        if name in {"", ".", ".."}:
            raise FormatError("a group or dataset has a name that is empty or only dots, which HDF5 cannot hold")
        self.members[name] = member
        return member
