"""Frozen graphs (``.pb``): networks that were published as one GraphDef with their weights as constants.

facenet was, and whatever ran on TensorFlow's mobile runtime before 2020. The tensors are the Const nodes (``graph_def``
says which are weights, and how the others are named). Opening walks over the nodes and reads no value; a tensor is read
from its place in the file. Only reading: a graph is code, and resport writes none.

A GraphDef has no magic number. It is recognised by its first node, whose name and operation must be such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from resport.errors import FormatError, OptionError
from resport.formats.base import Reader
from resport.formats.damage import located
from resport.formats.graph_def import GraphConst, GraphDef, begins_like_graph, parse_graph
from resport.formats.message_file import MessageFile
from resport.formats.source import regular_file_size
from resport.formats.tensor_proto import decode_tensor, parse_spec
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import numpy as np

FROZEN_GRAPH_FORMAT = "frozen-graph"


class FrozenGraphReader(Reader):
    """An open frozen graph.

    Args:
        path: the file.

    Raises:
        SourceNotFoundError: there is no such file.
        FormatError: it is no graph, is damaged, or has no constants.
    """

    format: ClassVar[str] = FROZEN_GRAPH_FORMAT

    def __init__(self, path: str) -> None:
        regular_file_size(path)
        self.path = path
        self.files = (path,)
        self.metadata: dict[str, str] = {}
        self._is_closed = False
        self._file = MessageFile(path)
        try:
            with located("the graph", path):
                graph = parse_graph(self._file, 0, self._file.n_bytes)
            if not graph.consts:
                raise FormatError(
                    f"`{path}` is a graph without constants, and so without weights",
                    path=path,
                    expected="a frozen graph",
                    got=f"{graph.n_nodes} nodes",
                    hint="pass the checkpoint that the graph was saved with",
                )
            self._consts = {const.name: const for const in graph.consts}
            self.manifest = manifest_of(graph, path)
        except BaseException:
            self.close()
            raise
        self.producer = producer_of(graph)

    def read(self, name: str) -> np.ndarray:
        """Read one tensor; see ``Reader.read``."""
        if self._is_closed:
            raise OptionError(f"`{self.path}` is closed")
        return read_const(self._file, self._consts[name])

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        self._is_closed = True
        self._file.close()


def is_frozen_graph(head: bytes, path: str) -> bool:
    """Whether a file that begins so can be a graph."""
    return begins_like_graph(head)


def manifest_of(graph: GraphDef, path: str) -> Manifest:
    """The manifest of a graph's constants.

    Raises:
        FormatError: two have one name.
    """
    with located("the graph", path):
        return Manifest(TensorSpec(const.name, const.spec.shape, const.spec.dtype) for const in graph.consts)


def producer_of(graph: GraphDef) -> str | None:
    """What wrote a graph: TensorFlow says the version of its graphs alone."""
    return f"tensorflow, graph version {graph.producer}" if graph.producer else None


def read_const(file: MessageFile, const: GraphConst) -> np.ndarray:
    """Read the value of a constant.

    Raises:
        FormatError: it is damaged, or not of the shape and dtype at its beginning.
    """
    with located("the constant", file.path, const.spec.name):
        data = memoryview(file.read(const.tensor))
        spec = parse_spec(const.spec.name, data)
        if spec != const.spec:
            raise FormatError("it has two shapes or dtypes", expected=const.spec, got=spec)
        return decode_tensor(data, spec)
