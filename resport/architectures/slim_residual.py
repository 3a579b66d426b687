"""What slim's ResNet v1 and v2 share: all but the unit, and what stands in front of the blocks and behind them.

The functions have tf_slim's names, arguments and defaults, so that code written for ``tf_slim.nets`` runs on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.output_stride import blocks_output_stride
from resport.architectures.registry import RESNET_UNITS
from resport.architectures.slim_blocks import (
    Block,
    bottleneck_block,
    classifier,
    resnet_blocks,
    root_block,
    stack_blocks_dense,
)
from resport.architectures.slim_compat import import_slim

if TYPE_CHECKING:
    import tensorflow as tf

Part = Callable[["tf.Tensor"], "tf.Tensor"]


def _unchanged(net: tf.Tensor) -> tf.Tensor:
    return net


@dataclass(frozen=True, slots=True)
class ResidualNetworks:
    """The ResNets of one version.

    Attributes:
        name: ``resnet_v1`` or ``resnet_v2``; the variable scope where none is given.
        bottleneck: the residual unit.
        root: conv1 and pool1.
        end: what stands behind the last block.
    """

    name: str
    bottleneck: Callable[..., tf.Tensor]
    root: Part = root_block
    end: Part = _unchanged

    def network(
        self,
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
        """A network of any blocks. Call it inside ``resnet_arg_scope``.

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
            scope: variable scope; ``name`` if None.

        Returns:
            The logits before softmax, or the last map, and the end points by slim's keys in network order.

        Raises:
            OptionError: an output stride that the network does not have.
        """
        slim, tf = import_slim(), quiet_import_module("tensorflow")
        with tf.compat.v1.variable_scope(scope, self.name, [inputs], reuse=reuse) as sc:
            collection = f"{sc.original_name_scope}_end_points"
            with (
                slim.arg_scope([slim.conv2d], outputs_collections=collection),
                slim.arg_scope([slim.batch_norm], is_training=is_training),
            ):
                net = inputs
                if include_root_block:
                    output_stride = blocks_output_stride(output_stride)
                    net = self.root(net)
                net = self.end(stack_blocks_dense(net, blocks, output_stride, collection))
                end_points = slim.utils.convert_collection_to_dict(collection)
                net = classifier(net, end_points, sc.name, num_classes, global_pool, spatial_squeeze)
                return net, end_points

    def block(self, scope: str, base_depth: int, num_units: int, stride: int) -> Block:
        """A block of units; the last one takes the stride."""
        return bottleneck_block(scope, self.bottleneck, base_depth, num_units, stride)

    def of_depth(self, depth: int) -> Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]:
        """The network of a published depth as a function: ``resnet_v1_50(inputs, num_classes, ...)``."""

        def network(
            inputs: tf.Tensor,
            num_classes: int | None = None,
            is_training: bool | tf.Tensor = True,
            global_pool: bool = True,
            output_stride: int | None = None,
            spatial_squeeze: bool = True,
            reuse: bool | None = None,
            scope: str | None = f"{self.name}_{depth}",
        ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            return self.network(
                inputs,
                resnet_blocks(self.bottleneck, RESNET_UNITS[depth]),
                num_classes,
                is_training,
                global_pool,
                output_stride,
                spatial_squeeze=spatial_squeeze,
                reuse=reuse,
                scope=scope,
            )

        network.__name__ = network.__qualname__ = f"{self.name}_{depth}"
        network.__doc__ = f"{self.name} of {depth} layers; arguments and results as `{self.name}`."
        return network
