"""Layers of a model's description, against Keras' own names and places."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import pytest

from resport.formats.keras_config import find_layers, parse_config, to_snake_case
from tests.formats.keras_models import small_model


@pytest.mark.parametrize(
    ("class_name", "group"),
    [
        ("Conv2D", "conv2d"),
        ("DepthwiseConv2D", "depthwise_conv2d"),
        ("BatchNormalization", "batch_normalization"),
        ("PReLU", "p_re_lu"),
        ("LSTM", "lstm"),
        ("GlobalAveragePooling2D", "global_average_pooling2d"),
        ("Conv2DTranspose", "conv2d_transpose"),
        ("My Layer!", "my_layer"),
    ],
)
def test_groups_of_classes(class_name: str, group: str) -> None:
    assert to_snake_case(class_name) == group


def layer(class_name: str, name: str, **settings: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": name, "dtype": "float32", **settings}}


def test_places_and_names() -> None:
    inner = layer("Functional", "inner", layers=[layer("Dense", "d"), layer("Dense", "e")])
    wrapper = layer("TimeDistributed", "td", layer=layer("Conv2D", "c"))
    # No layer, though it has a class and settings.
    wrapper["config"]["kernel_initializer"] = {"class_name": "Zeros", "config": {"name": "z"}}
    model = layer("Functional", "net", layers=[layer("Dense", "first"), inner, wrapper, layer("Dense", "last")])
    found = {each.place: each.full_name for each in find_layers(model, "m")}
    assert found == {
        "layers/dense": "first",
        "layers/functional": "inner",
        "layers/functional/layers/dense": "inner/d",
        "layers/functional/layers/dense_1": "inner/e",
        "layers/time_distributed": "td",
        "layers/time_distributed/layer": "td/c",
        "layers/dense_1": "last",
    }


@pytest.mark.tf
def test_places_are_those_of_keras(tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(small_model()(inputs)))
    layers = {each.place: each.name for each in find_layers(parse_config(model.to_json(), "m"), "m")}
    model.save_weights(tmp_path / "m.weights.h5")
    named: dict[str, str] = {}

    def visit(place: str, node: object) -> None:
        if re.fullmatch(r"layers/.*/vars", place) and isinstance(node, h5py.Group):
            named[place.removesuffix("/vars")] = node.attrs["name"]

    with h5py.File(tmp_path / "m.weights.h5") as file:
        file.visititems(visit)
    assert len(named) > 20
    assert {place: name for place, name in layers.items() if place in named} == named
    assert json.loads(model.to_json())["class_name"] == "Functional"
