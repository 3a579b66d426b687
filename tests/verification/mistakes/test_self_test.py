"""Every known mistake is made on small networks of three families, caught, and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resport.errors import OptionError
from resport.verification.mistakes.findings import SelfTestResult
from resport.verification.mistakes.kinds import KINDS
from resport.verification.mistakes.self_test import run_self_test
from resport.verification.mistakes.workbench import Change, Workbench, probing_bench
from resport.verification.pairing import source_side, target_side
from tests.tiny import write_values
from tests.verification.small_pairs import FOLDED, RESNET_V2, SE_RESNEXT, SIZES, Small, small_pair

pytestmark = pytest.mark.tf

EXCHANGES = {kind for kind in KINDS if kind.startswith("bn-")}
EPSILONS = {kind for kind in KINDS if kind.startswith("epsilon-")}


def self_test(folder: Path, small: Small, diagnose: bool = False, **options: object) -> SelfTestResult:
    with small_pair(folder, small, **options) as pair:  # type: ignore[arg-type]
        return run_self_test(pair, source_side(pair), target_side(pair), input_sizes=SIZES, diagnose=diagnose)


def test_every_kind_has_a_place_in_one_of_the_families(tmp_path: Path) -> None:
    """Each is caught by the forward pass alone, with room to spare, and the diagnosis calls it by its name."""
    results = {
        "resnet_v2": self_test(tmp_path, RESNET_V2, True, drop_background=True, shadows=True),
        "se_resnext": self_test(tmp_path, SE_RESNEXT, True),
        "resnet_scale": self_test(tmp_path, FOLDED, True, fold=True),
    }
    for family, result in results.items():
        assert set(KINDS) == {each.kind for each in result.results} | set(result.not_applicable), family
        assert result.is_passed and result.smallest_margin > 5, family
        for each in result.results:
            # One element may stand behind a unit that no image activates: the exact comparison alone sees it.
            is_dead = each.kind == "element" and each.check == "weights"
            assert is_dead or each.diagnosed == each.kind, (family, each)
    made = {each.kind for result in results.values() for each in result.results}
    # facenet alone scales residuals; the other two are what all three networks have, and right.
    assert set(KINDS) - made == {"residual-scale", "epsilon-1.001e-05", "pool-same"}
    assert len(results["resnet_v2"].results) >= 20
    assert results["resnet_v2"].not_applicable["groups-permuted"] == "no convolution is grouped"
    assert "epsilon" in results["se_resnext"].not_applicable["scale-without-epsilon"]


def test_what_the_weights_hide_is_made_on_random_ones(tmp_path: Path) -> None:
    """In a network that nobody trained gamma and variance are one, beta and mean are zero."""
    untrained = {"gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}
    result = self_test(tmp_path, SE_RESNEXT, values=untrained)
    checks = {each.kind: each.check for each in result.results}
    assert result.is_passed
    hidden = {kind for kind, check in checks.items() if check == "probe"}
    assert {"bn-gamma-variance", "bn-beta-mean", "vector-default"} <= hidden
    assert not {"bn-gamma-beta", "kernel-flipped"} & hidden


def test_two_networks_that_differ_are_refused(tmp_path: Path) -> None:
    with small_pair(tmp_path, RESNET_V2) as pair:
        values = {name: pair.target.read(name) for name in pair.target.manifest}
        values["conv2_block1_1_bn/beta"] = values["conv2_block1_1_bn/beta"] + np.float32(0.5)
        write_values(tmp_path / "wrong.safetensors", values)
        target = target_side(pair, values.__getitem__)
        with pytest.raises(OptionError, match="two networks that agree"):
            run_self_test(pair, source_side(pair), target, input_sizes=SIZES)


def test_a_clean_pair_is_never_flagged(tmp_path: Path) -> None:
    """Many weights and images through the same two networks: float64 stays orders of magnitude below its limit."""
    with small_pair(tmp_path, RESNET_V2) as pair:
        for seed in range(3):
            with probing_bench(pair, source_side(pair), target_side(pair), SIZES, limit=1e-9, seed=seed) as bench:
                differences = bench.differences(Change())
                assert len(differences) > 40
                assert max(differences.values()) < 1e-11


def test_an_edit_or_a_value_is_gone_after_the_run(tmp_path: Path) -> None:
    with small_pair(tmp_path, RESNET_V2) as pair:
        with Workbench(pair, source_side(pair), target_side(pair), SIZES, limit=1e-9) as bench:
            bias = "conv1_conv/bias"
            changed = Change({bias: bench.value(bias) + 1})
            edited = Change(edits={"conv2_block1_1_bn": 0.1})
            assert bench.first_divergence(bench.differences(changed)) == "conv1"
            both = bench.differences(changed.then(edited))
            assert bench.first_divergence(both) == "conv1"
            assert bench.first_divergence(bench.differences(edited)) == "block1/unit_1/bottleneck_v2/conv1"
            assert bench.first_divergence(bench.differences(Change())) is None
