"""Residual networks of bottlenecks that stride in the first unit of a block: what each unit is, as plain numbers.

SE-ResNet, ResNeXt and SE-ResNeXt are one construction: a 1x1, a 3x3 (perhaps grouped) and a 1x1 convolution beside a
shortcut, with or without a squeeze-and-excite gate. How deep, how wide and where they stride is arithmetic; each
framework's builder takes it from here, so that the builders differ in nothing but their framework's layers and names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resport.architectures.network import check_option
from resport.errors import OptionError

FORMS = ("grouped", "concat", "split", "dense")
"""The four ways to compute a 3x3 convolution of several paths, with equal results: one grouped convolution; a path of
two convolutions each, concatenated; a path of three convolutions each, summed; one convolution whose kernel is zero
outside of the paths' blocks on its diagonal."""

PADDINGS = ("same", "symmetric")
"""How a strided convolution pads: as TensorFlow's SAME does, or alike on both sides, as Caffe, torch and slim do."""

POOLS = ("same", "padded")
"""How pool1 pads: as SAME does, or by one on each side. It follows a ReLU, so the fill may be 0 or -inf."""

STRIDES = ("conv1", "conv2")
"""Which convolution of a unit strides: the first 1x1 as in the Caffe original, or the 3x3."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One residual unit.

    Attributes:
        block: number of its block, from 1.
        number: its number in the block, from 1.
        inputs: channels that come in.
        width: channels of the 3x3 convolution, all paths together.
        depth: channels that go out.
        strides: of the first 1x1 and of the 3x3 convolution.
        groups: paths of the 3x3 convolution.
        squeezed: channels between the two layers of the gate; None without a gate.
    """

    block: int
    number: int
    inputs: int
    width: int
    depth: int
    strides: tuple[int, int]
    groups: int
    squeezed: int | None

    @property
    def stride(self) -> int:
        """Size of the input over size of the output."""
        return self.strides[0] * self.strides[1]

    @property
    def point(self) -> str:
        """Name of its end point, and the scope of its variables in slim."""
        return f"block{self.block}/unit_{self.number}/bottleneck"


@dataclass(frozen=True, slots=True)
class Bottlenecks:
    """The blocks of a network, and how it computes them.

    Attributes:
        units: units in each block.
        depths: channels that go out of each block.
        widths: channels of each block's 3x3 convolutions.
        groups: paths of the 3x3 convolutions.
        reduction: channels over channels between the layers of the gate; None without gates.
        stride_on: which convolution strides.
        padding: how strided convolutions pad.
        pool1: how pool1 pads.
        form: how the paths are computed.
        small_images: begin with a 3x3 convolution of stride 1 and no pool; shortcuts pool and pad with channels of
            zeros in place of a projection; no bias anywhere.

    Raises:
        OptionError: a value that none of the networks can have.
    """

    units: Sequence[int]
    depths: Sequence[int]
    widths: Sequence[int]
    groups: int = 1
    reduction: int | None = None
    stride_on: str = "conv2"
    padding: str = "same"
    pool1: str = "same"
    form: str = "grouped"
    small_images: bool = False

    def __post_init__(self) -> None:
        check_option("stride_on", self.stride_on, STRIDES)
        check_option("padding", self.padding, PADDINGS)
        check_option("pool1", self.pool1, POOLS)
        check_option("form", self.form, FORMS)
        if not len(self.units) == len(self.depths) == len(self.widths):
            raise OptionError(
                "each block has units, a depth and a width",
                expected=f"{len(self.units)} depths and widths",
                got=f"{len(self.depths)} depths, {len(self.widths)} widths",
            )
        if any(width % self.groups for width in self.widths):
            raise OptionError("every width is divided among the groups", got=f"{self.widths} by {self.groups}")

    @property
    def root_depth(self) -> int:
        """Channels of the first convolution."""
        return 64

    def blocks(self) -> list[list[Unit]]:
        """Every unit, block by block."""
        blocks: list[list[Unit]] = []
        inputs = self.root_depth
        for block, (count, depth, width) in enumerate(zip(self.units, self.depths, self.widths, strict=True), 1):
            blocks.append([])
            for number in range(1, count + 1):
                stride = 2 if block > 1 and number == 1 else 1
                strides = (stride, 1) if self.stride_on == "conv1" else (1, stride)
                squeezed = depth // self.reduction if self.reduction else None
                blocks[-1].append(Unit(block, number, inputs, width, depth, strides, self.groups, squeezed))
                inputs = depth
        return blocks
