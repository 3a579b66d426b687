from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest

from resport.architectures import build, open_network, variants
from resport.architectures.bottlenecks import Bottlenecks
from resport.architectures.registry import BUILDERS, find_builder, own_input_size, resolve
from resport.errors import MissingDependencyError, OptionError

RESNETS = [f"resnet_v{version}_{depth}" for version in (1, 2) for depth in (50, 101, 152, 200)]


def test_both_dialects_have_every_depth():
    assert set(RESNETS) <= set(variants("slim")) & set(variants("keras"))
    assert len(variants()) == len(set(variants()))


def test_every_line_names_functions_that_exist():
    for builder in BUILDERS:
        for arguments in builder.variants.values():
            assert set(arguments) <= set(builder.options)
        fields = Bottlenecks.__dataclass_fields__
        assert bool(builder.plan) == ("plan" in inspect.signature(resolve(builder.function)).parameters)
        assert set(builder.plan) <= set(fields)
        # TF1 graphs carry their own end points; Keras models do under whatever names.
        assert (builder.end_points != "") == ("keras" in builder.dialect)
        if builder.end_points:
            resolve(builder.end_points)


def test_no_variant_has_two_builders_in_one_dialect():
    pairs = [(builder.dialect, name) for builder in BUILDERS for name in builder.variants]
    assert len(pairs) == len(set(pairs))
    assert find_builder("resnet_v2_101", "keras").family == "resnet_v2"


@pytest.mark.parametrize("open_", [build, open_network])
def test_unknown_variant_names_near_ones(open_):
    with pytest.raises(OptionError, match="no builder knows the variant `resnet_v2_51`") as caught:
        open_("resnet_v2_51", "keras")
    assert "resnet_v2_50" in caught.value.hint


def test_unknown_dialect_names_those_that_are_there():
    with pytest.raises(OptionError, match="`resnet_v2_50` has no builder for dialect `torch`") as caught:
        build("resnet_v2_50", "torch")
    assert caught.value.expected == "one of slim, keras"


@pytest.mark.parametrize(
    ("dialect", "option"), [("slim", "pool1"), ("keras", "spatial_squeeze"), ("slim", "num_class")]
)
def test_unknown_option_names_those_that_are_there(dialect, option):
    with pytest.raises(OptionError, match=f"`{option}` is not an option of the {dialect} builder") as caught:
        build("resnet_v1_50", dialect, **{option: "same"})
    assert "output_stride" in caught.value.expected


@pytest.mark.parametrize(
    ("dialect", "missing"),
    [
        ("slim", "tensorflow"),
        ("keras", "keras"),
        pytest.param("slim", "tf_slim", marks=pytest.mark.tf),
        pytest.param("slim", "tf_keras", marks=pytest.mark.tf),
    ],
)
def test_missing_framework_says_what_to_install(dialect, missing):
    code = (
        "import sys, resport.architectures as architectures\n"
        "from resport.errors import MissingDependencyError\n"
        f"sys.modules[{missing!r}] = None\n"
        "try:\n"
        f"    architectures.build('resnet_v2_50', {dialect!r})\n"
        "except MissingDependencyError as error:\n"
        "    print(error, error.hint, sep='|')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout.startswith(f"building or running this network needs `{missing}`")
    assert 'pip install "resport[verify]"' in run.stdout
    assert issubclass(MissingDependencyError, ImportError)


def test_package_and_builders_import_no_framework():
    modules = {builder.function.partition(":")[0] for builder in BUILDERS}
    code = (
        f"import sys, importlib, resport.architectures\n[importlib.import_module(name) for name in {sorted(modules)}]\n"
        "print({'tensorflow', 'keras', 'tf_slim', 'tf_keras', 'numpy'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("variant", "dialect", "size"),
    [("resnet_v2_50", "slim", 224), ("se_resnet_50", "tensorpack", 224), ("resnext29_8x64d", "keras_split", 32)],
)
def test_own_input_size(variant, dialect, size):
    assert own_input_size(variant, dialect) == size
