"""The versions that a verdict rests on, told without importing what they are of."""

from __future__ import annotations

import platform
from importlib import metadata

ENVIRONMENT_DISTRIBUTIONS = ("numpy", "tensorflow", "keras", "tf-keras", "tf-slim", "h5py", "ml-dtypes")
"""What the figures of a verification depend on beside resport and Python."""


def environment() -> dict[str, str]:
    """The versions of resport, Python and the libraries that are installed, and the kind of machine; no host, no time.

    Returns:
        Version by name, in a fixed order; a library that isn't installed is left out.
    """
    from resport import __version__

    versions = {"resport": __version__, "python": platform.python_version()}
    for name in ENVIRONMENT_DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    versions["platform"] = f"{platform.system()} {platform.machine()}"
    return versions
