"""``diff``: by name, whatever the formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import resport
from resport.errors import FormatError
from resport.tensors import Manifest, TensorSpec
from resport.verification.comparison import _differences
from tests.tiny import write_values


def test_equal_across_formats(tmp_path: Path) -> None:
    values = {"x/a": np.arange(6, dtype=np.float32).reshape(2, 3), "x/b": np.array([np.nan, -0.0], np.float32)}
    a = write_values(tmp_path / "a.safetensors", values)
    b = write_values(tmp_path / "b.ckpt", values)
    report = resport.diff(a, b)
    assert (report.verdict, report.n_equal) == ("equal", 2)


def test_every_kind_of_difference(tmp_path: Path) -> None:
    a = {"same": np.ones(2), "value": np.ones(2), "shape": np.ones(2), "dtype": np.ones(2), "gone": np.ones(2)}
    b = {
        "same": np.ones(2),
        "value": np.array([1.0, 3.0]),
        "shape": np.ones(3),
        "dtype": np.ones(2, np.float32),
        "new": np.ones(2),
    }
    report = resport.diff(write_values(tmp_path / "a.safetensors", a), write_values(tmp_path / "b.safetensors", b))
    assert report.verdict == "different"
    assert (report.only_in_a, report.only_in_b, report.n_equal) == (("gone",), ("new",), 1)
    assert {each.name: each.kind for each in report.differences} == {
        "value": "values",
        "shape": "shape",
        "dtype": "dtype",
    }
    assert report.to_dict()["differences"][0]["max_abs_diff"] == 2.0


def test_what_only_one_has_is_a_difference(tmp_path: Path) -> None:
    less = write_values(tmp_path / "less.safetensors", {"x": np.ones(2)})
    more = write_values(tmp_path / "more.safetensors", {"x": np.ones(2), "y": np.ones(2)})
    for one, other in ((less, more), (more, less)):
        report = resport.diff(one, other)
        assert report.verdict == "different" and report.n_equal == 1 and report.differences == ()


class Texts:
    """A reader of one tensor of strings."""

    manifest = Manifest([TensorSpec("labels", (1,), "string")])

    def __init__(self, text: bytes) -> None:
        self.text = text

    def read(self, name: str) -> np.ndarray:
        return np.array([self.text], object)


def test_texts_are_compared_as_texts() -> None:
    def kinds(one: bytes, other: bytes) -> list[str]:
        return [each.kind for each in _differences(Texts(one), Texts(other), ["labels"])]  # type: ignore[arg-type]

    assert kinds(b"cat", b"cat") == [] and kinds(b"cat", b"dog") == ["values"]


def test_nothing_shared_is_not_equal(tmp_path: Path) -> None:
    a = write_values(tmp_path / "a.safetensors", {})
    b = write_values(tmp_path / "b.safetensors", {})
    assert resport.diff(a, b).verdict == "different"


def test_a_checkpoint_with_a_missing_file_is_never_equal(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_values(tmp_path / f"{name}.ckpt", {"x": np.ones(2)})
    (tmp_path / "b.ckpt.data-00000-of-00001").unlink()
    for compare in (resport.diff, resport.verify):
        with pytest.raises(FormatError, match=r"b\.ckpt\.data-00000-of-00001` is missing"):
            compare(tmp_path / "a.ckpt", tmp_path / "b.ckpt")
