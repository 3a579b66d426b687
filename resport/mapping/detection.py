"""Which network is this? Family, variant, dialect, root scope and class count, told by a checkpoint's own names.

First every digit run of names and templates is folded to ``#``: a few dozen strings on each side, compared as text,
leave the few (family, dialect) pairs worth a closer look. For those, regular expressions read the indices off the
names, the variant whose indices agree best is expanded, and what counts in the end is the exact comparison of its
names and shapes with the file's. Nothing is guessed: below half of the names, or with two equal candidates, detection
refuses and shows the nearest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from resport.errors import DetectError
from resport.mapping.expansion import Expansion, combinations, expand
from resport.mapping.folding import fold_digits, fold_names
from resport.mapping.tables import CLASSES, Table
from resport.mapping.templates import Constant, Template
from resport.tensors import Manifest

DETECTION_MIN_SCORE = 0.5
"""Below this share of agreeing names a file is not called by a family's name."""

DETECTION_CANDIDATES = 6
"""How many (family, dialect) pairs get the closer look."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What a checkpoint was found to be, and why.

    Attributes:
        family: the family's name.
        variant: the nearest variant.
        dialect: whose names the file has.
        root: what stands in front of every name.
        num_classes: size of the classifier, or None where the file has none.
        matched: how many names the variant and the file share, with shapes that fit.
        missing: names of the variant that the file lacks (an absent classifier is not missing).
        unexpected: names of the file that neither the variant nor an ignore rule explains.
        mismatched: names whose shape does not fit.
        evidence: one sentence for each thing that was read off the file.
        table: the table.
    """

    family: str
    variant: str
    dialect: str
    root: str
    num_classes: int | None
    matched: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    evidence: tuple[str, ...]
    table: Table = field(repr=False, compare=False)

    @property
    def score(self) -> float:
        """Share of the names, of file and variant together, that agree."""
        total = self.matched + len(self.missing) + len(self.unexpected) + len(self.mismatched)
        return self.matched / total if total else 0.0

    @property
    def is_complete(self) -> bool:
        """Whether file and variant agree in every name and shape."""
        return self.matched > 0 and not (self.missing or self.unexpected or self.mismatched)

    def expand(self) -> Expansion:
        """The variant's expansion with the root that was found."""
        return expand(self.table, self.variant, {self.dialect: self.root})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "family": self.family,
            "variant": self.variant,
            "dialect": self.dialect,
            "root": self.root,
            "num_classes": self.num_classes,
            "matched": self.matched,
            "score": round(self.score, 4),
            "missing": list(self.missing),
            "unexpected": list(self.unexpected),
            "mismatched": list(self.mismatched),
            "evidence": list(self.evidence),
        }


def detect(
    manifest: Manifest,
    tables: Sequence[Table],
    *,
    variant: str | None = None,
    dialect: str | None = None,
) -> Detection:
    """Tell which network a checkpoint holds.

    Args:
        manifest: names and shapes of the checkpoint.
        tables: the families to consider.
        variant: take this variant, whatever the names say.
        dialect: consider this dialect alone.

    Raises:
        DetectError: no family explains half of the names, or two explain them alike.
    """
    found = candidates(manifest, tables, variant=variant, dialect=dialect)
    if not found or (found[0].score < DETECTION_MIN_SCORE and variant is None):
        raise _not_detected(manifest, found)
    if len(found) > 1 and found[1].score == found[0].score:
        first, second = found[:2]
        raise DetectError(
            f"the names fit {first.family} ({first.dialect}) and {second.family} ({second.dialect}) alike",
            candidates=found,
            hint=f"--family {first.family} --from {first.dialect}",
        )
    return found[0]


def candidates(
    manifest: Manifest,
    tables: Sequence[Table],
    *,
    variant: str | None = None,
    dialect: str | None = None,
) -> list[Detection]:
    """The nearest detections, best first; empty when no name is known to any family."""
    folded = _folded(manifest)
    near: list[tuple[int, Table, str, str]] = []
    for table in tables:
        for each in table.dialects:
            if dialect in (None, each) and (variant is None or variant in table.variants):
                root, hits = _nearest_root(folded, table, each)
                if hits:
                    near.append((hits, table, each, root))
    near.sort(key=lambda entry: -entry[0])
    found = [
        detection
        for _, table, each, root in near[:DETECTION_CANDIDATES]
        for detection in _detections(manifest, table, each, root, variant)
    ]
    return sorted(found, key=lambda detection: -detection.score)


def ignored_kind(name: str, globs: Mapping[str, Iterable[str]]) -> str | None:
    """The kind of ignore rule that a name falls under (``optimizer``, ``average``, ...), or None."""
    for kind, patterns in globs.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return kind
    return None


def _folded(manifest: Manifest) -> dict[str, list[str]]:
    """Names by their text with every digit run as ``#``."""
    folded: dict[str, list[str]] = {}
    for name, spec in manifest.items():
        if spec.dtype != "string":
            folded.setdefault(fold_digits(name), []).append(name)
    return folded


def _templates(table: Table, dialect: str) -> list[Template]:
    cells = [row.cells[dialect] for group in table.groups for row in group.rows]
    return [cell for cell in cells if not isinstance(cell, Constant)]


def _folded_templates(table: Table, dialect: str) -> set[str]:
    """The texts that folded names of this dialect end with."""
    words = table.words_of(dialect)
    texts: set[str] = set()
    for template in _templates(table, dialect):
        spellings = [""]
        for part in template.parts:
            if isinstance(part, str):
                choices: Sequence[str] = (part,)
            else:
                choices = words.get(part.name, ("#",))
            spellings = [before + choice for before in spellings for choice in choices]
        texts.update(fold_digits(spelling) for spelling in spellings)
    return texts


def _nearest_root(folded: Mapping[str, list[str]], table: Table, dialect: str) -> tuple[str, int]:
    """The text in front of most names that end like the dialect's, with how many do (folded names count once)."""
    hits: Counter[str] = Counter()
    texts = _folded_templates(table, dialect)
    for name in folded:
        starts = [0, *(match.end() for match in re.finditer(r"[/.]", name))]
        hits.update(name[:start] for start in starts if name[start:] in texts)
    if not hits:
        return "", 0
    best, count = max(hits.items(), key=lambda item: (item[1], -len(item[0])))
    return _unfolded_root(folded, best, texts), count


def _unfolded_root(folded: Mapping[str, list[str]], root: str, texts: set[str]) -> str:
    """The most frequent real spelling of a folded root."""
    pattern = re.compile(re.escape(root).replace(re.escape("#"), r"\d+"))
    spellings: Counter[str] = Counter()
    for name, originals in folded.items():
        if name.startswith(root) and name[len(root) :] in texts:
            spellings.update(match.group() for match in map(pattern.match, originals) if match)
    return spellings.most_common(1)[0][0]


def _detections(manifest: Manifest, table: Table, dialect: str, root: str, variant: str | None) -> list[Detection]:
    """The variants whose indices agree best with those in the file's names: one, or several that count alike."""
    if variant is not None:
        return [_detection(manifest, table, dialect, root, variant)]
    present = _indices_in_names(manifest, table, dialect, root)
    agreement: dict[str, float] = {}
    for name in table.variants:
        expected = _indices_of_variant(table, name)
        union = len(present | expected)
        agreement[name] = len(present & expected) / union if union else 1.0
    best = max(agreement.values())
    return [_detection(manifest, table, dialect, root, name) for name, share in agreement.items() if share == best]


def _indices_in_names(
    manifest: Manifest, table: Table, dialect: str, root: str
) -> frozenset[tuple[tuple[str, int], ...]]:
    """Every combination of indices that occurs in the names, corrected for offsets."""
    words = table.words_of(dialect)
    rest = [name[len(root) :] for name in manifest if name.startswith(root)]
    found = set()
    for template in _templates(table, dialect):
        offsets = {hole.name: hole.offset for hole in reversed(template.holes)}
        pattern = re.compile(template.pattern(words))
        for name in rest:
            match = pattern.fullmatch(name)
            if match and match.groupdict():
                found.add(tuple((index, int(text) - offsets[index]) for index, text in match.groupdict().items()))
    return frozenset(found)


def _indices_of_variant(table: Table, variant: str) -> frozenset[tuple[tuple[str, int], ...]]:
    counts = {**table.sizes, **table.variant(variant)}
    return frozenset(
        tuple(indices.items()) for group in table.groups if group.over for indices in combinations(table, group, counts)
    )


def _detection(manifest: Manifest, table: Table, dialect: str, root: str, variant: str) -> Detection:
    expansion = expand(table, variant, {dialect: root})
    parameters = expansion.by_name[dialect]
    present = [name for name in parameters if name in manifest]
    num_classes = _num_classes(manifest, expansion, dialect)
    mismatched = [name for name in present if not _fits(manifest, expansion, dialect, name, num_classes)]
    groups_present = {parameters[name].group for name in present}
    missing = [
        name
        for name, parameter in parameters.items()
        if name not in manifest and not (parameter.optional and parameter.group not in groups_present)
    ]
    unexpected = [
        name
        for name, spec in manifest.items()
        if name not in parameters and spec.dtype != "string" and not ignored_kind(name, table.ignore[dialect])
    ]
    evidence = [
        f"{len(present)} of {len(parameters)} names of {variant} ({dialect}) are in the file",
        f"scope in front: `{root}`" if root else "no scope in front of the names",
        f"the classifier has {num_classes} classes" if num_classes else "there is no classifier",
    ]
    return Detection(
        table.family,
        variant,
        dialect,
        root,
        num_classes,
        len(present) - len(mismatched),
        tuple(missing),
        tuple(unexpected),
        tuple(mismatched),
        tuple(evidence),
        table,
    )


def _num_classes(manifest: Manifest, expansion: Expansion, dialect: str) -> int | None:
    """The size of the axis of the classes, where the file has a tensor with one."""
    for name, parameter in expansion.by_name[dialect].items():
        if CLASSES in parameter.axes[dialect].names and name in manifest:
            try:
                return parameter.axes[dialect].bind(manifest[name].shape, parameter.sizes)[CLASSES]
            except ValueError:
                continue
    return None


def _fits(manifest: Manifest, expansion: Expansion, dialect: str, name: str, num_classes: int | None) -> bool:
    parameter = expansion.by_name[dialect][name]
    known = dict(parameter.sizes) if num_classes is None else {**parameter.sizes, CLASSES: num_classes}
    try:
        parameter.axes[dialect].bind(manifest[name].shape, known)
    except ValueError:
        return False
    return True


def _not_detected(manifest: Manifest, found: Sequence[Detection]) -> DetectError:
    if not found:
        return DetectError(
            f"no family knows any of the {len(manifest)} names",
            got=", ".join(fold_names(manifest)[:5]),
            hint="`resport mappings list` shows the families; without `--to` any file is copied as it is",
        )
    best = found[0]
    total = best.matched + len(best.missing) + len(best.mismatched)
    lacking = ", ".join(fold_names(best.missing)[:5]) or "none"
    return DetectError(
        f"no family explains the names; the nearest is {best.variant} ({best.dialect}), "
        f"{best.matched} of {total} names, missing: {lacking}",
        candidates=found,
        hint=f"`--variant {best.variant} --from {best.dialect}` lists all that is missing",
    )
