"""The checkpoints that are converted, made on the spot with random values.

What is imported comes in inside of functions, which run in a process of their own: Linux counts the memory of the
process that starts a command as the command's.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resport.tensors import TensorSpec

BIG_MATRICES = 8
BIG_SIDE = 11_585
"""Of a square matrix of 512 MiB."""
BIG_VECTORS = 10_000
BIG_TABLE = f"""family  = "big"
columns = ["slim", "torch", "axes"]

[variants]
big_{BIG_MATRICES} = {{ b = {BIG_MATRICES}, v = {BIG_VECTORS} }}

[root]
slim = "big/"

[[group]]
over = ["b"]
rows = [["block{{b}}/weights", "block.{{b}}.weight", "dense"]]

[[group]]
over = ["v"]
rows = [["vector{{v}}/gamma", "vector.{{v}}.weight", "vector"]]
"""

_BLOCK_BYTES = 1 << 20


def made(write: Callable[..., None], *arguments: Any) -> None:
    """Make files in a process of its own.

    Raises:
        RuntimeError: it failed.
    """
    process = multiprocessing.get_context("fork").Process(target=write, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{write.__name__} failed with {process.exitcode}")


def random_pieces(n_bytes: int) -> Iterator[bytes]:
    """Random float32 between -2 and 2, the same block of them again and again."""
    block = bytearray(random.Random(0).randbytes(min(n_bytes, _BLOCK_BYTES)))
    # Without the exponent's upper bit: a file of weights has no infinity and no NaN.
    block[3::4] = block[3::4].translate(bytes(last & 0xBF for last in range(256)))
    for start in range(0, n_bytes, _BLOCK_BYTES):
        yield bytes(block[: n_bytes - start])


def write_checkpoint(path: Path, specs: Iterable[TensorSpec], format: str | None = None) -> None:
    """A checkpoint of random values."""
    from resport.formats import open_writer
    from resport.tensors import Manifest

    manifest = Manifest(specs)
    with open_writer(path, manifest.values(), format=format) as writer:
        for name, spec in manifest.items():
            writer.write_pieces(name, random_pieces(spec.nbytes))


def write_network(path: Path, variant: str) -> None:
    """A slim checkpoint of a network."""
    from resport.conversion import initialize

    initialize(variant, path, num_classes=1001)


def write_copy(path: Path, source: Path, **options: str) -> None:
    """A checkpoint in another format or dialect."""
    from resport.conversion import convert

    convert(source, path, **options)


def write_big(path: Path) -> None:
    """A checkpoint of 4.3 GB: a few tensors of 512 MiB, many of 1 KiB; and the table that transposes it."""
    from resport.tensors import TensorSpec

    specs = [TensorSpec(f"big/block{b}/weights", (BIG_SIDE, BIG_SIDE), "float32") for b in range(1, BIG_MATRICES + 1)]
    specs += [TensorSpec(f"big/vector{n}/gamma", (256,), "float32") for n in range(1, BIG_VECTORS + 1)]
    write_checkpoint(path, specs)
    path.with_suffix(".toml").write_text(BIG_TABLE)


def write_many(path: Path, n_tensors: int, n_values: int = 16) -> None:
    """A checkpoint of many small tensors."""
    from resport.tensors import TensorSpec

    names = (f"layer_{number // 100}/unit_{number % 100}/weights" for number in range(n_tensors))
    write_checkpoint(path, (TensorSpec(name, (n_values,), "float32") for name in names))


def write_sized(path: Path, n_bytes: int) -> None:
    """A checkpoint of so many bytes in tensors of 1 MiB, or of a tenth where that is less."""
    from resport.tensors import TensorSpec

    n_tensors = max(10, n_bytes >> 20)
    shape = (n_bytes // n_tensors // 4,)
    write_checkpoint(path, (TensorSpec(f"layer_{number}/weights", shape, "float32") for number in range(n_tensors)))


def has_room(folder: Path, n_bytes: int) -> bool:
    """Whether so much fits on the disk, and leaves something."""
    return shutil.disk_usage(folder).free > 1.25 * n_bytes
