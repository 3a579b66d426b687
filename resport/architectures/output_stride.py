"""Strides traded for dilation: which stride and rate each residual unit runs with at a wanted output stride.

A residual network strides at a few units. To keep a denser map, the units past the wanted stride run with stride 1 and
their 3x3 kernels are spread instead: the rate grows by the stride that was left out, *after* the unit that would have
taken it. The strided map is then exactly the dense map, subsampled. This is arithmetic on integers, so both dialects
take it from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from resport.errors import OptionError

ROOT_STRIDE = 4
"""Stride of conv1 and pool1 together."""


class UnitStep(NamedTuple):
    """How one unit runs: the stride of its 3x3 convolution and shortcut, the dilation rate of its 3x3 convolution."""

    stride: int
    rate: int


def blocks_output_stride(output_stride: int | None) -> int | None:
    """The part of a network's output stride that its blocks have to reach behind conv1 and pool1.

    Raises:
        OptionError: the output stride is no multiple of 4.
    """
    if output_stride is None:
        return None
    if output_stride % ROOT_STRIDE:
        raise OptionError(
            "conv1 and pool1 stride by 4", expected="an output_stride that is a multiple of 4", got=output_stride
        )
    return output_stride // ROOT_STRIDE


def schedule_units(blocks: Sequence[Sequence[int]], output_stride: int | None = None) -> list[list[UnitStep]]:
    """Stride and rate of every unit.

    Args:
        blocks: the nominal stride of each unit, block by block.
        output_stride: input size over output size that the blocks together shall have; None takes every stride.

    Returns:
        One step for each unit, block by block.

    Raises:
        OptionError: the output stride is not one that the network passes through.
    """
    steps: list[list[UnitStep]] = []
    reached, rate = 1, 1
    passed = [1]
    for strides in blocks:
        steps.append([])
        for stride in strides:
            if output_stride is not None and reached == output_stride:
                steps[-1].append(UnitStep(1, rate))
                rate *= stride
            else:
                steps[-1].append(UnitStep(stride, 1))
                reached *= stride
                passed.append(reached)
    if output_stride is not None and reached != output_stride:
        wanted = ", ".join(map(str, dict.fromkeys(passed)))
        raise OptionError("the blocks cannot reach that output stride", expected=f"one of {wanted}", got=output_stride)
    return steps
