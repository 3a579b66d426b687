"""Grouped convolutions of Keras models on TensorFlow, compiled once.

On a CPU Keras computes a grouped convolution with XLA. Called eagerly, each layer is compiled anew on each run: half a
second for each, where the convolution itself takes milliseconds. Here the same operation is one function for all
layers and runs of the same stride and padding, so that it is compiled once for each shape. Not one bit is another.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from resport.architectures.frameworks import quiet_import_module

if TYPE_CHECKING:
    import keras


@contextlib.contextmanager
def grouped_convolutions_compiled_once(model: keras.Model) -> Iterator[None]:
    """Let the grouped convolutions of a model share what was compiled, for a while.

    Args:
        model: the model; layers of classes that are not Keras' own compute as they did.
    """
    framework = quiet_import_module("keras")
    layers = []
    if framework.backend.backend() == "tensorflow":
        # Models can be layers of models.
        flat = model._flatten_layers(include_self=False)
        layers = [each for each in flat if type(each) is framework.layers.Conv2D and each.groups > 1]
    with contextlib.ExitStack() as stack:
        for layer in layers:
            layer.convolution_op = functools.partial(_convolve, layer)
            stack.callback(delattr, layer, "convolution_op")
        yield


def _convolve(layer: Any, inputs: Any, kernel: Any) -> Any:
    # Read at each call: an edit may have given the layer another stride.
    function = compiled_convolution(layer.strides, layer.padding, layer.data_format, layer.dilation_rate)
    return function(inputs, quiet_import_module("tensorflow").convert_to_tensor(kernel))


@functools.cache
def compiled_convolution(*arguments: Any) -> Any:
    """A convolution compiled by XLA.

    Args:
        *arguments: strides, padding, layout and dilation, as ``keras.ops.conv`` takes them.
    """
    ops = quiet_import_module("keras").ops
    return quiet_import_module("tensorflow").function(
        lambda inputs, kernel: ops.conv(inputs, kernel, *arguments), jit_compile=True, autograph=False
    )
