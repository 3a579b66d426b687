"""What only the user can tell of an old source: the options of readers, and which files they are for.

They decide which values a file is taken to have, so reports name them, and a target keeps them in its provenance, from
where a comparison of the two takes them again.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from resport.conversion.provenance import stored_options
from resport.conversion.target import check_complete
from resport.errors import OptionError
from resport.formats import Reader, format_of_source, open_reader

ReadingOptions = Mapping[str, Any]
"""Options of readers by their names; those that were not given are not in it."""


def reading_options(*, kernel_order: str | None = None, deviation_epsilon: float | None = None) -> ReadingOptions:
    """The options that were given."""
    given: dict[str, Any] = {}
    if kernel_order is not None:
        given["kernel_order"] = kernel_order
    if deviation_epsilon is not None:
        given["deviation_epsilon"] = float(deviation_epsilon)
    return given


def recorded_reading(metadata: Mapping[str, str]) -> ReadingOptions:
    """The options with which the source of a target was read, as the target's provenance says."""
    stored = stored_options(metadata)
    order, epsilon = stored.get("kernel_order"), stored.get("deviation_epsilon")
    return reading_options(
        kernel_order=order if isinstance(order, str) else None,
        deviation_epsilon=epsilon if isinstance(epsilon, float) else None,
    )


@contextmanager
def open_both(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    options: ReadingOptions,
    *,
    recorded: bool = False,
    checksum: bool = True,
) -> Iterator[tuple[Reader, Reader]]:
    """Open two checkpoints that are to be compared, all files of them there, each with the options that its reader has.

    Args:
        source: one of them.
        target: the other.
        options: those that were given.
        recorded: read the source as the target's provenance says, where the options don't.
        checksum: hold the values against the checksums that the two have of them.

    Raises:
        OptionError: neither reader has one of the options.
        FormatError: one of them is damaged, or a file of it is missing.
        SourceNotFoundError: one of them is not there.
    """
    takes = [_takes(path) if options or recorded else frozenset[str]() for path in (source, target)]
    for option in options.keys() - takes[0] - takes[1]:
        raise OptionError(
            f"neither `{os.fspath(source)}` nor `{os.fspath(target)}` is read with the option `{option}`",
            expected="a Keras HDF5 file",
            got=option,
        )
    with open_reader(target, checksum=checksum, **_of(options, takes[1])) as judged:
        known = recorded_reading(judged.metadata) if recorded else {}
        with open_reader(source, checksum=checksum, **_of({**known, **options}, takes[0])) as reference:
            check_complete(reference)
            check_complete(judged)
            yield reference, judged


def _takes(path: str | os.PathLike[str]) -> frozenset[str]:
    """The options of the reader of a file."""
    return frozenset(inspect.signature(format_of_source(path)[0].load_reader()).parameters)


def _of(options: ReadingOptions, names: frozenset[str]) -> dict[str, Any]:
    return {option: value for option, value in options.items() if option in names}
