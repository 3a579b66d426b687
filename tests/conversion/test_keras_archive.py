"""A ``.keras`` target is a whole model: it opens with Keras alone, and nothing is written where none is described."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import resport
from resport.conversion import initialize
from resport.errors import OptionError
from tests.tiny import slim_values, write_table, write_values


@pytest.mark.parametrize(
    ("options", "message"), [({}, "needs the names of Keras"), ({"to": "keras"}, "nothing describes it")]
)
def test_without_a_model_nothing_is_written(tmp_path: Path, options: dict[str, str], message: str) -> None:
    source = write_values(tmp_path / "slim.safetensors", slim_values())
    with pytest.raises(OptionError, match=message) as caught:
        resport.convert(source, tmp_path / "out.keras", table=write_table(tmp_path), **options)  # type: ignore[arg-type]
    assert caught.value.hint is not None
    assert not (tmp_path / "out.keras").exists()


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
