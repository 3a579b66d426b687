"""Keras 3 ``.weights.h5``: layers numbered by class, variables numbered by position, names almost nowhere.

A layer's variables lie at ``/layers/<class>[_<i>]/vars/<k>``, ``i`` counting the layers of that class in the order of
``model.layers``. The layer's name is an attribute of the group ``vars``, a variable's name is not in the file. The
reader gives tensors the names they have in Keras, ``layer/variable``, with the variables named by ``keras_layers``; a
layer without a name keeps the path by which the file reaches it, as do the containers that hold layers.

The writer adds the name of a tensor as an attribute of its dataset wherever the reader would not find it by itself.
Keras ignores the attribute.

The file does not keep the order of the model's layers: the manifest is sorted by class and number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from resport.errors import FormatError, OptionError
from resport.formats.damage import quoted
from resport.formats.hdf5 import (
    HDF5Errors,
    child_names,
    follow,
    follow_group,
    open_file,
    text_attribute,
)
from resport.formats.hdf5_checkpoint import Found, HDF5Reader
from resport.formats.hdf5_encoding.tree import NewGroup
from resport.formats.hdf5_file.objects import Dataset, Group, HDF5File, Node
from resport.formats.hdf5_writer import HDF5Writer, text_problem, type_attribute
from resport.formats.keras_layers import (
    LAYER_VARIABLES,
    UNKNOWN_CLASS,
    group_by_layer,
    infer_class,
    split_name,
    variable_names,
)
from resport.tensors import Manifest, TensorSpec

WEIGHTS_VARIABLES_GROUP = "vars"
# Keras 3, and the releases of Keras 2 that wrote this layout first.
WEIGHTS_LAYER_GROUPS = ("layers", "_layer_checkpoint_dependencies")
_LISTED = WEIGHTS_LAYER_GROUPS[0]
_LISTS = tuple((name,) for name in WEIGHTS_LAYER_GROUPS)
# Its slots are named by their path: by the name of its `vars` they would pass for a layer `adam`.
WEIGHTS_OPTIMIZER_GROUP = "optimizer"
WEIGHTS_NAME_ATTRIBUTE = "name"
WEIGHTS_MAX_DEPTH = 64
_COUNTED = re.compile(r"(.+?)_(\d{1,9})", re.ASCII | re.DOTALL)
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


def is_keras_weights(path: str) -> bool:
    """Whether an HDF5 file has this layout: variables of a layer near the root.

    Raises:
        FormatError: the file is damaged.
    """
    with open_file(path) as file, HDF5Errors(path):
        names = child_names(file, path)
        if not {WEIGHTS_VARIABLES_GROUP, *WEIGHTS_LAYER_GROUPS}.isdisjoint(names):
            return True
        # A subclassed model has its layers at the root, under the names of its attributes.
        members = (file.member(name) for name in names if file.link(name).address is not None)
        return any(isinstance(node, Group) and WEIGHTS_VARIABLES_GROUP in node for node in members)


class KerasWeightsReader(HDF5Reader):
    """A ``.weights.h5`` file of Keras 3.

    Args:
        path: the file.

    Raises:
        SourceNotFoundError: nothing is there.
        FormatError: the file is damaged or has another layout.
    """

    format: ClassVar[str] = "keras-weights-h5"
    # The layout has no attributes at the root.
    reserved: ClassVar[re.Pattern[str]] = re.compile("")

    layer_names: Mapping[str, str] = {}
    """Names of layers by their groups, where the file has no names: archives know them."""

    def _find(self, file: HDF5File) -> Found:
        is_listed = is_named = False
        for place, scope, variables in walk(file, self.layer_names, self.path):
            found = list(named_variables(place, scope, [(variables, self.path)]))
            if found and place[:1] in _LISTS:
                is_listed, is_named = True, is_named or variables.has_attribute(WEIGHTS_NAME_ATTRIBUTE)
            yield from found
        if is_listed and not is_named and not self.layer_names:
            self.note = "the file counts layers by their class and has no names of them; a `.keras` archive has both"


def walk(
    file: HDF5File, known: Mapping[str, str], path: str
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], Group]]:
    """Yield every group of variables: its layer's path in the file, its layer's name in parts, and the group."""
    yield from _walk(file, (), (), set(), known, path)


def plain_place(place: Iterable[str]) -> str:
    """The path of a layer's group, with the lists of layers under the word of today."""
    return "/".join(_LISTED if part in WEIGHTS_LAYER_GROUPS else part for part in place)


def _walk(
    group: Group,
    place: tuple[str, ...],
    scope: tuple[str, ...],
    visited: set[int],
    known: Mapping[str, str],
    path: str,
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], Group]]:
    """Yield every group of variables.

    Args:
        group: where to look.
        place: the group's path in the file.
        scope: what stands in front of its variables in their names.
        visited: addresses of the groups that were seen: a hard link can lead back.
        known: names of layers by the groups that have none.
        path: the file.
    """
    if group.address in visited or len(place) > WEIGHTS_MAX_DEPTH:
        raise FormatError(f"{quoted('/'.join(place))} in `{path}` leads in a circle or too deep", path=path)
    visited.add(group.address)
    names = child_names(group, path)
    is_layer = not place or WEIGHTS_VARIABLES_GROUP in names or place[-2:-1] in _LISTS
    has_variables = WEIGHTS_VARIABLES_GROUP in names
    variables = follow_group(group, WEIGHTS_VARIABLES_GROUP, path) if has_variables else None
    own = None if variables is None else text_attribute(variables, WEIGHTS_NAME_ATTRIBUTE, path)
    own = known.get(plain_place(place)) if own is None else own
    if own is not None and place and place[0] != WEIGHTS_OPTIMIZER_GROUP:
        scope = (*scope[:-1], own)
    if variables is not None:
        # The model itself is in no name of its layers, but in those of its own variables.
        yield place, scope if place else (own or WEIGHTS_VARIABLES_GROUP,), variables
    for name in sorted(names, key=_natural_order):
        if name != WEIGHTS_VARIABLES_GROUP:
            child = follow(group, name, path)
            # The list of a model's layers is no part of their names.
            inner = scope if is_layer and name in WEIGHTS_LAYER_GROUPS else (*scope, name)
            if isinstance(child, Group):
                yield from _walk(child, (*place, name), inner, visited, known, path)


def named_variables(place: tuple[str, ...], scope: tuple[str, ...], groups: Sequence[tuple[Group, str]]) -> Found:
    """Yield the variables of one layer with the names that each can have.

    Args:
        place: the layer's path in the file.
        scope: its name, in parts.
        groups: the group of its variables, or those that the shards of a checkpoint have of it; each with its file.

    Raises:
        FormatError: a group is damaged, or two have one variable.
    """
    members: dict[str, Node] = {}
    for variables, path in groups:
        for name in child_names(variables, path):
            if name in members:
                raise FormatError(f"{quoted('/'.join((*place, name)))} in `{path}` is in another shard too", path=path)
            members[name] = follow(variables, name, path)
    datasets = {name: node for name, node in members.items() if isinstance(node, Dataset)}
    numbers = sorted(datasets, key=_natural_order)
    known = variable_names(_class_of_group(place, scope), len(numbers))
    is_counted = numbers == [str(position) for position in range(len(numbers))]
    for position, number in enumerate(numbers):
        given = text_attribute(datasets[number], WEIGHTS_NAME_ATTRIBUTE, groups[0][1])
        if given is not None:
            yield datasets[number], (given,)
        else:
            # A layer that saves itself under words of its own (an optimizer, a tokenizer) is taken at its word.
            name = "/".join((*scope, known[position] if is_counted else number))
            yield datasets[number], (name, "/".join((*place, WEIGHTS_VARIABLES_GROUP, number)))


def _class_of_group(place: tuple[str, ...], scope: tuple[str, ...]) -> str:
    """The class of a layer, from its group, or from its own name where the group has that of an attribute."""
    layer_class = _class_and_number(place[-1])[0] if place else ""
    if layer_class in LAYER_VARIABLES or layer_class == UNKNOWN_CLASS or not scope:
        return layer_class
    return _class_and_number(scope[-1])[0]


def _class_and_number(component: str) -> tuple[str, int]:
    """``conv2d_3`` is layer 3 of class ``conv2d``, ``conv2d`` its layer 0."""
    match = _COUNTED.fullmatch(component)
    return (match[1], int(match[2])) if match else (component, 0)


def _natural_order(component: str) -> tuple[int, str, int, str]:
    # Numbers first and by value; then by class and its number; the text itself keeps `a_1` and `a_01` in order.
    if _NUMBER.fullmatch(component):
        return (0, "", int(component), component)
    return (1, *_class_and_number(component), component)


class KerasWeightsWriter(HDF5Writer):
    """A new ``.weights.h5`` file that Keras 3 loads.

    Keras finds a layer by its class and its number among the layers of that class. The class is told from the names and
    shapes of the variables; for a layer that they don't tell (a transposed convolution, a layer of one's own)
    ``classes`` says it.

    Args:
        path: the file.
        specs: every tensor that will be written, in the order of the model's layers.
        metadata: text to keep as attributes of the root.
        classes: Keras class in snake case (``"conv2d_transpose"``) by layer name, for layers that would be taken for
            another class.

    Raises:
        FormatError: a name, dtype or text that the layout cannot hold.
        OptionError: a class for a layer that is not among the specs, or that is no class name.
    """

    format: ClassVar[str] = "keras-weights-h5"
    reserved: ClassVar[re.Pattern[str]] = re.compile("")

    def __init__(
        self,
        path: str | os.PathLike[str],
        specs: Iterable[TensorSpec],
        *,
        metadata: Mapping[str, str] | None = None,
        classes: Mapping[str, str] | None = None,
    ) -> None:
        specs = list(specs)
        self._classes = dict(classes or {})
        unknown = self._classes.keys() - {split_name(spec.name)[0] for spec in specs}
        if unknown:
            raise OptionError(f"a class is given for layers without tensors: {', '.join(sorted(unknown)[:10])}")
        for layer, layer_class in self._classes.items():
            # A class that ends in a number would take the place of another class's layer.
            if not re.fullmatch(r"[a-z][a-z0-9_]*", layer_class) or _COUNTED.fullmatch(layer_class):
                raise OptionError(
                    f"layer {quoted(layer)} cannot be of this class",
                    expected="snake case, as `conv2d`",
                    got=layer_class,
                )
        super().__init__(path, specs, metadata=metadata)

    @classmethod
    def problems(cls, manifest: Manifest) -> list[str]:
        named = ((name, text_problem(name)) for name in manifest)
        return [*super().problems(manifest), *(f"{quoted(name)} {problem}" for name, problem in named if problem)]

    def _describe(self) -> NewGroup:
        root = NewGroup()
        root.group(WEIGHTS_VARIABLES_GROUP)
        layers = group_by_layer(list(self.manifest))
        places = self._layer_places(layers)
        for layer, names in layers.items():
            group = root.group(f"{places[layer]}/{WEIGHTS_VARIABLES_GROUP}")
            group.attributes[WEIGHTS_NAME_ATTRIBUTE] = self._layer_name(layer)
            expected = variable_names(_class_and_number(split_name(places[layer])[1])[0], len(names))
            for position, name in enumerate(names):
                attributes = type_attribute(self.manifest[name])
                if name != f"{layer}/{expected[position]}":
                    attributes[WEIGHTS_NAME_ATTRIBUTE] = name
                group.add_dataset(str(position), self.manifest[name], attributes)
        return root

    def _layer_name(self, layer: str) -> str:
        """What the group of a layer calls it."""
        return layer

    def _layer_places(self, layers: Mapping[str, list[str]]) -> dict[str, str]:
        """The group of each layer: its class, and its number among the layers of that class."""
        places: dict[str, str] = {}
        counts: dict[str, int] = {}
        for layer, names in layers.items():
            shapes = {split_name(name)[1]: self.manifest[name].shape for name in names}
            layer_class = self._classes.get(layer) or infer_class(layer, shapes)
            number = counts.get(layer_class, 0)
            counts[layer_class] = number + 1
            places[layer] = f"{_LISTED}/{layer_class}_{number}" if number else f"{_LISTED}/{layer_class}"
        return places
