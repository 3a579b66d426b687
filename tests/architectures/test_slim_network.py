from __future__ import annotations

import numpy as np
import pytest

from resport.architectures import build
from resport.architectures.frameworks import quiet_import_module
from resport.errors import OptionError
from resport.tensors import random_tensor

pytestmark = pytest.mark.tf

TINY = {"units": (1, 1), "base_depth": 2, "num_classes": 5, "input_size": 17}
IMAGES = np.random.default_rng(0).normal(size=(2, 17, 17, 3))


def _values(network, seed=0):
    return {
        name: random_tensor(name, tuple(variable.shape.as_list()), seed) for name, variable in network.variables.items()
    }


def test_loading_leaves_the_graph_as_it_is():
    with build("resnet_v2_50", "slim", **TINY) as network:
        values = _values(network)
        before = [operation.name for operation in network.graph.get_operations()]
        network.load(values)
        network.forward(IMAGES)
        network.load(values.__getitem__)
        assert [operation.name for operation in network.graph.get_operations()] == before
        stored = network.session.run(network.variables)
    assert all((stored[name] == values[name].astype(np.float32)).all() for name in values)


def test_loading_in_small_batches_loads_everything(monkeypatch):
    monkeypatch.setattr("resport.architectures.slim_network.LOAD_BYTES", 100)
    with build("resnet_v1_50", "slim", dtype="float64", **TINY) as network:
        values = _values(network)
        network.load(values)
        stored = network.session.run(network.variables)
    assert all((stored[name] == values[name]).all() for name in values)


def test_saved_checkpoint_reads_back_with_tensorflow(tmp_path):
    with build("resnet_v1_50", "slim", scope="outer/inner", **TINY) as network:
        values = _values(network)
        network.load(values)
        network.save(str(tmp_path / "model.ckpt-7"))
        network.save(str(tmp_path / "again"))
    reader = quiet_import_module("tensorflow").train.load_checkpoint(str(tmp_path / "model.ckpt-7"))
    assert set(reader.get_variable_to_shape_map()) == set(values)
    assert all(name.startswith("outer/inner/") for name in values)
    assert all((reader.get_tensor(name) == values[name].astype(np.float32)).all() for name in values)
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001", "again.index", "again.data-00000-of-00001",
    }  # fmt: skip


def test_end_points_lose_the_scope_whatever_it_is():
    with build("resnet_v2_50", "slim", scope="outer/inner", **TINY) as network:
        network.initialize(1)
        assert network.variables["outer/inner/conv1/weights"].shape == (7, 7, 3, 64)
        assert "outer/inner/block2/unit_1/bottleneck_v2/conv1" in network.end_points
        assert list(network.end_points)[-4:] == [
            "global_pool", "outer/inner/logits", "outer/inner/spatial_squeeze", "predictions",
        ]  # fmt: skip
        values = network.forward(IMAGES)
    assert list(values) == [
        "conv1",
        *(
            f"block{b}{point}"
            for b in (1, 2)
            for point in (
                *(f"/unit_1/bottleneck_v2{conv}" for conv in ("/shortcut", "/conv1", "/conv2", "/conv3", "")),
                "",
            )
        ),
        "global_pool",
        "logits",
        "predictions",
    ]
    assert values["logits"].shape == values["predictions"].shape == (2, 5)
    np.testing.assert_allclose(values["predictions"].sum(axis=1), 1, rtol=1e-6)


def test_the_same_seed_gives_the_same_network():
    outputs = []
    for seed in (3, 3, 4):
        with build("resnet_v2_50", "slim", dtype="float64", **TINY) as network:
            network.initialize(seed)
            outputs.append(network.forward(IMAGES)["logits"])
    assert (outputs[0] == outputs[1]).all()
    assert (outputs[0] != outputs[2]).all()


def test_what_cannot_be_meant_is_refused():
    with build("resnet_v2_50", "slim", **TINY) as network:
        with pytest.raises(OptionError, match="has no values yet"):
            network.forward(IMAGES)
        with pytest.raises(OptionError, match="has no values yet"):
            network.save("anywhere")
        values = _values(network)
        values["resnet_v2_50/logits/biases"] = np.zeros(6)
        with pytest.raises(OptionError, match="`resnet_v2_50/logits/biases` does not fit"):
            network.load(values)
        with pytest.raises(OptionError, match="has no values yet"):
            network.forward(IMAGES)
        network.initialize(0)
        with pytest.raises(OptionError, match="do not fit"):
            network.forward(IMAGES[:, 1:])
    network.close()


def test_tensorflow_2_behaviour_stays_on():
    tf = quiet_import_module("tensorflow")
    with build("resnet_v2_50", "slim", **TINY) as network:
        network.initialize(0)
        network.forward(IMAGES)
        assert tf.executing_eagerly()
        assert not tf.compat.v1.get_default_graph().get_operations()


@pytest.mark.parametrize("open_size", [{"input_size": None}, {"input_size": (17, 17), "batch_size": 2}])
def test_sizes_may_be_left_open_or_fixed(open_size):
    results = []
    for size in ({}, open_size):
        with build("resnet_v1_50", "slim", **{**TINY, **size, "dtype": "float64"}) as network:
            network.initialize(0)
            results.append(network.forward(IMAGES)["logits"])
    np.testing.assert_allclose(*results, rtol=1e-12)
