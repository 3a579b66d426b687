"""SE-ResNet, ResNeXt and SE-ResNeXt as Keras models of stock layers, with keras.applications' way of naming.

Layers are called as in keras.applications' ResNets (``conv2_block1_1_conv``), with ``se_fc1`` and ``se_fc2`` for the
gate and ``path1_1_conv`` for a path of its own. Convolutions have no bias, as in all published weights of these
networks. They stride in the first unit of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resport.architectures.bottlenecks import Bottlenecks, Unit
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_blocks import (
    BATCH_NORM_EPSILON,
    LayerMaker,
    classifier_end_points,
    is_channels_first,
)
from resport.architectures.network import height_and_width

if TYPE_CHECKING:
    import keras


def build(
    variant: str,
    *,
    plan: Bottlenecks,
    epsilon: float = BATCH_NORM_EPSILON,
    num_classes: int | None,
    include_top: bool = True,
    input_size: tuple[int, int] | int | None = 224,
    batch_size: int | None = None,
    dtype: str = "float32",
    trainable: bool = True,
    data_format: str = "channels_last",
    classifier_activation: str | None = "softmax",
) -> keras.Model:
    """Build a Keras model.

    Args:
        variant: name of the variant; the model's name.
        plan: the blocks, and how they are computed.
        epsilon: of batch norm.
        num_classes: width of the classifier; None for no classifier.
        include_top: False leaves the classifier out.
        input_size: height and width, one number for both, or None to leave them open.
        batch_size: images in a batch, or None to leave it open.
        dtype: ``float32`` or ``float64``, of every layer.
        trainable: False freezes the model.
        data_format: ``channels_last`` or ``channels_first``, of input and maps; the weights are the same.
        classifier_activation: ``softmax``, or None for logits.

    Raises:
        OptionError: an option that cannot be meant.
        MissingDependencyError: Keras or its backend is not installed.
    """
    layers = LayerMaker(dtype, epsilon, data_format)
    inputs = layers.input((*height_and_width(input_size), 3), batch_size)
    network = _Network(layers, plan)
    net = network.root(inputs)
    for block in plan.blocks():
        for unit in block:
            net = network.unit(net, unit)
    net = layers.global_average_pool(net, "avg_pool")
    if include_top and num_classes:
        net = layers.dense(net, num_classes, "predictions", classifier_activation, use_bias=not plan.small_images)
    model = quiet_import_module("keras").Model(inputs, net, name=variant)
    model.trainable = trainable
    return model


@dataclass(frozen=True, slots=True)
class _Network:
    """The parts of one network, each applied to a map."""

    layers: LayerMaker
    plan: Bottlenecks

    def root(self, net: keras.KerasTensor) -> keras.KerasTensor:
        layers, plan = self.layers, self.plan
        kernel_size, stride = (3, 1) if plan.small_images else (7, 2)
        net = self.conv(net, plan.root_depth, kernel_size, stride, "conv1")
        if plan.small_images:
            return net
        if plan.pool1 == "padded":
            return layers.max_pool(layers.zero_pad(net, 1, "pool1_pad"), 3, 2, "pool1_pool")
        return layers.max_pool(net, 3, 2, "pool1_pool", padding="same")

    def unit(self, inputs: keras.KerasTensor, unit: Unit) -> keras.KerasTensor:
        name = f"conv{unit.block + 1}_block{unit.number}"
        transform = {"split": self.split, "concat": self.concat}.get(self.plan.form, self.whole)
        net = transform(inputs, unit, name)
        shortcut = self.shortcut(inputs, unit, f"{name}_0")
        if unit.squeezed:
            net = self.layers.scale(net, self.gate(net, unit, f"{name}_se"), f"{name}_scale")
        return self.layers.relu(self.layers.add([shortcut, net], f"{name}_add"), f"{name}_out")

    def conv(
        self,
        net: keras.KerasTensor,
        filters: int,
        kernel_size: int,
        stride: int,
        name: str,
        *,
        groups: int = 1,
        relu: bool = True,
    ) -> keras.KerasTensor:
        """A convolution with batch norm and perhaps ReLU: layers ``_conv``, ``_bn`` and ``_relu``."""
        padding = "same"
        if self.plan.padding == "symmetric" and stride > 1 and kernel_size > 1:
            net, padding = self.layers.zero_pad(net, kernel_size // 2, f"{name}_pad"), "valid"
        net = self.layers.conv(
            net, filters, kernel_size, f"{name}_conv", strides=stride, padding=padding, use_bias=False, groups=groups
        )
        net = self.layers.batch_norm(net, f"{name}_bn")
        return self.layers.relu(net, f"{name}_relu") if relu else net

    def shortcut(self, net: keras.KerasTensor, unit: Unit, name: str) -> keras.KerasTensor:
        if unit.inputs == unit.depth and unit.stride == 1:
            return net
        if self.plan.small_images:
            net = self.layers.average_pool(net, 2, unit.stride, f"{name}_pool")
            before = (unit.depth - unit.inputs) // 2
            return self.layers.pad_channels(net, before, unit.depth - unit.inputs - before, f"{name}_pad")
        return self.conv(net, unit.depth, 1, unit.stride, name, relu=False)

    def whole(self, net: keras.KerasTensor, unit: Unit, name: str) -> keras.KerasTensor:
        """All paths in one convolution after the other."""
        groups = unit.groups if self.plan.form == "grouped" else 1
        net = self.conv(net, unit.width, 1, unit.strides[0], f"{name}_1")
        net = self.conv(net, unit.width, 3, unit.strides[1], f"{name}_2", groups=groups)
        return self.conv(net, unit.depth, 1, 1, f"{name}_3", relu=False)

    def paths(self, inputs: keras.KerasTensor, unit: Unit, name: str) -> list[keras.KerasTensor]:
        """The first two convolutions of every path."""
        ends = []
        for path in range(1, unit.groups + 1):
            net = self.conv(inputs, unit.width // unit.groups, 1, unit.strides[0], f"{name}_path{path}_1")
            ends.append(self.conv(net, unit.width // unit.groups, 3, unit.strides[1], f"{name}_path{path}_2"))
        return ends

    def concat(self, inputs: keras.KerasTensor, unit: Unit, name: str) -> keras.KerasTensor:
        """The paths concatenated in front of the last convolution."""
        net = self.layers.concatenate(self.paths(inputs, unit, name), f"{name}_concat")
        return self.conv(net, unit.depth, 1, 1, f"{name}_3", relu=False)

    def split(self, inputs: keras.KerasTensor, unit: Unit, name: str) -> keras.KerasTensor:
        """The last convolution in every path too, and their sum; batch norm comes after it."""
        ends = [
            self.layers.conv(net, unit.depth, 1, f"{name}_path{path}_3_conv", use_bias=False)
            for path, net in enumerate(self.paths(inputs, unit, name), 1)
        ]
        return self.layers.batch_norm(self.layers.add(ends, f"{name}_sum"), f"{name}_3_bn")

    def gate(self, net: keras.KerasTensor, unit: Unit, name: str) -> keras.KerasTensor:
        """One factor for each channel: (batch, channels)."""
        bias = not self.plan.small_images
        net = self.layers.global_average_pool(net, f"{name}_pool")
        net = self.layers.dense(net, unit.squeezed or 1, f"{name}_fc1", "relu", bias)
        return self.layers.dense(net, unit.depth, f"{name}_fc2", "sigmoid", bias)


def end_points(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """The end points of a model of ``build`` by the names that all dialects share, in network order.

    Maps have their channels last, whatever the model's layout.
    """
    outputs = {layer.name: layer.output for layer in model.layers}
    channels_first = is_channels_first(model)
    points = {"conv1": outputs["conv1_relu"]}
    block = 1
    while f"conv{block + 1}_block1_out" in outputs:
        unit = 1
        while f"conv{block + 1}_block{unit}_out" in outputs:
            points |= _unit_end_points(outputs, block, unit, channel_axis=1 if channels_first else 3)
            unit += 1
        points[f"block{block}"] = next(reversed(points.values()))
        block += 1
    if channels_first:
        moveaxis = quiet_import_module("keras").ops.moveaxis
        points = {name: moveaxis(value, 1, -1) if len(value.shape) == 4 else value for name, value in points.items()}
    return points | classifier_end_points(model)


def _unit_end_points(
    outputs: dict[str, keras.KerasTensor], block: int, unit: int, channel_axis: int
) -> dict[str, keras.KerasTensor]:
    layer, point = f"conv{block + 1}_block{unit}", f"block{block}/unit_{unit}/bottleneck"
    tapped = {
        f"{point}/shortcut": (f"{layer}_0_bn", f"{layer}_0_pad_out", f"{layer}_0_pad"),
        f"{point}/conv1": (f"{layer}_1_relu",),
        f"{point}/conv2": (f"{layer}_2_relu",),
        f"{point}/conv3": (f"{layer}_3_bn",),
        f"{point}/se": (f"{layer}_se_fc2",),
        point: (f"{layer}_out",),
    }
    points = {}
    for name, taps in tapped.items():
        found = next((outputs[tap] for tap in taps if tap in outputs), None)
        if found is None and name.endswith(("/conv1", "/conv2")):
            found = _joined_paths(outputs, f"{layer}_path", f"_{name[-1]}_relu", channel_axis)
        if found is not None:
            points[name] = found
    return points


def _joined_paths(
    outputs: dict[str, keras.KerasTensor], before: str, after: str, channel_axis: int
) -> keras.KerasTensor:
    paths = [outputs[name] for name in (f"{before}{path}{after}" for path in range(1, len(outputs))) if name in outputs]
    return quiet_import_module("keras").ops.concatenate(paths, axis=channel_axis)
