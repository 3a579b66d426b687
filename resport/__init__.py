"""resport moves the weights of convolutional networks between the formats of ten years, exactly, and proves it.

    import resport

    report = resport.convert("model.ckpt-88000", "model.h5", to="keras")
    resport.verify("model.ckpt-88000", "model.h5").raise_for_difference()

The public names are those of ``__all__``. Importing the package imports none of its parts; each comes in when its
name is first used. The library prints nothing and sets no global state.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

from resport.errors import ResportError
from resport.lazy import lazy_names

if TYPE_CHECKING:
    from resport.architectures import build
    from resport.conversion import convert, inspect
    from resport.formats import open_reader, open_writer
    from resport.mapping import load_table
    from resport.verification import diff, verify, verify_against, verify_networks

__version__ = "0.1.0"

__all__ = [
    "ResportError",
    "build",
    "convert",
    "diff",
    "inspect",
    "load_table",
    "open_reader",
    "open_writer",
    "verify",
    "verify_against",
    "verify_networks",
]

_find = lazy_names(
    __name__,
    {
        "build": "resport.architectures",
        "diff": "resport.verification",
        "inspect": "resport.conversion",
        "load_table": "resport.mapping",
        "open_reader": "resport.formats",
        "open_writer": "resport.formats",
        "verify": "resport.verification",
        "verify_against": "resport.verification",
        "verify_networks": "resport.verification",
    },
)


def __getattr__(name: str) -> Any:
    if name == "convert":
        from resport.conversion import convert

        return _with_own_models(convert)
    return _find(name)


@cache
def _with_own_models(convert: Callable[..., Any]) -> Callable[..., Any]:
    """``convert`` that describes the models of ``.keras`` targets by resport's own networks, where nothing else does.

    Conversion doesn't know the networks: what knows both puts them together.
    """

    @wraps(convert)
    def described(*arguments: Any, describe: Callable[..., str] | None = None, **options: Any) -> Any:
        return convert(*arguments, describe=describe or _own_model, **options)

    return described


def _own_model(*arguments: Any, **options: Any) -> str:
    from resport.architectures.keras_archive import model_config

    return model_config(*arguments, **options)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
