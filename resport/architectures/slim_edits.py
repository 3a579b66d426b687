"""Edits of TF1 graphs, by feeding: a session takes a value for any tensor, constants and results of operations alike.

An epsilon or a factor is a constant, and is fed. A convolution with another stride, or a pool with another padding, is
made beside the one that is there; its result is computed first and then fed in its place. The graph that is judged
stays as its builder made it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.graph_edits import (
    PADDED,
    SAME,
    BatchNorm,
    Convolution,
    Edit,
    Factor,
    MaxPool,
    PoolPadding,
    Sites,
    no_such_site,
    not_runnable,
)
from resport.architectures.network import squeeze_map

if TYPE_CHECKING:
    import numpy as np

    from resport.architectures.slim_network import SlimNetwork

Operation = Any
Tensor = Any

BETWEEN_CONVOLUTIONS = frozenset({"Add", "AddV2", "BiasAdd", "Identity", "Mul", "Pad", "PadV2", "Relu", "Sub"})
"""Operations that stand between two convolutions of one residual unit: batch norm in its parts, ReLU and padding."""

PADS = frozenset({"Pad", "PadV2"})


class SlimEditor:
    """An editor of a TF1 graph in float64.

    Args:
        network: the network; open sizes let edited maps have others.
    """

    def __init__(self, network: SlimNetwork) -> None:
        self._network = network
        computed = _ancestors(network.canonical_end_points.values())
        self._operations = [each for each in network.graph.get_operations() if each.name in computed]
        self._order = {operation.name: index for index, operation in enumerate(self._operations)}
        self._made: dict[Edit, Tensor] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all variables."""
        return self._network.names

    @functools.cached_property
    def sites(self) -> Sites:
        """What can be edited."""
        convolutions = [operation for operation in self._operations if operation.type == "Conv2D"]
        pools = [each for each in self._operations if each.type == "MaxPool" and max(each.get_attr("ksize")) > 1]
        return Sites(
            tuple(BatchNorm(name, float(_static(tensor))) for name, tensor in self._epsilons.items()),
            tuple(self._convolution(operation) for operation in convolutions),
            tuple(MaxPool(each.name, _pool_padding(each), _unpadded(each).op.type == "Relu") for each in pools),
            tuple(Factor(name, float(_static(tensor))) for name, tensor in self._factors.items()),
        )

    @functools.cached_property
    def _epsilons(self) -> dict[str, Tensor]:
        """The constant that is added to the variance, by batch norm."""
        found = {}
        for operation in self._operations:
            if operation.type == "Rsqrt" and operation.inputs[0].op.type in ("Add", "AddV2"):
                constant = next((each for each in operation.inputs[0].op.inputs if each.op.type == "Const"), None)
                if constant is not None:
                    found[operation.name.removesuffix("/Rsqrt").removesuffix("/batchnorm")] = constant
        return found

    @functools.cached_property
    def _factors(self) -> dict[str, Tensor]:
        """The constant that a map is multiplied with, by multiplication."""
        found = {}
        for operation in self._operations:
            if operation.type == "Mul" and {each.shape.rank for each in operation.inputs} == {0, 4}:
                constant = min(operation.inputs, key=lambda each: each.shape.rank)
                if constant.op.type == "Const":
                    found[operation.name] = constant
        return found

    def _convolution(self, operation: Operation) -> Convolution:
        image, kernel = operation.inputs
        groups = 1 if image.shape[-1] is None else image.shape[-1] // kernel.shape[2]
        return Convolution(
            operation.name,
            operation.get_attr("strides")[1],
            max(kernel.shape[:2]),
            self._variable(kernel),
            groups,
            _keeps_size(operation),
            _previous(operation),
        )

    def _variable(self, tensor: Tensor) -> str:
        """The variable whose value a tensor is."""
        while tensor.op.name not in self._network.variables and tensor.op.inputs:
            tensor = tensor.op.inputs[0]
        return str(tensor.op.name)

    def feeding(self, end_point: str) -> frozenset[str]:
        """Names of the variables and sites that an end point depends on."""
        seen = _ancestors([self._network.canonical_end_points[end_point]])
        constants = {**self._epsilons, **self._factors}
        fed = {name for name, tensor in constants.items() if tensor.op.name in seen}
        named = {site.name for site in self.sites.all if site.name not in constants}
        return frozenset(fed | (seen & (named | set(self.names))))

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Give some variables other values."""
        self._network.assign(values)

    def run(
        self, images: np.ndarray, edits: Sequence[Edit] = (), only: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The values of end points with the edits in place.

        Raises:
            OptionError: an edit for a site that isn't there, or maps that don't fit together with it.
        """
        tf = quiet_import_module("tensorflow")
        session, points = self._network.session, self._network.canonical_end_points
        feed: dict[Tensor, Any] = {self._network.inputs: images.astype(self._network.dtype)}
        replaced = []
        for edit in edits:
            constant = self._epsilons.get(edit.site, self._factors.get(edit.site))
            if constant is not None:
                feed[constant] = edit.value
            else:
                replaced.append((self._operation(edit.site), self._edited(edit)))
        try:
            # Each in its turn: the one behind is computed from what the one in front gave.
            for operation, result in sorted(replaced, key=lambda pair: self._order[pair[0].name]):
                feed[operation.outputs[0]] = session.run(result, feed)
            values = session.run({name: points[name] for name in (points if only is None else only)}, feed)
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            raise not_runnable(edits, error) from None
        return {name: squeeze_map(value) for name, value in values.items()}

    def _operation(self, name: str) -> Operation:
        if name not in self._order:
            raise no_such_site(name)
        return self._network.graph.get_operation_by_name(name)

    def _edited(self, edit: Edit) -> Tensor:
        """The result of a convolution or pool with another stride or padding, made once."""
        if edit not in self._made:
            operation = self._operation(edit.site)
            with self._network.graph.as_default():
                if isinstance(edit.value, PoolPadding):
                    self._made[edit] = _pooled(operation, edit.value)
                else:
                    self._made[edit] = _strided(operation, edit.value)
        return self._made[edit]


def _ancestors(tensors: Iterable[Tensor]) -> set[str]:
    """Names of all operations that tensors are computed by."""
    seen: set[str] = set()
    waiting = [tensor.op for tensor in tensors]
    while waiting:
        operation = waiting.pop()
        if operation.name not in seen:
            seen.add(operation.name)
            waiting.extend(tensor.op for tensor in operation.inputs)
    return seen


def _static(tensor: Tensor) -> Any:
    """The value of a constant, read from its node.

    Asked itself for the value, TensorFlow lets the constant be fed no more.
    """
    return quiet_import_module("tensorflow").make_ndarray(tensor.op.get_attr("value"))


def _pads(operation: Operation) -> tuple[int, ...] | None:
    """Rows of padding in front of a map and behind it, by a Pad operation; None where they are no constant."""
    if operation.inputs[1].op.type != "Const":
        return None
    return tuple(int(width) for width in _static(operation.inputs[1])[1])


def _unpadded(operation: Operation) -> Tensor:
    """The map that an operation takes, without the Pad in front of it."""
    tensor = operation.inputs[0]
    return tensor.op.inputs[0] if tensor.op.type in PADS else tensor


def _keeps_size(operation: Operation) -> bool:
    size = operation.inputs[1].shape[0]
    padding = operation.get_attr("padding").decode()
    if size == 1 or padding == "SAME":
        return True
    if padding == "EXPLICIT":
        return sum(operation.get_attr("explicit_paddings")[2:4]) == size - 1
    before = operation.inputs[0].op
    pads = _pads(before) if before.type in PADS else None
    return pads is not None and sum(pads) == size - 1


def _previous(operation: Operation) -> str | None:
    """The convolution in front of another, with nothing but batch norm, ReLU and padding between them."""
    tensor = operation.inputs[0]
    while tensor.op.type in BETWEEN_CONVOLUTIONS:
        maps = [each for each in tensor.op.inputs if each.shape.rank == 4]
        if len(maps) != 1:
            return None
        tensor = maps[0]
    return str(tensor.op.name) if tensor.op.type == "Conv2D" else None


def _pool_padding(operation: Operation) -> PoolPadding:
    padding = operation.get_attr("padding").decode()
    if operation.inputs[0].op.type in PADS:
        return PoolPadding(PADDED, 0.0)
    return PoolPadding(PADDED if padding == "EXPLICIT" else padding.lower())


def _pooled(operation: Operation, padding: PoolPadding) -> Tensor:
    tf = quiet_import_module("tensorflow")
    size, stride = operation.get_attr("ksize")[1], operation.get_attr("strides")[1]
    net = _unpadded(operation)
    if padding.mode == PADDED:
        widths = [[0, 0], [size // 2, size // 2], [size // 2, size // 2], [0, 0]]
        return tf.nn.max_pool2d(tf.pad(net, widths, constant_values=padding.fill), size, stride, "VALID")
    pooled = tf.nn.max_pool2d(net, size, stride, padding.mode.upper())
    if padding.mode == SAME and padding.fill == 0:
        # How many pixels a window holds: fewer at the edges, where the padding has a say.
        window = tf.ones([size, size, 1, 1], net.dtype)
        held = tf.nn.conv2d(tf.ones_like(net[..., :1]), window, stride, "SAME")
        pooled = tf.where(held < size * size, tf.maximum(pooled, 0.0), pooled)
    return pooled


def _strided(operation: Operation, stride: float) -> Tensor:
    tf = quiet_import_module("tensorflow")
    padding: Any = operation.get_attr("padding").decode()
    if padding == "EXPLICIT":
        widths = operation.get_attr("explicit_paddings")
        padding = [list(widths[axis : axis + 2]) for axis in range(0, 8, 2)]
    return tf.nn.conv2d(operation.inputs[0], operation.inputs[1], int(stride), padding)
