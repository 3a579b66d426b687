"""facenet's network: names and shapes as its three implementations have them, training checkpoints, values both ways."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping

import numpy as np
import pytest

from resport.errors import PlanError
from resport.mapping import Expansion, PlanOptions, detect, expand, load_table, plan_conversion, shipped_tables
from resport.mapping.checking import known_specs
from resport.mapping.planning import plan_conversion as plan
from resport.tensors import Manifest, TensorSpec, random_tensor
from tests.mapping.manifest_files import MANIFESTS
from tests.mapping.toy import carried_out

VARIANT = "inception_resnet_v1"
HEAD = ("Logits/weights", "Logits/biases")
Shapes = dict[str, tuple[int, ...]]


def expansion() -> Expansion:
    return expand(load_table(VARIANT), VARIANT)


def specs(dialect: str, num_classes: int | None = None, embedding_size: int = 512) -> Manifest:
    """Specs of a checkpoint, without a classifier where there are no classes."""
    known = known_specs(expansion(), dialect, num_classes or 1, embedding_size)
    assert known is not None
    left_out = () if num_classes else ("logits.", "Logits/weights", "Logits/biases", "Logits/kernel", "Logits/bias")
    return Manifest(spec for name, spec in known.items() if not name.startswith(left_out or ("\0",)))


def slim_shapes(embedding_size: int) -> Shapes:
    lines = (MANIFESTS / f"facenet_160_{embedding_size}.txt").read_text(encoding="utf-8").splitlines()
    fields = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {name: tuple(ast.literal_eval(shape)) for name, shape, *_ in fields}


def keras_shapes() -> Shapes:
    lines = (MANIFESTS / "nyoki_keras_facenet.txt").read_text(encoding="utf-8").splitlines()
    weights = [pair for line in lines for pair in ast.literal_eval(line.split("\t")[3])]
    return {name.removesuffix(":0"): tuple(shape) for name, shape in weights}


def torch_shapes(file: str) -> Shapes:
    """The entries of a state dict that hold weights: counters of batches are no parameters."""
    lines = (MANIFESTS / file).read_text(encoding="utf-8").splitlines()
    fields = [line.split("\t") for line in lines if line and not line.startswith("#")]
    counters = [name for name, shape, dtype in fields if dtype == "torch.int64"]
    assert len(counters) == 112 and all(name.endswith(".num_batches_tracked") for name in counters)
    return {name: tuple(ast.literal_eval(shape)) for name, shape, dtype in fields if dtype == "torch.float32"}


def shapes_of(manifest: Manifest) -> Shapes:
    return {name: spec.shape for name, spec in manifest.items()}


@pytest.mark.parametrize(("embedding_size", "n_parameters"), [(128, 22_808_144), (512, 23_497_424)])
def test_slim_names_and_shapes(embedding_size: int, n_parameters: int) -> None:
    found = specs("slim", embedding_size=embedding_size)
    assert list(shapes_of(found).items()) == list(slim_shapes(embedding_size).items())
    assert (len(found), sum(spec.size for spec in found.values())) == (490, n_parameters)


@pytest.mark.parametrize(("num_classes", "n_parameters"), [(8631, 27_925_127), (10575, 28_922_399)])
def test_training_head(num_classes: int, n_parameters: int) -> None:
    found = specs("slim", num_classes)
    assert (len(found), sum(spec.size for spec in found.values())) == (492, n_parameters)
    assert [found[name].shape for name in HEAD] == [(512, num_classes), (num_classes,)]


def test_keras_names_shapes_and_order() -> None:
    found = specs("keras", embedding_size=128)
    expected = keras_shapes()
    assert shapes_of(found) == expected
    assert len(found) == 490
    # A file is written layer by layer, and loaded so where one doesn't load by name.
    assert list(dict.fromkeys(n.split("/")[0] for n in found)) == list(dict.fromkeys(n.split("/")[0] for n in expected))


@pytest.mark.parametrize(
    ("file", "num_classes"), [("facenet_pytorch.txt", None), ("facenet_pytorch_cls8631.txt", 8631)]
)
def test_torch_names_and_shapes(file: str, num_classes: int | None) -> None:
    found = specs("facenet_pytorch", num_classes)
    assert shapes_of(found) == torch_shapes(file)
    assert len(found) == (602 if num_classes is None else 604)


def test_torch_pairs_as_they_were_verified_by_a_forward_pass() -> None:
    lines = (MANIFESTS / "map_facenet_torch.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if line and not line.startswith("#")]
    assert len(pairs) > 130
    by_name = expansion().by_name["slim"]
    for slim, torch in pairs:
        assert by_name[f"{slim}/weights"].names["facenet_pytorch"] == (f"{torch}.weight",)


@pytest.mark.parametrize("embedding_size", [128, 512, 3])
@pytest.mark.parametrize("dialect", ["slim", "keras", "facenet_pytorch"])
def test_detection(dialect: str, embedding_size: int) -> None:
    found = detect(specs(dialect, 7, embedding_size), shipped_tables())
    assert (found.variant, found.dialect, found.is_complete) == (VARIANT, dialect, True)
    assert (found.embedding_size, found.num_classes) == (embedding_size, 7)
    assert detect(specs(dialect, None, embedding_size), shipped_tables()).num_classes is None


def values(manifest: Manifest, seed: int = 0) -> dict[str, np.ndarray]:
    made = {name: random_tensor(name, spec.shape, seed).astype(spec.dtype) for name, spec in manifest.items()}
    # A gamma that isn't 1 has no place outside of torch.
    return {name: np.ones_like(value) if name.endswith("bn.weight") else value for name, value in made.items()}


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(["slim", "keras", "facenet_pytorch"], 2)))
def test_there_and_back_bit_for_bit(source: str, target: str) -> None:
    manifest = specs(source, 5, 16)
    first = values(manifest)
    there = carried_out(plan_conversion(manifest, expansion(), source, target), first)
    targets = Manifest(TensorSpec(name, value.shape, "float32") for name, value in there.items())
    assert shapes_of(targets) == shapes_of(specs(target, 5, 16))
    back = carried_out(plan_conversion(targets, expansion(), target, source), there)
    assert {name: value.tobytes() for name, value in back.items()} == {n: value.tobytes() for n, value in first.items()}


def test_where_values_go() -> None:
    manifest = specs("slim", 5, 16)
    first = values(manifest)
    there = carried_out(plan_conversion(manifest, expansion(), "slim", "facenet_pytorch"), first)
    row = first["InceptionResnetV1/Repeat_1/block17_3/Branch_1/Conv2d_0b_1x7/weights"]
    assert row.shape == (1, 7, 128, 128)
    assert np.array_equal(there["repeat_2.2.branch1.1.conv.weight"], row.transpose(3, 2, 0, 1))
    bottleneck = first["InceptionResnetV1/Bottleneck/weights"]
    assert np.array_equal(there["last_linear.weight"], bottleneck.T)
    assert np.array_equal(there["logits.weight"], first["Logits/weights"].T)
    assert np.array_equal(there["last_bn.running_var"], first["InceptionResnetV1/Bottleneck/BatchNorm/moving_variance"])
    assert (there["last_bn.weight"] == 1).all() and there["last_bn.weight"].shape == (16,)


def training_checkpoint() -> Manifest:
    """What a training graph of facenet has: parameters, their averages, an optimizer's slots, losses, centres."""
    trained = list(specs("slim", 5, 16).values())
    slots = ["ExponentialMovingAverage", "Adagrad", "Momentum", "Adam", "Adam_1", "RMSProp", "RMSProp_1", "Adadelta"]
    extra = [TensorSpec(f"{spec.name}/{slot}", spec.shape, spec.dtype) for spec in trained for slot in slots]
    others = [("centers", (5, 16), "float32"), ("Variable", (), "int32"), ("beta1_power", (), "float32")]
    others += [("cross_entropy/avg", (), "float32"), ("total_loss/avg", (), "float32"), ("beta2_power", (), "float32")]
    return Manifest([*trained, *extra, *(TensorSpec(*other) for other in others)])


def test_a_training_checkpoint() -> None:
    manifest = training_checkpoint()
    found = detect(manifest, shipped_tables())
    assert (found.variant, found.is_complete, found.unexpected) == (VARIANT, True, ())
    raw = plan_conversion(manifest, found.expand(), "slim", "keras")
    rules = {each.name: each.rule for each in raw.ignored}
    assert (rules["centers"], rules["Variable"], rules["total_loss/avg"]) == ("loss", "step", "loss")
    assert rules["Logits/weights/Adagrad"] == "optimizer"
    assert len(raw.targets) == 492
    averaged = plan_conversion(manifest, found.expand(), "slim", "keras", PlanOptions(ema=True))
    # The moving statistics have averages as well: facenet trains them, as far as its Saver knows.
    assert len(averaged.shadowed) == 492
    assert all(source.endswith("/ExponentialMovingAverage") for move in averaged.moves for source in move.sources)


def batch_normed(kernel: np.ndarray, rest: Mapping[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    scale = rest.get("gamma", 1.0) / np.sqrt(rest["variance"] + 1e-3)
    return (inputs @ kernel - rest["mean"]) * scale + rest["beta"]


def test_a_gamma_that_is_not_one() -> None:
    manifest = Manifest(
        TensorSpec(name, spec.shape, "float64") for name, spec in specs("facenet_pytorch", 5, 16).items()
    )
    torch = {name: random_tensor(name, spec.shape, 4) for name, spec in manifest.items()}
    unfolded = plan(manifest, expansion(), "facenet_pytorch", "slim")
    assert len(unfolded.checks) == 112 and all(check.foldable for check in unfolded.checks)
    folded = plan(manifest, expansion(), "facenet_pytorch", "slim", PlanOptions(fold=True))
    assert folded.checks == ()
    slim = carried_out(folded, torch)
    pairs = {
        "last_linear.weight last_bn": "InceptionResnetV1/Bottleneck",
        "conv2d_1a.conv.weight conv2d_1a.bn": "InceptionResnetV1/Conv2d_1a_3x3",
        "repeat_1.4.branch2.1.conv.weight repeat_1.4.branch2.1.bn": (
            "InceptionResnetV1/Repeat/block35_5/Branch_2/Conv2d_0b_3x3"
        ),
        "mixed_7a.branch2.2.conv.weight mixed_7a.branch2.2.bn": "InceptionResnetV1/Mixed_7a/Branch_2/Conv2d_1a_3x3",
        "block8.branch1.2.conv.weight block8.branch1.2.bn": "InceptionResnetV1/Block8/Branch_1/Conv2d_0c_3x1",
    }
    for names, layer in pairs.items():
        kernel_name, norm = names.split()
        kernel = torch[kernel_name]
        taps = kernel.reshape(kernel.shape[0], -1).T if kernel.ndim == 2 else kernel.transpose(2, 3, 1, 0)
        inputs = np.random.default_rng(0).normal(size=(3, kernel[0].size))
        words = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
        expected = batch_normed(
            taps.reshape(-1, kernel.shape[0]), {word: torch[f"{norm}.{name}"] for word, name in words.items()}, inputs
        )
        words = {"beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}
        actual = batch_normed(
            slim[f"{layer}/weights"].reshape(-1, kernel.shape[0]),
            {word: slim[f"{layer}/BatchNorm/{name}"] for word, name in words.items()},
            inputs,
        )
        assert (torch[f"{norm}.weight"] < 0).any()
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-13)


def test_another_embedding_than_the_bottleneck() -> None:
    manifest = specs("slim", None, 16)
    wrong = TensorSpec("InceptionResnetV1/Bottleneck/BatchNorm/beta", (17,), "float32")
    with pytest.raises(PlanError) as caught:
        plan_conversion(Manifest({**manifest, wrong.name: wrong}.values()), expansion(), "slim", "keras")
    assert f"{wrong.name}: expected (16,), got (17,)" in str(caught.value)
