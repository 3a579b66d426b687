"""Native builders: every network in its own framework, to prove that converted weights compute the same.

``build`` gives what a user of the framework wants: a TF1 graph with slim's names, or a Keras model of stock layers.
``open_network`` gives what the verifier wants: one small interface over both, with the same end points under the same
names. Importing this package imports no framework; building does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resport.architectures.keras_network import LoadedByName, load_by_name
from resport.architectures.network import Network
from resport.architectures.registry import call_builder, find_builder, resolve, variants

if TYPE_CHECKING:
    import keras

__all__ = ["LoadedByName", "Network", "build", "end_points", "load_by_name", "open_network", "variants"]


def build(variant: str, dialect: str, **options: Any) -> Any:
    """Build a network.

    Args:
        variant: its name, ``resnet_v2_50``; see ``variants()``.
        dialect: ``slim``, ``keras`` or another that the variant's family has a builder for.
        **options: ``num_classes``, ``include_top``, ``input_size``, ``dtype``, ``batch_size``, ``global_pool``,
            ``output_stride``, ``include_root_block``; for slim also ``is_training``, ``spatial_squeeze`` and
            ``scope``; for Keras also ``trainable``, ``data_format``, ``pool1`` and ``classifier_activation``. An option
            that a builder has not is an error that lists those that it has.

    Returns:
        A ``keras.Model`` for Keras' dialects, a ``SlimNetwork`` for those of TF1 graphs.

    Raises:
        OptionError: an unknown variant, dialect or option, or a value that cannot be meant.
        MissingDependencyError: the framework of that dialect is not installed.
    """
    return call_builder(variant, dialect, options)


def open_network(variant: str, dialect: str, **options: Any) -> Network:
    """Build a network to load, run and close, with end points by canonical name.

    Args:
        variant: its name.
        dialect: as ``build`` has it.
        **options: as ``build`` has them.

    Raises:
        OptionError: as ``build``.
        MissingDependencyError: as ``build``.
    """
    builder = find_builder(variant, dialect)
    if not builder.end_points:
        network: Network = build(variant, dialect, **options)
        return network
    from resport.architectures.keras_network import KerasNetwork

    model = build(variant, dialect, **{**builder.logits, **options})
    return KerasNetwork(model, resolve(builder.end_points)(model))


def end_points(model: keras.Model, variant: str | None = None) -> dict[str, keras.KerasTensor]:
    """End points of a Keras model by canonical name, in network order.

    Args:
        model: the model; one of keras.applications will do.
        variant: what it is; the model's name if None.

    Raises:
        OptionError: no Keras builder has that variant.
    """
    found: dict[str, keras.KerasTensor] = resolve(find_builder(variant or model.name, "keras").end_points)(model)
    return found
