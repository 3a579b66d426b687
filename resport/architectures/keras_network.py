"""A Keras model as a network to load and run: weights by ``layer/variable``, values at every end point."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from resport.architectures.frameworks import quiet_import_module, quiet_tracing
from resport.architectures.keras_blocks import is_channels_first
from resport.architectures.network import check_images, read_fitting, squeeze_map
from resport.errors import OptionError
from resport.tensors import random_tensor

if TYPE_CHECKING:
    import keras
    import numpy as np


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
    """

    def __init__(self, model: keras.Model, end_points: Mapping[str, keras.KerasTensor]) -> None:
        self.model = model
        self.variables: dict[str, Any] = {
            f"{layer.name}/{variable.name}": variable for layer in model.layers for variable in layer.weights
        }
        self._end_point_names = tuple(end_points)
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

    def initialize(self, seed: int) -> None:
        """Fill every variable with random values on which mistakes show; the same seed gives the same values."""
        self.load(lambda name: random_tensor(name, tuple(self.variables[name].shape), seed))

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
            images, run = images.transpose(0, 3, 1, 2), _compiled(run)
        check_images(images, tuple(self.model.inputs[0].shape))
        with quiet_tracing():
            values = run([images.astype(self.model.inputs[0].dtype)])
        arrays = (squeeze_map(ops.convert_to_numpy(value)) for value in values)
        return dict(zip(self._end_point_names, arrays, strict=True))

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
