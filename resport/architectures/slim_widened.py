"""A built TF1 graph once more in float64: the same nodes with another dtype, in a fifth of the time of building.

``SlimNetwork`` builds a network by tf_slim's layers, which is most of what a verification costs. The graph that they
made in float32 says everything: each of its types becomes float64, and a fused batch norm, which takes no float64,
becomes its parts with the epsilon that the fused kernel raises every smaller one to. A constant was a short decimal in
somebody's code before it was rounded to float32 (0.17), and is that decimal again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.slim_blocks import FUSED_MIN_EPSILON
from resport.architectures.slim_network import SlimNetwork

if TYPE_CHECKING:
    import numpy as np

FUSED_BATCH_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


def widened_network(narrow: SlimNetwork) -> SlimNetwork:
    """A network in float64 of the graph of one in float32, without values.

    Args:
        narrow: the built network.
    """
    tf = quiet_import_module("tensorflow")
    # The exporter asks the default graph whether it runs eagerly.
    with narrow.graph.as_default():
        meta = tf.compat.v1.train.export_meta_graph(graph=narrow.graph)
    _widen(meta.graph_def, narrow.inputs.op.name, tf)

    def imported(images: Any) -> tuple[Any, dict[str, Any]]:
        tf.compat.v1.train.import_meta_graph(meta, input_map={narrow.inputs.name: images})
        tensor = images.graph.get_tensor_by_name
        return tensor(narrow.outputs.name), {key: tensor(each.name) for key, each in narrow.end_points.items()}

    shape = narrow.inputs.shape.as_list()
    size = None if shape[1] is None else (shape[1], shape[2])
    return SlimNetwork(
        imported, scope=narrow.scope, input_size=size, channels=shape[3], batch_size=shape[0], dtype="float64"
    )


def can_widen(narrow: SlimNetwork) -> bool:
    """Whether every batch norm of a graph has its channels last, as the parts are made for."""
    nodes = (each for each in narrow.graph.get_operations() if each.type in FUSED_BATCH_NORMS)
    return all(node.get_attr("data_format") == b"NHWC" and not node.get_attr("is_training") for node in nodes)


def _widen(graph: Any, inputs: str, tf: Any) -> None:
    """Change a GraphDef in place; the input's node goes, another takes its place."""
    nodes = []
    for node in graph.node:
        if node.name == inputs:
            continue
        if node.op in FUSED_BATCH_NORMS:
            nodes.extend(_batch_norm_parts(node, tf))
            continue
        for attribute in node.attr.values():
            if attribute.type == tf.float32.as_datatype_enum:
                attribute.type = tf.float64.as_datatype_enum
            if attribute.WhichOneof("value") == "tensor" and attribute.tensor.dtype == tf.float32.as_datatype_enum:
                values = _decimals(tf.make_ndarray(attribute.tensor))
                attribute.tensor.CopyFrom(tf.make_tensor_proto(values, tf.float64, values.shape))
        nodes.append(node)
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _decimals(values: np.ndarray) -> np.ndarray:
    """The shortest decimals that round to float32 values, as float64."""
    import numpy as np

    return np.array([float(str(value)) for value in values.reshape(-1)], np.float64).reshape(values.shape)


def _batch_norm_parts(node: Any, tf: Any) -> list[Any]:
    """Nodes for gamma * (x - mean) / sqrt(variance + epsilon) + beta, the last one under the fused one's name."""
    import numpy as np

    images, gamma, beta, mean, variance = node.input[:5]
    epsilon = max(float(_decimals(np.array(node.attr["epsilon"].f, np.float32))), FUSED_MIN_EPSILON)
    name = node.name
    constant = type(node)(name=f"{name}/epsilon", op="Const")
    constant.attr["dtype"].type = tf.float64.as_datatype_enum
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(epsilon, tf.float64))

    def part(op: str, suffix: str, *operands: str) -> Any:
        made = type(node)(name=name + suffix, op=op, input=operands)
        made.attr["T"].type = tf.float64.as_datatype_enum
        return made

    return [
        constant,
        part("AddV2", "/shifted", variance, f"{name}/epsilon"),
        part("Rsqrt", "/deviation", f"{name}/shifted"),
        part("Mul", "/factor", f"{name}/deviation", gamma),
        part("Sub", "/centred", images, mean),
        part("Mul", "/scaled", f"{name}/centred", f"{name}/factor"),
        part("AddV2", "", f"{name}/scaled", beta),
    ]
