"""Networks that stay open from one pass to the next: building costs more than running, and they are run many times."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from resport.architectures import Network

Read = Callable[[str], "np.ndarray"]


@runtime_checkable
class ComputesInBoth(Protocol):
    """A network that can change the dtype of its arithmetic."""

    def compute_in(self, dtype: str) -> None:
        """Compute in a dtype from now on."""


class NetworkPool:
    """Open networks, each built once for all who ask for the same. Use it as a context manager.

    A Keras model is built once for both dtypes: in float64, computing in the one that is asked for.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Network] = {}
        self._loaded: dict[int, Read] = {}
        self._stack = ExitStack()

    def network(
        self, key: str, open_one: Callable[[str], Network], dtype: str, read: Read, *, is_one_for_both: bool
    ) -> Network:
        """A network that holds the values of one side.

        Args:
            key: what tells it from other networks, the dtype aside.
            open_one: builds it in a dtype.
            dtype: what it is to compute in.
            read: gives the tensor that it calls by a name; loaded unless it is what the network holds already.
            is_one_for_both: one that was built in float64 computes in float32 too.

        Raises:
            OptionError: a tensor is missing, or doesn't fit the network.
        """
        network = self.built(key, open_one, "float64" if is_one_for_both else dtype)
        if isinstance(network, ComputesInBoth):
            network.compute_in(dtype)
        if self._loaded.get(id(network)) is not read:
            network.load(read)
            self._loaded[id(network)] = read
        return network

    def built(self, key: str, open_one: Callable[[str], Network], dtype: str) -> Network:
        """A network that was built in a dtype, with or without values.

        Args:
            key: what tells it from other networks, the dtype aside.
            open_one: builds it in a dtype.
            dtype: what it is built in.
        """
        if (key, dtype) not in self._open:
            self._open[key, dtype] = self._stack.enter_context(open_one(dtype))
        return self._open[key, dtype]

    def forget_values(self, network: Network) -> None:
        """Load the values again the next time."""
        self._loaded.pop(id(network), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.clear()
        self._loaded.clear()
        self._stack.close()
