"""Texts of variable length, read without the HDF5 library and compared with what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from resport.errors import FormatError
from resport.formats.file_window import FileWindow
from resport.formats.hdf5 import open_file, read_texts, text_attribute
from resport.formats.hdf5_text import TextSource
from resport.formats.keras_legacy import KerasLegacyReader

TEXTS = {
    "one": "text",
    "empty": "",
    "letters": "größe 漢字",
    "long": "0123456789" * 30_000,
    "list": ["a", "", "größe", "x" * 5000],
    "none": [],
}


def check(path: str) -> None:
    """Every text of the file is what h5py says."""
    with open_file(path) as file:
        for node in (file, file["group"], file["group/data"]):
            for name, text in node.attrs.items():
                expected = text if isinstance(text, str) else list(text)
                read = text_attribute if isinstance(text, str) else read_texts
                assert read(node, name, path) == expected


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
    check(write(tmp_path / "m.h5", libver=libver, userblock_size=userblock_size))


def test_headers_of_many_blocks(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        nodes = [file.create_group("group"), file.create_dataset("group/data", data=[1])]
        for number in range(500):
            # In turns, so that no header can grow in place.
            for node in nodes:
                node.attrs[f"attribute {number}"] = f"text {number}"
    check(str(path))


def test_attributes_that_are_kept_elsewhere_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for number in range(20):
            file.attrs[f"attribute {number}"] = "text"
    with open_file(str(path)) as file, pytest.raises(FormatError, match="object's header"):
        text_attribute(file, "attribute 1", str(path))


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
        file["a"].create_dataset("n", data=texts, dtype=kind, chunks=(2,))
    with KerasLegacyReader(path) as reader:
        encoded = [text.encode() for text in texts]
        assert reader.read("a/w").tolist() == encoded
        assert reader.read("a/m").tolist() == [encoded, encoded]
        assert reader.read("a/s")[()] == b"one"
        assert reader.read("a/e").shape == (0,)
        assert reader.manifest["a/n"].dtype == "string"
        with pytest.raises(FormatError, match="in chunks"):
            reader.read("a/n")


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
        with h5py.File(tmp_path / "intact.h5", "w") as intact, path.open("rb") as file:
            source = TextSource(intact, FileWindow(file.fileno(), 0, len(data)))
            for name, count in (("name", 1), ("names", 2)):
                try:
                    texts = source.attribute(place, name, count)
                except FormatError:
                    n_errors += 1
                else:
                    assert len(texts) == count and all(len(text) < len(data) for text in texts)
    assert n_errors > 100


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("length", 24, "not there"),
        ("length", 2**31, "not there"),
        ("index", 9, "not there"),
        ("address", 0, "heap that is none"),
        ("address", 2**63, "out of the file"),
        ("heap size", 2**40, "out of the file"),
        ("object size", 2**63, "damaged heap"),
        ("object size", 5000, "damaged heap"),
        ("version", 2, "heap that is none"),
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


def test_a_header_that_continues_in_a_circle_ends(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["name"] = "text"
        place = h5py.h5o.get_info(file.id).addr
        # A header of one message, which says that the header goes on at itself.
        circle = (0x10).to_bytes(2, "little") + (16).to_bytes(2, "little") + bytes(4)
        circle += (place + 16).to_bytes(8, "little") + (24).to_bytes(8, "little")
        header = (
            b"\x01\0" + (1).to_bytes(2, "little") + (1).to_bytes(4, "little") + (24).to_bytes(4, "little") + bytes(4)
        )
        other = tmp_path / "other"
        other.write_bytes(bytes(place) + header + circle)
        with other.open("rb") as damaged:
            source = TextSource(file, FileWindow(damaged.fileno(), 0, other.stat().st_size))
            with pytest.raises(FormatError, match="no end"):
                source.attribute(place, "name", 1)
