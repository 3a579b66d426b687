"""Numbers that count on, spellings, class counts in names, and dialects that are like others or another family's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from resport.errors import DetectError, TableError
from resport.mapping import PlanOptions, Table, detect, expand, plan_conversion
from resport.mapping.checking import check_table
from resport.mapping.templates import Number, Spelling, parse_template
from tests.mapping.toy import TOY, carried_out, manifest_of, values_of

Load = Callable[[str], Table]

COUNTED = """\
family  = "counted"
columns = ["slim", "session", "axes"]

[variants]
counted_2 = { s = 2, b = 2, p = 3 }
counted_3 = { s = 3, b = 2, p = 3 }

[like]
session = "slim"

[numbers]
conv = { start = 1, step = { s = 13, b = 6, p = 2 }, suffix = true }
out  = { start = 13, step = { s = 13 } }

[[group]]
rows = [["stem/weights", "conv2d/kernel", "conv 3 3 3 4"]]

[[group]]
over   = ["s", "b", "p"]
prefix = ["stage{s}/block{b}/", ""]
rows   = [
  ["path{p}/a/weights", "conv2d{conv}/kernel",   "conv 1 1 4 4"],
  ["path{p}/b/weights", "conv2d{conv+1}/kernel", "conv 3 3 4 4"],
]

[[group]]
over = ["s"]
rows = [
  ["stage{s}/out/weights",        "conv2d_{out}/kernel", "conv 1 1 4 4"],
  ["stage{s}/out/BatchNorm/{bn}", "out{s}_bn/{bn}",      "vector 4"],
]
"""


def test_a_number_counts_through_the_network(load: Load) -> None:
    expansion = expand(load(COUNTED), "counted_2")
    names = [name for name in expansion.by_name["session"] if name.endswith("kernel")]
    # In the order of the slim names within a stage, each kernel has the next number.
    assert names[:4] == ["conv2d/kernel", "conv2d_1/kernel", "conv2d_2/kernel", "conv2d_3/kernel"]
    assert sorted(names) == sorted(["conv2d/kernel", *(f"conv2d_{n}/kernel" for n in range(1, 27))])
    where = {parameter.names["slim"][0]: parameter.names["session"][0] for parameter in expansion.parameters}
    assert where["stage2/block1/path3/b/weights"] == "conv2d_19/kernel"
    assert where["stage1/out/weights"] == "conv2d_13/kernel"


def test_numbers_are_detected_as_any_number(load: Load) -> None:
    table = load(COUNTED)
    for variant in table.variants:
        found = detect(manifest_of(expand(table, variant), "session"), [table])
        assert (found.variant, found.dialect, found.is_complete) == (variant, "session", True)


def test_counted_names_convert_both_ways(load: Load) -> None:
    table = load(COUNTED)
    check_table(table)
    expansion = expand(table, "counted_3")
    values = values_of(manifest_of(expansion, "slim"))
    there = carried_out(plan_conversion(manifest_of(expansion, "slim"), expansion, "slim", "session"), values)
    assert np.array_equal(there["conv2d_20/kernel"], values["stage2/block2/path1/a/weights"])
    back = carried_out(plan_conversion(manifest_of(expansion, "session"), expansion, "session", "slim"), there)
    assert {name: array.tobytes() for name, array in back.items()} == {n: v.tobytes() for n, v in values.items()}


def test_an_index_behind_a_number_may_be_an_axis_elsewhere(load: Load) -> None:
    joined = COUNTED.replace("[[group]]", '[axes]\npaths = { slim = "h w i (p o)", session = "h w i o" }\n[[group]]', 1)
    joined = joined.replace('"path{p}/a/weights"', '"a/weights"').replace('"path{p}/b/weights"', '"b/weights"')
    joined = joined.replace('"conv 1 1 4 4"', '"paths 1 1 4 p 4"', 1).replace('"conv 3 3 4 4"', '"paths 3 3 4 p 4"')
    expansion = expand(load(joined), "counted_2")
    parameter = expansion.by_name["slim"]["stage1/block2/b/weights"]
    assert parameter.names["session"] == ("conv2d_8/kernel", "conv2d_10/kernel", "conv2d_12/kernel")
    assert parameter.shape("slim") == (3, 3, 4, 12)


@pytest.mark.parametrize(
    ("number", "values", "text"),
    [
        (Number("n", 2, (("s", 51), ("b", 17), ("i", 2))), {"s": 2, "b": 3, "i": 4}, "93"),
        (Number("n", 2, (("s", 51),)), {}, "2"),
        (Number("n", 0, (("s", 1),), suffix=True), {"s": 1}, ""),
        (Number("n", 0, (("s", 1),), suffix=True), {"s": 3}, "_2"),
        (Number("n", 1, (("s", 1),), suffix=True, offset=-1), {"s": 1}, ""),
    ],
)
def test_number(number: Number, values: dict[str, int], text: str) -> None:
    assert number.fill(values) == text
    assert parse_template("{n}", {"n": number}).fill({**values}) == number.__class__(
        number.name, number.start, number.step, number.suffix
    ).fill(values)


def test_number_below_zero() -> None:
    with pytest.raises(ValueError, match=r"`\{n\}` is -1"):
        Number("n", 1, (), offset=-2).fill({})


UNITS = """
[spellings]
unit = { over = ["b", "u"], texts = [["a", "b", "c"], ["a", "b{u-1}"]] }
[[group]]
over = ["b", "u"]
rows = [["block{b}/unit_{u}/scale", "stage{b+1}{unit}/scale", "vector width"]]
"""


def test_spellings_go_by_indices(load: Load) -> None:
    table = load(TOY.replace("u = [2, 1]", "u = [3, 4]").replace("b = 3, u = 1", "b = 3, u = [1, 3]") + UNITS)
    names = [name for name in expand(table, "toy_a").by_name["keras"] if name.endswith("/scale")]
    assert names == [f"stage{each}/scale" for each in ("2a", "2b", "2c", "3a", "3b1", "3b2", "3b3")]
    third = [name for name in expand(table, "toy_b").by_name["keras"] if name.startswith("stage4") and "scale" in name]
    assert third == ["stage4a/scale", "stage4b1/scale", "stage4b2/scale"]
    for variant in table.variants:
        found = detect(manifest_of(expand(table, variant), "keras"), [table])
        assert (found.variant, found.is_complete) == (variant, True)


def test_spelling_with_lists_deeper_than_its_indices() -> None:
    with pytest.raises(ValueError, match="deeper than its indices"):
        Spelling("unit", ("b",), [[parse_template("a")]]).fill({"b": 1})


NAMED = TOY.replace('"top/kernel"', '"fc{classes}/kernel"').replace('"top/bias"', '"fc{classes}/bias"')


def test_a_class_count_in_names(load: Load) -> None:
    table = load(NAMED)
    slim = manifest_of(expand(table, "toy_a"), "slim", 7)
    found = detect(slim, [table])
    plan = plan_conversion(slim, found.expand(), "slim", "keras")
    assert {"fc7/kernel", "fc7/bias"} <= set(plan.targets)
    judged = detect(plan.targets, [table])
    assert (judged.num_classes, judged.named_classes, judged.is_complete) == (7, 7, True)
    back = plan_conversion(plan.targets, judged.expand(), "keras", "slim")
    assert list(back.targets) == list(slim)


def test_a_class_count_in_names_that_is_not_the_count(load: Load) -> None:
    table = load(NAMED)
    file = manifest_of(expand(table, "toy_a", num_classes=8), "keras", 5)
    found = detect(file, [table])
    assert (found.num_classes, found.named_classes, found.is_complete) == (5, 8, True)
    assert plan_conversion(file, found.expand(), "keras", "slim").targets["toy_a/logits/biases"].shape == (5,)


def test_dropping_the_background_names_what_is_left(load: Load) -> None:
    table = load(NAMED)
    slim = manifest_of(expand(table, "toy_a"), "slim", 7)
    expansion = detect(slim, [table]).expand(num_classes=6)
    plan = plan_conversion(slim, expansion, "slim", "keras", PlanOptions(drop_background=True))
    assert plan.targets["fc6/bias"].shape == (6,)


EMBEDDED = (
    TOY.replace('"head 8 classes"', '"face 8 embedding"').replace('"classes classes"', '"faces embedding"')
    + '[axes]\nface = { slim = "1 1 i embedding", keras = "i embedding" }\n'
    + 'faces = { slim = "embedding", keras = "embedding" }\n'
)


def test_an_embedding_is_measured(load: Load) -> None:
    table = load(EMBEDDED)
    file = manifest_of(expand(table, "toy_a"), "slim")
    found = detect(file, [table])
    assert (found.embedding_size, found.num_classes, found.is_complete) == (128, None, True)
    assert "the embedding has 128 values" in found.evidence
    assert found.to_dict()["embedding_size"] == 128
    assert plan_conversion(file, found.expand(), "slim", "keras").targets["top/kernel"].shape == (8, 128)
    assert check_table(table)[0].startswith("toy_a: slim 18 tensors (1,420 values at 128 values of the embedding)")


FOREIGN = (
    TOY.replace(
        'columns = ["slim", "keras", "axes"]',
        'columns = ["slim", "keras", "other", "axes"]\nforeign = ["other"]\n[like]\nother = "slim"',
    )
    .replace('"conv 3 3 3 4"', '"other/weights", "conv 3 3 3 4"')
    .replace('"stage{b+1}_{u}_"]', '"stage{b+1}_{u}_", "other/{b}/{u}/"]')
    .replace('"conv 1 1 width width"', '"conv/weights", "conv 1 1 width width"')
    .replace('"bias width"', '"=0", "bias width"')
    .replace('"vector width"', '"norm/{bn}", "vector width"')
    .replace('"head 8 classes"', '"top/weights", "head 8 classes"')
    .replace('"classes classes"', '"top/biases", "classes classes"')
)


def test_another_familys_dialect_is_not_detected(load: Load) -> None:
    table, toy = load(FOREIGN), load(TOY.replace('"toy"', '"toy2"').replace("toy_", "toy2_"))
    file = manifest_of(expand(table, "toy_a"), "other")
    assert table.axes["conv"].strings["other"] == table.axes["conv"].strings["slim"]
    assert table.words["bn"]["other"] == table.words["bn"]["slim"]
    assert table.ignore["other"] == table.ignore["slim"]
    with pytest.raises(DetectError):
        detect(file, [table, toy])
    for found in (detect(file, [table]), detect(file, [table, toy], dialect="other")):
        assert (found.variant, found.dialect, found.is_complete) == ("toy_a", "other", True)


EPSILON = TOY.replace(
    "folds = [{", 'folds = [{ dialect = "keras", op = "shift_epsilon", into = "bn/moving_variance", with = [] }, {'
).replace("[root]", "[epsilon]\nslim = 1e-5\nkeras = 1e-3\n[root]")


def test_an_epsilon_is_compensated_on_demand(load: Load) -> None:
    table = load(EPSILON)
    expansion = expand(table, "toy_a")
    file = manifest_of(expansion, "keras")
    for options, shift in ((PlanOptions(fold=True), 1e-3 - 1e-5), (PlanOptions(), 0.0)):
        plan = plan_conversion(file, expansion, "keras", "slim", options)
        adjusted = [
            move for move in plan.moves if move.targets[0].name.endswith("moving_variance") and move.adjustments
        ]
        assert len(adjusted) == (3 if shift else 0)
        for move in adjusted:
            (adjustment,) = move.adjustments
            assert (adjustment.op, adjustment.operands) == ("shift_epsilon", ())
            assert adjustment.value == pytest.approx(shift, rel=1e-12)
    plan = plan_conversion(file, expansion, "keras", "keras", PlanOptions(fold=True))
    assert not any(adjustment.op == "shift_epsilon" for move in plan.moves for adjustment in move.adjustments)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("step = { s = 13 }", "step = { q = 13 }", "what `out` goes by has the unknown key `q`"),
        ("start = 13", "begin = 13", "[numbers] out has the unknown key `begin`"),
        ("start = 13", 'start = "a"', "`numbers.out.start` is of the wrong kind"),
        ("out  = {", "bn  = {", "`bn` of [numbers] or [spellings] is the name of something else"),
        ("out  = {", "s  = {", "`s` of [numbers] or [spellings] is the name of something else"),
        ('session = "slim"', 'session = "slym"', "[like] has the unknown key `slym`"),
        ("[numbers]", '[spellings]\nx = { texts = ["a"] }\n[numbers]', "[spellings] x has no `over`"),
        (
            "[numbers]",
            '[spellings]\nx = { over = ["s"], texts = [["a"]] }\n[numbers]',
            "[spellings] x has lists that are deeper than its indices (s)",
        ),
        (
            "[numbers]",
            '[spellings]\nx = { over = ["s"], texts = ["a{b}"] }\n[numbers]',
            "[spellings] x: `a{b}` has a hole that is none of its indices (s)",
        ),
        (
            "[numbers]",
            '[spellings]\nx = { over = ["s"], texts = [] }\n[numbers]',
            "[spellings] x has no text where one belongs",
        ),
        (
            "conv2d_{out}",
            "conv2d_{aut}",
            "`{aut}` is neither an index of this group (s) nor a word of dialect `session`",
        ),
    ],
)
def test_refused(old: str, new: str, message: str, load: Load) -> None:
    assert COUNTED.count(old) == 1
    with pytest.raises(TableError) as caught:
        load(COUNTED.replace(old, new))
    assert str(caught.value).splitlines()[0].endswith(f": {message}")


def test_a_spelling_takes_no_offset(load: Load) -> None:
    with pytest.raises(TableError, match=r"`\{unit\}` is no number and takes no offset"):
        load(TOY + UNITS.replace("{unit}", "{unit+1}"))
