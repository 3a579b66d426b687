"""facenet's network as it was published, frozen into one graph: recognised and converted like a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import resport
from tests.contracts import assert_same_bits

pytestmark = pytest.mark.tf

KERAS_NAMES = {
    "Conv2d_1a_3x3/kernel": "InceptionResnetV1/Conv2d_1a_3x3/weights",
    "Conv2d_4b_3x3_BatchNorm/moving_variance": "InceptionResnetV1/Conv2d_4b_3x3/BatchNorm/moving_variance",
    "Block35_3_Branch_2_Conv2d_0c_3x3/kernel": "InceptionResnetV1/Repeat/block35_3/Branch_2/Conv2d_0c_3x3/weights",
    "Block8_6_Conv2d_1x1/bias": "InceptionResnetV1/Block8/Conv2d_1x1/biases",
    "Bottleneck_BatchNorm/beta": "InceptionResnetV1/Bottleneck/BatchNorm/beta",
}
"""Some names of every kind, written out from both implementations' sources."""


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A graph that TensorFlow froze, and the values that its variables had."""
    import tensorflow as tf

    v1 = tf.compat.v1
    # As in TensorFlow 1, where variables are read through an Identity, which freezing leaves in the graph.
    v1.disable_resource_variables()
    try:
        network = resport.build("inception_resnet_v1", "slim", embedding_size=64, input_size=96)
    finally:
        v1.enable_resource_variables()
    with network:
        network.initialize(5)
        with network.graph.as_default():
            output = tf.identity(network.outputs, name="embeddings")
        values = network.session.run(network.variables)
        graph = v1.graph_util.convert_variables_to_constants(
            network.session, network.graph.as_graph_def(), [output.op.name]
        )
    path = tmp_path_factory.mktemp("frozen") / "20180402-114759.pb"
    path.write_bytes(graph.SerializeToString())
    assert sum(node.op == "Identity" and node.name.endswith("/read") for node in graph.node) == len(values)
    return path, values


def test_it_is_recognised(frozen: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, values = frozen
    report = resport.inspect(path)
    found = report.detected
    assert found is not None and found.is_complete
    assert (found.variant, found.dialect, found.embedding_size, found.num_classes) == (
        "inception_resnet_v1",
        "slim",
        64,
        None,
    )
    assert {name for name, role in report.roles.items() if role in {"weight", "statistic"}} == set(values)


def test_every_tensor_arrives(frozen: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    path, values = frozen
    report = resport.convert(path, tmp_path / "keras.safetensors", to="keras")
    assert (report.source_format, report.moved, report.n_targets) == ("frozen-graph", len(values), len(values))
    assert {each.rule for each in report.ignored} <= {"constant"}
    with resport.open_reader(tmp_path / "keras.safetensors") as reader:
        for keras, slim in KERAS_NAMES.items():
            assert_same_bits(reader.read(keras), values[slim])
    resport.convert(tmp_path / "keras.safetensors", tmp_path / "slim.npz", to="slim")
    with np.load(tmp_path / "slim.npz") as back:
        assert set(back) == set(values)
        for name, value in values.items():
            assert_same_bits(back[name], value)
