"""A network in a process of its own: for frameworks that cannot live with TensorFlow in one, and for other machines.

The command is run with two arguments, the path of a ``.npz`` with the images and that of the ``.npz`` which it is to
write. The images are the arrays ``0``, ``1``, …, one for each batch (batch, height, width, channels), in the dtype that
is to be computed in. The end points of batch 0 are to be written as ``0/NAME``, in network order, and so on: maps with
their channels last. ``.npz`` because it needs numpy alone and keeps the order of the arrays.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resport.errors import OptionError
from resport.formats import open_writer
from resport.formats.npz import NpzReader
from resport.tensors import TensorSpec
from resport.verification.own_networks.callable_side import as_end_points

if TYPE_CHECKING:
    import numpy as np

PROCESS_TIMEOUT_SECONDS = 600.0
SHOWN_LINES = 10


@dataclass(frozen=True, slots=True)
class ProcessSide:
    """A command that runs a network.

    Attributes:
        command: the program and its first arguments; no shell reads it.
        dtypes: what it can compute in.
        timeout_seconds: how long one run may take.
    """

    command: Sequence[str]
    dtypes: tuple[str, ...] = ("float32",)
    timeout_seconds: float = PROCESS_TIMEOUT_SECONDS
    kind: str = "process"

    @property
    def name(self) -> str:
        """What reports call it."""
        return " ".join(self.command)

    def run(self, dtype: str, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The end points for each batch of images, computed in a dtype.

        Raises:
            OptionError: the command can't be run, fails, takes too long or writes something else.
            FormatError: what it writes is no ``.npz`` of arrays.
        """
        batches = {str(index): batch.astype(dtype) for index, batch in enumerate(images)}
        specs = [TensorSpec(name, batch.shape, dtype) for name, batch in batches.items()]
        with tempfile.TemporaryDirectory(prefix="resport-") as folder:
            given, wanted = Path(folder) / "images.npz", Path(folder) / "outputs.npz"
            with open_writer(given, specs) as writer:
                for name, batch in batches.items():
                    writer.write(name, batch)
            self._call(given, wanted)
            if not wanted.is_file():
                raise OptionError(f"`{self.name}` wrote no end points", expected=f"a file `{wanted.name}`")
            with NpzReader(wanted) as reader:
                arrays = {name: reader.read(name) for name in reader.manifest}
        return [self._batch(index, arrays, dtype) for index in range(len(images))]

    def _call(self, given: Path, wanted: Path) -> None:
        try:
            done = subprocess.run(
                [*self.command, str(given), str(wanted)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=self.timeout_seconds,
            )
        except OSError as error:
            raise OptionError(f"`{self.name}` cannot be run: {error.strerror or error}") from error
        except subprocess.TimeoutExpired:
            raise OptionError(f"`{self.name}` took more than {self.timeout_seconds:g} seconds") from None
        if done.returncode != 0:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()[-SHOWN_LINES:]
            raise OptionError(f"`{self.name}` ended with status {done.returncode}", got="\n".join(lines) or None)

    def _batch(self, index: int, arrays: dict[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
        prefix = f"{index}/"
        outputs = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        if not outputs:
            raise OptionError(
                f"`{self.name}` wrote no end points of batch {index}",
                expected=f"arrays `{prefix}NAME`",
                got=", ".join([*arrays][:5]) or "no arrays",
            )
        return as_end_points(outputs, dtype, self.name)
