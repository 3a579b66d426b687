"""What builders without a layer library share: a variable by its very name, and batch norm over given variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.slim_blocks import FUSED_MIN_EPSILON

if TYPE_CHECKING:
    import tensorflow as tf


def variable(name: str, shape: Sequence[int], like: tf.Tensor, trainable: bool = True) -> tf.Tensor:
    """A TF1 variable of the dtype of another tensor, below the scopes that are open.

    It starts as layers start theirs: kernels at random, batch norm as one that changes nothing, biases at zero. (Random
    vectors would be wrong to train from, and take eight operations each where a constant takes one.)
    """
    tf1 = quiet_import_module("tensorflow").compat.v1
    initializer = None
    if len(shape) == 1:
        starts_at_one = "gamma" in name or "variance" in name
        initializer = tf1.ones_initializer() if starts_at_one else tf1.zeros_initializer()
    dtype = like.dtype.base_dtype
    return tf1.get_variable(name, shape, dtype, initializer, trainable=trainable, use_resource=False)


def batch_norm(
    net: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, epsilon: float
) -> tf.Tensor:
    """Batch norm as in inference.

    Args:
        net: (batch, height, width, channels).
        gamma: factors (channels,).
        beta: shifts, likewise.
        mean: moving means.
        variance: moving variances.
        epsilon: added to the variances.
    """
    tf = quiet_import_module("tensorflow")
    # The fused kernel takes no float64; the parts get the epsilon that it raises every smaller one to.
    if net.dtype.base_dtype == tf.float64:
        return tf.nn.batch_normalization(net, mean, variance, beta, gamma, max(epsilon, FUSED_MIN_EPSILON))
    return tf.compat.v1.nn.fused_batch_norm(net, gamma, beta, mean, variance, epsilon=epsilon, is_training=False)[0]
