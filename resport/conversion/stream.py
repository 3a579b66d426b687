"""Carry out a plan: one move at a time, so that memory holds one tensor (or one stack of them) and never the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from resport.conversion.odd_values import OddValueCounter
from resport.conversion.scratch import Scratch
from resport.conversion.tiles import tiles_of
from resport.dtypes import to_numpy
from resport.errors import PlanError
from resport.formats import Reader, Writer
from resport.mapping import Check, Fill, Move, Plan
from resport.mapping.folding import shortened
from resport.mapping.ops import OPERATIONS
from resport.tensors import Manifest, TensorSpec

if TYPE_CHECKING:
    import numpy as np

    from resport.formats.base import Buffer

Read = Callable[[str], "np.ndarray"]

Progress = Callable[[int, int], None]
"""Called with the bytes of values written so far and those to write in all."""


def check_constants(reader: Reader, checks: Sequence[Check]) -> None:
    """Read the tensors that the target has no place for: each must be its constant throughout.

    Raises:
        PlanError: with every tensor that is not, and its value farthest from the constant.
    """
    problems: list[str] = []
    foldable = True
    for check in checks:
        values = reader.read(check.source).astype("float64")
        off = values[values != check.value]
        if off.size:
            worst = off.flat[abs(off - check.value).argmax()]
            problems.append(f"{check.source} must be {check.value:g} throughout, it has {worst:g}")
            foldable = foldable and check.foldable
    if problems:
        raise PlanError(
            f"{len(problems)} tensors of `{reader.path}` would be lost, nothing was written",
            problems=shortened(problems),
            by_kind={"lossy": problems},
            hint="`--fold` takes them into the tensors that the target has" if foldable else None,
        )


def check_diagonals(reader: Reader, moves: Iterable[Move]) -> None:
    """Read the tensors of which only a diagonal is kept: beside it all must be zero.

    Raises:
        PlanError: with every tensor that has something else there.
    """
    problems: list[str] = []
    for move in moves:
        if move.axes is not None and move.axes.reads_diagonal:
            try:
                move.axes.apply([reader.read(name) for name in move.sources])
            except ValueError as error:
                problems.append(f"{move.sources[0]}: {error}")
    if problems:
        raise PlanError(
            f"{len(problems)} tensors of `{reader.path}` would be lost in part, nothing was written",
            problems=shortened(problems),
            by_kind={"lossy": problems},
        )


def carry_out(
    plan: Plan,
    reader: Reader,
    writer: Writer,
    progress: Progress | None = None,
    counter: OddValueCounter | None = None,
) -> None:
    """Read, move and write every tensor of a plan.

    What stays in its order is handed on in pieces, from file to file; memory holds one of the other tensors at a time.
    What an interrupted run wrote, and is still as it was then, is not read from the source again.

    Args:
        plan: what to carry out.
        reader: the source.
        writer: the target, which has the plan's targets declared.
        progress: called as values are written.
        counter: sees all values that are written.
    """
    counter = counter or OddValueCounter()
    scratch = Scratch(reader)
    total = plan.targets.nbytes
    done = 0

    def watched(spec: TensorSpec, pieces: Iterable[Buffer]) -> Iterator[Buffer]:
        nonlocal done
        for piece in counter.passing(spec, pieces):
            yield piece
            done += len(piece)
            if progress is not None:
                progress(done, total)

    def is_resumed(spec: TensorSpec) -> bool:
        nonlocal done
        before = done
        if writer.resume(spec.name, watched):
            return True
        done = before
        return False

    for move in plan.moves:
        left = [spec for spec in move.targets if not is_resumed(spec)]
        if left and is_copy(move, reader.manifest):
            name = move.sources[0]
            passing = watched(left[0], reader.unchecked_pieces(name))
            writer.write_pieces(left[0].name, passing, partial(reader.check, name))
        elif left:
            arrays = moved(move, scratch.read if _is_read_alone(move) else reader.read)
            for spec, array in zip(move.targets, arrays, strict=True):
                if spec in left:
                    writer.write_pieces(spec.name, watched(spec, tiles_of(array)))
            # Else they are still there while the next are read.
            del arrays, array
    for fill in plan.fills:
        if not is_resumed(fill.target):
            writer.write(fill.target.name, filled(fill))


def is_copy(move: Move, source: Manifest) -> bool:
    """Whether the bytes of a move's only target are those of its only source."""
    if len(move.sources) != 1 or len(move.targets) != 1 or move.adjustments:
        return False
    is_kept = move.axes is None or move.axes.keeps_order
    return is_kept and source[move.sources[0]].dtype == move.targets[0].dtype


def _is_read_alone(move: Move) -> bool:
    """Whether a move reads one tensor only: while it is carried out, no other needs the memory."""
    return len(move.sources) == 1 and not any(adjustment.operands for adjustment in move.adjustments)


def stream(plan: Plan, read: Read) -> Iterator[tuple[TensorSpec, np.ndarray]]:
    """The target's tensors, one after the other, in the plan's order.

    Args:
        plan: what to carry out.
        read: gives the source tensor of a name.

    Yields:
        Each target spec with its values, of the spec's shape and dtype.
    """
    for move in plan.moves:
        yield from zip(move.targets, moved(move, read), strict=True)
    for fill in plan.fills:
        yield fill.target, filled(fill)


def moved(move: Move, read: Read) -> list[np.ndarray]:
    """The values of a move's targets, in their order."""
    arrays = [read(name) for name in move.sources]
    if any(adjustment.operands or adjustment.value is not None for adjustment in move.adjustments):
        # What is computed is rounded once: to the target's dtype where that is the wider one.
        arrays = [_widened(array, move.targets[0]) for array in arrays]
    for adjustment in move.adjustments:
        apply = OPERATIONS[adjustment.op].apply
        operands = [read(name) for name in adjustment.operands]
        numbers = [number for number in (adjustment.axis, adjustment.value) if number is not None]
        arrays = [apply(array, *operands, *numbers) for array in arrays]
    if move.axes is not None:
        arrays = move.axes.apply(arrays)
    return [_cast(array, target) for array, target in zip(arrays, move.targets, strict=True)]


def filled(fill: Fill) -> np.ndarray:
    """The constant tensor of a fill."""
    import numpy as np

    return np.full(fill.target.shape, fill.value, to_numpy(fill.target.dtype))


def _widened(array: np.ndarray, target: TensorSpec) -> np.ndarray:
    return _cast(array, target) if to_numpy(target.dtype).itemsize > array.dtype.itemsize else array


def _cast(array: np.ndarray, target: TensorSpec) -> np.ndarray:
    dtype = to_numpy(target.dtype)
    return array if array.dtype == dtype else array.astype(dtype)
