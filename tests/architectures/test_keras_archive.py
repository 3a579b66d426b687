from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from resport.architectures import build, open_network
from resport.architectures.keras_archive import model_config
from resport.errors import OptionError
from resport.formats import open_reader, open_writer
from resport.tensors import TensorSpec, random_tensor

pytestmark = pytest.mark.tf

OPTIONS = {"num_classes": 7, "input_size": 65}
LOAD = """
import sys
import numpy as np
import keras
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
assert "resport" not in sys.modules
"""


def test_an_archive_opens_without_us_and_computes_the_same(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    config = model_config("resnet_v2_50", **OPTIONS)
    model = build("resnet_v2_50", "keras", **OPTIONS)
    values = {
        variable.path: random_tensor(variable.path, tuple(variable.shape), 3).astype(np.float32)
        for variable in model.variables
    }
    # Not in the order of the model: places are those of the description.
    specs = [TensorSpec(name, value.shape, "float32") for name, value in sorted(values.items())]
    with open_writer(path, specs, config=config) as writer:
        for name, value in values.items():
            writer.write(name, value)
    images = np.random.default_rng(1).normal(size=(2, 65, 65, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "load.py").write_text(LOAD)
    arguments = [str(tmp_path / name) for name in ("load.py", "m.keras", "images.npy", "out.npy")]
    subprocess.run([sys.executable, *arguments], check=True, cwd=tmp_path)
    for variable in model.variables:
        variable.assign(values[variable.path])
    expected = model.predict(images, verbose=0)
    assert np.ptp(expected) > 1e-3
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    with open_reader(path) as reader:
        assert reader.manifest.keys() == values.keys()
        assert reader.metadata["model_config"] == config


def test_the_description_is_always_the_same() -> None:
    build("resnet_v1_50", "keras")
    first = model_config("resnet_v1_50", **OPTIONS)
    assert model_config("resnet_v1_50", **OPTIONS) == first
    classes = {layer["class_name"] for layer in json.loads(first)["config"]["layers"]}
    assert all(not layer.get("registered_name") for layer in json.loads(first)["config"]["layers"])
    assert {"Conv2D", "BatchNormalization", "Dense"} <= classes


@pytest.mark.parametrize("options", [{"pool1": "round"}, {"spatial_squeeze": True}])
def test_options_that_cannot_be_meant(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        model_config("resnet_v2_50", **options)


def test_a_theano_file_of_keras_1_computes_the_same(tmp_path: Path) -> None:
    """A small ResNet in the spelling and the kernels of Keras 1 on Theano, written with h5py by hand."""
    import h5py

    options = {"units": (1, 1, 1, 1), "base_depth": 4, "num_classes": 5, "input_size": 33, "dtype": "float64"}
    words = {
        "kernel": "W",
        "bias": "b",
        "gamma": "gamma",
        "beta": "beta",
        "moving_mean": "running_mean",
        "moving_variance": "running_std",
    }
    images = np.random.default_rng(2).normal(size=(2, 33, 33, 3))
    with open_network("resnet_v1_50", "keras", **options) as network:
        values = {name: random_tensor(name, tuple(variable.shape), 5) for name, variable in network.variables.items()}
        network.load(values)
        expected = network.forward(images)
        path = tmp_path / "old_th.h5"
        with h5py.File(path, "w") as file:
            layers: dict[str, list[str]] = {}
            for name in values:
                layers.setdefault(name.rpartition("/")[0], []).append(name)
            file.attrs["layer_names"] = [layer.encode() for layer in layers]
            for layer, names in layers.items():
                group = file.create_group(layer)
                group.attrs["weight_names"] = [f"{layer}_{words[name.rpartition('/')[2]]}".encode() for name in names]
                for name, weight in zip(names, group.attrs["weight_names"], strict=True):
                    value = values[name]
                    # Theano: (out, in, height, width), and a convolution in place of a correlation.
                    group[weight] = np.rot90(value, 2, (0, 1)).transpose(3, 2, 0, 1) if value.ndim == 4 else value
        with open_reader(path) as reader:
            assert set(reader.manifest) == set(values)
            network.load(reader.read)
        found = network.forward(images)
        with open_reader(path, kernel_order="oihw") as reader:
            network.load(reader.read)
        unturned = network.forward(images)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert max(np.abs(unturned[name] - value).max() for name, value in expected.items()) > 1e-2
