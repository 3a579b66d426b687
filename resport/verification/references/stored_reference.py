"""Reading a reference: a folder that anybody may have written, so nothing in it is believed before it is checked.

The JSON is held to bounds, as any that a stranger wrote, and every value in it has a type. The file of outputs must
have the sha256 that the JSON gives, and is then read as any hostile safetensors file is; each array must have the name,
dtype and shape that the JSON implies. No name in the JSON is ever a path: the file of outputs is called by its sha256.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resport.conversion.provenance import sha256_of
from resport.dtypes import BY_NAME
from resport.errors import ChecksumError, FormatError, SourceNotFoundError
from resport.formats.json_text import JSON_MAX_BYTES, parse_json
from resport.formats.safetensors import SafetensorsReader
from resport.formats.source import regular_file_size
from resport.tensors import TensorSpec
from resport.verification.references.recording import KeptOutput, KeptPass
from resport.verification.references.reference import (
    REFERENCE_JSON,
    REFERENCE_VERSION,
    Reference,
    StoredSide,
    StoredTensor,
    images_name,
    outputs_name,
    positions_name,
    values_name,
)
from resport.verification.report import EQUAL, Side

if TYPE_CHECKING:
    import numpy as np

PASS_DTYPES = ("float64", "float32")

LARGEST_BUILD_NUMBER = 1 << 16

_SHA256 = re.compile("[0-9a-f]{64}")


def load_reference(directory: str | os.PathLike[str]) -> Reference:
    """Read a reference and check all of it.

    Args:
        directory: the folder.

    Raises:
        SourceNotFoundError: there is no reference.
        FormatError: it is damaged, or of a later version.
        ChecksumError: the outputs are not those that were written.
    """
    folder = Path(directory)
    path = str(folder / REFERENCE_JSON)
    if not folder.is_dir():
        raise SourceNotFoundError(
            f"there is no reference `{folder}`", hint="resport verify SOURCE TARGET --save-reference DIR makes one"
        )
    fields = Fields(read_json(path), path, "reference")
    if (version := fields.get("reference", int)) != REFERENCE_VERSION:
        raise fields.fault("is of another version", expected=REFERENCE_VERSION, got=version)
    if (verdict := fields.get("verdict", str)) != EQUAL:
        raise fields.fault("holds no proof", expected=f"verdict {EQUAL}", got=verdict)
    return Reference(
        directory=str(folder),
        source=_side(fields.below("source")),
        target=_side(fields.below("target")),
        options=fields.below("options").all_of((str, bool, int, float)),
        build=_builder_options(fields.below("build")),
        is_native=fields.get("native", bool),
        environment=fields.below("environment").all_of((str,)),
        passes=_passes(folder, fields),
    )


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object whose values are asked for with their type.

    Attributes:
        values: the object.
        path: the file, for messages.
        place: where in the file, for messages.
    """

    values: Mapping[str, Any]
    path: str
    place: str

    def fault(self, what: str, **details: Any) -> FormatError:
        """The error that something here is wrong."""
        return FormatError(f"{self.place} in `{self.path}` {what}", path=self.path, **details)

    def get(self, key: str, *kinds: type) -> Any:
        """The value of a key, which must be exactly of one of the types."""
        value = self.values.get(key)
        # `type()`, because True and False are instances of int.
        if type(value) not in kinds:
            names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
            raise self.fault(f"has no valid `{key}`", expected=names, got=type(value).__name__)
        return value

    def below(self, key: str) -> Fields:
        """The object of a key."""
        return Fields(self.get(key, dict), self.path, f"{self.place}, {key}")

    def each(self, key: str) -> list[Fields]:
        """The objects in the list of a key."""
        entries = self.get(key, list)
        if not all(isinstance(entry, dict) for entry in entries):
            raise self.fault(f"has no valid `{key}`", expected="a list of objects")
        return [Fields(entry, self.path, f"{self.place}, {key}") for entry in entries]

    def all_of(self, kinds: tuple[type, ...]) -> dict[str, Any]:
        """All values, each of one of the types."""
        return {key: self.get(key, *kinds) for key in self.values}

    def shape(self) -> tuple[int, ...]:
        """The value of ``shape``."""
        shape = self.get("shape", list)
        if len(shape) > 64 or not all(type(size) is int and 0 <= size < 2**63 for size in shape):
            raise self.fault("has no valid shape", got=str(shape)[:80])
        return tuple(shape)

    def sha256(self) -> str:
        """The value of ``sha256``."""
        text = str(self.get("sha256", str))
        if not _SHA256.fullmatch(text):
            raise self.fault("has no valid sha256", got=text[:80])
        return text


def read_json(path: str) -> Mapping[str, Any]:
    """The JSON object that a file holds.

    Raises:
        SourceNotFoundError: it is not there.
        FormatError: it is no regular file, too large, or holds something else.
    """
    size = regular_file_size(path)
    if size > JSON_MAX_BYTES:
        raise FormatError(
            f"`{path}` is too large for a reference", path=path, expected=f"{JSON_MAX_BYTES} bytes", got=size
        )
    try:
        value = parse_json(Path(path).read_bytes(), unique=True)
    except ValueError as error:
        raise FormatError(f"`{path}` is not valid JSON: {error}", path=path) from error
    if not isinstance(value, dict):
        raise FormatError(f"`{path}` is not a JSON object", path=path)
    return value


def _side(fields: Fields) -> StoredSide:
    text = (str, type(None))
    side = Side(
        path=fields.get("path", str),
        format=fields.get("format", str),
        family=fields.get("family", *text),
        variant=fields.get("variant", *text),
        dialect=fields.get("dialect", *text),
        num_classes=fields.get("num_classes", int, type(None)),
    )
    tensors = fields.below("tensors")
    return StoredSide(side, fields.sha256(), stored_tensors(tensors))


def stored_tensors(fields: Fields) -> dict[str, StoredTensor]:
    """The tensors of an object that has one for each name."""
    return {name: _tensor(name, fields.below(name)) for name in fields.values}


def _builder_options(fields: Fields) -> dict[str, Any]:
    """Options of a builder: plain values or lists of them, and no number that makes a network too large."""
    options = fields.all_of((str, bool, int, float, list, type(None)))
    for key, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, str | int | float | None) or (
                isinstance(each, int | float) and not abs(each) <= LARGEST_BUILD_NUMBER
            ):
                expected = f"plain values, at most {LARGEST_BUILD_NUMBER}"
                raise fields.fault(f"has no valid `{key}`", expected=expected, got=each)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


def _tensor(name: str, fields: Fields) -> StoredTensor:
    dtype = fields.get("dtype", str)
    if dtype not in BY_NAME:
        raise fields.fault("has an unknown dtype", got=dtype[:80])
    return StoredTensor(TensorSpec(name, fields.shape(), dtype), fields.sha256())


def _passes(folder: Path, fields: Fields) -> tuple[KeptPass, ...]:
    if fields.get("outputs", dict, type(None)) is None:
        return ()
    outputs = fields.below("outputs")
    digest = outputs.sha256()
    path = str(folder / outputs_name(digest))
    if not Path(path).is_file():
        raise FormatError(f"`{path}` is missing, a part of the reference", path=path)
    if (found := sha256_of([path])) != digest:
        raise ChecksumError(f"`{path}` is not what was written", path=path, expected=digest, got=found)
    with SafetensorsReader(path) as reader:
        return tuple(_pass(reader, each) for each in outputs.each("passes"))


def _pass(reader: SafetensorsReader, fields: Fields) -> KeptPass:
    dtype, size = fields.get("dtype", str), fields.get("input_size", int)
    if dtype not in PASS_DTYPES:
        raise fields.fault("has no valid dtype", expected=" or ".join(PASS_DTYPES), got=dtype[:80])
    images = _array(reader, images_name(size), "float32")
    if images.ndim != 4 or images.shape[1] != size or not images.size:
        raise fields.fault("has no valid images", expected=f"(batch, {size}, width, channels)", got=images.shape)
    kept = {each.get("name", str): _output(reader, dtype, size, each) for each in fields.each("end_points")}
    if not kept:
        raise fields.fault("has no end points")
    return KeptPass(dtype, images, kept)


def _output(reader: SafetensorsReader, dtype: str, size: int, fields: Fields) -> KeptOutput:
    name, shape = fields.get("name", str), fields.shape()
    values = _array(reader, values_name(dtype, size, name), dtype)
    positions = None
    expected = shape
    if fields.get("sampled", bool):
        positions = _array(reader, positions_name(size, name), "int64")
        limit = math.prod(shape[:-1])
        if not shape or positions.ndim != 1 or not ((positions >= 0) & (positions < limit)).all():
            raise fields.fault(f"has positions outside of `{name}`", expected=f"0 to {limit - 1}")
        expected = (1, len(positions) + 1, shape[-1])
    if values.shape != expected:
        raise fields.fault(f"has values of another shape for `{name}`", expected=expected, got=values.shape)
    return KeptOutput(shape, positions, values)


def _array(reader: SafetensorsReader, name: str, dtype: str) -> np.ndarray:
    spec = reader.manifest.get(name)
    if spec is None or spec.dtype != dtype:
        got = "nothing" if spec is None else f"{spec.shape} {spec.dtype}"
        raise FormatError(f"`{reader.path}` has no valid `{name}`", path=reader.path, expected=dtype, got=got)
    return reader.read(name)
