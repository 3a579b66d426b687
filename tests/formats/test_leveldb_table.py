"""Tables against the layout written down by hand, against TensorFlow's own writer, and against damage."""

from __future__ import annotations

import struct
from pathlib import Path

import cramjam
import google_crc32c
import numpy as np
import pytest

from resport.errors import ChecksumError, FormatError
from resport.formats import leveldb_table
from resport.formats.leveldb_table import (
    TABLE_MAGIC,
    TABLE_NO_COMPRESSION,
    TABLE_SNAPPY,
    LevelDBTable,
    decompress_snappy,
    masked_crc32c,
)
from resport.formats.leveldb_writer import encode_table

ITEMS = [(b"", b"header"), (b"conv1/biases", b"\x00\x01"), (b"conv1/weights", b""), (b"conv2/weights", b"x" * 200)]


def varint(value: int) -> bytes:
    head = bytearray()
    while value > 0x7F:
        head.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*head, value])


def block(entries: list[tuple[int, bytes, bytes]], restarts: tuple[int, ...] = (0,)) -> bytes:
    """A block by hand: for each entry what it shares with the key before, the rest of the key, and the value."""
    body = b"".join(varint(n) + varint(len(rest)) + varint(len(value)) + rest + value for n, rest, value in entries)
    return body + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table_of(
    blocks: list[tuple[bytes, bytes]], *, kind: int = TABLE_NO_COMPRESSION, index: list[bytes] | None = None
) -> bytes:
    """A table by hand.

    Args:
        blocks: for each data block its key in the index and its stored bytes.
        kind: the compression that the data blocks' trailers name.
        index: handles to write into the index in place of the true ones.
    """
    data = bytearray()

    def append(raw: bytes, kind: int) -> bytes:
        handle = varint(len(data)) + varint(len(raw))
        crc = google_crc32c.value(raw + bytes([kind]))
        masked = ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32
        data.extend(raw + bytes([kind]) + struct.pack("<I", masked))
        return handle

    handles = [append(raw, kind) for _, raw in blocks]
    keys = [key for key, _ in blocks]
    meta = append(block([]), 0)
    top = append(block([(0, key, handle) for key, handle in zip(keys, index or handles, strict=True)]), 0)
    return bytes(data + (meta + top).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57))


def read(path: Path, data: bytes) -> dict[bytes, bytes]:
    path.write_bytes(data)
    with LevelDBTable(str(path)) as table:
        return dict(table.items())


def test_masked_checksum() -> None:
    # 123456789 is the usual check value of CRC-32C: e3069283.
    crc = 0xE3069283
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF == 0xC78AB0E5


def test_golden_bytes() -> None:
    expected = table_of([(b"d", block([(0, b"", b"header"), (0, b"conv1/biases", b"\x00\x01"), (6, b"weights", b"")]))])
    assert encode_table(ITEMS[:3]) == expected


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "t.index"
    assert list(read(path, encode_table(ITEMS)).items()) == ITEMS
    with LevelDBTable(str(path)) as table:
        assert [table.get(key) for key, _ in ITEMS] == [value for _, value in ITEMS]
        assert table.get(b"conv1/weight") is None
        assert table.get(b"zzz") is None
        assert table.size_bytes == path.stat().st_size


def test_many_blocks(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    keys = sorted({rng.bytes(int(rng.integers(0, 9))) for _ in range(3000)})
    items = [(key, rng.bytes(int(rng.integers(0, 40)))) for key in keys]
    data = encode_table(items, block_bytes=256)
    assert list(read(tmp_path / "t", data).items()) == items
    with LevelDBTable(str(tmp_path / "t")) as table:
        assert len(table._index) > 100
        for key, value in items:
            assert table.get(key) == value
            assert table.get(key + b"\0") == dict(items).get(key + b"\0")


def test_empty_table(tmp_path: Path) -> None:
    assert read(tmp_path / "t", encode_table([])) == {}


def test_keys_must_ascend_to_be_written() -> None:
    for keys in ([b"b", b"a"], [b"a", b"a"]):
        with pytest.raises(ValueError, match="ascend"):
            encode_table([(key, b"") for key in keys])


def test_snappy_blocks(tmp_path: Path) -> None:
    raw = block([(0, b"conv/biases", b"v" * 5000), (5, b"weights", b"w" * 3000)])
    packed = bytes(cramjam.snappy.compress_raw(raw))
    assert len(packed) < len(raw) / 2
    data = table_of([(b"d", packed)], kind=TABLE_SNAPPY)
    assert read(tmp_path / "t", data) == {b"conv/biases": b"v" * 5000, b"conv/weights": b"w" * 3000}


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (varint(2**40) + b"\0" * 20, "impossible size"),
        (varint(2**63) + b"\0" * 20, "impossible size"),
        (varint(40) + bytes(cramjam.snappy.compress_raw(b"abc" * 10))[1:], "damaged|early"),
        (bytes(cramjam.snappy.compress_raw(b"abc" * 10))[:-1], "damaged|early"),
        (b"", "end within"),
        (b"\xff" * 12, "64 bits"),
    ],
)
def test_damaged_snappy(packed: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        decompress_snappy(packed)


def test_densest_snappy_is_within_the_bound() -> None:
    for byte in (b"\0", b"ab"):
        raw = byte * 2_000_000
        assert decompress_snappy(bytes(cramjam.snappy.compress_raw(raw))) == raw


ENTRY = block([(0, b"a", b"1")])
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "too short"),
    "short": (TABLE_MAGIC, "too short"),
    "no magic": (bytes(64), "does not end like a table"),
    "index elsewhere": (b"\0\0" + varint(2**62) + varint(9) + bytes(29) + TABLE_MAGIC, "beyond the file"),
    "index over the footer": (b"\0\0\0\x09".ljust(40, b"\0") + TABLE_MAGIC, "beyond the file"),
    "huge block": (table_of([(b"b", ENTRY)], index=[varint(0) + varint(2**60)]), "beyond the file"),
    "block at the end": (table_of([(b"b", ENTRY)], index=[varint(2**60) + varint(9)]), "beyond the file"),
    "cut handle": (table_of([(b"b", ENTRY)], index=[b"\x80"]), "end within"),
    "compression": (table_of([(b"b", ENTRY)], kind=7), "unknown compression 7"),
    "unfounded sharing": (table_of([(b"b", block([(5, b"a", b"")]))]), "reaches beyond"),
    "long key": (table_of([(b"b", varint(0) + varint(2**40) + b"\0" + struct.pack("<2I", 0, 1))]), "reaches beyond"),
    "long value": (table_of([(b"b", varint(0) + b"\0" + varint(99) + struct.pack("<2I", 0, 1))]), "reaches beyond"),
    "restarts": (table_of([(b"b", struct.pack("<I", 2**31))]), "restart"),
    "no restarts": (table_of([(b"b", b"\0\0")]), "restart"),
    "descending": (table_of([(b"c", block([(0, b"b", b""), (0, b"a", b"")]))]), "out of order"),
    "twice": (table_of([(b"b", block([(0, b"a", b""), (1, b"", b"")]))]), "out of order"),
    "above the index key": (table_of([(b"A", ENTRY)]), "out of order"),
    "one block twice": (table_of([(b"a", ENTRY), (b"b", ENTRY)], index=[b"\0\x0d", b"\0\x0d"]), "out of order"),
    "index descending": (table_of([(b"b", ENTRY), (b"a", ENTRY)]), "out of order"),
    "expanding keys": (
        table_of([(b"\xff", block([(0, b"k" * 60_000, b""), *[(60_000 + i, b"k", b"") for i in range(2000)]]))]),
        "too long for the size",
    ),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_table(tmp_path: Path, attack: str) -> None:
    data, message = HOSTILE[attack]
    path = tmp_path / "t.index"
    with pytest.raises(FormatError, match=message) as caught:
        read(path, data)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)


LONG = [(b"", b"listing"), (b"a", b"x" * 1000)]


def refusal(path: Path) -> str:
    with LevelDBTable(str(path)) as table, pytest.raises(FormatError) as caught:
        table.first_value(b"")
    return str(caught.value)


def test_first_value_of_a_long_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the beginning of a long block is kept; its checksum is that of all of it."""
    path = tmp_path / "m"
    monkeypatch.setattr(leveldb_table, "TABLE_MAX_INDEX_BYTES", 64)
    data = encode_table(LONG)
    path.write_bytes(data)
    with LevelDBTable(str(path)) as table:
        assert (table.first_value(b""), table.first_value(b"a")) == (b"listing", None)
    path.write_bytes(data.replace(b"xx", b"xy", 1))
    with LevelDBTable(str(path), verify_checksums=False) as table:
        assert table.first_value(b"") == b"listing"
    assert "checksum" in refusal(path)
    path.write_bytes(encode_table([(b"", b"x" * 1000)]))
    assert "too long" in refusal(path)
    path.write_bytes(table_of([(b"a", bytes(cramjam.snappy.compress_raw(bytes(range(256)) * 8)))], kind=TABLE_SNAPPY))
    assert "too long" in refusal(path)


def test_first_value_of_a_short_block_and_of_none(tmp_path: Path) -> None:
    for items, value in ((ITEMS, b"header"), (ITEMS[1:], None), ([], None)):
        (tmp_path / "m").write_bytes(encode_table(items))
        with LevelDBTable(str(tmp_path / "m")) as table:
            assert table.first_value(b"") == value


def test_a_limit_of_blocks(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(encode_table(LONG))
    with LevelDBTable(str(tmp_path / "m")) as table:
        assert table.get(b"a") == b"x" * 1000
        table.limit_blocks(1000)
        with pytest.raises(FormatError, match="too long"):
            table.get(b"a")


def test_expanding_keys_of_the_index(tmp_path: Path) -> None:
    """The index is expanded when the table is opened, so it is bounded on its own."""
    keys = block([(0, b"k" * 60_000, b"\0\0"), *[(60_000 + i, b"k", b"\0\0") for i in range(2000)]])
    body = keys + b"\0" + struct.pack("<I", masked_crc32c(keys + b"\0"))
    data = body + (b"\0\0" + varint(0) + varint(len(keys))).ljust(40, b"\0") + TABLE_MAGIC
    with pytest.raises(FormatError, match="too long for the size"):
        read(tmp_path / "t", data)


def test_every_cut_and_every_changed_byte(tmp_path: Path) -> None:
    whole = encode_table(ITEMS, block_bytes=24)
    path = tmp_path / "t"
    for size in range(len(whole)):
        with pytest.raises(FormatError):
            read(path, whole[:size])
    n_errors = 0
    for position in range(len(whole)):
        for change in (1, 0x80, 0xFF):
            damaged = whole[:position] + bytes([whole[position] ^ change]) + whole[position + 1 :]
            try:
                assert list(read(path, damaged).items()) == ITEMS
            except FormatError:
                n_errors += 1
    # What nobody reads may change: the block of meta data, its handle, and the padding of the footer.
    assert n_errors > 3 * (len(whole) - 13 - 40)


def test_checksum_error_names_block_and_values(tmp_path: Path) -> None:
    data = bytearray(encode_table(ITEMS))
    data[5] ^= 1
    with pytest.raises(ChecksumError, match=r"the block at byte 0 in `.*t` is damaged: the checksum") as caught:
        read(tmp_path / "t", bytes(data))
    assert caught.value.offset == 0
    assert str(caught.value.expected).startswith("0x")


def test_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        LevelDBTable(str(tmp_path))


def test_closes_a_file_that_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"no table" * 20)
    with pytest.raises(FormatError, match="does not end like a table"):
        LevelDBTable(str(path))
    open_paths = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
    assert str(path) not in open_paths


@pytest.mark.tf
def test_same_bytes_as_tensorflow(tmp_path: Path) -> None:
    """Reading an index of TensorFlow's with several blocks and writing its entries again gives the same file."""
    import tensorflow as tf

    n = 6000
    names = [f"v{i:05d}/with/a/quite/long/name/that/does/not/share/{i * 7919 % 10007}" for i in range(n)]
    prefix = str(tmp_path / "m")
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * n, tensors=[tf.constant(float(i)) for i in range(n)]
    )
    data = Path(f"{prefix}.index").read_bytes()
    with LevelDBTable(f"{prefix}.index") as table:
        items = list(table.items())
        assert len(table._index) > 1
    assert [key.decode() for key, _ in items] == ["", *sorted(names)]
    assert encode_table(items) == data


def test_a_block_is_read_once_for_its_small_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no longer than while they are asked for; large blocks are not kept."""
    items = [(f"{number:04}".encode(), bytes([number % 251]) * 100) for number in range(60)]
    path = tmp_path / "table"
    path.write_bytes(encode_table(items, block_bytes=2000))
    read: list[int] = []
    read_block = LevelDBTable._read_block
    monkeypatch.setattr(
        LevelDBTable, "_read_block", lambda self, offset, *a: read.append(offset) or read_block(self, offset, *a)
    )
    with LevelDBTable(str(path)) as table:
        n_blocks = len(table._index)
        read.clear()
        assert [table.get(key) for key, _ in items] == [value for _, value in items]
        assert len(read) == n_blocks == len(set(read)) > 2
        assert table.get(items[0][0]) == items[0][1] and len(read) == n_blocks + 1
        assert table.get(b"0000x") is None
        monkeypatch.setattr("resport.formats.leveldb_table.TABLE_KEPT_BLOCK_BYTES", 1000)
        assert table.get(items[1][0]) == items[1][1] and len(read) == n_blocks + 2
