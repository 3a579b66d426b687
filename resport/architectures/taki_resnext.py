"""taki0112's ResNeXt and SE-ResNeXt for CIFAR-10 as TF1 graphs, under the variable names of those scripts.

The scripts' convolutions and dense layers have no names: TensorFlow counted them through the session (``conv2d``,
``conv2d_1``, ..., ``dense_18``), so a variable's name tells when it was made and nothing else. Batch norms are named,
by stage, block and path, counted from 1 and 0. Written with plain TensorFlow operations: no bias anywhere, SAME
padding, batch norm with epsilon 0.001, shortcuts that average-pool and pad with channels of zeros on both sides.
ResNeXt strides on the first 1x1 of each path, SE-ResNeXt on its 3x3: with one set of names two functions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resport.architectures.bottlenecks import Bottlenecks, Unit
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.plain_layers import batch_norm, variable
from resport.architectures.slim_network import SlimNetwork
from resport.errors import OptionError

if TYPE_CHECKING:
    import tensorflow as tf

BATCH_NORM_EPSILON = 0.001


def build(
    variant: str,
    *,
    plan: Bottlenecks,
    epsilon: float = BATCH_NORM_EPSILON,
    num_classes: int | None,
    input_size: tuple[int, int] | int | None = 32,
    batch_size: int | None = None,
    dtype: str = "float32",
) -> SlimNetwork:
    """Build a network in a graph of its own.

    Args:
        variant: name of the variant.
        plan: the blocks; those of the one network that the scripts have.
        epsilon: of batch norm.
        num_classes: width of the logits.
        input_size: height and width, one number for both, or None to leave them open.
        batch_size: images in a batch, or None to leave it open.
        dtype: ``float32`` or ``float64``.

    Raises:
        OptionError: an option that cannot be meant.
        MissingDependencyError: TensorFlow is not installed.
    """
    if not plan.small_images or not num_classes:
        raise OptionError("the scripts have one network, for small images and with a classifier")

    def network(images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        graph = _Graph(plan, epsilon)
        return graph.network(images, num_classes), graph.points

    return SlimNetwork(network, scope=variant, input_size=input_size, batch_size=batch_size, dtype=dtype)


@dataclass(frozen=True, slots=True)
class _Graph:
    """A graph being made: the end points found so far, and how many layers of a kind were made."""

    plan: Bottlenecks
    epsilon: float
    points: dict[str, tf.Tensor] = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)

    def network(self, net: tf.Tensor, num_classes: int) -> tf.Tensor:
        tf = quiet_import_module("tensorflow")
        net = tf.nn.relu(self.batch_norm(self.conv(net, self.plan.root_depth, 3, 1), "first_layer_batch1"))
        self.points["conv1"] = net
        for stage in self.plan.blocks():
            for unit in stage:
                net = self.points[unit.point] = self.unit(net, unit)
            self.points[f"block{stage[0].block}"] = net
        net = self.points["global_pool"] = tf.reduce_mean(net, [1, 2])
        # The gates' dense layers have no name, and where there are gates the classifier has none either.
        name = self.count("dense") if self.plan.reduction else "linear"
        net = self.points["logits"] = self.dense(net, num_classes, name)
        self.points["predictions"] = tf.nn.softmax(net)
        return net

    def unit(self, inputs: tf.Tensor, unit: Unit) -> tf.Tensor:
        tf = quiet_import_module("tensorflow")
        block = f"layer_{unit.block}_{unit.number - 1}"
        first, second = [], []
        width = unit.width // unit.groups
        for path in range(unit.groups):
            name = f"split_{block}_splitN_{path}_batch"
            net = self.conv(inputs, width, 1, unit.strides[0])
            first.append(tf.nn.relu(self.batch_norm(net, f"{name}1")))
            net = self.conv(first[-1], width, 3, unit.strides[1])
            second.append(tf.nn.relu(self.batch_norm(net, f"{name}2")))
        joined = tf.concat(second, 3)
        last = self.batch_norm(self.conv(joined, unit.depth, 1, 1), f"trans_{block}_batch1")
        gate = self.gate(last, unit) if unit.squeezed else None
        shortcut = inputs
        if unit.stride > 1:
            before = (unit.depth - unit.inputs) // 2
            channels = [before, unit.depth - unit.inputs - before]
            pooled = tf.nn.avg_pool2d(inputs, 2, unit.stride, "SAME")
            shortcut = tf.pad(pooled, [[0, 0], [0, 0], [0, 0], channels])
            self.points[f"{unit.point}/shortcut"] = shortcut
        self.points[f"{unit.point}/conv1"] = tf.concat(first, 3)
        self.points[f"{unit.point}/conv2"] = joined
        self.points[f"{unit.point}/conv3"] = last
        if gate is not None:
            self.points[f"{unit.point}/se"] = gate
            last = last * gate[:, None, None, :]
        return tf.nn.relu(last + shortcut)

    def gate(self, net: tf.Tensor, unit: Unit) -> tf.Tensor:
        """One factor for each channel: (batch, channels)."""
        tf = quiet_import_module("tensorflow")
        squeezed = tf.nn.relu(self.dense(tf.reduce_mean(net, [1, 2]), unit.squeezed or 1, self.count("dense")))
        return tf.nn.sigmoid(self.dense(squeezed, unit.depth, self.count("dense")))

    def count(self, kind: str) -> str:
        """The name that TensorFlow gives to the next nameless layer of a kind."""
        number = self.made[kind]
        self.made[kind] += 1
        return f"{kind}_{number}" if number else kind

    def conv(self, net: tf.Tensor, filters: int, kernel_size: int, stride: int) -> tf.Tensor:
        tf = quiet_import_module("tensorflow")
        shape = [kernel_size, kernel_size, net.shape[-1], filters]
        return tf.nn.conv2d(net, variable(f"{self.count('conv2d')}/kernel", shape, net), stride, "SAME")

    def dense(self, net: tf.Tensor, units: int, name: str) -> tf.Tensor:
        return quiet_import_module("tensorflow").matmul(net, variable(f"{name}/kernel", [net.shape[-1], units], net))

    def batch_norm(self, net: tf.Tensor, scope: str) -> tf.Tensor:
        beta, gamma, mean, variance = (
            variable(f"{scope}/{name}", [net.shape[-1]], net, trainable=not name.startswith("moving_"))
            for name in ("beta", "gamma", "moving_mean", "moving_variance")
        )
        return batch_norm(net, gamma, beta, mean, variance, self.epsilon)
