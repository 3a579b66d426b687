"""tensorpack's ImageNet ResNets as TF1 graphs, under tensorpack's variable names.

Written with plain TensorFlow operations after tensorpack's ``examples/ResNet``: layers ``W`` and ``b``, batch norm
below ``bn`` with the statistics called ``mean/EMA`` and ``variance/EMA``, every convolution without bias and padded
SAME, the stride on the 3x3 convolution of a group's first block. The modes ``resnet``, ``se`` and ``resnext32x4d`` are
told apart by widths, groups and gates. ``preact`` has batch norm and ReLU before a block's convolutions; a group's
first block takes its input as it is, because ``conv0`` and ``bnlast`` have activated it already.

The models converted from Caffe (``load-resnet.py``) have the same names and compute something else: they stride on the
first 1x1 and pad conv0 alike on both sides (``stride_on="conv1", padding="symmetric"``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resport.architectures.bottlenecks import Bottlenecks, Unit
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.plain_layers import batch_norm, variable
from resport.architectures.slim_network import SlimNetwork

if TYPE_CHECKING:
    import tensorflow as tf

BATCH_NORM_EPSILON = 1e-5


def build(
    variant: str,
    *,
    plan: Bottlenecks,
    preact: bool = False,
    num_classes: int | None,
    include_top: bool = True,
    input_size: tuple[int, int] | int | None = 224,
    batch_size: int | None = None,
    dtype: str = "float32",
    slim_points: bool = False,
) -> SlimNetwork:
    """Build a network in a graph of its own.

    Args:
        variant: name of the variant.
        plan: the blocks, and how they are computed.
        preact: batch norm and ReLU before the convolutions.
        num_classes: width of the logits; None for no classifier.
        include_top: False leaves the classifier out.
        input_size: height and width, one number for both, or None to leave them open.
        batch_size: images in a batch, or None to leave it open.
        dtype: ``float32`` or ``float64``.
        slim_points: name the end points as slim's ResNet v1 does, and give them its sizes.

    Raises:
        OptionError: an option that cannot be meant.
        MissingDependencyError: TensorFlow is not installed.
    """

    def network(images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        graph = _Graph(plan, {})
        logits = graph.network(images, preact, num_classes if include_top else None)
        return logits, _points_of_slim(graph.points, plan) if slim_points else graph.points

    return SlimNetwork(network, scope=variant, input_size=input_size, batch_size=batch_size, dtype=dtype)


@dataclass(frozen=True, slots=True)
class _Graph:
    """A graph being made, and the end points found so far."""

    plan: Bottlenecks
    points: dict[str, tf.Tensor] = field(default_factory=dict)

    def network(self, net: tf.Tensor, preact: bool, num_classes: int | None) -> tf.Tensor:
        tf = quiet_import_module("tensorflow")
        net = self.points["conv1"] = self.conv(net, self.plan.root_depth, 7, 2, "conv0")
        net = self.pool0(net)
        for block in self.plan.blocks():
            with tf.compat.v1.variable_scope(f"group{block[0].block - 1}"):
                for unit in block:
                    with tf.compat.v1.variable_scope(f"block{unit.number - 1}"):
                        net = self.preact_unit(net, unit) if preact else self.unit(net, unit)
                    self.points[unit.point] = net
                if preact:
                    with tf.compat.v1.variable_scope("bnlast"):
                        net = tf.nn.relu(self.batch_norm(net))
                self.points[f"block{block[0].block}"] = net
        net = self.points["global_pool"] = tf.reduce_mean(net, [1, 2])
        if num_classes:
            net = self.points["logits"] = self.dense(net, num_classes, "linear")
            self.points["predictions"] = tf.nn.softmax(net)
        return net

    def pool0(self, net: tf.Tensor) -> tf.Tensor:
        tf = quiet_import_module("tensorflow")
        if self.plan.pool1 == "same":
            return tf.nn.max_pool2d(net, 3, 2, "SAME")
        return tf.nn.max_pool2d(net, 3, 2, [[0, 0], [1, 1], [1, 1], [0, 0]])

    def unit(self, inputs: tf.Tensor, unit: Unit) -> tf.Tensor:
        tf = quiet_import_module("tensorflow")
        net = self.conv(inputs, unit.width, 1, unit.strides[0], "conv1")
        middle = self.conv(net, unit.width, 3, unit.strides[1], "conv2", groups=unit.groups)
        last = self.conv(middle, unit.depth, 1, 1, "conv3", relu=False)
        gate = self.gate(last, unit) if unit.squeezed else None
        shortcut = inputs
        if unit.inputs != unit.depth:
            shortcut = self.conv(inputs, unit.depth, 1, unit.stride, "convshortcut", relu=False)
            self.take(unit, shortcut=shortcut)
        self.take(unit, conv1=net, conv2=middle, conv3=last)
        if gate is not None:
            self.take(unit, se=gate)
            last = last * gate[:, None, None, :]
        return tf.nn.relu(last + shortcut)

    def gate(self, net: tf.Tensor, unit: Unit) -> tf.Tensor:
        """One factor for each channel: (batch, channels)."""
        tf = quiet_import_module("tensorflow")
        squeezed = tf.nn.relu(self.dense(tf.reduce_mean(net, [1, 2]), unit.squeezed or 1, "fc1"))
        return tf.nn.sigmoid(self.dense(squeezed, unit.depth, "fc2"))

    def preact_unit(self, inputs: tf.Tensor, unit: Unit) -> tf.Tensor:
        tf = quiet_import_module("tensorflow")
        activated = shortcut = inputs
        if unit.number > 1:
            with tf.compat.v1.variable_scope("preact"):
                activated = tf.nn.relu(self.batch_norm(inputs))
        net = self.conv(activated, unit.width, 1, unit.strides[0], "conv1")
        middle = self.conv(net, unit.width, 3, unit.strides[1], "conv2", groups=unit.groups)
        last = self.conv(middle, unit.depth, 1, 1, "conv3", batch_norm=False, relu=False)
        if unit.inputs != unit.depth:
            # A group's first block has no preact: its input comes activated, and the shortcut takes it so.
            shortcut = self.conv(inputs, unit.depth, 1, unit.stride, "convshortcut", batch_norm=False, relu=False)
            self.take(unit, shortcut=shortcut)
        self.take(unit, conv1=net, conv2=middle, conv3=last)
        return last + shortcut

    def take(self, unit: Unit, **values: tf.Tensor) -> None:
        """Keep end points of a unit."""
        self.points.update({f"{unit.point}/{name}": value for name, value in values.items()})

    def conv(
        self,
        net: tf.Tensor,
        filters: int,
        kernel_size: int,
        stride: int,
        scope: str,
        *,
        groups: int = 1,
        batch_norm: bool = True,
        relu: bool = True,
    ) -> tf.Tensor:
        tf = quiet_import_module("tensorflow")
        with tf.compat.v1.variable_scope(scope):
            kernel = variable("W", [kernel_size, kernel_size, net.shape[-1] // groups, filters], net)
            if self.plan.padding == "symmetric" and stride > 1:
                size = kernel_size // 2
                net = tf.nn.conv2d(net, kernel, stride, [[0, 0], [size, size], [size, size], [0, 0]])
            else:
                net = tf.nn.conv2d(net, kernel, stride, "SAME")
            net = self.batch_norm(net) if batch_norm else net
            return tf.nn.relu(net) if relu else net

    def batch_norm(self, net: tf.Tensor) -> tf.Tensor:
        tf = quiet_import_module("tensorflow")
        with tf.compat.v1.variable_scope("bn"):
            gamma, beta = (variable(name, [net.shape[-1]], net) for name in ("gamma", "beta"))
            mean, variance = (
                variable(name, [net.shape[-1]], net, trainable=False) for name in ("mean/EMA", "variance/EMA")
            )
        return batch_norm(net, gamma, beta, mean, variance, BATCH_NORM_EPSILON)

    def dense(self, net: tf.Tensor, units: int, scope: str) -> tf.Tensor:
        tf = quiet_import_module("tensorflow")
        with tf.compat.v1.variable_scope(scope):
            return tf.matmul(net, variable("W", [net.shape[-1], units], net)) + variable("b", [units], net)


def _points_of_slim(points: dict[str, tf.Tensor], plan: Bottlenecks) -> dict[str, tf.Tensor]:
    """The end points as slim has them, which strides in the last unit of a block and not in the first of the next."""
    points = dict(points)
    for block in plan.blocks()[:-1]:
        last = block[-1].point
        for name in (f"{last}/shortcut", f"{last}/conv2", f"{last}/conv3", last, f"block{block[-1].block}"):
            if name in points:
                points[name] = points[name][:, ::2, ::2]
    return {name.replace("/bottleneck", "/bottleneck_v1"): value for name, value in points.items()}
