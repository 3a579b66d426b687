"""Caffe's Scale layer for Keras: a factor and a shift for each channel, kept apart from the batch norm in front.

``Scale`` is registered with Keras, so a saved model opens wherever this module was imported before. The class is made
when it is first asked for: to import this module imports no framework.
"""

from __future__ import annotations

import functools
from typing import Any

from resport.architectures.frameworks import quiet_import_module

PACKAGE = "resport"


def __getattr__(name: str) -> Any:
    if name == "Scale":
        return scale_layer()
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")


@functools.cache
def scale_layer() -> type[Any]:
    """The class ``Scale``, registered as ``resport>Scale``.

    Raises:
        MissingDependencyError: Keras or its backend is not installed.
    """
    keras = quiet_import_module("keras")

    layer: Any = keras.layers.Layer

    class Scale(layer):
        """``gamma * x + beta`` along one axis.

        Args:
            axis: the axis of the channels: -1 or 3 for ``channels_last`` maps, 1 for ``channels_first``.
            gamma_initializer: what gamma begins with.
            beta_initializer: what beta begins with.
            gamma_regularizer: penalty on gamma.
            beta_regularizer: penalty on beta.
            **options: name, dtype and the like.
        """

        def __init__(
            self,
            axis: int = -1,
            gamma_initializer: Any = "ones",
            beta_initializer: Any = "zeros",
            gamma_regularizer: Any = None,
            beta_regularizer: Any = None,
            **options: Any,
        ) -> None:
            super().__init__(**options)
            self.axis = axis
            self.gamma_initializer = keras.initializers.get(gamma_initializer)
            self.beta_initializer = keras.initializers.get(beta_initializer)
            self.gamma_regularizer = keras.regularizers.get(gamma_regularizer)
            self.beta_regularizer = keras.regularizers.get(beta_regularizer)
            self.supports_masking = True

        def build(self, input_shape: tuple[int | None, ...]) -> None:
            size = input_shape[self.axis]
            if size is None:
                raise ValueError(
                    f"the axis {self.axis} that is scaled needs a size. Received: input_shape={input_shape}"
                )
            self.gamma = self.add_weight(
                shape=(size,), initializer=self.gamma_initializer, regularizer=self.gamma_regularizer, name="gamma"
            )
            self.beta = self.add_weight(
                shape=(size,), initializer=self.beta_initializer, regularizer=self.beta_regularizer, name="beta"
            )
            self.input_spec = keras.layers.InputSpec(ndim=len(input_shape), axes={self.axis: size})
            self.built = True

        def call(self, inputs: Any) -> Any:
            shape = [1] * len(inputs.shape)
            shape[self.axis] = -1
            gamma, beta = (
                keras.ops.reshape(keras.ops.cast(vector, inputs.dtype), shape) for vector in (self.gamma, self.beta)
            )
            return gamma * inputs + beta

        def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
            return input_shape

        def get_config(self) -> dict[str, Any]:
            return {
                **super().get_config(),
                "axis": self.axis,
                "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
                "beta_initializer": keras.initializers.serialize(self.beta_initializer),
                "gamma_regularizer": keras.regularizers.serialize(self.gamma_regularizer),
                "beta_regularizer": keras.regularizers.serialize(self.beta_regularizer),
            }

    # What a reader of a message should see: the class by the name under which one imports it.
    Scale.__module__, Scale.__qualname__ = __name__, "Scale"
    registered: type[Any] = keras.saving.register_keras_serializable(PACKAGE, "Scale")(Scale)
    return registered
