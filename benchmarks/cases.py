"""What is measured: for each file what resport does with it, what others do, and the limit that it is held against."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import files

PYTHON = sys.executable
_SCRIPT = Path(PYTHON).with_name("resport")
# What a user types, where it is installed beside the interpreter.
RESPORT = (str(_SCRIPT),) if _SCRIPT.is_file() else (PYTHON, "-m", "resport")
PEERS = Path(__file__).parent / "peers"

LIMIT, OURS, PEER = "limit", "resport", "peer"


@dataclass(frozen=True, slots=True)
class Case:
    """One command.

    Attributes:
        name: what it does.
        command: its words; they name files of the group's folder, and write into ``out``.
        kind: ``limit``, ``resport`` or ``peer``.
        is_slow: it takes seconds because it imports a framework, and runs fewer times.
    """

    name: str
    command: Sequence[str]
    kind: str = OURS
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """What is done with one file.

    Attributes:
        title: the file.
        prepare: makes it, and what else the cases need, in a folder.
        cases: the commands, the limit in front: ratios are to its time.
        nbytes: of the checkpoint, roughly.
        is_quick: whether ``--quick`` measures it.
        n_files: how many of that size there are at once: sources, and what is written.
    """

    title: str
    prepare: Callable[[Path], None]
    cases: Sequence[Case]
    nbytes: int
    is_quick: bool = False
    n_files: int = 6

    @property
    def is_large(self) -> bool:
        """Whether each run takes so long that few of them must do."""
        return self.nbytes > 1_000_000_000


def limit_of(source: str) -> Case:
    """What nothing that reads and writes arrays in Python can be quicker than: the imports, and the copy."""
    script = f'"{PYTHON}" -c "import numpy, h5py" && cp {source} out/'
    return Case("import numpy, h5py + cp", ["sh", "-c", script], LIMIT)


def copy_of(source: str) -> Case:
    """The copy alone, of what takes so long that the imports don't count."""
    return Case("cp", ["sh", "-c", f"cp {source} out/"], LIMIT)


def ours(name: str, *words: str) -> Case:
    """A command of resport."""
    return Case(name, [*RESPORT, *words])


def peer(name: str, script: str, *words: str, is_slow: bool = True) -> Case:
    """A script of the folder ``peers``."""
    return Case(name, [PYTHON, str(PEERS / script), *words], PEER, is_slow)


def _network(variant: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        source = folder / "model.ckpt-0"
        files.write_network(source, variant)
        files.write_copy(folder / "v1.ckpt", source, format="tensorflow-v1")
        for name in ("keras.safetensors", "keras.h5", "keras.weights.h5"):
            files.write_copy(folder / name, source, to="keras")

    return prepare


def _conversions(source: str) -> list[Case]:
    return [
        ours("slim to .safetensors", "slim-to-keras", source, "out/a.safetensors"),
        ours("... not read back", "slim-to-keras", source, "out/a.safetensors", "--no-readback"),
        ours("slim to .h5", "slim-to-keras", source, "out/a.h5"),
        ours("slim to .weights.h5", "slim-to-keras", source, "out/a.weights.h5"),
        ours("slim to torch .safetensors", "convert", source, "out/a.safetensors", "--to", "torch_bias"),
        ours("slim to shards", "slim-to-keras", source, "out/a.safetensors", "--max-shard-size", "40MB"),
        ours("slim to 4 data files", "convert", source, "out/b.ckpt", "--n-shards", "4"),
        ours(".safetensors to slim", "keras-to-slim", "keras.safetensors", "out/b.ckpt"),
        ours(".h5 to slim", "keras-to-slim", "keras.h5", "out/b.ckpt"),
        ours("V1 to .safetensors", "slim-to-keras", "v1.ckpt", "out/a.safetensors"),
        ours("diff", "diff", source, "v1.ckpt"),
        ours("verify --weights-only", "verify", source, "keras.h5", "--weights-only"),
    ]


_SOURCE = "model.ckpt-0"

RESNET_50 = Group(
    "resnet_v2_50, 272 tensors, 102 MB",
    _network("resnet_v2_50"),
    [
        limit_of(f"{_SOURCE}.*"),
        *_conversions(_SOURCE),
        ours(".h5 to .h5", "convert", "keras.h5", "out/a.h5"),
        peer("h5py, dataset by dataset", "h5py_copy.py", "keras.h5", "out/hand.h5", is_slow=False),
        peer("TF reader, safetensors", "reader_to_safetensors.py", _SOURCE, "out/hand.safetensors"),
        peer("by hand, .weights.h5", "by_hand.py", _SOURCE, "out/hand.weights.h5"),
    ],
    nbytes=102_000_000,
    is_quick=True,
)

LISTING = Group(
    "listing resnet_v2_50",
    _network("resnet_v2_50"),
    [
        Case("import numpy", [PYTHON, "-c", "import numpy"], LIMIT),
        ours("inspect V2", "inspect", _SOURCE),
        ours("inspect V1", "inspect", "v1.ckpt"),
        ours("inspect .h5", "inspect", "keras.h5"),
        ours("inspect .safetensors", "inspect", "keras.safetensors"),
        ours("--help", "--help"),
        Case(
            "inspect_checkpoint of TensorFlow",
            [PYTHON, "-m", "tensorflow.python.tools.inspect_checkpoint", f"--file_name={_SOURCE}"],
            PEER,
            True,
        ),
    ],
    nbytes=102_000_000,
    is_quick=True,
)

RESNET_200 = Group(
    "resnet_v2_200, 1,072 tensors, 260 MB",
    _network("resnet_v2_200"),
    [
        limit_of(f"{_SOURCE}.*"),
        *_conversions(_SOURCE),
        peer("TF reader, safetensors", "reader_to_safetensors.py", _SOURCE, "out/hand.safetensors"),
    ],
    nbytes=259_000_000,
)


def _prepare_big(folder: Path) -> None:
    source = folder / "big"
    files.write_big(source)
    files.write_copy(folder / "v1.ckpt", source, format="tensorflow-v1")
    for name in ("big.safetensors", "big.weights.h5"):
        files.write_copy(folder / name, source)


BIG = Group(
    "8 tensors of 512 MiB and 10,000 of 1 KiB, 4.3 GB",
    _prepare_big,
    [
        copy_of("big.data-*"),
        Case("cp, and wait for the disk", ["sh", "-c", "cp big.data-* out/ && sync out/*"], LIMIT),
        ours("to .safetensors", "convert", "big", "out/a.safetensors"),
        ours("to .h5", "convert", "big", "out/a.h5"),
        ours("to .weights.h5", "convert", "big", "out/a.weights.h5"),
        ours("to another V2", "convert", "big", "out/b.ckpt"),
        ours("transposed", "convert", "big", "out/a.safetensors", "--table", "big.toml", "--to", "torch"),
        ours(".safetensors to V2", "convert", "big.safetensors", "out/b.ckpt"),
        ours(".weights.h5 to V2", "convert", "big.weights.h5", "out/b.ckpt"),
        ours("V1 to .safetensors", "convert", "v1.ckpt", "out/a.safetensors"),
    ],
    nbytes=4_300_000_000,
    n_files=5,
)

MANY = Group(
    "100,000 tensors of 64 bytes",
    lambda folder: files.write_many(folder / "many", 100_000),
    [
        limit_of("many.*"),
        ours("to .safetensors", "convert", "many", "out/a.safetensors"),
        ours("to another V2", "convert", "many", "out/b.ckpt"),
        ours("inspect", "inspect", "many"),
        peer("TF reader, safetensors", "reader_to_safetensors.py", "many", "out/hand.safetensors"),
    ],
    nbytes=10_000_000,
)

GROUPS = (RESNET_50, LISTING, RESNET_200, MANY, BIG)
