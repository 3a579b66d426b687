"""How long a forward pass takes, measured the way that such networks are published: burn-in steps, then steps.

Each network gets random weights and images, and runs as its framework is used: a slim graph in a session, a Keras
model called. Either can be compiled into a ``tf.function`` in place of that, by XLA if wanted; slim's graph is frozen
for it. The sizes beside the times are counted on the built network: every convolution and matrix product makes one
multiply-add for each element of its kernel and place of its output.
"""

from __future__ import annotations

import logging
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resport.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

    from resport.architectures import Network

NATIVE, FUNCTION, XLA = "native", "function", "xla"
MODES = (NATIVE, FUNCTION, XLA)

DEFAULT_DIALECTS = ("slim", "keras")
DEFAULT_STEPS = 100
DEFAULT_BURN_IN = 10

Step = Callable[[str, int, float], None]
"""Called after each counted step with the dialect, the step's number from 1, and its seconds."""

Run = Callable[[], object]

_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclass(frozen=True, slots=True)
class NetworkTiming:
    """What one network took.

    Attributes:
        dialect: of its builder.
        seconds: of each counted step.
        build_seconds: to build the network and fill it, and to compile it where that is asked for.
        batch_size: images in a step.
        parameters: values in all its variables.
        multiply_adds: of its convolutions and matrix products, for one image.
    """

    dialect: str
    seconds: tuple[float, ...]
    build_seconds: float
    batch_size: int
    parameters: int
    multiply_adds: int

    @property
    def mean(self) -> float:
        """Seconds per batch."""
        return statistics.fmean(self.seconds)

    @property
    def deviation(self) -> float:
        """Standard deviation of the seconds per batch."""
        return statistics.pstdev(self.seconds)

    @property
    def images_per_second(self) -> float:
        """Images per second."""
        return self.batch_size / self.mean

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "dialect": self.dialect,
            "seconds_per_batch": self.mean,
            "deviation": self.deviation,
            "images_per_second": self.images_per_second,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "build_seconds": self.build_seconds,
            "seconds": list(self.seconds),
        }


@dataclass(frozen=True, slots=True)
class TimingReport:
    """What the networks of a variant took, side by side.

    Attributes:
        variant: the variant.
        input_size: height and width of the images.
        dtype: what was computed in.
        mode: one of ``MODES``.
        burn_in: steps that were not counted.
        timings: one for each dialect.
    """

    variant: str
    input_size: int
    dtype: str
    mode: str
    burn_in: int
    timings: tuple[NetworkTiming, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "variant": self.variant,
            "input_size": self.input_size,
            "batch_size": self.timings[0].batch_size,
            "dtype": self.dtype,
            "mode": self.mode,
            "steps": len(self.timings[0].seconds),
            "burn_in": self.burn_in,
            "timings": [timing.to_dict() for timing in self.timings],
        }


def time_forward(
    variant: str,
    dialects: Sequence[str] = DEFAULT_DIALECTS,
    *,
    batch_size: int = 1,
    input_size: int | None = None,
    steps: int = DEFAULT_STEPS,
    burn_in: int = DEFAULT_BURN_IN,
    dtype: str = "float32",
    mode: str = NATIVE,
    threads: int | None = None,
    progress: Step | None = None,
) -> TimingReport:
    """Time the forward pass of a variant, one dialect after the other.

    Args:
        variant: the variant.
        dialects: the dialects of its builders.
        batch_size: images in a step.
        input_size: height and width of the images; None for what the variant is built for.
        steps: how many are counted.
        burn_in: how many come before these: the first ones trace, allocate and warm up.
        dtype: ``float32`` or ``float64``.
        mode: ``native``, ``function`` or ``xla``.
        threads: the most threads that an operation may use, and operations at once; None for all processors.
            TensorFlow takes it once in a process, before it computes.
        progress: called after each counted step.

    Raises:
        OptionError: a variant, dialect or value that cannot be meant, or TensorFlow has threads already.
        MissingDependencyError: a framework is not installed.
    """
    from resport.architectures.registry import own_input_size

    if mode not in MODES:
        raise OptionError("there is no such way to run a network", expected=f"one of {', '.join(MODES)}", got=mode)
    if min(batch_size, steps) < 1 or burn_in < 0 or not dialects:
        raise OptionError("there is nothing to time", expected="at least one image, step and dialect")
    size = input_size or own_input_size(variant, dialects[0])
    timings = []
    with limited_threads(threads):
        for dialect in dialects:
            started = time.perf_counter()
            run, counts, close = _open(variant, dialect, (batch_size, size), dtype, mode)
            build_seconds = time.perf_counter() - started
            try:
                seconds = measure(run, steps, burn_in, _for_dialect(progress, dialect))
            finally:
                close()
            timings.append(NetworkTiming(dialect, seconds, build_seconds, batch_size, *counts))
    return TimingReport(variant, size, dtype, mode, burn_in, tuple(timings))


def measure(
    run: Run,
    steps: int,
    burn_in: int,
    progress: Callable[[int, float], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, ...]:
    """Run a number of times and give the seconds of each, those in front left out.

    Args:
        run: what is timed.
        steps: how often, counted.
        burn_in: how often before.
        progress: called after each counted step with its number from 1 and its seconds.
        clock: gives the time in seconds.
    """
    seconds = []
    for step in range(1 - burn_in, steps + 1):
        started = clock()
        run()
        taken = clock() - started
        if step > 0:
            seconds.append(taken)
            if progress is not None:
                progress(step, taken)
    return tuple(seconds)


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Let TensorFlow start no more threads than these; None leaves it as it is.

    Raises:
        OptionError: less than one, or TensorFlow has its threads already.
    """
    if threads is None:
        yield
        return
    if threads < 1:
        raise OptionError("nothing runs without a thread", expected="at least 1", got=threads)
    from resport.architectures.frameworks import quiet_import_module

    before = {name: os.environ.get(name) for name in _THREADS}
    # Sessions read the environment, functions what is set below.
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    try:
        threading = quiet_import_module("tensorflow").config.threading
        try:
            threading.set_intra_op_parallelism_threads(threads)
            threading.set_inter_op_parallelism_threads(threads)
        except RuntimeError:
            raise OptionError(
                "TensorFlow has computed in this process already, and keeps the threads that it has",
                hint="set the number of threads before anything else, or in another process",
            ) from None
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _for_dialect(progress: Step | None, dialect: str) -> Callable[[int, float], None] | None:
    return None if progress is None else lambda step, seconds: progress(dialect, step, seconds)


def _open(
    variant: str, dialect: str, images: tuple[int, int], dtype: str, mode: str
) -> tuple[Run, tuple[int, int], Callable[[], None]]:
    """A built and filled network.

    Returns:
        What runs it once; its parameters and multiply-adds; and what gives its memory back.
    """
    from resport.architectures import open_network

    network: Any = open_network(variant, dialect, input_size=images[1], dtype=dtype)
    try:
        shapes = _shapes(network)
        network.load(_random_values(shapes))
        values = _random_images(images, dtype)
        is_keras = hasattr(network, "model")
        run = _keras_run(network, values, mode) if is_keras else _slim_run(network, values, mode)
        count = keras_multiply_adds(network.model) if is_keras else graph_multiply_adds(network.graph)
        return run, (sum(map(math.prod, shapes.values())), count), network.close
    except BaseException:
        network.close()
        raise


def _shapes(network: Network) -> dict[str, tuple[int, ...]]:
    variables: Mapping[str, Any] = network.variables  # type: ignore[attr-defined]
    return {name: tuple(variable.shape) for name, variable in variables.items()}


def _random_values(shapes: Mapping[str, tuple[int, ...]]) -> Callable[[str], np.ndarray]:
    from resport.tensors import random_tensor

    return lambda name: random_tensor(name, shapes[name], 0)


def _random_images(images: tuple[int, int], dtype: str) -> np.ndarray:
    import numpy as np

    batch_size, size = images
    return np.random.default_rng(0).uniform(-1, 1, (batch_size, size, size, 3)).astype(dtype)


def _slim_run(network: Any, images: np.ndarray, mode: str) -> Run:
    if mode == NATIVE:
        call = network.session.make_callable(network.outputs, feed_list=[network.inputs])
        return lambda: call(images)
    from resport.architectures.frameworks import quiet_import_module

    tf = quiet_import_module("tensorflow")
    with _without_advice():
        frozen = tf.compat.v1.graph_util.convert_variables_to_constants(
            network.session, network.graph.as_graph_def(), [network.outputs.op.name]
        )
    # Images take the place of the placeholder, which XLA could not compile.
    del frozen.node[[node.name for node in frozen.node].index(network.inputs.op.name)]

    def forward(batch: Any) -> Any:
        (outputs,) = tf.graph_util.import_graph_def(
            frozen, {network.inputs.name: batch}, [network.outputs.name], name=""
        )
        return outputs

    return _compiled(tf, forward, images, mode)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Drop TensorFlow's advice against functions of its first version: there is no other for such graphs."""
    logger = logging.getLogger("tensorflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _keras_run(network: Any, images: np.ndarray, mode: str) -> Run:
    from resport.architectures.frameworks import quiet_import_module

    tf = quiet_import_module("tensorflow")

    def forward(batch: Any) -> Any:
        return network.model(batch, training=False)

    if mode != NATIVE:
        return _compiled(tf, forward, images, mode)
    batch = tf.constant(images)
    return lambda: forward(batch).numpy()


def _compiled(tf: Any, forward: Callable[[Any], Any], images: np.ndarray, mode: str) -> Run:
    batch = tf.constant(images)
    compiled = tf.function(forward, jit_compile=mode == XLA or None).get_concrete_function(batch)
    return lambda: compiled(batch).numpy()


def graph_multiply_adds(graph: Any) -> int:
    """Multiply-adds for one image of the convolutions and matrix products of a TF1 graph.

    Args:
        graph: a ``tf.Graph`` whose input has a known height and width.
    """
    count = 0
    for operation in graph.get_operations():
        if operation.type in {"Conv2D", "DepthwiseConv2dNative"}:
            # The graphs are built channels last: the axes between batch and channels are the places of the kernel.
            count += math.prod(operation.inputs[1].shape) * math.prod(operation.outputs[0].shape[1:3])
        elif operation.type == "MatMul":
            count += math.prod(operation.inputs[1].shape)
    return count


def keras_multiply_adds(model: Any) -> int:
    """Multiply-adds for one image of the convolutions and dense layers of a Keras model.

    Args:
        model: a functional model whose input has a known height and width.
    """
    count = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            is_first = getattr(layer, "data_format", None) == "channels_first"
            shape = layer.output.shape
            count += math.prod(kernel.shape) * math.prod(shape[2:] if is_first else shape[1:-1])
    return count
