"""The graph that a Keras file describes itself, built from that description and run in place of resport's own builder.

A whole model (``.keras``, ``.h5``) carries its layers and their settings beside its weights. Whoever loads it runs
those layers, so they are what has to be proven: the same weights in another graph prove nothing.

A description is a file's word and is not handed to Keras as it is: its deserialiser imports modules, opens files and
runs code that a description names. Layers are taken from a list of stock layers, their settings must be plain values
of sensible size, and initialisers, regularisers and constraints, which do nothing to loaded weights, are dropped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_network import KerasNetwork
from resport.architectures.registry import find_builder, resolve
from resport.errors import OptionError

if TYPE_CHECKING:
    import keras

STOCK_LAYERS = frozenset(
    """Activation Add Average AveragePooling2D BatchNormalization Concatenate Conv2D Cropping2D Dense DepthwiseConv2D
    Dropout Flatten GlobalAveragePooling2D GlobalMaxPooling2D InputLayer LeakyReLU MaxPooling2D Maximum Multiply Permute
    ReLU Rescaling Reshape SeparableConv2D Softmax SpatialDropout2D Subtract UnitNormalization ZeroPadding2D""".split()
)
FIXED_SIZE_LAYERS = frozenset({"Flatten"})
MODEL_CLASSES = frozenset({"Functional", "Model", "Sequential"})
WIDTH_SETTINGS = frozenset({"units", "filters", "target_shape", "dims"})
LARGEST_STEP = 256
"""Of a window, stride, padding or axis: a larger one can only be meant to use up memory."""

_NOT_FOR_INFERENCE = ("_initializer", "_regularizer", "_constraint")


def describe_own_graph(text: str, largest: int) -> str:
    """A file's description of its model, reduced to stock layers with plain settings that compute in float64.

    Args:
        text: the description, JSON.
        largest: the largest size of an axis in the file's tensors; no layer is wider.

    Returns:
        JSON for ``open_own_graph``.

    Raises:
        OptionError: it describes something else; the message says what.
    """
    try:
        described = json.loads(text)
        class_name, config = described["class_name"], described["config"]
        # Sequential models of Keras 2.2 and older are a bare list of layers.
        config = {"layers": config} if isinstance(config, list) else config
        layers = [_stock_layer(layer, largest) for layer in config["layers"]]
    except OptionError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OptionError(f"the file's own description of its model cannot be read: {error!r}") from None
    if class_name not in MODEL_CLASSES:
        raise OptionError("the file's own model is of a class that is no stock model", got=class_name)
    kept = {name: config[name] for name in ("name", "input_layers", "output_layers") if name in config}
    if _count(kept.get("input_layers", 1)) != 1 or _count(kept.get("output_layers", 1)) != 1:
        raise OptionError("the file's own model has several inputs or outputs")
    _open_input(layers)
    return json.dumps({"class_name": class_name, "config": {**kept, "layers": layers}}, sort_keys=True)


def own_graph_size(graph: str) -> int | None:
    """Height of the images that a graph takes; None for one that takes any."""
    layers = json.loads(graph)["config"]["layers"]
    shape = layers[0]["config"].get("batch_shape") or (None, None)
    return None if shape[1] is None else int(shape[1])


def open_own_graph(graph: str, variant: str, dialect: str, *, dtype: str = "float64") -> KerasNetwork:
    """Build a described model.

    Args:
        graph: what ``describe_own_graph`` gave.
        variant: what the weights were detected as; its builder's names of layers tell the end points.
        dialect: likewise.
        dtype: what it computes in at first. The variables are float64.

    Raises:
        OptionError: Keras cannot build it.
    """
    keras = quiet_import_module("keras")
    described = json.loads(graph)
    made = keras.Sequential if described["class_name"] == "Sequential" else keras.Model
    try:
        model = made.from_config(described["config"])
    except Exception as error:  # whatever Keras raises for layers that don't fit together
        raise OptionError(f"the file's own model cannot be built: {str(error).splitlines()[0]}") from error
    network = KerasNetwork(model, _end_points(model, find_builder(variant, dialect).end_points))
    network.compute_in(dtype)
    return network


def _end_points(model: keras.Model, finder: str) -> Mapping[str, keras.KerasTensor]:
    """Those that layers of the builder's names have; a model without them has its output alone."""
    find: Callable[[Any], Mapping[str, keras.KerasTensor]] = resolve(finder)
    try:
        points = find(model)
    except (AttributeError, KeyError, StopIteration, ValueError):
        points = {}
    return points or {"logits": model.outputs[0]}


def _stock_layer(layer: Mapping[str, Any], largest: int) -> dict[str, Any]:
    class_name, name = layer["class_name"], layer["config"].get("name", layer.get("name"))
    if class_name not in STOCK_LAYERS:
        raise OptionError(f"layer `{name}` of the file's own model is no stock layer that is run", got=class_name)
    settings = {
        key: _plain(key, value, largest, str(name))
        for key, value in layer["config"].items()
        if not key.endswith(_NOT_FOR_INFERENCE) and key not in ("dtype", "batch_input_shape", "quantization_config")
    }
    if "batch_input_shape" in layer["config"]:
        settings["batch_shape"] = layer["config"]["batch_input_shape"]
    if class_name == "BatchNormalization" and isinstance(settings.get("axis"), list):
        (settings["axis"],) = settings["axis"]
    if class_name == "Dense" and settings.get("activation") == "softmax":
        # Logits tell more than probabilities; the end points have both.
        settings["activation"] = "linear"
    nodes = [_plain_node(node) for node in layer.get("inbound_nodes", [])]
    stock = {"module": "keras.layers", "class_name": class_name, "registered_name": None}
    return {**stock, "config": {**settings, "dtype": "float64"}, "name": name, "inbound_nodes": nodes}


def _plain(key: str, value: Any, largest: int, layer: str) -> Any:
    """A setting that is a number, a text, a truth, nothing, or a list of them."""
    if isinstance(value, Mapping) and value.get("class_name") == "__numpy__":
        value = value["config"]["value"]
    if isinstance(value, list):
        return [_plain(key, each, largest, layer) for each in value]
    is_size = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, str | bool | float | None) or (
        is_size and abs(value) <= (largest if key in WIDTH_SETTINGS else max(LARGEST_STEP, key == "seed" and 2**64))
    ):
        return value
    raise OptionError(f"layer `{layer}` of the file's own model has a setting `{key}` that is not run", got=value)


def _plain_node(node: Any) -> Any:
    """How a layer is called: names of layers, nothing that Keras would make an object of but its own tensors."""
    if isinstance(node, list):
        return [_plain_node(each) for each in node]
    if isinstance(node, Mapping):
        if node.get("class_name", "__keras_tensor__") != "__keras_tensor__":
            raise OptionError("the file's own model calls a layer with something else than a tensor", got=dict(node))
        return {key: _plain_node(value) for key, value in node.items()}
    return node


def _count(tensors: Any) -> int:
    """How many tensors a description names: Keras writes one alone as [name, node, index]."""
    return len(tensors) if isinstance(tensors, list) and tensors and isinstance(tensors[0], list) else 1


def _open_input(layers: list[dict[str, Any]]) -> None:
    """Let the input take any number of images, and of any size where no layer depends on it."""
    is_fixed = any(layer["class_name"] in FIXED_SIZE_LAYERS for layer in layers)
    for layer in layers:
        shape = layer["config"].get("batch_shape")
        if shape and len(shape) == 4:
            size = shape[1:3] if is_fixed else [None, None]
            layer["config"]["batch_shape"] = [None, *size, shape[3]]
