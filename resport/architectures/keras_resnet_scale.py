"""The Caffe-style Keras ResNets with a Scale layer behind every batch norm, with cnn_finetune's layer names.

No convolution has a bias. As in Caffe, the first 1x1 convolution of a stage strides, and the shortcut beside it. pool1
is the published network's own: it pads nothing, which gives a 55 x 55 map at 224 where Caffe, and every ResNet that
was converted from it, has 56 x 56. That is another function, and no change of weights makes up for it:
``pool1="same"`` builds what Caffe had. The last layer's name has the class count in it (``fc1000``), so that a file of
another class count, loaded by name, leaves that layer alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_blocks import LayerMaker, layer_output
from resport.architectures.keras_scale import scale_layer
from resport.architectures.network import check_option, height_and_width

if TYPE_CHECKING:
    import keras

BATCH_NORM_EPSILON = 1.1e-5
"""The published code's own: Caffe had 1e-5."""

ROOT_DEPTH = 64
POOL1 = ("valid", "same")
LETTERED_UNITS = 3
"""A stage of so many units calls them a, b, c; a longer one a, b1, b2 and so on."""


def build(
    variant: str,
    *,
    units: Sequence[int],
    base_depth: int = ROOT_DEPTH,
    num_classes: int | None,
    include_top: bool = True,
    input_size: tuple[int, int] | int | None = 224,
    batch_size: int | None = None,
    dtype: str = "float32",
    data_format: str = "channels_last",
    trainable: bool = True,
    pool1: str = "valid",
    weight_decay: float = 0.0,
    final_activation: str | None = "softmax",
) -> keras.Model:
    """Build the Keras model.

    Args:
        variant: name of the variant; the model's name.
        units: units in each stage.
        base_depth: bottleneck channels of the first stage.
        num_classes: width of the classifier, and the number in its name; None for no classifier.
        include_top: False leaves the classifier out.
        input_size: height and width, one number for both, or None to leave them open.
        batch_size: images in a batch, or None to leave it open.
        dtype: ``float32`` or ``float64``, of every layer.
        data_format: ``channels_last`` or ``channels_first``; the weights are the same.
        trainable: False freezes the model.
        pool1: ``valid``, as it was published, or ``same``, as in Caffe and its conversions.
        weight_decay: weight of the L2 loss on kernels.
        final_activation: ``softmax``, another one, or None for logits.

    Raises:
        OptionError: an option that cannot be meant.
        MissingDependencyError: Keras or its backend is not installed.
    """
    check_option("pool1", pool1, POOL1)
    layers = LayerMaker(dtype, BATCH_NORM_EPSILON, data_format, weight_decay=weight_decay)
    inputs = layers.input((*height_and_width(input_size), 3), batch_size)
    net = layers.zero_pad(inputs, 3, "conv1_zeropadding")
    net = _conv(layers, net, ROOT_DEPTH, 7, "conv1", "conv1", 2)
    net = layers.relu(net, "conv1_relu")
    net = layers.max_pool(net, 3, 2, "pool1", padding=pool1)
    for stage, count in enumerate(units):
        for unit in range(count):
            stride = 2 if stage > 0 and unit == 0 else 1
            net = _unit(layers, net, base_depth * 2**stage, stride, f"{stage + 2}{unit_letters(unit, count)}")
    net = layers.global_average_pool(net, "avg_pool", keepdims=True)
    net = layers.flatten(net, "flatten")
    if include_top and num_classes:
        net = layers.dense(net, num_classes, f"fc{num_classes}", final_activation)
    model = quiet_import_module("keras").Model(inputs, net, name=variant)
    model.trainable = trainable
    return model


def unit_letters(unit: int, count: int) -> str:
    """What the name of a unit ends with: ``a``, ``b``, ``c`` in a stage of three, else ``a``, ``b1``, ``b2`` and so on.

    Args:
        unit: its place in the stage, from 0.
        count: the stage's number of units.
    """
    if count <= LETTERED_UNITS:
        return "abc"[unit]
    return f"b{unit}" if unit else "a"


def _conv(
    layers: LayerMaker,
    net: keras.KerasTensor,
    filters: int,
    size: int,
    conv: str,
    suffix: str,
    strides: int = 1,
) -> keras.KerasTensor:
    """A convolution, its batch norm and its Scale; ``suffix`` is what the names of the last two end with."""
    separator = "_" if suffix == "conv1" else ""
    net = layers.conv(net, filters, size, conv, strides=strides, use_bias=False)
    net = layers.batch_norm(net, f"bn{separator}{suffix}")
    scale = scale_layer()(axis=layers.channel_axis, dtype=layers.dtype, name=f"scale{separator}{suffix}")
    scaled: keras.KerasTensor = scale(net)
    return scaled


def _unit(layers: LayerMaker, inputs: keras.KerasTensor, depth: int, stride: int, name: str) -> keras.KerasTensor:
    shortcut = inputs
    if name.endswith("a"):
        shortcut = _conv(layers, inputs, 4 * depth, 1, f"res{name}_branch1", f"{name}_branch1", stride)
    net = _conv(layers, inputs, depth, 1, f"res{name}_branch2a", f"{name}_branch2a", stride)
    net = layers.relu(net, f"res{name}_branch2a_relu")
    net = layers.zero_pad(net, 1, f"res{name}_branch2b_zeropadding")
    net = _conv(layers, net, depth, 3, f"res{name}_branch2b", f"{name}_branch2b")
    net = layers.relu(net, f"res{name}_branch2b_relu")
    net = _conv(layers, net, 4 * depth, 1, f"res{name}_branch2c", f"{name}_branch2c")
    return layers.relu(layers.add([net, shortcut], f"res{name}"), f"res{name}_relu")


def end_points(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """The end points by the names that family resnet_v1 has for them, in network order.

    slim strides in the last unit of a block where this network strides in the first of the next. That computes the
    same, and the end points of the last unit are subsampled here, which gives what slim has there.

    Args:
        model: a model of ``build``.
    """
    names = {layer.name for layer in model.layers}
    points: dict[str, keras.KerasTensor | None] = {"conv1": layer_output(model, "conv1_relu")}
    stages = [_stage_units(names, stage) for stage in range(2, 6)]
    for block, units in enumerate(filter(None, stages), 1):
        for unit, name in enumerate(units, 1):
            stride = 2 if unit == len(units) and block < len(stages) and stages[block] else 1
            points |= _unit_end_points(model, f"block{block}/unit_{unit}/bottleneck_v1", name, stride)
        points[f"block{block}"] = points[f"block{block}/unit_{len(units)}/bottleneck_v1"]
    points["global_pool"] = layer_output(model, "flatten")
    return {name: tensor for name, tensor in points.items() if tensor is not None} | _classifier_end_points(model)


def _stage_units(names: set[str], stage: int) -> list[str]:
    count = sum(name.startswith(f"res{stage}") and name.endswith("_branch2a") for name in names)
    return [f"{stage}{unit_letters(unit, count)}" for unit in range(count)]


def _unit_end_points(model: keras.Model, point: str, name: str, stride: int) -> dict[str, keras.KerasTensor | None]:
    tapped = {
        f"{point}/shortcut": f"scale{name}_branch1",
        f"{point}/conv1": f"res{name}_branch2a_relu",
        f"{point}/conv2": f"res{name}_branch2b_relu",
        f"{point}/conv3": f"scale{name}_branch2c",
        point: f"res{name}_relu",
    }
    points = {key: layer_output(model, layer) for key, layer in tapped.items()}
    # slim strides the 3x3 convolution and the shortcut of this unit, so all but conv1 is small there.
    return {
        key: tensor if stride == 1 or tensor is None or key.endswith("/conv1") else tensor[:, ::stride, ::stride]
        for key, tensor in points.items()
    }


def _classifier_end_points(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """``logits`` and ``predictions``; logits that are hidden behind an activation are computed beside it."""
    keras = quiet_import_module("keras")
    last = model.layers[-1]
    if not last.name.startswith("fc"):
        return {}
    is_linear = last.activation is keras.activations.linear
    logits = last.output if is_linear else keras.ops.add(keras.ops.matmul(last.input, last.kernel), last.bias)
    return {"logits": logits, "predictions": keras.ops.softmax(logits) if is_linear else last.output}
