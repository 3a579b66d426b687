"""Verification reports made by hand: every part that a report can have, with names that a hostile file might hold."""

from __future__ import annotations

from dataclasses import replace

from resport.verification.forward.evidence import EndPointDifference, ForwardResult, Noise
from resport.verification.mistakes.findings import Finding, MutantResult, SelfTestResult
from resport.verification.record import ComparedTensor, Record
from resport.verification.report import Side, TensorDifference, VerificationReport, WeightsResult

HOSTILE = (
    "<script>document.title='taken'</script><img src=\"//example.org/x.png\" onerror='document.title=1'>\x1b[31m\u202e"
)
"""A name that writes to the page, asks for a picture, colours a terminal and turns text round, if one lets it."""

END_POINTS = ("conv1", "block1/unit_1", "block1/unit_2", "block1", "block2/unit_1", "block2", "logits")

SIDE = Side("model.ckpt-7", "tensorflow-v2", "tiny", "tiny_2", "slim", 5)


def end_point(name: str, size: int, difference: float) -> EndPointDifference:
    """An end point that differs by so much."""
    quantiles = tuple((share, difference * share) for share in (0.5, 0.9, 0.99, 0.999))
    found = EndPointDifference(name, size, 2 * difference, difference, difference / 10, quantiles, difference)
    return replace(found, top1_agreement=0.5, top5_agreement=0.25, cosine=0.975) if name == "logits" else found


def forward(from_: int | None = None, difference: float = 3e-2) -> ForwardResult:
    """Forward passes that agree, or differ from one end point on."""

    def points(size: int, noise: float) -> tuple[EndPointDifference, ...]:
        values = [noise * index if from_ is None or index < from_ else difference for index in range(len(END_POINTS))]
        return tuple(end_point(name, size, value) for name, value in zip(END_POINTS, values, strict=True))

    noise = (Noise("float64 against float32", 1e-6, "logits"), Noise("each image alone", 4e-7, "block1"))
    reason = "one function computed twice in float64"
    return ForwardResult(
        (*points(64, 1e-16), *points(65, 3e-16)), points(64, 1e-7), 1e-6, 1e-9, reason, 10.0, (64, 65), 2, noise
    )


def record(n_tensors: int, different: str | None = None) -> Record:
    """So many tensors; one of them may differ."""
    names = [f"conv{index}/kernel" for index in range(n_tensors)]
    tensors = tuple(
        ComparedTensor(
            (f"net/block{index % 7}/conv{index}/weights",),
            name,
            (3, 3, 1 + index % 50, 8),
            "float32",
            "h w i o -> o i h w",
            "values" if name == different else "equal",
        )
        for index, name in enumerate(names)
    )
    left_out = ComparedTensor(("global_step",), None, (), "int64", "no parameter", "left out")
    versions = {"resport": "0.1.0", "python": "3.11.7", "numpy": "2.4.6"}
    return Record("ab" * 32, "cd" * 32, "tiny", "ef" * 32, versions, (*tensors, left_out))


def equal_report(n_tensors: int = 6) -> VerificationReport:
    """A clean pair."""
    return VerificationReport(
        source=SIDE,
        target=replace(SIDE, path="model.h5", format="keras-h5", dialect="keras"),
        weights=WeightsResult(n_tensors, n_tensors, ()),
        forward=forward(),
        forward_reason=None,
        options={"dtype": "float16"},
        seconds=1.25,
        record=record(n_tensors),
    )


def different_report() -> VerificationReport:
    """A wrong conversion, with everything that a report can say of it."""
    name = "conv3/kernel"
    mutants = (
        MutantResult("bn-gamma-beta", "gamma and beta exchanged", True, "forward", 4e5, "block1", "bn-gamma-beta"),
        MutantResult("one-element", "one value changed", False, "forward", 0.25),
        MutantResult("class-shift", "classes moved on by one", True, "weights", float("inf"), "logits"),
    )
    return replace(
        equal_report(),
        weights=WeightsResult(6, 5, (TensorDifference(name, "values", "3 of 72 values differ", 0.5, 3),)),
        forward=forward(2),
        probe=forward(4, float("inf")),
        self_test=SelfTestResult(mutants, {"grouped-kernels": "no convolution has groups"}),
        diagnosis=(Finding(("bn-gamma-beta",), "gamma and beta are exchanged", "use `--ema`", 3e-2, 4e-16),),
        notes=("the target was rounded",),
        record=record(6, name),
    )


def hostile_report() -> VerificationReport:
    """A report whose every text comes from a file that means harm."""
    report = different_report()
    assert report.forward is not None and report.record is not None and report.self_test is not None
    points = tuple(replace(point, name=f"{HOSTILE}/{point.name}") for point in report.forward.float64)
    tensor = ComparedTensor((HOSTILE,), HOSTILE, (2,), HOSTILE, HOSTILE, HOSTILE)
    mutant = MutantResult(HOSTILE, HOSTILE, True, HOSTILE, 2.0, HOSTILE, HOSTILE)
    return replace(
        report,
        source=Side(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, 3),
        target=Side(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, 3),
        weights=WeightsResult(1, 0, (TensorDifference(HOSTILE, HOSTILE, HOSTILE),)),
        forward=replace(report.forward, float64=points, float32=points, limit_reason=HOSTILE),
        options={HOSTILE: HOSTILE},
        notes=(HOSTILE, "</script>", "<!--"),
        self_test=SelfTestResult((mutant,), {HOSTILE: HOSTILE}),
        diagnosis=(Finding((HOSTILE,), HOSTILE, HOSTILE, 1.0, 0.0),),
        record=Record("ab", "cd", HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, (tensor,)),
    )
