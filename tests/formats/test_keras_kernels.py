"""Orders of kernels, against a convolution written out by its definition."""

from __future__ import annotations

import numpy as np
import pytest

from resport.errors import FormatError, OptionError
from resport.formats.keras_kernels import (
    KERNEL_ORDERS,
    is_oihw,
    kernel_order_named,
    later_order,
    tell_order,
    turn_kernel,
    turned_shape,
)


def response(image: np.ndarray, kernel: np.ndarray, order: str) -> np.ndarray:
    """One output of a layer whose window is the whole image, by the meaning of the axes in each order."""
    height, width, n_in = image.shape
    is_oihw = order.startswith("oihw")
    out = np.zeros(kernel.shape[0] if is_oihw else kernel.shape[-1])
    for y in range(height):
        for x in range(width):
            v, u = (height - 1 - y, width - 1 - x) if order.endswith("flipped") else (y, x)
            for i in range(n_in):
                out += image[y, x, i] * (kernel[:, i, v, u] if is_oihw else kernel[v, u, i, :])
    return out


@pytest.mark.parametrize("order", KERNEL_ORDERS)
def test_a_turned_kernel_computes_the_same(order: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 5, 2))
    kernel = rng.normal(size=(4, 2, 3, 5) if order.startswith("oihw") else (3, 5, 2, 4))
    turned = turn_kernel(kernel, KERNEL_ORDERS[order])
    assert turned.shape == turned_shape(kernel.shape, KERNEL_ORDERS[order]) == (3, 5, 2, 4)
    np.testing.assert_array_equal(response(image, turned, "hwio"), response(image, kernel, order))
    assert turned.flags.c_contiguous and not np.shares_memory(turned, kernel)


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [
        ([((64, 3, 7, 7), None)], True),
        ([((7, 7, 3, 64), None)], False),
        ([((256, 64, 1, 1), None), ((8, 8, 3, 3), None)], True),
        ([((3, 3, 3, 3), 3)], None),
        ([((4, 3, 3, 3), None)], None),
        ([((4, 3, 3, 3), 4)], True),
        ([((3, 3, 3, 4), 4)], False),
        # A bias is certain, where windows only seem so.
        ([((3, 3, 64, 4), 4)], False),
        ([((32, 32, 3, 3), None), ((3, 3, 32, 4), 3)], True),
        ([], None),
    ],
)
def test_what_shapes_tell(kernels: list[tuple[tuple[int, ...], int | None]], expected: bool | None) -> None:
    assert is_oihw(kernels, "m") is expected


def test_shapes_that_contradict_each_other() -> None:
    with pytest.raises(FormatError, match="two orders"):
        is_oihw([((64, 3, 7, 7), None), ((7, 7, 3, 64), None)], "m")


@pytest.mark.parametrize(
    ("backend", "has_colon", "order", "is_assumed"),
    [
        ("theano", True, "oihw-flipped", False),
        ("tensorflow", False, "oihw", False),
        (None, True, "oihw", False),
        (None, False, "oihw-flipped", False),
        (None, None, "oihw-flipped", True),
    ],
)
def test_the_backend_tells_whether_kernels_are_flipped(
    backend: str | None, has_colon: bool | None, order: str, is_assumed: bool
) -> None:
    found, notes = tell_order([((64, 3, 7, 7), None)], set(), backend, has_colon, "m")
    assert str(found) == order
    assert any("assumed" in note for note in notes) == is_assumed


def test_later_files() -> None:
    assert [str(later_order(backend)[0]) for backend in (None, "tensorflow", "cntk", "theano")] == [
        "hwio",
        "hwio",
        "hwio",
        "hwio-flipped",
    ]


def test_an_unknown_order() -> None:
    with pytest.raises(OptionError, match="no such order"):
        kernel_order_named("iohw")
