"""Random tables: expansion is a bijection, and every move puts every bit where numpy's transpose and reshape put it."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from resport.errors import PlanError
from resport.mapping import Expansion, Table, candidates, expand, load_table, plan_conversion
from resport.mapping.expansion import Parameter
from tests.mapping.random_tables import DIALECTS, VARIANTS, RandomTable, tables
from tests.mapping.toy import carried_out, manifest_of

quick = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables") / "random.toml"


def loaded(random: RandomTable, path: Path) -> Table:
    path.write_text(random.text, encoding="utf-8")
    return load_table(path)


@quick
@given(random=tables())
def test_names(random: RandomTable, path: Path) -> None:
    """Every name is claimed once, leads to its parameter, and is the one that was worked out beside the table."""
    table = loaded(random, path)
    for variant in VARIANTS:
        expansion = expand(table, variant)
        for dialect in DIALECTS:
            claimed = [name for parameter in expansion.parameters for name in parameter.names[dialect]]
            assert sorted(claimed) == sorted(set(claimed)) == sorted(random.names[variant][dialect])
            assert expansion.names(dialect) == claimed
            for name, parameter in expansion.by_name[dialect].items():
                assert name in parameter.names[dialect]
        for parameter in expansion.parameters:
            for dialect in DIALECTS:
                assert bool(parameter.names[dialect]) != (dialect in parameter.constants)


@quick
@given(random=tables())
def test_values(random: RandomTable, path: Path) -> None:
    """Each pair of dialects, there and back, bit for bit."""
    expansion = expand(loaded(random, path), VARIANTS[0])
    values = {dialect: values_by_numpy(expansion, dialect) for dialect in DIALECTS}
    for source in DIALECTS:
        for target in DIALECTS:
            manifest = manifest_of(expansion, source)
            try:
                there = plan_conversion(manifest, expansion, source, target)
            except PlanError:
                assert not shared(expansion, source, target), "a plan fails only where nothing would be moved"
                continue
            # An optional group of which the source has constants alone is absent, and so are its targets.
            assert same_bits(carried_out(there, values[source]), values[target], there.targets)
            if there.targets.keys() == values[target].keys():
                back = plan_conversion(there.targets, expansion, target, source)
                assert same_bits(carried_out(back, values[target]), values[source], back.targets)


@quick
@given(random=tables())
def test_check_and_detection(random: RandomTable, path: Path) -> None:
    """What a table expands to is found again, in each dialect that has a tensor."""
    table = loaded(random, path)
    for variant in VARIANTS:
        expansion = expand(table, variant)
        for dialect in DIALECTS:
            manifest = manifest_of(expansion, dialect)
            if manifest:
                assert any(
                    (each.dialect, each.score) == (dialect, 1.0)
                    for each in candidates(manifest, [table], dialect=dialect)
                )


def shared(expansion: Expansion, source: str, target: str) -> bool:
    return any(parameter.names[source] and parameter.names[target] for parameter in expansion.parameters)


def same_bits(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], names: object) -> bool:
    return all(found[name].tobytes() == expected[name].tobytes() for name in names)


def values_by_numpy(expansion: Expansion, dialect: str) -> dict[str, np.ndarray]:
    """A dialect's tensors, each cut out of one array for each parameter whose axes are in alphabetical order."""
    values: dict[str, np.ndarray] = {}
    for parameter in expansion.parameters:
        if not parameter.names[dialect]:
            continue
        names, canonical = canonical_values(parameter)
        fans, axes = parameter.fans[dialect], parameter.axes[dialect]
        ordered = canonical.transpose([names.index(name) for name in (*fans, *axes.names)])
        shape = tuple(math.prod(parameter.sizes[name] for name in group) for group in axes.groups)
        for name, array in zip(parameter.names[dialect], ordered.reshape((-1, *shape)), strict=True):
            values[name] = array
    return values


def canonical_values(parameter: Parameter) -> tuple[list[str], np.ndarray]:
    """Random bits for each element of a parameter, or its constant where a dialect has one."""
    home = next(dialect for dialect in DIALECTS if parameter.names[dialect])
    names = sorted({*parameter.axes[home].names, *parameter.fans[home]})
    shape = tuple(parameter.sizes[name] for name in names)
    if parameter.constants:
        return names, np.full(shape, next(iter(parameter.constants.values())), "f4")
    seed = zlib.crc32(repr(sorted(parameter.names.items())).encode())
    bits = np.random.default_rng(seed).integers(0, 2**32, shape, "u4")
    return names, np.asarray(bits, "u4").view("f4")
