"""slim ResNet v2: batch norm and ReLU before a unit's convolutions, a plain sum behind them.

Pre-activation leaves its marks. conv1 has a bias and neither batch norm nor ReLU, so pool1 sees negative values and its
padding counts. The shortcut convolution takes the *activated* input, the identity shortcut the raw one. The last sum
needs a batch norm of its own (``postnorm``). ``preact`` and ``postnorm`` belong to no convolution, so their variables
have no ``BatchNorm`` level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.slim_blocks import conv2d_same, root_block, subsample
from resport.architectures.slim_compat import import_slim
from resport.architectures.slim_residual import ResidualNetworks

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


def _root(inputs: tf.Tensor) -> tf.Tensor:
    slim = import_slim()
    with slim.arg_scope([slim.conv2d], **_LINEAR):
        return root_block(inputs)


def _postnorm(net: tf.Tensor) -> tf.Tensor:
    postnorm: tf.Tensor = import_slim().batch_norm(
        net, activation_fn=quiet_import_module("tensorflow").nn.relu, scope="postnorm"
    )
    return postnorm


_NETWORKS = ResidualNetworks("resnet_v2", bottleneck, _root, _postnorm)

resnet_v2 = _NETWORKS.network
resnet_v2_block = _NETWORKS.block
resnet_v2_50 = _NETWORKS.of_depth(50)
resnet_v2_101 = _NETWORKS.of_depth(101)
resnet_v2_152 = _NETWORKS.of_depth(152)
resnet_v2_200 = _NETWORKS.of_depth(200)
