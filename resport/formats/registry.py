"""The list of formats, and which of them a path means.

A source is told by its content, because names lie: HDF5 files are found as ``*.keras``, text pointers of git-lfs as
``*.safetensors``. The name decides only where the content doesn't, so that a damaged ``x.h5`` is reported as damaged
HDF5. A target is told by its suffix; a name without a known one is the prefix of a TF checkpoint.

Readers and writers stand here as ``"module:Class"`` and are imported when a file of theirs is opened. To add a format,
write its module and put one entry into ``FORMATS``: in front of every format whose content it could be taken for.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resport.errors import FormatError, OptionError, UnknownFormatError
from resport.formats.atomic import check_replaceable
from resport.formats.base import Reader, Writer
from resport.formats.source import not_found, read_head, refuse_foreign, regular_file_size, shown
from resport.formats.staging import remove_dead
from resport.formats.system_errors import read_errors, write_errors
from resport.tensors import TensorSpec

if TYPE_CHECKING:
    from resport.formats.checkpoint_path import ResolvedPrefix

SAFETENSORS_MAX_HEADER_BYTES = 24 << 20


class Format(NamedTuple):
    """One on-disk format.

    Attributes:
        id: short name, the same as ``Reader.format``.
        title: what to call it in a message.
        reader: ``"module:Class"`` of the reader.
        writer: ``"module:Class"`` of the writer; empty for a format that is only read.
        suffixes: endings of target names that mean this format, with the dot.
        sniff: tells from the first bytes (empty for a folder) and the path whether a source is of this format.
        landmarks: gives the files whose presence means that a target of this path exists.
        claims: gives all files that writing a target of this path could replace or remove.
        sharded: id of the format that splits such a target into files of a largest size; empty where none does.
        resolve: finds the checkpoint that a path means, for the formats that are told by the files around a path.
    """

    id: str
    title: str
    reader: str
    writer: str
    suffixes: tuple[str, ...]
    sniff: Callable[[bytes, str], bool]
    landmarks: Callable[[str], Sequence[str]] = lambda path: (path,)
    claims: Callable[[str], Sequence[str]] = lambda path: (path,)
    sharded: str = ""
    resolve: Callable[[str], ResolvedPrefix | None] = lambda path: None

    def load_reader(self) -> type[Reader]:
        """Import the reader's class."""
        loaded: type[Reader] = _load(self.reader)
        return loaded

    def load_writer(self) -> type[Writer]:
        """Import the writer's class.

        Raises:
            OptionError: the format is only read.
        """
        if not self.writer:
            raise OptionError(f"{self.title} is only read, not written")
        loaded: type[Writer] = _load(self.writer)
        return loaded


def _load(dotted: str) -> Any:
    module, _, name = dotted.partition(":")
    return getattr(importlib.import_module(module), name)


def _lazy(dotted: str, worth: Callable[..., bool] = lambda *arguments: True) -> Callable[..., Any]:
    """A function that is imported when it is first called with arguments for which that is worth it, else None."""
    return lambda *arguments: _load(dotted)(*arguments) if worth(*arguments) else None


def _is_safetensors(head: bytes, path: str) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= SAFETENSORS_MAX_HEADER_BYTES


def _is_keras_legacy(head: bytes, path: str) -> bool:
    from resport.formats.hdf5_file.signature import has_signature

    if not has_signature(head, path):
        return False
    from resport.formats.keras_legacy import is_keras_legacy

    return is_keras_legacy(path)


def _is_keras_weights(head: bytes, path: str) -> bool:
    from resport.formats.hdf5_file.signature import has_signature

    if not has_signature(head, path):
        return False
    from resport.formats.keras_weights import is_keras_weights

    return is_keras_weights(path)


def _told_by_resolve(head: bytes, path: str) -> bool:
    return False


FORMATS: tuple[Format, ...] = (
    # In front of what its index and its shards look like.
    Format(
        "keras-weights-sharded",
        "Keras 3 .weights.json",
        "resport.formats.keras_sharded:KerasShardedReader",
        "",
        (".weights.json",),
        _lazy("resport.formats.keras_sharded:is_keras_sharded", lambda head, path: ".weights." in path.lower()),
    ),
    # In front of safetensors: one shard means the checkpoint that it is a part of.
    Format(
        "safetensors-sharded",
        "sharded safetensors",
        "resport.formats.sharded_safetensors:ShardedSafetensorsReader",
        "resport.formats.sharded_safetensors:ShardedSafetensorsWriter",
        (".safetensors.index.json",),
        _lazy("resport.formats.shard_index:is_sharded"),
        landmarks=_lazy("resport.formats.shard_index:existing_files"),
        claims=_lazy("resport.formats.shard_index:existing_files"),
        sharded="safetensors-sharded",
    ),
    Format(
        "safetensors",
        "safetensors",
        "resport.formats.safetensors:SafetensorsReader",
        "resport.formats.safetensors:SafetensorsWriter",
        (".safetensors",),
        _is_safetensors,
        sharded="safetensors-sharded",
    ),
    Format(
        "npz",
        "NumPy .npz",
        "resport.formats.npz:NpzReader",
        "resport.formats.npz:NpzWriter",
        (".npz", ".npy"),
        _lazy("resport.formats.npz:is_npz", lambda head, path: head.startswith((b"PK", b"\x93NUMPY"))),
    ),
    Format(
        "keras-archive",
        "Keras .keras archive",
        "resport.formats.keras_archive:KerasArchiveReader",
        "resport.formats.keras_archive:KerasArchiveWriter",
        (".keras",),
        _lazy("resport.formats.keras_archive:is_keras_archive", lambda head, path: head.startswith(b"PK")),
    ),
    Format(
        "keras-legacy-h5",
        "Keras HDF5",
        "resport.formats.keras_legacy:KerasLegacyReader",
        "resport.formats.keras_legacy:KerasLegacyWriter",
        (".h5", ".hdf5"),
        _is_keras_legacy,
    ),
    Format(
        "keras-weights-h5",
        "Keras 3 .weights.h5",
        "resport.formats.keras_weights:KerasWeightsReader",
        "resport.formats.keras_weights:KerasWeightsWriter",
        (".weights.h5",),
        _is_keras_weights,
    ),
    Format(
        "frozen-graph",
        "frozen TensorFlow graph",
        "resport.formats.frozen_graph:FrozenGraphReader",
        "",
        (".pb",),
        # A graph begins with a node: a message of the field 1.
        _lazy("resport.formats.frozen_graph:is_frozen_graph", lambda head, path: head.startswith(b"\n")),
    ),
    # The rest is told by the files around a path, and only where no content speaks for another format.
    Format(
        "saved-model",
        "SavedModel",
        "resport.formats.saved_model:SavedModelReader",
        "",
        (),
        _told_by_resolve,
        resolve=_lazy(
            "resport.formats.saved_model:resolve_saved_model",
            lambda path: path.endswith((".pb", ".pbtxt")) or os.path.isdir(path),  # noqa: PTH112 - a path may be too long
        ),
    ),
    Format(
        "tensorflow-v1",
        "TF V1 checkpoint",
        "resport.formats.tensor_slices_v1:TensorSlicesReader",
        "resport.formats.tensor_slices_v1:TensorSlicesWriter",
        (),
        _told_by_resolve,
        resolve=_lazy("resport.formats.v1_path:resolve_v1_path"),
    ),
    # Last: any name can be the prefix of one.
    Format(
        "tensorflow-v2",
        "TF V2 checkpoint",
        "resport.formats.tensor_bundle:TensorBundleReader",
        "resport.formats.bundle_writer:TensorBundleWriter",
        (),
        _told_by_resolve,
        landmarks=lambda path: (f"{path}.index",),
        claims=_lazy("resport.formats.checkpoint_path:claimed_files"),
        resolve=_lazy("resport.formats.checkpoint_path:resolve_prefix"),
    ),
)
PREFIX_FORMAT = next(format for format in FORMATS if format.id == "tensorflow-v2")


def open_reader(path: str | os.PathLike[str], *, checksum: bool = True, **options: Any) -> Reader:
    """Open a checkpoint of any known format.

    Args:
        path: the file, or the prefix or folder of a TF checkpoint.
        checksum: hold values against the checksums of a TF checkpoint; without, damaged values can be read too.
        options: what the format's own reader takes besides; `kernel_order` says how an old Keras file has its kernels.

    Raises:
        SourceNotFoundError: nothing is there.
        UnknownFormatError: no format has such content.
        FormatError: the file is damaged.
        OptionError: the format's reader has no such option.
    """
    with read_errors(_text(path)):
        format, resolved, note = format_of_source(path)
    reader_class: Any = format.load_reader()
    known = inspect.signature(reader_class).parameters.keys()
    for option in options.keys() - known:
        raise OptionError(f"{format.title} is read without the option `{option}`: `{resolved}`", got=option)
    if not checksum and "verify_checksums" in known:
        options["verify_checksums"] = False
    with read_errors(resolved):
        reader: Reader = reader_class(resolved, **options)
    reader.note = note or reader.note
    return reader


def open_writer(
    path: str | os.PathLike[str],
    specs: Iterable[TensorSpec],
    *,
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
    format: str | None = None,
    **options: Any,
) -> Writer:
    """Open a new checkpoint in the format that its name means.

    Args:
        path: the target; an unknown suffix means the prefix of a TF checkpoint.
        specs: every tensor that will be written, in the order of the checkpoint.
        metadata: text to keep beside the tensors.
        force: allow an existing target to be replaced.
        format: id of the format, where the name should not tell it.
        options: what the format's own writer takes besides; `max_shard_size` splits a target that can be split.

    Raises:
        TargetExistsError: the target exists and ``force`` was not given, or it is no file.
        OptionError: the path names no file, or the format cannot be written.
        FormatError: a tensor that the format cannot hold.
    """
    target = _text(path)
    chosen = format_of_target(target, format, sharded="max_shard_size" in options)
    if not chosen.writer:
        raise OptionError(f"{chosen.title} is only read, not written: `{target}`")
    remove_dead(target)
    check = partial(_check_targets, chosen, target, force)
    check()
    with write_errors(target):
        writer: Writer = _load(chosen.writer)(target, specs, metadata=metadata, **options)
    # Once more when it takes its place: another process may have written it meanwhile.
    writer.guard = check
    return writer


def format_of_target(path: str | os.PathLike[str], format: str | None = None, *, sharded: bool = False) -> Format:
    """The format that a target's name means: its longest known suffix, or a TF checkpoint prefix.

    Args:
        path: the target.
        format: id of the format, where the name should not tell it.
        sharded: whether the target is to be split into files of a largest size.

    Raises:
        OptionError: the path ends in no name, there is no such format, or it can't be split.
    """
    target = _text(path)
    if target.endswith(("/", "/.", "/..")) or target in {"", ".", ".."}:
        raise OptionError(f"`{target}` names a folder, not a checkpoint", hint="append a file name")
    chosen = _format_by_suffix(target) or PREFIX_FORMAT if format is None else _format_by_id(format)
    if not sharded:
        return chosen
    if not chosen.sharded:
        splittable = ", ".join(each.id for each in FORMATS if each.sharded)
        raise OptionError(
            f"`{target}` is a target of format {chosen.id}, which is not split by size",
            expected=f"one of {splittable}",
            got=chosen.id,
            hint="name it `.safetensors`, or leave out the largest size of a shard",
        )
    return _format_by_id(chosen.sharded)


def _format_by_id(id: str) -> Format:
    for format in FORMATS:
        if format.id == id:
            return format
    known = ", ".join(format.id for format in FORMATS)
    raise OptionError(f"there is no format `{id}`", expected=f"one of {known}", got=id)


def format_of_source(path: str | os.PathLike[str]) -> tuple[Format, str, str | None]:
    """What a source is.

    Returns:
        The format, the path that its reader takes, and what the user should be told where that is another path.

    Raises:
        SourceNotFoundError: nothing is there.
        UnknownFormatError: no format has such content.
        FormatError: it is no regular file, or it is damaged.
    """
    source = _text(path)
    head = _head(source)
    for format in FORMATS:
        # A sharded checkpoint may be called by the name of the one file that it is not.
        if head is not None or format.sharded == format.id:
            if format.sniff(head or b"", source):
                return format, source, None
    for format in FORMATS:
        resolved = format.resolve(source)
        if resolved is not None:
            return format, resolved.prefix, resolved.note
    if head is None:
        raise not_found(source)
    # Only now: a safetensors header of 640 bytes begins like a pickle.
    refuse_foreign(source, head)
    by_name = _format_by_suffix(source) if Path(source).is_file() else None
    if by_name is None:
        raise _unknown(source, head)
    return by_name, source, None


def _head(path: str) -> bytes | None:
    """The first bytes of a file; none of a folder; None where nothing is (which can be a checkpoint's prefix)."""
    if not os.path.lexists(path):
        return None
    if Path(path).is_dir():
        return b""
    regular_file_size(path)
    return read_head(path)


def _unknown(path: str, head: bytes) -> UnknownFormatError:
    known = ", ".join(format.title for format in FORMATS)
    if Path(path).is_dir():
        return UnknownFormatError(f"`{path}` is a folder without a checkpoint", path=path, expected=known)
    return UnknownFormatError(f"`{path}` is of no known format", path=path, expected=f"one of {known}", got=shown(head))


def _format_by_suffix(path: str) -> Format | None:
    name = Path(path).name.lower()
    matches = [(len(suffix), format) for format in FORMATS for suffix in format.suffixes if name.endswith(suffix)]
    return max(matches, key=lambda match: match[0])[1] if matches else None


def _check_targets(format: Format, target: str, force: bool) -> None:
    for landmark in format.landmarks(target):
        check_replaceable(landmark, force=force)


def _text(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if not isinstance(text, str):
        raise OptionError("a path must be text", got=repr(text))
    if "\0" in text:
        raise FormatError(f"{text!r} cannot be the path of a file", path=text)
    return text
