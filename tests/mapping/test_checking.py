"""Whole tables checked: every variant, every pair of dialects, and against a real checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resport.errors import TableError
from resport.mapping import Table, detect, expand, load_table, shipped_tables
from resport.mapping.checking import check_against, check_table, known_specs
from resport.tensors import TensorSpec
from tests.mapping.manifest_files import keras_manifest, slim_manifest
from tests.mapping.toy import PATHS, TOY, changed, manifest_of

Load = Callable[[str], Table]


def test_shipped_tables() -> None:
    lines = [line for table in shipped_tables() for line in check_table(table)]
    assert len(lines) == sum(len(table.variants) for table in shipped_tables())
    # 25,636,712 parameters with 1000 classes, as the Keras manifest states, less 990 x 2049 for 10.
    assert any(line.startswith("resnet_v1_50: ") and "keras 320 tensors (23,608,202 values" in line for line in lines)


def test_lines(load: Load) -> None:
    # Stem 108; units of widths 4, 4, 8 (b: 4, 8, 8) with a square kernel and four vectors each; classifier 8 x 10 + 10.
    assert check_table(load(TOY)) == [
        "toy_a: slim 18 tensors (358 values at 10 classes), keras 21 tensors (374 values at 10 classes)",
        "toy_b: slim 18 tensors (422 values at 10 classes), keras 21 tensors (442 values at 10 classes)",
    ]
    assert check_table(load(PATHS)) == [
        "paths_3: split 6 tensors (540 values), joined 2 tensors (540 values), "
        "stacked 2 tensors (540 values), keras 6 tensors (540 values)"
    ]


def test_without_sizes_only_the_names_are_counted(load: Load) -> None:
    lines = check_table(load(TOY.replace("conv 3 3 3 4", "conv")))
    assert lines[0] == "toy_a: slim 18 tensors, keras 21 tensors"


def test_a_constant_without_a_shape(load: Load) -> None:
    text = TOY.replace('"conv/bias",   "bias width"', '"lone/bias",   "bias"').replace(
        'with = ["conv/', 'with = ["lone/'
    )
    with pytest.raises(TableError) as caught:
        check_table(load(text))
    assert "toy_a cannot be planned from slim to keras: " in str(caught.value)
    assert "stage{2..3}_{1..2}_lone/bias is a constant, and no other tensor of its layer tells its shape (3)" in str(
        caught.value
    )


def test_known_specs(load: Load) -> None:
    specs = known_specs(expand(load(TOY), "toy_a"), "keras", 7)
    assert specs is not None
    assert specs["top/kernel"] == TensorSpec("top/kernel", (8, 7), "float32")
    assert specs["stage3_1_conv/kernel"].shape == (1, 1, 8, 8)
    assert known_specs(expand(load(TOY.replace("vector width", "vector")), "toy_a"), "keras") is None


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_real_networks_equal_their_tables(version: str) -> None:
    table = load_table(f"resnet_{version}")
    for manifest in (slim_manifest(version, 50), keras_manifest(version, 50)):
        assert check_against(detect(manifest, [table]), manifest) == []


def test_against_another_network(load: Load) -> None:
    table = load(TOY)
    whole = manifest_of(expand(table, "toy_a"), "slim")
    wrong = TensorSpec("toy_a/stem/weights", (5, 5, 3, 4), "float32")
    manifest = changed(
        whole, wrong, TensorSpec("toy_a/extra", (3,), "float32"), without=("toy_a/block2/unit_1/conv/weights",)
    )
    assert check_against(detect(manifest, [table]), manifest) == [
        "missing, 1 of the slim names of toy_a:",
        "  toy_a/block2/unit_1/conv/weights",
        "unexpected, 1 that toy has no row for:",
        "  toy_a/extra",
        "mismatched, 1 whose shape does not fit:",
        "  toy_a/stem/weights: expected (3, 3, 3, 4), got (5, 5, 3, 4) (axis `h` is 5 instead of 3)",
    ]
