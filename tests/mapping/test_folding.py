"""Long lists made short."""

from __future__ import annotations

import pytest

from resport.mapping.folding import FOLDING_LIMIT, fold_digits, fold_names, fold_numbers, shortened


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ([], []),
        (["b"], ["b"]),
        (["a7/w"], ["a7/w"]),
        (["a1/w", "a2/w", "a3/w", "b"], ["a{1..3}/w (3)", "b"]),
        (["a1/w", "b", "a2/w"], ["a{1..2}/w (2)", "b"]),
        (["a1", "a3", "a9"], ["a{1,3,9} (3)"]),
        (["b1/u1", "b1/u2", "b2/u1"], ["b{1..2}/u{1..2} (3)"]),
        (["b1/u1", "b1/u2"], ["b1/u{1..2} (2)"]),
        (["a10", "a9"], ["a{9..10} (2)"]),
        (["a1", "a1x"], ["a1", "a1x"]),
        (["a#/w", "a1/w"], ["a#/w", "a1/w"]),
        (["a0/w", "a00/w"], ["a0/w (2)"]),
        ([f"a{2 * n}" for n in range(1, 30)], ["a{2,4,6,8,10,12,…,58} (29)"]),
        (["x" + "1" * 5000], ["x" + "1" * 5000]),
    ],
)
def test_fold_names(names: list[str], folded: list[str]) -> None:
    assert fold_names(names) == folded


def test_numbers_of_any_length_are_folded() -> None:
    # Python refuses to read numbers of more than 4300 digits.
    names = ["x" + "1" * 5000, "x" + "2" * 5000]
    assert len(fold_names(names)) == 1


def test_fold_digits() -> None:
    assert fold_digits("block12/unit_3/conv1") == fold_digits("block1/unit_10/conv2")
    assert fold_digits("a1") != fold_digits("a")
    assert fold_digits("a#") != fold_digits("a1")
    assert fold_digits(fold_digits("a12b3")) == fold_digits("a12b3")


def test_fold_numbers() -> None:
    assert fold_numbers(["a1b5", "a2b5", "a3b5"]) == "a{1..3}b5"


def test_shortened() -> None:
    lines = [f"line {n}" for n in range(FOLDING_LIMIT)]
    assert shortened(lines) == lines
    assert shortened([*lines, "x", "y"]) == [*lines, "… and 2 more (`--json` lists all)"]
    assert shortened(lines, 3) == ["line 0", "line 1", "line 2", f"… and {FOLDING_LIMIT - 3} more (`--json` lists all)"]
