"""SE-ResNet, ResNeXt and SE-ResNeXt as slim graphs: slim's layers and scopes, strides in the first unit of a block.

Nobody published slim checkpoints of these networks, so the names follow slim's ResNets: ``block1/unit_1/bottleneck/
conv1/BatchNorm/gamma``; the gate is ``se/fc1`` and ``se/fc2``, a path of its own is ``path_1/conv1``. slim has no
grouped convolution: its variable is made in the scope that slim would have used, and called as slim calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resport.architectures.bottlenecks import Bottlenecks, Unit
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.slim_blocks import classifier, conv2d_same, resnet_arg_scope
from resport.architectures.slim_compat import import_slim
from resport.architectures.slim_network import SlimNetwork

if TYPE_CHECKING:
    import tensorflow as tf

_LINEAR: dict[str, Any] = {"activation_fn": None}


def build(
    variant: str,
    *,
    plan: Bottlenecks,
    epsilon: float = 1e-5,
    num_classes: int | None,
    include_top: bool = True,
    input_size: tuple[int, int] | int | None = 224,
    batch_size: int | None = None,
    dtype: str = "float32",
    is_training: bool = False,
    scope: str | None = None,
) -> SlimNetwork:
    """Build a network in a graph of its own.

    Args:
        variant: name of the variant.
        plan: the blocks, and how they are computed.
        epsilon: of batch norm.
        num_classes: width of the logits; None for no classifier.
        include_top: False leaves the classifier out.
        input_size: height and width, one number for both, or None to leave them open.
        batch_size: images in a batch, or None to leave it open.
        dtype: ``float32`` or ``float64``.
        is_training: whether batch norm uses the batch's own statistics.
        scope: variable scope; the variant's name if None.

    Raises:
        OptionError: an option that cannot be meant.
        MissingDependencyError: TensorFlow or tf_slim is not installed.
    """
    slim, tf1 = import_slim(), quiet_import_module("tensorflow").compat.v1
    scope = scope or variant

    def network(images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        points: dict[str, tf.Tensor] = {}
        with (
            slim.arg_scope(resnet_arg_scope(dtype=dtype, batch_norm_epsilon=epsilon)),
            slim.arg_scope([slim.batch_norm], is_training=is_training),
            tf1.variable_scope(scope),
        ):
            net = points["conv1"] = _root(images, plan)
            if not plan.small_images:
                net = _pool1(net, plan.pool1)
            for block in plan.blocks():
                for unit in block:
                    with tf1.variable_scope(unit.point):
                        net = _unit(net, unit, plan, points)
                points[f"block{block[0].block}"] = net
            bias = {"biases_initializer": None} if plan.small_images else {}
            with slim.arg_scope([slim.conv2d], **bias):
                net = classifier(net, points, scope, num_classes if include_top else None, True, True)
        return net, points

    return SlimNetwork(network, scope=scope, input_size=input_size, batch_size=batch_size, dtype=dtype)


def _root(images: tf.Tensor, plan: Bottlenecks) -> tf.Tensor:
    kernel_size, stride = (3, 1) if plan.small_images else (7, 2)
    return _conv(images, plan.root_depth, kernel_size, stride, plan.padding, "conv1")


def _pool1(net: tf.Tensor, pool1: str) -> tf.Tensor:
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    if pool1 == "same":
        return slim.max_pool2d(net, 3, stride=2, scope="pool1")
    padded = tf.pad(net, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return slim.max_pool2d(padded, 3, stride=2, padding="VALID", scope="pool1")


def _conv(
    net: tf.Tensor, filters: int, kernel_size: int, stride: int, padding: str, scope: str, **arguments: Any
) -> tf.Tensor:
    """A convolution; without further arguments with batch norm and ReLU."""
    slim = import_slim()
    with slim.arg_scope([slim.conv2d], **arguments):
        if padding == "symmetric":
            return conv2d_same(net, filters, kernel_size, stride, scope=scope)
        return slim.conv2d(net, filters, kernel_size, stride=stride, padding="SAME", scope=scope)


def _grouped_conv(net: tf.Tensor, unit: Unit, padding: str, scope: str) -> tf.Tensor:
    """A grouped 3x3 convolution with batch norm and ReLU, under slim's names."""
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    stride = unit.strides[1]
    with tf.compat.v1.variable_scope(scope):
        weights = slim.model_variable(
            "weights",
            shape=[3, 3, unit.width // unit.groups, unit.width],
            dtype=net.dtype.base_dtype,
            initializer=slim.variance_scaling_initializer(),
            regularizer=slim.l2_regularizer(0.0001),
        )
        if padding == "symmetric" and stride > 1:
            net = tf.pad(net, [[0, 0], [1, 1], [1, 1], [0, 0]])
            net = tf.nn.conv2d(net, weights, stride, "VALID")
        else:
            net = tf.nn.conv2d(net, weights, stride, "SAME")
        return tf.nn.relu(slim.batch_norm(net))


def _unit(net: tf.Tensor, unit: Unit, plan: Bottlenecks, points: dict[str, tf.Tensor]) -> tf.Tensor:
    tf = quiet_import_module("tensorflow")
    shortcut = _shortcut(net, unit, plan, points)
    transform = {"split": _split, "concat": _concat}.get(plan.form, _whole)
    net = points[f"{unit.point}/conv3"] = transform(net, unit, plan, points)
    if unit.squeezed:
        gate = points[f"{unit.point}/se"] = _gate(net, unit, bias=not plan.small_images)
        net = net * gate
    net = points[unit.point] = tf.nn.relu(shortcut + net)
    return net


def _shortcut(net: tf.Tensor, unit: Unit, plan: Bottlenecks, points: dict[str, tf.Tensor]) -> tf.Tensor:
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    if unit.inputs == unit.depth and unit.stride == 1:
        return net
    if plan.small_images:
        pooled = slim.avg_pool2d(net, 2, stride=unit.stride, padding="SAME", scope="shortcut")
        before = (unit.depth - unit.inputs) // 2
        net = tf.pad(pooled, [[0, 0], [0, 0], [0, 0], [before, unit.depth - unit.inputs - before]])
    else:
        net = _conv(net, unit.depth, 1, unit.stride, plan.padding, "shortcut", **_LINEAR)
    points[f"{unit.point}/shortcut"] = net
    return net


def _whole(net: tf.Tensor, unit: Unit, plan: Bottlenecks, points: dict[str, tf.Tensor]) -> tf.Tensor:
    """All paths in one convolution after the other."""
    net = points[f"{unit.point}/conv1"] = _conv(net, unit.width, 1, unit.strides[0], plan.padding, "conv1")
    if unit.groups > 1 and plan.form == "grouped":
        net = _grouped_conv(net, unit, plan.padding, "conv2")
    else:
        net = _conv(net, unit.width, 3, unit.strides[1], plan.padding, "conv2")
    points[f"{unit.point}/conv2"] = net
    return _conv(net, unit.depth, 1, 1, plan.padding, "conv3", **_LINEAR)


def _paths(net: tf.Tensor, unit: Unit, plan: Bottlenecks, points: dict[str, tf.Tensor]) -> list[tf.Tensor]:
    """The first two convolutions of every path."""
    tf = quiet_import_module("tensorflow")
    width = unit.width // unit.groups
    first, second = [], []
    for path in range(1, unit.groups + 1):
        with tf.compat.v1.variable_scope(f"path_{path}"):
            first.append(_conv(net, width, 1, unit.strides[0], plan.padding, "conv1"))
            second.append(_conv(first[-1], width, 3, unit.strides[1], plan.padding, "conv2"))
    points[f"{unit.point}/conv1"] = tf.concat(first, 3)
    points[f"{unit.point}/conv2"] = tf.concat(second, 3)
    return second


def _concat(net: tf.Tensor, unit: Unit, plan: Bottlenecks, points: dict[str, tf.Tensor]) -> tf.Tensor:
    """The paths concatenated in front of the last convolution."""
    _paths(net, unit, plan, points)
    return _conv(points[f"{unit.point}/conv2"], unit.depth, 1, 1, plan.padding, "conv3", **_LINEAR)


def _split(net: tf.Tensor, unit: Unit, plan: Bottlenecks, points: dict[str, tf.Tensor]) -> tf.Tensor:
    """The last convolution in every path too, and their sum; batch norm comes after it."""
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    linear = {**_LINEAR, "normalizer_fn": None, "biases_initializer": None}
    ends = []
    for path, value in enumerate(_paths(net, unit, plan, points), 1):
        with tf.compat.v1.variable_scope(f"path_{path}"):
            ends.append(_conv(value, unit.depth, 1, 1, plan.padding, "conv3", **linear))
    with tf.compat.v1.variable_scope("conv3"):
        return slim.batch_norm(tf.add_n(ends))


def _gate(net: tf.Tensor, unit: Unit, bias: bool) -> tf.Tensor:
    """One factor for each channel: (batch, 1, 1, channels)."""
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    arguments = {} if bias else {"biases_initializer": None}
    with tf.compat.v1.variable_scope("se"):
        pooled = tf.reduce_mean(net, [1, 2])
        squeezed = slim.fully_connected(pooled, unit.squeezed, scope="fc1", **arguments)
        gate = slim.fully_connected(squeezed, unit.depth, activation_fn=tf.nn.sigmoid, scope="fc2", **arguments)
        return gate[:, None, None, :]
