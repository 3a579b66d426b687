"""The description of a Keras network, which a ``.keras`` archive holds beside the weights.

It is Keras' own: the network is built, and asked for it. The layers are stock layers, so Keras opens the archive
without resport. The description is the same in every process: what Keras would count up (the name of an input that
nobody named) is given.
"""

from __future__ import annotations

from typing import Any

from resport.architectures.registry import call_builder


def model_config(variant: str, **options: Any) -> str:
    """The description of a variant as JSON, for the writer of ``.keras`` archives.

    Args:
        variant: its name, ``resnet_v2_50``.
        **options: those of the Keras builder: ``num_classes``, ``include_top``, ``input_size``, ``dtype``, …

    Raises:
        OptionError: an unknown variant or option, or a value that cannot be meant.
        MissingDependencyError: Keras or its backend is not installed.
    """
    config: str = call_builder(variant, "keras", options).to_json()
    return config
