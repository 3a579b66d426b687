"""Detection: family, variant, dialect, root and class count from names and shapes, and what it refuses to guess."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resport.errors import DetectError, OptionError
from resport.mapping import Table, candidates, detect, expand, load_table, shipped_tables
from resport.mapping.detection import ignored_kind
from resport.tensors import Manifest, TensorSpec
from tests.mapping.manifest_files import DEPTHS, KERAS_DEPTHS, SLIM_CLASSES, keras_manifest, slim_manifest
from tests.mapping.toy import PATHS, TOY, changed, manifest_of

Load = Callable[[str], Table]


def renamed(manifest: Manifest, rename: Callable[[str], str]) -> Manifest:
    return Manifest(TensorSpec(rename(name), spec.shape, spec.dtype) for name, spec in manifest.items())


def spec(name: str, *shape: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, shape, dtype)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_slim(version: str, depth: int) -> None:
    found = detect(slim_manifest(version, depth), shipped_tables())
    assert (found.family, found.variant, found.dialect) == (f"resnet_{version}", f"resnet_{version}_{depth}", "slim")
    assert (found.root, found.num_classes) == (f"resnet_{version}_{depth}/", SLIM_CLASSES[version])
    assert found.is_complete
    assert found.score == 1.0


@pytest.mark.parametrize("depth", KERAS_DEPTHS)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_keras(version: str, depth: int) -> None:
    found = detect(keras_manifest(version, depth), shipped_tables())
    assert (found.variant, found.dialect, found.root) == (f"resnet_{version}_{depth}", "keras", "")
    assert found.num_classes == 1000
    assert found.is_complete


def test_evidence_and_dict() -> None:
    found = detect(slim_manifest("v2", 50), shipped_tables())
    assert found.evidence == (
        "272 of 272 names of resnet_v2_50 (slim) are in the file",
        "scope in front: `resnet_v2_50/`",
        "the classifier has 1001 classes",
    )
    values = found.to_dict()
    assert (values["variant"], values["matched"], values["score"], values["missing"]) == ("resnet_v2_50", 272, 1.0, [])
    assert "table" not in values


@pytest.mark.parametrize(
    "root", ["", "FeatureExtractor/resnet_v2_50/", "my.net/", "tower_3/model_12/", "resnet_v2_101/", "日本/"]
)
def test_root(root: str) -> None:
    manifest = renamed(slim_manifest("v2", 50), lambda name: root + name.removeprefix("resnet_v2_50/"))
    found = detect(manifest, shipped_tables())
    assert (found.variant, found.dialect, found.root) == ("resnet_v2_50", "slim", root)
    assert found.is_complete
    assert list(found.expand().by_name["slim"]) == list(
        expand(found.table, "resnet_v2_50", {"slim": root}).names("slim")
    )
    assert found.expand().by_name["keras"].keys() == keras_manifest("v2", 50).keys()


def test_root_of_keras() -> None:
    found = detect(renamed(keras_manifest("v1", 50), lambda name: f"model_1/{name}"), shipped_tables())
    assert (found.variant, found.dialect, found.root) == ("resnet_v1_50", "keras", "model_1/")


@pytest.mark.parametrize("num_classes", [1, 5, 1001])
def test_class_count(num_classes: int) -> None:
    found = detect(manifest_of(expand(load_table("resnet_v2"), "resnet_v2_50"), "slim", num_classes), shipped_tables())
    assert found.num_classes == num_classes
    assert found.is_complete


def test_no_head() -> None:
    manifest = Manifest(s for s in slim_manifest("v2", 50).values() if "/logits/" not in s.name)
    found = detect(manifest, shipped_tables())
    assert (found.variant, found.num_classes, found.is_complete) == ("resnet_v2_50", None, True)
    assert found.evidence[0] == "270 of 272 names of resnet_v2_50 (slim) are in the file"
    assert found.evidence[2] == "there is no classifier"


def test_half_a_head_is_missing() -> None:
    manifest = changed(slim_manifest("v2", 50), without=("resnet_v2_50/logits/biases",))
    assert detect(manifest, shipped_tables()).missing == ("resnet_v2_50/logits/biases",)


def test_training_state_is_explained() -> None:
    manifest = slim_manifest("v1", 50)
    slots = [spec(f"{name}/{slot}", *s.shape) for name, s in manifest.items() for slot in ("Momentum", "Adam_1")]
    averages = [spec(f"{name}/ExponentialMovingAverage", *s.shape) for name, s in manifest.items()]
    others = [spec("global_step", dtype="int64"), spec("resnet_v1_50/mean_rgb", 3), spec("beta1_power")]
    text = TensorSpec("_CHECKPOINTABLE_OBJECT_GRAPH", (), "string")
    found = detect(changed(manifest, *slots, *averages, *others, text), shipped_tables())
    assert (found.variant, found.root, found.is_complete) == ("resnet_v1_50", "resnet_v1_50/", True)


def test_one_tensor_renamed() -> None:
    name = "resnet_v2_50/block2/unit_3/bottleneck_v2/conv2/weights"
    manifest = changed(slim_manifest("v2", 50), spec(f"{name}_old", 3, 3, 128, 128), without=(name,))
    found = detect(manifest, shipped_tables())
    assert (found.variant, found.missing, found.unexpected) == ("resnet_v2_50", (name,), (f"{name}_old",))
    assert found.matched == 271
    assert found.score == 271 / 273


def test_one_shape_wrong() -> None:
    manifest = changed(slim_manifest("v2", 50), spec("resnet_v2_50/conv1/weights", 3, 3, 3, 64))
    found = detect(manifest, shipped_tables())
    assert (found.variant, found.mismatched) == ("resnet_v2_50", ("resnet_v2_50/conv1/weights",))
    assert not found.is_complete


def test_classifier_whose_tensors_disagree() -> None:
    manifest = changed(slim_manifest("v2", 50), spec("resnet_v2_50/logits/biases", 7))
    found = detect(manifest, shipped_tables())
    assert (found.num_classes, found.mismatched) == (1001, ("resnet_v2_50/logits/biases",))


def test_a_depth_that_is_no_variant() -> None:
    """Units of block 3 taken away: the nearest is the one that has the rest."""
    manifest = Manifest(s for s in slim_manifest("v2", 50).values() if "block3/unit_6" not in s.name)
    found = detect(manifest, shipped_tables())
    assert found.variant == "resnet_v2_50"
    assert len(found.missing) == 16
    assert all("block3/unit_6" in name for name in found.missing)


def test_partial_file_is_refused_with_the_nearest() -> None:
    manifest = Manifest(s for s in slim_manifest("v2", 50).values() if "/block1/" in s.name)
    with pytest.raises(DetectError) as caught:
        detect(manifest, shipped_tables())
    error = caught.value
    assert error.message.startswith(
        "no family explains the names; the nearest is resnet_v2_50 (slim), 50 of 270 names, "
        "missing: resnet_v2_50/conv1/weights, resnet_v2_50/conv1/biases, "
    )
    assert error.candidates[0].variant == "resnet_v2_50"
    assert error.hint == "`--variant resnet_v2_50 --from slim` lists all that is missing"


def test_the_hint_of_a_partial_file_works() -> None:
    manifest = Manifest(s for s in slim_manifest("v2", 50).values() if "/block1/" in s.name)
    found = detect(manifest, shipped_tables(), variant="resnet_v2_50", dialect="slim")
    assert (found.matched, len(found.missing)) == (50, 220)


def test_another_network_is_refused() -> None:
    manifest = Manifest([spec("vgg_16/conv1/conv1_1/weights", 3, 3, 3, 64), spec("vgg_16/fc8/biases", 1000)])
    with pytest.raises(DetectError) as caught:
        detect(manifest, shipped_tables())
    assert str(caught.value) == (
        "no family knows any of the 2 names\n  got:      vgg_16/conv1/conv1_1/weights, vgg_16/fc8/biases"
    )
    assert caught.value.candidates == ()


def test_empty_file() -> None:
    assert candidates(Manifest(), shipped_tables()) == []
    with pytest.raises(DetectError) as caught:
        detect(Manifest(), shipped_tables())
    assert str(caught.value) == "no family knows any of the 0 names"


def test_no_table() -> None:
    with pytest.raises(DetectError):
        detect(slim_manifest("v2", 50), [])


def test_unknown_variant() -> None:
    with pytest.raises(OptionError) as caught:
        detect(slim_manifest("v2", 50), shipped_tables(), variant="resnet_v2_51")
    assert caught.value.message == "there is no variant `resnet_v2_51`"
    assert "resnet_v2_50" in str(caught.value.expected)


def test_variant_and_dialect_overrule() -> None:
    found = detect(slim_manifest("v2", 101), shipped_tables(), variant="resnet_v2_50")
    assert (found.variant, found.root) == ("resnet_v2_50", "resnet_v2_101/")
    assert len(found.unexpected) == 544 - 272
    with pytest.raises(DetectError):
        detect(slim_manifest("v2", 50), shipped_tables(), dialect="keras")


def test_two_networks_of_one_kind() -> None:
    """One is found; the other's tensors are all unexpected, so that no conversion passes them over."""
    manifests = [renamed(slim_manifest("v2", 50), lambda name, side=side: f"{side}/{name}") for side in ("a", "b")]
    both = Manifest(s for manifest in manifests for s in manifest.values())
    found = detect(both, shipped_tables())
    assert found.root in ("a/resnet_v2_50/", "b/resnet_v2_50/")
    assert (found.missing, len(found.unexpected)) == ((), 272)


def test_two_networks_of_two_families() -> None:
    both = Manifest([*slim_manifest("v1", 50).values(), *slim_manifest("v2", 50).values()])
    found = candidates(both, shipped_tables())
    assert {each.family for each in found[:2]} == {"resnet_v1", "resnet_v2"}
    assert all(each.missing == () for each in found[:2])
    assert detect(both, shipped_tables()).unexpected


def test_variants_that_differ_by_shape_alone(load: Load) -> None:
    table = load(TOY.replace("toy_b = { b = 3, u = 1 }", "toy_wide = { b = 2, u = [2, 1], width = [6, 8] }"))
    for variant in table.variants:
        manifest = renamed(manifest_of(expand(table, variant), "slim"), lambda name: "net/" + name.split("/", 1)[1])
        found = detect(manifest, [table])
        assert (found.variant, found.is_complete) == (variant, True)


def test_variants_that_nothing_tells_apart(load: Load) -> None:
    table = load(TOY.replace("toy_b = { b = 3, u = 1 }", "toy_same = { b = 2, u = [2, 1] }"))
    with pytest.raises(DetectError) as caught:
        detect(manifest_of(expand(table, "toy_a"), "keras"), [table])
    assert caught.value.message == "the names fit toy_a (keras) and toy_same (keras) alike"
    assert caught.value.hint == "`--variant toy_a --from keras` or the other, as you know it to be"
    assert detect(manifest_of(expand(table, "toy_a"), "keras"), [table], variant="toy_same").variant == "toy_same"


@pytest.mark.parametrize("dialect", ["split", "joined", "stacked"])
def test_one_against_many(dialect: str, load: Load) -> None:
    table = load(PATHS)
    found = detect(manifest_of(expand(table, "paths_3"), dialect), [table])
    assert (found.dialect, found.is_complete) == (dialect, True)


@pytest.mark.parametrize("dialect", ["split", "joined", "stacked"])
@pytest.mark.parametrize("variant", ["paths_3", "paths_4"])
def test_variants_that_differ_by_an_index_that_is_an_axis(variant: str, dialect: str, load: Load) -> None:
    table = load(PATHS.replace("paths_3 = { b = 2, g = 3 }", "paths_3 = { b = 2, g = 3 }\npaths_4 = { b = 2, g = 4 }"))
    found = detect(manifest_of(expand(table, variant), dialect), [table])
    assert (found.variant, found.is_complete) == (variant, True)


def test_holes_side_by_side_and_beside_digits(load: Load) -> None:
    table = load(TOY.replace('"stage{b+1}_{u}_"', '"conv1{b}{u}_"'))
    found = detect(manifest_of(expand(table, "toy_b"), "keras"), [table])
    assert (found.variant, found.dialect, found.is_complete) == ("toy_b", "keras", True)


def test_holes_in_another_order_than_the_indices(load: Load) -> None:
    table = load(TOY.replace('"stage{b+1}_{u}_"', '"unit{u}_of_{b+1}_"'))
    for variant in table.variants:
        found = candidates(manifest_of(expand(table, variant), "keras"), [table])
        assert [(each.variant, each.dialect) for each in found if each.dialect == "keras"] == [(variant, "keras")]


def test_variant_inside_a_name(load: Load) -> None:
    table = load(TOY.replace('"stem/kernel"', '"{variant}_stem/kernel"'))
    only = Manifest([spec("toy_b_stem/kernel", 3, 3, 3, 4)])
    assert candidates(only, [table])[0].matched == 1


def test_two_families_alike(load: Load) -> None:
    first = load(TOY)
    second = load(TOY.replace("toy_", "doll_").replace('"toy"', '"doll"'))
    with pytest.raises(DetectError, match=r"the names fit toy_a \(keras\) and doll_a \(keras\) alike"):
        detect(manifest_of(expand(first, "toy_a"), "keras"), [first, second])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("global_step", "step"),
        ("a/b/Adam", "optimizer"),
        ("a.b/Adam", "optimizer"),
        ("Adam", None),
        ("a/Adam_2", None),
        ("a/b\n/Adam", "optimizer"),
    ],
)
def test_ignored_kind(name: str, kind: str | None) -> None:
    assert ignored_kind(name, load_table("resnet_v2").ignore["slim"]) == kind


def test_ignored_kind_without_globs() -> None:
    assert ignored_kind("", {}) is None
    assert ignored_kind("", {"step": ()}) is None


UNIT = "resnet_v2_50/block{}/unit_{}/bottleneck_v2/preact/gamma"
HOSTILE = {
    "unknown names": [f"layer_{n}/sub_{n % 7}/weights_{n}" for n in range(100_000)],
    "names that differ by letters": [f"n{n:x}/".replace("0", "g") * 3 + "w" for n in range(100_000)],
    "units without end": [UNIT.format(n % 100, n) for n in range(100_000)],
    "optimizer slots": [f"resnet_v2_50/block1/unit_{n}/x/Momentum/y" for n in range(100_000)],
    "a name of a million slashes": ["/" * 1_000_000, "a/" * 500_000 + "conv1/weights"],
    "a name of a million digits": ["1" * 1_000_000, UNIT.format("1" * 500_000, "2" * 500_000)],
    "regular expressions": ["(a+)+$/conv1/weights", "[[[", "\\", "(?P<b>x)/conv1/biases", ".*/logits/weights", "{b}"],
    "nothing": ["", " ", "\n", "/", ".", "//..//", "\x00", "#", "0"],
}


@pytest.mark.parametrize("names", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_are_no_network(names: list[str]) -> None:
    manifest = Manifest(spec(name, 3) for name in names)
    tables = shipped_tables()
    with pytest.raises(DetectError) as caught:
        detect(manifest, tables)
    assert str(caught.value)


def test_hostile_names_beside_a_network() -> None:
    """A network among a hundred thousand other names is still the best candidate."""
    others = [spec(f"resnet_v2_50/block{n % 9}/unit_{n}/x{n % 3}", 3) for n in range(100_000)]
    best = candidates(Manifest([*slim_manifest("v2", 50).values(), *others]), shipped_tables())[0]
    assert (best.variant, best.matched, len(best.unexpected)) == ("resnet_v2_50", 272, 100_000)
