"""What is wrong is found by undoing: one mistake, two at once, one in every layer, and one that nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import resport
from resport.verification.forward.evidence import EndPointDifference, ForwardResult
from resport.verification.forward.forward import FORWARD_FLOAT64_LIMIT
from resport.verification.mistakes.catalogue import known_mistakes
from resport.verification.mistakes.diagnosis import diagnose, explain
from resport.verification.mistakes.findings import Finding
from resport.verification.mistakes.kinds import Mistake
from resport.verification.mistakes.workbench import Change, View, Workbench
from resport.verification.pairing import source_side, target_side
from resport.verification.weights import compare_weights
from tests.verification.small_pairs import RESNET_V2, SIZES, small_bench, small_pair

pytestmark = pytest.mark.tf

Values = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    with small_bench(tmp_path_factory.mktemp("bench"), RESNET_V2) as opened:
        yield opened


def mistake(bench: Workbench, kind: str, *touches: str) -> Mistake:
    """The first mistake of a kind that touches some tensors or sites and can be made."""
    return next(
        each
        for each in known_mistakes(bench)
        if each.kind == kind and set(touches) <= each.touches and each.make(View(bench, Change())) is not None
    )


def made(bench: Workbench, *mistakes: Mistake) -> Change:
    change = Change()
    for each in mistakes:
        step = each.make(View(bench, change))
        assert step is not None
        change = change.then(step)
    return change


def only(findings: tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    return finding


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # Far apart; in one layer; a weight and the graph; both in the graph.
        (("bn-gamma-beta", "conv2_block2_1_bn/gamma"), ("kernel-height-width", "conv4_block1_2_conv/kernel")),
        (("kernel-inputs-outputs", "conv3_block1_2_conv/kernel"), ("bn-beta-mean", "conv3_block1_2_bn/beta")),
        (("pool-padded-zero", "pool1_pool"), ("bias-dropped", "conv3_block2_3_conv/bias")),
        (("rgb-bgr", "conv1_conv/kernel"), ("epsilon-0.001", "post_bn")),
    ],
)
def test_two_mistakes_at_once(bench: Workbench, one: tuple[str, str], other: tuple[str, str]) -> None:
    mistakes = [mistake(bench, *one), mistake(bench, *other)]
    finding = only(explain(bench, made(bench, *mistakes)))
    assert set(finding.kinds) == {one[0], other[0]}
    assert finding.before > bench.limit >= finding.after
    assert all(each.sentence in finding.sentence and each.remedy in finding.remedy for each in mistakes)


def test_the_same_mistake_in_every_layer_is_one(bench: Workbench) -> None:
    exchanged = [each for each in known_mistakes(bench) if each.kind == "bn-beta-mean"]
    assert len(exchanged) > 20
    finding = only(explain(bench, made(bench, *exchanged)))
    assert finding.kinds == ("bn-beta-mean",)
    assert finding.after <= bench.limit
    assert f"{len(exchanged) - 6} more like these" in finding.sentence


def test_what_no_known_mistake_explains_is_said(bench: Workbench) -> None:
    """A bias of twice its value: the source's own values in its place mend it, and no mistake that is known."""
    name = "conv3_block1_3_conv/bias"
    finding = only(explain(bench, Change({name: bench.value(name) * 2})))
    assert finding.kinds == ("other-values",)
    assert f"`{name}` has other values" in finding.sentence

    # In the graph there are no expected values.
    finding = only(explain(bench, Change(edits={"conv3_block1_1_bn": 0.05})))
    assert finding.kinds == ()
    assert finding.before == finding.after > bench.limit
    assert "none of the known mistakes explains" in finding.sentence
    assert "block2/unit_1/bottleneck_v2/conv1" in finding.sentence and "conv3_block1_1_bn" in finding.sentence


def test_nothing_is_explained_where_nothing_differs(bench: Workbench) -> None:
    assert explain(bench, Change()) == ()


def exchange(one: str, other: str) -> Callable[[Values], None]:
    def mutate(values: Values) -> None:
        values[one], values[other] = values[other], values[one]

    return mutate


def turn_round(values: Values) -> None:
    values["conv1_conv/kernel"] = values["conv1_conv/kernel"][:, :, ::-1]


def halve(values: Values) -> None:
    for name, array in values.items():
        values[name] = array.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize(
    ("mutate", "kind", "remedy"),
    [
        (exchange("conv2_block1_1_bn/gamma", "conv2_block1_1_bn/beta"), "bn-gamma-beta", "conv2_block1_1_bn/beta"),
        (exchange("conv4_block1_2_conv/kernel", "conv4_block3_2_conv/kernel"), "kernels-across", "conv4_block3_2_conv"),
        (turn_round, "rgb-bgr", "--swap-rgb"),
        (halve, "float16", "--dtype float16"),
    ],
)
def test_files(tmp_path: Path, mutate: Callable[[Values], None], kind: str, remedy: str) -> None:
    with small_pair(tmp_path, RESNET_V2) as pair:
        values = {name: pair.target.read(name) for name in pair.target.manifest}
        mutate(values)
        wrong = Wrong(pair.target, values)
        finding = only(
            diagnose(
                pair,
                source_side(pair),
                target_side(pair, values.__getitem__),
                forward_result(),
                compare_weights(pair.source, wrong, pair.plan),  # type: ignore[arg-type]
                input_sizes=SIZES,
            )
        )
    assert finding.kinds == (kind,)
    assert remedy in finding.remedy


class Wrong:
    """A reader with other values."""

    def __init__(self, reader: resport.formats.Reader, values: Values) -> None:  # type: ignore[name-defined]
        self.manifest = reader.manifest
        self.read = values.__getitem__

    def pieces(self, name: str) -> Iterator[memoryview]:
        yield memoryview(np.ascontiguousarray(self.read(name))).cast("B")


def forward_result() -> ForwardResult:
    point = EndPointDifference("logits", 64, 1.0, 1.0, 1.0)
    return ForwardResult((point,), (), 1e-6, FORWARD_FLOAT64_LIMIT, "", 10.0, SIZES, 2)


def test_a_background_class_that_one_side_lacks(tmp_path: Path) -> None:
    """The files agree if it is dropped; as they are compared, the class counts differ."""
    with small_pair(tmp_path, RESNET_V2, drop_background=True) as pair:
        # The source as a conversion that dropped nothing reads it.
        with Workbench(pair, source_side(pair), target_side(pair), SIZES, limit=1e-9) as opened:
            kept = mistake(opened, "background-kept")
            finding = only(explain(opened, made(opened, kept)))
    assert finding.kinds == ("background-kept",)
    assert "--drop-background" in finding.remedy
