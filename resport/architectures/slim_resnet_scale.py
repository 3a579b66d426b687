"""ResNets with a Scale behind every batch norm as TF1 graphs, under slim's scopes: resnet_v1 with ``Scale`` variables.

The network is family resnet_v1's, with another normaliser and the pool that the published Keras network has. It strides
in the last unit of a block, as slim does: the same function as striding in the first 1x1 convolutions of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resport.architectures import slim_resnet_v1
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_resnet_scale import BATCH_NORM_EPSILON, POOL1, ROOT_DEPTH
from resport.architectures.network import check_option
from resport.architectures.slim_blocks import resnet_arg_scope, resnet_blocks
from resport.architectures.slim_compat import import_slim
from resport.architectures.slim_network import SlimNetwork

if TYPE_CHECKING:
    import tensorflow as tf


def scale(inputs: tf.Tensor, scope: str = "Scale") -> tf.Tensor:
    """``gamma * x + beta``, channel by channel.

    Args:
        inputs: (batch, height, width, channels).
        scope: variable scope.
    """
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    with tf.compat.v1.variable_scope(scope, values=[inputs]):
        options = {"shape": [inputs.shape[-1]], "dtype": inputs.dtype}
        gamma = slim.model_variable("gamma", initializer=tf.compat.v1.ones_initializer(), **options)
        beta = slim.model_variable("beta", initializer=tf.compat.v1.zeros_initializer(), **options)
        return gamma * inputs + beta


def batch_norm_and_scale(inputs: tf.Tensor, **arguments: Any) -> tf.Tensor:
    """A normaliser for slim's layers: batch norm, then a Scale."""
    return scale(import_slim().batch_norm(inputs, **arguments))


def resnet_scale_arg_scope(weight_decay: float = 0.0, pool1: str = "valid", dtype: str = "float32") -> dict[Any, Any]:
    """The arg scope of slim's ResNets with a Scale behind every batch norm.

    Args:
        weight_decay: weight of the L2 loss on kernels.
        pool1: ``valid`` or ``same``. Of max-pools there is pool1 and subsampling, which no padding changes.
        dtype: what the network computes in.
    """
    slim = import_slim()
    with (
        slim.arg_scope(resnet_arg_scope(weight_decay, batch_norm_epsilon=BATCH_NORM_EPSILON, dtype=dtype)),
        slim.arg_scope([slim.conv2d], normalizer_fn=batch_norm_and_scale),
        slim.arg_scope([slim.max_pool2d], padding=pool1.upper()) as scope,
    ):
        return dict(scope)


def build(
    variant: str,
    *,
    units: Sequence[int],
    base_depth: int = ROOT_DEPTH,
    num_classes: int | None,
    include_top: bool = True,
    input_size: tuple[int, int] | int | None = 224,
    batch_size: int | None = None,
    dtype: str = "float32",
    is_training: bool = False,
    pool1: str = "valid",
    weight_decay: float = 0.0,
    scope: str | None = None,
) -> SlimNetwork:
    """Build the network in a graph of its own.

    Args:
        variant: name of the variant.
        units: units in each block.
        base_depth: bottleneck channels of the first block.
        num_classes: width of the logits; None for no classifier.
        include_top: False leaves the classifier out.
        input_size: height and width, one number for both, or None to leave them open.
        batch_size: images in a batch, or None to leave it open.
        dtype: ``float32`` or ``float64``.
        is_training: whether batch norm uses the batch's own statistics.
        pool1: ``valid``, as it was published, or ``same``, as in Caffe and its conversions.
        weight_decay: weight of the L2 loss on kernels.
        scope: variable scope; the variant's name if None.

    Raises:
        OptionError: an option that cannot be meant.
        MissingDependencyError: TensorFlow or tf_slim is not installed.
    """
    check_option("pool1", pool1, POOL1)
    slim = import_slim()

    def network(images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        with slim.arg_scope(resnet_scale_arg_scope(weight_decay, pool1, dtype)):
            return slim_resnet_v1.resnet_v1(
                images,
                resnet_blocks(slim_resnet_v1.bottleneck, units, base_depth),
                num_classes if include_top else None,
                is_training,
                scope=scope or variant,
            )

    return SlimNetwork(network, scope=scope or variant, input_size=input_size, batch_size=batch_size, dtype=dtype)
