"""A TF1 graph of a slim network: made, filled, run and saved, without touching anything outside it.

Each network has a ``tf.Graph`` and a session of its own, so it lives beside Keras and beside other networks in one
process with TensorFlow 2 behaviour left on. Values are fed to the initialisers that the variables already have: the
graph does not grow when it is loaded, and no weight becomes a constant in it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from resport.architectures.frameworks import quiet_import_module, quiet_warnings
from resport.architectures.network import (
    check_dtype,
    check_images,
    height_and_width,
    read_fitting,
    squeeze_map,
)
from resport.errors import OptionError
from resport.tensors import random_tensor

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

LOAD_BYTES = 32 << 20
"""Values are fed in batches of about this size: one call for each tensor is slow, one for all doubles the memory."""

ONE_THREAD = "one thread"
NOT_OPTIMISED = "kernels of the graph as it was built"


class SlimNetwork:
    """A built network.

    Args:
        network: makes the network from its input: gives the outputs and the end points by slim's keys.
        scope: variable scope of the network; canonical end points have it no more.
        input_size: height and width, one number for both, or None to leave them open.
        channels: channels of the input.
        batch_size: images in a batch, or None to leave it open.
        dtype: ``float32`` or ``float64``.

    Attributes:
        graph: the ``tf.Graph``.
        inputs: the placeholder, (batch, height, width, channels).
        outputs: the network's result.
        end_points: tensors by slim's own keys, in network order.
        variables: variables by name, in the order of their creation.

    Raises:
        OptionError: an input size or dtype that cannot be meant.
        MissingDependencyError: TensorFlow is not installed.
    """

    def __init__(
        self,
        network: Callable[[tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]],
        *,
        scope: str,
        input_size: tuple[int, int] | int | None = 224,
        channels: int = 3,
        batch_size: int | None = None,
        dtype: str = "float32",
    ) -> None:
        tf = quiet_import_module("tensorflow")
        self.scope = scope
        self.dtype = check_dtype(dtype)
        self.graph = tf.Graph()
        # tf_slim calls layers in a way that TensorFlow warns about, once for each of them.
        with self.graph.as_default(), quiet_warnings(), tf.variable_creator_scope(_hashed_by_identity):
            shape = (batch_size, *height_and_width(input_size), channels)
            self.inputs = tf.compat.v1.placeholder(dtype, shape, name="images")
            self.outputs, self.end_points = network(self.inputs)
            self.variables = {variable.op.name: variable for variable in tf.compat.v1.global_variables()}
        self._is_loaded = False
        self._execution: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all variables, slim's own."""
        return tuple(self.variables)

    @property
    def canonical_end_points(self) -> dict[str, tf.Tensor]:
        """End points by the names that all dialects share, in network order."""
        stripped = {key.removeprefix(f"{self.scope}/"): tensor for key, tensor in self.end_points.items()}
        # The logits once more, in another shape.
        stripped.pop("spatial_squeeze", None)
        return stripped

    @property
    def executions(self) -> tuple[str, ...]:
        """Other ways to compute the same, for ``execute``."""
        return (ONE_THREAD, NOT_OPTIMISED)

    def execute(self, how: str | None) -> None:
        """Compute in another way from now on. The values are gone, and are loaded again.

        Args:
            how: one of ``executions``; None for the usual one.
        """
        self.close()
        self._execution = how

    @functools.cached_property
    def session(self) -> tf.compat.v1.Session:
        """The session that holds the values."""
        tf1 = quiet_import_module("tensorflow").compat.v1
        config = tf1.ConfigProto()
        if self._execution == ONE_THREAD:
            # Threads beyond the first come from the process's pools otherwise, whatever the session asks for.
            config.intra_op_parallelism_threads = config.inter_op_parallelism_threads = 1
            config.use_per_session_threads = True
        if self._execution == NOT_OPTIMISED:
            config.graph_options.rewrite_options.disable_meta_optimizer = True
            config.graph_options.optimizer_options.opt_level = tf1.OptimizerOptions.L0
        if _has_grouped_convolution(self.graph):
            # On CPUs without oneDNN the remapper fuses a convolution with the ReLU behind it, and the fused kernel
            # refuses groups ("Fused conv implementation does not support grouped convolutions for now").
            config.graph_options.rewrite_options.remapping = config.graph_options.rewrite_options.OFF
        return tf1.Session(graph=self.graph, config=config)

    def load(self, values: Mapping[str, np.ndarray] | Callable[[str], np.ndarray]) -> None:
        """Fill every variable.

        Args:
            values: arrays by name, or a function that gives the array of a name. They are cast to the network's dtype.

        Raises:
            OptionError: a name has no value, or a value of another shape.
        """
        batch: dict[str, np.ndarray] = {}
        for name, variable in self.variables.items():
            batch[name] = read_fitting(values, name, tuple(variable.shape.as_list()), variable.dtype.base_dtype.name)
            if sum(value.nbytes for value in batch.values()) >= LOAD_BYTES:
                self._assign(batch)
                batch = {}
        self._assign(batch)
        self._is_loaded = True

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Give some variables other values.

        Args:
            values: arrays by name, of the variables' shapes.

        Raises:
            OptionError: the network has no values yet, or a value has another shape.
        """
        self._require_values()
        shapes = {name: tuple(self.variables[name].shape.as_list()) for name in values}
        self._assign({name: read_fitting(values, name, shapes[name], self.dtype) for name in values})

    def _assign(self, batch: Mapping[str, np.ndarray]) -> None:
        initializers = {name: self.variables[name].initializer for name in batch}
        # An initialiser is Assign(variable, value): feeding its second input puts any value in.
        feed = {initializers[name].inputs[1]: value for name, value in batch.items()}
        self.session.run(list(initializers.values()), feed)

    def initialize(self, seed: int) -> None:
        """Fill every variable with random values on which mistakes show; the same seed gives the same values."""
        shapes = {name: tuple(variable.shape.as_list()) for name, variable in self.variables.items()}
        self.load(lambda name: random_tensor(name, shapes[name], seed))

    def forward(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run the network.

        Args:
            images: (batch, height, width, channels).

        Returns:
            The value of every canonical end point, in network order; 1x1 maps without their spatial axes.

        Raises:
            OptionError: the network has no values yet, or the images don't fit its input.
        """
        self._require_values()
        check_images(images, tuple(self.inputs.shape.as_list()))
        values = self.session.run(self.canonical_end_points, {self.inputs: images.astype(self.dtype)})
        return {name: squeeze_map(value) for name, value in values.items()}

    def save(self, prefix: str) -> None:
        """Write a TF checkpoint with TensorFlow's own Saver.

        Args:
            prefix: the checkpoint's prefix.

        Raises:
            OptionError: the network has no values yet.
        """
        self._require_values()
        # Saver asks the default graph whether it runs eagerly, when it is made and when it saves.
        with self.graph.as_default():
            self._saver.save(self.session, prefix, write_meta_graph=False, write_state=False)

    @functools.cached_property
    def _saver(self) -> Any:
        return quiet_import_module("tensorflow").compat.v1.train.Saver(self.variables)

    def _require_values(self) -> None:
        if not self._is_loaded:
            raise OptionError(f"the network `{self.scope}` has no values yet", hint="call .load(...) first")

    def close(self) -> None:
        """Close the session and give its memory back. Closing twice is allowed."""
        session = self.__dict__.pop("session", None)
        if session is not None:
            session.close()
        self._is_loaded = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _hashed_by_identity(create: Callable[..., tf.Variable], **arguments: Any) -> tf.Variable:
    """A variable that is hashed and compared as any object is.

    TensorFlow's own finds out each time whether it is in a graph, and in a graph does just that. slim's layers put all
    variables so far into a set for each one that they make: the slow hash is a third of what ResNet-50 costs to build.
    """
    variable = create(**arguments)
    kind: type = type(variable)
    variable.__class__ = _identity_class(kind)
    return variable


@functools.cache
def _identity_class(kind: type) -> type:
    methods = {"__hash__": object.__hash__, "__eq__": object.__eq__, "__ne__": object.__ne__}
    return type(kind.__name__, (kind,), methods)


def _has_grouped_convolution(graph: tf.Graph) -> bool:
    """Whether a kernel has fewer input channels than the map that it is applied to."""
    convolutions = (operation for operation in graph.get_operations() if operation.type == "Conv2D")
    return any(operation.inputs[0].shape[-1] != operation.inputs[1].shape[2] for operation in convolutions)
