"""KerasArchiveReader and KerasArchiveWriter, against zipfile, h5py and Keras itself."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest

from resport.errors import ChecksumError, FormatError, OptionError, TargetExistsError
from resport.formats import open_reader, open_writer
from resport.formats.keras_archive import KerasArchiveReader, KerasArchiveWriter
from resport.formats.keras_layers import split_name
from resport.tensors import TensorSpec
from tests.contracts import FormatContract, assert_same_bits, peak_bytes, random_array, specs_of
from tests.formats.keras_models import fill_randomly, small_model, values_by_name

METADATA = '{"keras_version": "3.4.1", "date_saved": "2024-05-01@10:00:00"}'


def config_of(names: Iterable[str], class_name: str = "Mine") -> str:
    """The description of a model with the layers that the names of tensors have."""
    layers = dict.fromkeys(split_name(name)[0] for name in names)
    described = [{"class_name": class_name, "config": {"name": layer}} for layer in layers]
    return json.dumps({"class_name": "Functional", "config": {"name": "net", "layers": described}})


class DescribedWriter(KerasArchiveWriter):
    """The writer with a description made for the tensors."""

    def __init__(self, path: str, specs: Iterable[TensorSpec], *, metadata: Mapping[str, str] | None = None) -> None:
        specs = list(specs)
        super().__init__(path, specs, metadata=metadata, config=config_of(spec.name for spec in specs))


class TestKerasArchive(FormatContract):
    reader, writer, filename = KerasArchiveReader, DescribedWriter, "model.keras"
    has_checksums = True
    keeps_order = False
    # A layer without a name is no layer of a description.
    awkward_names: ClassVar[tuple[str, ...]] = tuple(n for n in FormatContract.awkward_names if n)

    def oracle_read(self, path: str) -> dict[str, np.ndarray]:
        # The archive by zipfile, the weights by h5py; only those whose dataset bears its name are compared.
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            data = archive.read("model.weights.h5")
        found: dict[str, np.ndarray] = {}
        with h5py.File(io.BytesIO(data)) as file:
            nodes: list[Any] = []
            file.visititems(lambda _, node: nodes.append(node))
            found.update({node.attrs["name"]: node[()] for node in nodes if isinstance(node, h5py.Dataset)})
        return found

    def test_registry_finds_the_format(self, tmp_path: Path) -> None:
        tensors = self.small_tensors()
        path, config = tmp_path / self.filename, config_of(tensors)
        with open_writer(path, specs_of(tensors), config=config) as writer:
            assert type(writer) is KerasArchiveWriter
            for name, array in tensors.items():
                writer.write(name, array)
        with open_reader(path) as reader:
            assert type(reader) is KerasArchiveReader
            assert_same_bits(reader.read("conv/bias"), tensors["conv/bias"])
        with pytest.raises(TargetExistsError):
            open_writer(path, specs_of(tensors), config=config)
        open_writer(path, specs_of(tensors), force=True, config=config).abort()
        self.check(str(path), tensors)


# Archives made with zipfile and h5py


LAYERS = {"conv2d": "first", "conv2d_1": "second", "dense": "top"}
VALUES = {f"{name}/kernel": random_array("float32", (2, 3), seed) for seed, name in enumerate(LAYERS.values())}


def weights_bytes(*, names: bool = False, groups: str = "layers") -> bytes:
    """Weights of the three layers, which carry their names or not."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for place, name in LAYERS.items():
            file[f"{groups}/{place}/vars/0"] = VALUES[f"{name}/kernel"]
            if names:
                file[f"{groups}/{place}/vars"].attrs["name"] = name
    return stream.getvalue()


def config_text(**extra: object) -> str:
    layers: list[dict[str, Any]] = [
        {"class_name": "InputLayer", "config": {"name": "in"}},
        {"class_name": "Conv2D", "config": {"name": "first"}},
        {"class_name": "Dense", "config": {"name": "top"}},
        {"class_name": "Conv2D", "config": {"name": "second"}},
    ]
    return json.dumps({"class_name": "Functional", "config": {"name": "net", "layers": layers}, **extra})


def archive(path: Path, members: dict[str, str | bytes] | None = None, method: int = zipfile.ZIP_STORED) -> Path:
    contents = {"metadata.json": METADATA, "config.json": config_text(), "model.weights.h5": weights_bytes()}
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in {**contents, **(members or {})}.items():
            if content is not None:
                file.writestr(name, content)
    return path


def check_values(path: Path) -> str | None:
    with open_reader(path) as reader:
        assert isinstance(reader, KerasArchiveReader)
        assert list(reader.manifest) == list(VALUES)
        for name, value in VALUES.items():
            assert_same_bits(reader.read(name), value)
        return reader.note


@pytest.mark.parametrize("groups", ["layers", "_layer_checkpoint_dependencies"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_description_names_layers(tmp_path: Path, groups: str, method: int) -> None:
    path = archive(tmp_path / "m.keras", {"model.weights.h5": weights_bytes(groups=groups)}, method)
    assert check_values(path) is None
    with open_reader(path) as reader:
        assert reader.producer == "keras 3.4.1"
        assert reader.metadata == {"model_config": config_text()}
        assert reader.files == (str(path),)


def test_names_of_the_weights_come_first(tmp_path: Path) -> None:
    config = config_text().replace("first", "other")
    check_values(archive(tmp_path / "m.keras", {"model.weights.h5": weights_bytes(names=True), "config.json": config}))


def test_another_file_name(tmp_path: Path) -> None:
    check_values(archive(tmp_path / "m.zip"))


def test_weights_alone_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model.weights.h5", weights_bytes(names=True))
    check_values(path)


def test_code_and_pickles_are_left_alone_and_said(tmp_path: Path) -> None:
    config = json.loads(config_text())
    config["config"]["layers"].append({"class_name": "Lambda", "config": {"name": "evil", "function": "__import__"}})
    members = {"config.json": json.dumps(config), "weights.pkl": b"\x80\x02cposix\nsystem\n", "assets/a/words.txt": "x"}
    note = check_values(archive(tmp_path / "m.keras", members))
    assert note is not None
    assert "Lambda" in note and "`evil`" in note and "`weights.pkl`" in note and "`assets/a/words.txt`" in note


def test_names_of_members_are_never_paths(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = archive(tmp_path / "in" / "m.keras", {"../../escaped": "x", str(tmp_path / "absolute"): "x"})
    check_values(path)
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["in", "m.keras"]


def test_nested_models_and_wrappers(tmp_path: Path) -> None:
    inner = {"class_name": "Conv2D", "config": {"name": "c"}}
    wrapped = {"class_name": "Dense", "config": {"name": "d", "dtype": "float32"}}
    layers = [
        {"class_name": "Functional", "config": {"name": "stem", "layers": [inner]}},
        {"class_name": "TimeDistributed", "config": {"name": "td", "layer": wrapped, "dtype": "float32"}},
        {"class_name": "Functional", "config": {"name": "tail", "layers": [inner]}},
    ]
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": layers}}
    places = [
        "layers/functional/layers/conv2d",
        "layers/functional_1/layers/conv2d",
        "layers/time_distributed/layer",
    ]
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for number, place in enumerate(places):
            file[f"{place}/vars/0"] = np.float32(number)
    path = archive(tmp_path / "m.keras", {"config.json": json.dumps(config), "model.weights.h5": stream.getvalue()})
    with open_reader(path) as reader:
        values = {name: float(reader.read(name)) for name in reader.manifest}
    assert values == {"stem/c/kernel": 0, "tail/c/kernel": 1, "td/d/0": 2}


# Attacks


def claim(data: bytes, field: int, width: int, value: int, which: int = -1) -> bytes:
    """Change a field of a member's entry in the directory, and the same in its own header."""
    for magic, place in ((b"PK\x01\x02", field), (b"PK\x03\x04", field - 2)):
        positions = [found.start() for found in re.finditer(re.escape(magic), data)]
        # Where the header is, that only the directory says.
        if magic == b"PK\x01\x02" or field < 28:
            at = positions[which] + place
            data = data[:at] + value.to_bytes(width, "little") + data[at + width :]
    return data


ATTACKS: dict[str, Callable[[bytes], bytes]] = {
    "encrypted": lambda data: claim(data, 8, 2, 1),
    "unknown method": lambda data: claim(data, 10, 2, 12),
    "another checksum": lambda data: claim(data, 16, 4, 12345),
    "more bytes than there are": lambda data: claim(claim(data, 20, 4, 1 << 30), 24, 4, 1 << 30),
    "two sizes": lambda data: claim(data, 24, 4, 100),
    "a terabyte": lambda data: claim(data, 24, 4, 0xFFFFFFF0),
    "elsewhere": lambda data: claim(data, 42, 4, 7),
    "cut": lambda data: data[:-30],
    "empty": lambda data: b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_hostile_directory_is_one_error(tmp_path: Path, attack: str, method: int) -> None:
    path = archive(tmp_path / "m.keras", None, method)
    path.write_bytes(ATTACKS[attack](path.read_bytes()))
    with pytest.raises(FormatError, match=r"m\.keras"), open_reader(path) as reader:
        for name in reader.manifest:
            reader.read(name)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("model.weights.h5", weights_bytes())
    with pytest.raises(FormatError, match="two members"):
        KerasArchiveReader(path)


@pytest.mark.parametrize("name", ["model.weights.h5", "config.json"])
def test_a_bomb_is_refused_unopened(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "m.keras", {name: bytes(300 << 20)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(FormatError, match="out of all proportion"):
        KerasArchiveReader(path)


def test_no_more_is_unpacked_than_a_member_says(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras", {"config.json": bytes(100 << 20)}, zipfile.ZIP_DEFLATED)
    # The second of three members, which says that it has a thousand bytes.
    path.write_bytes(claim(path.read_bytes(), 24, 4, 1000, 1))
    with peak_bytes() as peak, pytest.raises(FormatError, match="not as long"):
        KerasArchiveReader(path)
    assert peak[0] < 20 << 20


def test_a_compressed_description_that_is_too_long(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    long = json.dumps({"x": rng.integers(0, 99, 30_000_000).astype(np.uint8).tobytes().decode()})
    with pytest.raises(FormatError, match="too long"):
        KerasArchiveReader(archive(tmp_path / "m.keras", {"config.json": long}))


@pytest.mark.parametrize(
    "config", ["", "{", "[]", "[" * 100_000, b"\xff\xfe", '{"config": 3}', '{"config": {"layers": 3}}']
)
@pytest.mark.parametrize("member", ["config.json", "metadata.json"])
def test_damaged_json(tmp_path: Path, member: str, config: str | bytes) -> None:
    path = archive(tmp_path / "m.keras", {member: config, "model.weights.h5": weights_bytes(names=True)})
    if config in ('{"config": 3}', '{"config": {"layers": 3}}'):
        check_values(path)
    else:
        with pytest.raises(FormatError, match=r"m\.keras"):
            KerasArchiveReader(path)


def test_a_model_in_a_model_without_end(tmp_path: Path) -> None:
    config = '{"class_name": "A", "config": {"name": "a", "layers": [' * 200 + "]}}" * 200
    with pytest.raises(FormatError, match="too deep"):
        KerasArchiveReader(archive(tmp_path / "m.keras", {"config.json": config}))


def test_weights_that_are_pickled_or_missing(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", METADATA)
        file.writestr("model.weights.npz", b"x")
    with pytest.raises(FormatError, match="without a Keras model") as caught:
        open_reader(path)
    assert "`model.weights.npz`" in str(caught.value)


def test_values_are_checked_when_they_are_read_and_not_before(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras")
    data = path.read_bytes()
    value = VALUES["top/kernel"].tobytes()
    at = data.index(value)
    path.write_bytes(data[:at] + bytes([value[0] ^ 1]) + data[at + 1 :])
    with open_reader(path) as reader:
        assert list(reader.manifest) == list(VALUES)
        with pytest.raises(ChecksumError, match=r"`model\.weights\.h5` in .*m\.keras"):
            reader.read("first/kernel")
        with pytest.raises(ChecksumError):
            reader.read("top/kernel")


def test_links_out_of_the_weights_are_not_followed(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(FormatError, match="not followed"):
        KerasArchiveReader(archive(tmp_path / "m.keras", {"model.weights.h5": stream.getvalue()}))


# Writing


def write(path: Path, tensors: Mapping[str, np.ndarray], config: str | None) -> None:
    with KerasArchiveWriter(path, specs_of(tensors), config=config) as writer:
        for name, array in tensors.items():
            writer.write(name, array)


def test_layout_is_that_of_keras(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    shuffled = {name: VALUES[name] for name in ("top/kernel", "second/kernel", "first/kernel")}
    write(path, shuffled, config_text())
    with zipfile.ZipFile(path) as file:
        assert file.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert file.read("config.json").decode() == config_text()
        assert json.loads(file.read("metadata.json")).keys() == json.loads(METADATA).keys()
        weights = h5py.File(io.BytesIO(file.read("model.weights.h5")))
    for place, name in LAYERS.items():
        # By the order of the description, whatever that of the tensors.
        assert_same_bits(weights[f"layers/{place}/vars/0"][()], VALUES[f"{name}/kernel"])
    check_values(path)


def test_a_description_is_needed(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="whole model") as caught:
        open_writer(tmp_path / "m.keras", specs_of(VALUES))
    assert caught.value.hint is not None and ".weights.h5" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("config", ["", "[]", "{"])
def test_a_description_that_is_none(tmp_path: Path, config: str) -> None:
    with pytest.raises(OptionError, match="describes no model"):
        KerasArchiveWriter(tmp_path / "m.keras", specs_of(VALUES), config=config)
    assert list(tmp_path.iterdir()) == []


def test_layers_of_one_side_only(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no layers for some tensors") as caught:
        write(tmp_path / "m.keras", {**VALUES, "extra/kernel": VALUES["top/kernel"]}, config_text())
    assert "`extra`" in str(caught.value)
    fewer = {name: value for name, value in VALUES.items() if name != "second/kernel"}
    with pytest.raises(FormatError, match="have no tensors") as caught:
        write(tmp_path / "m.keras", fewer, config_text())
    assert "`second`" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# Against Keras itself


@pytest.mark.tf
def test_reads_what_keras_writes(tmp_path: Path) -> None:
    model = fill_randomly(small_model())
    model.save(tmp_path / "m.keras")
    expected = values_by_name(model)
    with open_reader(tmp_path / "m.keras") as reader:
        assert isinstance(reader, KerasArchiveReader)
        assert reader.producer == f"keras {__import__('keras').__version__}"
        got = {name.replace("no_center/beta", "no_center/gamma"): reader.read(name) for name in reader.manifest}
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert_same_bits(got[name], value)


LOAD = """
import sys
import numpy as np
import keras
model = keras.saving.load_model(sys.argv[1])
images = np.load(sys.argv[2])
np.save(sys.argv[3], model.predict(images, verbose=0))
assert "resport" not in sys.modules
"""


@pytest.mark.tf
def test_keras_opens_what_we_write_without_us(tmp_path: Path) -> None:
    model = fill_randomly(small_model())
    write(tmp_path / "m.keras", values_by_name(model), model.to_json())
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "load.py").write_text(LOAD)
    arguments = [str(tmp_path / name) for name in ("load.py", "m.keras", "images.npy", "out.npy")]
    subprocess.run([sys.executable, *arguments], check=True, cwd=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), model.predict(images, verbose=0))
    with KerasArchiveReader(tmp_path / "m.keras") as reader:
        assert reader.manifest.keys() == values_by_name(model).keys()


@pytest.mark.tf
def test_nested_and_trained_models_of_keras(tmp_path: Path) -> None:
    import keras

    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")], name="inner")
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(2, name="top")(
        keras.layers.Dropout(0.5, name="drop")(inner(inner(inputs)[:, :1] * inputs))
    )
    model = fill_randomly(keras.Model(inputs, outputs, name="outer"))
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    model.save(tmp_path / "m.keras")
    expected = {variable.path: np.asarray(variable) for variable in model.variables}
    with open_reader(tmp_path / "m.keras") as reader:
        extra = {name for name in reader.manifest if name.startswith("optimizer/")}
        assert len(extra) == len(model.optimizer.variables)
        assert "top/kernel" in expected and "inner/d/kernel" in expected
        for name, value in expected.items():
            if "seed_generator" not in name:
                assert_same_bits(reader.read(name), value)
        seeds = set(reader.manifest) - extra - expected.keys()
        assert all("seed_generator" in name for name in seeds)


@pytest.mark.tf
def test_reads_what_keras_2_writes(tmp_path: Path) -> None:
    import tf_keras

    inner = tf_keras.Sequential(
        [tf_keras.layers.Input((8, 8, 3)), tf_keras.layers.Conv2D(4, 3, name="c")], name="inner"
    )
    inputs = tf_keras.layers.Input((8, 8, 3))
    net = tf_keras.layers.BatchNormalization(name="bn")(inner(inputs))
    net = tf_keras.layers.Conv2D(2, 1, name="zz")(tf_keras.layers.Conv2D(4, 1, name="aa")(net))
    model = tf_keras.Model(inputs, tf_keras.layers.Flatten()(net))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=value.shape) for value in model.get_weights()])
    expected = {
        f"{layer.name}/{weight.name.removesuffix(':0')}" if layer is inner else weight.name.removesuffix(":0"): weight
        for layer in model.layers
        for weight in layer.weights
    }
    assert {"inner/c/kernel", "bn/gamma", "zz/bias"} <= expected.keys()
    model.save(tmp_path / "m.keras")
    with open_reader(tmp_path / "m.keras") as reader:
        assert isinstance(reader, KerasArchiveReader)
        assert reader.manifest.keys() == expected.keys()
        for name, weight in expected.items():
            assert_same_bits(reader.read(name), weight.numpy())
