"""A SavedModel of one's own as a network: the outputs of a signature, or tensors of its graph by name.

A SavedModel is a program: TensorFlow runs the graph that is in it, and a graph can read and write files. Only one that
one would run anyway is to be handed over.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resport.architectures.frameworks import quiet_import_module
from resport.errors import OptionError
from resport.verification.own_networks.callable_side import OUTPUT, as_end_points

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class SavedModelSide:
    """A SavedModel of TensorFlow 1 or 2.

    Attributes:
        path: its folder.
        signature: which of its functions is run; it has one input of images.
        tensors: of a SavedModel of TensorFlow 1, names of tensors of the graph (``resnet_v1_50/block1/add:0``) by end
            point, in network order; the signature's outputs if empty.
        dtypes: what it computes in: the graph is as it was saved.
    """

    path: str | os.PathLike[str]
    signature: str = "serving_default"
    tensors: Mapping[str, str] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ("float32",)
    kind: str = "SavedModel"

    @property
    def name(self) -> str:
        """What reports call it."""
        return os.fspath(self.path)

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The end points for each batch of images.

        Raises:
            OptionError: the folder is no SavedModel, or has no such signature or tensor.
        """
        tf = quiet_import_module("tensorflow")
        if not (Path(self.path) / "saved_model.pb").is_file():
            raise OptionError(f"`{self.name}` is no SavedModel", expected="a folder with a saved_model.pb")
        loaded = tf.saved_model.load(self.name)
        function = self._function(loaded)
        return [as_end_points(_named(function(tf.constant(batch.astype(dtype)))), dtype, self.name) for batch in images]

    def _function(self, loaded: Any) -> Any:
        """What is called with images."""
        found = loaded.signatures.get(self.signature)
        if found is None:
            known = ", ".join(loaded.signatures)
            raise OptionError(f"`{self.name}` has no signature `{self.signature}`", expected=known, got=self.signature)
        _, inputs = found.structured_input_signature
        if len(inputs) != 1:
            raise OptionError(f"the signature `{self.signature}` has not one input", expected="images", got=[*inputs])
        if not self.tensors:
            (name,) = inputs
            return lambda images: found(**{name: images})
        if not hasattr(loaded, "prune"):
            raise OptionError(
                f"`{self.name}` is of TensorFlow 2, whose tensors have no names", hint="leave `tensors` out"
            )
        try:
            return loaded.prune(found.inputs[0].name, dict(self.tensors))
        except (KeyError, ValueError) as error:
            raise OptionError(f"`{self.name}` has not all of the tensors: {error}") from error


def _named(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs by name; a single one has the name of the output too."""
    named = dict(outputs)
    return named | {OUTPUT: next(iter(named.values()))} if len(named) == 1 else named
