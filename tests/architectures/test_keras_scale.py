"""The Scale layer: what it computes along any axis, and that a saved model has it again."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from resport.architectures import keras_scale
from resport.architectures.frameworks import quiet_import_module

pytestmark = pytest.mark.tf


def filled(layer, size, seed=0):
    generator = np.random.default_rng(seed)
    gamma, beta = generator.normal(size=(2, size))
    layer.set_weights([gamma, beta])
    return gamma, beta


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 4, 5, 3), -1), ((2, 4, 5, 3), 3), ((2, 3, 4, 5), 1), ((2, 7), 1), ((2, 4, 3, 5), -2)]
)
def test_scale_along_an_axis(shape, axis, dtype):
    layer = keras_scale.Scale(axis=axis, dtype=dtype)
    inputs = np.random.default_rng(1).normal(size=shape).astype(dtype)
    layer.build(shape)
    gamma, beta = filled(layer, shape[axis])
    outputs = np.asarray(layer(inputs))
    moved = np.moveaxis(inputs, axis, -1)
    expected = np.moveaxis(moved * gamma.astype(dtype) + beta.astype(dtype), -1, axis)
    assert outputs.dtype == dtype
    np.testing.assert_allclose(outputs, expected, rtol=1e-6 if dtype == "float32" else 1e-14, atol=1e-6)
    assert layer.compute_output_shape(shape) == shape


def test_it_does_nothing_until_it_is_trained():
    layer = keras_scale.Scale()
    inputs = np.random.default_rng(1).normal(size=(2, 3)).astype("float32")
    assert np.array_equal(np.asarray(layer(inputs)), inputs)
    assert [weight.name for weight in layer.weights] == ["gamma", "beta"]
    assert len(layer.trainable_weights) == 2


def test_an_axis_of_no_size_is_refused():
    keras = quiet_import_module("keras")
    with pytest.raises(ValueError, match=r"the axis 1 that is scaled needs a size. Received: input_shape="):
        keras_scale.Scale(axis=1)(keras.Input((None, 4, 3)))


def test_its_arguments_survive(tmp_path):
    keras = quiet_import_module("keras")
    made = keras_scale.Scale(
        axis=1,
        gamma_initializer=keras.initializers.Constant(2.0),
        beta_regularizer=keras.regularizers.L2(0.1),
        name="s",
    )
    again = keras_scale.Scale.from_config(made.get_config())
    assert again.get_config() == made.get_config()
    assert (again.axis, again.name, again.gamma_initializer.value, float(again.beta_regularizer.l2)) == (
        1,
        "s",
        2.0,
        0.1,
    )


def test_a_saved_model_opens_in_another_process(tmp_path):
    keras = quiet_import_module("keras")
    inputs = keras.Input((3, 4, 4))
    layer = keras_scale.Scale(axis=1, name="scale_conv1")
    model = keras.Model(inputs, layer(inputs))
    filled(layer, 3)
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(1).normal(size=(2, 3, 4, 4)).astype("float32")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np\n"
        "from resport.architectures.keras_scale import Scale\n"
        "import keras\n"
        "model = keras.models.load_model('model.keras')\n"
        "assert type(model.layers[-1]) is Scale and model.layers[-1].axis == 1\n"
        "np.save('outputs.npy', model.predict(np.load('images.npy'), verbose=0))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment, capture_output=True)
    assert np.array_equal(np.load(tmp_path / "outputs.npy"), model.predict(images, verbose=0))


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute `scales`"):
        keras_scale.scales  # noqa: B018
