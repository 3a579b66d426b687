"""slim ResNet v1: batch norm and ReLU after each convolution, ReLU after each sum.

Written with tf_slim's layers under tf_slim's scopes, so the variables are ``resnet_v1_50/block1/unit_1/bottleneck_v1/
conv1/BatchNorm/gamma`` and so on because slim names them. Blocks stride in their *last* unit, not in the first of the
next as the Caffe original does: the same function, and a block's end point has the next block's size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.slim_blocks import conv2d_same, subsample
from resport.architectures.slim_compat import import_slim
from resport.architectures.slim_residual import ResidualNetworks

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


_NETWORKS = ResidualNetworks("resnet_v1", bottleneck)

resnet_v1 = _NETWORKS.network
resnet_v1_block = _NETWORKS.block
resnet_v1_50 = _NETWORKS.of_depth(50)
resnet_v1_101 = _NETWORKS.of_depth(101)
resnet_v1_152 = _NETWORKS.of_depth(152)
resnet_v1_200 = _NETWORKS.of_depth(200)
