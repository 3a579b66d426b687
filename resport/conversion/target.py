"""What is to be written, decided and checked before a source is read: the target's format and its writer's options."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resport.errors import FormatError, OptionError, PlanError
from resport.formats import Format, Reader, format_of_target
from resport.mapping.folding import shortened
from resport.mapping.plan import Plan
from resport.tensors import Manifest

Describe = Callable[..., str]
"""Gives the description of a Keras model, as JSON, for a variant and its ``num_classes``."""

_REASONS = {
    "write_state": "only a TensorFlow checkpoint has a `checkpoint` file",
    "n_shards": "only a TensorFlow checkpoint is split into a number of shards, safetensors into shards of a size",
}


def target_format(target: str, format: str | None, max_shard_size: int | str | None, *, resume: bool = False) -> Format:
    """The format of a target.

    Args:
        target: its path.
        format: the format's id, where the path should not tell it.
        max_shard_size: the most bytes of values in a file, where it is to be split.
        resume: whether an interrupted conversion is to be gone on with.

    Raises:
        OptionError: there is no such format, it is only read, it can't be split, or not gone on with: where a tensor
            lies in it, or what stands before it, comes of those that were written before.
    """
    chosen = format_of_target(target, format, sharded=max_shard_size is not None)
    is_resumable = chosen.load_writer().is_resumable
    if resume and not is_resumable:
        raise OptionError(
            f"`--resume` goes on with targets in which each tensor has its place, and `{target}` is written as a whole",
            expected="a `.safetensors` file, split or not, or the prefix of a TensorFlow V2 checkpoint",
            got=chosen.title,
            hint="leave out `--resume`, or convert to one of these first",
        )
    return chosen


def writer_options(
    format: Format, target: str, write_state: bool, max_shard_size: int | str | None, n_shards: int | None
) -> dict[str, Any]:
    """The options that were given to the writer.

    Raises:
        OptionError: the format's writer has no such option.
    """
    given = {"write_state": write_state or None, "max_shard_size": max_shard_size, "n_shards": n_shards}
    options = {option: value for option, value in given.items() if value is not None}
    for option in options.keys() - inspect.signature(format.load_writer()).parameters.keys():
        raise OptionError(f"{_REASONS[option]}, and `{target}` is {format.title}", got=option)
    return options


def written_format(format: Format, target: str, targets: Manifest, options: dict[str, Any]) -> str:
    """The id of the format that a writer makes of a target: one that splits files may leave one whole."""
    return format.load_writer().format_written(target, targets, options)


def model_options(
    format: Format, target: str, plan: Plan, num_classes: int | None, describe: Describe | None
) -> dict[str, str]:
    """The description of the model, for a format that holds whole models and not weights alone.

    Raises:
        OptionError: the plan's names are not those of a Keras model, or nothing describes one.
    """
    if format.id != "keras-archive":
        return {}
    if plan.variant is None or plan.target_dialect != "keras":
        raise OptionError(f"`{target}` holds a whole model, which needs the names of Keras", hint="--to keras")
    if describe is None:
        raise OptionError(
            f"`{target}` holds a whole model, and nothing describes it",
            hint="convert(..., describe=resport.architectures.keras_archive.model_config)",
        )
    return {"config": describe(plan.variant, num_classes=num_classes)}


def check_capacity(format: Format, target: str, targets: Manifest) -> None:
    """Check that the format can hold what is planned.

    Raises:
        PlanError: with every tensor that it can't.
    """
    problems = format.load_writer().problems(targets)
    if problems:
        raise PlanError(
            f"`{target}` cannot hold what is planned, nothing was written",
            problems=shortened(problems),
            by_kind={"unstorable": problems},
        )


def check_files(reader: Reader, target: str, format: Format) -> None:
    """Check that all of the source's files are there, and that none of them would be replaced or removed.

    Raises:
        FormatError: one of them is missing.
        OptionError: the target is one of them, under whatever name, or lies in the folder that the source is.
    """
    check_complete(reader)
    there = [Path(file) for file in {target, *format.claims(target)} if Path(file).exists()]
    if os.path.realpath(reader.path) == os.path.realpath(target) or any(
        file.samefile(own) for file in there for own in reader.files
    ):
        raise OptionError(f"source and target are the same: `{target}`", hint="give the target another name")
    folder = _folder_of(reader)
    if folder is not None and Path(os.path.realpath(target)).is_relative_to(folder):
        raise OptionError(f"`{target}` lies in the source, `{folder}`", hint="give a target in another folder")


def _folder_of(reader: Reader) -> str | None:
    """The folder that a checkpoint is, with all that is in it; None for one that is files among others."""
    folders = {str(Path(os.path.realpath(file)).parent) for file in reader.files}
    if Path(reader.path).is_dir():
        return os.path.realpath(reader.path)
    return os.path.commonpath(folders) if len(folders) > 1 else None


def check_complete(reader: Reader) -> None:
    """Check that all files of a checkpoint are there.

    A checkpoint of several files can be listed without some of them, but a part of a network is no network.

    Raises:
        FormatError: one of them is missing.
    """
    missing = [file for file in reader.files if not Path(file).is_file()]
    if missing:
        raise FormatError(
            f"`{missing[0]}` is missing, a part of `{reader.path}`",
            path=missing[0],
            got=f"{len(missing)} of {len(reader.files)} files are missing" if len(missing) > 1 else None,
            hint="put all files of it in one folder",
        )
