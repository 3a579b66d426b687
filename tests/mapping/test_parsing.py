"""Every rule of the table language: a table that breaks one is refused, and the message says where."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from resport.errors import SourceNotFoundError, TableError
from resport.mapping import Table, load_table, shipped_tables, table_paths, tables_folder
from resport.mapping.axes import parse_axes
from resport.mapping.structure import GROUP, TABLE, KindError
from resport.mapping.templates import Constant
from tests.mapping.refusals import REFUSALS, Refusal
from tests.mapping.toy import TOY

Load = Callable[[str], Table]


@pytest.mark.parametrize("refusal", REFUSALS, ids=[refusal.name for refusal in REFUSALS])
def test_refusal(refusal: Refusal, load: Load, tmp_path: Path) -> None:
    assert TOY.count(refusal.old) == 1, "the edit must hit one place"
    with pytest.raises(TableError) as caught:
        load(TOY.replace(refusal.old, refusal.new))
    assert str(caught.value).replace(str(tmp_path / "toy.toml"), "FILE") == refusal.message
    assert caught.value.hint == refusal.hint


def test_error_has_place_as_attributes(load: Load, tmp_path: Path) -> None:
    with pytest.raises(TableError) as caught:
        load(TOY.replace('"conv/kernel", "conv 1 1 width width"', '"conv/kernel", "konv"'))
    error = caught.value
    assert (error.file, error.group, error.row) == (str(tmp_path / "toy.toml"), 2, "conv/weights")


def test_toy_table_as_read(load: Load) -> None:
    table = load(TOY)
    assert (table.family, table.dialects) == ("toy", ("slim", "keras"))
    assert table.variants == {"toy_a": {"b": 2, "u": [2, 1]}, "toy_b": {"b": 3, "u": 1}}
    assert [group.over for group in table.groups] == [(), ("b", "u"), ()]
    assert [group.optional for group in table.groups] == [False, False, True]
    unit = table.groups[1]
    assert unit.rows[0].cells["keras"].text == "stage{b+1}_{u}_conv/kernel"
    assert unit.rows[0].sizes == (1, 1, "width", "width")
    assert unit.rows[1].cells["slim"] == Constant(0.0)
    assert unit.folds[0].into.text == "stage{b+1}_{u}_bn/moving_mean"
    assert [operand.text for operand in unit.folds[0].operands] == ["stage{b+1}_{u}_conv/bias"]
    assert table.roots["slim"].fill({"variant": "x"}) == "x/"
    assert table.roots["keras"].fill({"variant": "x"}) == ""
    assert table.shadow == {"slim": "/ExponentialMovingAverage"}


def test_own_entries_are_added_to_the_common_ones(load: Load) -> None:
    own = """
[axes]
conv = { slim = "i o h w", keras = "h w i o" }
[words.scale]
slim = ["g", "b"]
keras = ["gamma", "beta"]
[ignore.slim]
average = ["*/mine"]
junk = ["junk*"]
[shadow]
keras = "_ema"
"""
    table = load(TOY + own)
    assert table.axes["conv"].strings == {"slim": parse_axes("i o h w"), "keras": parse_axes("h w i o")}
    assert str(table.axes["dense"].strings["torch"]) == "o i"
    assert table.words["scale"]["keras"] == ("gamma", "beta")
    assert table.words["bn"]["torch"] == ("weight", "bias", "running_mean", "running_var")
    assert table.ignore["slim"]["average"] == ("*/ExponentialMovingAverage", "*/mine")
    assert table.ignore["slim"]["junk"] == ("junk*",)
    assert "global_step" in table.ignore["slim"]["step"]
    assert table.shadow == {"slim": "/ExponentialMovingAverage", "keras": "_ema"}


def test_stock(load: Load) -> None:
    own = '[stock.keras]\nclasses = { toy_a = "k.Toy" }\nwhy = "w"\ndifference = "d"\ninstead = "i"\n'
    stock = load(TOY + own).stock["keras"]
    assert stock.classes == {"toy_a": "k.Toy"}
    assert (stock.why, stock.difference, stock.instead) == ("w", "d", "i")


def test_sha256_is_that_of_the_common_file_and_the_table(load: Load) -> None:
    common = (tables_folder() / "_common.toml").read_bytes()
    assert load(TOY).sha256 == hashlib.sha256(common + TOY.encode()).hexdigest()


def test_family_by_name() -> None:
    assert load_table("resnet_v2").family == "resnet_v2"
    assert load_table("resnet_v2") == load_table(tables_folder() / "resnet_v2.toml")


def test_unknown_family() -> None:
    with pytest.raises(SourceNotFoundError) as caught:
        load_table("resnet_w2")
    assert caught.value.message == "there is no family `resnet_w2`"
    assert "resnet_v1, resnet_v2" in str(caught.value.expected)
    assert caught.value.hint == "did you mean `resnet_v2`?"


def test_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    with pytest.raises(SourceNotFoundError) as caught:
        load_table(path)
    assert str(caught.value) == f"there is no table at `{path}`"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe", "this is no TOML"),
        (b"a = " + b"[" * 100_000, "lists or sections are nested too deeply"),
        (b"", "`columns` names two dialects"),
    ],
)
def test_no_table_at_all(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(TableError, match=reason):
        load_table(path)


def test_shipped_tables_are_all_loaded() -> None:
    assert [Path(table.path).stem for table in shipped_tables()] == [path.stem for path in table_paths()]
    assert all(table.family == Path(table.path).stem for table in shipped_tables())


@pytest.mark.parametrize("wrong", [5, 5.5, True, "text", [5], [[5]], ["x"], {"x": 5}, {"x": {"y": 5}}], ids=repr)
@pytest.mark.parametrize("key", ["family", "columns", "variants", "root", "sizes", "group", "axes", "words", "ignore"])
def test_no_value_anywhere_is_more_than_a_table_error(key: str, wrong: object, load: Load) -> None:
    """Whatever stands at a key, it loads or is refused; nothing else is raised."""
    lines = [line for line in TOY.split("\n\n") if f"[{key}]" not in line and f"[[{key}]]" not in line]
    text = "\n\n".join(lines)
    text = "\n".join(line for line in text.splitlines() if line.split("=")[0].strip() != key)
    try:
        load(f"{key} = {_toml(wrong)}\n{text}")
    except TableError:
        pass
    else:
        # An empty rest may still be a table: the value itself must then be of the key's kind.
        TABLE({key: wrong}, "")


@pytest.mark.parametrize("wrong", [5, True, "text", [5], [["x", 5]], [[]], ["x"], {"x": 5}], ids=repr)
@pytest.mark.parametrize("key", ["over", "prefix", "rows", "optional", "folds"])
def test_no_value_in_a_group_is_more_than_a_table_error(key: str, wrong: object, load: Load) -> None:
    rows = "" if key == "rows" else 'rows = [["a", "b", "vector 3"]]\n'
    text = TOY + f"\n[[group]]\n{rows}{key} = {_toml(wrong)}\n"
    try:
        load(text)
    except TableError:
        pass
    else:
        GROUP({key: wrong}, "")


def test_kind_error_shortens_long_values() -> None:
    with pytest.raises(KindError) as caught:
        TABLE({"family": list(range(1000))}, "")
    assert len(caught.value.got) < 90


def _toml(value: object) -> str:
    """A value as TOML writes it inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
