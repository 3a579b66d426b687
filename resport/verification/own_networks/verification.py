"""Networks of one's own, outside of all families: the same evidence on whatever end points the two share."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resport.conversion.conversion import considered_tables
from resport.conversion.reading import reading_options
from resport.errors import OptionError
from resport.verification.forward.forward import random_images
from resport.verification.mistakes.findings import Finding
from resport.verification.own_networks.callable_side import CallableSide
from resport.verification.own_networks.diagnosis import can_diagnose, diagnose_own
from resport.verification.own_networks.forward import OwnSide, compare_sides
from resport.verification.own_networks.keras_side import KerasModelSide
from resport.verification.own_networks.saved_model_side import SavedModelSide
from resport.verification.pairing import Pair, opened_pair
from resport.verification.report import Side, VerificationReport, WeightsResult
from resport.verification.weights import compare_weights

if TYPE_CHECKING:
    import numpy as np

OWN_INPUT_SIZES = (64, 65)
"""Heights of the images where neither network asks for its own: paddings differ on even maps, so one is odd."""


def verify_networks(
    source: Any,
    target: Any,
    *,
    images: np.ndarray | Sequence[np.ndarray] | None = None,
    input_sizes: Sequence[int] | None = None,
    batch_size: int = 2,
    seed: int = 0,
    end_points: Mapping[str, str] | None = None,
    source_checkpoint: str | os.PathLike[str] | None = None,
    target_checkpoint: str | os.PathLike[str] | None = None,
    table: str | os.PathLike[str] | None = None,
    drop_background: bool | None = None,
    ema: bool | None = None,
    fold: bool | None = None,
    swap_rgb: bool | None = None,
    dtype: str | None = None,
    ignore: Iterable[str] = (),
    progress: Callable[[str], None] | None = None,
) -> VerificationReport:
    """Verify that two networks of one's own compute the same.

    Args:
        source: the reference: a Keras model, the folder of a SavedModel, a function (images to an array, or to arrays
            by end point), or one of the sides of ``resport.verification``, which say more.
        target: what is judged, likewise.
        images: batches (batch, height, width, channels) to run, in place of random ones; they are taken in float32.
        input_sizes: heights and widths of random images; None for those that a model is made for, or 64 and 65.
        batch_size: random images in each pass.
        seed: of the random images.
        end_points: names of end points in the target by those in the source; None compares those of one name.
        source_checkpoint: where the source's weights are; with the next, they are compared bit for bit.
        target_checkpoint: where the target's weights are.
        table: the mapping table between the two; None looks among those that are shipped, and compares by name where
            none knows the network.
        drop_background: as in ``verify``, of the checkpoints; the next five too.
        ema: as in ``verify``.
        fold: as in ``verify``.
        swap_rgb: as in ``verify``.
        dtype: as in ``verify``.
        ignore: as in ``verify``.
        progress: called with what is done next.

    Returns:
        The verdict with its evidence, as ``verify`` gives it. A difference is explained by the known mistakes where
        both checkpoints are given, a table knows them, the target is a Keras model and the images are random.

    Raises:
        OptionError: what is no network, networks that share no end point, or one checkpoint without the other.
        ResportError: a network can't be run, or a checkpoint can't be read.

    Example:
        >>> resport.verify_networks(old_model, lambda images: new_model(images).numpy())  # doctest: +SKIP
    """
    started = time.perf_counter()
    sides = as_side(source), as_side(target)
    given = {"drop_background": drop_background, "ema": ema, "fold": fold, "swap_rgb": swap_rgb, "dtype": dtype}
    batches = _batches(images, input_sizes or _own_sizes(sides), batch_size, seed)
    with _paired(source_checkpoint, target_checkpoint, table, given, tuple(ignore)) as (pair, notes):
        weights = compare_weights(pair.source, pair.target, pair.plan, pair.ignored) if pair else None
        forward, said = compare_sides(sides[0], sides[1], batches, end_points=end_points, progress=progress)
        findings: tuple[Finding, ...] = ()
        # Mistakes are tried on random images: networks that were given others may not take these.
        if pair and weights and images is None and not forward.is_equal and can_diagnose(*sides, pair):
            findings = diagnose_own(pair, *sides, forward, weights, end_points=end_points, progress=progress)
    return VerificationReport(
        source=_described(sides[0]),
        target=_described(sides[1]),
        weights=weights or WeightsResult(0, 0, ()),
        forward=forward,
        forward_reason=None,
        options=pair.options.value_changes() if pair else {},
        seconds=time.perf_counter() - started,
        notes=(*notes, *said),
        diagnosis=findings,
        weights_reason=None if weights else "no checkpoints were given",
    )


def as_side(network: Any) -> OwnSide:
    """A network of one's own as something to run.

    Args:
        network: see ``verify_networks``.

    Raises:
        OptionError: it is no network.
    """
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(network, keras.Model):
        return KerasModelSide(network)
    if hasattr(network, "run") and hasattr(network, "dtypes"):
        side: OwnSide = network
        return side
    if isinstance(network, str | os.PathLike):
        if not Path(network).is_dir():
            raise OptionError(
                f"`{os.fspath(network)}` is no folder of a SavedModel",
                hint='hand over the model itself: keras.saving.load_model("model.keras")',
            )
        return SavedModelSide(network)
    if callable(network):
        return CallableSide(network)
    raise OptionError(
        "this is no network", expected="a Keras model, a function, or the folder of a SavedModel", got=type(network)
    )


def _own_sizes(sides: Iterable[OwnSide]) -> tuple[int, ...]:
    """The size that a network is made for, where one is."""
    fixed = [size for side in sides if (size := getattr(side, "input_size", None)) is not None]
    return (fixed[0],) if fixed else OWN_INPUT_SIZES


def _batches(
    images: np.ndarray | Sequence[np.ndarray] | None, input_sizes: Sequence[int], batch_size: int, seed: int
) -> list[np.ndarray]:
    import numpy as np

    if images is None:
        if min((batch_size, *input_sizes)) < 1:
            raise OptionError("there is at least one image of at least one pixel", got=(batch_size, *input_sizes))
        return [random_images(size, batch_size, seed) for size in input_sizes]
    given = [images] if isinstance(images, np.ndarray) else [*images]
    batches = [np.asarray(batch, np.float32) for batch in given]
    for batch in batches:
        if batch.ndim < 2 or not batch.size:
            raise OptionError("these are no images", expected="(batch, height, width, channels)", got=batch.shape)
    if not batches:
        raise OptionError("there are no images", expected="at least one batch")
    return batches


@contextmanager
def _paired(
    source: str | os.PathLike[str] | None,
    target: str | os.PathLike[str] | None,
    table: str | os.PathLike[str] | None,
    given: Mapping[str, Any],
    ignore: tuple[str, ...],
) -> Iterator[tuple[Pair | None, tuple[str, ...]]]:
    """The checkpoints side by side, where they are given, and notes about them."""
    if source is None or target is None:
        if (source, target, table, ignore) != (None, None, None, ()) or any(given.values()):
            raise OptionError(
                "weights are compared where both checkpoints are given", hint="source_checkpoint=…, target_checkpoint=…"
            )
        yield None, ()
        return
    with opened_pair(source, target, reading_options(), given, ignore, considered_tables(None, table)) as (pair, notes):
        yield pair, (*notes, f"the weights are those of `{pair.source.path}` and `{pair.target.path}`")


def _described(side: OwnSide) -> Side:
    return Side(side.name, side.kind, None, None, None, None)
