"""How the frameworks come in: late, quietly, and with a sentence where they are missing.

resport converts without TensorFlow; only what builds or runs a network asks for a framework here. TensorFlow greets
every process with a dozen lines on standard error, written from C++ past Python's ``sys.stderr`` and, before its
logging is set up, past its own log level. They would stand in the middle of a report, so the file descriptor is caught
for the time of the import. What is not such a greeting is passed on afterwards. The log level, which TensorFlow reads
from the environment once and keeps, is raised for that time too, unless the user has chosen one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

from resport.errors import MissingDependencyError

TF_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
TF_LOG_ERRORS = "2"
STDERR = 2
GREETING = re.compile(
    rb"I0000 |"  # information, absl's format
    rb"WARNING: All log messages before absl::InitializeLog|"
    rb"To enable the following instructions:|"  # second line of the CPU feature guard
    rb".*failed call to cuInit|"  # how TensorFlow says that there is no GPU
    rb"\s*$"
)


@functools.cache
def quiet_import_module(name: str) -> Any:
    """Import a framework without its start-up noise.

    Args:
        name: the module: ``tensorflow``, ``keras``, ``tf_slim``, ``tf_keras`` or a module inside one.

    Returns:
        The module. It is ``Any`` because none of the frameworks ships types.

    Raises:
        MissingDependencyError: it, or a framework it needs, is not installed.
    """
    try:
        with _log_errors_only(), _quiet_stderr(), quiet_warnings():
            module = importlib.import_module(name)
            if name == "tensorflow":
                # Looks for a GPU now: the first operation would, and would say so in the middle of something else.
                module.config.list_physical_devices("GPU")
            if name == "keras" and module.backend.backend() == "tensorflow":
                quiet_import_module("tensorflow")
            return module
    except ModuleNotFoundError as error:
        missing = error.name or name
        raise MissingDependencyError(
            f"building or running this network needs `{missing}`, which is not installed",
            hint='pip install "resport[verify]"',
        ) from error


@contextlib.contextmanager
def quiet_warnings() -> Iterator[None]:
    """Drop warnings that frameworks raise about each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def quiet_tracing() -> Iterator[None]:
    """Drop TensorFlow's advice about functions that are traced often.

    Keras compiles each grouped convolution by itself, and every layer's shapes are new ones.
    """

    def is_other(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


@contextlib.contextmanager
def _log_errors_only() -> Iterator[None]:
    chosen = os.environ.get(TF_LOG_LEVEL)
    os.environ.setdefault(TF_LOG_LEVEL, TF_LOG_ERRORS)
    try:
        yield
    finally:
        if chosen is None:
            os.environ.pop(TF_LOG_LEVEL, None)


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    try:
        kept = os.dup(STDERR)
    except OSError:
        # A process without standard error has nothing to keep quiet.
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)
            caught.seek(0)
            rest = b"".join(line for line in caught if not GREETING.match(line))
            if rest:
                os.write(STDERR, rest)
