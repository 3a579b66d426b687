"""resport where TensorFlow is not installed: the core dependencies, the package, and nothing else to import.

Hiding the frameworks from an environment that has them would prove less: what only they bring along (requests, six,
packaging) would still be there, and a dependency that pyproject.toml forgets would go unseen.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Isolated

WRITE_SMALL = """
import numpy as np, resport
from resport.tensors import TensorSpec
values = np.load("values.npy")
with resport.open_writer("small.safetensors", [TensorSpec("layer/kernel", values.shape, "float32")]) as writer:
    writer.write("layer/kernel", values)
"""

READ_BACK = """
import numpy as np, resport
with resport.open_reader("small.ckpt") as reader:
    assert list(reader.manifest) == ["layer/kernel"], list(reader.manifest)
    np.save("back.npy", reader.read("layer/kernel"))
"""


@pytest.fixture(scope="module")
def python(core_packages: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Isolated:
    """Python with the core dependencies and a source checkout."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("resport", "mappings"):
        (checkout / name).symlink_to(root / name)
    return Isolated(checkout, core_packages)


NOT_THERE = ["tensorflow", "keras", "tf_keras", "tf_slim", "matplotlib", "h5py", "pytest", "safetensors"]


@pytest.mark.parametrize("name", NOT_THERE)
def test_environment_is_what_it_claims(python: Isolated, tmp_path: Path, name: str) -> None:
    done = python.run(f"import numpy, rich\nimport {name}", cwd=tmp_path)
    assert f"ModuleNotFoundError: No module named '{name}'" in done.stderr


def test_convert_inspect_and_diff(python: Isolated, tmp_path: Path) -> None:
    values = np.random.default_rng(5).normal(size=(3, 3, 2, 4)).astype("float32")
    np.save(tmp_path / "values.npy", values)
    assert python.run(WRITE_SMALL, cwd=tmp_path).stderr == ""
    for source, target in [("small.safetensors", "small.h5"), ("small.h5", "small.ckpt")]:
        done = python.resport("convert", source, target, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert python.run(READ_BACK, cwd=tmp_path).stderr == ""
    assert np.load(tmp_path / "back.npy").tobytes() == values.tobytes()

    inspected = python.resport("inspect", "small.ckpt", "--json", "--stats", cwd=tmp_path)
    assert inspected.returncode == 0, inspected.stderr
    assert json.loads(inspected.stdout)["n_tensors"] == 1
    same = python.resport("diff", "small.safetensors", "small.ckpt", cwd=tmp_path)
    assert same.returncode == 0, same.stderr
    np.save(tmp_path / "values.npy", values + 1)
    (tmp_path / "small.safetensors").unlink()
    assert python.run(WRITE_SMALL, cwd=tmp_path).stderr == ""
    assert python.resport("diff", "small.safetensors", "small.ckpt", cwd=tmp_path).returncode == 1


def test_known_network_is_converted_there_and_back(python: Isolated, tmp_path: Path) -> None:
    for arguments in [
        ("init", "resnet_v2_50", "slim.ckpt"),
        ("slim-to-keras", "slim.ckpt", "keras.weights.h5"),
        ("keras-to-slim", "keras.weights.h5", "back.ckpt"),
        ("diff", "slim.ckpt", "back.ckpt"),
        ("verify", "slim.ckpt", "keras.weights.h5", "--weights-only"),
        ("mappings", "check"),
    ]:
        done = python.resport(*arguments, cwd=tmp_path)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"


def test_forward_verification_says_what_to_install(python: Isolated, tmp_path: Path) -> None:
    for arguments in [("init", "resnet_v2_50", "slim.ckpt"), ("slim-to-keras", "slim.ckpt", "keras.weights.h5")]:
        assert python.resport(*arguments, cwd=tmp_path).returncode == 0
    done = python.resport("verify", "slim.ckpt", "keras.weights.h5", cwd=tmp_path)
    assert done.returncode == 2
    assert 'hint: pip install "resport[verify]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_build_says_what_to_install(python: Isolated, tmp_path: Path) -> None:
    code = """
import resport
from resport.errors import MissingDependencyError
for dialect in ("slim", "keras"):
    try:
        resport.build("resnet_v2_50", dialect)
    except MissingDependencyError as error:
        print(error.hint)
"""
    assert python.run(code, cwd=tmp_path).stdout.splitlines() == ['pip install "resport[verify]"'] * 2
