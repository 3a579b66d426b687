"""The known mistakes, undone on a Keras model of one's own.

The mistakes are told by what a table says of the tensors, and undone on the layers of the model: so both checkpoints,
a table that knows them, and a target that is a Keras model are needed. The source may be anything that computes in
float64; only mistakes that are undone by reading it otherwise cannot be tried on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from resport.verification.forward.networks import NetworkPool
from resport.verification.mistakes.diagnosis import diagnose
from resport.verification.mistakes.findings import Finding
from resport.verification.own_networks.forward import OwnSide
from resport.verification.own_networks.keras_side import KerasModelSide
from resport.verification.pairing import NetworkOptions, Pair
from resport.verification.report import ForwardResult, WeightsResult

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class FixedSide:
    """A network whose weights are its own: whatever it is given to read, it computes the same.

    Attributes:
        side: the network.
        names: the name of each end point in the target by its own; None where they are the same.
        read: not used; the bench puts another one in.
        pool: not used; the network is open as long as its owner wants.
    """

    side: OwnSide
    names: Mapping[str, str] | None = None
    read: Callable[[str], np.ndarray] | None = field(default=None, compare=False)
    pool: NetworkPool | None = field(default=None, compare=False)

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The end points by the target's names."""
        outputs = self.side.run(dtype, images)
        if self.names is None:
            return outputs
        return [{new: each[own] for own, new in self.names.items()} for each in outputs]


def can_diagnose(source: OwnSide, target: OwnSide, pair: Pair | None) -> bool:
    """Whether known mistakes can be undone on the target."""
    return (
        pair is not None
        and pair.target_detection is not None
        and isinstance(target, KerasModelSide)
        and "float64" in target.dtypes
        and "float64" in source.dtypes
    )


def diagnose_own(
    pair: Pair,
    source: OwnSide,
    target: OwnSide,
    forward: ForwardResult,
    weights: WeightsResult,
    *,
    end_points: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Finding, ...]:
    """Explain a difference of two networks of one's own by known mistakes; see ``can_diagnose``.

    Args:
        pair: the two checkpoints.
        source: the reference.
        target: the Keras model that is judged.
        forward: the comparison of forward passes.
        weights: the comparison of tensors.
        end_points: names in the target by those in the source.
        progress: called with what is done next.
    """
    fixed: Any = FixedSide(source, end_points)
    judged: Any = target
    # The checkpoints' own descriptions of models are no part of it: the networks are those that were handed over.
    bare = replace(pair, networks=NetworkOptions(is_native=True))
    return diagnose(bare, fixed, judged, forward, weights, input_sizes=forward.input_sizes, progress=progress)
