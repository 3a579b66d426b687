"""[[relation]]: read, refused where it is not whole, printed by convert and contradicted by verify."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from resport.cli.mappings_command import mappings
from resport.conversion import convert
from resport.conversion.initialization import initialize
from resport.errors import TableError
from resport.mapping import Table, shipped_tables
from resport.mapping.relations import RELATION_KINDS, Relation, parse_relations
from resport.verification.verification import _contradiction
from tests.mapping.toy import TOY

Load = Callable[[str], Table]

RELATION = """
[[relation]]
pair = ["slim", "keras"]
kind = "graph"
reason = "the pools differ"
difference = 0.03
"""
SENTENCE = (
    "slim and keras compute the same only where one of the networks is built otherwise: the pools differ; "
    "the outputs differ by about 0.03 of their range"
)


def test_as_read(load: Load) -> None:
    table = load(TOY + RELATION)
    assert table.relations == (Relation(("slim", "keras"), "graph", "the pools differ", 0.03),)
    assert table.relation("keras", "slim") is table.relation("slim", "keras") is table.relations[0]
    assert table.relation("slim", "slim") is None
    assert table.relations[0].sentence == SENTENCE
    assert load(TOY).relations == ()
    assert load(TOY).relation("slim", "keras") is None


@pytest.mark.parametrize("kind", RELATION_KINDS)
def test_which_kinds_are_the_same_function(kind: str) -> None:
    assert Relation(("a", "b"), kind, "why").is_same_function == (kind in ("equal", "transformed"))
    assert Relation(("a", "b"), kind, "why").sentence == f"a and b {RELATION_KINDS[kind]}: why"


COMPLETE = {"pair": ["a", "b"], "kind": "equal", "reason": "x"}
ALL = {"among": ["a", "b", "c"], "kind": "equal", "reason": "x"}
AMONG = "`among` lists three dialects or more, and stands in place of `pair`"


def test_one_entry_for_every_pair() -> None:
    expected = tuple(Relation(pair, "equal", "x") for pair in [("a", "b"), ("a", "c"), ("b", "c")])
    assert parse_relations([ALL], ["a", "b", "c"]) == expected


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{**COMPLETE, "pair": []}], "relation 1: `pair` is missing"),
        ([{**COMPLETE, "reason": ""}], "relation 1: `reason` is missing"),
        ([{**COMPLETE, "pair": ["a", "a"]}], "relation 1: a pair is two of the dialects a, b, c, not ['a', 'a']"),
        ([{**COMPLETE, "pair": ["a", "d"]}], "relation 1: a pair is two of the dialects a, b, c, not ['a', 'd']"),
        ([{**COMPLETE, "kind": "E"}], "relation 1: `E` is none of the kinds equal, transformed, graph, different"),
        ([COMPLETE, {**COMPLETE, "pair": ["b", "a"]}], "relation 2: b and a have a relation already"),
        ([COMPLETE], "there is no [[relation]] of a and c"),
        ([{**COMPLETE, "among": ["a", "b", "c"]}], f"relation 1: {AMONG}"),
        ([{"among": ["a", "b", "a"], "kind": "equal", "reason": "x"}], f"relation 1: {AMONG}"),
        ([COMPLETE, {**ALL, "kind": "graph"}], "relation 2: a and b have a relation already"),
        ([{**ALL, "among": ["a", "b", "d"]}], "relation 1: a pair is two of the dialects a, b, c, not ['a', 'd']"),
    ],
)
def test_refused(entries: list[Mapping[str, object]], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_relations(entries, ["a", "b", "c"])
    assert str(caught.value) == message


def test_sides_may_be_several_dialects() -> None:
    inside = {**COMPLETE, "pair": ["a", "b"]}
    across = {**COMPLETE, "pair": [["a", "b"], "c"], "kind": "graph"}
    relations = parse_relations([inside, across], ["a", "b", "c"])
    assert {(each.pair, each.kind) for each in relations} == {
        (("a", "b"), "equal"),
        (("a", "c"), "graph"),
        (("b", "c"), "graph"),
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"keras"]', '"keros"]', "relation 1: a pair is two of the dialects slim, keras, not ['slim', 'keros']"),
        ("reason", "reasons", "relation 1 has the unknown key `reasons`"),
        ("0.03", '"much"', "`relation, item 1.difference` is of the wrong kind"),
    ],
)
def test_refused_tables_name_the_file(old: str, new: str, message: str, load: Load, tmp_path: Path) -> None:
    with pytest.raises(TableError) as caught:
        load(TOY + RELATION.replace(old, new, 1))
    assert str(caught.value).splitlines()[0] == f"`{tmp_path / 'toy.toml'}`: {message}"


@pytest.mark.parametrize("table", shipped_tables(), ids=lambda table: table.family)
def test_every_pair_of_a_shipped_table_has_one(table: Table) -> None:
    for pair in combinations(table.dialects, 2):
        assert table.relation(*pair) is not None, pair


@pytest.mark.parametrize(("kind", "is_printed"), [("equal", False), ("graph", True), ("transformed", True)])
def test_convert_says_what_is_not_equal(kind: str, is_printed: bool, tmp_path: Path, load: Load) -> None:
    table = Path(load(TOY + RELATION.replace('"graph"', f'"{kind}"')).path)
    initialize("toy_a", tmp_path / "toy.ckpt", table=table)
    report = convert(tmp_path / "toy.ckpt", tmp_path / "toy.h5", to="keras", table=table)
    assert [("the pools differ" in warning) for warning in report.warnings] == [True] * is_printed


def test_show_lists_them(tmp_path: Path, load: Load) -> None:
    path = load(TOY + RELATION).path
    assert CliRunner().invoke(mappings, ["show", path]).output.splitlines()[-1] == f"graph: {SENTENCE}"


@pytest.mark.parametrize(
    ("kind", "weights_equal", "forward_equal", "found"),
    [
        ("graph", True, True, "agree"),
        ("graph", True, False, None),
        ("equal", True, False, "differ"),
        ("equal", True, True, None),
        ("transformed", True, False, "differ"),
        ("equal", False, False, None),
    ],
)
def test_verify_contradicts(kind: str, weights_equal: bool, forward_equal: bool, found: str | None, load: Load) -> None:
    table = load(TOY + RELATION.replace('"graph"', f'"{kind}"'))
    sides = [SimpleNamespace(dialect=dialect, table=table) for dialect in table.dialects]
    pair = SimpleNamespace(source_detection=sides[0], target_detection=sides[1])
    notes = _contradiction(pair, SimpleNamespace(is_equal=weights_equal), SimpleNamespace(is_equal=forward_equal))
    expected = f"the forward passes {found}, against the table: {table.relations[0].sentence}"
    assert notes == ((expected,) if found else ())


def test_verify_has_nothing_to_contradict_without_a_forward_pass(load: Load) -> None:
    side = SimpleNamespace(dialect="slim", table=load(TOY + RELATION))
    weights = SimpleNamespace(is_equal=True)
    assert _contradiction(SimpleNamespace(source_detection=side, target_detection=side), weights, weights) == ()
    assert _contradiction(SimpleNamespace(source_detection=None, target_detection=side), weights, weights) == ()
    other = SimpleNamespace(dialect="keras", table=side.table)
    assert _contradiction(SimpleNamespace(source_detection=side, target_detection=other), weights, None) == ()
