"""ResNet v1 and v2 as Keras models, with keras.applications' layer names and layer order.

Names and order are the interface: published HDF5 files are loaded by either. The one difference from keras.applications
is pool1. Its models pad it with zeros on all sides, which shifts the window by a pixel on even sizes (and lets a zero
win over negative values in v2); no change of weights makes up for it. Here pool1 pads as TensorFlow's SAME does unless
``pool1="padded"`` asks for the stock graph.

v2 strides where slim does, in the last unit of a block. v1 strides as Caffe did, in the first 1x1 convolutions of the
next block. That computes the same function, but the last unit of a block still has the larger map: its end points are
subsampled, which gives what slim has there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_blocks import LayerMaker, classifier_end_points, layer_output
from resport.architectures.network import check_option, height_and_width
from resport.architectures.output_stride import UnitStep, blocks_output_stride, schedule_units
from resport.errors import OptionError

if TYPE_CHECKING:
    import keras

ROOT_DEPTH = 64
POOL1 = ("same", "padded")


def build(
    variant: str,
    *,
    version: int,
    units: Sequence[int],
    base_depth: int = 64,
    num_classes: int | None,
    include_top: bool = True,
    input_size: tuple[int, int] | int | None = 224,
    channels: int | None = None,
    batch_size: int | None = None,
    dtype: str = "float32",
    data_format: str = "channels_last",
    trainable: bool = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    include_root_block: bool = True,
    pool1: str = "same",
    classifier_activation: str | None = "softmax",
) -> keras.Model:
    """Build a Keras ResNet.

    Args:
        variant: name of the variant; the model's name.
        version: 1 or 2.
        units: units in each block.
        base_depth: bottleneck channels of the first block.
        num_classes: width of the classifier; None for no classifier.
        include_top: False leaves the classifier out.
        input_size: height and width, one number for both, or None to leave them open.
        channels: channels of the input; 3, or 64 without the root block.
        batch_size: images in a batch, or None to leave it open.
        dtype: ``float32`` or ``float64``, of every layer.
        data_format: ``channels_last`` or ``channels_first``, of input and maps; the weights are the same.
        trainable: False freezes the model. Whether batch norm uses the batch's own statistics is said in the call.
        global_pool: average over the map before the classifier; without it the classifier runs on the map.
        output_stride: input size over the size of the last map; None takes every stride.
        include_root_block: begin with conv1 and pool1.
        pool1: ``same``, or ``padded`` for keras.applications' own.
        classifier_activation: ``softmax``, or None for logits.

    Raises:
        OptionError: an option that cannot be meant.
        MissingDependencyError: Keras or its backend is not installed.
    """
    check_option("pool1", pool1, POOL1)
    layers = LayerMaker(dtype, data_format=data_format)
    if include_top and num_classes and not global_pool and data_format == "channels_first":
        raise OptionError("a classifier on the map takes its last axis for the channels", got=data_format)
    channels = channels or (3 if include_root_block else ROOT_DEPTH)
    inputs = net = layers.input((*height_and_width(input_size), channels), batch_size)
    if include_root_block:
        output_stride = blocks_output_stride(output_stride)
        net = _root(layers, net, version, pool1)
    last = len(units) - 1
    strides = [[1] * (count - 1) + [1 if index == last else 2] for index, count in enumerate(units)]
    stack = {1: _stack_v1, 2: _stack_v2}[version]
    net = stack(layers, net, schedule_units(strides, output_stride), base_depth)
    if global_pool:
        net = layers.global_average_pool(net, "avg_pool")
    if include_top and num_classes:
        net = layers.dense(net, num_classes, "predictions", classifier_activation)
    model = quiet_import_module("keras").Model(inputs, net, name=variant)
    model.trainable = trainable
    return model


def _root(layers: LayerMaker, net: keras.KerasTensor, version: int, pool1: str) -> keras.KerasTensor:
    net = layers.zero_pad(net, 3, "conv1_pad")
    net = layers.conv(net, ROOT_DEPTH, 7, "conv1_conv", strides=2)
    if version == 1:
        net = layers.relu(layers.batch_norm(net, "conv1_bn"), "conv1_relu")
    if pool1 == "same":
        return layers.max_pool(net, 3, 2, "pool1_pool", padding="same")
    return layers.max_pool(layers.zero_pad(net, 1, "pool1_pad"), 3, 2, "pool1_pool")


def _stack_v1(
    layers: LayerMaker, net: keras.KerasTensor, steps: Sequence[Sequence[UnitStep]], base_depth: int
) -> keras.KerasTensor:
    entry = 1
    for block, block_steps in enumerate(steps):
        for unit, step in enumerate(block_steps):
            name = f"conv{block + 2}_block{unit + 1}"
            net = _unit_v1(layers, net, base_depth * 2**block, entry, step.rate, name)
            # What slim's last unit strides, the first unit of the next block does here.
            entry = step.stride
    return net


def _unit_v1(
    layers: LayerMaker, inputs: keras.KerasTensor, depth: int, stride: int, rate: int, name: str
) -> keras.KerasTensor:
    shortcut = inputs
    if inputs.shape[layers.channel_axis] != 4 * depth:
        shortcut = layers.conv(inputs, 4 * depth, 1, f"{name}_0_conv", strides=stride)
        shortcut = layers.batch_norm(shortcut, f"{name}_0_bn")
    net = layers.conv(inputs, depth, 1, f"{name}_1_conv", strides=stride)
    net = layers.relu(layers.batch_norm(net, f"{name}_1_bn"), f"{name}_1_relu")
    net = layers.conv(net, depth, 3, f"{name}_2_conv", rate=rate, padding="same")
    net = layers.relu(layers.batch_norm(net, f"{name}_2_bn"), f"{name}_2_relu")
    net = layers.batch_norm(layers.conv(net, 4 * depth, 1, f"{name}_3_conv"), f"{name}_3_bn")
    return layers.relu(layers.add([shortcut, net], f"{name}_add"), f"{name}_out")


def _stack_v2(
    layers: LayerMaker, net: keras.KerasTensor, steps: Sequence[Sequence[UnitStep]], base_depth: int
) -> keras.KerasTensor:
    n_pools = 0
    for block, block_steps in enumerate(steps):
        for unit, step in enumerate(block_steps):
            # keras.applications leaves these pools nameless; this is what Keras calls them in a fresh process.
            pool = f"max_pooling2d_{n_pools}" if n_pools else "max_pooling2d"
            net = _unit_v2(layers, net, base_depth * 2**block, step, f"conv{block + 2}_block{unit + 1}", pool)
            n_pools += step.stride > 1
    return layers.relu(layers.batch_norm(net, "post_bn"), "post_relu")


def _unit_v2(
    layers: LayerMaker, inputs: keras.KerasTensor, depth: int, step: UnitStep, name: str, pool: str
) -> keras.KerasTensor:
    preact = layers.relu(layers.batch_norm(inputs, f"{name}_preact_bn"), f"{name}_preact_relu")
    if inputs.shape[layers.channel_axis] != 4 * depth:
        shortcut = layers.conv(preact, 4 * depth, 1, f"{name}_0_conv", strides=step.stride)
    elif step.stride > 1:
        shortcut = layers.max_pool(inputs, 1, step.stride, pool)
    else:
        shortcut = inputs
    net = layers.conv(preact, depth, 1, f"{name}_1_conv", use_bias=False)
    net = layers.relu(layers.batch_norm(net, f"{name}_1_bn"), f"{name}_1_relu")
    net = layers.zero_pad(net, step.rate, f"{name}_2_pad")
    net = layers.conv(net, depth, 3, f"{name}_2_conv", strides=step.stride, rate=step.rate, use_bias=False)
    net = layers.relu(layers.batch_norm(net, f"{name}_2_bn"), f"{name}_2_relu")
    net = layers.conv(net, 4 * depth, 1, f"{name}_3_conv")
    return layers.add([shortcut, net], f"{name}_out")


def end_points(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """The end points of a Keras ResNet by slim's names without the scope, in network order.

    Args:
        model: a model of ``build``, or one of keras.applications.

    Returns:
        Symbolic tensors; each has the meaning, and the size, that slim's end point of this name has.
    """
    points: dict[str, keras.KerasTensor] = {}
    is_v2 = layer_output(model, "post_bn") is not None
    conv1 = layer_output(model, "conv1_conv" if is_v2 else "conv1_relu")
    if conv1 is not None:
        points["conv1"] = conv1
    names = {layer.name for layer in model.layers}
    block = 1
    while f"conv{block + 1}_block1_out" in names:
        stride = 1 if is_v2 else _entry_stride(model, block + 1)
        unit = 1
        while f"conv{block + 1}_block{unit}_out" in names:
            is_last = f"conv{block + 1}_block{unit + 1}_out" not in names
            points |= _unit_end_points(model, block, unit, is_v2, stride if is_last else 1)
            unit += 1
        points[f"block{block}"] = next(reversed(points.values()))
        block += 1
    return points | classifier_end_points(model)


def _entry_stride(model: keras.Model, block: int) -> int:
    name = f"conv{block + 1}_block1_1_conv"
    return next((int(layer.strides[0]) for layer in model.layers if layer.name == name), 1)


def _unit_end_points(
    model: keras.Model, block: int, unit: int, is_v2: bool, stride: int
) -> dict[str, keras.KerasTensor]:
    layer, point = f"conv{block + 1}_block{unit}", f"block{block}/unit_{unit}/bottleneck_v{2 if is_v2 else 1}"
    linear = "conv" if is_v2 else "bn"
    tapped = {
        f"{point}/shortcut": f"{layer}_0_{linear}",
        f"{point}/conv1": f"{layer}_1_relu",
        f"{point}/conv2": f"{layer}_2_relu",
        f"{point}/conv3": f"{layer}_3_{linear}",
        point: f"{layer}_out",
    }
    points = {name: layer_output(model, tap) for name, tap in tapped.items()}
    # slim strides the 3x3 convolution and the shortcut of this unit, so all but conv1 is small there.
    return {
        name: tensor if stride == 1 or name.endswith("/conv1") else tensor[:, ::stride, ::stride]
        for name, tensor in points.items()
        if tensor is not None
    }
