"""Frozen graphs: which constants are weights, values of any kind, damage; TensorFlow's own freezing as oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resport.errors import FormatError, OptionError, UnknownFormatError
from resport.formats import format_of_source, open_reader, open_writer
from resport.formats.frozen_graph import FrozenGraphReader
from resport.formats.graph_def import begins_like_graph
from resport.formats.message_file import MessageFile
from resport.formats.protobuf import bytes_field, varint_field
from resport.formats.tensor_proto import encode_values, value_field
from resport.mapping.roles import role_of
from tests.contracts import assert_same_bits, open_files, peak_bytes, random_array

FLOAT, INT32, STRING = 1, 3, 7


def node(name: str, op: str, *inputs: str, value: bytes | None = None) -> bytes:
    attributes = [bytes_field(1, b"dtype") + bytes_field(2, varint_field(6, FLOAT))]
    if value is not None:
        attributes.append(bytes_field(1, b"value") + bytes_field(2, bytes_field(8, value)))
    return (
        bytes_field(1, name.encode())
        + bytes_field(2, op.encode())
        + b"".join(bytes_field(3, source.encode()) for source in inputs)
        + b"".join(bytes_field(5, attribute) for attribute in attributes)
    )


def tensor(array: np.ndarray, dtype: int = FLOAT) -> bytes:
    dims = b"".join(bytes_field(2, varint_field(1, size)) for size in array.shape)
    return varint_field(1, dtype) + bytes_field(2, dims) + bytes_field(4, array.tobytes())


def graph(*nodes: bytes, functions: bytes = b"") -> bytes:
    library = bytes_field(2, functions) if functions else b""
    return b"".join(bytes_field(1, each) for each in nodes) + library + bytes_field(4, varint_field(1, 24))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


KERNEL, BIAS = random_array("float32", (3, 3, 2, 4)), random_array("float32", (4,))
SHAPE = np.array([1, -1], "int32")


def small_graph() -> bytes:
    return graph(
        node("input", "Placeholder"),
        node("conv/weights", "Const", value=tensor(KERNEL)),
        node("conv/weights/read", "Identity", "conv/weights"),
        node("conv/Conv2D", "Conv2D", "input", "conv/weights/read", "^input"),
        node("conv/biases", "Const", value=tensor(BIAS)),
        node("conv/BiasAdd", "BiasAdd", "conv/Conv2D:0", "conv/biases"),
        node("Reshape/shape", "Const", value=tensor(SHAPE, INT32)),
        node("Reshape", "Reshape", "conv/BiasAdd", "Reshape/shape"),
    )


def test_names_values_and_roles(tmp_path: Path) -> None:
    with open_reader(write(tmp_path / "m.pb", small_graph())) as reader:
        assert (reader.format, reader.producer) == ("frozen-graph", "tensorflow, graph version 24")
        assert reader.files == (str(tmp_path / "m.pb"),)
        assert list(reader.manifest) == ["conv/weights", "conv/biases", "const:Reshape/shape"]
        assert [role_of(spec) for spec in reader.manifest.values()] == ["weight", "weight", "constant"]
        for name, array in zip(reader.manifest, (KERNEL, BIAS, SHAPE), strict=True):
            read = reader.read(name)
            assert_same_bits(read, array)
            assert read.base is None and read.flags.writeable
        with pytest.raises(KeyError):
            reader.read("Reshape/shape")
    with pytest.raises(OptionError, match="closed"):
        reader.read("conv/biases")
    assert not any(str(tmp_path) in name for name in open_files())


@pytest.mark.parametrize(
    ("nodes", "is_weight"),
    [
        ([node("y", "Conv2D", "x", "c")], True),
        ([node("y", "Conv2D", "c", "x")], False),
        ([node("y", "Conv2D", "x", "^c")], False),
        ([node("i", "Identity", "c"), node("j", "Enter", "i"), node("y", "MatMul", "x", "j")], True),
        ([node("s", "Switch", "c:0", "p"), node("y", "FusedBatchNormV3", "x", "s:1", "o", "m", "v")], True),
        ([node("s", "Switch", "p", "c"), node("y", "Mul", "x", "s:1")], False),
        ([node("y", "Cast", "c"), node("z", "AddV2", "y", "x")], True),
        ([node("c/read", "Identity", "c")], True),
        ([node("d/read", "Identity", "c")], False),
        ([node("y", "GatherV2", "c", "i", "a")], True),
        ([node("y", "StatefulPartitionedCall", "x", "c")], True),
        ([node("y", "Pad", "x", "c")], False),
        ([], False),
    ],
)
def test_what_is_a_weight(tmp_path: Path, nodes: list[bytes], is_weight: bool) -> None:
    content = graph(node("c", "Const", value=tensor(BIAS)), *nodes)
    for order in (content, graph(*nodes, node("c", "Const", value=tensor(BIAS)))):
        with FrozenGraphReader(str(write(tmp_path / "m.pb", order))) as reader:
            assert list(reader.manifest) == ["c" if is_weight else "const:c"]


@pytest.mark.parametrize(
    ("name", "value", "is_weight"),
    [
        ("bn/Const", "one", False),
        ("Const_12", "one", False),
        ("bn/Const", "all", True),
        ("bn/gamma", "one", True),
        ("bn/NoConst", "one", True),
    ],
)
def test_a_batch_norm_without_gamma_has_ones_for_it(tmp_path: Path, name: str, value: str, is_weight: bool) -> None:
    ones = np.ones(16, np.float32)
    one = tensor(ones)[: -len(bytes_field(4, ones.tobytes()))] + bytes_field(5, ones[:1].tobytes())
    content = graph(
        node(name, "Const", value=one if value == "one" else tensor(ones)),
        node("y", "FusedBatchNormV3", "x", name, "o", "m", "v"),
    )
    with FrozenGraphReader(str(write(tmp_path / "m.pb", content))) as reader:
        assert list(reader.manifest) == [name if is_weight else f"const:{name}"]
        assert_same_bits(reader.read(next(iter(reader.manifest))), ones)


@pytest.mark.parametrize("op", ["Mul", "AddV2", "GatherV2", "Sub"])
def test_arithmetic_with_shapes_and_scalars(tmp_path: Path, op: str) -> None:
    content = graph(
        node("shape", "Const", value=tensor(SHAPE, INT32)),
        node("epsilon", "Const", value=tensor(np.float32(1e-3).reshape(()))),
        node("y", op, "x", "shape"),
        node("z", op, "x", "epsilon"),
    )
    with FrozenGraphReader(str(write(tmp_path / "m.pb", content))) as reader:
        assert list(reader.manifest) == ["const:shape", "const:epsilon"]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float16"])
def test_weights_that_were_quantised_by_hand(tmp_path: Path, dtype: str) -> None:
    kernel = random_array(dtype, (3, 3, 2, 4))
    stored = tensor(kernel, {"int8": 6, "uint8": 4, "float16": 19}[dtype])
    content = graph(node("w", "Const", value=stored), node("f", "Cast", "w"), node("y", "Mul", "f", "scale"))
    with FrozenGraphReader(str(write(tmp_path / "m.pb", content))) as reader:
        assert list(reader.manifest) == ["w"]
        assert_same_bits(reader.read("w"), kernel)


def test_circles_and_long_chains_end(tmp_path: Path) -> None:
    chain = [node(f"i{n}", "Identity", f"i{n - 1}" if n else "c") for n in range(20_000)]
    content = graph(
        node("c", "Const", value=tensor(BIAS)),
        *chain,
        *[node(f"m{n}", "MatMul", "x", f"i{n}") for n in range(0, 20_000, 5)],
        node("a", "Identity", "b"),
        node("b", "Identity", "a"),
        node("y", "MatMul", "a", "b"),
    )
    with FrozenGraphReader(str(write(tmp_path / "m.pb", content))) as reader:
        assert list(reader.manifest) == ["c"]


def test_functions_of_the_library(tmp_path: Path) -> None:
    body = node("w", "Const", value=tensor(KERNEL)), node("y", "Conv2D", "x", "w:output:0")
    function = bytes_field(1, bytes_field(1, b"f")) + b"".join(bytes_field(3, each) for each in body)
    content = graph(node("w", "Const", value=tensor(BIAS)), functions=bytes_field(1, function))
    with FrozenGraphReader(str(write(tmp_path / "m.pb", content))) as reader:
        assert list(reader.manifest) == ["const:w", "f/w"]
        assert_same_bits(reader.read("f/w"), KERNEL)


def test_values_of_every_kind(tmp_path: Path) -> None:
    half = random_array("float16", (5,))
    packed = b"".join(bytes(piece) for piece in encode_values(half, "float16"))
    content = graph(
        node(
            "half",
            "Const",
            value=varint_field(1, 19)
            + bytes_field(2, bytes_field(2, b"\x08\x05"))
            + bytes_field(value_field("float16"), packed),
        ),
        node(
            "filled",
            "Const",
            value=varint_field(1, 1) + bytes_field(2, bytes_field(2, b"\x08\x05")) + b"\x2d\0\0\x80\x3f",
        ),
        node("text", "Const", value=varint_field(1, STRING) + bytes_field(2, b"") + bytes_field(8, b"hello")),
        node("y", "MatMul", "half", "filled"),
    )
    with FrozenGraphReader(str(write(tmp_path / "m.pb", content))) as reader:
        assert list(reader.manifest) == ["half", "filled", "const:text"]
        assert_same_bits(reader.read("half"), half)
        assert_same_bits(reader.read("filled"), np.ones(5, "float32"))
        assert reader.read("const:text").item() == b"hello"


def test_listing_reads_no_values(tmp_path: Path) -> None:
    big = random_array("float32", (4_000_000,))
    content = graph(
        node("b", "Const", value=tensor(BIAS)), node("w", "Const", value=tensor(big)), node("y", "Mul", "b", "w")
    )
    path = write(tmp_path / "m.pb", content)
    with peak_bytes() as peak, FrozenGraphReader(str(path)) as reader:
        assert list(reader.manifest) == ["b", "w"]
    assert peak[0] < 2 << 20
    with peak_bytes() as peak, FrozenGraphReader(str(path)) as reader:
        read = reader.read("w")
    assert peak[0] < 2.5 * big.nbytes
    assert_same_bits(read, big)


# What is no graph, and damaged ones


@pytest.mark.parametrize(
    ("content", "is_graph"),
    [
        (small_graph(), True),
        (small_graph()[:40], True),
        (b"", False),
        (bytes_field(4, b"\x08\x18"), False),
        (bytes_field(1, b"ResNet-50"), False),  # a network of Caffe begins with its name
        (bytes_field(1, bytes_field(1, b"a b") + bytes_field(2, b"Const")), False),
        (bytes_field(1, bytes_field(1, b"a")), False),
        (b"\x08\x01" + bytes_field(2, b""), False),
    ],
)
def test_told_by_its_first_node(tmp_path: Path, content: bytes, is_graph: bool) -> None:
    assert begins_like_graph(content) == is_graph
    path = write(tmp_path / "graph", content)
    if is_graph:
        assert format_of_source(path)[0].id == "frozen-graph"
    else:
        with pytest.raises(UnknownFormatError):
            open_reader(path)


def test_a_graph_as_text(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormatError) as caught:
        open_reader(write(tmp_path / "m.pbtxt", b'node {\n  name: "x"\n}'))
    assert "as_text=False" in (caught.value.hint or "")


def test_it_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="only read"):
        open_writer(tmp_path / "m.pb", [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "without constants"),
        (graph(node("x", "Placeholder")), "without constants"),
        (graph(node("x", "Const")), "has no value"),
        (graph(node("x", "Placeholder"), node("x", "Placeholder")), "one name"),
        (graph(node("x", "Const", value=tensor(BIAS)), node("", "NoOp")), "no name"),
        (graph(node("x", "Const", value=tensor(BIAS, 99))), "dtype is unknown"),
        (graph(node("x", "Const", value=varint_field(1, 1) + bytes_field(2, varint_field(3, 1)))), "rank is unknown"),
        (
            graph(
                node("f/w", "Const", value=tensor(BIAS)),
                functions=bytes_field(
                    1, bytes_field(1, bytes_field(1, b"f")) + bytes_field(3, node("w", "Const", value=tensor(BIAS)))
                ),
            ),
            "const:f/w",
        ),
    ],
)
def test_damaged_graphs(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "m.pb", content)
    with pytest.raises(FormatError, match=message) as caught:
        open_reader(path)
    assert caught.value.path == str(path)
    assert not any(str(tmp_path) in name for name in open_files())


def test_two_shapes(tmp_path: Path) -> None:
    value = tensor(BIAS) + bytes_field(2, bytes_field(2, b"\x08\x02"))
    with FrozenGraphReader(str(write(tmp_path / "m.pb", graph(node("c", "Const", value=value))))) as reader:
        with pytest.raises(FormatError, match=r"`c`.*two shapes"):
            reader.read("const:c")


def test_more_nodes_than_any_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resport.formats.graph_def.GRAPH_MAX_NODES", 10)
    body = b"".join(bytes_field(3, node(f"n{n}", "NoOp")) for n in range(11))
    for content in (
        graph(*[node(f"n{n}", "NoOp") for n in range(11)]),
        graph(node("x", "NoOp"), functions=bytes_field(1, body)),
        graph(node("x", "NoOp"), functions=bytes_field(1, body + b"\x1a\x05")),
        graph(node("x", "NoOp"), functions=bytes_field(1, b"") * 11),
    ):
        with pytest.raises(FormatError, match="more nodes"):
            FrozenGraphReader(str(write(tmp_path / "m.pb", content)))


def test_every_offset_and_byte(tmp_path: Path) -> None:
    content = small_graph()
    cases = [content[:at] for at in range(len(content))]
    cases += [
        content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
        for at in range(len(content))
        for bit in (1, 2, 128)
    ]
    path = tmp_path / "m.pb"
    n_errors = 0
    with peak_bytes() as peak:
        for case in cases:
            path.write_bytes(case)
            try:
                with open_reader(path) as reader:
                    for name in reader.manifest:
                        reader.read(name)
            except FormatError as error:
                assert str(path) in str(error)
                n_errors += 1
    assert n_errors > len(content)
    assert peak[0] < 64 << 20
    assert not any(str(tmp_path) in name for name in open_files())


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    big = random_array("float32", (100_000,))
    path = write(tmp_path / "m.pb", graph(node("c", "Const", value=tensor(big))))
    with FrozenGraphReader(str(path)) as reader:
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(FormatError, match="shorter"):
            reader.read("const:c")


def test_fields_across_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = graph(
        *[node(f"node_{n}", "Const", value=tensor(random_array("float32", (n % 7,), n))) for n in range(300)]
    )
    path = str(write(tmp_path / "m.pb", content))
    with FrozenGraphReader(path) as reader:
        expected = {name: reader.read(name).tobytes() for name in reader.manifest}
    for window in (20, 21, 64, 1000):
        monkeypatch.setattr("resport.formats.message_file.MESSAGE_WINDOW_BYTES", window)
        with FrozenGraphReader(path) as reader:
            assert {name: reader.read(name).tobytes() for name in reader.manifest} == expected
    assert expected[f"const:node_{6}"] == random_array("float32", (6,), 6).tobytes()


def test_places_of_fields(tmp_path: Path) -> None:
    content = varint_field(1, 300) + bytes_field(2, b"abc") + b"\x1d\x01\0\0\0" + b"\x21\x02" + bytes(7)
    with MessageFile(str(write(tmp_path / "m", content))) as file:
        places = list(file.fields(0, file.n_bytes))
        assert [(place.number, place.wire_type, place.value) for place in places] == [
            (1, 0, 300),
            (2, 2, 0),
            (3, 5, 1),
            (4, 1, 2),
        ]
        assert file.read_text(places[1]) == "abc"
        for read in (file.read, file.inner):
            with pytest.raises(FormatError, match="wrong type"):
                read(places[0])
        with pytest.raises(FormatError, match="number 0"):
            list(MessageFile(str(write(tmp_path / "zero", b"\x08\x01\x02\x00"))).fields(0, 4))
        for start in range(1, len(content)):
            if start not in {place.end for place in places}:
                with pytest.raises(FormatError) as caught:
                    list(file.fields(0, start))
                assert caught.value.offset is not None and caught.value.offset < start


# TensorFlow


@pytest.mark.tf
@pytest.mark.parametrize("use_resource", [False, True])
def test_frozen_by_tensorflow(tmp_path: Path, use_resource: bool) -> None:
    import tensorflow as tf

    from resport.architectures.slim_compat import import_slim

    slim = import_slim()
    v1 = tf.compat.v1
    with tf.Graph().as_default() as built, v1.Session() as session:
        with v1.variable_scope("InceptionResnetV1", use_resource=use_resource):
            # Old variables and tf_slim's batch norm no longer train together.
            output = build(v1, slim, v1.placeholder("bool", (), name="phase_train") if use_resource else False)
        variables = v1.global_variables()
        rng = np.random.default_rng(0)
        for variable in variables:
            variable.load(rng.normal(size=variable.shape).astype(variable.dtype.base_dtype.as_numpy_dtype), session)
        values = dict(zip([variable.op.name for variable in variables], session.run(variables), strict=True))
        frozen = v1.graph_util.convert_variables_to_constants(session, built.as_graph_def(), [output.op.name])
    path = write(tmp_path / "m.pb", frozen.SerializeToString())
    with open_reader(path) as reader:
        consts = {each.name: each for each in frozen.node if each.op == "Const"}
        inner = {
            f"{function.signature.name}/{each.name}": each
            for function in frozen.library.function
            for each in function.node_def
            if each.op == "Const"
        }
        names = {name.removeprefix("const:"): name for name in reader.manifest}
        assert sorted(names) == sorted([*consts, *inner])
        assert bool(inner) == use_resource
        for name, each in (consts | inner).items():
            assert_same_bits(reader.read(names[name]), tf.make_ndarray(each.attr["value"].tensor))
        if not inner:  # of a graph with functions, what TensorFlow's freezing makes does not run
            for name, expected in run_all(frozen, list(consts)).items():
                assert_same_bits(reader.read(names[name]), expected)
        weights = {name for name, spec in reader.manifest.items() if role_of(spec) in {"weight", "statistic"}}
        assert weights == set(values)
        for name, value in values.items():
            assert_same_bits(reader.read(name), value)
        assert reader.producer == f"tensorflow, graph version {frozen.versions.producer}"


def run_all(graph_def: Any, names: list[str]) -> dict[str, np.ndarray]:
    """The values that nodes of a graph have when it runs."""
    import tensorflow as tf

    with tf.Graph().as_default() as imported, tf.compat.v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        values = session.run([imported.get_tensor_by_name(f"{name}:0") for name in names])
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}


def build(v1: Any, slim: Any, is_training: Any) -> Any:
    """A convolution with fused batch norm, one with batch norm of parts, a dropout, and a fully connected layer."""
    images = v1.placeholder("float32", (2, 8, 8, 3), name="input")
    batch_norm = {"is_training": is_training, "scale": True}
    with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params=batch_norm):
        net = slim.conv2d(images, 4, 3, scope="Conv2d_1a_3x3")
        net = slim.conv2d(net, 5, 1, scope="Conv2d_2", normalizer_params={**batch_norm, "fused": False})
    net = slim.flatten(slim.max_pool2d(net, 2))
    return slim.fully_connected(slim.dropout(net, is_training=is_training), 6, activation_fn=None, scope="Bottleneck")
