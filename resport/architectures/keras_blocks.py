"""The layers that Keras builders are made of, and what every Keras classifier has at its end.

Only stock layers are used, so a saved model opens in any Keras 3 without resport. Each layer is given its dtype and its
layout itself: the process-wide defaults of Keras are the user's, and are neither read nor set.
Layer names are given too, all of them, because Keras numbers nameless layers by what was built before in the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.network import check_dtype, check_option

if TYPE_CHECKING:
    import keras

BATCH_NORM_EPSILON = 1.001e-5
"""Epsilon of keras.applications' ResNets, and what TensorFlow 1's fused batch norm made of slim's 1e-5."""

DATA_FORMATS = ("channels_last", "channels_first")


@dataclass(frozen=True, slots=True)
class LayerMaker:
    """Makes stock layers of one dtype and one layout, and applies them.

    Attributes:
        dtype: ``float32`` or ``float64``.
        epsilon: epsilon of batch norm.
        data_format: ``channels_last`` or ``channels_first``; kernels are the same in both.
        momentum: decay of batch norm's moving statistics.
        weight_decay: weight of the L2 loss on kernels.

    Raises:
        OptionError: another dtype or layout.
    """

    dtype: str
    epsilon: float = BATCH_NORM_EPSILON
    data_format: str = "channels_last"
    momentum: float = 0.99
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        check_option("data_format", self.data_format, DATA_FORMATS)

    @property
    def channel_axis(self) -> int:
        """The axis of the channels."""
        return 1 if self.data_format == "channels_first" else 3

    @property
    def _kernel_options(self) -> dict[str, Any]:
        if not self.weight_decay:
            return {}
        return {"kernel_regularizer": quiet_import_module("keras").regularizers.L2(self.weight_decay)}

    def _apply(self, layer: str, inputs: Any, name: str, **arguments: Any) -> keras.KerasTensor:
        layers = quiet_import_module("keras").layers
        return getattr(layers, layer)(dtype=self.dtype, name=name, **arguments)(inputs)

    def input(self, shape: tuple[int | None, ...], batch_size: int | None = None) -> keras.KerasTensor:
        """The input; ``shape`` is (height, width, channels), whatever the layout."""
        layers = quiet_import_module("keras").layers
        if self.data_format == "channels_first":
            shape = (shape[2], *shape[:2])
        return layers.Input(shape, batch_size=batch_size, dtype=self.dtype, name="input_layer")

    def conv(
        self,
        inputs: keras.KerasTensor,
        filters: int,
        kernel_size: int | tuple[int, int],
        name: str,
        *,
        strides: int = 1,
        rate: int = 1,
        padding: str = "valid",
        use_bias: bool = True,
        groups: int = 1,
    ) -> keras.KerasTensor:
        """A convolution without activation."""
        return self._apply(
            "Conv2D",
            inputs,
            name,
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            dilation_rate=rate,
            padding=padding,
            use_bias=use_bias,
            groups=groups,
            data_format=self.data_format,
            **self._kernel_options,
        )

    def batch_norm(self, inputs: keras.KerasTensor, name: str, scale: bool = True) -> keras.KerasTensor:
        """Batch norm over channels, of a map or of pooled values; ``scale`` gives it a gamma."""
        axis = self.channel_axis if len(inputs.shape) == 4 else 1
        decay = {"epsilon": self.epsilon, "momentum": self.momentum}
        return self._apply("BatchNormalization", inputs, name, axis=axis, scale=scale, **decay)

    def relu(self, inputs: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """ReLU."""
        return self._apply("Activation", inputs, name, activation="relu")

    def add(self, inputs: list[keras.KerasTensor], name: str) -> keras.KerasTensor:
        """A sum."""
        return self._apply("Add", inputs, name)

    def zero_pad(self, inputs: keras.KerasTensor, size: int, name: str) -> keras.KerasTensor:
        """Rows and columns of zeros on all four sides."""
        padding = ((size, size), (size, size))
        return self._apply("ZeroPadding2D", inputs, name, padding=padding, data_format=self.data_format)

    def max_pool(
        self, inputs: keras.KerasTensor, pool_size: int, strides: int, name: str, padding: str = "valid"
    ) -> keras.KerasTensor:
        """Max-pooling."""
        return self._apply(
            "MaxPooling2D",
            inputs,
            name,
            pool_size=pool_size,
            strides=strides,
            padding=padding,
            data_format=self.data_format,
        )

    def average_pool(self, inputs: keras.KerasTensor, pool_size: int, strides: int, name: str) -> keras.KerasTensor:
        """Average-pooling that pads as SAME does; what is padded is not counted."""
        return self._apply(
            "AveragePooling2D",
            inputs,
            name,
            pool_size=pool_size,
            strides=strides,
            padding="same",
            data_format=self.data_format,
        )

    def pad_channels(self, inputs: keras.KerasTensor, before: int, after: int, name: str) -> keras.KerasTensor:
        """Channels of zeros in front of the others and behind them.

        Keras has no such layer: the channels are brought to where another one pads, and back.
        """
        padding = ((before, after), (0, 0))
        if self.data_format == "channels_first":
            return self._apply("ZeroPadding2D", inputs, name, padding=padding, data_format="channels_last")
        net = self._apply("Permute", inputs, f"{name}_in", dims=(3, 1, 2))
        net = self._apply("ZeroPadding2D", net, name, padding=padding, data_format="channels_last")
        return self._apply("Permute", net, f"{name}_out", dims=(2, 3, 1))

    def rescale(self, inputs: keras.KerasTensor, factor: float, name: str) -> keras.KerasTensor:
        """All values times one factor."""
        import numpy as np

        # Keras casts a Python number by way of float32; an array it takes, and saves, as it is.
        return self._apply("Rescaling", inputs, name, scale=np.asarray(factor))

    def unit_length(self, inputs: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Values (batch, n) with an l2 norm of 1."""
        return self._apply("UnitNormalization", inputs, name, axis=1)

    def dropout(self, inputs: keras.KerasTensor, rate: float, name: str) -> keras.KerasTensor:
        """Dropout, which does nothing in inference."""
        return self._apply("Dropout", inputs, name, rate=rate)

    def concatenate(self, inputs: list[keras.KerasTensor], name: str) -> keras.KerasTensor:
        """All channels behind each other."""
        return self._apply("Concatenate", inputs, name, axis=self.channel_axis)

    def scale(self, inputs: keras.KerasTensor, factors: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Every channel times its factor; ``factors`` is (batch, channels)."""
        shape = (-1, 1, 1) if self.data_format == "channels_first" else (1, 1, -1)
        return self._apply(
            "Multiply", [inputs, self._apply("Reshape", factors, f"{name}_map", target_shape=shape)], name
        )

    def global_average_pool(self, inputs: keras.KerasTensor, name: str, keepdims: bool = False) -> keras.KerasTensor:
        """The mean over height and width: (batch, channels), or a 1x1 map with ``keepdims``."""
        options = {"data_format": self.data_format, "keepdims": keepdims}
        return self._apply("GlobalAveragePooling2D", inputs, name, **options)

    def flatten(self, inputs: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """A map as one axis."""
        return self._apply("Flatten", inputs, name, data_format=self.data_format)

    def dense(
        self, inputs: keras.KerasTensor, units: int, name: str, activation: str | None, use_bias: bool = True
    ) -> keras.KerasTensor:
        """A dense layer over the last axis; on a map it is a 1x1 convolution."""
        options = {"activation": activation, "use_bias": use_bias, **self._kernel_options}
        return self._apply("Dense", inputs, name, units=units, **options)


def layer_output(model: keras.Model, name: str) -> keras.KerasTensor | None:
    """The output of a layer, or None where the model has no such layer; a map has its channels last in any layout."""
    output = next((layer.output for layer in model.layers if layer.name == name), None)
    if output is None or len(output.shape) < 4 or not is_channels_first(model):
        return output
    return quiet_import_module("keras").ops.moveaxis(output, 1, -1)


def is_channels_first(model: keras.Model) -> bool:
    """Whether a model takes (batch, channels, height, width)."""
    return any(
        getattr(layer, "data_format", None) == "channels_first"
        for layer in model.layers
        if "Conv" in type(layer).__name__
    )


def classifier_end_points(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """``global_pool``, ``logits`` and ``predictions`` of a model, those that it has.

    keras.applications keeps the softmax inside the layer ``predictions``, where nothing can be tapped in front of it.
    The logits of such a model are computed beside it, from the same input and the same variables.

    Args:
        model: a model whose last layers are ``avg_pool`` and ``predictions``, or one of the two, or neither.
    """
    keras = quiet_import_module("keras")
    end_points = {}
    pooled = layer_output(model, "avg_pool")
    if pooled is not None:
        end_points["global_pool"] = pooled
    if layer_output(model, "predictions") is None:
        return end_points
    dense = model.get_layer("predictions")
    if dense.activation is keras.activations.linear:
        end_points["logits"] = dense.output
        end_points["predictions"] = keras.ops.softmax(dense.output)
    else:
        logits = keras.ops.matmul(dense.input, dense.kernel)
        end_points["logits"] = keras.ops.add(logits, dense.bias) if dense.use_bias else logits
        end_points["predictions"] = dense.output
    return end_points
