"""Which builder makes which variant in which dialect: one line for each builder, one for each depth.

Builders are named, not imported, so that asking what exists costs nothing and a framework comes in only when a network
is really built. A builder is a function ``build(variant, **arguments)``; the arguments that tell its variants apart
stand here beside their names, and options of the caller go on top of them.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from resport.architectures.bottlenecks import Bottlenecks
from resport.errors import OptionError
from resport.nearest import nearest

RESNET_UNITS: dict[int, tuple[int, ...]] = {
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
"""Units in each block, by depth."""

CHANNELS_LAST = "channels_last"


@dataclass(frozen=True, slots=True)
class Builder:
    """One builder.

    Attributes:
        family: name of the architecture family, as its mapping table has it.
        dialect: whose names the network has: ``slim``, ``keras``, ``tensorpack``, ...
        function: what builds, as ``module:function``.
        variants: arguments of each variant.
        end_points: what finds the end points of a Keras model, as ``module:function``; TF1 graphs carry their own, and
            have none here.
        logits: options with which a Keras builder gives logits in place of probabilities.
    """

    family: str
    dialect: str
    function: str
    variants: Mapping[str, Mapping[str, Any]] = field(repr=False)
    end_points: str = ""
    logits: Mapping[str, Any] = field(default_factory=lambda: {"classifier_activation": None}, repr=False)

    @property
    def plan(self) -> tuple[str, ...]:
        """The options that describe the units of a network; the builder takes them as one ``Bottlenecks``."""
        return _PLANS.get(self.function, ())

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that it takes."""
        return (*tuple(inspect.signature(resolve(self.function)).parameters)[1 + bool(self.plan) :], *self.plan)


def _resnets(version: int, num_classes: int) -> dict[str, dict[str, Any]]:
    return {
        f"resnet_v{version}_{depth}": {"version": version, "units": units, "num_classes": num_classes}
        for depth, units in RESNET_UNITS.items()
    }


def _bottlenecks(name: str, depths: tuple[int, ...], width: int, **arguments: Any) -> dict[str, dict[str, Any]]:
    """ImageNet networks of bottlenecks by depth: ``name`` has a hole for it, ``width`` is the first block's."""
    return {
        name.format(depth): {
            "units": RESNET_UNITS[depth],
            "depths": (256, 512, 1024, 2048),
            "widths": tuple(width * 2**block for block in range(4)),
            "num_classes": 1000,
            **arguments,
        }
        for depth in depths
    }


_TENSORPACK_RESNETS = _bottlenecks("resnet_v1_{}", (50, 101, 152), 64, slim_points=True)
_TENSORPACK_PREACTS = _bottlenecks("preact_resnet_{}", (50, 101, 152), 64, preact=True)
_SE_RESNETS = _bottlenecks("se_resnet_{}", (50, 101, 152), 64, reduction=16)
_RESNEXTS = _bottlenecks("resnext{}_32x4d", (50, 101, 152), 128, groups=32)
_SE_RESNEXTS = _bottlenecks("se_resnext{}_32x4d", (50, 101), 128, groups=32, reduction=16)


def _cifar_resnext(name: str, form: str | None = None, **arguments: Any) -> dict[str, dict[str, Any]]:
    """The network for 32x32 images; ``form`` is how its paths are computed, where a builder has more than one way."""
    sizes = {"units": (3, 3, 3), "depths": (64, 128, 256), "widths": (512, 512, 512), "groups": 8}
    rest = {"small_images": True, "epsilon": 0.001, "num_classes": 10, "input_size": 32}
    return {name: {**sizes, **rest, **arguments, **({"form": form} if form else {})}}


_CIFAR_RESNEXT = functools.partial(_cifar_resnext, "resnext29_8x64d", stride_on="conv1")
_CIFAR_SE_RESNEXT = functools.partial(_cifar_resnext, "se_resnext29_8x64d", stride_on="conv2", reduction=4)

_FORMS = {"": "grouped", "_concat": "concat", "_split": "split", "_dense": "dense"}

_SLIM_BOTTLENECKS = "resport.architectures.slim_bottlenecks:build"
_KERAS_BOTTLENECKS = "resport.architectures.keras_bottlenecks:build"
_KERAS_BOTTLENECKS_END_POINTS = "resport.architectures.keras_bottlenecks:end_points"
_TENSORPACK_RESNET = "resport.architectures.tensorpack_resnet:build"
_TAKI_RESNEXT = "resport.architectures.taki_resnext:build"

# Which fields of ``Bottlenecks`` are options of a builder.
_UNITS = ("units", "depths", "widths", "groups", "reduction", "stride_on")
_PLANS = {
    _SLIM_BOTTLENECKS: (*_UNITS, "padding", "pool1", "form", "small_images"),
    _KERAS_BOTTLENECKS: (*_UNITS, "padding", "pool1", "form", "small_images"),
    _TENSORPACK_RESNET: (*_UNITS, "padding", "pool1"),
    _TAKI_RESNEXT: (*_UNITS, "small_images"),
}

_SLIM_RESNET = "resport.architectures.slim_resnet:build"
_KERAS_RESNET = "resport.architectures.keras_resnet:build"
_KERAS_RESNET_END_POINTS = "resport.architectures.keras_resnet:end_points"

_SCALE_DEPTHS = (101, 152)
_SCALE_RESNETS = {
    f"resnet_scale_{depth}": {"units": RESNET_UNITS[depth], "num_classes": 1000} for depth in _SCALE_DEPTHS
}
# The same networks as family resnet_v1 has them, for what a fold makes of their weights.
_FOLDED_RESNETS = {name: {"version": 1, **arguments} for name, arguments in _SCALE_RESNETS.items()}
_FOLDED_SLIM_RESNETS = {
    f"resnet_scale_{depth}": {**_FOLDED_RESNETS[f"resnet_scale_{depth}"], "scope": f"resnet_v1_{depth}"}
    for depth in _SCALE_DEPTHS
}

_FACENETS = {"inception_resnet_v1": {"embedding_size": 512}}


def _in_all_forms(family: str, variants: Callable[..., Mapping[str, Mapping[str, Any]]]) -> Iterator[Builder]:
    """A dialect for each form, in slim and in Keras."""
    for suffix, form in _FORMS.items():
        yield Builder(family, f"slim{suffix}", _SLIM_BOTTLENECKS, variants(form))
        yield Builder(family, f"keras{suffix}", _KERAS_BOTTLENECKS, variants(form), _KERAS_BOTTLENECKS_END_POINTS)


BUILDERS: tuple[Builder, ...] = (
    Builder("inception_resnet_v1", "slim", "resport.architectures.slim_inception_resnet_v1:build", _FACENETS),
    Builder(
        "inception_resnet_v1",
        "keras",
        "resport.architectures.keras_inception_resnet_v1:build",
        _FACENETS,
        "resport.architectures.keras_inception_resnet_v1:end_points",
        logits={},
    ),
    Builder(
        "resnet_scale",
        "keras",
        "resport.architectures.keras_resnet_scale:build",
        _SCALE_RESNETS,
        "resport.architectures.keras_resnet_scale:end_points",
        logits={"final_activation": None},
    ),
    Builder("resnet_scale", "slim", "resport.architectures.slim_resnet_scale:build", _SCALE_RESNETS),
    Builder("resnet_scale", "resnet_v1_slim", _SLIM_RESNET, _FOLDED_SLIM_RESNETS),
    Builder("resnet_scale", "resnet_v1_keras", _KERAS_RESNET, _FOLDED_RESNETS, _KERAS_RESNET_END_POINTS),
    # Class counts are those of the published checkpoints: slim's v2 files have a background class in front.
    Builder("resnet_v1", "slim", _SLIM_RESNET, _resnets(1, 1000)),
    Builder("resnet_v2", "slim", _SLIM_RESNET, _resnets(2, 1001)),
    Builder("resnet_v1", "keras", _KERAS_RESNET, _resnets(1, 1000), _KERAS_RESNET_END_POINTS),
    Builder("resnet_v2", "keras", _KERAS_RESNET, _resnets(2, 1000), _KERAS_RESNET_END_POINTS),
    Builder("resnet_v1", "tensorpack", _TENSORPACK_RESNET, _TENSORPACK_RESNETS),
    Builder("preact_resnet", "tensorpack", _TENSORPACK_RESNET, _TENSORPACK_PREACTS),
    Builder("se_resnet", "slim", _SLIM_BOTTLENECKS, _SE_RESNETS),
    Builder("se_resnet", "keras", _KERAS_BOTTLENECKS, _SE_RESNETS, _KERAS_BOTTLENECKS_END_POINTS),
    Builder("se_resnet", "tensorpack", _TENSORPACK_RESNET, _SE_RESNETS),
    Builder("resnext", "slim", _SLIM_BOTTLENECKS, _RESNEXTS),
    Builder("resnext", "keras", _KERAS_BOTTLENECKS, _RESNEXTS, _KERAS_BOTTLENECKS_END_POINTS),
    Builder("resnext", "tensorpack", _TENSORPACK_RESNET, _RESNEXTS),
    Builder("se_resnext", "slim", _SLIM_BOTTLENECKS, _SE_RESNEXTS),
    Builder("se_resnext", "keras", _KERAS_BOTTLENECKS, _SE_RESNEXTS, _KERAS_BOTTLENECKS_END_POINTS),
    Builder("se_resnext", "tensorpack", _TENSORPACK_RESNET, _SE_RESNEXTS),
    *_in_all_forms("resnext_cifar", _CIFAR_RESNEXT),
    *_in_all_forms("se_resnext_cifar", _CIFAR_SE_RESNEXT),
    Builder("resnext_cifar", "taki", _TAKI_RESNEXT, _CIFAR_RESNEXT()),
    Builder("se_resnext_cifar", "taki", _TAKI_RESNEXT, _CIFAR_SE_RESNEXT()),
)


def variants(dialect: str | None = None) -> tuple[str, ...]:
    """Names of all variants that have a builder, in the order of the registry.

    Args:
        dialect: only those of this dialect.
    """
    found = (builder.variants for builder in BUILDERS if dialect in (None, builder.dialect))
    return tuple(dict.fromkeys(name for names in found for name in names))


def find_builder(variant: str, dialect: str) -> Builder:
    """The builder of a variant in a dialect.

    Raises:
        OptionError: no such variant, or none in that dialect; the nearest names are in the hint.
    """
    for builder in BUILDERS:
        if builder.dialect == dialect and variant in builder.variants:
            return builder
    dialects = tuple(builder.dialect for builder in BUILDERS if variant in builder.variants)
    if dialects:
        raise OptionError(
            f"`{variant}` has no builder for dialect `{dialect}`",
            expected=f"one of {', '.join(dialects)}",
            got=dialect,
            hint=f'build("{variant}", "{dialects[0]}")',
        )
    names = variants()
    near = nearest(variant, names, n=3, cutoff=0.5) or names[:3]
    raise OptionError(
        f"no builder knows the variant `{variant}`",
        expected=f"one of {', '.join(names)}",
        got=variant,
        hint=f"near: {', '.join(near)}",
    )


def own_input_size(variant: str, dialect: str) -> int:
    """Height and width of the images that a variant is built for where nothing else is asked for.

    Raises:
        OptionError: no such variant, or none in that dialect.
    """
    builder = find_builder(variant, dialect)
    default = inspect.signature(resolve(builder.function)).parameters["input_size"].default
    return int(builder.variants[variant].get("input_size", default))


def call_builder(variant: str, dialect: str, options: Mapping[str, Any]) -> Any:
    """Build a variant with the options of the caller.

    Raises:
        OptionError: an unknown variant, dialect or option, or a value that cannot be meant.
        MissingDependencyError: the framework of that dialect is not installed.
    """
    builder = find_builder(variant, dialect)
    known = builder.options
    if options.get("data_format", CHANNELS_LAST) != CHANNELS_LAST and "data_format" not in known:
        raise OptionError(
            f"the {dialect} network of `{variant}` has its channels last: on a CPU, TensorFlow's graphs convolve and "
            "pool no other way",
            expected=CHANNELS_LAST,
            got=options["data_format"],
            hint="the weights are the same in both layouts; Keras builders have both",
        )
    for option in options:
        if option not in known:
            raise OptionError(
                f"`{option}` is not an option of the {dialect} builder of `{variant}`",
                expected=f"one of {', '.join(known)}",
                got=option,
            )
    arguments = {**builder.variants[variant], **options}
    if builder.plan:
        arguments["plan"] = Bottlenecks(**{name: arguments.pop(name) for name in builder.plan if name in arguments})
    return resolve(builder.function)(variant, **arguments)


def resolve(target: str) -> Callable[..., Any]:
    """The function that ``module:function`` names."""
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
