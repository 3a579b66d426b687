"""SavedModel folders of TF1 and TF2: ``saved_model.pb`` and, beside it, a V2 checkpoint ``variables/variables``.

The weights are the checkpoint's; those of a TF2 model come under their layers' names (``object_graph``). Of the model
itself, which is a graph, only what says which TensorFlow wrote it is read. A model that was frozen before it was saved
has no variables: then the constants of its graph are listed, as those of a frozen graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from resport.dtypes import OPAQUE
from resport.errors import FormatError, OptionError
from resport.formats.base import Reader
from resport.formats.checkpoint_path import ResolvedPrefix, has_index
from resport.formats.damage import located
from resport.formats.frozen_graph import manifest_of, read_const
from resport.formats.graph_def import parse_graph
from resport.formats.message_file import FieldPlace, MessageFile
from resport.formats.source import not_found, regular_file_size
from resport.formats.tensor_bundle import TensorBundleReader

if TYPE_CHECKING:
    import numpy as np

SAVED_MODEL_FORMAT = "saved-model"
SAVED_MODEL_FILE = "saved_model.pb"
SAVED_MODEL_TEXT_FILE = "saved_model.pbtxt"
SAVED_MODEL_PREFIX = "variables/variables"


class SavedModelReader(Reader):
    """An open SavedModel.

    Args:
        path: the folder, or the file ``saved_model.pb`` in it.
        verify_checksums: whether values are checked against the checksums in the index of the variables.

    Attributes:
        producer: the TensorFlow that saved the model.

    Raises:
        SourceNotFoundError: there is no ``saved_model.pb``.
        FormatError: it is damaged, or text, or the checkpoint is damaged.
    """

    format: ClassVar[str] = SAVED_MODEL_FORMAT

    def __init__(self, path: str, *, verify_checksums: bool = True) -> None:
        self.path = path
        self._verify_checksums = verify_checksums
        folder = Path(path) if Path(path).is_dir() else Path(path).parent
        model = str(folder / SAVED_MODEL_FILE)
        _refuse_text(folder)
        regular_file_size(model)
        self.metadata = {}
        self._is_closed = False
        self._bundle: TensorBundleReader | None = None
        self._file = MessageFile(model)
        try:
            self._open(str(folder / SAVED_MODEL_PREFIX))
        except BaseException:
            self.close()
            raise

    def _open(self, prefix: str) -> None:
        with located("the model", self._file.path):
            version, graph = _parse_model(self._file)
        self.producer = f"tensorflow {version}" if version else None
        if has_index(prefix):
            self._bundle = TensorBundleReader(prefix, verify_checksums=self._verify_checksums)
            self.manifest = self._bundle.manifest
            self.metadata = self._bundle.metadata
            self.files = (self._file.path, *self._bundle.files)
            return
        if graph is None:
            raise FormatError(f"`{self._file.path}` has no graph", path=self._file.path)
        with located("the graph", self._file.path):
            constants = parse_graph(self._file, graph.start, graph.end)
        self._consts = {const.name: const for const in constants.consts}
        self.manifest = manifest_of(constants, self._file.path)
        self.files = (self._file.path,)
        if not any(const.is_weight and const.spec.dtype not in OPAQUE for const in constants.consts):
            raise FormatError(
                f"`{self.path}` is a model without weights, `{prefix}.index` is missing and its graph has no constants",
                path=self.path,
                hint="copy the whole folder, with `variables`",
            )

    def read(self, name: str) -> np.ndarray:
        """Read one tensor; see ``Reader.read``."""
        if self._is_closed:
            raise OptionError(f"`{self.path}` is closed")
        if self._bundle is not None:
            return self._bundle.read(name)
        return read_const(self._file, self._consts[name])

    def close(self) -> None:
        """Close the files. Closing twice is allowed."""
        self._is_closed = True
        self._file.close()
        if self._bundle is not None:
            self._bundle.close()


def resolve_saved_model(path: str) -> ResolvedPrefix | None:
    """The folder of the SavedModel that a path means: the folder itself, or ``saved_model.pb``; None for another path.

    Raises:
        FormatError: the model was saved as text.
    """
    place = Path(path)
    try:
        if place.is_dir():
            is_model = (place / SAVED_MODEL_FILE).is_file() or (place / SAVED_MODEL_TEXT_FILE).is_file()
            return ResolvedPrefix(path) if is_model else None
        if place.name not in {SAVED_MODEL_FILE, SAVED_MODEL_TEXT_FILE} or not place.is_file():
            return None
    except OSError:  # a path that the system refuses, such as one that is too long
        return None
    return ResolvedPrefix(str(place.parent), f"`{path}` is a file of the SavedModel `{place.parent}`, which was taken")


def _refuse_text(folder: Path) -> None:
    """Refuse a model in protobuf's text format, and say why."""
    if (folder / SAVED_MODEL_FILE).exists():
        return
    text = folder / SAVED_MODEL_TEXT_FILE
    if not text.exists():
        raise not_found(str(folder / SAVED_MODEL_FILE))
    raise FormatError(
        f"`{text}` is a model saved as text, which resport does not read",
        path=str(text),
        expected=f"`{SAVED_MODEL_FILE}`",
        hint=f"its variables, if it has some, are a checkpoint of their own: pass {folder / SAVED_MODEL_PREFIX}",
    )


def _parse_model(file: MessageFile) -> tuple[str, FieldPlace | None]:
    """Parse SavedModel {2 repeated meta graph {1 info {5 tensorflow_version}, 2 graph}}.

    Returns:
        TensorFlow's version, and where the first graph is.

    Raises:
        FormatError: it is damaged, or no SavedModel.
    """
    version, graph, n_graphs = "", None, 0
    for meta_graph in file.fields(0, file.n_bytes):
        if meta_graph.number != 2:
            continue
        n_graphs += 1
        for field in file.inner(meta_graph):
            if field.number == 1:
                texts = [file.read_text(inner) for inner in file.inner(field) if inner.number == 5]
                version = version or "".join(texts[-1:])
            elif field.number == 2 and field.is_bytes:
                graph = graph or field
    if not n_graphs:
        raise FormatError("it has no graph, as every SavedModel has", offset=0)
    return version, graph
