"""The named operations, each against the same thing written another way, or against what the network computes."""

from __future__ import annotations

import numpy as np
import pytest

from resport.mapping.ops import OPERATIONS

GENERATOR = np.random.default_rng(7)
GAMMA, BETA, MEAN, BIAS, SCALE, SHIFT = GENERATOR.normal(1.0, 0.5, (6, 5))
VARIANCE = GENERATOR.uniform(0.5, 2.0, 5)
X = GENERATOR.normal(size=(4, 5))


def batch_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return gamma * (x - mean) / np.sqrt(VARIANCE + 1e-5) + beta


def test_bias_into_mean_computes_the_same() -> None:
    folded = OPERATIONS["bias_into_mean"].apply(MEAN, BIAS)
    np.testing.assert_allclose(batch_norm(X, GAMMA, BETA, folded), batch_norm(X + BIAS, GAMMA, BETA, MEAN), rtol=1e-13)


def test_bias_out_of_mean_is_the_inverse() -> None:
    folded = OPERATIONS["bias_into_mean"].apply(MEAN, BIAS)
    np.testing.assert_allclose(OPERATIONS["bias_out_of_mean"].apply(folded, BIAS), MEAN, rtol=1e-14)


def test_scale_folds_compute_the_same() -> None:
    gamma = OPERATIONS["scale_into_gamma"].apply(GAMMA, SCALE)
    beta = OPERATIONS["scale_into_beta"].apply(BETA, SCALE, SHIFT)
    expected = batch_norm(X, GAMMA, BETA, MEAN) * SCALE + SHIFT
    np.testing.assert_allclose(batch_norm(X, gamma, beta, MEAN), expected, rtol=1e-12)


def test_folds_round_once() -> None:
    # In float32 1e8 + 4 is 1e8: the sum must be made wider and rounded at the end.
    big, small = np.array([1e8], "f4"), np.array([4.0], "f4")
    assert OPERATIONS["bias_out_of_mean"].apply(big, small).item() == np.float32(1e8 + 4)
    ninth = np.array([1 / 9], "f4")
    product = OPERATIONS["scale_into_beta"].apply(ninth, np.array([9.0], "f4"), np.array([-1.0], "f4"))
    assert product.item() == np.float32(float(ninth.item()) * 9 - 1)
    assert product.item() != np.float32(ninth * np.float32(9)).item() - 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["bias_into_mean", "bias_out_of_mean", "scale_into_gamma", "scale_into_beta"])
def test_folds_keep_shape_and_dtype(name: str, dtype: str) -> None:
    operation = OPERATIONS[name]
    first, *others = (GENERATOR.normal(size=5).astype(dtype) for _ in range(1 + operation.n_operands))
    before = first.copy()
    result = operation.apply(first, *others)
    assert (result.shape, result.dtype) == (first.shape, first.dtype)
    np.testing.assert_array_equal(first, before, "the source stays as it is")


@pytest.mark.parametrize(("shape", "axis"), [((4,), 0), ((2, 4), 1), ((4, 2), 0), ((1, 1, 2, 4), 3)])
def test_drop_background(shape: tuple[int, ...], axis: int) -> None:
    array = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    np.testing.assert_array_equal(OPERATIONS["drop_background"].apply(array, axis), np.delete(array, 0, axis))


@pytest.mark.parametrize(("shape", "axis"), [((4,), 0), ((2, 4), 1), ((4, 2), 0), ((1, 1, 2, 4), 3)])
def test_add_background(shape: tuple[int, ...], axis: int) -> None:
    array = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    wider = OPERATIONS["add_background"].apply(array, axis, -1e4)
    np.testing.assert_array_equal(wider, np.insert(array, 0, -1e4, axis))
    assert wider.dtype == array.dtype
    np.testing.assert_array_equal(OPERATIONS["drop_background"].apply(wider, axis), array)


@pytest.mark.parametrize(("shape", "axis"), [((7, 7, 3, 2), 2), ((2, 3, 7, 7), 1), ((3,), 0)])
def test_swap_rgb(shape: tuple[int, ...], axis: int) -> None:
    array = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    swapped = OPERATIONS["swap_rgb"].apply(array, axis)
    np.testing.assert_array_equal(swapped, np.take(array, [2, 1, 0], axis))
    assert not np.array_equal(swapped, array)
    np.testing.assert_array_equal(OPERATIONS["swap_rgb"].apply(swapped, axis), array)


def test_every_operation_tells_its_inverse_or_why_there_is_none() -> None:
    for name, operation in OPERATIONS.items():
        assert operation.formula
        first_word = operation.inverse.replace(",", " ").split()[0]
        assert first_word in OPERATIONS or operation.inverse.startswith("none: "), name


def test_gamma_goes_into_kernel_and_mean() -> None:
    generator = np.random.default_rng(0)
    for axis, kernel in ((0, generator.normal(size=(4, 3))), (1, generator.normal(size=(3, 4)))):
        gamma, mean, inputs = generator.normal(size=4), generator.normal(size=4), generator.normal(size=(5, 3))
        gamma[0] = 0.0
        dense = kernel if axis else kernel.T
        folded = OPERATIONS["gamma_into_kernel"].apply(kernel, gamma, axis)
        folded_mean = OPERATIONS["gamma_into_mean"].apply(mean, gamma)
        expected = gamma * (inputs @ dense - mean)
        actual = inputs @ (folded if axis else folded.T) - folded_mean
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


def test_shift_epsilon_keeps_the_sum() -> None:
    variance = np.array([1.0, 1e-4, 0.0])
    shifted = OPERATIONS["shift_epsilon"].apply(variance, 1.1e-5 - 1.001e-5)
    np.testing.assert_allclose(shifted + 1.001e-5, variance + 1.1e-5, rtol=1e-14)
    back = OPERATIONS["shift_epsilon"].apply(shifted, 1.001e-5 - 1.1e-5)
    np.testing.assert_allclose(back, variance, rtol=0, atol=1e-16)
    half = OPERATIONS["shift_epsilon"].apply(variance.astype("float32"), 1e-3)
    assert half.dtype == np.float32
