"""A small Keras 3 model with every kind of layer that the networks have, and its variables by name."""

from __future__ import annotations

from typing import Any

import numpy as np


def small_model() -> Any:
    """A functional model whose layers are neither created nor named in the order in which it lists them."""
    from keras import Input, Model, layers

    inputs = Input((8, 8, 3), name="in")
    net = layers.Conv2D(4, 3, name="zz_conv")(inputs)
    net = layers.BatchNormalization(name="zz_bn")(net)
    net = layers.ReLU(name="relu")(net)
    left = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="dw")(net)
    left = layers.BatchNormalization(scale=False, name="no_scale")(left)
    right = layers.SeparableConv2D(4, 3, padding="same", name="sep")(net)
    right = layers.BatchNormalization(center=False, name="no_center")(right)
    net = layers.Add(name="add")([left, right])
    net = layers.BatchNormalization(center=False, scale=False, name="bare")(net)
    net = layers.Conv2DTranspose(4, 3, name="up")(net)
    net = layers.PReLU(shared_axes=[1, 2], name="prelu")(net)
    net = layers.GroupNormalization(2, name="group")(net)
    net = layers.LayerNormalization(name="norm")(net)
    for number in range(11):
        # More than ten of a class: sorted as text, 10 comes before 2.
        net = layers.Conv2D(4, 1, use_bias=number % 2 == 0, name=f"c{11 - number}")(net)
    net = layers.GlobalAveragePooling2D(name="pool")(net)
    return Model(inputs, layers.Dense(5, name="aa_top")(net), name="net")


SMALL_MODEL_CLASSES = {"up": "conv2d_transpose", "group": "group_normalization"}
"""Classes of its layers that their variables don't tell."""


def fill_randomly(model: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape).astype(variable.dtype))
    return model


def values_by_name(model: Any) -> dict[str, np.ndarray]:
    """Values of all variables by layer and variable name, in the order of the model's layers."""
    return {
        f"{layer.name}/{variable.name}": np.asarray(variable)
        for layer in model.layers
        for variable in layer.trainable_variables + layer.non_trainable_variables
    }
