"""What Keras 0 and 1 called their variables, in the words of today.

Keras 1 named a weight after its layer and a word of one or two letters: ``conv1_W``, ``bn1_running_std``. Keras 0 named
nothing: its files count layers and parameters. Mapping tables know today's words, so files of all ages are shown in
them.

``running_std`` is a variance since Keras 1.0.6, in spite of its name, and a standard deviation in what is older. No
file of Keras 1 says how old it is: the variance is assumed, and said. Keras 0 always wrote deviations; they keep their
own word, which no table takes for a variance, until the caller gives the epsilon that turns them into one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ERA_VARIANCE_SINCE = (1, 0, 6)
"""The first release whose ``running_std`` is a variance."""

ERA_WORDS = {
    "W": "kernel",
    "b": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
    "depthwise_kernel": "depthwise_kernel",
    "pointwise_kernel": "pointwise_kernel",
}
"""Today's words for those that Keras 1 put behind the name of a layer."""

DEVIATION_WORD = "running_std"

# A second variable of one name in a TensorFlow graph has a number behind it.
_SPELLING = re.compile(rf"(?P<layer>.+)_(?P<word>{'|'.join(ERA_WORDS)})(_\d+)?(:0)?", re.DOTALL)

_PARAMETERS: dict[str, tuple[str, ...]] = {
    "Convolution1D": ("W", "b"),
    "Convolution2D": ("W", "b"),
    "Dense": ("W", "b"),
    "BatchNormalization": ("gamma", "beta", "running_mean", "running_std"),
}


def is_era(version: str | None) -> bool:
    """Whether a file is of Keras 0 or 1: Keras 1 didn't say its version."""
    return version is None or version.startswith(("0.", "1."))


def split_spelling(weight: str) -> tuple[str, str] | None:
    """The layer and the word that a weight's name of Keras 1 is made of; None for another spelling."""
    match = _SPELLING.fullmatch(weight)
    return (match["layer"], match["word"]) if match else None


def parameter_words(class_name: str, count: int) -> tuple[str, ...] | None:
    """The words for the parameters of a layer of Keras 0, by position; None where they are not known."""
    words = _PARAMETERS.get(class_name, ())
    # A layer can do without a bias.
    return words if len(words) == count else words[:1] if words[1:] == ("b",) and count == 1 else None


def has_deviations(version: str | None) -> bool:
    """Whether a version of Keras is known to have written standard deviations."""
    numbers = tuple(int(number) for number in re.findall(r"\d{1,9}", version or "")[:3])
    return bool(numbers) and numbers < ERA_VARIANCE_SINCE


def deviation_to_variance(deviation: np.ndarray, epsilon: float) -> np.ndarray:
    """The variance with which today's batch norm, with the same epsilon, computes what the old one did.

    The old one divided by ``deviation + epsilon``, today's divides by ``sqrt(variance + epsilon)``.
    """
    import numpy as np

    # What is no number stays none, and needs no warning.
    with np.errstate(all="ignore"):
        wide = deviation.astype(np.float64)
        return np.asarray(((wide + epsilon) ** 2 - epsilon).astype(deviation.dtype))
