"""What Keras' own layers call their variables, and in which order they keep them.

Keras files are positional: ``.weights.h5`` numbers the variables of a layer, and the legacy loader takes them in the
order of the file. A source that lists ``beta`` before ``gamma`` (every TF checkpoint does, being sorted) would be
loaded with the two exchanged, without a word, as they have one shape. So writers order the variables of a known layer
by this table, and the reader of ``.weights.h5`` gives the numbers their names by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Shape = tuple[int, ...]

UNKNOWN_CLASS = "layer"

_KERNEL = (("kernel", "bias"), ("kernel",))
_SEPARABLE = (("depthwise_kernel", "pointwise_kernel", "bias"), ("depthwise_kernel", "pointwise_kernel"))
# The spelling of Keras 1 and 2, whose kernels Keras 3 calls `kernel`.
_DEPTHWISE = (("depthwise_kernel", "bias"), ("depthwise_kernel",))
_RECURRENT = (("kernel", "recurrent_kernel", "bias"), ("kernel", "recurrent_kernel"))
_GAMMA_BETA = (("gamma", "beta"), ("gamma",), ("beta",))
_BATCH_NORM = (
    ("gamma", "beta", "moving_mean", "moving_variance"),
    # Of three, gamma is the one that networks leave out (before a ReLU), hardly ever beta.
    ("beta", "moving_mean", "moving_variance"),
    ("gamma", "moving_mean", "moving_variance"),
    ("moving_mean", "moving_variance"),
    ("gamma", "beta", "moving_mean", "moving_variance", "moving_stddev", "renorm_mean", "renorm_stddev"),
)

LAYER_VARIABLES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "dense": _KERNEL,
    "einsum_dense": _KERNEL,
    "conv1d": _KERNEL,
    "conv2d": _KERNEL,
    "conv3d": _KERNEL,
    "conv1d_transpose": _KERNEL,
    "conv2d_transpose": _KERNEL,
    "conv3d_transpose": _KERNEL,
    "depthwise_conv1d": _KERNEL,
    "depthwise_conv2d": _KERNEL,
    "separable_conv1d": _SEPARABLE,
    "separable_conv2d": _SEPARABLE,
    "batch_normalization": _BATCH_NORM,
    "layer_normalization": _GAMMA_BETA,
    "group_normalization": _GAMMA_BETA,
    # No class of Keras, but of the networks that came from Caffe, which has it behind every batch norm.
    "scale": (("gamma", "beta"),),
    "rms_normalization": (("scale",),),
    "normalization": (("mean", "variance", "count"),),
    "embedding": (("embeddings",),),
    "p_re_lu": (("alpha",),),
    # Not classes but the attributes under which recurrent layers, attention and dropout keep what they are made of.
    "cell": _RECURRENT,
    "seed_generator": (("seed_generator_state",),),
    "query_dense": _KERNEL,
    "key_dense": _KERNEL,
    "value_dense": _KERNEL,
    "output_dense": _KERNEL,
}
"""Names of a class's variables in the order of its file; where the class leaves some out, each way to do so.

Of two ways with one number of variables the first is the one that a file without names is read as.
"""

_TOLD_BY_VARIABLES = (
    "p_re_lu",
    "embedding",
    "normalization",
    "rms_normalization",
    "layer_normalization",
    "batch_normalization",
)
_CLASS_OF_VARIABLES: Mapping[frozenset[str], str] = {
    frozenset(variables): layer_class
    for layer_class in _TOLD_BY_VARIABLES
    for variables in LAYER_VARIABLES[layer_class]
}
_CONFUSABLE: Mapping[str, tuple[str, ...]] = {
    "dense": ("einsum_dense",),
    "conv1d": ("conv1d_transpose", "depthwise_conv1d", "einsum_dense"),
    "conv2d": ("conv2d_transpose", "depthwise_conv2d"),
    "conv3d": ("conv3d_transpose",),
    "depthwise_conv1d": ("conv1d", "conv1d_transpose"),
    "depthwise_conv2d": ("conv2d", "conv2d_transpose"),
    "layer_normalization": ("group_normalization", "scale"),
}
"""For a class that variables tell, those that they could mean as well."""
_ORDERS: Mapping[frozenset[str], tuple[str, ...]] = {
    frozenset(variables): variables for ways in (*LAYER_VARIABLES.values(), _DEPTHWISE) for variables in ways
}


def split_name(name: str) -> tuple[str, str]:
    """The layer and the variable that a tensor's name means.

    Returns:
        What stands before the last slash and what stands behind it; for a name without one, the name and ``""``.
    """
    layer, slash, variable = name.rpartition("/")
    return (layer, variable) if slash else (name, "")


def group_by_layer(names: Sequence[str]) -> dict[str, list[str]]:
    """Tensor names by layer: layers in the order of their first tensor, the tensors of each in Keras' order."""
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(split_name(name)[0], []).append(name)
    return {layer: _in_keras_order(members) for layer, members in layers.items()}


def _in_keras_order(names: list[str]) -> list[str]:
    by_variable = {split_name(name)[1]: name for name in names}
    order = _ORDERS.get(frozenset(by_variable))
    return names if order is None else [by_variable[variable] for variable in order]


def variable_names(layer_class: str, count: int) -> Sequence[str]:
    """What the variables of a layer are called, by position; their numbers where the class is not known."""
    for variables in LAYER_VARIABLES.get(layer_class, ()):
        if len(variables) == count:
            return variables
    return [str(number) for number in range(count)]


def infer_class(layer: str, shapes: Mapping[str, Shape]) -> str:
    """The Keras class, in snake case, of a layer.

    A name that Keras gave (``conv2d_transpose_3``) tells it. Variables alone don't tell a transposed convolution from a
    plain one, or one normalisation from another: the usual one is taken.

    Args:
        layer: the layer's name.
        shapes: shape of each variable by its name.

    Returns:
        The class, or ``"layer"`` where no class has such variables.
    """
    usual, named = _class_of_variables(shapes), _class_of_name(split_name(layer)[1] or layer)
    return named if named in _CONFUSABLE.get(usual, ()) else usual


def _class_of_variables(shapes: Mapping[str, Shape]) -> str:
    variables = frozenset(shapes)
    if variables in _CLASS_OF_VARIABLES:
        return _CLASS_OF_VARIABLES[variables]
    if variables in map(frozenset, _SEPARABLE):
        return {3: "separable_conv1d", 4: "separable_conv2d"}.get(len(shapes["pointwise_kernel"]), UNKNOWN_CLASS)
    if variables in map(frozenset, _DEPTHWISE):
        return {3: "depthwise_conv1d", 4: "depthwise_conv2d"}.get(len(shapes["depthwise_kernel"]), UNKNOWN_CLASS)
    if variables in map(frozenset, _KERNEL):
        return _class_of_kernel(shapes["kernel"], shapes.get("bias"))
    return UNKNOWN_CLASS


def _class_of_name(name: str) -> str:
    """The class that a layer's name means, if it means one."""
    # `scale5a_branch2a`, as Caffe's networks count them.
    return "scale" if re.match(r"scale(?![a-z])", name) else re.sub(r"_\d+$", "", name)


def _class_of_kernel(kernel: Shape, bias: Shape | None) -> str:
    rank = len(kernel)
    # Keras 3 calls a depthwise kernel (h, w, channels, multiplier) just `kernel`. Its bias has an element for each
    # channel, and a convolution to one channel has a bias of one element; without a bias the former is meant, because
    # hardly any network has the latter.
    if rank in {3, 4} and kernel[-1] == 1 and kernel[-2] > 1 and bias in {None, (kernel[-2],)}:
        return f"depthwise_conv{rank - 2}d"
    return {2: "dense", 3: "conv1d", 4: "conv2d", 5: "conv3d"}.get(rank, UNKNOWN_CLASS)
