"""Edits of Keras models: a layer is given another attribute for the time of one run.

Keras runs a functional model layer by layer and a layer reads its stride, padding or epsilon when it is called, so
nothing has to be built again, and any model will do: a builder's, or one that a user saved. Without edits, with other
weights alone, the model is run as one TensorFlow function, traced once: ten times as quick.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resport.architectures.frameworks import quiet_import_module, quiet_tracing
from resport.architectures.graph_edits import (
    PADDED,
    SAME,
    BatchNorm,
    Convolution,
    Edit,
    Factor,
    MaxPool,
    PoolPadding,
    Sites,
    no_such_site,
    not_runnable,
)
from resport.architectures.keras_blocks import is_channels_first
from resport.architectures.keras_network import KerasNetwork
from resport.architectures.network import check_images, squeeze_map

if TYPE_CHECKING:
    import numpy as np

Layer = Any
Tensor = Any
Setting = tuple[Layer, str, Any]

BETWEEN_CONVOLUTIONS = frozenset({"Activation", "BatchNormalization", "ReLU", "Scale", "ZeroPadding2D"})
NO_PADDING = ((0, 0), (0, 0))


class KerasEditor:
    """An editor of a Keras model.

    Args:
        network: the model with its end points.
    """

    def __init__(self, network: KerasNetwork) -> None:
        self._network = network
        self._layers: dict[str, Layer] = {layer.name: layer for layer in network.model.layers}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all variables, as ``layer/variable``."""
        return self._network.names

    @functools.cached_property
    def sites(self) -> Sites:
        """What can be edited."""
        layers = list(self._layers.values())
        pools = [each for each in _of_class(layers, "MaxPooling2D") if max(each.pool_size) > 1 and _is_last(each)]
        return Sites(
            tuple(BatchNorm(each.name, float(each.epsilon)) for each in _of_class(layers, "BatchNormalization")),
            tuple(_convolution(each) for each in _of_class(layers, "Conv2D")),
            tuple(MaxPool(each.name, _pool_padding(each), _is_relu(_before(each, "ZeroPadding2D"))) for each in pools),
            tuple(Factor(each.name, float(each.scale)) for each in _of_class(layers, "Rescaling")),
        )

    def feeding(self, end_point: str) -> frozenset[str]:
        """Names of the variables and layers that an end point depends on."""
        names = {site.name for site in self.sites.all}
        of_variable = {id(variable): name for name, variable in self._network.variables.items()}
        found: set[str] = set()
        for layer, arguments in _ancestors(self._network.end_points[end_point]):
            held = (*getattr(layer, "weights", ()), *arguments)
            found.update(of_variable[id(variable)] for variable in held if id(variable) in of_variable)
            found.update({layer.name} & names)
        return frozenset(found)

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Give some variables other values."""
        self._network.assign(values)

    def run(
        self, images: np.ndarray, edits: Sequence[Edit] = (), only: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The values of end points with the edits in place.

        Raises:
            OptionError: an edit for a site that isn't there, or maps that don't fit together with it.
        """
        settings = [setting for edit in edits for setting in self._settings(edit)]
        if not settings:
            return self._network.forward(images) if self._traced is None else self._run_traced(images)
        network = self._network if only is None else self._part(tuple(only))
        tf = quiet_import_module("tensorflow")
        with _set(settings):
            try:
                return network.forward(images)
            except (tf.errors.InvalidArgumentError, ValueError) as error:
                raise not_runnable(edits, error) from None

    @functools.cached_property
    def _traced(self) -> Callable[[np.ndarray], list[Tensor]] | None:
        """The whole model as one function; None of a model that TensorFlow has to compile."""
        model = self._network.model
        keras, tf = quiet_import_module("keras"), quiet_import_module("tensorflow")
        if keras.backend.backend() != "tensorflow" or is_channels_first(model):
            return None
        tapped = keras.Model(model.inputs, list(self._network.end_points.values()))
        signature = [tf.TensorSpec(model.inputs[0].shape, model.inputs[0].dtype)]
        traced: Callable[[np.ndarray], list[Tensor]] = tf.function(
            lambda images: tf.nest.flatten(tapped(images, training=False)), input_signature=signature, autograph=False
        )
        return traced

    def _run_traced(self, images: np.ndarray) -> dict[str, np.ndarray]:
        assert self._traced is not None
        check_images(images, tuple(self._network.model.inputs[0].shape))
        with quiet_tracing():
            values = self._traced(images.astype(self._network.model.inputs[0].dtype))
        arrays = [squeeze_map(value.numpy()) for value in values]
        return dict(zip(self._network.end_points, arrays, strict=True))

    @functools.lru_cache(maxsize=8)  # noqa: B019 - the editor lives no longer than its parts
    def _part(self, names: tuple[str, ...]) -> KerasNetwork:
        """The network up to some of its end points, with the same layers."""
        return KerasNetwork(self._network.model, {name: self._network.end_points[name] for name in names})

    def _settings(self, edit: Edit) -> list[Setting]:
        layer = self._layers.get(edit.site)
        if isinstance(edit.value, PoolPadding) and layer is not None:
            pad = _layer_before(layer)
            settings = [(layer, "call", functools.partial(_pooled, layer=layer, padding=edit.value))]
            return settings + ([(pad, "padding", NO_PADDING)] if type(pad).__name__ == "ZeroPadding2D" else [])
        values: dict[str, tuple[str, Any]] = {
            "BatchNormalization": ("epsilon", edit.value),
            "Conv2D": ("strides", (edit.value, edit.value)),
            "Rescaling": ("scale", edit.value),
        }
        if type(layer).__name__ not in values:
            raise no_such_site(edit.site)
        return [(layer, *values[type(layer).__name__])]


@contextlib.contextmanager
def _set(settings: Sequence[Setting]) -> Iterator[None]:
    """Attributes of layers for a while."""
    with contextlib.ExitStack() as stack:
        for layer, attribute, value in settings:
            if attribute == "call":
                stack.callback(delattr, layer, attribute)
            else:
                stack.callback(setattr, layer, attribute, getattr(layer, attribute))
            setattr(layer, attribute, value)
        yield


def _of_class(layers: Sequence[Layer], name: str) -> list[Layer]:
    return [layer for layer in layers if type(layer).__name__ == name]


def _is_last(layer: Layer) -> bool:
    """Whether a pool takes maps with their channels last, which is what edited pools take."""
    return str(layer.data_format) == "channels_last"


def _layer_before(layer: Layer) -> Layer:
    """The layer whose output another takes; None where there are several, or none."""
    tensor = layer.input
    return None if isinstance(tensor, (list, tuple, dict)) else tensor._keras_history.operation


def _before(layer: Layer, *skipped: str) -> Layer:
    """The first layer in front of another that is none of some classes."""
    found = _layer_before(layer)
    while type(found).__name__ in skipped:
        found = _layer_before(found)
    return found


def _is_relu(layer: Layer) -> bool:
    keras = quiet_import_module("keras")
    return type(layer).__name__ == "ReLU" or getattr(layer, "activation", None) is keras.activations.relu


def _convolution(layer: Layer) -> Convolution:
    pad = _layer_before(layer)
    pads = tuple(pad.padding[0]) if type(pad).__name__ == "ZeroPadding2D" else (0, 0)
    size = max(layer.kernel_size)
    previous = _before(layer, *BETWEEN_CONVOLUTIONS)
    return Convolution(
        layer.name,
        layer.strides[0],
        size,
        f"{layer.name}/{layer.kernel.name}",
        layer.groups,
        layer.padding == SAME or sum(pads) == size - 1,
        previous.name if type(previous).__name__ == "Conv2D" else None,
    )


def _pool_padding(layer: Layer) -> PoolPadding:
    if type(_layer_before(layer)).__name__ == "ZeroPadding2D":
        return PoolPadding(PADDED, 0.0)
    return PoolPadding(layer.padding, -math.inf)


def _pooled(inputs: Tensor, layer: Layer, padding: PoolPadding) -> Tensor:
    """What a max-pool with another padding gives."""
    ops = quiet_import_module("keras").ops
    size, strides = layer.pool_size[0], layer.strides
    if padding.mode == PADDED:
        widths = ((0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0))
        return ops.max_pool(ops.pad(inputs, widths, constant_values=padding.fill), size, strides, "valid")
    pooled = ops.max_pool(inputs, size, strides, padding.mode)
    if padding.mode == SAME and padding.fill == 0:
        # How many pixels a window holds: fewer at the edges, where the padding has a say.
        window = ops.ones((size, size, 1, 1), inputs.dtype)
        held = ops.conv(ops.ones_like(inputs[..., :1]), window, strides, "same")
        pooled = ops.where(held < size * size, ops.maximum(pooled, 0.0), pooled)
    return pooled


def _ancestors(tensor: Tensor) -> Iterator[tuple[Layer, list[Any]]]:
    """Every operation that a symbolic tensor is computed by, with its flat arguments."""
    flatten = quiet_import_module("keras").tree.flatten
    seen: set[int] = set()
    waiting = [tensor]
    while waiting:
        history = waiting.pop()._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) not in seen:
            seen.add(id(node))
            yield history.operation, flatten((node.arguments.args, node.arguments.kwargs))
            waiting.extend(node.input_tensors)
