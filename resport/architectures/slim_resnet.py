"""Slim's ResNets as networks to load and run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resport.architectures import slim_resnet_v1, slim_resnet_v2
from resport.architectures.slim_blocks import resnet_arg_scope, resnet_blocks
from resport.architectures.slim_compat import import_slim
from resport.architectures.slim_network import SlimNetwork

if TYPE_CHECKING:
    import tensorflow as tf

ROOT_DEPTH = 64


def build(
    variant: str,
    *,
    version: int,
    units: Sequence[int],
    base_depth: int = 64,
    num_classes: int | None,
    include_top: bool = True,
    input_size: tuple[int, int] | int | None = 224,
    channels: int | None = None,
    batch_size: int | None = None,
    dtype: str = "float32",
    is_training: bool = False,
    global_pool: bool = True,
    output_stride: int | None = None,
    include_root_block: bool = True,
    spatial_squeeze: bool | None = None,
    scope: str | None = None,
) -> SlimNetwork:
    """Build a slim ResNet in a graph of its own.

    Args:
        variant: name of the variant.
        version: 1 or 2.
        units: units in each block.
        base_depth: bottleneck channels of the first block.
        num_classes: width of the logits; None for no classifier.
        include_top: False leaves the classifier out.
        input_size: height and width, one number for both, or None to leave them open.
        channels: channels of the input; 3, or 64 without the root block.
        batch_size: images in a batch, or None to leave it open.
        dtype: ``float32`` or ``float64``.
        is_training: whether batch norm uses the batch's own statistics.
        global_pool: average over the map before the logits.
        output_stride: input size over the size of the last map; None takes every stride.
        include_root_block: begin with conv1 and pool1.
        spatial_squeeze: give the logits as (batch, classes); by default where there is a global pool.
        scope: variable scope; the variant's name if None.

    Raises:
        OptionError: an option that cannot be meant.
        MissingDependencyError: TensorFlow or tf_slim is not installed.
    """
    slim = import_slim()
    resnet, bottleneck = {
        1: (slim_resnet_v1.resnet_v1, slim_resnet_v1.bottleneck),
        2: (slim_resnet_v2.resnet_v2, slim_resnet_v2.bottleneck),
    }[version]

    def network(images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        with slim.arg_scope(resnet_arg_scope(dtype=dtype)):
            return resnet(
                images,
                resnet_blocks(bottleneck, units, base_depth),
                num_classes if include_top else None,
                is_training,
                global_pool,
                output_stride,
                include_root_block,
                spatial_squeeze=global_pool if spatial_squeeze is None else spatial_squeeze,
                scope=scope or variant,
            )

    return SlimNetwork(
        network,
        scope=scope or variant,
        input_size=input_size,
        channels=channels or (3 if include_root_block else ROOT_DEPTH),
        batch_size=batch_size,
        dtype=dtype,
    )
