"""Arrays of any order in memory, tile by tile, against numpy's own copy."""

from __future__ import annotations

import numpy as np
import pytest

from resport.conversion import tiles
from resport.conversion.tiles import tiles_of

SHAPES = {
    "scalar": (),
    "vector": (7,),
    "empty": (3, 0, 2),
    "matrix": (130, 67),
    "one row": (1, 300),
    "one column": (300, 1),
    "kernel": (3, 3, 65, 129),
}


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("order", ["as it is", "turned round", "every other", "backwards"])
def test_the_bytes_are_those_of_a_copy(shape: tuple[int, ...], dtype: str, order: str) -> None:
    values = np.random.default_rng(1).integers(0, 255, (*shape, np.dtype(dtype).itemsize), dtype=np.uint8)
    array = values.view(dtype)[..., 0]
    if order == "turned round":
        array = array.transpose()
    elif order == "every other":
        array = array[..., ::2] if array.ndim else array
    elif order == "backwards":
        array = array[::-1] if array.ndim else array
    assert b"".join(bytes(piece) for piece in tiles_of(array)) == array.tobytes()


def test_pieces_of_a_transposed_array_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "SLAB_BYTES", 4096)
    array = np.arange(500 * 300, dtype=np.float32).reshape(500, 300).T
    pieces = [bytes(piece) for piece in tiles_of(array)]
    assert max(len(piece) for piece in pieces) <= 4096
    assert b"".join(pieces) == array.tobytes()


def test_an_array_in_order_is_not_copied() -> None:
    array = np.arange(12.0).reshape(3, 4)
    (piece,) = tiles_of(array)
    assert np.shares_memory(np.frombuffer(piece, np.uint8), array)
