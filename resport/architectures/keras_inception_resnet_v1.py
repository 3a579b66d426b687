"""facenet's Inception-ResNet v1 as a Keras model, with the layer names of the port keras-facenet.

That port scales its residuals in Lambda layers, which keep Python functions in the file: such a file cannot be opened
safely, or elsewhere. Here the stock layer Rescaling does it. Neither has weights, so the weights are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_blocks import LayerMaker, layer_output
from resport.architectures.network import height_and_width
from resport.architectures.slim_inception_resnet_v1 import (
    BATCH_NORM_DECAY,
    BATCH_NORM_EPSILON,
    BLOCK8_SCALE,
    BLOCK17_SCALE,
    BLOCK35_SCALE,
    LAST_SCALE,
    check_embedding_size,
)

if TYPE_CHECKING:
    import keras

LAST_BLOCK = "Block8_6"
DROPOUT_RATE = 0.2
Size = int | tuple[int, int]


class FacenetLayers:
    """Makes the network's compound layers: a convolution with batch norm and ReLU, a scaled residual.

    Args:
        dtype: ``float32`` or ``float64``.
        data_format: ``channels_last`` or ``channels_first``.
    """

    def __init__(self, dtype: str, data_format: str) -> None:
        self.layers = LayerMaker(dtype, BATCH_NORM_EPSILON, data_format, momentum=BATCH_NORM_DECAY)

    def conv(
        self, net: keras.KerasTensor, filters: int, size: Size, name: str, strides: int = 1, padding: str = "same"
    ) -> keras.KerasTensor:
        """A convolution without bias, its batch norm without gamma, and ReLU."""
        net = self.layers.conv(net, filters, size, name, strides=strides, padding=padding, use_bias=False)
        net = self.layers.batch_norm(net, f"{name}_BatchNorm", scale=False)
        return self.layers.relu(net, f"{name}_Activation")

    def residual(
        self, net: keras.KerasTensor, branches: list[keras.KerasTensor], scale: float, name: str
    ) -> keras.KerasTensor:
        """The input and the scaled projection of all branches; all but the last block are activated."""
        layers = self.layers
        up = layers.concatenate(branches, f"{name}_Concatenate")
        up = layers.conv(up, net.shape[layers.channel_axis], 1, f"{name}_Conv2d_1x1", padding="same")
        net = layers.add([net, layers.rescale(up, scale, f"{name}_Scale")], f"{name}_Add")
        return net if name == LAST_BLOCK else layers.relu(net, f"{name}_Activation")

    def block35(self, net: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """A residual block of three branches on the largest map."""
        branch_0 = self.conv(net, 32, 1, f"{name}_Branch_0_Conv2d_1x1")
        branch_1 = self.conv(net, 32, 1, f"{name}_Branch_1_Conv2d_0a_1x1")
        branch_1 = self.conv(branch_1, 32, 3, f"{name}_Branch_1_Conv2d_0b_3x3")
        branch_2 = self.conv(net, 32, 1, f"{name}_Branch_2_Conv2d_0a_1x1")
        branch_2 = self.conv(branch_2, 32, 3, f"{name}_Branch_2_Conv2d_0b_3x3")
        branch_2 = self.conv(branch_2, 32, 3, f"{name}_Branch_2_Conv2d_0c_3x3")
        return self.residual(net, [branch_0, branch_1, branch_2], BLOCK35_SCALE, name)

    def two_branches(
        self, net: keras.KerasTensor, depth: int, length: int, scale: float, name: str
    ) -> keras.KerasTensor:
        """A residual block of two branches, one of which looks along rows and then along columns."""
        branch_0 = self.conv(net, depth, 1, f"{name}_Branch_0_Conv2d_1x1")
        branch_1 = self.conv(net, depth, 1, f"{name}_Branch_1_Conv2d_0a_1x1")
        branch_1 = self.conv(branch_1, depth, (1, length), f"{name}_Branch_1_Conv2d_0b_1x{length}")
        branch_1 = self.conv(branch_1, depth, (length, 1), f"{name}_Branch_1_Conv2d_0c_{length}x1")
        return self.residual(net, [branch_0, branch_1], scale, name)

    def reduction_a(self, net: keras.KerasTensor) -> keras.KerasTensor:
        """From the largest map to the middle one."""
        branch_0 = self.conv(net, 384, 3, "Mixed_6a_Branch_0_Conv2d_1a_3x3", 2, "valid")
        branch_1 = self.conv(net, 192, 1, "Mixed_6a_Branch_1_Conv2d_0a_1x1")
        branch_1 = self.conv(branch_1, 192, 3, "Mixed_6a_Branch_1_Conv2d_0b_3x3")
        branch_1 = self.conv(branch_1, 256, 3, "Mixed_6a_Branch_1_Conv2d_1a_3x3", 2, "valid")
        branch_2 = self.layers.max_pool(net, 3, 2, "Mixed_6a_Branch_2_MaxPool_1a_3x3")
        return self.layers.concatenate([branch_0, branch_1, branch_2], "Mixed_6a")

    def reduction_b(self, net: keras.KerasTensor) -> keras.KerasTensor:
        """From the middle map to the smallest."""
        branch_0 = self.conv(net, 256, 1, "Mixed_7a_Branch_0_Conv2d_0a_1x1")
        branch_0 = self.conv(branch_0, 384, 3, "Mixed_7a_Branch_0_Conv2d_1a_3x3", 2, "valid")
        branch_1 = self.conv(net, 256, 1, "Mixed_7a_Branch_1_Conv2d_0a_1x1")
        branch_1 = self.conv(branch_1, 256, 3, "Mixed_7a_Branch_1_Conv2d_1a_3x3", 2, "valid")
        branch_2 = self.conv(net, 256, 1, "Mixed_7a_Branch_2_Conv2d_0a_1x1")
        branch_2 = self.conv(branch_2, 256, 3, "Mixed_7a_Branch_2_Conv2d_0b_3x3")
        branch_2 = self.conv(branch_2, 256, 3, "Mixed_7a_Branch_2_Conv2d_1a_3x3", 2, "valid")
        branch_3 = self.layers.max_pool(net, 3, 2, "Mixed_7a_Branch_3_MaxPool_1a_3x3")
        return self.layers.concatenate([branch_0, branch_1, branch_2, branch_3], "Mixed_7a")

    def stem(self, net: keras.KerasTensor) -> keras.KerasTensor:
        """Five convolutions, a pool among them, to an eighth of the size and 256 channels."""
        net = self.conv(net, 32, 3, "Conv2d_1a_3x3", 2, "valid")
        net = self.conv(net, 32, 3, "Conv2d_2a_3x3", padding="valid")
        net = self.conv(net, 64, 3, "Conv2d_2b_3x3")
        net = self.layers.max_pool(net, 3, 2, "MaxPool_3a_3x3")
        net = self.conv(net, 80, 1, "Conv2d_3b_1x1", padding="valid")
        net = self.conv(net, 192, 3, "Conv2d_4a_3x3", padding="valid")
        return self.conv(net, 256, 3, "Conv2d_4b_3x3", 2, "valid")


def build(
    variant: str,
    *,
    embedding_size: int,
    num_classes: int | None = None,
    include_top: bool = True,
    l2_normalize: bool = False,
    input_size: tuple[int, int] | int | None = 160,
    batch_size: int | None = None,
    dtype: str = "float32",
    data_format: str = "channels_last",
    trainable: bool = True,
) -> keras.Model:
    """Build the Keras model.

    Args:
        variant: name of the variant; the model's name.
        embedding_size: number of values of the embedding.
        num_classes: width of the classifier that it is trained with; None for none.
        include_top: False leaves the classifier out.
        l2_normalize: give the embedding with length 1, as facenet's ``embeddings`` has it.
        input_size: height and width, one number for both, or None to leave them open.
        batch_size: images in a batch, or None to leave it open.
        dtype: ``float32`` or ``float64``, of every layer.
        data_format: ``channels_last`` or ``channels_first``, of input and maps; the weights are the same.
        trainable: False freezes the model.

    Returns:
        The model. Its outputs are what was asked for: the embedding, the embedding and the classifier's logits where
        both ``l2_normalize`` and ``num_classes`` are given, or the logits alone.

    Raises:
        OptionError: an option that cannot be meant.
        MissingDependencyError: Keras or its backend is not installed.
    """
    check_embedding_size(embedding_size)
    made = FacenetLayers(dtype, data_format)
    inputs = made.layers.input((*height_and_width(input_size), 3), batch_size)
    net = made.stem(inputs)
    for number in range(1, 6):
        net = made.block35(net, f"Block35_{number}")
    net = made.reduction_a(net)
    for number in range(1, 11):
        net = made.two_branches(net, 128, 7, BLOCK17_SCALE, f"Block17_{number}")
    net = made.reduction_b(net)
    for number in range(1, 6):
        net = made.two_branches(net, 192, 3, BLOCK8_SCALE, f"Block8_{number}")
    net = made.two_branches(net, 192, 3, LAST_SCALE, LAST_BLOCK)
    net = made.layers.global_average_pool(net, "AvgPool")
    net = made.layers.dropout(net, DROPOUT_RATE, "Dropout")
    net = made.layers.dense(net, embedding_size, "Bottleneck", None, use_bias=False)
    net = made.layers.batch_norm(net, "Bottleneck_BatchNorm", scale=False)
    outputs = [made.layers.unit_length(net, "embeddings")] if l2_normalize else []
    if include_top and num_classes:
        outputs.append(made.layers.dense(net, num_classes, "Logits", None))
    outputs = outputs or [net]
    model = quiet_import_module("keras").Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=variant)
    model.trainable = trainable
    return model


END_POINTS = {
    "Conv2d_1a_3x3": "Conv2d_1a_3x3_Activation",
    "Conv2d_2a_3x3": "Conv2d_2a_3x3_Activation",
    "Conv2d_2b_3x3": "Conv2d_2b_3x3_Activation",
    "MaxPool_3a_3x3": "MaxPool_3a_3x3",
    "Conv2d_3b_1x1": "Conv2d_3b_1x1_Activation",
    "Conv2d_4a_3x3": "Conv2d_4a_3x3_Activation",
    "Conv2d_4b_3x3": "Conv2d_4b_3x3_Activation",
    "Mixed_5a": "Block35_5_Activation",
    "Mixed_6a": "Mixed_6a",
    "Mixed_6b": "Block17_10_Activation",
    "Mixed_7a": "Mixed_7a",
    "Mixed_8a": "Block8_5_Activation",
    "Mixed_8b": f"{LAST_BLOCK}_Add",
    "PrePool": f"{LAST_BLOCK}_Add",
    "PreLogitsFlatten": "Dropout",
    "Bottleneck": "Bottleneck_BatchNorm",
    "embeddings": "embeddings",
    "logits": "Logits",
}
"""The layer behind which each of facenet's end points lies."""


def end_points(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """The end points of the model by facenet's keys.

    Args:
        model: a model of ``build``.
    """
    outputs = {name: layer_output(model, layer) for name, layer in END_POINTS.items()}
    return {name: output for name, output in outputs.items() if output is not None}
