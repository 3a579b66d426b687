from __future__ import annotations

import numpy as np
import pytest

from resport.architectures.network import (
    check_dtype,
    check_images,
    height_and_width,
    read_fitting,
    squeeze_map,
)
from resport.errors import OptionError


def test_read_fitting_takes_a_mapping_or_a_function():
    value = np.arange(6.0).reshape(2, 3)
    for source in ({"a": value}, {"a": value}.__getitem__):
        read = read_fitting(source, "a", (2, 3), "float32")
        assert read.dtype == np.float32
        assert (read == value).all()


@pytest.mark.parametrize("source", [{}, {}.__getitem__])
def test_read_fitting_names_what_is_missing(source):
    with pytest.raises(OptionError, match="there is no value for `conv1/weights`"):
        read_fitting(source, "conv1/weights", (1,), "float32")


def test_read_fitting_refuses_another_shape_of_the_same_size():
    with pytest.raises(OptionError, match="`a` does not fit") as caught:
        read_fitting({"a": np.zeros((3, 2))}, "a", (2, 3), "float32")
    assert (caught.value.expected, caught.value.got) == ((2, 3), (3, 2))


def test_squeeze_map_takes_1x1_maps_only():
    assert squeeze_map(np.zeros((2, 1, 1, 5))).shape == (2, 5)
    assert squeeze_map(np.zeros((2, 1, 2, 5))).shape == (2, 1, 2, 5)
    assert squeeze_map(np.zeros((2, 5))).shape == (2, 5)


@pytest.mark.parametrize(("input_size", "expected"), [(None, (None, None)), (7, (7, 7)), ((5, 9), (5, 9))])
def test_height_and_width(input_size, expected):
    assert height_and_width(input_size) == expected


@pytest.mark.parametrize("input_size", [0, -3, (5, 0)])
def test_height_and_width_refuse_nothing_to_see(input_size):
    with pytest.raises(OptionError, match="at least one pixel"):
        height_and_width(input_size)


def test_check_dtype_refuses_what_networks_do_not_compute_in():
    with pytest.raises(OptionError, match="float32 or float64"):
        check_dtype("float16")


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 8, 4), (2, 9, 8, 3)])
def test_check_images_refuses_what_does_not_fit(shape):
    check_images(np.zeros((2, 8, 8, 3)), (None, 8, 8, 3))
    with pytest.raises(OptionError, match="do not fit"):
        check_images(np.zeros(shape), (None, 8, 8, 3))
