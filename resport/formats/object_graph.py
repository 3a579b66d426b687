"""The names of variables in TF2's object-graph checkpoints (tf.train.Checkpoint, Model.save_weights, SavedModel).

Such a checkpoint names a variable by the way that leads to it
(``layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE``), which says nothing of the layer. A string tensor beside
the variables, the TrackableObjectGraph, has for each of these keys the name that the variable itself had
(``conv1_conv/kernel``), which is what tables of names are about. So a variable is shown

- under its own name, where it has one that is nobody else's in the file;
- under its way without the ending, where two share a name (two metrics' ``total``) or it has none;
- under ``optimizer/...``, where it belongs to an optimizer: slots as ``optimizer/<variable>/<slot>``, everything else
  by its way. Roles and tables know the optimizer by that prefix.

Two habits of Keras 3 are minded. An optimizer lists the model's own weights as ``_trainable_variables``, and as the
first way counts, a checkpoint of optimizer and model has the weights only there: they are the model's all the same.
``Model.export`` writes every variable twice: the second, under ``_all_variables``, keeps its way, and the first gets
the name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from resport.formats.protobuf import Buffer, as_bytes, as_text, read_fields

OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
VARIABLE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
SLOT_MARK = "/.OPTIMIZER_SLOT/"
OPTIMIZER = "optimizer"
COPIES = "_all_variables"
MAX_DEPTH = 64
"""Of an optimizer: all beginnings of a way that is nothing but slashes are as long as its square."""

_MODEL_WEIGHTS_IN_OPTIMIZER = "_trainable_variables"


class SavedVariable(NamedTuple):
    """What an object graph says of one variable.

    Attributes:
        key: the name that it has in the checkpoint.
        full_name: the name that it had in the program; can be empty.
    """

    key: str
    full_name: str


def parse_object_graph(data: Buffer) -> list[SavedVariable]:
    """Parse a TrackableObjectGraph {1 repeated node {2 repeated attribute {2 full_name, 3 checkpoint_key}}}.

    Raises:
        FormatError: it is damaged.
    """
    variables = []
    for number, _, node in read_fields(data):
        if number != 1:
            continue
        for node_number, _, attribute in read_fields(as_bytes(number, node)):
            if node_number == 2:
                variables.append(_parse_attribute(as_bytes(node_number, attribute)))
    return variables


def _parse_attribute(data: Buffer) -> SavedVariable:
    texts = {number: as_text(number, value) for number, _, value in read_fields(data) if number in {2, 3}}
    return SavedVariable(texts.get(3, ""), texts.get(2, ""))


def shown_names(keys: Iterable[str], variables: Iterable[SavedVariable]) -> dict[str, str]:
    """Find a name for each key of a checkpoint.

    Args:
        keys: the names of all tensors in the checkpoint, in its order.
        variables: its object graph.

    Returns:
        The key of each shown name; as many as there are keys, and in their order.
    """
    keys = list(keys)
    full_names = {variable.key: variable.full_name for variable in variables}
    optimizers = _optimizer_ways(keys)
    first = {key: _first_choice(key, full_names, optimizers) for key in keys}
    second = {key: _way_of(key) for key in keys}
    # The first choice where it is unique, else the way; where ways clash with such names, the key for all of these.
    chosen = _settle(keys, first, second)
    names = {name: key for key, name in _settle(keys, chosen, {key: key for key in keys}).items()}
    return names if len(names) == len(keys) else {key: key for key in keys}


def _settle(keys: list[str], wanted: Mapping[str, str], otherwise: Mapping[str, str]) -> dict[str, str]:
    """Give each key the name it wants where no other wants it; a copy leaves the name to the original."""
    everyone = Counter(wanted.values())
    originals = Counter(wanted[key] for key in keys if not _is_copy(key))
    settled = {}
    for key in keys:
        name = wanted[key]
        is_only_original = not _is_copy(key) and originals[name] == 1
        settled[key] = name if everyone[name] == 1 or is_only_original else otherwise[key]
    return settled


def _first_choice(key: str, full_names: Mapping[str, str], optimizers: set[str]) -> str:
    """The name that a key would have if no other had the same."""
    way = _way_of(key)
    variable, is_slot, slot = way.partition(SLOT_MARK)
    if is_slot:
        return f"{OPTIMIZER}/{full_names.get(variable + VARIABLE_SUFFIX) or variable}/{slot.rpartition('/')[2]}"
    optimizer = next((prefix for prefix in _prefixes(way) if prefix in optimizers), None)
    if optimizer is not None and not way.startswith(f"{optimizer}/{_MODEL_WEIGHTS_IN_OPTIMIZER}/"):
        return OPTIMIZER + way.removeprefix(optimizer)
    return full_names.get(key) or way


def _optimizer_ways(keys: Iterable[str]) -> set[str]:
    """The ways to the optimizers: those that have slots, and those that are called so."""
    ways = set()
    for key in keys:
        way, is_slot, slot = _way_of(key).partition(SLOT_MARK)
        if is_slot:
            ways.add(slot.rpartition("/")[0])
        ways |= {prefix for prefix in _prefixes(way) if prefix.rpartition("/")[2] == OPTIMIZER}
    return ways


def _prefixes(way: str) -> Iterator[str]:
    """The beginnings of a way that end before a slash, the shortest first; no more than an optimizer can lie deep."""
    position = -1
    for _ in range(MAX_DEPTH):
        position = way.find("/", position + 1)
        if position < 0:
            return
        yield way[:position]


def _way_of(key: str) -> str:
    return key.removesuffix(VARIABLE_SUFFIX)


def _is_copy(key: str) -> bool:
    return f"/{COPIES}/" in f"/{key}"
