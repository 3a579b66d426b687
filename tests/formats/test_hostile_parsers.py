"""Each parser beneath the readers, given whatever bytes: an answer, or the one error that it promises."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from resport.errors import FormatError, ResportError, TableError
from resport.formats.bundle_data import parse_strings
from resport.formats.bundle_entry import parse_entry, parse_header
from resport.formats.checkpoint_path import read_state_file
from resport.formats.json_text import JSON_MAX_DEPTH, parse_json
from resport.formats.keras_config import find_layers, parse_config
from resport.formats.leveldb_table import block_entries, decompress_snappy
from resport.formats.npy_header import npy_header_bytes, parse_npy_header
from resport.formats.npz_metadata import parse_comment
from resport.formats.object_graph import parse_object_graph, shown_names
from resport.formats.protobuf import bytes_field, encode_varint, read_fields, varint_field
from resport.formats.tensor_proto import decode_tensor, parse_spec
from resport.formats.v1_meta import parse_meta, parse_saved_slice
from resport.mapping import load_table
from tests.fuzz.mutations import LIMITS
from tests.tiny import TABLE

sizes = st.one_of(st.sampled_from(LIMITS), st.integers(0, 300))


def messages() -> st.SearchStrategy[bytes]:
    """Messages of protobuf: fields of small numbers, whose integers are at their limits and whose bytes are messages."""
    numbers = st.integers(1, 9)
    leaf = st.one_of(
        st.builds(varint_field, numbers, sizes),
        st.builds(bytes_field, numbers, st.binary(max_size=12)),
        st.builds(lambda number, size: encode_varint(number << 3 | 2) + encode_varint(size), numbers, sizes),
    )
    return st.recursive(
        st.lists(leaf, max_size=4).map(b"".join),
        lambda inner: st.lists(st.builds(bytes_field, numbers, inner), max_size=4).map(b"".join),
        max_leaves=8,
    )


def near_json() -> st.SearchStrategy[bytes]:
    """JSON of the keys that descriptions and headers have, with any values, sometimes cut."""
    keys = st.sampled_from(
        [
            "a",
            "config",
            "layers",
            "class_name",
            "name",
            "dtype",
            "shape",
            "data_offsets",
            "zlib",
            "metadata",
            "resport_npz",
        ]
    )
    leaves = st.one_of(st.none(), st.booleans(), st.sampled_from([*LIMITS, -1, 1.5]), st.text(max_size=5), keys)
    values = st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)),
        max_leaves=8,
    )
    whole = st.dictionaries(keys, values, max_size=5).map(lambda value: json.dumps(value).encode())
    return st.one_of(whole, st.builds(lambda text, size: text[: len(text) - size], whole, st.integers(0, 3)))


def _tensor(data: bytes) -> object:
    return decode_tensor(data, parse_spec("t", data))


def _graph(data: bytes) -> object:
    variables = parse_object_graph(data)
    return shown_names([variable.key for variable in variables if variable.key], variables)


def _header(data: bytes) -> object:
    return parse_npy_header(data[: npy_header_bytes(data)])


def _layers(data: bytes) -> object:
    return find_layers(parse_config(data, "m.keras"), "m.keras")


PROTOBUF: dict[str, Callable[[bytes], object]] = {
    "fields": lambda data: list(read_fields(data)),
    "bundle header": parse_header,
    "bundle entry": lambda data: parse_entry("t", data),
    "object graph": _graph,
    "tensor": _tensor,
    "v1 list": parse_meta,
    "v1 slice": parse_saved_slice,
}
RAW: dict[str, Callable[[bytes], object]] = {
    **PROTOBUF,
    "block": lambda data: list(block_entries(data, 1 << 20)),
    "snappy": decompress_snappy,
    "strings": lambda data: parse_strings(data, 3),
    "npy header": lambda data: _header(b"\x93NUMPY\1\0" + len(data).to_bytes(2, "little") + data.ljust(2)),
    "npz comment": parse_comment,
    "layers": _layers,
}


def given_bytes(parse: Callable[[bytes], object], data: bytes) -> None:
    try:
        parse(data)
    except FormatError as error:
        assert len(str(error)) < 2000


@pytest.mark.parametrize("name", RAW)
@given(data=st.binary(max_size=80))
@settings(max_examples=40)
def test_any_bytes(name: str, data: bytes) -> None:
    given_bytes(RAW[name], data)


@pytest.mark.parametrize("name", PROTOBUF)
@given(data=messages())
@settings(max_examples=50)
def test_messages_with_fields_at_their_limits(name: str, data: bytes) -> None:
    given_bytes(PROTOBUF[name], data)


@pytest.mark.parametrize("name", ["layers", "npz comment"])
@given(data=near_json())
@settings(max_examples=40)
def test_descriptions_of_the_wrong_kinds(name: str, data: bytes) -> None:
    given_bytes(RAW[name], data)


fields = st.sampled_from(
    ["'descr': '<f4'", "'descr': '|O'", "'descr': '|V9'", "'fortran_order': True", "'shape': (1, 2)", "'shape': ()"]
    + [f"'shape': ({limit},)" for limit in LIMITS]
)


@given(st.lists(fields, max_size=4), st.sampled_from([", ", "", ",,", "\0"]))
@settings(max_examples=40)
def test_headers_of_arrays(parts: list[str], comma: str) -> None:
    text = ("{" + comma.join(parts) + "}").encode()
    given_bytes(RAW["npy header"], text)


@given(st.text(alphabet="abm/\\\"'.\n\0 \x1b-0123:", max_size=60))
@settings(max_examples=40)
def test_state_files(tmp_path_factory: pytest.TempPathFactory, named: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "checkpoint").write_text(f"model_checkpoint_path: {named}\n", encoding="utf-8")
    found = read_state_file(str(folder / "checkpoint"))
    assert found is None or Path(found).parent == folder or Path(found).parent.resolve().is_relative_to(folder)


@given(near_json())
@settings(max_examples=40)
def test_json_as_the_library_reads_it(data: bytes) -> None:
    try:
        expected = json.loads(data)
    except ValueError:
        with pytest.raises(ValueError):
            parse_json(data)
    else:
        assert parse_json(data) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * (JSON_MAX_DEPTH + 2) + b"]" * (JSON_MAX_DEPTH + 2), "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"[]," * 700_001 + b"0]", "more parts"),
        (b"[" + b"0," * 2_500_001 + b"0]", "more parts"),
        (b'{"a": ["\\ud800"]}', "no Unicode"),
        (b'{"\\uDC00": 1}', "no Unicode"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' stands in it twice"),
        (b" " * (24 << 20) + b"1", "at most"),
    ],
)
def test_json_beyond_bounds(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(data, unique=True)


def test_json_within_bounds() -> None:
    depth = b"[" * JSON_MAX_DEPTH + b"]" * JSON_MAX_DEPTH
    assert parse_json(b'{"a": "\\ud83d\\ude00", "b": ' + depth + b"}")["a"] == "\U0001f600"
    assert parse_json(b'{"a": 1, "a": 2}') == {"a": 2}


places = st.integers(0, len(TABLE) - 1)
words = st.sampled_from(
    ["", "{", "}", "[", "]", '"', "=", "{b}", "{u+1}", "\n", "9" * 30, "over", "[[group]]", "\x1b", "'"]
)


@given(st.lists(st.tuples(places, st.integers(0, 6), words), min_size=1, max_size=3))
@settings(max_examples=40)
def test_tables_of_users(tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, str]]) -> None:
    text = TABLE
    for place, n_removed, word in edits:
        text = text[:place] + word + text[place + n_removed :]
    path = tmp_path_factory.getbasetemp() / "hostile.toml"
    path.write_text(text, encoding="utf-8")
    try:
        load_table(path)
    except TableError as error:
        assert str(path) in str(error)


def test_a_table_is_no_device(tmp_path: Path) -> None:
    (tmp_path / "t.toml").symlink_to("/dev/zero")
    with pytest.raises(ResportError):
        load_table(tmp_path / "t.toml")
