"""The source as a conversion rounds it: its network computes what the stored values compute, and no mistake is hidden."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from resport.conversion.stream import moved
from resport.mapping import Move, Plan
from resport.mapping.ops import FOLDS, OPERATIONS, Operation
from resport.mapping.plan import Adjustment
from resport.tensors import Manifest, TensorSpec
from resport.verification.rounding import rounded_read

N = 7
Values = dict[str, np.ndarray]

CHAINS = [
    [Adjustment("bias_into_mean", ("bias", "other"))],
    [Adjustment("bias_out_of_mean", ("bias",))],
    [Adjustment("shift_epsilon", value=1e-5 - 1.001e-5)],
    [Adjustment("scale_into_gamma", ("scale",))],
    [Adjustment("bias_into_mean", ("bias",)), Adjustment("gamma_into_mean", ("scale",))],
    [Adjustment("scale_into_beta", ("scale", "bias"))],
    [Adjustment("gamma_into_mean", ("scale",)), Adjustment("gamma_into_mean", ("other",))],
]


def values_of(dtype: str = "float32") -> Values:
    """Vectors with zeros, negative and large values among them."""
    generator = np.random.default_rng(11)
    made = {name: generator.normal(0, 3, N) for name in ("vector", "bias", "other", "scale")}
    made["scale"][2] = 0
    made["vector"][3] *= 100
    made["kernel"] = generator.normal(size=(3, 3, 2, N))
    return {name: value.astype(dtype) for name, value in made.items()}


def plan_of(adjustments: list[Adjustment], values: Values, name: str = "vector", dtype: str = "float32") -> Plan:
    """One tensor that takes others in, and one that moves as it is."""
    specs = [TensorSpec(f"new {each}", values[each].shape, dtype) for each in (name, "free")]
    moves = Move((name,), (specs[0],), None, tuple(adjustments)), Move(("free",), (specs[1],))
    return Plan(moves, Manifest(specs))


def computed(adjustments: list[Adjustment], read: Callable[[str], np.ndarray], name: str = "vector") -> np.ndarray:
    """What the folds make of a source in float64, as the source's own layers would."""
    spec = TensorSpec("exact", read(name).shape, "float64")
    wide = {each: read(each).astype("float64") for each in {name, *(o for a in adjustments for o in a.operands)}}
    return moved(Move((name,), (spec,), None, tuple(adjustments)), wide.__getitem__)[0]


@pytest.mark.parametrize("dtype", [None, "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("adjustments", CHAINS, ids=lambda chain: "+".join(each.op for each in chain))
def test_the_source_computes_what_is_stored(adjustments: list[Adjustment], dtype: str | None) -> None:
    values = values_of() | {"free": np.linspace(-1, 1, N).astype("float32")}
    plan = plan_of(adjustments, values, dtype=dtype or "float32")
    stored = moved(plan.moves[0], values.__getitem__)[0].astype("float64")
    read = rounded_read(plan, values.__getitem__, dtype)
    np.testing.assert_allclose(computed(adjustments, read), stored, rtol=1e-13, atol=1e-13)
    if dtype != "float64":
        assert np.abs(computed(adjustments, values.__getitem__) - stored).max() > 1e-9
    own = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype or "float32"
    np.testing.assert_array_equal(read("free"), values["free"].astype(own))


def test_a_kernel_takes_a_factor_along_its_axis() -> None:
    values = values_of() | {"free": np.ones(N, "float32")}
    for axis, factor in ((3, values["scale"]), (2, np.float32([0.3, -1.7]))):
        values["scale"] = factor
        adjustments = [Adjustment("gamma_into_kernel", ("scale",), axis)]
        plan = plan_of(adjustments, values, "kernel", "float16")
        stored = moved(plan.moves[0], values.__getitem__)[0].astype("float64")
        read = rounded_read(plan, values.__getitem__, "float16")
        np.testing.assert_allclose(computed(adjustments, read, "kernel"), stored, rtol=1e-13, atol=1e-13)


def test_what_is_taken_in_keeps_its_values_unless_it_takes_the_error() -> None:
    values = values_of() | {"free": np.ones(N, "float32")}
    read = rounded_read(plan_of(CHAINS[4], values), values.__getitem__, "float16")
    for name in ("bias", "scale"):
        assert read(name) is values[name]
    read = rounded_read(plan_of(CHAINS[5], values), values.__getitem__, "float16")
    np.testing.assert_array_equal(read("scale"), values["scale"])
    # A scale of 0 leaves nothing of beta: the shift alone can carry what was rounded.
    np.testing.assert_array_equal(read("bias")[2], values["bias"][2].astype("float16"))


@pytest.mark.parametrize("adjustments", CHAINS, ids=lambda chain: "+".join(each.op for each in chain))
def test_a_fold_that_is_wrong_moves_the_source_by_no_more_than_a_rounding(
    adjustments: list[Adjustment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it shows: the source's network still computes what the source's own values are, and the target's does not."""
    values = values_of() | {"free": np.ones(N, "float32")}
    for op in FOLDS:
        right = OPERATIONS[op]

        def wrong(array: np.ndarray, *others: object, right: Operation = right) -> np.ndarray:
            return (right.apply(array, *others).astype("float64") * -1.5 + 0.25).astype(array.dtype)

        monkeypatch.setitem(OPERATIONS, op, right._replace(apply=wrong))  # type: ignore[arg-type]
    plan = plan_of(adjustments, values)
    read = rounded_read(plan, values.__getitem__, None)
    for name in values:
        moved_by = np.abs(read(name).astype("float64") - values[name])
        assert (moved_by <= 2e-7 * (np.abs(values[name]) + 20 * np.abs(values["vector"]) + 1)).all()
