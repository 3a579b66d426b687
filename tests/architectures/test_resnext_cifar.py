"""ResNeXt and SE-ResNeXt for CIFAR: taki's graph and all four forms in both frameworks compute one function."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import resport
from resport.architectures import build, end_points, open_network
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_network import KerasNetwork
from resport.errors import OptionError, PlanError
from resport.mapping import expand, load_table
from tests.architectures.conversions import converted_files, largest_difference, outputs_of, signed_images
from tests.mapping.plain_manifests import plain_manifest

pytestmark = pytest.mark.tf

VARIANTS = {"resnext_cifar": "resnext29_8x64d", "se_resnext_cifar": "se_resnext29_8x64d"}
FORMS = ("", "_concat", "_split", "_dense")
DIALECTS = ("taki", *(framework + form for framework in ("slim", "keras") for form in FORMS))


@pytest.fixture(scope="module")
def files_of(tmp_path_factory):
    """The same weights in every dialect, each converted from the one before; made once for each family."""
    return cache(
        lambda family: converted_files(tmp_path_factory.mktemp(family), VARIANTS[family], DIALECTS, num_classes=10)
    )


@pytest.fixture(scope="module")
def reference_of(files_of):
    """What taki's own graph computes."""
    return cache(
        lambda family, size: outputs_of(
            files_of(family)["taki"], VARIANTS[family], "taki", signed_images(size), dtype="float64"
        )
    )


CHECKED = [
    *(("resnext_cifar", dialect, (32, 32)) for dialect in DIALECTS[1:]),
    *(("se_resnext_cifar", dialect, (33, 30)) for dialect in ("slim", "keras")),
]


@pytest.mark.parametrize(("family", "dialect", "size"), CHECKED)
def test_every_form_computes_what_taki_computes(files_of, reference_of, family, dialect, size):
    expected = reference_of(family, size)
    outputs = outputs_of(files_of(family)[dialect], VARIANTS[family], dialect, signed_images(size), dtype="float64")
    assert list(outputs) == list(expected)
    # conv1, global_pool, logits, predictions; 3 blocks; 2 shortcuts that are no identity; conv1..3, sum, gate a unit.
    assert len(expected) == 4 + 3 + 2 + 9 * (5 if family.startswith("se") else 4)
    assert largest_difference(expected, outputs) < 1e-12
    shortcut = expected["block2/unit_1/bottleneck/shortcut"]
    assert shortcut.shape[-1] == 128
    assert (shortcut[..., :32] == 0).all() and (shortcut[..., 96:] == 0).all() and shortcut[..., 32:96].any()


def test_the_two_nets_differ_where_they_stride(files_of, reference_of):
    """Names and shapes of the convolutions coincide; with the stride of the one the other is another function."""
    files, images = files_of("resnext_cifar"), signed_images((32, 32))
    outputs = outputs_of(files["keras"], "resnext29_8x64d", "keras", images, dtype="float64", stride_on="conv2")
    expected = reference_of("resnext_cifar", (32, 32))
    assert largest_difference(expected, outputs, ["block1", "block2/unit_1/bottleneck/shortcut"]) < 1e-12
    assert largest_difference(expected, outputs, ["logits"]) > 1e-2


@pytest.mark.parametrize("family", VARIANTS)
def test_all_forms_and_back_are_bit_for_bit(files_of, family, tmp_path):
    """The chain of conversions went through every dialect; closing the circle gives the first file."""
    files = files_of(family)
    back = tmp_path / "back.safetensors"
    for dialect in DIALECTS[1:]:
        resport.convert(files[dialect], back, to="taki", force=True)
        assert back.read_bytes()[-1000:] == files["taki"].read_bytes()[-1000:]
        with resport.open_reader(files["taki"]) as ours, resport.open_reader(back) as theirs:
            assert dict(ours.manifest) == dict(theirs.manifest)
            assert all((ours.read(name) == theirs.read(name)).all() for name in ours.manifest)


def test_the_kernels_are_where_the_formulas_put_them(files_of):
    """Split, grouped and dense kernels written out with numpy, past the table."""
    files = files_of("resnext_cifar")
    unit = "resnext29_8x64d/block2/unit_1/bottleneck"
    read = {dialect: resport.open_reader(files[dialect]).read for dialect in DIALECTS if dialect.startswith("slim")}
    paths = [read["slim_split"](f"{unit}/path_{path}/conv2/weights") for path in range(1, 9)]
    grouped = read["slim"](f"{unit}/conv2/weights")
    assert (grouped == np.concatenate(paths, axis=3)).all()
    dense = read["slim_dense"](f"{unit}/conv2/weights")
    for one in range(8):
        for other in range(8):
            block = dense[:, :, 64 * one : 64 * one + 64, 64 * other : 64 * other + 64]
            assert (block == (paths[one] if one == other else 0)).all()
    last = [read["slim_split"](f"{unit}/path_{path}/conv3/weights") for path in range(1, 9)]
    assert (read["slim_concat"](f"{unit}/conv3/weights") == np.concatenate(last, axis=2)).all()
    first = [read["slim_concat"](f"{unit}/path_{path}/conv1/weights") for path in range(1, 9)]
    assert (read["slim_dense"](f"{unit}/conv1/weights") == np.concatenate(first, axis=3)).all()
    means = [read["slim_concat"](f"{unit}/path_{path}/conv2/BatchNorm/moving_mean") for path in range(1, 9)]
    assert (read["slim"](f"{unit}/conv2/BatchNorm/moving_mean") == np.concatenate(means)).all()


def test_a_dense_kernel_with_values_beside_its_blocks_is_refused(files_of, tmp_path):
    source, target = tmp_path / "dense.safetensors", tmp_path / "grouped.safetensors"
    name = "resnext29_8x64d/block2/unit_1/bottleneck/conv2/weights"
    with resport.open_reader(files_of("resnext_cifar")["slim_dense"]) as reader:
        with resport.open_writer(source, reader.manifest.values()) as writer:
            for each in reader.manifest:
                values = reader.read(each).copy()
                if each == name:
                    values[1, 2, 63, 64] = 1e-30
                writer.write(each, values)
    for to in ("slim", "taki", "keras_split"):
        with pytest.raises(PlanError) as caught:
            resport.convert(source, target, to=to)
        assert f"{name}: 1 values beside the diagonal of `h w (path i) (path o)` are not zero" in str(caught.value)
    assert not target.exists()
    assert resport.convert(source, target, to="keras_dense").moved == 141


@pytest.mark.parametrize(
    ("variant", "file"), [("resnext29_8x64d", "taki_ResNeXt"), ("se_resnext29_8x64d", "taki_SE_ResNeXt")]
)
def test_takis_graph_has_the_scripts_variables(variant, file):
    with open_network(variant, "taki") as network:
        made = {name: tuple(variable.shape.as_list()) for name, variable in network.variables.items()}
    manifest = plain_manifest(file)
    own = {
        name: spec.shape for name, spec in manifest.items() if not name.endswith(("Momentum", "biased", "local_step"))
    }
    assert made == own


@pytest.mark.parametrize("variant", VARIANTS.values())
@pytest.mark.parametrize("form", FORMS)
def test_layers_of_the_model_are_in_the_order_of_the_table(form, variant):
    family = next(family for family, name in VARIANTS.items() if name == variant)
    model = build(variant, f"keras{form}")
    assert [weight.path for weight in model.weights] == expand(load_table(family), variant).names(f"keras{form}")


def test_the_saved_keras_model_has_stock_layers_only(files_of, tmp_path):
    keras = quiet_import_module("keras")
    images = signed_images((32, 32)).astype(np.float32)
    model = build("se_resnext29_8x64d", "keras")
    with resport.open_reader(files_of("se_resnext_cifar")["keras"]) as reader:
        KerasNetwork(model, end_points(model)).load(reader.read)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}
    assert (loaded.predict(images, verbose=0) == model.predict(images, verbose=0)).all()


def test_channels_first(files_of, reference_of):
    images = signed_images((32, 32))
    outputs = outputs_of(
        files_of("resnext_cifar")["keras"], "resnext29_8x64d", "keras", images, dtype="float64",
        data_format="channels_first",
    )  # fmt: skip
    assert largest_difference(reference_of("resnext_cifar", (32, 32)), outputs) < 1e-12


def test_what_the_scripts_have_not_is_refused():
    for options in ({"num_classes": None}, {"small_images": False}):
        with pytest.raises(OptionError, match="the scripts have one network"):
            build("resnext29_8x64d", "taki", **options)
