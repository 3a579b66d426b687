"""Graphs of TensorFlow (GraphDef), as far as they hold weights: their Const nodes, and which of these are weights.

Freezing a network turns its variables into Const nodes of the same name. Beside them a graph has as many Consts again
that belong to the code: shapes, paddings, axes, epsilons. All are listed and none is dropped, but those that aren't
weights get a name that no weight can have, ``const:NAME`` (no node's name has a colon), which mappings ignore by name.

A Const is a weight when an Identity ``NAME/read`` takes it, which is how every frozen variable of TF1 is read; or when
it has at least one axis and an operation computes with it that computes with weights (``WEIGHT_INPUTS``), directly or
through operations that hand a value on (``_HANDED_ON``). Where the operation is one that shapes and indices go through
as well (``ARITHMETIC``), wide integers don't count. What goes into a call of a function counts as computed with. One
value for all elements under a name that nobody gave (``BatchNorm/Const``) is no weight: it is the gamma of a batch norm
without gamma.

Functions in the graph's library have nodes of their own; these are listed as ``FUNCTION/NODE``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from resport.dtypes import FLOATING
from resport.errors import FormatError
from resport.formats.bundle_entry import parse_shape
from resport.formats.damage import quoted
from resport.formats.message_file import FieldPlace, MessageFile
from resport.formats.protobuf import read_varint
from resport.formats.tensor_proto import DTYPE_FIELD, SHAPE_FIELD, parse_dtype
from resport.tensors import TensorSpec

GRAPH_MAX_NODES = 100_000
"""Real graphs have some ten thousand; what is kept of each takes some hundred bytes."""
GRAPH_MAX_SHAPE_BYTES = 1 << 16
CONST_PREFIX = "const:"

_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>\-]*")
_OP_NAME = re.compile(r"[A-Za-z0-9_.\\/>]+")
_OWN_NAME = re.compile(r"(^|/)Const(_\d+)?$")
_NODE, _LIBRARY, _VERSIONS = 1, 2, 4

# Operations that compute with weights, and at which inputs they do.
WEIGHT_INPUTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        (
            "Conv2D",
            "Conv3D",
            "DepthwiseConv2dNative",
            "Conv2DBackpropInput",
            "Conv3DBackpropInputV2",
            "DepthwiseConv2dNativeBackpropInput",
            "Dilation2D",
            "QuantizedConv2D",
            "BiasAdd",
            "BiasAddV1",
        ),
        (1,),
    ),
    **dict.fromkeys(
        (
            "FusedBatchNorm",
            "FusedBatchNormV2",
            "FusedBatchNormV3",
            "_FusedBatchNormEx",
            "BatchNormWithGlobalNormalization",
            "_FusedConv2D",
            "_FusedDepthwiseConv2dNative",
            "_FusedMatMul",
        ),
        (1, 2, 3, 4),
    ),
    "Dequantize": (0,),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "QuantizedMatMul"), (0, 1)),
}
# Operations on anything, shapes and indices too: only floats are weights there, and what is too narrow for a shape.
ARITHMETIC = frozenset(
    "Gather GatherV2 Add AddV2 AddN Sub Mul Div RealDiv Maximum Minimum Rsqrt Sqrt Square "
    "SquaredDifference Neg Einsum Prelu PartitionedCall StatefulPartitionedCall If StatelessIf While "
    "StatelessWhile".split()
)
_QUANTISED = ("int8", "uint8")
# What hands its first input on as it is, or in another shape or dtype.
_HANDED_ON = frozenset(
    "Identity ReadVariableOp Switch RefSwitch Enter RefEnter StopGradient Snapshot Cast Reshape ExpandDims Squeeze "
    "Transpose FakeQuantWithMinMaxVars FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVarsPerChannel".split()
)


@dataclass(frozen=True, slots=True)
class GraphConst:
    """A Const node.

    Attributes:
        spec: its name, with the function's in front, and the shape and dtype of its value.
        tensor: where its TensorProto is in the file.
        is_weight: whether the network computes with it.
    """

    spec: TensorSpec
    tensor: FieldPlace
    is_weight: bool

    @property
    def name(self) -> str:
        """The name in a manifest."""
        return self.spec.name if self.is_weight else CONST_PREFIX + self.spec.name


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    op: str
    inputs: tuple[str, ...]
    value: FieldPlace | None


@dataclass(frozen=True, slots=True)
class GraphDef:
    """What is known of a graph.

    Attributes:
        consts: all Const nodes, in the order of the file.
        n_nodes: number of nodes of every kind, and functions.
        producer: version of the graph format that it was written with; 0 where it doesn't say.
    """

    consts: tuple[GraphConst, ...]
    n_nodes: int
    producer: int


def parse_graph(file: MessageFile, start: int, end: int) -> GraphDef:
    """Parse the GraphDef {1 node, 2 library, 4 versions} between two places of a file.

    Raises:
        FormatError: it is damaged, or has more nodes than any network.
    """
    nodes: list[_Node] = []
    functions: list[tuple[str, list[_Node]]] = []
    n_nodes = producer = 0
    for place in file.fields(start, end):
        if place.number == _NODE:
            nodes.append(_parse_node(file, place))
            n_nodes += 1
        elif place.number == _LIBRARY:
            for field in file.inner(place):
                if field.number == 1:
                    functions.append(_parse_function(file, field, GRAPH_MAX_NODES - n_nodes))
                    n_nodes += 1 + len(functions[-1][1])
        elif place.number == _VERSIONS:
            producer = next((field.value for field in file.inner(place) if field.number == 1), 0)
        _check_count(GRAPH_MAX_NODES - n_nodes)
    consts = list(_consts_of(file, nodes, ""))
    for function, body in functions:
        consts += _consts_of(file, body, f"{function}/")
    return GraphDef(tuple(consts), n_nodes, producer)


def begins_like_graph(head: bytes) -> bool:
    """Whether the first bytes of a file can be those of a GraphDef: a node with a name and an operation."""
    try:
        texts = []
        if head[0] != _NODE << 3 | 2:
            return False
        _, offset = read_varint(head, 1)
        for number, pattern in ((1, _NODE_NAME), (2, _OP_NAME)):
            if head[offset] != number << 3 | 2:
                return False
            size, offset = read_varint(head, offset + 1)
            texts.append(pattern.fullmatch(head[offset : offset + size].decode()))
            offset += size
        return all(texts) and offset <= len(head)
    except (FormatError, IndexError, UnicodeDecodeError):
        return False


def _check_count(n_left: int) -> None:
    if n_left < 0:
        raise FormatError("it has more nodes than any network", expected=f"at most {GRAPH_MAX_NODES}")


def _parse_function(file: MessageFile, place: FieldPlace, n_allowed: int) -> tuple[str, list[_Node]]:
    """Parse a FunctionDef {1 signature {1 name}, 3 repeated node}."""
    name, nodes = "", []
    for field in file.inner(place):
        if field.number == 1:
            name = next((file.read_text(inner) for inner in file.inner(field) if inner.number == 1), "")
        elif field.number == 3:
            nodes.append(_parse_node(file, field))
            _check_count(n_allowed - len(nodes))
    return name, nodes


def _parse_node(file: MessageFile, place: FieldPlace) -> _Node:
    """Parse a NodeDef {1 name, 2 op, 3 repeated input, 5 attr {1 key, 2 value {8 tensor}}}."""
    name, op, inputs = "", "", []
    attributes: list[FieldPlace] = []
    for field in file.inner(place):
        if field.number == 1:
            name = file.read_text(field)
        elif field.number == 2:
            op = file.read_text(field)
        elif field.number == 3:
            inputs.append(file.read_text(field))
        elif field.number == 5:
            attributes.append(field)
    if not (_NODE_NAME.fullmatch(name) and _OP_NAME.fullmatch(op)):
        raise FormatError(
            "a node has no name or no operation", got=f"name {name[:80]!r}, op {op[:80]!r}", offset=place.start
        )
    value = _value_of(file, attributes) if op == "Const" else None
    if op == "Const" and value is None:
        raise FormatError(f"the Const {quoted(name)} has no value", offset=place.start)
    return _Node(name, op, tuple(inputs), value)


def _value_of(file: MessageFile, attributes: Iterable[FieldPlace]) -> FieldPlace | None:
    """Where the tensor of the attribute ``value`` is."""
    for attribute in attributes:
        key, value = "", None
        for field in file.inner(attribute):
            if field.number == 1:
                key = file.read_text(field)
            elif field.number == 2:
                value = field
        if key == "value" and value is not None:
            return next((field for field in file.inner(value) if field.number == 8 and field.is_bytes), None)
    return None


def _consts_of(file: MessageFile, nodes: list[_Node], scope: str) -> Iterator[GraphConst]:
    """The Const nodes of a graph or of a function's body."""
    by_name = {node.name: node for node in nodes}
    if len(by_name) < len(nodes):
        raise FormatError("two of its nodes have one name", got=f"{len(nodes)} nodes with {len(by_name)} names")
    specs = {node.name: _spec_of(file, node.value, node.name) for node in nodes if node.value is not None}
    weights = _weights(by_name, specs)
    for node in nodes:
        if node.value is not None:
            spec = specs[node.name]
            spec = TensorSpec(scope + spec.name, spec.shape, spec.dtype)
            yield GraphConst(spec, node.value, node.name in weights)


def _spec_of(file: MessageFile, tensor: FieldPlace, name: str) -> TensorSpec:
    """Dtype and shape of a TensorProto, which are in front of its values."""
    dtype = 0
    shape: tuple[int, ...] = ()
    for field in file.inner(tensor):
        if field.number == DTYPE_FIELD:
            dtype = field.value
        elif field.number == SHAPE_FIELD:
            if field.end - field.start > GRAPH_MAX_SHAPE_BYTES:
                raise FormatError(f"the shape of the Const {quoted(name)} is too long", offset=field.start)
            shape = parse_shape(file.read(field))
        else:
            break
    return TensorSpec(name, shape, parse_dtype(dtype))


def _weights(nodes: dict[str, _Node], specs: dict[str, TensorSpec]) -> set[str]:
    """The names of the Consts that are weights."""
    weights = set()
    origins: dict[str, str] = {}
    for node in nodes.values():
        inputs = [source.partition(":")[0] for source in node.inputs]  # `^NAME`, which only orders, is no node's name
        if node.op == "Identity" and inputs and inputs[0] in specs and node.name == f"{inputs[0]}/read":
            weights.add(inputs[0])
        for position, source in enumerate(inputs):
            is_weight_input = position in WEIGHT_INPUTS.get(node.op, ())
            if not is_weight_input and node.op not in ARITHMETIC:
                continue
            spec = specs.get(_origin(source, nodes, origins))
            if spec is None or not spec.shape or _is_filled(nodes[spec.name], spec):
                continue
            if is_weight_input or spec.dtype in FLOATING or spec.dtype in _QUANTISED:
                weights.add(spec.name)
    return weights


def _is_filled(node: _Node, spec: TensorSpec) -> bool:
    """Whether a Const has TensorFlow's own name, and one value in place of all: a frozen variable has neither."""
    value = node.value
    return value is not None and value.end - value.start < spec.nbytes and _OWN_NAME.search(node.name) is not None


def _origin(name: str, nodes: dict[str, _Node], origins: dict[str, str]) -> str:
    """The node whose value a node hands on, itself where it computes one; every answer is kept."""
    passed = []
    origin = name
    while origin in nodes and origin not in origins and nodes[origin].op in _HANDED_ON and nodes[origin].inputs:
        passed.append(origin)
        origins[origin] = origin  # a circle ends here
        origin = nodes[origin].inputs[0].partition(":")[0]
    origin = origins.get(origin, origin)
    for each in passed:
        origins[each] = origin
    return origin
