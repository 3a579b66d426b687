"""What takes long to make out of the tables, kept beside Python's own compiled modules under a stamp of its origin.

Where Python keeps no modules (``PYTHONDONTWRITEBYTECODE``, a folder that cannot be written to) nothing is kept either.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def kept(name: str, stamp: str, read: Callable[[Any], T]) -> T | None:
    """The value that was kept under a name, if it was under this stamp and can be read; None otherwise.

    Args:
        name: of the file.
        stamp: tells what the value was made of.
        read: makes the value out of the plain one.
    """
    place = _place(name)
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        found = json.loads(place.read_bytes()) if place else {}
        if found["stamp"] == stamp:
            return read(found["value"])
    return None


def keep(name: str, stamp: str, value: Any) -> None:
    """Keep a value, in one step, for others may read; one that JSON cannot hold is not kept.

    Args:
        name: of the file.
        stamp: tells what the value was made of.
        value: plain values.
    """
    place = _place(name)
    if place is None or sys.dont_write_bytecode:
        return
    temporary = place.with_name(f"{name}.{os.getpid()}")
    with contextlib.suppress(OSError, TypeError):
        temporary.write_text(json.dumps({"stamp": stamp, "value": value}, separators=(",", ":")), encoding="utf-8")
        temporary.replace(place)


def _place(name: str) -> Path | None:
    cached = __spec__.cached if __spec__ is not None else None
    return Path(cached).with_name(name) if cached else None
