"""How slim's and Keras' ResNet tensors correspond, written out for the tests independently of any mapping table."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

CONV_WORDS = {"kernel": "weights", "bias": "biases"}


def slim_name(name: str, version: int) -> str:
    """slim's name, without the scope, of a Keras variable ``layer/variable``."""
    layer, word = name.split("/")
    slim_word = CONV_WORDS.get(word, word)
    if layer == "predictions":
        return f"logits/{slim_word}"
    if layer == "post_bn":
        return f"postnorm/{word}"
    if layer in ("conv1_conv", "conv1_bn"):
        return f"conv1/{slim_word}" if layer.endswith("conv") else f"conv1/BatchNorm/{word}"
    stage, unit, part = re.fullmatch(r"conv(\d+)_block(\d+)_(.+)", layer).groups()
    prefix = f"block{int(stage) - 1}/unit_{unit}/bottleneck_v{version}"
    if part == "preact_bn":
        return f"{prefix}/preact/{word}"
    number, kind = part.split("_")
    place = "shortcut" if number == "0" else f"conv{number}"
    return f"{prefix}/{place}/{slim_word}" if kind == "conv" else f"{prefix}/{place}/BatchNorm/{word}"


def slim_values(keras_values: Mapping[str, np.ndarray], version: int, scope: str) -> dict[str, np.ndarray]:
    """slim's values of a Keras network: renamed, the classifier as a 1x1 kernel, v1's conv biases in the means."""
    values = {}
    for name, value in keras_values.items():
        layer, word = name.split("/")
        target = slim_name(name, version)
        if version == 1 and word == "bias" and layer != "predictions":
            continue
        if version == 1 and word == "moving_mean":
            value = value - keras_values[f"{layer.removesuffix('bn')}conv/bias"]
        values[f"{scope}/{target}"] = value[None, None] if target == "logits/weights" else value
    return values
