"""The known mistakes of a conversion: what each one is, how it is made on a network, and how it is undone.

A mistake is one instance, ``gamma and moving_mean of conv1_bn exchanged``; its kind is what instances have in common.
The self-test makes one of each kind. The diagnosis undoes those that touch what feeds the first difference. Both are
given the same catalogue, and each mistake is written once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resport.verification.mistakes.workbench import Change, View

Step = Callable[[View], Change | None]

KINDS: dict[str, str] = {
    "bn-gamma-beta": "batch norm has no gamma beside a beta",
    "bn-gamma-mean": "batch norm has no gamma beside a mean",
    "bn-gamma-variance": "batch norm has no gamma beside a variance",
    "bn-beta-mean": "there is no batch norm",
    "bn-beta-variance": "there is no batch norm",
    "bn-mean-variance": "there is no batch norm",
    "kernels-neighbours": "no two kernels have one shape",
    "kernels-across": "no three kernels have one shape",
    "kernel-height-width": "no kernel is square and larger than one pixel",
    "kernel-inputs-outputs": "no kernel has as many inputs as outputs",
    "kernel-flipped": "no kernel is larger than one pixel",
    "groups-permuted": "no convolution is grouped",
    "bias-dropped": "no bias is other than zero",
    "vector-default": "there is no batch norm",
    "ema": "the source keeps no moving averages",
    "class-shift": "there is no classifier",
    "background-kept": "no background class is dropped: that is asked for by --drop-background",
    "rgb-bgr": "no kernel takes colours",
    "epsilon-1e-05": "",
    "epsilon-1.001e-05": "",
    "epsilon-1.1e-05": "",
    "epsilon-0.001": "",
    "pool-same": "",
    "pool-same-zero": "no pool pads as SAME does in front of values below zero",
    "pool-valid": "",
    "pool-padded": "no pool pads, or could, where a fill of -inf is other than one of 0",
    "pool-padded-zero": "",
    "stride-moved": "no stride could be taken by a convolution beside it",
    "residual-scale": "no residual is scaled",
    "scale-without-epsilon": "no fold has to compensate an epsilon",
    "element": "there is no kernel",
    "float16": "the target is stored in a reduced dtype already",
    "bfloat16": "the target is stored in a reduced dtype already",
}
"""Every kind, and why a network may have no place for it; empty where the reason is that the network has it so."""

OTHER_VALUES = "other-values"
"""What the diagnosis calls values that no known mistake makes: the expected ones in their place make it vanish."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake.

    Attributes:
        kind: its kind.
        sentence: what was done wrong, naming tensors or layers.
        touches: names of the tensors and sites that are otherwise with it.
        make: the change that makes it; None where that would change nothing.
        undo: the change that takes it back; None where it cannot have been made.
        remedy: what to do about it.
    """

    kind: str
    sentence: str
    touches: frozenset[str]
    make: Step
    undo: Step
    remedy: str


def never(view: View) -> None:
    """The step of a mistake that is only made, or only undone."""
    return None
