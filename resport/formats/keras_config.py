"""A Keras model's own description, the JSON that whole models carry: its layers, and where their weights lie.

Only the names, classes and nesting of layers are taken from it, and a few words that say how weights are stored. What
it holds besides, the code of a Lambda layer for one, is text here and stays text.

In ``.weights.h5`` and ``.keras`` a layer's weights lie at a place made of classes and counters
(``layers/conv2d_3``); the description lists the layers in the order of those counters, and so turns a place into a
name and back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from resport.errors import FormatError
from resport.formats.json_text import JSON_MAX_BYTES, parse_json

CONFIG_MAX_BYTES = JSON_MAX_BYTES
CONFIG_MAX_DEPTH = 64
CONFIG_MAX_NAME_CHARS = 4096
"""Of the names of a layer and the models around it, and of its place: they stand in front of all that is inside."""
CONTAINER_GROUP = "layers"


class LayerConfig(NamedTuple):
    """One layer of a model's description.

    Attributes:
        name: the layer's name.
        scope: the names of the models around it, outermost first.
        class_name: its class as Keras spells it, ``Conv2D``.
        place: path of its group in a ``.weights.h5`` file.
        settings: its own part of the description.
    """

    name: str
    scope: tuple[str, ...]
    class_name: str
    place: str
    settings: Mapping[str, Any]

    @property
    def full_name(self) -> str:
        """What stands in front of its weights in their names."""
        return "/".join((*self.scope, self.name))


def parse_config(text: str | bytes, path: str) -> dict[str, Any]:
    """The description of a model as plain values.

    Raises:
        FormatError: it is no JSON object.
    """
    try:
        config = parse_json(text.encode() if isinstance(text, str) else text)
    except ValueError as error:
        raise FormatError(f"the model's description in `{path}` is no JSON: {error}", path=path) from None
    if not isinstance(config, dict):
        raise FormatError(f"the model's description in `{path}` is no JSON object", path=path, got=type(config))
    return config


def find_layers(config: Mapping[str, Any], path: str) -> list[LayerConfig]:
    """All layers of a description in the order in which Keras saves them, those inside of others behind them.

    Raises:
        FormatError: layers lie in one another without end.
    """
    return list(_layers_inside(config, "", (), path))


def _layers_inside(
    described: Mapping[str, Any], place: str, scope: tuple[str, ...], path: str
) -> Iterator[LayerConfig]:
    """The layers that a model or wrapper has: those of its list, and those it keeps under a name."""
    if len(scope) > CONFIG_MAX_DEPTH:
        raise FormatError(f"the model's description in `{path}` is too deep", path=path, got=place[:200])
    settings = described.get("config")
    # Keras 1 kept the list of a Sequential itself there; Keras 0 had no settings at all.
    listed = settings if isinstance(settings, list) else _list_of_layers(settings) or _list_of_layers(described)
    counts: dict[str, int] = {}
    for each in listed:
        if isinstance(each, dict):
            group = to_snake_case(_class_of(each))
            number = counts.get(group, 0)
            counts[group] = number + 1
            counted = f"{group}_{number}" if number else group
            yield from _layer(each, _join(place, CONTAINER_GROUP, counted), scope, path)
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if isinstance(value, dict) and "class_name" in value and isinstance(value.get("config"), dict):
            # What has no name is no layer: an initialiser, a regulariser, a policy.
            if isinstance(value["config"].get("name"), str) and "dtype" in value["config"]:
                yield from _layer(value, _join(place, key), scope, path)


def _layer(described: Mapping[str, Any], place: str, scope: tuple[str, ...], path: str) -> Iterator[LayerConfig]:
    settings = described.get("config")
    settings = settings if isinstance(settings, dict) else described
    # Keras 0 called a layer's class its name.
    name = _first_text(settings.get("custom_name"), settings.get("name"), described.get("name"))
    if max(len(place), len(name) + sum(map(len, scope))) > CONFIG_MAX_NAME_CHARS:
        raise FormatError(
            f"the model's description in `{path}` has a layer of a name that is too long",
            path=path,
            expected=f"at most {CONFIG_MAX_NAME_CHARS} characters",
            got=f"{name[:40]!a}…",
        )
    yield LayerConfig(name, scope, _class_of(described), place, settings)
    yield from _layers_inside(described, place, (*scope, name), path)


def _class_of(described: Mapping[str, Any]) -> str:
    return _first_text(described.get("class_name"), described.get("name"))


def _first_text(*values: object) -> str:
    """The first of some values that is a text; empty where none is."""
    return next((value for value in values if isinstance(value, str) and value), "")


def _list_of_layers(settings: object) -> list[Any]:
    layers = settings.get("layers") if isinstance(settings, dict) else None
    return layers if isinstance(layers, list) else []


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def to_snake_case(class_name: str) -> str:
    """A class's name as Keras makes a group's name of it: ``Conv2D`` is ``conv2d``, ``PReLU`` is ``p_re_lu``."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
