"""ResNeXt and SE-ResNeXt for CIFAR: taki's graph and all four forms in both frameworks compute one function."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest

import resport
from resport.architectures import build, end_points, open_network
from resport.architectures.frameworks import quiet_import_module
from resport.architectures.keras_network import KerasNetwork
from resport.errors import OptionError, PlanError
from resport.mapping import expand, load_table
from tests.architectures.conversions import (
    converted_files,
    edited_table,
    largest_difference,
    outputs_of,
    signed_images,
)
from tests.mapping.plain_manifests import plain_manifest

pytestmark = pytest.mark.tf

VARIANTS = {"resnext_cifar": "resnext29_8x64d", "se_resnext_cifar": "se_resnext29_8x64d"}
FORMS = ("", "_concat", "_split", "_dense")
DIALECTS = ("taki", *(framework + form for framework in ("slim", "keras") for form in FORMS))


# The networks with a unit in each block and a sixteenth of the channels on a path: all forms, shortcuts and strides.
PATHS, WIDTH = 8, 4
OPTIONS = {"units": (1, 1, 1), "widths": (PATHS * WIDTH,) * 3, "num_classes": 10}


@pytest.fixture(scope="module")
def table_of(tmp_path_factory):
    """The table of a narrow network."""

    def narrowed(family):
        edits = {VARIANTS[family]: f"{{ b = 3, u = 1, path = {PATHS} }}"}
        table = edited_table(tmp_path_factory.mktemp(family), family, edits)
        text = table.read_text().replace(" 64 8 64", f" {WIDTH} 8 64").replace(" 8 64", f" {PATHS} {WIDTH}")
        # taki's counters: convolutions and dense layers in a block of one unit, and the dense layer behind the blocks.
        text = text.replace("b = 51", "b = 17").replace("b = 6", "b = 2").replace("dense_18", "dense_6")
        table.write_text(text)
        return table

    return cache(narrowed)


@pytest.fixture(scope="module")
def files_of(tmp_path_factory, table_of):
    """The same weights in every dialect, each converted from the one before; made once for each family."""

    def made(family):
        folder = tmp_path_factory.mktemp(family)
        return converted_files(folder, VARIANTS[family], DIALECTS, num_classes=10, table=table_of(family))

    return cache(made)


@pytest.fixture(scope="module")
def computed(files_of):
    """What a dialect computes with them."""

    def outputs(family, dialect, size, **options):
        file, images = files_of(family)[dialect], signed_images(size)
        return outputs_of(file, VARIANTS[family], dialect, images, dtype="float64", **OPTIONS, **options)

    return outputs


@pytest.fixture(scope="module")
def reference_of(computed):
    """What taki's own graph computes."""
    return cache(lambda family, size: computed(family, "taki", size))


CHECKED = [
    *(("resnext_cifar", dialect, (32, 32)) for dialect in DIALECTS[1:]),
    *(("se_resnext_cifar", dialect, (33, 30)) for dialect in ("slim", "keras")),
]


@pytest.mark.parametrize(("family", "dialect", "size"), CHECKED)
def test_every_form_computes_what_taki_computes(computed, reference_of, family, dialect, size):
    expected = reference_of(family, size)
    outputs = computed(family, dialect, size)
    assert list(outputs) == list(expected)
    # conv1, global_pool, logits, predictions; 3 blocks; 2 shortcuts that are no identity; conv1..3, sum, gate a unit.
    assert len(expected) == 4 + 3 + 2 + 3 * (5 if family.startswith("se") else 4)
    assert largest_difference(expected, outputs) < 1e-12
    shortcut = expected["block2/unit_1/bottleneck/shortcut"]
    assert shortcut.shape[-1] == 128
    assert (shortcut[..., :32] == 0).all() and (shortcut[..., 96:] == 0).all() and shortcut[..., 32:96].any()


@pytest.mark.parametrize(
    ("family", "manifest"), [("resnext_cifar", "taki_ResNeXt"), ("se_resnext_cifar", "taki_SE_ResNeXt")]
)
def test_the_whole_networks_agree(family, manifest, tmp_path):
    """In their published size; and taki's graph has the variables of the script's."""
    variant, images = VARIANTS[family], signed_images((32, 32))
    files = converted_files(tmp_path, variant, ["taki", "slim", "keras"], num_classes=10)
    own = {
        name: spec.shape
        for name, spec in plain_manifest(manifest).items()
        if not name.endswith(("Momentum", "biased", "local_step"))
    }
    with open_network(variant, "taki", dtype="float64") as network, resport.open_reader(files["taki"]) as reader:
        assert {name: tuple(made.shape.as_list()) for name, made in network.variables.items()} == own
        network.load(reader.read)
        expected = network.forward(images)
    assert len(expected) == 4 + 3 + 2 + 9 * (5 if family.startswith("se") else 4)
    for dialect in ("slim", "keras"):
        outputs = outputs_of(files[dialect], variant, dialect, images, dtype="float64")
        assert list(outputs) == list(expected)
        assert largest_difference(expected, outputs) < 1e-12


def test_the_two_nets_differ_where_they_stride(computed, reference_of):
    """Names and shapes of the convolutions coincide; with the stride of the one the other is another function."""
    outputs = computed("resnext_cifar", "keras", (32, 32), stride_on="conv2")
    expected = reference_of("resnext_cifar", (32, 32))
    assert largest_difference(expected, outputs, ["block1", "block2/unit_1/bottleneck/shortcut"]) < 1e-12
    assert largest_difference(expected, outputs, ["logits"]) > 1e-2


@pytest.mark.parametrize("family", VARIANTS)
def test_all_forms_and_back_are_bit_for_bit(files_of, table_of, family, tmp_path):
    """The chain of conversions went through every dialect; closing the circle gives the first file."""
    files = files_of(family)
    back = tmp_path / "back.safetensors"
    for dialect in DIALECTS[1:]:
        resport.convert(files[dialect], back, to="taki", variant=VARIANTS[family], table=table_of(family), force=True)
        assert back.read_bytes()[-1000:] == files["taki"].read_bytes()[-1000:]
        with resport.open_reader(files["taki"]) as ours, resport.open_reader(back) as theirs:
            assert dict(ours.manifest) == dict(theirs.manifest)
            assert all((ours.read(name) == theirs.read(name)).all() for name in ours.manifest)


def test_the_kernels_are_where_the_formulas_put_them(files_of):
    """Split, grouped and dense kernels written out with numpy, past the table."""
    files = files_of("resnext_cifar")
    unit = "resnext29_8x64d/block2/unit_1/bottleneck"
    read = {dialect: resport.open_reader(files[dialect]).read for dialect in DIALECTS if dialect.startswith("slim")}
    paths = [read["slim_split"](f"{unit}/path_{path}/conv2/weights") for path in range(1, PATHS + 1)]
    grouped = read["slim"](f"{unit}/conv2/weights")
    assert (grouped == np.concatenate(paths, axis=3)).all()
    dense = read["slim_dense"](f"{unit}/conv2/weights")
    for one, other in product(range(PATHS), repeat=2):
        block = dense[:, :, WIDTH * one :, WIDTH * other :][:, :, :WIDTH, :WIDTH]
        assert (block == (paths[one] if one == other else 0)).all()
    last = [read["slim_split"](f"{unit}/path_{path}/conv3/weights") for path in range(1, PATHS + 1)]
    assert (read["slim_concat"](f"{unit}/conv3/weights") == np.concatenate(last, axis=2)).all()
    first = [read["slim_concat"](f"{unit}/path_{path}/conv1/weights") for path in range(1, PATHS + 1)]
    assert (read["slim_dense"](f"{unit}/conv1/weights") == np.concatenate(first, axis=3)).all()
    means = [read["slim_concat"](f"{unit}/path_{path}/conv2/BatchNorm/moving_mean") for path in range(1, PATHS + 1)]
    assert (read["slim"](f"{unit}/conv2/BatchNorm/moving_mean") == np.concatenate(means)).all()


def test_a_dense_kernel_with_values_beside_its_blocks_is_refused(files_of, table_of, tmp_path):
    source, target = tmp_path / "dense.safetensors", tmp_path / "grouped.safetensors"
    name = "resnext29_8x64d/block2/unit_1/bottleneck/conv2/weights"
    with resport.open_reader(files_of("resnext_cifar")["slim_dense"]) as reader:
        with resport.open_writer(source, reader.manifest.values()) as writer:
            for each in reader.manifest:
                values = reader.read(each).copy()
                if each == name:
                    values[1, 2, WIDTH - 1, WIDTH] = 1e-30
                writer.write(each, values)
    known = {"variant": "resnext29_8x64d", "table": table_of("resnext_cifar")}
    for to in ("slim", "taki", "keras_split"):
        with pytest.raises(PlanError) as caught:
            resport.convert(source, target, to=to, **known)
        assert f"{name}: 1 values beside the diagonal of `h w (path i) (path o)` are not zero" in str(caught.value)
    assert not target.exists()
    assert resport.convert(source, target, to="keras_dense", **known).moved == 51


@pytest.mark.parametrize("variant", VARIANTS.values())
@pytest.mark.parametrize("form", FORMS)
def test_layers_of_the_model_are_in_the_order_of_the_table(form, variant):
    family = next(family for family, name in VARIANTS.items() if name == variant)
    model = build(variant, f"keras{form}")
    assert [weight.path for weight in model.weights] == expand(load_table(family), variant).names(f"keras{form}")


def test_the_saved_keras_model_has_stock_layers_only(files_of, tmp_path):
    keras = quiet_import_module("keras")
    images = signed_images((32, 32)).astype(np.float32)
    model = build("se_resnext29_8x64d", "keras", **OPTIONS)
    with resport.open_reader(files_of("se_resnext_cifar")["keras"]) as reader:
        KerasNetwork(model, end_points(model)).load(reader.read)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}
    assert (loaded.predict(images, verbose=0) == model.predict(images, verbose=0)).all()


def test_channels_first(computed, reference_of):
    outputs = computed("resnext_cifar", "keras", (32, 32), data_format="channels_first")
    assert largest_difference(reference_of("resnext_cifar", (32, 32)), outputs) < 1e-12


def test_what_the_scripts_have_not_is_refused():
    for options in ({"num_classes": None}, {"small_images": False}):
        with pytest.raises(OptionError, match="the scripts have one network"):
            build("resnext29_8x64d", "taki", **options)
