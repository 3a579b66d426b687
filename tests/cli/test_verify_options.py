"""Options of ``resport verify``: what they are read as, which go together, and what its exit status says."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from resport.cli.verify_command import builder_value, exit_status, verify
from resport.verification.forward.evidence import EndPointDifference, ForwardResult, Noise
from resport.verification.mistakes.findings import Finding, MutantResult, SelfTestResult
from resport.verification.report import Side, TensorDifference, VerificationReport, WeightsResult


@pytest.mark.parametrize(
    ("text", "value"),
    [("same", "same"), ("16", 16), ("1.001e-5", 1.001e-5), ("True", True), ("false", False), ("none", None), ("", "")],
)
def test_values_of_builders(text: str, value: Any) -> None:
    found = builder_value(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "Missing argument 'TARGET'"),
        (["a", "b", "--against", "proof"], "--against takes the TARGET alone"),
        (["b", "--against", "proof", "--probe"], "--probe has no meaning with --against"),
        (["b", "--against", "proof", "--build", "pool1=same"], "--build has no meaning with --against"),
        (["a", "b", "--build", "pool1"], "`pool1` is not of the form NAME=VALUE"),
    ],
)
def test_what_does_not_go_together(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(verify, arguments)
    assert result.exit_code == 2
    assert message in result.output


def report(**changes: Any) -> VerificationReport:
    side = Side("a.ckpt", "tensorflow-v2", "resnet_v2", "resnet_v2_50", "slim", 7)
    usual: dict[str, Any] = {
        "weights": WeightsResult(3, 3, ()),
        "forward": None,
        "forward_reason": "it was not asked for",
    }
    return VerificationReport(source=side, target=side, options={}, seconds=1.0, **{**usual, **changes})


def test_exit_status() -> None:
    caught, missed = (MutantResult("kind", "what", is_caught, "forward", 2.0) for is_caught in (True, False))
    assert exit_status(report()) == 0
    assert exit_status(report(self_test=SelfTestResult((caught,), {}))) == 0
    # An equal verdict of a check that lets a known mistake pass is no proof.
    assert exit_status(report(self_test=SelfTestResult((caught, missed), {}))) == 2
    assert exit_status(report(weights=WeightsResult(3, 2, (TensorDifference("a", "values", "1 of 3"),)))) == 1


def test_the_output_tells_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    points = (
        EndPointDifference("conv1", 32, 1e-13, 1e-13, 1e-14, tolerance=1e-13),
        EndPointDifference("logits", 32, 0.5, 0.25, 0.1, (), 0.125, 0.5, 1.0, 0.75),
    )
    forward = ForwardResult(
        points, points, 1e-6, 1e-9, "why", 10.0, (32,), 2, (Noise("each image alone", 1e-6, "conv1"),)
    )
    finding = Finding(("kind",), "gamma and beta of `x` are exchanged", "exchange them", 0.25, 0.0)
    told = report(forward=forward, forward_reason=None, diagnosis=(finding,), notes=("a note",))
    monkeypatch.setattr("resport.verify", lambda *_, **__: told)
    result = CliRunner().invoke(verify, ["a", "b"])
    assert result.exit_code == 1
    for text in (
        "3 of 3 tensors are equal",
        "2 end points, 2 images of 32 x 32",
        "max relative difference 2.5e-01",
        "limit 1.0e-09: why",
        "250000.00 x the noise floor of 1.0e-06",
        "each image alone 1.0e-06",
        "logits: top-1 agrees in 50%, top-5 agrees in 100%, cosine at least 0.750000000, numpy.allclose holds from 1.2e-01",
        "first difference at logits (32 x 32): max abs 0.5, relative 2.5e-01",
        "gamma and beta of `x` are exchanged",
        "remedy: exchange them",
        "falls from 2.5e-01 to 0.0e+00",
        "note: a note",
    ):
        assert text in result.output, text
