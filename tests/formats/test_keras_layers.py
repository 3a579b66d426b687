"""The order and the names of Keras' variables, and the class that they tell."""

from __future__ import annotations

import pytest

from resport.formats.keras_layers import group_by_layer, infer_class, split_name, variable_names


def test_split_name() -> None:
    assert split_name("a/b/kernel") == ("a/b", "kernel")
    assert split_name("global_step") == ("global_step", "")


def test_layers_in_order_of_appearance_and_variables_in_keras_order() -> None:
    names = ["z/bias", "bn/beta", "a/w2", "bn/moving_variance", "bn/gamma", "z/kernel", "a/w1", "bn/moving_mean"]
    assert group_by_layer(names) == {
        "z": ["z/kernel", "z/bias"],
        "bn": ["bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance"],
        "a": ["a/w2", "a/w1"],
    }


@pytest.mark.parametrize(
    ("layer_class", "count", "names"),
    [
        ("conv2d", 1, ("kernel",)),
        ("conv2d", 2, ("kernel", "bias")),
        ("conv2d", 3, ["0", "1", "2"]),
        ("batch_normalization", 3, ("beta", "moving_mean", "moving_variance")),
        ("batch_normalization", 2, ("moving_mean", "moving_variance")),
        ("my_layer", 2, ["0", "1"]),
        ("scale", 2, ("gamma", "beta")),
    ],
)
def test_variable_names(layer_class: str, count: int, names: object) -> None:
    assert variable_names(layer_class, count) == names


@pytest.mark.parametrize(
    ("shapes", "layer_class"),
    [
        ({"kernel": (3, 5)}, "dense"),
        ({"kernel": (3, 5), "bias": (5,)}, "dense"),
        ({"kernel": (7, 3, 5)}, "conv1d"),
        ({"kernel": (7, 7, 3, 5), "bias": (5,)}, "conv2d"),
        ({"kernel": (2, 2, 2, 3, 5)}, "conv3d"),
        ({"kernel": (3,)}, "layer"),
        ({"kernel": (3, 3, 8, 1)}, "depthwise_conv2d"),
        ({"kernel": (3, 3, 8, 1), "bias": (8,)}, "depthwise_conv2d"),
        ({"kernel": (3, 3, 8, 1), "bias": (1,)}, "conv2d"),
        ({"kernel": (3, 3, 1, 1)}, "conv2d"),
        ({"kernel": (3, 8, 1), "bias": (8,)}, "depthwise_conv1d"),
        ({"depthwise_kernel": (3, 3, 8, 2), "bias": (16,)}, "depthwise_conv2d"),
        ({"depthwise_kernel": (3, 3, 8, 1), "pointwise_kernel": (1, 1, 8, 4)}, "separable_conv2d"),
        ({"gamma": (5,), "beta": (5,), "moving_mean": (5,), "moving_variance": (5,)}, "batch_normalization"),
        ({"beta": (5,), "moving_mean": (5,), "moving_variance": (5,)}, "batch_normalization"),
        ({"gamma": (5,), "beta": (5,)}, "layer_normalization"),
        ({"embeddings": (5, 3)}, "embedding"),
        ({"alpha": (5,)}, "p_re_lu"),
        ({"kernel": (3, 5), "other": (5,)}, "layer"),
        ({"": ()}, "layer"),
    ],
)
def test_infer_class(shapes: dict[str, tuple[int, ...]], layer_class: str) -> None:
    assert infer_class("block/first", shapes) == layer_class


VECTORS = {"gamma": (5,), "beta": (5,)}


@pytest.mark.parametrize(
    ("layer", "shapes", "layer_class"),
    [
        ("scale", VECTORS, "scale"),
        ("scale_3", VECTORS, "scale"),
        ("inner/scale_conv1", VECTORS, "scale"),
        ("scale4b22_branch2c", VECTORS, "scale"),
        ("scaled_norm", VECTORS, "layer_normalization"),
        ("scale_1", {"gamma": (5,)}, "scale"),
        ("scale_1", {"kernel": (3, 5)}, "dense"),
        ("group_normalization_12", VECTORS, "group_normalization"),
        ("batch_normalization", VECTORS, "layer_normalization"),
        ("conv2d_transpose_4", {"kernel": (3, 3, 8, 5), "bias": (8,)}, "conv2d_transpose"),
        ("conv2d_4", {"kernel": (3, 3, 8, 1)}, "conv2d"),
        ("depthwise_conv2d", {"kernel": (3, 3, 8, 2)}, "depthwise_conv2d"),
        ("dense_1", {"kernel": (3, 3, 8, 5)}, "conv2d"),
        ("conv1d_1", {"kernel": (3, 5)}, "dense"),
        ("einsum_dense", {"kernel": (3, 5, 2)}, "einsum_dense"),
    ],
)
def test_a_name_tells_what_variables_leave_open(
    layer: str, shapes: dict[str, tuple[int, ...]], layer_class: str
) -> None:
    assert infer_class(layer, shapes) == layer_class
