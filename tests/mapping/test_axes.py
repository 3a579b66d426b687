"""Axis strings and moves, held against numpy's own transpose, reshape and stack."""

from __future__ import annotations

import re

import numpy as np
import pytest

from resport.mapping.axes import AxisMove, AxisString, parse_axes


def ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype="f4").reshape(shape)


def move(source: str, target: str, *fans: tuple[str, ...], **sizes: int) -> AxisMove:
    return AxisMove(parse_axes(source), parse_axes(target), *fans, sizes=tuple(sizes.items()))


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("h w i o", (("h",), ("w",), ("i",), ("o",))),
        ("(h w i) o", (("h", "w", "i"), ("o",))),
        ("h w i (g o)", (("h",), ("w",), ("i",), ("g", "o"))),
        ("1 1 i o", ((), (), ("i",), ("o",))),
        ("  n ", (("n",),)),
        ("", ()),
        ("n1 n_2", (("n1",), ("n_2",))),
    ],
)
def test_parse(text: str, groups: tuple[tuple[str, ...], ...]) -> None:
    assert parse_axes(text).groups == groups


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("h,w", "is not a list of axes"),
        ("(h w", "is not a list of axes"),
        ("h) w", "is not a list of axes"),
        ("((h w) i) o", "is not a list of axes"),
        ("2 i", "is not a list of axes"),
        ("1x", "is not a list of axes"),
        ("H", "is not a list of axes"),
        ("h ... w", "is not a list of axes"),
        ("h h", "names an axis twice"),
        ("(h w) h", "names an axis twice"),
        ("(h w) (w h)", "names an axis twice"),
        ("(h w h) (h i)", "names an axis twice"),
        ("(g i) (g o) (g k)", "names an axis twice"),
        ("(i g) (o g)", "names an axis twice"),
        ("(h 1) w", "joins something that is no axis name"),
    ],
)
def test_parse_refuses(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"`{text}` {reason}")):
        parse_axes(text)


@pytest.mark.parametrize("text", ["h w i o", "(h w i) o", "1 1 i classes", "h w i (g o)", ""])
def test_spelling(text: str) -> None:
    assert str(parse_axes(text)) == text


def test_position() -> None:
    axes = parse_axes("1 1 i classes")
    assert axes.position("classes") == 3
    with pytest.raises(ValueError):
        parse_axes("(i classes)").position("classes")


def test_shape() -> None:
    axes = parse_axes("1 h (i o)")
    assert axes.shape({"h": 3, "i": 4, "o": 5}) == (1, 3, 20)
    assert axes.shape({"h": 3, "i": 4}) is None


@pytest.mark.parametrize(
    ("axes", "shape", "known", "sizes"),
    [
        ("h w i o", (3, 5, 7, 9), {}, {"h": 3, "w": 5, "i": 7, "o": 9}),
        ("1 1 i o", (1, 1, 7, 9), {}, {"i": 7, "o": 9}),
        ("(g i) o", (12, 5), {"g": 4}, {"g": 4, "i": 3, "o": 5}),
        ("(g i) g2", (12, 5), {"g": 4, "i": 3}, {"g": 4, "i": 3, "g2": 5}),
        ("n", (3,), {"n": 3, "other": 9}, {"n": 3}),
        ("", (), {}, {}),
    ],
)
def test_bind(axes: str, shape: tuple[int, ...], known: dict[str, int], sizes: dict[str, int]) -> None:
    assert parse_axes(axes).bind(shape, known) == sizes


@pytest.mark.parametrize(
    ("axes", "shape", "known", "reason"),
    [
        ("h w i o", (3, 3, 4), {}, "3 axes instead of 4"),
        ("n", (3, 1), {}, "2 axes instead of 1"),
        ("1 n", (2, 3), {}, "axis `1` is 2 instead of 1"),
        ("n", (3,), {"n": 4}, "axis `n` is 3 instead of 4"),
        ("(g i)", (12,), {"g": 5}, "axis `(g i)` is 12 instead of 5"),
        ("(g i)", (12,), {"g": 4, "i": 4}, "axis `(g i)` is 12 instead of 16"),
        ("(g i)", (12,), {}, "the sizes of g and i cannot be told from their product 12"),
    ],
)
def test_bind_refuses(axes: str, shape: tuple[int, ...], known: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        parse_axes(axes).bind(shape, known)


def test_transpose() -> None:
    kernel = ramp(2, 3, 4, 5)
    (moved,) = move("h w i o", "o i h w").apply([kernel])
    np.testing.assert_array_equal(moved, kernel.transpose(3, 2, 0, 1))


def test_square_kernel_is_transposed_all_the_same() -> None:
    kernel = ramp(4, 4)
    (moved,) = move("i o", "o i").apply([kernel])
    np.testing.assert_array_equal(moved, kernel.T)
    assert not np.array_equal(moved, kernel)


def test_axes_of_size_one_come_and_go() -> None:
    kernel = ramp(4, 5)
    (wide,) = move("i o", "1 1 i o").apply([kernel])
    np.testing.assert_array_equal(wide, kernel[None, None])
    (back,) = move("1 1 i o", "o i").apply([wide])
    np.testing.assert_array_equal(back, kernel.T)


def test_join_and_split() -> None:
    kernel = ramp(2, 3, 4, 5)
    (flat,) = move("h w i o", "(h w i) o").apply([kernel])
    np.testing.assert_array_equal(flat, kernel.reshape(24, 5))
    (torch,) = move("(h w i) o", "o (i h w)", h=2, w=3, i=4).apply([flat])
    np.testing.assert_array_equal(torch, kernel.transpose(3, 2, 0, 1).reshape(5, 24))
    (back,) = move("o (i h w)", "h w i o", h=2, w=3, i=4).apply([torch])
    np.testing.assert_array_equal(back, kernel)


def test_many_into_one() -> None:
    paths = [ramp(2, 3, 4) + 100 * number for number in range(3)]
    (joined,) = move("h i o", "h i (g o)", ("g",), (), g=3).apply(paths)
    np.testing.assert_array_equal(joined, np.concatenate(paths, axis=2))
    (stacked,) = move("h i o", "o g h i", ("g",), (), g=3).apply(paths)
    np.testing.assert_array_equal(stacked, np.stack(paths, axis=0).transpose(3, 0, 1, 2))


def test_one_into_many() -> None:
    joined = ramp(2, 3, 12)
    parts = move("h i (g o)", "h i o", (), ("g",), g=3).apply([joined])
    for part, expected in zip(parts, np.split(joined, 3, axis=2), strict=True):
        np.testing.assert_array_equal(part, expected)


def test_two_fans_go_with_the_last_one_fastest() -> None:
    arrays = [ramp(2) + 10 * number for number in range(6)]
    (joined,) = move("n", "g p n", ("g", "p"), (), g=2, p=3).apply(arrays)
    np.testing.assert_array_equal(joined, np.array(arrays).reshape(2, 3, 2))
    parts = move("g p n", "n", (), ("g", "p"), g=2, p=3).apply([joined])
    for part, expected in zip(parts, arrays, strict=True):
        np.testing.assert_array_equal(part, expected)


def test_from_many_to_many_along_different_axes() -> None:
    arrays = [ramp(3, 2) + 10 * number for number in range(2)]
    parts = move("p n", "g n", ("g",), ("p",), g=2, p=3).apply(arrays)
    assert len(parts) == 3
    for number, part in enumerate(parts):
        np.testing.assert_array_equal(part, np.stack([arrays[0][number], arrays[1][number]]))


def test_many_to_as_many_are_each_moved() -> None:
    arrays = [ramp(2, 3), ramp(2, 3) + 10]
    moved = move("i o", "o i").apply(arrays)
    assert len(moved) == 2
    for array, result in zip(arrays, moved, strict=True):
        np.testing.assert_array_equal(result, array.T)


def test_identity_is_no_copy() -> None:
    same = move("h w", "h w")
    array = ramp(2, 3)
    assert same.is_identity
    assert same.apply([array])[0] is array
    assert not move("h w", "w h").is_identity
    assert not move("n", "n", ("g",), ("g",)).is_identity


def test_pattern() -> None:
    assert move("h w i o", "h w i (g o)", ("g",), ()).pattern == "g h w i o -> h w i (g o)"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8", "bool"])
def test_bits_stay(dtype: str) -> None:
    generator = np.random.default_rng(0)
    array = np.frombuffer(generator.bytes(6 * np.dtype(dtype).itemsize), dtype).reshape(2, 3)
    (moved,) = move("i o", "o i").apply([array])
    assert moved.dtype == array.dtype
    assert moved.T.tobytes() == array.tobytes()


def test_values() -> None:
    assert parse_axes("h  w") == AxisString((("h",), ("w",)))
    assert parse_axes("(g o) i").names == ("g", "o", "i")


def _blocks(paths: np.ndarray) -> np.ndarray:
    """(path, h, w, i, o) as one kernel of blocks, written out."""
    count, height, width, inputs, outputs = paths.shape
    full = np.zeros((height, width, count * inputs, count * outputs), paths.dtype)
    for path, kernel in enumerate(paths):
        full[:, :, path * inputs : (path + 1) * inputs, path * outputs : (path + 1) * outputs] = kernel
    return full


DIAGONAL = "h w (g i) (g o)"


def test_a_diagonal_as_read() -> None:
    axes = parse_axes(DIAGONAL)
    assert (str(axes), axes.diagonal, axes.names) == (DIAGONAL, "g", ("h", "w", "g", "i", "o"))
    assert axes.spelled() == "h w (g i) (g_again o)"
    assert parse_axes("(g i) (g big)").spelled() == "(g i) (g_again big)"
    assert parse_axes("h w i o").diagonal is None
    assert axes.shape({"h": 3, "w": 4, "g": 2, "i": 5, "o": 7}) == (3, 4, 10, 14)
    assert axes.bind((3, 4, 10, 14), {"g": 2}) == {"h": 3, "w": 4, "g": 2, "i": 5, "o": 7}
    with pytest.raises(ValueError, match=r"axis `\(g o\)` is 15"):
        axes.bind((3, 4, 10, 15), {"g": 2})


@pytest.mark.parametrize(
    ("other", "fan"),
    [("h w i (g o)", ()), ("o (g i) h w", ()), ("h w i o", ("g",)), ("(o i) h w", ("g",))],
)
def test_a_diagonal_is_written_and_read(other: str, fan: tuple[str, ...]) -> None:
    paths = ramp(3, 2, 4, 5, 7) + 1
    sizes = {"h": 2, "w": 4, "g": 3, "i": 5, "o": 7}
    if fan:
        pattern = {"h w i o": (0, 1, 2, 3), "(o i) h w": (3, 2, 0, 1)}[other]
        apart = [kernel.transpose(pattern) for kernel in paths]
        apart = [kernel.reshape(35, 2, 4) for kernel in apart] if other.startswith("(") else apart
    elif other.startswith("h"):
        apart = [paths.transpose(1, 2, 3, 0, 4).reshape(2, 4, 5, 21)]
    else:
        apart = [paths.transpose(4, 0, 3, 1, 2).reshape(7, 15, 2, 4)]
    there = move(other, DIAGONAL, fan, (), **sizes)
    (written,) = there.apply(apart)
    assert (written == _blocks(paths)).all()
    assert not there.reads_diagonal
    back = move(DIAGONAL, other, (), fan, **sizes)
    assert back.reads_diagonal
    read = back.apply([written])
    assert len(read) == len(apart)
    assert all((one == two).all() for one, two in zip(read, apart, strict=True))


def test_values_beside_a_diagonal_are_refused_or_kept() -> None:
    full = _blocks(ramp(3, 2, 4, 5, 7) + 1)
    full[0, 0, 0, 7] = 1e-30
    back = move(DIAGONAL, "h w i (g o)", h=2, w=4, g=3, i=5, o=7)
    with pytest.raises(ValueError, match=re.escape(f"1 values beside the diagonal of `{DIAGONAL}` are not zero")):
        back.apply([full])
    same = move(DIAGONAL, DIAGONAL, g=3)
    assert same.is_identity and not same.reads_diagonal
    assert same.apply([full])[0] is full


def test_zeros_beside_a_diagonal() -> None:
    full = ramp(2, 4, 15, 21) + 1
    cleared = parse_axes(DIAGONAL).on_diagonal(full, {"g": 3, "h": 2, "w": 4, "i": 5, "o": 7})
    assert np.count_nonzero(cleared) == full.size // 3
    assert (cleared[cleared != 0] == full[cleared != 0]).all()
    assert (cleared[:, :, 5:10, 7:14] == full[:, :, 5:10, 7:14]).all()
    assert parse_axes("h w i o").on_diagonal(full, {}) is full
