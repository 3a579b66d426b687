"""slim ResNet v1: batch norm and ReLU after each convolution, ReLU after each sum.

Written with tf_slim's layers under tf_slim's scopes, so the variables are ``resnet_v1_50/block1/unit_1/bottleneck_v1/
conv1/BatchNorm/gamma`` and so on because slim names them. Blocks stride in their *last* unit, not in the first of the
next as the Caffe original does: the same function, and a block's end point has the next block's size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.output_stride import blocks_output_stride
from resport.architectures.registry import RESNET_UNITS
from resport.architectures.slim_blocks import (
    Block,
    bottleneck_block,
    classifier,
    conv2d_same,
    resnet_blocks,
    root_block,
    stack_blocks_dense,
    subsample,
)
from resport.architectures.slim_compat import import_slim

if TYPE_CHECKING:
    import tensorflow as tf


def bottleneck(
    inputs: tf.Tensor,
    depth: int,
    depth_bottleneck: int,
    stride: int,
    rate: int = 1,
    outputs_collections: str | None = None,
    scope: str | None = None,
) -> tf.Tensor:
    """One post-activation unit: 1x1, 3x3 and 1x1 convolutions beside a shortcut.

    Args:
        inputs: (batch, height, width, channels); a shortcut convolution is made where channels differ from ``depth``.
        depth: channels of the output.
        depth_bottleneck: channels between the 1x1 convolutions.
        stride: stride of the 3x3 convolution and of the shortcut.
        rate: dilation of the 3x3 convolution.
        outputs_collections: collection for the unit's output.
        scope: variable scope; ``bottleneck_v1`` if None.
    """
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    with tf.compat.v1.variable_scope(scope, "bottleneck_v1", [inputs]) as sc:
        if depth == slim.utils.last_dimension(inputs.get_shape(), min_rank=4):
            shortcut = subsample(inputs, stride, "shortcut")
        else:
            shortcut = slim.conv2d(inputs, depth, [1, 1], stride=stride, activation_fn=None, scope="shortcut")
        residual = slim.conv2d(inputs, depth_bottleneck, [1, 1], stride=1, scope="conv1")
        residual = conv2d_same(residual, depth_bottleneck, 3, stride, rate=rate, scope="conv2")
        residual = slim.conv2d(residual, depth, [1, 1], stride=1, activation_fn=None, scope="conv3")
        return slim.utils.collect_named_outputs(outputs_collections, sc.name, tf.nn.relu(shortcut + residual))


def resnet_v1(
    inputs: tf.Tensor,
    blocks: Sequence[Block],
    num_classes: int | None = None,
    is_training: bool | tf.Tensor = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    include_root_block: bool = True,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str | None = None,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """A ResNet v1 of any blocks. Call it inside ``resnet_arg_scope``.

    Args:
        inputs: (batch, height, width, channels).
        blocks: the blocks.
        num_classes: width of the logits; None or 0 leaves the classifier out.
        is_training: whether batch norm uses the batch's own statistics.
        global_pool: average over the map before the logits; False keeps the map.
        output_stride: input size over the size of the last map (4, 8, 16, 32); None takes every stride.
        include_root_block: begin with conv1 and pool1.
        spatial_squeeze: give the logits as (batch, classes).
        reuse: take variables that are there already.
        scope: variable scope; ``resnet_v1`` if None.

    Returns:
        The logits before softmax, or the last map, and the end points by slim's keys in network order.

    Raises:
        OptionError: an output stride that the network does not have.
    """
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    with tf.compat.v1.variable_scope(scope, "resnet_v1", [inputs], reuse=reuse) as sc:
        collection = f"{sc.original_name_scope}_end_points"
        with (
            slim.arg_scope([slim.conv2d], outputs_collections=collection),
            slim.arg_scope([slim.batch_norm], is_training=is_training),
        ):
            net = inputs
            if include_root_block:
                output_stride = blocks_output_stride(output_stride)
                net = root_block(net)
            net = stack_blocks_dense(net, blocks, output_stride, collection)
            end_points = slim.utils.convert_collection_to_dict(collection)
            net = classifier(net, end_points, sc.name, num_classes, global_pool, spatial_squeeze)
            return net, end_points


def resnet_v1_block(scope: str, base_depth: int, num_units: int, stride: int) -> Block:
    """A block of v1 units; the last one takes the stride."""
    return bottleneck_block(scope, bottleneck, base_depth, num_units, stride)


def _resnet_v1(depth: int) -> Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]:
    def network(
        inputs: tf.Tensor,
        num_classes: int | None = None,
        is_training: bool | tf.Tensor = True,
        global_pool: bool = True,
        output_stride: int | None = None,
        spatial_squeeze: bool = True,
        reuse: bool | None = None,
        scope: str | None = f"resnet_v1_{depth}",
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        return resnet_v1(
            inputs,
            resnet_blocks(bottleneck, RESNET_UNITS[depth]),
            num_classes,
            is_training,
            global_pool,
            output_stride,
            spatial_squeeze=spatial_squeeze,
            reuse=reuse,
            scope=scope,
        )

    network.__name__ = network.__qualname__ = f"resnet_v1_{depth}"
    network.__doc__ = f"ResNet-{depth} v1; arguments and results as `resnet_v1`."
    return network


resnet_v1_50 = _resnet_v1(50)
resnet_v1_101 = _resnet_v1(101)
resnet_v1_152 = _resnet_v1(152)
resnet_v1_200 = _resnet_v1(200)
