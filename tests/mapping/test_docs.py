"""docs/tables.md: every piece of TOML is loaded, every message is the one that is raised, every key is explained."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from resport.errors import TableError
from resport.mapping import Table, expand, load_table
from resport.mapping.checking import check_table
from resport.mapping.holes import NUMBER_KEYS, SPELLING_KEYS
from resport.mapping.ops import OPERATIONS
from resport.mapping.parsing import FOLD_KEYS, GROUP_KEYS
from resport.mapping.relations import RELATION_KEYS, RELATION_KINDS
from resport.mapping.sections import STOCK_KEYS, TABLE_KEYS

Load = Callable[[str], Table]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```([a-z ]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(WHOLE,) = [text for kind, text in BLOCKS if kind == "toml table"]
PIECES = [text for kind, text in BLOCKS if kind == "toml piece"]
REFUSED = [(text, BLOCKS[n + 1][1]) for n, (kind, text) in enumerate(BLOCKS) if kind == "toml refused"]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)

    def load_text(text: str) -> Table:
        Path("my_net.toml").write_text(text, encoding="utf-8")
        return load_table("my_net.toml")

    return load_text


def test_blocks_are_of_known_kinds() -> None:
    assert {kind for kind, _ in BLOCKS} == {"toml table", "toml piece", "toml refused", "toml", "text"}
    assert (len(PIECES), len(REFUSED)) == (13, 5)


def test_whole_table(load: Load) -> None:
    table = load(WHOLE)
    assert len(check_table(table)) == 2
    parameter = expand(table, "my_net_10").by_name["slim"]["my_net_10/block2/unit_2/conv/weights"]
    assert parameter.names["keras"] == ("stage3_2_conv/kernel",)


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.splitlines()[0])
def test_piece(piece: str, load: Load) -> None:
    text = WHOLE
    if "path" in piece:  # as the page says, the other variants would have to count it too
        text = text.replace("b = 3, u", "path = 32, b = 3, u")
    table = load(f"{text}\n{piece}")
    for variant in table.variants:
        expansion = expand(table, variant)
        assert all(expansion.names(dialect) for dialect in table.dialects)
    check_table(table)


@pytest.mark.parametrize(("piece", "message"), REFUSED, ids=[message.splitlines()[0] for _, message in REFUSED])
def test_refused(piece: str, message: str, load: Load) -> None:
    with pytest.raises(TableError) as caught:
        check_table(load(f"{WHOLE}\n{piece}"))
    assert f"{caught.value}\n" == message


def test_every_key_and_operation_is_explained() -> None:
    for key in TABLE_KEYS:
        assert re.search(rf"\[\[?{key}[\].]|^{key} +=|`{key}`", PAGE, re.MULTILINE), key
    keys = [*GROUP_KEYS, *FOLD_KEYS, *STOCK_KEYS, *NUMBER_KEYS, *SPELLING_KEYS, *RELATION_KEYS, *RELATION_KINDS]
    for key in [*keys, *OPERATIONS]:
        assert re.search(rf"\b{key}\b", PAGE), key


def test_every_shipped_axes_entry_is_listed(load: Load) -> None:
    line = next(line for line in PAGE.splitlines() if line.startswith("Shipped entries: "))
    assert re.findall("`([a-z]+)`", line) == list(load(WHOLE).axes)
