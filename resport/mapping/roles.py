"""What a tensor is for, told by its name alone: weight, statistic, moving average, optimizer slot, step counter."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from resport.dtypes import OPAQUE
from resport.mapping.detection import ignored_kind
from resport.mapping.parsing import COMMON_FILE, read_toml
from resport.mapping.tables import tables_folder
from resport.tensors import TensorSpec

WEIGHT = "weight"
STATISTIC = "statistic"
TEXT = "text"


def role_of(spec: TensorSpec) -> str:
    """The role of a tensor.

    Returns:
        ``weight``, ``statistic``, a kind of the common ignore lists (``average``, ``optimizer``, ``step``, ...), or
        ``text`` for what holds no numbers.
    """
    if spec.dtype in OPAQUE:
        return TEXT
    return ignored_kind(spec.name, _role_globs()) or WEIGHT


@cache
def _role_globs() -> Mapping[str, tuple[str, ...]]:
    common = read_toml(tables_folder() / COMMON_FILE)[0]
    globs: dict[str, tuple[str, ...]] = {}
    for kinds in (*common["ignore"].values(), common["roles"]):
        for kind, patterns in kinds.items():
            globs[kind] = (*globs.get(kind, ()), *patterns)
    return globs
