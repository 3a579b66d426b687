"""Keys of slices against bytes that TensorFlow wrote, and covers against a count of every element."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resport.errors import FormatError
from resport.formats.tensor_slice import FULL_EXTENT, SLICE_MAX_CELLS, Extent, check_cover, resolve_slice, slice_key

Bounds = tuple[tuple[int, int], ...]


def test_key_golden_bytes() -> None:
    # From the index of a variable [7, 5] in three parts, written by TensorFlow.
    assert slice_key("p/q", (Extent(3, 2), Extent(0, 5))).hex() == "00702f7100010102838280" + "85"
    assert slice_key("p/w", (Extent(0, FULL_EXTENT), Extent(4, 1))).hex() == "00702f7700010102807f8481"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (0, "80"),
        (63, "bf"),
        (64, "c040"),
        (8191, "dfff"),
        (8192, "e02000"),
        (0x424242, "f0424242"),
        (-1, "7f"),
        (-64, "40"),
        (-65, "3fbf"),
        (-0x800, "3800"),
        (2**62 - 1, "ffbfffffffffffffff"),
        (2**63 - 1, "ffc07fffffffffffffff"),
    ],
)
def test_ordered_numbers(number: int, code: str) -> None:
    assert slice_key("", (Extent(number, 0),)).hex() == "00" + "0001" + "0101" + code + "80"


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_codes_sort_as_numbers(first: int, second: int) -> None:
    keys = [slice_key("v", (Extent(number, 1),)) for number in (first, second)]
    assert (keys[0] < keys[1]) == (first < second)


def test_names_and_ranks() -> None:
    assert slice_key("a\0b", ()).hex() == "00" + "6100ff62" + "0001" + "00"
    assert slice_key("ä", (Extent(0, 1),) * 300)[:8].hex() == "00c3a4000102012c"
    assert slice_key("a", ()) < slice_key("a\0", ()) < slice_key("aa", ())


def test_resolve() -> None:
    assert resolve_slice((7, 5), (Extent(3, 2), Extent(0, FULL_EXTENT))) == ((3, 5), (0, 5))
    assert resolve_slice((), ()) == ()


@pytest.mark.parametrize(
    "extents",
    [
        (Extent(0, 7),),
        (Extent(0, 8), Extent(0, 5)),
        (Extent(7, 1), Extent(0, 5)),
        (Extent(-1, 3), Extent(0, 5)),
        (Extent(3, -2), Extent(0, 5)),
        (Extent(8, FULL_EXTENT), Extent(0, 5)),
        (Extent(2**62, 2**62), Extent(0, 5)),
    ],
)
def test_slice_beyond_its_tensor(extents: tuple[Extent, ...]) -> None:
    with pytest.raises(FormatError, match="slice"):
        resolve_slice((7, 5), extents)


GOOD: list[tuple[tuple[int, ...], list[Bounds]]] = [
    ((), [()]),
    ((7,), [((0, 3),), ((3, 7),)]),
    ((7,), [((3, 7),), ((0, 3),)]),
    ((7, 0), []),
    ((7, 0), [((0, 3), (0, 0)), ((3, 7), (0, 0))]),
    ((4, 4), [((a, a + 2), (b, b + 2)) for a in (0, 2) for b in (0, 2)]),
    # A pinwheel, which no straight cut takes apart.
    ((3, 3), [((0, 1), (0, 2)), ((0, 2), (2, 3)), ((2, 3), (1, 3)), ((1, 3), (0, 1)), ((1, 2), (1, 2))]),
]
BAD: list[tuple[tuple[int, ...], list[Bounds]]] = [
    ((), []),
    ((), [(), ()]),
    ((7,), [((0, 3),), ((3, 6),)]),
    ((7,), [((0, 4),), ((3, 7),)]),
    ((7,), [((0, 3),), ((4, 7),)]),
    ((7,), [((0, 4),), ((0, 3),)]),
    ((4, 4), [((0, 2), (0, 4)), ((1, 3), (0, 4))]),
    ((4, 4), [((0, 4), (0, 2)), ((0, 4), (0, 2))]),
]


@pytest.mark.parametrize(("shape", "slices"), GOOD)
def test_cover(shape: tuple[int, ...], slices: list[Bounds]) -> None:
    check_cover(shape, slices)


@pytest.mark.parametrize(("shape", "slices"), BAD)
def test_no_cover(shape: tuple[int, ...], slices: list[Bounds]) -> None:
    with pytest.raises(FormatError):
        check_cover(shape, slices)


@given(st.data())
def test_cover_is_one_count_of_each_element(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    bound = [st.sampled_from(list(itertools.combinations(range(size + 1), 2))) for size in shape]
    slices = data.draw(st.lists(st.tuples(*bound), max_size=6))
    count = np.zeros(shape, int)
    for (a, b), (c, d) in slices:
        count[a:b, c:d] += 1
    try:
        check_cover(shape, slices)
    except FormatError:
        assert (count != 1).any()
    else:
        assert (count == 1).all()


def test_work_is_bounded() -> None:
    """Thin crossing slices would make as many cells as the square of their number."""
    n = SLICE_MAX_CELLS // 100
    rows = [((0, 1), (i, i + 1)) for i in range(n)]
    columns = [((i, i + 1), (0, n)) for i in range(1, n)]
    with pytest.raises(FormatError, match="too many cells"):
        check_cover((n, n), rows + columns)
