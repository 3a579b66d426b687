"""Hostile files of every kind that is known by name: each makes one in a folder and says what is to be opened.

All are small on disk; what they ask for is not.
"""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from resport.formats.leveldb_writer import encode_table
from resport.formats.protobuf import bytes_field, encode_varint, varint_field
from resport.formats.tensor_slice import Extent, slice_key
from resport.tensors import TensorSpec
from tests.fuzz.hdf5_attacks import HDF5_ATTACKS
from tests.fuzz.samples import WRITTEN, bundle, const, object_graph, stored_strings

Attack = Callable[[Path], Path]
ATTACKS: dict[str, Attack] = {**HDF5_ATTACKS}
"""Every attack by its name; each must be refused with one clean error."""
HARMLESS: dict[str, Attack] = {}
"""What is read as if nothing were there: code stays text, names stay names."""
MEGABYTE = 1 << 20


def refused(make: Attack) -> Attack:
    """Enter an attack that must end in an error."""
    ATTACKS[make.__name__] = make
    return make


def harmless(make: Attack) -> Attack:
    """Enter an attack that has no effect."""
    HARMLESS[make.__name__] = make
    return make


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# safetensors


def safetensors(folder: Path, header: bytes, data: bytes = b"") -> Path:
    return put(folder / "m.safetensors", len(header).to_bytes(8, "little") + header + data)


def json_of(start: bytes, part: bytes, end: bytes, n_bytes: int) -> bytes:
    return start + part * ((n_bytes - len(start) - len(end)) // len(part)) + end


@refused
def safetensors_header_of_a_gigabyte(folder: Path) -> Path:
    path = put(folder / "m.safetensors", (1 << 30).to_bytes(8, "little") + b"{")
    os.truncate(path, (1 << 30) + 8)
    return path


@refused
def safetensors_header_of_lists(folder: Path) -> Path:
    return safetensors(folder, json_of(b'{"a":[0', b",[]", b"]}", 20 * MEGABYTE))


@refused
def safetensors_header_of_objects(folder: Path) -> Path:
    return safetensors(folder, json_of(b'{"a":[0', b',{"":{}}', b"]}", 20 * MEGABYTE))


@refused
def safetensors_header_of_numbers(folder: Path) -> Path:
    return safetensors(folder, json_of(b'{"a":[0', b",999", b"]}", 20 * MEGABYTE))


@refused
def safetensors_header_of_one_wide_text(folder: Path) -> Path:
    return safetensors(folder, json_of(b'{"a":"\xf0\x9f\x98\x80', b"a", b'"}', 23 * MEGABYTE))


@refused
def safetensors_nested_header(folder: Path) -> Path:
    return safetensors(folder, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


@refused
def safetensors_header_nested_just_enough(folder: Path) -> Path:
    return safetensors(folder, b'{"a":' + b"[" * 900 + b"]" * 900 + b"}")


@refused
def safetensors_key_that_is_long_and_twice(folder: Path) -> Path:
    key = b'"' + b"k" * MEGABYTE + b'":1'
    return safetensors(folder, b"{" + key + b"," + key + b"}")


@refused
def safetensors_number_of_many_digits(folder: Path) -> Path:
    return safetensors(folder, b'{"a":' + b"9" * 100_000 + b"}")


@refused
def safetensors_half_a_surrogate_pair(folder: Path) -> Path:
    return safetensors(folder, b'{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x")


@refused
def safetensors_overlapping_tensors(folder: Path) -> Path:
    entry = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}
    return safetensors(folder, json.dumps({"a": entry, "b": entry}).encode(), b"xx")


@refused
def safetensors_countless_tensors_at_one_place(folder: Path) -> Path:
    entry = '"weight_%d":{"dtype":"F32","shape":[200,200],"data_offsets":[0,160000]}'
    header = "{" + ",".join(entry % number for number in range(100_000)) + "}"
    return safetensors(folder, header.encode(), bytes(160_000))


@refused
def safetensors_shape_beyond_64_bits(folder: Path) -> Path:
    entry = {"dtype": "U8", "shape": [1 << 62, 1 << 62, 0], "data_offsets": [0, 0]}
    return safetensors(folder, json.dumps({"a": entry}).encode())


@refused
def safetensors_index_out_of_its_folder(folder: Path) -> Path:
    return put(folder / "m.safetensors.index.json", b'{"weight_map": {"a": "../../etc/passwd.safetensors"}}')


@refused
def safetensors_index_of_nested_lists(folder: Path) -> Path:
    nested = b"[" * 900 + b"]" * 900
    return put(folder / "m.safetensors.index.json", b'{"weight_map": {"a": ' + nested + b"}}")


@harmless
def safetensors_shard_that_is_a_fifo(folder: Path) -> Path:
    os.mkfifo(folder / "m-00001-of-00001.safetensors")
    return put(folder / "m.safetensors.index.json", b'{"weight_map": {"a": "m-00001-of-00001.safetensors"}}')


@harmless
def safetensors_index_of_countless_shards(folder: Path) -> Path:
    """All of them missing, which is noted in time."""
    shards = {str(number): f"m-{number % 4999 + 1:05}-of-04999.safetensors" for number in range(50_000)}
    return put(folder / "m.safetensors.index.json", json.dumps({"weight_map": shards}).encode())


# zip files


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npy_claiming(descr: str, n_values: int, n_bytes: int) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': True, 'shape': ({n_values}, 1), }}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + bytes(n_bytes)


@refused
def npz_of_zeros_without_end(folder: Path) -> Path:
    return zipped(folder / "m.npz", {"a.npy": npy_claiming("<f4", 72 << 18, 72 << 20)}, zipfile.ZIP_DEFLATED)


@refused
def npz_of_countless_texts(folder: Path) -> Path:
    return zipped(folder / "m.npz", {"a.npy": npy_claiming("|S1", 32 << 20, 32 << 20)}, zipfile.ZIP_DEFLATED)


@refused
def npz_member_twice(folder: Path) -> Path:
    path = zipped(folder / "m.npz", {"a.npy": npy(np.ones(1)), "b.npy": npy(np.ones(2))})
    return put(path, path.read_bytes().replace(b"b.npy", b"a.npy"))


@refused
def npz_encrypted(folder: Path) -> Path:
    path = zipped(folder / "m.npz", {"a.npy": npy(np.ones(1))})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\1\2") + 8] |= 1
    return put(path, bytes(content))


@refused
def npz_members_on_the_same_bytes(folder: Path) -> Path:
    path = zipped(folder / "m.npz", {"a.npy": npy(np.ones(1)), "b.npy": npy(np.ones(1))})
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\1\2") + 42
    content[place : place + 4] = bytes(4)
    return put(path, bytes(content))


@refused
def npz_zip64_that_lies(folder: Path) -> Path:
    path = zipped(folder / "m.npz", {"a.npy": npy(np.ones(1))})
    content = path.read_bytes()
    end = content.rindex(b"PK\5\6")
    locator = b"PK\6\7" + struct.pack("<IQI", 0, (1 << 64) - 1, 1)
    return put(path, content[:end] + locator + content[end:])


@refused
def npz_of_python_objects(folder: Path) -> Path:
    return zipped(folder / "m.npz", {"a.npy": npy_claiming("|O", 1, 8)})


@refused
def npz_with_countless_extra_fields(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "m.npz", "w") as archive:
        for number in range(300):
            member = zipfile.ZipInfo(f"{number}.npy")
            member.extra = struct.pack("<2H", 0x5A5A, 0) * 16_000
            archive.writestr(member, npy(np.ones(1)))
    return folder / "m.npz"


@refused
def keras_without_weights_but_with_a_zip(folder: Path) -> Path:
    inner = zipped(folder / "inner.zip", {"model.weights.h5": b"x"}).read_bytes()
    return zipped(folder / "m.keras", {"config.json": b"{}", "archive.zip": inner})


@refused
def keras_config_that_grows(folder: Path) -> Path:
    """A description of a few kilobytes, compressed, that is two thousand times as long."""
    config = json_of(b'{"a":[0', b",[]", b"]}", 20 * MEGABYTE)
    return zipped(folder / "m.keras", {"config.json": config, "model.weights.h5": b""}, zipfile.ZIP_DEFLATED)


@refused
def keras_names_in_front_of_names(folder: Path) -> Path:
    """Every layer inside carries the long name of the one around it."""
    layer = '{"class_name":"Dense","config":{"name":"d"}}'
    inner = ",".join([layer] * 20_000)
    outer = {"class_name": "Model", "config": {"name": "n" * (2 * MEGABYTE), "layers": []}}
    config = json.dumps({"config": {"layers": [outer]}}).replace('"layers": []}', f'"layers": [{inner}]}}')
    return zipped(folder / "m.keras", {"config.json": config.encode(), "model.weights.h5": b""})


@refused
def keras_name_that_is_a_deep_list(folder: Path) -> Path:
    name = "[" * 900 + "]" * 900
    config = f'{{"config": {{"layers": [{{"class_name": "Dense", "config": {{"name": {name}}}}}]}}}}'
    return zipped(folder / "m.keras", {"config.json": config.encode(), "model.weights.h5": b""})


@harmless
def keras_with_code_and_pickles(folder: Path) -> Path:
    sound = WRITTEN["keras-archive"]("keras-archive").write(folder)
    with zipfile.ZipFile(sound) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    code = {"class_name": "Lambda", "config": {"name": "l", "function": ["exec('raise SystemExit')", None, None]}}
    config = json.loads(members["config.json"])
    config["config"]["layers"].append(code)
    trap = b"cos\nsystem\n(S'touch trapped'\ntR."
    hostile = {"../../evil.pkl": trap, "assets/vocabulary.pkl": trap, "config.json": json.dumps(config).encode()}
    return zipped(sound, {**members, **hostile})


@harmless
def npz_names_that_lead_out(folder: Path) -> Path:
    names = ["../../evil", "/etc/passwd", "a\\b", "line\nbreak", "\x1b[2J"]
    return zipped(folder / "m.npz", {f"{name}.npy": npy(np.ones(1)) for name in names})


@harmless
def npz_comment_that_grows(folder: Path) -> Path:
    import base64

    inner = json_of(b'{"resport_npz":1,"metadata":[0', b",[]", b"]}", 20 * MEGABYTE)
    path = zipped(folder / "m.npz", {"a.npy": npy(np.ones(1))})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = json.dumps({"zlib": base64.b64encode(zlib.compress(inner, 9)).decode()}).encode()
    return path


# TensorFlow


def index_of(folder: Path, items: dict[bytes, bytes], data: bytes = b"") -> Path:
    put(folder / "m.ckpt.data-00000-of-00001", data)
    put(folder / "m.ckpt.index", encode_table(sorted({b"": varint_field(1, 1), **items}.items())))
    return folder / "m.ckpt"


@refused
def bundle_shape_of_a_million_axes(folder: Path) -> Path:
    shape = bytes_field(2, b"\x12\x00" * MEGABYTE)
    return index_of(folder, {b"a": varint_field(1, 1) + shape})


@refused
def bundle_slice_of_a_million_axes(folder: Path) -> Path:
    return index_of(folder, {b"a": varint_field(1, 1) + bytes_field(7, b"\x0a\x00" * MEGABYTE)})


@refused
def bundle_with_a_million_entries(folder: Path) -> Path:
    entry = varint_field(1, 1) + bytes_field(2, bytes_field(2, b""))
    return index_of(folder, {number.to_bytes(3, "big"): entry for number in range(1, 300_000)})


@refused
def bundle_index_block_of_snappy_zeros(folder: Path) -> Path:
    """A compressed block that says that it is twenty times as long, and is."""
    import cramjam
    import google_crc32c

    from resport.formats.leveldb_table import TABLE_MAGIC, mask_crc32c

    packed = bytes(cramjam.snappy.compress_raw(bytes(100 * MEGABYTE)))
    masked = mask_crc32c(google_crc32c.value(packed + b"\1"))
    handle = encode_varint(0) + encode_varint(len(packed))
    footer = (handle + handle).ljust(40, b"\0") + TABLE_MAGIC
    put(folder / "m.ckpt.data-00000-of-00001", b"")
    put(folder / "m.ckpt.index", packed + b"\1" + masked.to_bytes(4, "little") + footer)
    return folder / "m.ckpt"


@refused
def bundle_data_that_is_a_device(folder: Path) -> Path:
    index_of(folder, {b"a": varint_field(1, 4) + bytes_field(2, bytes_field(2, b"\x08\x01")) + varint_field(5, 1)})
    (folder / "m.ckpt.data-00000-of-00001").unlink()
    (folder / "m.ckpt.data-00000-of-00001").symlink_to("/dev/zero")
    return folder / "m.ckpt"


@refused
def bundle_of_countless_strings(folder: Path) -> Path:
    data = bytes(16 * MEGABYTE)
    spec = TensorSpec("", (len(data) - 4,), "string")
    sample = bundle("tensorflow-v2", {b"a": (spec, data, 0)})
    return sample.write(folder)


@harmless
def bundle_name_of_slashes(folder: Path) -> Path:
    """Ways of slashes alone: all their beginnings together are as long as their square."""
    keys = [b"/" * 20_000 + bytes([97 + number]) for number in range(20)]
    graph, crc = stored_strings(object_graph(*((key, b"") for key in keys)))
    entries = {b"_CHECKPOINTABLE_OBJECT_GRAPH": (TensorSpec("", (), "string"), graph, crc)}
    sample = bundle("tensorflow-v2", {**entries, **{key: (TensorSpec("", (0,), "uint8"), b"", 0) for key in keys}})
    return sample.write(folder)


def v1_table(folder: Path, fields_of_tensor: bytes, fields_of_entry: bytes = b"") -> Path:
    """A V1 checkpoint of one tensor of three numbers, with fields of our own in its list and in its entry."""
    shape = bytes_field(2, bytes_field(2, varint_field(1, 3)))
    listed = bytes_field(1, bytes_field(1, b"a") + shape + varint_field(3, 1) + fields_of_tensor)
    values = varint_field(1, 1) + shape + bytes_field(5, bytes(12)) + fields_of_entry
    entry = bytes_field(2, bytes_field(1, b"a") + bytes_field(3, values))
    key = slice_key("a", (Extent(0, -1),))
    return put(folder / "m.ckpt", encode_table([(b"", bytes_field(1, listed)), (key, entry)]))


@refused
def v1_list_of_countless_slices(folder: Path) -> Path:
    return v1_table(folder, b"\x22\x02\x0a\x00" * (3 * MEGABYTE - 64))


@refused
def v1_list_of_countless_fields(folder: Path) -> Path:
    return v1_table(folder, b"\x28\x00" * (6 * MEGABYTE - 64))


@refused
def v1_entry_of_countless_fields(folder: Path) -> Path:
    return v1_table(folder, b"", b"\x68\x00" * (20 * MEGABYTE))


@refused
def graph_of_a_million_nodes(folder: Path) -> Path:
    node = bytes_field(1, bytes_field(1, b"a") + bytes_field(2, b"b"))
    return put(folder / "m.pb", node * 400_000)


@refused
def graph_of_countless_parts(folder: Path) -> Path:
    return put(folder / "m.pb", const(b"a", np.ones(1, "float32")) + b"\x18\x00" * (4 * MEGABYTE))


@refused
def graph_name_of_a_gigabyte(folder: Path) -> Path:
    n_bytes = 1 << 30
    name = bytes([0x0A]) + encode_varint(n_bytes)
    first = const(b"a", np.ones(1, "float32"))
    head = first + bytes([0x0A]) + encode_varint(n_bytes + len(name)) + name
    path = put(folder / "m.pb", head)
    os.truncate(path, len(head) + n_bytes)
    return path


@refused
def graph_constant_that_fills_memory(folder: Path) -> Path:
    tensor = varint_field(1, 1) + bytes_field(2, bytes_field(2, varint_field(1, 1 << 40)))
    value = bytes_field(5, bytes_field(1, b"value") + bytes_field(2, bytes_field(8, tensor)))
    return put(folder / "m.pb", bytes_field(1, bytes_field(1, b"a") + bytes_field(2, b"Const") + value))


@refused
def graph_with_a_name_twice(folder: Path) -> Path:
    return put(folder / "m.pb", const(b"a", np.ones(1, "float32")) * 2)


@refused
def state_file_of_another_folder(folder: Path) -> Path:
    return put(folder / "checkpoint", b'model_checkpoint_path: "/etc/passwd"\n')


@refused
def state_file_with_links_in_a_circle(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return put(folder / "checkpoint", b'model_checkpoint_path: "loop/model.ckpt"\n')


@refused
def folder_of_empty_indexes(folder: Path) -> Path:
    for number in range(3000):
        put(folder / f"{number}.index", b"")
    return folder


# What is no file


@refused
def a_fifo(folder: Path) -> Path:
    os.mkfifo(folder / "m.safetensors")
    return folder / "m.safetensors"


@refused
def a_socket(folder: Path) -> Path:
    before = Path.cwd()
    os.chdir(folder)  # the name of a socket has no more than 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("m.h5")
    finally:
        os.chdir(before)
    return folder / "m.h5"


@refused
def a_link_to_a_device(folder: Path) -> Path:
    (folder / "m.npz").symlink_to("/dev/zero")
    return folder / "m.npz"


@refused
def a_link_to_itself(folder: Path) -> Path:
    (folder / "m.keras").symlink_to(folder / "m.keras")
    return folder / "m.keras"


@refused
def a_folder_named_as_a_file(folder: Path) -> Path:
    (folder / "m.h5").mkdir()
    return folder / "m.h5"


@refused
def a_name_too_long(folder: Path) -> Path:
    return folder / ("n" * 300 + ".safetensors")
