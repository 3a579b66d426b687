"""A Keras model as a network to load and run: weights by ``layer/variable``, values at every end point."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from resport.architectures.frameworks import quiet_import_module, quiet_tracing
from resport.architectures.keras_blocks import is_channels_first
from resport.architectures.keras_grouped import grouped_convolutions_compiled_once
from resport.architectures.network import check_dtype, check_images, read_fitting, squeeze_map
from resport.errors import OptionError
from resport.tensors import random_tensor

if TYPE_CHECKING:
    import keras
    import numpy as np


XLA = "XLA's kernels"


@dataclass(frozen=True, slots=True)
class LoadedByName:
    """What loading by name did.

    Attributes:
        loaded: variables that were filled.
        left: variables of the model that no value has the name of: they stay as they were.
        unused: names of values that the model has no variable for.
    """

    loaded: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]


def load_by_name(model: keras.Model, values: Mapping[str, np.ndarray]) -> LoadedByName:
    """Fill the variables of a model whose names are there, and say which are not.

    For fine-tuning: a classifier of another class count has another name in some networks, and keeps what it had.

    Args:
        model: the model.
        values: arrays by ``layer/variable``.

    Raises:
        OptionError: no name is there, or a value of a name that is there has another shape. Nothing is filled then.
    """
    variables = {f"{layer.name}/{weight.name}": weight for layer in model.layers for weight in layer.weights}
    names = [name for name in variables if name in values]
    if not names:
        raise OptionError(
            f"no variable of `{model.name}` has a value by its name", got=", ".join([*values][:5]) or None
        )
    arrays = {name: read_fitting(values, name, tuple(variables[name].shape), variables[name].dtype) for name in names}
    for name, array in arrays.items():
        variables[name].assign(array)
    return LoadedByName(
        tuple(names),
        tuple(name for name in variables if name not in values),
        tuple(name for name in values if name not in variables),
    )


class KerasNetwork:
    """A model and its end points.

    Args:
        model: the model.
        end_points: symbolic tensors of that model by canonical name, in network order.

    Attributes:
        model: the model.
        variables: variables by ``layer/variable``, in the order of ``model.weights``.
        end_points: symbolic tensors by canonical name, in network order.
    """

    def __init__(self, model: keras.Model, end_points: Mapping[str, keras.KerasTensor]) -> None:
        self.model = model
        self.variables: dict[str, Any] = {
            f"{layer.name}/{variable.name}": variable for layer in model.layers for variable in layer.weights
        }
        self.end_points = dict(end_points)
        self._is_compiled = is_channels_first(model)
        self._tapped = quiet_import_module("keras").Model(model.inputs, list(end_points.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all variables, as ``layer/variable``."""
        return tuple(self.variables)

    def load(self, values: Mapping[str, np.ndarray] | Callable[[str], np.ndarray]) -> None:
        """Fill every variable.

        Args:
            values: arrays by name, or a function that gives the array of a name. They are cast to the model's dtype.

        Raises:
            OptionError: a name has no value, or a value of another shape.
        """
        for name, variable in self.variables.items():
            variable.assign(read_fitting(values, name, tuple(variable.shape), variable.dtype))

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Give some variables other values.

        Args:
            values: arrays by name, of the variables' shapes.

        Raises:
            OptionError: a value of another shape.
        """
        for name in values:
            variable = self.variables[name]
            variable.assign(read_fitting(values, name, tuple(variable.shape), variable.dtype))

    def initialize(self, seed: int) -> None:
        """Fill every variable with random values on which mistakes show; the same seed gives the same values."""
        self.load(lambda name: random_tensor(name, tuple(self.variables[name].shape), seed))

    def compute_in(self, dtype: str) -> None:
        """Compute in another dtype from now on; the variables keep theirs and are cast when they are used.

        A second network of the other dtype would compute the same, and cost as much again to build and to load.

        Args:
            dtype: ``float32`` or ``float64``.
        """
        # Models can be layers of models: theirs compute too.
        for layer in self.model._flatten_layers(include_self=False):
            layer.dtype_policy = _policy(check_dtype(dtype), layer.variable_dtype)

    @property
    def executions(self) -> tuple[str, ...]:
        """Other ways to compute the same, for ``execute``. Eager TensorFlow's threads are the process's own."""
        backend = quiet_import_module("keras").backend.backend()
        return () if backend != "tensorflow" or self._is_compiled else (XLA,)

    def execute(self, how: str | None) -> None:
        """Compute in another way from now on.

        Args:
            how: one of ``executions``; None for the usual one.
        """
        self._is_compiled = how == XLA or is_channels_first(self.model)

    def forward(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run the model as in inference.

        Args:
            images: (batch, height, width, channels), whatever the model's layout.

        Returns:
            The value of every end point, in network order; 1x1 maps without their spatial axes.

        Raises:
            OptionError: the images don't fit the input.
        """
        ops = quiet_import_module("keras").ops
        run: Callable[..., Any] = functools.partial(self._tapped, training=False)
        if is_channels_first(self.model):
            images = images.transpose(0, 3, 1, 2)
        if self._is_compiled:
            run = _compiled(run)
        check_images(images, tuple(self.model.inputs[0].shape))
        with quiet_tracing(), grouped_convolutions_compiled_once(self.model):
            values = run([images.astype(self.model.inputs[0].dtype)])
        # Keras gives a single output bare, however it was asked for.
        values = [values] if len(self.end_points) == 1 else values
        arrays = (squeeze_map(ops.convert_to_numpy(value)) for value in values)
        return dict(zip(self.end_points, arrays, strict=True))

    def close(self) -> None:
        """Let the variables go. Closing twice is allowed."""
        self.variables.clear()
        self.__dict__.pop("model", None)
        self.__dict__.pop("_tapped", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _compiled(run: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled by XLA, where TensorFlow is Keras' backend.

    On a CPU TensorFlow's own convolutions run with channels first in float32 alone; XLA's run in float64 too.
    """
    if quiet_import_module("keras").backend.backend() != "tensorflow":
        return run
    compiled: Callable[..., Any] = quiet_import_module("tensorflow").function(run, jit_compile=True)
    return compiled


def _policy(compute_dtype: str, variable_dtype: str) -> Any:
    """The dtypes of a layer. Keras names no pair of float32 and float64, but asks a policy for each of the two."""
    base = quiet_import_module("keras").DTypePolicy
    if compute_dtype == variable_dtype:
        return base(compute_dtype)
    return type("ComputeDTypePolicy", (base,), {"compute_dtype": compute_dtype})(variable_dtype)
