"""The script that people write today: TensorFlow's reader, a Keras model, ``set_weights``, save.

python by_hand.py CHECKPOINT TARGET
"""

from __future__ import annotations

import sys

import keras
import tensorflow as tf

ROOT = "resnet_v2_50/"
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
LAYERS = {"conv1_conv": "conv1", "post_bn": "postnorm", "predictions": "logits"}
PARTS = {
    "preact_bn": "preact",
    "0_conv": "shortcut",
    "1_conv": "conv1",
    "1_bn": "conv1/BatchNorm",
    "2_conv": "conv2",
    "2_bn": "conv2/BatchNorm",
    "3_conv": "conv3",
}


def slim_layer(layer: str) -> str:
    """The slim scope of a Keras layer."""
    if layer in LAYERS:
        return LAYERS[layer]
    stage, block, part = layer.split("_", 2)
    return f"block{int(stage[4:]) - 1}/unit_{block[5:]}/bottleneck_v2/{PARTS[part]}"


def main(checkpoint: str, target: str) -> None:
    """Convert, as one does by hand."""
    reader = tf.train.load_checkpoint(checkpoint)
    classes = reader.get_variable_to_shape_map()[ROOT + "logits/biases"][0]
    model = keras.applications.ResNet50V2(weights=None, classes=classes)
    for layer in model.layers:
        if layer.weights:
            scope = ROOT + slim_layer(layer.name) + "/"
            words = BATCH_NORM if layer.name.endswith("bn") else ("weights", "biases")[: len(layer.weights)]
            values = [reader.get_tensor(scope + word) for word in words]
            layer.set_weights(
                [value.reshape(weight.shape) for value, weight in zip(values, layer.weights, strict=True)]
            )
    model.save_weights(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
