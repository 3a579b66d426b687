"""The one table of element types: numpy's name, the name in safetensors, TensorFlow's number, bytes per element.

Everywhere else in resport a dtype is a string in numpy's spelling (``"float32"``, ``"bfloat16"``). Strings, not
``numpy.dtype`` objects, flow through manifests and plans, so that listing a checkpoint needs no numpy at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from resport.errors import OptionError

if TYPE_CHECKING:
    import numpy as np


class DType(NamedTuple):
    """One element type in the spelling of each format.

    Attributes:
        name: numpy's spelling; the quantised types of TensorFlow keep TensorFlow's.
        itemsize: bytes per element in memory and in every container; 0 where it varies (strings).
        safetensors: code in a safetensors header, or None where that format has none.
        tensorflow: number in TensorFlow's ``DataType`` enum (types.proto), or None.
        numpy: name of the numpy (or ml_dtypes) type that holds the values, where it is not ``name``.
    """

    name: str
    itemsize: int
    safetensors: str | None
    tensorflow: int | None
    numpy: str = ""


DTYPES: tuple[DType, ...] = (
    DType("bool", 1, "BOOL", 10),
    DType("uint8", 1, "U8", 4),
    DType("int8", 1, "I8", 6),
    DType("uint16", 2, "U16", 17),
    DType("int16", 2, "I16", 5),
    DType("uint32", 4, "U32", 22),
    DType("int32", 4, "I32", 3),
    DType("uint64", 8, "U64", 23),
    DType("int64", 8, "I64", 9),
    DType("float16", 2, "F16", 19),
    DType("bfloat16", 2, "BF16", 14),
    DType("float32", 4, "F32", 1),
    DType("float64", 8, "F64", 2),
    DType("complex64", 8, "C64", 8),
    DType("complex128", 16, None, 18),
    DType("float8_e4m3fn", 1, "F8_E4M3", 25),
    DType("float8_e5m2", 1, "F8_E5M2", 24),
    DType("float8_e4m3fnuz", 1, "F8_E4M3FNUZ", 26),
    DType("float8_e5m2fnuz", 1, "F8_E5M2FNUZ", 28),
    DType("float8_e4m3b11fnuz", 1, None, 27),
    DType("float8_e8m0fnu", 1, "F8_E8M0", None),
    DType("float4_e2m1fn", 1, None, 33),
    DType("int4", 1, None, 29),
    DType("uint4", 1, None, 30),
    DType("int2", 1, None, 31),
    DType("uint2", 1, None, 32),
    # TensorFlow's quantised types: plain integers in memory, a type of their own in the file.
    DType("qint8", 1, None, 11, numpy="int8"),
    DType("quint8", 1, None, 12, numpy="uint8"),
    DType("qint16", 2, None, 15, numpy="int16"),
    DType("quint16", 2, None, 16, numpy="uint16"),
    DType("qint32", 4, None, 13, numpy="int32"),
    # Listed, never moved as weights.
    DType("string", 0, None, 7, numpy="object"),
    DType("resource", 0, None, 20, numpy="object"),
    DType("variant", 0, None, 21, numpy="object"),
)

BY_NAME: dict[str, DType] = {dtype.name: dtype for dtype in DTYPES}
BY_SAFETENSORS: dict[str, DType] = {dtype.safetensors: dtype for dtype in DTYPES if dtype.safetensors}
BY_TENSORFLOW: dict[int, DType] = {dtype.tensorflow: dtype for dtype in DTYPES if dtype.tensorflow is not None}

FLOATING = frozenset(name for name in BY_NAME if name.startswith(("float", "bfloat")))
OPAQUE = frozenset({"string", "resource", "variant"})


def dtype_named(name: str) -> DType:
    """Look a dtype up by its name.

    Raises:
        OptionError: no dtype has that name.
    """
    try:
        return BY_NAME[name]
    except KeyError:
        known = ", ".join(BY_NAME)
        raise OptionError(f"`{name}` is not a dtype", expected=f"one of {known}", got=name) from None


def to_numpy(name: str) -> np.dtype:
    """The numpy dtype that holds values of the named dtype, little-endian.

    Types that numpy lacks (bfloat16, float8, int4) come from ml_dtypes, which is imported only for them.
    """
    import numpy as np

    spelling = dtype_named(name).numpy or name
    try:
        return np.dtype(spelling).newbyteorder("<")
    except TypeError:
        import ml_dtypes

        extended: np.dtype = np.dtype(getattr(ml_dtypes, spelling))
        return extended


def from_numpy(dtype: np.dtype) -> str:
    """The name of a numpy dtype, whatever its byte order.

    Raises:
        OptionError: resport has no name for it (records, dates, text).
    """
    if dtype.kind in "OSU":
        return "string"
    if dtype.name not in BY_NAME:
        raise OptionError(f"`{dtype}` is not a dtype that weights have", got=str(dtype))
    return dtype.name
