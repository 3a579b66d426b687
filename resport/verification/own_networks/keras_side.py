"""A Keras model of one's own as a network: every layer is an end point, and it computes in float64 too.

The model is copied, from its own description and with its own weights, and the copy is run: the layers of the model
keep their dtypes, and a layer that other models have called before has one place in the copy. A model that cannot be
copied so (a Lambda, a class that Keras cannot describe) is run itself, in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_network import KerasNetwork
from resport.errors import OptionError
from resport.verification.own_networks.callable_side import OUTPUT

if TYPE_CHECKING:
    import keras
    import numpy as np


@dataclass(frozen=True, slots=True)
class KerasModelSide:
    """A functional or Sequential model.

    Attributes:
        model: the model, built, with one input.
        end_points: names of the layers whose outputs are compared; all of them if empty. The model's own outputs are
            compared too, as ``output`` (``output_0``, ``output_1``, … where there are several).
        label: what reports call it; the model's name if empty.

    Raises:
        OptionError: the model isn't built or has several inputs, or has no such layer.
    """

    model: keras.Model
    end_points: Sequence[str] = ()
    label: str = ""
    kind: str = "Keras model"
    _copied: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        inputs = getattr(self.model, "inputs", None)
        if not inputs or len(inputs) != 1:
            raise OptionError(
                f"the model `{self.model.name}` has no single input",
                expected="a built functional or Sequential model",
                got=f"{len(inputs)} inputs" if inputs else "none: it isn't built, or is no graph of layers",
                hint="hand over a function instead: lambda images: model(images, training=False)",
            )
        missing = set(self.end_points) - {layer.name for layer in self.model.layers}
        if missing:
            raise OptionError(f"`{self.model.name}` has no layer `{min(missing)}`", got=min(missing))
        object.__setattr__(self, "_copied", _copy(self.model))

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.label or str(self.model.name)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """What it can be computed in."""
        return ("float32",) if self._copied is None else ("float64", "float32")

    @property
    def input_size(self) -> int | None:
        """Height of the images that it takes; None for any."""
        shape = self.model.inputs[0].shape
        is_first = len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3)
        size = shape[2 if is_first else 1] if len(shape) == 4 else None
        return None if size is None else int(size)

    @property
    def is_reversed(self) -> bool:
        """Images are taken as they are."""
        return False

    def read(self, name: str) -> np.ndarray:
        """The model's own value of a variable, ``layer/variable``."""
        values = {f"{layer.name}/{each.name}": each for layer in self.model.layers for each in layer.weights}
        value: np.ndarray = quiet_import_module("keras").ops.convert_to_numpy(values[name])
        return value

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The end points for each batch of images, computed in a dtype."""
        with self.open(dtype) as network:
            return [network.forward(batch) for batch in images]

    @contextmanager
    def open(self, dtype: str) -> Iterator[KerasNetwork]:
        """The model with its values as a network that computes in a dtype.

        Raises:
            OptionError: it cannot compute in float64.
        """
        if self._copied is None:
            if dtype != "float32":
                raise OptionError(f"`{self.name}` cannot be copied, so it computes in float32 alone", got=dtype)
            yield KerasNetwork(self.model, self._points(self.model))
            return
        self._copied.set_weights(self.model.get_weights())
        network = KerasNetwork(self._copied, self._points(self._copied))
        network.compute_in(dtype)
        yield network

    def _points(self, model: Any) -> dict[str, Any]:
        """Symbolic tensors of the layers in network order, then the model's outputs."""
        points = {name: value for name, value in _layer_outputs(model) if name in (self.end_points or (name,))}
        outputs = model.outputs
        named = [OUTPUT] if len(outputs) == 1 else [f"{OUTPUT}_{index}" for index in range(len(outputs))]
        return points | dict(zip(named, outputs, strict=True))


def _layer_outputs(model: Any) -> Iterator[tuple[str, Any]]:
    """What each layer gives in this model, by the layer's name; the last call of a layer that is called again.

    ``layer.output`` would be what it gave in the first model that it was part of, and a model's own is inside of it.
    """
    # A Sequential model is a functional one within.
    graph = getattr(model, "_functional", None) or model
    for _, nodes in sorted(graph._nodes_by_depth.items(), reverse=True):
        for node in nodes:
            if not node.is_input and len(node.outputs) == 1:
                yield node.operation.name, node.outputs[0]


def _copy(model: Any) -> Any | None:
    """The same graph in layers of its own, or None where it cannot be had."""
    try:
        copy = type(model).from_config(model.get_config())
    except Exception:  # whatever a layer raises that cannot be described, or made from its description
        return None
    return copy if copy.inputs else None
