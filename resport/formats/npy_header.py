"""The header of an ``.npy`` array: magic, version, length, and a Python dict of three keys as text.

numpy evaluates that text. Here it is matched: the three keys in any order, a dtype in quotes, True or False, and a
tuple of numbers; whatever is more than that (records, subarrays) is no array of weights.

numpy knows no bfloat16 and no float8. It stores them as bytes without a meaning (``V2``, ``V1``), and the file doesn't
tell any more what they were. Such an array is refused, unless the container says what it is: a guess would give wrong
values without a word.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from resport.dtypes import BY_NAME, OPAQUE, to_numpy
from resport.errors import FormatError
from resport.formats.safetensors import MAX_ARRAY_BYTES, MAX_AXES
from resport.tensors import TensorSpec

NPY_MAGIC = b"\x93NUMPY"
NPY_PREFIX_BYTES = 12
"""Magic, version, and the length of the header in its longer form."""
NPY_MAX_HEADER_BYTES = 1 << 16
NPY_ALIGNMENT_BYTES = 64

_FIELD = re.compile(
    r"""\s*(?P<q>['"])(?P<key>descr|fortran_order|shape)(?P=q)\s*:\s*"""
    r"""(?:(?P<r>['"])(?P<text>[^'"]*)(?P=r)|(?P<truth>True|False)|\((?P<numbers>[0-9L,\s]*)\))\s*(?:,|$)""",
    re.ASCII,  # what other scripts take for blanks and digits, Python's numbers don't
)
_DESCR = re.compile(r"([<>|=])([?a-zA-Z])([0-9]{0,9})")
_KINDS = {"i": "int", "u": "uint", "f": "float", "c": "complex"}


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What an array is.

    Attributes:
        shape: sizes of its axes.
        dtype: resport's name.
        fortran_order: whether the first axis varies fastest in the file.
        is_big_endian: whether the bytes of an element are the other way round.
        text: numpy's dtype of an array of text, ``"<U5"``; empty for numbers.
        item_bytes: bytes of one element in the file.
        header_bytes: where the values begin.
    """

    shape: tuple[int, ...]
    dtype: str
    fortran_order: bool
    is_big_endian: bool
    text: str
    item_bytes: int
    header_bytes: int

    @property
    def data_bytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.item_bytes


def npy_header_bytes(head: bytes) -> int:
    """Length of the whole header, from its first ``NPY_PREFIX_BYTES`` bytes.

    Raises:
        FormatError: it is no .npy array, of a later version, or its header is too long.
    """
    if not head.startswith(NPY_MAGIC) or len(head) < NPY_PREFIX_BYTES:
        raise FormatError("this is no .npy array", expected="\\x93NUMPY", got=repr(head[:6])[2:-1], offset=0)
    version = (head[6], head[7])
    if version not in {(1, 0), (2, 0), (3, 0)}:
        raise FormatError("its .npy version is unknown", expected="1.0, 2.0 or 3.0", got=f"{head[6]}.{head[7]}")
    n_digits = 2 if version == (1, 0) else 4
    length = int.from_bytes(head[8 : 8 + n_digits], "little")
    if length > NPY_MAX_HEADER_BYTES:
        raise FormatError("its header is too long", expected=f"at most {NPY_MAX_HEADER_BYTES} bytes", got=f"{length}")
    return 8 + n_digits + length


def parse_npy_header(header: bytes, stored_as: str = "") -> NpyHeader:
    """Read a whole header.

    Args:
        header: the bytes in front of the values.
        stored_as: the dtype that the container gives to elements numpy has no name for.

    Raises:
        FormatError: the header is damaged, or the array is none of numbers or text.
    """
    n_prefix = 10 if header[6] == 1 else NPY_PREFIX_BYTES
    text = header[n_prefix:].decode("utf-8" if header[6] == 3 else "latin-1", "replace")
    fields = _parse_fields(text)
    descr, numbers = fields["descr"], fields["shape"].replace("L", "").split(",")
    shape = tuple(int(number) for number in numbers if number.strip())
    order, dtype, item_bytes, is_text = _parse_descr(descr, stored_as)
    # Axes of size 0 count as 1: numpy refuses the array all the same.
    if len(shape) > MAX_AXES or math.prod(max(axis, 1) for axis in shape) * item_bytes > MAX_ARRAY_BYTES:
        raise FormatError("its shape is one that no memory can hold", got=f"{len(shape)} axes")
    return NpyHeader(
        shape, dtype, fields["fortran_order"] == "True", order == ">", descr if is_text else "", item_bytes, len(header)
    )


def _parse_fields(text: str) -> dict[str, str]:
    body = text.strip()
    fault = FormatError("its header is damaged", got=repr(body[:80]))
    if not (body.startswith("{") and body.endswith("}")):
        raise fault
    body = body[1:-1].strip()
    fields: dict[str, str] = {}
    position = 0
    while position < len(body):
        match = _FIELD.match(body, position)
        if match is None or match["key"] in fields:
            raise fault
        kind = {"descr": "text", "fortran_order": "truth", "shape": "numbers"}[match["key"]]
        # A record's descr is a list, an array's shape never a number.
        if match[kind] is None or any(len(number) > 20 for number in (match["numbers"] or "").split(",")):
            raise fault
        fields[match["key"]] = match[kind]
        position = match.end()
    if len(fields) != 3 or re.search(r"\d\s+\d", fields["shape"]) or re.search(r"(^|\D)L|L\d", fields["shape"]):
        raise fault
    return fields


def _parse_descr(descr: str, stored_as: str) -> tuple[str, str, int, bool]:
    """Byte order, dtype, bytes of an element, and whether it is text."""
    match = _DESCR.fullmatch(descr)
    if match is None:
        raise FormatError("its dtype cannot be read", got=descr[:80])
    order, kind, digits = match.groups()
    item_bytes = int(digits or 1)
    if kind == "O":
        raise FormatError(
            "it is an array of Python objects, which only unpickling could read, and a pickle can run any code",
            hint="where it was made, save its arrays one by one: numpy.savez(path, **arrays)",
        )
    if stored_as:
        if stored_as not in BY_NAME or stored_as in OPAQUE or npy_descr(stored_as) != descr:
            raise FormatError("its dtype is not what its directory says", expected=stored_as[:80], got=descr)
        return order, stored_as, item_bytes, False
    if kind in "SU" and item_bytes:
        return order, "string", item_bytes * (4 if kind == "U" else 1), True
    dtype = "bool" if kind in "b?" and item_bytes == 1 else f"{_KINDS.get(kind, '?')}{8 * item_bytes}"
    if dtype not in BY_NAME:
        is_void = kind == "V" or descr[1:] == "f1"
        raise FormatError(
            f"its elements are {item_bytes} bytes without a dtype"
            if is_void
            else "it has a dtype that weights have not",
            got=descr,
            hint="bfloat16 and float8 are stored so by numpy: where it was made, save it as float32, which holds each"
            " of them exactly, or as safetensors"
            if is_void
            else None,
        )
    return order, dtype, item_bytes, False


def npy_descr(dtype: str) -> str:
    """What numpy writes for a dtype: ``<f4``; bytes without a meaning for those that numpy has not."""
    kind = to_numpy(dtype)
    # ml_dtypes calls one of its types `<f1`, which numpy can't read back.
    is_known = kind.kind in "biufc" and kind.str[1:] != "f1"
    return kind.str if is_known else f"|V{kind.itemsize}"


def encode_npy_header(spec: TensorSpec) -> bytes:
    """The header of an array in C order, padded so that the values behind it are aligned."""
    text = f"{{'descr': '{npy_descr(spec.dtype)}', 'fortran_order': False, 'shape': {spec.shape}, }}"
    n_used = 10 + len(text) + 1
    text += " " * (-n_used % NPY_ALIGNMENT_BYTES) + "\n"
    return NPY_MAGIC + bytes([1, 0]) + len(text).to_bytes(2, "little") + text.encode("ascii")
