"""Texts of fixed and variable length, as attributes and as values, compared with what h5py reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from resport.errors import FormatError
from resport.formats.hdf5 import open_file, read_texts, text_attribute
from resport.formats.keras_legacy import KerasLegacyReader

TEXTS = {
    "one": "text",
    "empty": "",
    "letters": "größe 漢字",
    "long": "0123456789" * 30_000,
    "list": ["a", "", "größe", "x" * 5000],
    "none": [],
}


def check(path: str) -> int:
    """Every text of the file is what h5py says.

    Returns:
        How many there are.
    """
    n_texts = 0
    with open_file(path) as ours, h5py.File(path) as theirs:
        for place in ("", "group", "group/data"):
            node = ours
            for name in place.split("/") if place else []:
                node = node.member(name)
            for name, text in theirs[f"/{place}"].attrs.items():
                expected = text if isinstance(text, str) else list(text)
                read = text_attribute if isinstance(text, str) else read_texts
                assert read(node, name, path) == expected
                n_texts += 1
    return n_texts


def write(path: Path, **options: object) -> str:
    with h5py.File(path, "w", **options) as file:
        group = file.create_group("group")
        group["data"] = [1, 2]
        for node in (file, group, group["data"]):
            for name, text in TEXTS.items():
                node.attrs.create(name, text, dtype=h5py.string_dtype(), shape=None if text != [] else (0,))
    return str(path)


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
@pytest.mark.parametrize("userblock_size", [0, 512, 4096])
def test_every_layout_of_the_library(tmp_path: Path, libver: str, userblock_size: int) -> None:
    assert check(write(tmp_path / "m.h5", libver=libver, userblock_size=userblock_size)) == 3 * len(TEXTS)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_objects_with_many_attributes(tmp_path: Path, libver: str) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver=libver) as file:
        nodes = [file.create_group("group"), file.create_dataset("group/data", data=[1])]
        for number in range(500):
            # In turns, so that no header can grow in place.
            for node in nodes:
                node.attrs[f"attribute {number}"] = f"text {number}"
    assert check(str(path)) == 1000


@pytest.mark.parametrize("padding", [h5py.h5t.STR_NULLTERM, h5py.h5t.STR_NULLPAD, h5py.h5t.STR_SPACEPAD])
def test_every_padding(tmp_path: Path, padding: int) -> None:
    path = tmp_path / "m.h5"
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(6)
    kind.set_strpad(padding)
    raw = np.array([b"ab\0cd", b"x", b"", b" y    ", b"abcdef", b"a     "], "S6")
    space = h5py.h5s.create_simple((len(raw),))
    with h5py.File(path, "w") as file:
        h5py.h5a.create(file.id, b"names", kind, space).write(raw, mtype=kind)
        file.attrs["layer_names"] = [b"a"]
        file.create_group("a").attrs["weight_names"] = [b"w"]
        h5py.h5d.create(file["a"].id, b"w", kind, space).write(h5py.h5s.ALL, h5py.h5s.ALL, raw, mtype=kind)
        expected = file.attrs["names"].tolist()
        assert file["a/w"][()].tolist() == expected
    assert len(set(expected)) == len(expected)
    with open_file(str(path)) as file:
        assert read_texts(file, "names", str(path)) == [text.decode() for text in expected]
    with KerasLegacyReader(path) as reader:
        assert reader.read("a/w").tolist() == expected


def test_texts_of_a_dataset(tmp_path: Path) -> None:
    texts = ["a", "", "größe", "x" * 5000]
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.attrs["layer_names"] = [b"a"]
        file.create_group("a").attrs["weight_names"] = [b"w", b"m", b"s", b"e", b"n"]
        kind = h5py.string_dtype()
        file["a"].create_dataset("w", data=texts, dtype=kind)
        file["a"].create_dataset("m", data=[texts, texts], dtype=kind)
        file["a"].create_dataset("s", data="one", dtype=kind)
        file["a"].create_dataset("e", (0,), dtype=kind)
        file["a"].create_dataset("n", (7,), dtype=kind, chunks=(2,), compression="gzip")[:4] = texts
    with KerasLegacyReader(path) as reader:
        encoded = [text.encode() for text in texts]
        assert reader.read("a/w").tolist() == encoded
        assert reader.read("a/m").tolist() == [encoded, encoded]
        assert reader.read("a/s")[()] == b"one"
        assert reader.read("a/e").shape == (0,)
        assert reader.manifest["a/n"].dtype == "string"
        assert reader.read("a/n").tolist() == [*encoded, b"", b"", b""]


def changed(data: bytes, places: range) -> Iterator[bytes]:
    for place in places:
        for bits in (0x01, 0x80, 0xFF):
            yield data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_damage_ends_in_an_error_or_a_text(tmp_path: Path, libver: str) -> None:
    # The library loops for ever on some of these, and clears two gigabytes on others.
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["name"] = "the name of a layer"
        file.attrs["names"] = ["one", "two"]
        place = h5py.h5o.get_info(file.id).addr
    whole = path.read_bytes()
    heap = whole.index(b"GCOL")
    n_errors = 0
    for data in (*changed(whole, range(place, min(place + 400, len(whole)))), *changed(whole, range(heap, heap + 160))):
        path.write_bytes(data)
        try:
            with open_file(str(path)) as file:
                texts = [text_attribute(file, "name", str(path)) or "", *(read_texts(file, "names", str(path)) or [])]
        except FormatError as error:
            assert error.path == str(path)
            n_errors += 1
        else:
            assert all(len(text) < len(data) for text in texts)
    assert n_errors > 100


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("length", 24, "not there"),
        ("length", 2**31, "longer than the file"),
        ("index", 9, "not there"),
        ("address", 0, "is none"),
        ("address", 2**63, "out of the file"),
        ("heap size", 2**40, "out of the file"),
        ("object size", 2**63, "is damaged"),
        ("object size", 5000, "is damaged"),
        ("version", 2, "is none"),
    ],
)
def test_numbers_that_lead_elsewhere(tmp_path: Path, place: str, value: int, message: str) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["name"] = "name of 16 bytes"
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL")
    element = data.index((16).to_bytes(4, "little") + heap.to_bytes(8, "little"))
    offset, width = {
        "length": (element, 4),
        "address": (element + 4, 8),
        "index": (element + 12, 4),
        "version": (heap + 4, 1),
        "heap size": (heap + 8, 8),
        "object size": (heap + 24, 8),
    }[place]
    data[offset : offset + width] = value.to_bytes(width, "little")
    path.write_bytes(data)
    with open_file(str(path)) as file, pytest.raises(FormatError, match=message) as caught:
        text_attribute(file, "name", str(path))
    assert "attribute `name` of `/`" in str(caught.value) and caught.value.path == str(path)


def test_texts_that_refer_to_one_place_over_and_over(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"a"]
        file.create_group("a").attrs["weight_names"] = [b"w"]
        file["a"].create_dataset("w", data=["x" * 30_000] + [""] * 99, dtype=h5py.string_dtype())
        place = file["a/w"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[place : place + 1600] = data[place : place + 16] * 100
    path.write_bytes(data)
    with KerasLegacyReader(path) as reader, pytest.raises(FormatError, match="longer than the file"):
        reader.read("a/w")
