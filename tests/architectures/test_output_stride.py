from __future__ import annotations

import pytest

from resport.architectures.output_stride import UnitStep, blocks_output_stride, schedule_units
from resport.errors import OptionError

RESNET_50 = [[1, 1, 2], [1, 1, 1, 2], [1, 1, 1, 1, 1, 2], [1, 1, 1]]


@pytest.mark.parametrize(
    ("output_stride", "last_strides", "rates"),
    [
        # As measured on slim's graphs: the stride of each block's last unit, the rate of its 3x3 kernels.
        (None, [2, 2, 2, 1], [1, 1, 1, 1]),
        (32, [2, 2, 2, 1], [1, 1, 1, 1]),
        (16, [2, 2, 1, 1], [1, 1, 1, 2]),
        (8, [2, 1, 1, 1], [1, 1, 2, 4]),
        (4, [1, 1, 1, 1], [1, 2, 4, 8]),
    ],
)
def test_resnet_50_trades_stride_for_rate(output_stride, last_strides, rates):
    steps = schedule_units(RESNET_50, blocks_output_stride(output_stride))
    assert [[step.rate for step in block] for block in steps] == [
        [rate] * len(block) for rate, block in zip(rates, RESNET_50, strict=True)
    ]
    assert [block[-1].stride for block in steps] == last_strides
    assert {step.stride for block in steps for step in block[:-1]} == {1}


def test_strides_inside_a_block_multiply():
    assert schedule_units([[2, 3, 2]], 2) == [[UnitStep(2, 1), UnitStep(1, 1), UnitStep(1, 3)]]


@pytest.mark.parametrize("output_stride", [2, 6, 17])
def test_root_block_needs_a_multiple_of_4(output_stride):
    with pytest.raises(OptionError, match="conv1 and pool1 stride by 4"):
        blocks_output_stride(output_stride)


@pytest.mark.parametrize("output_stride", [3, 5, 16, 0, -1])
def test_unreachable_stride_names_those_that_are_passed(output_stride):
    with pytest.raises(OptionError) as caught:
        schedule_units(RESNET_50, output_stride)
    assert caught.value.expected == "one of 1, 2, 4, 8"
    assert caught.value.got == output_stride
