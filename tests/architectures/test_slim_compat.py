from __future__ import annotations

import os
import subprocess
import sys

import pytest

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.slim_compat import import_slim

pytestmark = pytest.mark.tf


@pytest.mark.parametrize(
    "arguments",
    [
        {"is_training": False},
        {"is_training": True},
        # The private fused path: what facenet's arg scope takes.
        {"is_training": False, "updates_collections": None},
        {"is_training": "tensor"},
    ],
)
def test_every_path_of_batch_norm_builds(arguments):
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    with tf.Graph().as_default():
        images = tf.compat.v1.placeholder(tf.float32, [None, 4, 4, 3])
        if arguments["is_training"] == "tensor":
            arguments = {"is_training": tf.compat.v1.placeholder(tf.bool, [])}
        net = slim.batch_norm(images, scale=True, scope="bn", **arguments)
        names = [variable.op.name for variable in tf.compat.v1.global_variables()]
        assert net.shape.as_list() == [None, 4, 4, 3]
        assert sorted(names) == ["bn/beta", "bn/gamma", "bn/moving_mean", "bn/moving_variance"]


def test_nothing_that_tensorflow_has_is_replaced():
    code = (
        "from tensorflow.python.framework import ops\n"
        "from tensorflow.python.ops import control_flow_ops\n"
        "before = {module: dict(vars(module)) for module in (ops, control_flow_ops)}\n"
        "from resport.architectures.slim_compat import import_slim\n"
        "slim = import_slim()\n"
        "import_slim.cache_clear()\n"
        "assert import_slim() is slim\n"
        "changed = [name for module, names in before.items() for name, value in names.items()\n"
        "           if vars(module)[name] is not value]\n"
        "print(changed)\n"
    )
    assert _run(code).stdout.strip() == "[]"


def test_a_first_network_is_quiet():
    code = (
        "import numpy as np, os\n"
        "from resport.architectures import open_network\n"
        "for dialect in ('slim', 'keras'):\n"
        "    with open_network('resnet_v2_50', dialect, units=(1,), input_size=9, dtype='float64') as net:\n"
        "        net.initialize(0)\n"
        "        net.forward(np.ones((1, 9, 9, 3)))\n"
        "assert 'TF_CPP_MIN_LOG_LEVEL' not in os.environ\n"
    )
    run = _run(code)
    assert (run.stdout, run.stderr) == ("", "")


def test_only_the_greeting_is_kept_back(tmp_path):
    (tmp_path / "loud.py").write_text(
        "import os\nos.write(2, b'I0000 00:00 greeting\\n')\nos.write(2, b'E0000 disk on fire\\n')\n"
    )
    run = _run(
        "from resport.architectures.frameworks import quiet_import_module\nquiet_import_module('loud')", str(tmp_path)
    )
    assert run.stderr == "E0000 disk on fire\n"


def _run(code: str, *folders: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment["PYTHONPATH"] = os.pathsep.join([*folders, *sys.path])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
