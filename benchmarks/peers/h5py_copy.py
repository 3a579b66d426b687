"""h5py copying every dataset of a file, and the attributes: ``python h5py_copy.py SOURCE TARGET``."""

from __future__ import annotations

import sys

import h5py


def main(source: str, target: str) -> None:
    """Copy a file group by group."""
    with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
        for name in old:
            old.copy(name, new)
        for name, value in old.attrs.items():
            new.attrs[name] = value


if __name__ == "__main__":
    main(*sys.argv[1:])
