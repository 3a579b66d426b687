"""Networks of one family filled with one set of weights: made by ``initialize``, converted by ``convert``, each loaded
by its own names into its own builder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import resport
from resport.architectures import Network, open_network
from resport.conversion.initialization import initialize
from resport.mapping import tables_folder

Outputs = dict[str, np.ndarray]


def edited_table(folder: Path, family: str, edits: Mapping[str, str]) -> Path:
    """A copy of a shipped table with lines replaced: ``edits`` gives for the start of a line what follows its ``=``."""
    text = (tables_folder() / f"{family}.toml").read_text(encoding="utf-8")
    for name, value in edits.items():
        text, count = re.subn(rf"(?m)^({re.escape(name)} *=).*$", rf"\1 {value}", text)
        assert count == 1, name
    path = folder / f"{family}_edited.toml"
    path.write_text(text, encoding="utf-8")
    return path


def converted_files(
    folder: Path,
    variant: str,
    dialects: Sequence[str],
    *,
    table: Path | None = None,
    num_classes: int = 5,
    seed: int = 3,
) -> dict[str, Path]:
    """A checkpoint of float64 weights in each dialect, all but the first one converted from the one before."""
    files = {dialect: folder / f"{variant}.{dialect}.safetensors" for dialect in dialects}
    first, *others = dialects
    initialize(variant, files[first], dialect=first, seed=seed, num_classes=num_classes, dtype="float64", table=table)
    before = first
    for dialect in others:
        resport.convert(files[before], files[dialect], from_=before, to=dialect, variant=variant, table=table)
        before = dialect
    return files


@contextmanager
def filled(file: Path, variant: str, dialect: str, **options: Any) -> Iterator[Network]:
    """A dialect's own network, filled from a file by its own names."""
    with resport.open_reader(file) as reader, open_network(variant, dialect, **options) as network:
        assert set(reader.manifest) == set(network.names)
        network.load(reader.read)
        yield network


def outputs_of(file: Path, variant: str, dialect: str, images: np.ndarray, **options: Any) -> Outputs:
    """The end points of such a network, built for the size of the images."""
    with filled(file, variant, dialect, input_size=images.shape[1:3], **options) as network:
        return network.forward(images)


def outputs_at(
    sizes: Sequence[tuple[int, int]], file: Path, variant: str, dialect: str, **options: Any
) -> list[Outputs]:
    """The end points for images of several sizes, of one network that leaves the size open."""
    with filled(file, variant, dialect, input_size=None, **options) as network:
        return [network.forward(signed_images(size)) for size in sizes]


def signed_images(size: tuple[int, int], seed: int = 1) -> np.ndarray:
    """Two random images."""
    return np.random.default_rng(seed).normal(size=(2, *size, 3))


def largest_difference(reference: Outputs, judged: Outputs, names: Sequence[str] | None = None) -> float:
    """The largest difference at an end point, relative to that end point's largest value."""
    worst = 0.0
    for name in reference if names is None else names:
        assert judged[name].shape == reference[name].shape, name
        scale = np.abs(reference[name]).max()
        assert scale > 1e-9, name
        worst = max(worst, float(np.abs(judged[name] - reference[name]).max() / scale))
    return worst
