"""Write what is planned, and look at it once more before it takes its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from resport.conversion.background import Background
from resport.conversion.odd_values import OddValueCounter, OddValues
from resport.conversion.provenance import PROVENANCE_KEY, SourceDigest
from resport.conversion.stream import Progress, carry_out
from resport.errors import FormatError, SourceNotFoundError, TargetWriteError
from resport.formats import Reader, Writer, open_reader
from resport.formats.crc32c import crc32c_of
from resport.mapping import Plan
from resport.tensors import TensorSpec


class Written(NamedTuple):
    """What is known of a target when it has been written.

    Attributes:
        odd_values: the tensors with values that are no finite numbers.
        sha256: of the target's files one after the other, or None where they were not read again, or it was not wanted.
        resumed: the tensors that an interrupted conversion had written already.
    """

    odd_values: tuple[OddValues, ...] = ()
    sha256: str | None = None
    resumed: tuple[TensorSpec, ...] = ()


def write_target(
    plan: Plan,
    reader: Reader,
    writer: Writer,
    digest: SourceDigest,
    origin: Callable[[str], str],
    *,
    readback: bool = True,
    target_digest: bool = True,
    progress: Progress | None = None,
) -> Written:
    """Write all tensors of a plan, and leave the writer ready to commit.

    Args:
        plan: what to carry out.
        reader: the source.
        writer: the target.
        digest: works out the sha256 of the source.
        origin: gives the provenance with that sha256.
        readback: read the finished files again and compare every tensor with what was written.
        target_digest: work out the sha256 of the finished files, where they are read again.
        progress: called as values are written.

    Raises:
        FormatError: the source is damaged, or changed while it was read.
        TargetWriteError: the target could not be written, or reads otherwise than it was written.
    """
    counter = OddValueCounter()
    carry_out(plan, reader, writer, progress, counter)
    writer.amend_metadata(PROVENANCE_KEY, origin(digest.result()))
    writer.seal()
    # The disk writes while the target is read.
    with Background(writer.sync, "resport-sync") as synced:
        sha256 = read_back(writer, target_digest) if readback else None
        synced.result()
    resumed = tuple(writer.manifest[name] for name in sorted(writer.resumed))
    return Written(counter.found(), sha256, resumed)


def read_back(writer: Writer, with_digest: bool) -> str | None:
    """Read a finished target before it takes its place, and compare every tensor with what was written, by checksum.

    Args:
        writer: all of its tensors have been written.
        with_digest: whether the sha256 is wanted, which takes longer than the rest.

    Returns:
        The sha256 of its files, as ``cat FILES | sha256sum`` prints it; None where it is not wanted.

    Raises:
        TargetWriteError: it is not what was written.
    """
    place = writer.seal()
    try:
        with (
            open_reader(place) as reader,
            SourceDigest(reader.files if with_digest else ()) as digest,
        ):
            problem = _difference(reader, writer)
            found = digest.result() if with_digest and not problem else None
    except FormatError as error:
        raise _misread(writer, error.message) from error
    except SourceNotFoundError as error:
        reason = "no such file any more, its folder was removed or is another now"
        raise TargetWriteError(f"`{writer.path}` cannot be written: {reason}") from error
    if problem:
        raise _misread(writer, problem)
    return found


def _difference(reader: Reader, writer: Writer) -> str:
    """What of a target is not what was written; empty where all is."""
    if set(reader.manifest.values()) != set(writer.manifest.values()):
        return "its tensors are others than were written"
    for name in reader.manifest:
        crc = crc32c_of(reader.unchecked_pieces(name))
        reader.check(name, crc)
        if crc != writer.checksums[name]:
            return f"the values of `{name}` are not those that were written"
    return ""


def _misread(writer: Writer, problem: str) -> TargetWriteError:
    return TargetWriteError(
        f"`{writer.path}` was written and reads otherwise, nothing was replaced: {problem}",
        hint="check the disk and the memory of this machine",
    )
