"""Cells: parsing, filling, and the pattern that reads indices off a name."""

from __future__ import annotations

import re

import pytest

from resport.mapping.templates import Constant, Hole, Template, parse_cell, parse_template

WORDS = {"bn": ("gamma", "beta", "moving.mean")}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("conv1/weights", ("conv1/weights",)),
        ("", ()),
        ("{b}", (Hole("b"),)),
        ("conv{b+1}_block{u}_", ("conv", Hole("b", 1), "_block", Hole("u"), "_")),
        ("layers.{u-1}.{bn}", ("layers.", Hole("u", -1), ".", Hole("bn"))),
        ("{b}{u}", (Hole("b"), Hole("u"))),
        ("{variant}/x", (Hole("variant"), "/x")),
    ],
)
def test_parse(text: str, parts: tuple[str | Hole, ...]) -> None:
    template = parse_template(text)
    assert template.parts == parts
    assert template.text == text
    assert template.holes == tuple(part for part in parts if isinstance(part, Hole))


@pytest.mark.parametrize(
    "text", ["{", "}", "a{b", "b}a", "{B}", "{1}", "{}", "{b+}", "{b*2}", "{b+1+1}", "{{b}}", "{ b }", "{b+1234567890}"]
)
def test_stray_brace(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"`{text}` has a brace that is no hole")):
        parse_template(text)


def test_fill() -> None:
    template = parse_template("{variant}/conv{b+1}_block{u-1}_{bn}")
    assert template.fill({"b": 9, "u": 1, "bn": "gamma", "variant": "net_9"}) == "net_9/conv10_block0_gamma"


def test_fill_below_zero() -> None:
    with pytest.raises(ValueError, match=re.escape("`{b-2}` is -1 where `b` is 1")):
        parse_template("{b-2}").fill({"b": 1})


def test_a_value_is_not_filled_again() -> None:
    assert parse_template("{bn}{b}").fill({"bn": "{b}", "b": 3}) == "{b}3"


def test_sum() -> None:
    total = parse_template("block{b}/") + parse_template("unit_{u}")
    assert total.text == "block{b}/unit_{u}"
    assert total.fill({"b": 1, "u": 2}) == "block1/unit_2"


@pytest.mark.parametrize(
    ("text", "name", "indices"),
    [
        ("block{b}/unit_{u}/{bn}", "block2/unit_13/beta", {"b": "2", "u": "13"}),
        ("block{b}/unit_{u}/{bn}", "block2/unit_13/moving.mean", {"b": "2", "u": "13"}),
        ("block{b}/unit_{u}/{bn}", "block2/unit_13/moving_mean", None),  # the dot is a dot
        ("block{b}/unit_{u}/{bn}", "block2/unit_/beta", None),
        ("a.b", "axb", None),
        ("{variant}/a", "resnet/a", {}),
        ("{variant}/a", "res/net/a", None),
        ("x{b}/y{b}", "x1/y2", {"b": "1"}),
        ("x{b}", "x" + "1" * 10, None),  # no index is that long
        ("x{b}", "x٣", None),  # digits of another script are none
    ],
)
def test_pattern(text: str, name: str, indices: dict[str, str] | None) -> None:
    match = re.fullmatch(parse_template(text).pattern(WORDS), name)
    assert (None if match is None else match.groupdict()) == indices


def test_pattern_reads_back_what_fill_wrote() -> None:
    template = parse_template("stage{b+1}(x){u}.{bn}")
    for b, u in ((1, 1), (4, 36), (12, 1)):
        match = re.fullmatch(template.pattern(WORDS), template.fill({"b": b, "u": u, "bn": "beta"}))
        assert match is not None
        assert (int(match["b"]) - 1, int(match["u"])) == (b, u)


def test_pattern_with_a_variant() -> None:
    pattern = parse_template("{variant}/a").pattern({}, variant="net_[0-9]+")
    assert re.fullmatch(pattern, "net_50/a")
    assert not re.fullmatch(pattern, "net_x/a")


@pytest.mark.parametrize(("text", "value"), [("=0", 0.0), ("=1", 1.0), ("=-0.5", -0.5), ("=1e-3", 0.001), ("= 2", 2.0)])
def test_constant(text: str, value: float) -> None:
    assert parse_cell(text) == Constant(value)


@pytest.mark.parametrize("text", ["=", "=x", "=0x", "=nan", "=inf", "=-inf", "=1e999", "={b}"])
def test_no_constant(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"`{text}` is not a constant; a constant is `=` and a number")):
        parse_cell(text)


def test_cell_without_equals_sign_is_a_template() -> None:
    assert isinstance(parse_cell("a=0"), Template)
