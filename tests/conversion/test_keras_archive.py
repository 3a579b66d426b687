"""A ``.keras`` target is a whole model: it opens with Keras alone, and nothing is written where none is described."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import resport
from resport.conversion import convert, initialize
from resport.errors import OptionError
from tests.contracts import assert_same_bits
from tests.tiny import keras_values, slim_values, write_table, write_values


@pytest.mark.parametrize(
    ("options", "message"), [({}, "needs the names of Keras"), ({"to": "keras"}, "nothing describes it")]
)
def test_without_a_model_nothing_is_written(tmp_path: Path, options: dict[str, str], message: str) -> None:
    source = write_values(tmp_path / "slim.safetensors", slim_values())
    with pytest.raises(OptionError, match=message) as caught:
        convert(source, tmp_path / "out.keras", table=write_table(tmp_path), **options)  # type: ignore[arg-type]
    assert caught.value.hint is not None
    assert not (tmp_path / "out.keras").exists()


def test_a_network_that_resport_does_not_build_needs_a_description(tmp_path: Path) -> None:
    source = write_values(tmp_path / "slim.safetensors", slim_values())
    with pytest.raises(OptionError, match="tiny_2"):
        resport.convert(source, tmp_path / "out.keras", to="keras", table=write_table(tmp_path))
    layers = {name.split("/")[0]: "Conv2D" for name in keras_values(slim_values()) if "conv/" in name}
    layers |= {name.split("/")[0]: "BatchNormalization" for name in keras_values(slim_values()) if "bn/" in name}
    layers["predictions"] = "Dense"
    asked: list[tuple[str, int | None]] = []

    def describe(variant: str, *, num_classes: int | None) -> str:
        asked.append((variant, num_classes))
        config = {"layers": [{"class_name": kind, "config": {"name": name}} for name, kind in layers.items()]}
        return json.dumps({"class_name": "Functional", "config": config})

    resport.convert(source, tmp_path / "out.keras", to="keras", table=write_table(tmp_path), describe=describe)
    assert asked == [("tiny_2", 7)]
    with resport.open_reader(tmp_path / "out.keras") as reader:
        assert reader.manifest.keys() == keras_values(slim_values()).keys()


def test_the_public_function_is_documented_as_the_one_of_the_engine() -> None:
    assert inspect.signature(resport.convert) == inspect.signature(convert)
    assert resport.convert.__doc__ == convert.__doc__


@pytest.mark.tf
def test_the_library_describes_its_own_networks(tmp_path: Path) -> None:
    import keras

    initialize("resnet_v2_50", tmp_path / "model.ckpt", num_classes=7)
    report = resport.convert(tmp_path / "model.ckpt", tmp_path / "model.keras", to="keras")
    assert (report.target_format, report.num_classes) == ("keras-archive", 7)
    model = keras.saving.load_model(tmp_path / "model.keras")
    with resport.open_reader(tmp_path / "model.ckpt") as reader:
        biases = reader.read("resnet_v2_50/logits/biases")
    assert_same_bits(np.asarray(model.get_layer("predictions").bias), biases)


@pytest.mark.tf
def test_the_command_writes_a_model_that_opens_without_resport(tmp_path: Path) -> None:
    initialize("resnet_v2_50", tmp_path / "model.ckpt", num_classes=7)
    arguments = ("slim-to-keras", "model.ckpt", "model.keras", "--drop-background")
    done = subprocess.run([sys.executable, "-m", "resport", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    images = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys; sys.modules['resport'] = None\n"
        "import keras, numpy\n"
        "model = keras.saving.load_model('model.keras')\n"
        "numpy.save('outputs.npy', model.predict(numpy.load('images.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True)
    with (
        resport.build("resnet_v2_50", "slim", num_classes=7) as network,
        resport.open_reader(tmp_path / "model.ckpt") as reader,
    ):
        network.load(reader.read)
        expected = network.forward(images)["predictions"][:, 1:]
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), expected, atol=2e-5)
