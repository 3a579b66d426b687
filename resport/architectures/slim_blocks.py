"""The pieces that slim's residual networks are made of.

They follow tf_slim's ``resnet_utils`` in names, arguments and scopes, because a TF1 variable is named by the scopes it
is made in: slim's own layers in slim's own scopes give slim's names. Two choices decide the numbers. A strided 3x3 or
7x7 convolution pads explicitly (``conv2d_same``), so that its output is the stride-1 output subsampled, on even sizes
too; pool1 pads as TensorFlow's SAME does. The end-point collection is handed down as an argument, not through an arg
scope on the units: decorating them would import tf_slim with the module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.output_stride import schedule_units
from resport.architectures.slim_compat import import_slim

if TYPE_CHECKING:
    import tensorflow as tf

FUSED_MIN_EPSILON = 1.001e-5
"""What TensorFlow 1's fused batch norm raised every smaller epsilon to, for cuDNN. So slim's 1e-5 was this when the
published networks were trained, and keras.applications states it outright; today's TensorFlow takes 1e-5 as it is."""


class Block(NamedTuple):
    """A run of residual units under one scope.

    Attributes:
        scope: name of the block.
        unit_fn: makes one unit: ``unit_fn(net, rate=..., **arguments)``.
        args: keyword arguments of each unit, ``stride`` among them.
    """

    scope: str
    unit_fn: Callable[..., tf.Tensor]
    args: Sequence[Mapping[str, Any]]


def bottleneck_block(
    scope: str, unit_fn: Callable[..., tf.Tensor], base_depth: int, num_units: int, stride: int
) -> Block:
    """A block of bottleneck units, four times as deep as their bottleneck; the last unit takes the stride.

    Args:
        scope: name of the block.
        unit_fn: the unit.
        base_depth: channels of the bottleneck.
        num_units: number of units.
        stride: stride of the last unit; the others have 1.
    """
    sizes = {"depth": base_depth * 4, "depth_bottleneck": base_depth}
    strides = [1] * (num_units - 1) + [stride]
    return Block(scope, unit_fn, [{**sizes, "stride": stride} for stride in strides])


def resnet_blocks(unit_fn: Callable[..., tf.Tensor], units: Sequence[int], base_depth: int = 64) -> list[Block]:
    """The blocks of a ResNet: each twice as deep as the one before, all but the last with a stride of 2.

    Args:
        unit_fn: the unit.
        units: number of units in each block.
        base_depth: bottleneck channels of the first block.
    """
    last = len(units) - 1
    return [
        bottleneck_block(f"block{index + 1}", unit_fn, base_depth * 2**index, count, stride=1 if index == last else 2)
        for index, count in enumerate(units)
    ]


def subsample(inputs: tf.Tensor, factor: int, scope: str | None = None) -> tf.Tensor:
    """Every ``factor``-th pixel of (batch, height, width, channels), from the first one on."""
    if factor == 1:
        return inputs
    return import_slim().max_pool2d(inputs, [1, 1], stride=factor, scope=scope)


def conv2d_same(
    inputs: tf.Tensor, num_outputs: int, kernel_size: int, stride: int, rate: int = 1, scope: str | None = None
) -> tf.Tensor:
    """A convolution whose strided output is its stride-1 SAME output, subsampled.

    TensorFlow's own strided SAME starts one pixel later on even sizes.

    Args:
        inputs: (batch, height, width, channels).
        num_outputs: number of filters.
        kernel_size: height and width of the kernel.
        stride: the stride.
        rate: the dilation.
        scope: variable scope.
    """
    slim = import_slim()
    if stride == 1:
        return slim.conv2d(inputs, num_outputs, kernel_size, stride=1, rate=rate, padding="SAME", scope=scope)
    total = (kernel_size - 1) * rate
    before, after = total // 2, total - total // 2
    padded = quiet_import_module("tensorflow").pad(inputs, [[0, 0], [before, after], [before, after], [0, 0]])
    return slim.conv2d(padded, num_outputs, kernel_size, stride=stride, rate=rate, padding="VALID", scope=scope)


def stack_blocks_dense(
    net: tf.Tensor,
    blocks: Sequence[Block],
    output_stride: int | None = None,
    outputs_collections: str | None = None,
) -> tf.Tensor:
    """Stack blocks, with dilation in place of stride once ``output_stride`` is reached.

    Args:
        net: (batch, height, width, channels).
        blocks: what to stack.
        output_stride: size of ``net`` over size of the result; None takes every stride.
        outputs_collections: collection for the outputs of units and blocks.

    Raises:
        OptionError: the output stride is not one that the blocks pass through.
    """
    slim, tf1 = import_slim(), quiet_import_module("tensorflow").compat.v1
    collected = {} if outputs_collections is None else {"outputs_collections": outputs_collections}
    steps = schedule_units([[unit.get("stride", 1) for unit in block.args] for block in blocks], output_stride)
    for block, block_steps in zip(blocks, steps, strict=True):
        with tf1.variable_scope(block.scope, "block", [net]) as scope:
            for index, (unit, step) in enumerate(zip(block.args, block_steps, strict=True)):
                with tf1.variable_scope(f"unit_{index + 1}", values=[net]):
                    net = block.unit_fn(net, rate=step.rate, **{**unit, "stride": step.stride}, **collected)
            net = slim.utils.collect_named_outputs(outputs_collections, scope.name, net)
    return net


def root_block(inputs: tf.Tensor) -> tf.Tensor:
    """conv1 (7x7, stride 2, 64 channels) and pool1 (3x3, stride 2); the arg scope says what follows conv1."""
    net = conv2d_same(inputs, 64, 7, stride=2, scope="conv1")
    return import_slim().max_pool2d(net, [3, 3], stride=2, scope="pool1")


def classifier(
    net: tf.Tensor,
    end_points: dict[str, tf.Tensor],
    scope: str,
    num_classes: int | None,
    global_pool: bool,
    spatial_squeeze: bool,
) -> tf.Tensor:
    """Global pool, logits and softmax, each where it is asked for; adds their end points.

    Args:
        net: (batch, height, width, channels) of the last block.
        end_points: gets ``global_pool``, ``<scope>/logits``, ``<scope>/spatial_squeeze`` and ``predictions``.
        scope: name of the network's variable scope.
        num_classes: width of the logits; None or 0 for none.
        global_pool: average over the map first.
        spatial_squeeze: give the logits as (batch, classes), for which the map must be 1x1.
    """
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    if global_pool:
        net = end_points["global_pool"] = tf.reduce_mean(net, [1, 2], name="pool5", keepdims=True)
    if not num_classes:
        return net
    net = slim.conv2d(net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="logits")
    end_points[f"{scope}/logits"] = net
    if spatial_squeeze:
        net = end_points[f"{scope}/spatial_squeeze"] = tf.squeeze(net, [1, 2], name="SpatialSqueeze")
    end_points["predictions"] = slim.softmax(net, scope="predictions")
    return net


def resnet_arg_scope(
    weight_decay: float = 0.0001,
    batch_norm_decay: float = 0.997,
    batch_norm_epsilon: float = 1e-5,
    batch_norm_scale: bool = True,
    dtype: str = "float32",
) -> dict[Any, Any]:
    """The arg scope of slim's ResNets: every convolution with ReLU and batch norm, max-pools SAME.

    Args:
        weight_decay: weight of the L2 loss on kernels.
        batch_norm_decay: decay of the moving statistics.
        batch_norm_epsilon: added to variances.
        batch_norm_scale: whether batch norm has a gamma.
        dtype: what the network computes in. The fused batch norm takes no float64: such a network computes it from
            parts, with the epsilon that the fused one had when the network was trained.
    """
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    batch_norm: dict[str, Any] = {
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "scale": batch_norm_scale,
        "updates_collections": tf.compat.v1.GraphKeys.UPDATE_OPS,
    }
    if dtype == "float64":
        batch_norm |= {"fused": False, "epsilon": max(batch_norm_epsilon, FUSED_MIN_EPSILON)}
    with (
        slim.arg_scope(
            [slim.conv2d],
            weights_regularizer=slim.l2_regularizer(weight_decay),
            weights_initializer=slim.variance_scaling_initializer(),
            activation_fn=tf.nn.relu,
            normalizer_fn=slim.batch_norm,
            normalizer_params=batch_norm,
        ),
        slim.arg_scope([slim.batch_norm], **batch_norm),
        slim.arg_scope([slim.max_pool2d], padding="SAME") as scope,
    ):
        return dict(scope)
