"""Text beside the tensors of a ``.npz``: JSON in the comment of the zip file, which numpy and unzip pass over."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from resport.errors import FormatError
from resport.formats.json_text import JSON_MAX_BYTES, parse_json
from resport.formats.zip_directory import ZIP_MAX_COMMENT_BYTES

NPZ_MARKER = "resport_npz"


def parse_comment(comment: bytes) -> dict[str, str] | None:
    """The metadata in the comment of a file that resport wrote; None for any other comment."""
    try:
        value = parse_json(comment)
        if isinstance(value, dict) and "zlib" in value:
            stream = zlib.decompressobj()
            value = parse_json(stream.decompress(base64.b64decode(value["zlib"]), JSON_MAX_BYTES))
    except (ValueError, TypeError, zlib.error):
        return None
    if not isinstance(value, dict) or value.get(NPZ_MARKER) != 1 or not isinstance(value.get("metadata"), dict):
        return None
    return {key: text for key, text in value["metadata"].items() if isinstance(text, str)}


def encode_comment(metadata: Mapping[str, str], path: str) -> bytes:
    """The comment that holds the metadata: JSON, or JSON deflated where that would be too long.

    Raises:
        FormatError: it is too long all the same, or no valid text.
    """

    def to_json(value: dict[str, Any]) -> bytes:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()

    try:
        comment = to_json({NPZ_MARKER: 1, "metadata": dict(metadata)})
    except UnicodeEncodeError as error:
        raise FormatError(f"the metadata for `{path}` is not valid Unicode text", path=path) from error
    if len(comment) > ZIP_MAX_COMMENT_BYTES:
        # In base64, because the end of a zip file is searched for backwards and must not be found in here.
        comment = to_json({"zlib": base64.b64encode(zlib.compress(comment, 9)).decode()})
    if len(comment) > ZIP_MAX_COMMENT_BYTES:
        raise FormatError(
            f"the metadata for `{path}` is too long for the comment of a zip file",
            expected=f"at most {ZIP_MAX_COMMENT_BYTES} bytes, compressed",
            got=f"{len(comment)} bytes",
            path=path,
            hint="write safetensors, which has room for it",
        )
    return comment
