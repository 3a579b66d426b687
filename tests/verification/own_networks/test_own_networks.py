"""Networks outside of all families: functions, Keras models, SavedModels and processes beside each other."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resport
from resport.errors import OptionError, ParityError
from resport.tensors import random_tensor
from resport.verification import CallableSide, KerasModelSide, ProcessSide, SavedModelSide
from resport.verification.own_networks.verification import as_side
from tests.tiny import keras_values, slim_values, write_table, write_values

Weights = Mapping[str, np.ndarray]


def weights(seed: int = 0) -> Weights:
    shapes = {"first": (3, 8), "second": (8, 8), "last": (8, 5)}
    return {name: random_tensor(f"{name}/kernel", shape, seed) for name, shape in shapes.items()}


def network(
    values: Weights, dtype: str | None = None, edit: Callable[[np.ndarray], np.ndarray] = lambda x: x
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A network in numpy: 1x1 convolutions, a residual, the mean; in the dtype of its images where none is given."""

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        kernels = {name: value.astype(dtype or images.dtype) for name, value in values.items()}
        first = np.maximum(images.astype(dtype or images.dtype) @ kernels["first"], 0)
        second = edit(first + np.maximum(first @ kernels["second"], 0))
        return {"first": first, "second": second, "logits": second.mean(axis=(1, 2)) @ kernels["last"]}

    return run


BOTH = ("float64", "float32")


def test_two_functions_in_float64() -> None:
    # The same sum in another order: one function, other roundings.
    other = network({name: value[:, ::-1][:, ::-1] for name, value in weights().items()})
    report = resport.verify_networks(CallableSide(network(weights()), BOTH), CallableSide(other, BOTH, label="other"))
    assert report.verdict == "equal"
    assert report.forward is not None and report.forward.limit == 1e-9
    assert [point.name for point in report.forward.float64] == ["first", "second", "logits"] * 2
    assert report.forward.input_sizes == (64, 65)
    assert report.weights_reason == "no checkpoints were given"
    assert (report.source.format, report.target.path) == ("function", "other")
    report.raise_for_difference()


def test_the_first_difference_is_found_and_float64_sees_what_float32_cannot() -> None:
    wrong = network(weights(), edit=lambda value: value * (1 + 1e-8))
    report = resport.verify_networks(CallableSide(network(weights()), BOTH), CallableSide(wrong, BOTH))
    assert report.verdict == "different"
    assert report.forward is not None and report.forward.first_divergence is not None
    assert report.forward.first_divergence.name == "second"
    with pytest.raises(ParityError, match="second"):
        report.raise_for_difference()


@pytest.mark.parametrize("dtypes", [(BOTH, ("float32",)), (("float32",), BOTH), (("float32",), ("float32",))])
def test_float32_alone_is_judged_by_the_measured_noise(dtypes: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    def verify(edit: Callable[[np.ndarray], np.ndarray]) -> Any:
        source, target = network(weights()), network(weights(), edit=edit)
        return resport.verify_networks(CallableSide(source, dtypes[0]), CallableSide(target, dtypes[1]))

    # The sum over channels in another order, and the same with one channel a little too large.
    honest = verify(lambda value: (value.astype(np.float64) * 3 / 3).astype(value.dtype))
    assert honest.verdict == "equal"
    forward = honest.forward
    assert forward.float64 == () and "float32" in forward.limit_reason
    assert 0 < forward.noise_floor < 1e-5
    wrong = verify(lambda value: value * np.where(np.arange(8) == 3, np.float32(1.001), np.float32(1)))
    assert wrong.verdict == "different"
    assert wrong.forward.first_divergence.name == "second"
    with pytest.raises(ParityError, match="second"):
        wrong.raise_for_difference()
    assert wrong.to_dict()["forward"]["float64"]["limit"] is None


def test_plain_arrays_names_that_differ_and_images_of_ones_own() -> None:
    images = np.random.default_rng(1).normal(size=(3, 5, 7, 3)).astype(np.float32)
    source = network(weights())

    def renamed(images: np.ndarray) -> dict[str, np.ndarray]:
        return {f"net/{name}": value for name, value in source(images).items()}

    report = resport.verify_networks(source, renamed, images=images, end_points={"second": "net/second"})
    assert report.forward is not None
    assert [point.name for point in report.forward.float32] == ["second"]
    assert report.forward.batch_size == 3 and report.forward.input_sizes == (5,)

    def logits(images: np.ndarray) -> np.ndarray:
        return source(images)["logits"]

    report = resport.verify_networks(logits, logits, images=[images, images[:, 1:]])
    assert report.verdict == "equal"
    assert report.forward is not None
    assert [(point.name, point.input_size) for point in report.forward.float32] == [("output", 5), ("output", 4)]


def test_an_end_point_of_another_shape_is_a_difference_that_is_said() -> None:
    source = network(weights())
    report = resport.verify_networks(
        source, lambda images: source(images) | {"logits": source(images)["logits"][:, :4]}
    )
    assert report.verdict == "different"
    assert report.forward is not None and report.forward.first_divergence is not None
    assert report.forward.first_divergence.name == "logits"
    assert report.notes == ("`logits` is (2, 5) in the source and (2, 4) in the target",)


def test_what_cannot_be_compared_is_said() -> None:
    source = network(weights())
    with pytest.raises(OptionError, match="share no end point") as caught:
        resport.verify_networks(source, lambda images: {"other": source(images)["logits"]})
    assert "first, second, logits" in str(caught.value) and "other" in str(caught.value)
    with pytest.raises(OptionError, match="no end point `nowhere`"):
        resport.verify_networks(source, source, end_points={"first": "nowhere"})
    with pytest.raises(OptionError, match="not computed in float64"):
        resport.verify_networks(CallableSide(source, BOTH), CallableSide(network(weights(), "float32"), BOTH))
    with pytest.raises(OptionError, match="gave no end points"):
        resport.verify_networks(source, lambda images: {})
    with pytest.raises(OptionError, match="no network"):
        resport.verify_networks(source, 7)
    with pytest.raises(OptionError, match="no folder of a SavedModel"):
        resport.verify_networks("model.keras", source)
    with pytest.raises(OptionError, match="no images"):
        resport.verify_networks(source, source, images=[])


def test_checkpoints_with_ones_own_table_are_compared_too(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    slim = slim_values()
    source = write_values(tmp_path / "slim.safetensors", slim)
    net = network(weights())

    def verify(name: str, keras: dict[str, np.ndarray]) -> Any:
        target = write_values(tmp_path / name, keras)
        return resport.verify_networks(net, net, source_checkpoint=source, target_checkpoint=target, table=table)

    report = verify("right.h5", keras_values(slim))
    assert (report.verdict, report.weights.equal, report.weights_reason) == ("equal", 14, None)
    wrong = keras_values(slim) | {"conv2_bn/gamma": slim["tiny_2/block1/conv/BatchNorm/beta"]}
    report = verify("wrong.h5", wrong)
    assert report.verdict == "different"
    assert [each.name for each in report.weights.differences] == ["conv2_bn/gamma"]
    with pytest.raises(OptionError, match="both checkpoints"):
        resport.verify_networks(net, net, source_checkpoint=source)


STAND_IN = textwrap.dedent("""
    import sys
    import numpy as np
    outputs = {}
    for name, images in np.load(sys.argv[-2]).items():
        kernel = np.linspace(-1, 1, 24).reshape(3, 8).astype(images.dtype)
        outputs[f"{name}/z"] = np.maximum(images @ kernel, 0)
        outputs[f"{name}/a"] = outputs[f"{name}/z"].mean(axis=(1, 2), keepdims=True) * float(sys.argv[1])
    np.savez(sys.argv[-1], **outputs)
""")


def same_as_stand_in(images: np.ndarray) -> dict[str, np.ndarray]:
    z = np.maximum(images @ np.linspace(-1, 1, 24).reshape(3, 8).astype(images.dtype), 0)
    return {"z": z, "a": z.mean(axis=(1, 2))}


def test_a_process_of_its_own(tmp_path: Path) -> None:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    reference = CallableSide(same_as_stand_in, BOTH)

    def verify(factor: str) -> Any:
        return resport.verify_networks(reference, ProcessSide([sys.executable, str(script), factor], BOTH))

    report = verify("1")
    assert report.verdict == "equal"
    # In the order in which they were written, and without the axes of a 1x1 map.
    (outputs,) = ProcessSide([sys.executable, str(script), "1"]).run("float32", [np.ones((2, 3, 3, 3), np.float32)])
    assert [(name, array.shape) for name, array in outputs.items()] == [("z", (2, 3, 3, 8)), ("a", (2, 8))]
    assert [(point.name, point.input_size) for point in report.forward.float64] == [
        ("z", 64),
        ("a", 64),
        ("z", 65),
        ("a", 65),
    ]
    assert verify("1.00001").forward.first_divergence.name == "a"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('no such weights')", "ended with status 1"),
        ("pass", "wrote no end points"),
        ("import sys, numpy; numpy.savez(sys.argv[2], other=numpy.zeros(3, 'f'))", "no end points of batch 0"),
        ("import sys, numpy; numpy.savez(sys.argv[2], **{'0/a': numpy.zeros(3)})", "not computed in float32"),
        ("import time; time.sleep(60)", "took more than 2 seconds"),
    ],
)
def test_a_process_that_fails_is_said(code: str, message: str) -> None:
    # The others have all the time that a busy machine takes to start Python.
    side = ProcessSide([sys.executable, "-c", code], timeout_seconds=2 if "sleep" in code else 600)
    with pytest.raises(OptionError, match=message) as caught:
        side.run("float32", [np.zeros((1, 2, 2, 3), np.float32)])
    assert "no such weights" in str(caught.value) or "status" not in message


def test_a_process_that_is_not_there_or_writes_pickles(tmp_path: Path) -> None:
    images = [np.zeros((1, 2, 2, 3), np.float32)]
    with pytest.raises(OptionError, match="cannot be run"):
        ProcessSide([str(tmp_path / "nothing")]).run("float32", images)
    code = "import sys, numpy; numpy.savez(sys.argv[2], **{'0/a': numpy.array([{}], object)})"
    with pytest.raises(resport.ResportError, match=r"object|pickle"):
        ProcessSide([sys.executable, "-c", code]).run("float32", images)


def keras_pair() -> tuple[Any, Any]:
    """Two models that compute the same: a functional one with a residual, and the same with the batch norm by hand."""
    import keras

    layers = keras.layers

    def build(name: str, padding: str) -> Any:
        inputs = layers.Input((None, None, 3), name=f"{name}_in")
        value = layers.Conv2D(6, 3, padding="same", name="conv1")(inputs)
        value = layers.BatchNormalization(epsilon=1e-3, name="bn1")(value)
        value = layers.ReLU(name="relu1")(value)
        value = layers.MaxPooling2D(3, 2, padding=padding, name="pool1")(value)
        value = layers.Add(name="add")([value, layers.Conv2D(6, 1, name="conv2")(value)])
        value = layers.GlobalAveragePooling2D(name="mean")(value)
        return keras.Model(inputs, layers.Dense(4, name="predictions")(value), name=name)

    one, other = build("one", "same"), build("other", "same")
    values = [
        random_tensor(f"{index}/{variable.name}", tuple(variable.shape), 5)
        for index, variable in enumerate(one.weights)
    ]
    one.set_weights(values)
    other.set_weights(values)
    return one, other


@pytest.mark.tf
def test_two_keras_models_are_compared_layer_by_layer_in_float64() -> None:
    one, other = keras_pair()
    report = resport.verify_networks(one, other)
    assert report.verdict == "equal"
    assert report.forward is not None
    assert max(point.max_rel_diff for point in report.forward.float64) <= 1e-12
    assert {"conv1", "bn1", "relu1", "pool1", "conv2", "add", "mean", "predictions", "output"} == {
        point.name for point in report.forward.float64
    }
    # The models are as they were: a copy was run.
    assert {layer.compute_dtype for layer in one.layers} == {"float32"}
    other.get_layer("bn1").epsilon = 1.001e-3
    report = resport.verify_networks(one, other)
    assert report.forward is not None and report.forward.first_divergence is not None
    assert (report.verdict, report.forward.first_divergence.name) == ("different", "bn1")


@pytest.mark.tf
def test_keras_float64_is_that_of_numpy_and_reaches_models_inside_models() -> None:
    import keras

    one, _ = keras_pair()
    outer = keras.Sequential([keras.layers.Input((9, 9, 3)), one, keras.layers.Dense(3, name="top")])
    side = as_side(outer)
    assert isinstance(side, KerasModelSide) and side.dtypes == ("float64", "float32") and side.input_size == 9
    images = np.random.default_rng(2).normal(size=(2, 9, 9, 3)).astype(np.float32)
    ((exact), (rounded)) = side.run("float64", [images])[0], side.run("float32", [images])[0]
    assert exact["output"].dtype == np.float64 and rounded["output"].dtype == np.float32
    kernel, bias = (each.astype(np.float64) for each in outer.get_layer("top").get_weights())
    np.testing.assert_allclose(exact["top"], exact["one"] @ kernel + bias, rtol=1e-13)
    # Were the inner model computed in float32 and widened, its values would be float32's.
    assert (exact["one"] != exact["one"].astype(np.float32)).any()
    np.testing.assert_allclose(rounded["output"], outer(images).numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(exact["output"], rounded["output"], rtol=1e-4, atol=1e-5)


@pytest.mark.tf
def test_a_keras_model_that_cannot_be_copied_runs_in_float32() -> None:
    import keras

    one, _ = keras_pair()
    doubled = keras.Model(one.inputs, keras.layers.Lambda(lambda value: value * 2, name="twice")(one.outputs[0]))
    side = KerasModelSide(doubled, end_points=["conv1", "twice"], label="doubled")
    assert side.dtypes == ("float32",)
    report = resport.verify_networks(side, CallableSide(lambda images: one(images) * 2))
    assert report.verdict == "equal"
    assert report.forward is not None and [p.name for p in report.forward.float32][:1] == ["output"]
    assert list(side.run("float32", [np.zeros((1, 8, 8, 3), np.float32)])[0]) == ["conv1", "twice", "output"]
    with pytest.raises(OptionError, match="float32 alone"):
        side.run("float64", [np.zeros((1, 8, 8, 3))])
    with pytest.raises(OptionError, match="no layer `nowhere`"):
        KerasModelSide(one, end_points=["nowhere"])
    with pytest.raises(OptionError, match="no single input"):
        KerasModelSide(keras.Sequential([keras.layers.Dense(3)]))


@pytest.mark.tf
def test_a_saved_model_beside_the_keras_model_that_it_was(tmp_path: Path) -> None:
    one, _ = keras_pair()
    one.export(tmp_path / "saved", verbose=False)
    report = resport.verify_networks(tmp_path / "saved", one)
    assert report.verdict == "equal"
    assert report.forward is not None and report.forward.float64 == ()
    assert {point.name for point in report.forward.float32} == {"output"}
    assert report.forward.noise[0].what == "float64 against float32"
    one.get_layer("predictions").kernel.assign(one.get_layer("predictions").kernel * 1.001)
    assert resport.verify_networks(tmp_path / "saved", one).verdict == "different"
    with pytest.raises(OptionError, match="no signature `train`"):
        resport.verify_networks(SavedModelSide(tmp_path / "saved", signature="train"), one)
    with pytest.raises(OptionError, match="of TensorFlow 2"):
        resport.verify_networks(SavedModelSide(tmp_path / "saved", tensors={"a": "a:0"}), one)
    with pytest.raises(OptionError, match="is no SavedModel"):
        resport.verify_networks(SavedModelSide(tmp_path), one)


@pytest.mark.tf
def test_tensors_of_a_saved_model_of_tensorflow_1(tmp_path: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    kernel = random_tensor("kernel", (3, 3, 3, 4), 1).astype(np.float32)
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder("float32", (None, None, None, 3), name="images")
        variable = v1.get_variable("net/weights", initializer=kernel)
        value = tf.nn.relu(tf.nn.conv2d(images, variable, 1, "SAME"), name="net/relu")
        outputs = tf.reduce_mean(value, (1, 2), name="net/mean")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "v1"), {"images": images}, {"embedding": outputs})

    def same(images: np.ndarray) -> dict[str, np.ndarray]:
        value = tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME"))
        return {"relu": value, "mean": tf.reduce_mean(value, (1, 2)), "output": tf.reduce_mean(value, (1, 2))}

    named = SavedModelSide(tmp_path / "v1", tensors={"relu": "net/relu:0", "mean": "net/mean:0"})
    report = resport.verify_networks(named, same)
    assert report.verdict == "equal"
    assert report.forward is not None
    assert [point.name for point in report.forward.float32][:2] == ["relu", "mean"]
    report = resport.verify_networks(tmp_path / "v1", same)
    assert report.forward is not None and {point.name for point in report.forward.float32} == {"output"}
    with pytest.raises(OptionError, match="not all of the tensors"):
        resport.verify_networks(SavedModelSide(tmp_path / "v1", tensors={"x": "net/nowhere:0"}), same)


OWN_TABLE = """
family  = "own"
columns = ["slim", "keras", "axes"]

[variants]
own_1 = { b = 1 }

[[group]]
rows = [
  ["conv1/weights",        "conv1/kernel",       "conv 3 3 3 6"],
  ["conv1/biases",         "conv1/bias",         "bias 6"],
  ["conv1/BatchNorm/{bn}", "bn1/{bn}",           "vector 6"],
  ["conv2/weights",        "conv2/kernel",       "conv 1 1 6 6"],
  ["conv2/biases",         "conv2/bias",         "bias 6"],
  ["logits/weights",       "predictions/kernel", "head 6 classes"],
  ["logits/biases",        "predictions/bias",   "classes classes"],
]
"""
SLIM_NAMES = {
    "conv1/kernel": "conv1/weights",
    "conv1/bias": "conv1/biases",
    **{f"bn1/{word}": f"conv1/BatchNorm/{word}" for word in ("gamma", "beta", "moving_mean", "moving_variance")},
    "conv2/kernel": "conv2/weights",
    "conv2/bias": "conv2/biases",
    "predictions/kernel": "logits/weights",
    "predictions/bias": "logits/biases",
}


@pytest.mark.tf
def test_a_mistake_in_ones_own_model_is_diagnosed(tmp_path: Path) -> None:
    one, other = keras_pair()
    norm = other.get_layer("bn1")
    gamma, mean = norm.gamma.numpy(), norm.moving_mean.numpy()
    norm.gamma.assign(mean)
    norm.moving_mean.assign(gamma)

    def values(model: Any) -> dict[str, np.ndarray]:
        return {f"{layer.name}/{each.name}": each.numpy() for layer in model.layers for each in layer.weights}

    slim = {SLIM_NAMES[name]: value for name, value in values(one).items()}
    slim["logits/weights"] = slim["logits/weights"][None, None]
    table = tmp_path / "own.toml"
    table.write_text(OWN_TABLE)
    report = resport.verify_networks(
        CallableSide(lambda images: KerasModelSide(one).run(images.dtype.name, [images])[0], BOTH),
        other,
        input_sizes=(16, 17),
        source_checkpoint=write_values(tmp_path / "own.ckpt", slim),
        target_checkpoint=write_values(tmp_path / "own.safetensors", values(other)),
        table=table,
    )
    assert report.verdict == "different"
    assert {each.name for each in report.weights.differences} == {"bn1/gamma", "bn1/moving_mean"}
    assert report.forward is not None and report.forward.first_divergence is not None
    assert report.forward.first_divergence.name == "bn1"
    (finding,) = report.diagnosis
    assert finding.kinds == ("bn-gamma-mean",) and finding.after <= 1e-9 < finding.before
    assert "bn1" in finding.sentence
