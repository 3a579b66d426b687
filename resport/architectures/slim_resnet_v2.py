"""slim ResNet v2: batch norm and ReLU before a unit's convolutions, a plain sum behind them.

Pre-activation leaves its marks. conv1 has a bias and neither batch norm nor ReLU, so pool1 sees negative values and its
padding counts. The shortcut convolution takes the *activated* input, the identity shortcut the raw one. The last sum
needs a batch norm of its own (``postnorm``). ``preact`` and ``postnorm`` belong to no convolution, so their variables
have no ``BatchNorm`` level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

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

_LINEAR: dict[str, Any] = {"normalizer_fn": None, "activation_fn": None}


def bottleneck(
    inputs: tf.Tensor,
    depth: int,
    depth_bottleneck: int,
    stride: int,
    rate: int = 1,
    outputs_collections: str | None = None,
    scope: str | None = None,
) -> tf.Tensor:
    """One pre-activation unit: 1x1, 3x3 and 1x1 convolutions beside a shortcut.

    Args:
        inputs: (batch, height, width, channels); a shortcut convolution is made where channels differ from ``depth``.
        depth: channels of the output.
        depth_bottleneck: channels between the 1x1 convolutions.
        stride: stride of the 3x3 convolution and of the shortcut.
        rate: dilation of the 3x3 convolution.
        outputs_collections: collection for the unit's output.
        scope: variable scope; ``bottleneck_v2`` if None.
    """
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    with tf.compat.v1.variable_scope(scope, "bottleneck_v2", [inputs]) as sc:
        preact = slim.batch_norm(inputs, activation_fn=tf.nn.relu, scope="preact")
        if depth == slim.utils.last_dimension(inputs.get_shape(), min_rank=4):
            shortcut = subsample(inputs, stride, "shortcut")
        else:
            shortcut = slim.conv2d(preact, depth, [1, 1], stride=stride, scope="shortcut", **_LINEAR)
        residual = slim.conv2d(preact, depth_bottleneck, [1, 1], stride=1, scope="conv1")
        residual = conv2d_same(residual, depth_bottleneck, 3, stride, rate=rate, scope="conv2")
        residual = slim.conv2d(residual, depth, [1, 1], stride=1, scope="conv3", **_LINEAR)
        return slim.utils.collect_named_outputs(outputs_collections, sc.name, shortcut + residual)


def resnet_v2(
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
    """A ResNet v2 of any blocks. Call it inside ``resnet_arg_scope``.

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
        scope: variable scope; ``resnet_v2`` if None.

    Returns:
        The logits before softmax, or the last map, and the end points by slim's keys in network order.

    Raises:
        OptionError: an output stride that the network does not have.
    """
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    with tf.compat.v1.variable_scope(scope, "resnet_v2", [inputs], reuse=reuse) as sc:
        collection = f"{sc.original_name_scope}_end_points"
        with (
            slim.arg_scope([slim.conv2d], outputs_collections=collection),
            slim.arg_scope([slim.batch_norm], is_training=is_training),
        ):
            net = inputs
            if include_root_block:
                output_stride = blocks_output_stride(output_stride)
                with slim.arg_scope([slim.conv2d], **_LINEAR):
                    net = root_block(net)
            net = stack_blocks_dense(net, blocks, output_stride, collection)
            net = slim.batch_norm(net, activation_fn=tf.nn.relu, scope="postnorm")
            end_points = slim.utils.convert_collection_to_dict(collection)
            net = classifier(net, end_points, sc.name, num_classes, global_pool, spatial_squeeze)
            return net, end_points


def resnet_v2_block(scope: str, base_depth: int, num_units: int, stride: int) -> Block:
    """A block of v2 units; the last one takes the stride."""
    return bottleneck_block(scope, bottleneck, base_depth, num_units, stride)


def _resnet_v2(depth: int) -> Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]:
    def network(
        inputs: tf.Tensor,
        num_classes: int | None = None,
        is_training: bool | tf.Tensor = True,
        global_pool: bool = True,
        output_stride: int | None = None,
        spatial_squeeze: bool = True,
        reuse: bool | None = None,
        scope: str | None = f"resnet_v2_{depth}",
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        return resnet_v2(
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

    network.__name__ = network.__qualname__ = f"resnet_v2_{depth}"
    network.__doc__ = f"ResNet-{depth} v2; arguments and results as `resnet_v2`."
    return network


resnet_v2_50 = _resnet_v2(50)
resnet_v2_101 = _resnet_v2(101)
resnet_v2_152 = _resnet_v2(152)
resnet_v2_200 = _resnet_v2(200)
