"""The table of dtypes against those who made it: numpy, ml_dtypes, TensorFlow's own enum, the safetensors library."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from resport.dtypes import BY_NAME, BY_SAFETENSORS, BY_TENSORFLOW, DTYPES, OPAQUE, dtype_named, from_numpy, to_numpy
from resport.errors import OptionError


def test_no_spelling_stands_for_two() -> None:
    assert len(BY_NAME) == len(DTYPES)
    assert len(BY_TENSORFLOW) == sum(dtype.tensorflow is not None for dtype in DTYPES)
    assert len(BY_SAFETENSORS) == sum(dtype.safetensors is not None for dtype in DTYPES)


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.name not in OPAQUE], ids=lambda dtype: dtype.name)
def test_numpy_holds_it_in_as_many_bytes(dtype: object) -> None:
    held = to_numpy(dtype.name)  # type: ignore[attr-defined]
    assert held.itemsize == dtype.itemsize  # type: ignore[attr-defined]
    assert held.byteorder in "<|="


def test_names_come_back() -> None:
    for dtype in DTYPES:
        if not dtype.numpy:
            assert from_numpy(to_numpy(dtype.name)) == dtype.name
    assert from_numpy(np.dtype(">f4")) == "float32"
    assert from_numpy(np.dtype(ml_dtypes.bfloat16)) == "bfloat16"
    assert from_numpy(np.dtype(object)) == from_numpy(np.dtype("S3")) == "string"


def test_what_is_no_dtype_is_refused_with_those_that_are() -> None:
    with pytest.raises(OptionError, match="`float7` is not a dtype") as caught:
        dtype_named("float7")
    assert "bfloat16" in str(caught.value)
    with pytest.raises(OptionError):
        from_numpy(np.dtype("datetime64[s]"))


@pytest.mark.tf
def test_numbers_are_those_of_tensorflow() -> None:
    from tensorflow.core.framework import types_pb2
    from tensorflow.python.framework import dtypes

    for number, dtype in BY_TENSORFLOW.items():
        name = types_pb2.DataType.Name(number)
        assert dtypes.as_dtype(number).name == dtype.name, name
    known = {number for name, number in types_pb2.DataType.items() if 0 < number < 100}
    assert known == set(BY_TENSORFLOW), "TensorFlow has types that the table has not"


def test_codes_are_those_of_the_safetensors_library(tmp_path: Path) -> None:
    import json
    import struct

    from safetensors import safe_open

    for code, dtype in BY_SAFETENSORS.items():
        header = json.dumps({"w": {"dtype": code, "shape": [2], "data_offsets": [0, 2 * dtype.itemsize]}}).encode()
        path = tmp_path / f"{code}.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2 * dtype.itemsize))
        with safe_open(path, "np") as file:
            assert file.get_slice("w").get_dtype() == code
