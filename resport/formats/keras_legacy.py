"""The HDF5 layout of Keras 0, 1 and 2, which Keras 3 reads and writes too: a group for each layer, names in attributes.

The root, or the group ``model_weights`` of a whole saved model, has an attribute ``layer_names``; each layer's group an
attribute ``weight_names``; a dataset lies under its weight's name inside its layer's group. Keras 2 spells weights
``conv1/kernel:0``, Keras 3 ``conv1/kernel``, older ones and nested models in other ways; a tensor is called
``layer/weight`` whatever the file's spelling. Keras 1 and 0 had other words and other kernels, which ``keras_era`` and
``keras_kernels`` bring to those of today.

The writer spells as Keras 2 does, with ``:0``. That keeps datasets and groups apart when one tensor's name is the
beginning of another's, as ``Variable`` and ``Variable/Adam`` are in TF checkpoints.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from resport.errors import FormatError, OptionError
from resport.formats.damage import quoted
from resport.formats.hdf5 import (
    HDF5_MAX_ATTRIBUTE_BYTES,
    HDF5Errors,
    child_names,
    count_attribute,
    follow_dataset,
    follow_group,
    open_file,
    read_texts,
    text_attribute,
)
from resport.formats.hdf5_checkpoint import Found, HDF5Reader
from resport.formats.hdf5_encoding.tree import NewGroup
from resport.formats.hdf5_file.objects import Group, HDF5File
from resport.formats.hdf5_writer import HDF5Writer, name_list, text_problem, type_attribute
from resport.formats.keras_config import LayerConfig, find_layers, parse_config
from resport.formats.keras_era import (
    DEVIATION_WORD,
    ERA_WORDS,
    deviation_to_variance,
    has_deviations,
    is_era,
    parameter_words,
    split_spelling,
)
from resport.formats.keras_kernels import (
    TODAYS_ORDER,
    KernelOrder,
    kernel_order_named,
    later_order,
    tell_order,
    turn_kernel,
    turned_shape,
)
from resport.formats.keras_layers import group_by_layer, split_name
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import numpy as np

LEGACY_LAYER_NAMES = "layer_names"
LEGACY_WEIGHT_NAMES = "weight_names"
LEGACY_WHOLE_MODEL_GROUP = "model_weights"
LEGACY_OPTIMIZER_GROUP = "optimizer_weights"
# Keras 0 counts its layers here, and the parameters of each in the attribute of its group.
LEGACY_COUNT = "nb_layers"
LEGACY_PARAMETER_COUNT = "nb_params"
LEGACY_TOP_LEVEL_GROUP = "top_level_model_weights"
# The rules that the file follows, not the program that wrote it. Loaders ask whether it is "1", and whether the backend
# is theirs: if not, Keras 1 and 2 turn convolution kernels round.
LEGACY_KERAS_VERSION = "2.15.0"
LEGACY_BACKEND = "tensorflow"
LEGACY_RESERVED = r"(layer_names|weight_names)\d*|keras_version|backend"


def is_keras_legacy(path: str) -> bool:
    """Whether an HDF5 file has this layout.

    Raises:
        FormatError: the file is damaged.
    """
    with open_file(path) as file, HDF5Errors(path):
        return _weights_root(file, path) is not None


def _weights_root(file: HDF5File, path: str) -> Group | None:
    """The group that has the list of layers: the root, or the group of a whole saved model."""
    if _has_layers(file):
        return file
    if LEGACY_WHOLE_MODEL_GROUP not in file:
        return None
    group = follow_group(file, LEGACY_WHOLE_MODEL_GROUP, path)
    return group if _has_layers(group) else None


def _has_layers(group: Group) -> bool:
    return not {LEGACY_LAYER_NAMES, f"{LEGACY_LAYER_NAMES}0", LEGACY_COUNT}.isdisjoint(group.attribute_names)


class KerasLegacyReader(HDF5Reader):
    """An HDF5 file of Keras 0, 1, 2 or 3: weights alone, or a whole model.

    The kernels of convolutions come as (height, width, in, out) and as correlations use them, however the file has
    them; ``note`` says what was turned, and why.

    Args:
        path: the file.
        kernel_order: how convolution kernels are stored, where the file should not tell it: ``hwio``, ``oihw``,
            ``hwio-flipped`` or ``oihw-flipped``, flipped as Theano has them.
        deviation_epsilon: the epsilon of the batch norms in a file older than Keras 1.0.6, whose standard deviations
            are then given as the variances that do the same with that epsilon. This changes values.

    Raises:
        SourceNotFoundError: nothing is there.
        FormatError: the file is damaged, has another layout, or contradicts itself.
        OptionError: an unknown order, or an epsilon for a file without deviations.
    """

    format: ClassVar[str] = "keras-legacy-h5"
    # `model_config` and `training_config`, the other attributes of a whole model, are text worth showing.
    reserved: ClassVar[re.Pattern[str]] = re.compile(LEGACY_RESERVED)

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        kernel_order: str | None = None,
        deviation_epsilon: float | None = None,
    ) -> None:
        self._kernel_order = None if kernel_order is None else kernel_order_named(kernel_order)
        if deviation_epsilon is not None and not 0 <= deviation_epsilon < 1:
            raise OptionError("batch norm has no such epsilon", expected="a number from 0 to 1", got=deviation_epsilon)
        self._deviation_epsilon = deviation_epsilon
        # By the dataset's path: the word of an old weight, which its name may not show.
        self._words: dict[str, str] = {}
        self._order = TODAYS_ORDER
        self._kernels: frozenset[str] = frozenset()
        self._deviations: frozenset[str] = frozenset()
        super().__init__(path)

    def _find(self, file: HDF5File) -> Found:
        root = _weights_root(file, self.path)
        if root is None:
            raise FormatError(
                f"`{self.path}` is HDF5, but not of Keras' layout",
                path=self.path,
                expected=f"an attribute `{LEGACY_LAYER_NAMES}` at the root or at `{LEGACY_WHOLE_MODEL_GROUP}`",
                got=f"a root with {', '.join(map(quoted, child_names(file, self.path)[:8])) or 'no members'}",
            )
        self._version = _text(root, file, "keras_version", self.path)
        self._backend = _text(root, file, "backend", self.path)
        self.producer = _producer(self._version, self._backend)
        self._layers: list[LayerConfig] = []
        if is_era(self._version) and "model_config" in self.metadata:
            self._layers = find_layers(parse_config(self.metadata["model_config"], self.path), self.path)
        self._is_counted = root.has_attribute(LEGACY_COUNT)
        yield from self._find_counted(root) if self._is_counted else self._find_named(root, file)

    def _find_named(self, root: Group, file: HDF5File) -> Found:
        """The weights of a file that names layers and weights: Keras 1 and later."""
        layers = dict.fromkeys(read_texts(root, LEGACY_LAYER_NAMES, self.path) or [])
        # What is listed twice is one tensor.
        found: set[str] = set()
        # A model's own weights, outside of any layer, come last.
        top = {LEGACY_TOP_LEVEL_GROUP: None} if LEGACY_TOP_LEVEL_GROUP in root else {}
        for layer in layers | top:
            group = follow_group(root, layer, self.path)
            for weight in read_texts(group, LEGACY_WEIGHT_NAMES, self.path) or []:
                dataset = follow_dataset(group, weight, self.path)
                if dataset.name in found:
                    continue
                found.add(dataset.name)
                old = split_spelling(weight) if is_era(self._version) else None
                if old is None:
                    yield dataset, _names(layer, weight, layer not in layers)
                else:
                    self._words[dataset.name] = old[1]
                    yield dataset, (_era_name(layer, *old, self._shown_word(old[1])), f"{layer}/{weight}")
        if LEGACY_OPTIMIZER_GROUP in file:
            yield from self._find_optimizer(file, found)

    def _find_optimizer(self, file: HDF5File, found: set[str]) -> Found:
        """The variables of the optimizer, but for those that were found already: a layer can be called so."""
        group = follow_group(file, LEGACY_OPTIMIZER_GROUP, self.path)
        for weight in dict.fromkeys(read_texts(group, LEGACY_WEIGHT_NAMES, self.path) or []):
            dataset = follow_dataset(group, weight, self.path)
            if dataset.name not in found:
                bare = f"{LEGACY_OPTIMIZER_GROUP}/{weight.removesuffix(':0')}"
                yield dataset, (bare, f"{LEGACY_OPTIMIZER_GROUP}/{weight}")

    def _find_counted(self, root: Group) -> Found:
        """The weights of a file of Keras 0, which counts layers and parameters and names nothing."""
        n_layers = count_attribute(root, LEGACY_COUNT, self.path)
        known = self._layers if len(self._layers) == n_layers else []
        for number in range(n_layers):
            place = f"layer_{number}"
            group = follow_group(root, place, self.path)
            n_parameters = count_attribute(group, LEGACY_PARAMETER_COUNT, self.path)
            layer = known[number] if known else None
            words = parameter_words(layer.class_name, n_parameters) if layer else None
            for position in range(n_parameters):
                dataset = follow_dataset(group, f"param_{position}", self.path)
                counted = f"{place}/param_{position}"
                if words is None or layer is None or not layer.name:
                    self._words[dataset.name] = "W" if position == 0 else ""
                    yield dataset, (counted,)
                else:
                    self._words[dataset.name] = words[position]
                    yield dataset, (f"{layer.name}/{self._shown_word(words[position])}", counted)

    def _shown_word(self, word: str) -> str:
        is_raw = word == DEVIATION_WORD and self._deviation_epsilon is None and self._has_deviations
        return DEVIATION_WORD if is_raw else ERA_WORDS[word]

    @property
    def _has_deviations(self) -> bool:
        return self._is_counted or has_deviations(self._version)

    def _interpret(self, stored: Manifest) -> Manifest:
        words = {name: self._words.get(dataset.name, "") for name, dataset in self._datasets.items()}
        kernels = [name for name, spec in stored.items() if self._is_kernel(spec, words[name])]
        deviations = frozenset(name for name, word in words.items() if word == DEVIATION_WORD)
        if self._deviation_epsilon is not None and not deviations:
            raise OptionError(f"`{self.path}` has no `{DEVIATION_WORD}`, so there is nothing to do with an epsilon")
        notes: list[str] = []
        if kernels:
            self._order, notes = self._tell_order(stored, kernels)
            self._kernels = frozenset(kernels) if self._order != TODAYS_ORDER else frozenset()
        self._note_deviations(deviations, notes)
        self.note = "; ".join(notes) or None
        return Manifest(
            replace(spec, shape=turned_shape(spec.shape, self._order)) if name in self._kernels else spec
            for name, spec in stored.items()
        )

    def _is_kernel(self, spec: TensorSpec, word: str) -> bool:
        if self._words:
            return word == "W" and len(spec.shape) == 4
        return spec.name.endswith("/kernel") and len(spec.shape) in {3, 4, 5}

    def _tell_order(self, stored: Manifest, kernels: list[str]) -> tuple[KernelOrder, list[str]]:
        """How convolution kernels are stored, and what to tell the user of it."""
        if self._kernel_order is not None:
            return self._kernel_order, [f"convolution kernels were taken for `{self._kernel_order}`, as asked for"]
        if not self._words:
            # Keras 2 has one order of axes, whatever the backend.
            return later_order(self._backend)
        shapes = [(stored[name].shape, _bias_length(stored, name)) for name in kernels]
        orderings = {str(layer.settings.get("dim_ordering")) for layer in self._layers} & {"th", "tf"}
        has_colon = None if self._is_counted else any(place.endswith(":0") for place in self._words)
        return tell_order(shapes, orderings, self._backend, has_colon, self.path)

    def _note_deviations(self, deviations: frozenset[str], notes: list[str]) -> None:
        if self._deviation_epsilon is not None:
            self._deviations = deviations
            notes.append(
                f"`{DEVIATION_WORD}` was turned into variances, with {self._deviation_epsilon} for the epsilon of "
                "every batch norm: values changed"
            )
        elif deviations and self._has_deviations:
            notes.append(
                f"`{DEVIATION_WORD}` is a standard deviation before Keras 1.0.6: "
                "give `--deviation-epsilon`, the epsilon of the batch norms, to have variances"
            )
        elif deviations:
            notes.append(
                f"`{DEVIATION_WORD}` is taken for the variance, as Keras has it since 1.0.6: "
                "give `--deviation-epsilon` if the file is older"
            )

    def read(self, name: str) -> np.ndarray:
        array = super().read(name)
        if name in self._kernels:
            return turn_kernel(array, self._order)
        if name in self._deviations and self._deviation_epsilon is not None:
            return deviation_to_variance(array, self._deviation_epsilon)
        return array

    def _is_stored_as_read(self, name: str) -> bool:
        return name not in self._kernels and name not in self._deviations


def _names(layer: str, weight: str, is_top: bool) -> tuple[str, ...]:
    """The names that a tensor can have: ``layer/weight``, and longer ones for when that is another's too."""
    bare = weight.removesuffix(":0")
    # The name of the model, or of a replica of it, can stand in front of the layer's: `sequential/fc/kernel` of `fc`.
    start = f"/{bare}/".find(f"/{layer}/")
    # A model's own weight has no layer in front.
    short = bare if is_top else bare[start:] if start >= 0 else f"{layer}/{bare}"
    return (short, f"{layer}/{bare}", f"{layer}/{weight}")


def _bias_length(stored: Mapping[str, TensorSpec], kernel: str) -> int | None:
    scope = kernel.rpartition("/")[0]
    bias = stored.get(f"{scope}/bias") or stored.get(f"{scope}/param_1")
    return bias.shape[0] if bias and len(bias.shape) == 1 else None


def _era_name(layer: str, owner: str, word: str, shown: str) -> str:
    """The name of a weight of Keras 1; those of a nested model have the name of their own layer too."""
    return f"{layer}/{shown}" if owner == layer else f"{layer}/{owner}/{shown}"


def _text(root: Group, file: HDF5File, name: str, path: str) -> str | None:
    return text_attribute(root, name, path) or text_attribute(file, name, path)


def _producer(version: str | None, backend: str | None) -> str | None:
    """Which Keras wrote a file, and for which backend if for another than TensorFlow; Keras 1 doesn't say."""
    if version is None:
        return None
    return f"keras {version}" if backend in {None, LEGACY_BACKEND} else f"keras {version} ({backend})"


class KerasLegacyWriter(HDF5Writer):
    """A new HDF5 file that Keras 2 and 3 load, by position or by name.

    Layers come in the order of their first tensor in the specs, the weights of a layer in the order that Keras gives
    them, because loading by position is what Keras does unless told otherwise.

    Args:
        path: the file.
        specs: every tensor that will be written, in the order of the model's layers.
        metadata: text to keep as attributes of the root.

    Raises:
        FormatError: a name, dtype or text that the layout cannot hold.
    """

    format: ClassVar[str] = "keras-legacy-h5"
    # Keras takes a file with a `model_config` for a whole model.
    reserved: ClassVar[re.Pattern[str]] = re.compile(f"{LEGACY_RESERVED}|model_config|training_config")

    @classmethod
    def problems(cls, manifest: Manifest) -> list[str]:
        problems = super().problems(manifest)
        for name in manifest:
            problem = _name_problem(name)
            if problem:
                problems.append(f"{quoted(name)} {problem}")
        places = {_place(name): name for name in manifest}
        for place, name in places.items():
            parts = place.split("/")
            outer = (places.get("/".join(parts[:end])) for end in range(1, len(parts)))
            problems += [f"{quoted(name)} would have to lie inside of {quoted(other)}" for other in outer if other]
        return problems

    def _describe(self) -> NewGroup:
        layers = group_by_layer(list(self.manifest))
        root = NewGroup(attributes=name_list(LEGACY_LAYER_NAMES, list(layers)))
        root.attributes["backend"] = LEGACY_BACKEND.encode()
        root.attributes["keras_version"] = LEGACY_KERAS_VERSION.encode()
        for layer, names in layers.items():
            group = root.group(layer)
            group.attributes.update(name_list(LEGACY_WEIGHT_NAMES, [f"{name}:0" for name in names]))
            for name in names:
                group.add_dataset(f"{name}:0", self.manifest[name], type_attribute(self.manifest[name]))
        if LEGACY_TOP_LEVEL_GROUP not in layers:
            root.group(LEGACY_TOP_LEVEL_GROUP).attributes.update(name_list(LEGACY_WEIGHT_NAMES, []))
        return root


def _place(name: str) -> str:
    """Path of a tensor's dataset in the file."""
    return f"{split_name(name)[0]}/{name}:0"


def _name_problem(name: str) -> str | None:
    problem = text_problem(name)
    if problem:
        return problem
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        return "has a part that is empty or only dots, which HDF5 cannot hold"
    if len(name.encode()) + len(":0") > HDF5_MAX_ATTRIBUTE_BYTES:
        return f"is longer than {HDF5_MAX_ATTRIBUTE_BYTES} bytes"
    return None
