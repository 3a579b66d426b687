"""What is fuzzed: each harness takes bytes, and raises where a reader or a parser does what it may not."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from resport.errors import FormatError, TableError
from resport.formats.json_text import parse_json
from resport.formats.keras_config import find_layers, parse_config
from resport.formats.leveldb_table import block_entries, decompress_snappy
from resport.formats.npy_header import npy_header_bytes, parse_npy_header
from resport.formats.tensor_proto import decode_tensor, parse_spec
from resport.formats.v1_meta import parse_meta
from resport.mapping import load_table
from tests.fuzz.attempt import attempt
from tests.fuzz.exhaustive import without_checksums
from tests.fuzz.samples import Sample, all_samples

Harness = Callable[[bytes], None]


class DefectError(Exception):
    """What fuzzing is for."""


def main_file(sample: Sample) -> str:
    """The file of a checkpoint that has something to be parsed: of several the index, and not the values."""
    return next((file for file in sample.damaged if file.endswith(".index")), sample.damaged[0])


def of_sample(sample: Sample) -> Harness:
    """Reads a checkpoint whose main file is the input, with checksums taken for right."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = sample.write(folder)
    main = folder / main_file(sample)

    def run(data: bytes) -> None:
        main.write_bytes(data)
        with without_checksums():
            outcome = attempt(path)
        if not outcome.is_sound:
            raise DefectError(f"{outcome.verdict}: {outcome.message}")

    return run


def _messages(data: bytes) -> None:
    for parse in (parse_meta, lambda message: decode_tensor(message, parse_spec("t", message))):
        try:
            parse(data)
        except FormatError:
            continue


def _blocks(data: bytes) -> None:
    for parse in (lambda block: list(block_entries(block, 1 << 20)), decompress_snappy):
        try:
            parse(data)
        except FormatError:
            continue


def _npy_header(data: bytes) -> None:
    try:
        parse_npy_header(data[: npy_header_bytes(data)])
    except FormatError:
        return


def _json(data: bytes) -> None:
    try:
        find_layers(parse_config(data, "m.keras"), "m.keras")
        parse_json(data, unique=True)
    except (FormatError, ValueError):
        return


def _table(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        try:
            load_table(file.name)
        except TableError:
            return


PARSERS: dict[str, Harness] = {
    "messages": _messages,
    "blocks": _blocks,
    "npy-header": _npy_header,
    "json": _json,
    "table": _table,
}


def names() -> list[str]:
    """All harnesses: one for each sample, and one for each parser that they reach badly."""
    return [*(sample.name for sample in all_samples()), *PARSERS]


def harness(name: str) -> Harness:
    """The harness of a name."""
    if name in PARSERS:
        return PARSERS[name]
    return of_sample(next(sample for sample in all_samples() if sample.name == name))


def seeds(name: str) -> list[bytes]:
    """Where fuzzing begins: the sound files, each of them for a parser too."""
    from tests.tiny import TABLE

    samples = all_samples()
    own = [sample.files[main_file(sample)] for sample in samples if sample.name == name]
    every = [sample.files[file] for sample in samples for file in sample.damaged if len(sample.files[file]) < 4096]
    return own or [*every, TABLE.encode()]
