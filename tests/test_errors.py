"""Errors: the tree that the docstring draws, and what each of them says."""

from __future__ import annotations

import re

import pytest

from resport import errors
from resport.errors import FormatError, PlanError, ResportError, TableError


def test_the_tree_is_the_one_that_is_drawn() -> None:
    drawn = re.findall(r"^( {4,})(\w+Error)\b(?:.*also (\w+))?", errors.__doc__ or "", re.MULTILINE)
    classes = {name: each for name, each in vars(errors).items() if isinstance(each, type)}
    assert {name for _, name, _ in drawn} == {name for name, each in classes.items() if issubclass(each, ResportError)}
    parents: dict[int, str] = {}
    for indent, name, builtin in drawn:
        depth = len(indent)
        parents[depth] = name
        above = parents.get(depth - 2, "ResportError")
        assert issubclass(classes[name], classes[above])
        if builtin:
            assert issubclass(classes[name], eval(builtin))


def test_expected_and_got_stand_on_lines_of_their_own() -> None:
    error = FormatError("`a.h5` is cut short", expected=10, got=3, hint="copy it again", path="a.h5", offset=3)
    assert str(error) == "`a.h5` is cut short\n  expected: 10\n  got:      3"
    assert (error.hint, error.path, error.offset) == ("copy it again", "a.h5", 3)


def test_a_table_error_says_where() -> None:
    assert str(TableError("wrong", file="m.toml", group=2, row="a/b")) == "`m.toml`, group 2, row `a/b`: wrong"
    assert str(TableError("wrong")) == "table: wrong"


def test_a_plan_error_prints_some_and_gives_all() -> None:
    error = PlanError("no", problems=["missing:", "  a{1..2} (2)"], by_kind={"missing": ["a1", "a2"]})
    assert str(error) == "no\n  missing:\n    a{1..2} (2)"
    assert error.to_dict()["problems"] == {"missing": ["a1", "a2"]}


def test_all_can_be_caught_as_one() -> None:
    with pytest.raises(ResportError):
        raise errors.MissingDependencyError("TensorFlow is needed", hint="pip install it")
