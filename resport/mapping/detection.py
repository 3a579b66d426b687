"""Which network is this? Family, variant, dialect, root scope and class count, told by a checkpoint's own names.

First every digit run of names and templates is folded to one digit: a few dozen strings on each side, compared as text,
leave the few (family, dialect) pairs worth a closer look. For those, regular expressions read the indices off the
names, the variant whose indices agree best is expanded, and what counts in the end is the exact comparison of its
names and shapes with the file's. Nothing is guessed: below half of the names, or with two equal candidates, detection
refuses and shows the nearest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cache
from typing import Any

from resport.dtypes import OPAQUE
from resport.errors import DetectError, OptionError
from resport.mapping.counts import combinations
from resport.mapping.expansion import DEFAULT_CLASSES, Expansion, expand
from resport.mapping.folding import FOLDED_NUMBER, fold_digits, fold_names
from resport.mapping.outlines import folded_texts, nearest_root, outlines_of, roots_of_texts, templates_of
from resport.mapping.tables import CLASSES, EMBEDDING, MEASURED, Table
from resport.mapping.templates import Template
from resport.tensors import Manifest

DETECTION_MIN_SCORE = 0.5
"""Below this share of agreeing names a file is not called by a family's name."""

DETECTION_CANDIDATES = 6
"""How many (family, dialect) pairs get the closer look."""

Ignored = dict[tuple[str, ...], dict[str, bool]]
"""By the ignore rules of a dialect, which many have in common: whether one of them explains a name."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What a checkpoint was found to be, and why.

    Attributes:
        family: the family's name.
        variant: the nearest variant.
        dialect: whose names the file has.
        root: what stands in front of every name.
        measured: sizes that only the file tells: ``classes`` of the classifier, ``embedding``.
        named_classes: the class count that the file's names have in them, or None.
        matched: how many names the variant and the file share, with shapes that fit.
        missing: names of the variant that the file lacks (an absent classifier is not missing).
        unexpected: names of the file that neither the variant nor an ignore rule explains.
        mismatched: names whose shape does not fit.
        evidence: one sentence for each thing that was read off the file.
        expansion: the variant's expansion that the names were held against.
    """

    family: str
    variant: str
    dialect: str
    root: str
    measured: Mapping[str, int]
    named_classes: int | None
    matched: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    evidence: tuple[str, ...]
    expansion: Expansion = field(repr=False, compare=False)

    @property
    def table(self) -> Table:
        """The table."""
        return self.expansion.table

    @property
    def num_classes(self) -> int | None:
        """Size of the classifier, or None where the file has none."""
        return self.measured.get(CLASSES)

    @property
    def embedding_size(self) -> int | None:
        """Number of values of the embedding, or None where the network has none."""
        return self.measured.get(EMBEDDING)

    @property
    def score(self) -> float:
        """Share of the names, of file and variant together, that agree."""
        total = self.matched + len(self.missing) + len(self.unexpected) + len(self.mismatched)
        return self.matched / total if total else 0.0

    @property
    def is_complete(self) -> bool:
        """Whether file and variant agree in every name and shape."""
        return self.matched > 0 and not (self.missing or self.unexpected or self.mismatched)

    def expand(self, roots: Mapping[str, str] | None = None, num_classes: int | None = None) -> Expansion:
        """The variant's expansion with the root that was found.

        Args:
            roots: roots of other dialects, where they aren't the table's.
            num_classes: the class count that other dialects' names have in them, where it isn't the file's.
        """
        classes = self.named_classes or num_classes or self.num_classes or DEFAULT_CLASSES
        found = self.expansion
        if not roots and (classes == found.texts[CLASSES] or not found.table.spells_classes):
            return found
        return expand(self.table, self.variant, {**(roots or {}), self.dialect: self.root}, classes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {
            "family": self.family,
            "variant": self.variant,
            "dialect": self.dialect,
            "root": self.root,
            "num_classes": self.num_classes,
            "embedding_size": self.embedding_size,
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
        OptionError: no family has the variant.
    """
    if variant is not None and not any(variant in outline.variants for outline in outlines_of(tables)):
        known = ", ".join(name for outline in outlines_of(tables) for name in outline.variants)
        raise OptionError(f"there is no variant `{variant}`", expected=known, got=variant, hint="resport mappings list")
    found = candidates(manifest, tables, variant=variant, dialect=dialect)
    if not found or (found[0].score < DETECTION_MIN_SCORE and variant is None):
        raise _not_detected(manifest, found)
    if len(found) > 1 and found[1].score == found[0].score:
        first, second = found[:2]
        raise DetectError(
            f"the names fit {first.variant} ({first.dialect}) and {second.variant} ({second.dialect}) alike",
            candidates=found,
            hint=f"`--variant {first.variant} --from {first.dialect}` or the other, as you know it to be",
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
    outlines = outlines_of(tables)
    roots = roots_of_texts(folded, frozenset().union(*(texts for each in outlines for texts in each.texts.values())))
    near: list[tuple[int, int, str, str]] = []
    for number, outline in enumerate(outlines):
        for each, texts in outline.texts.items():
            # Another family's dialect is that family's own, unless one asks for it, or for this table alone.
            wanted = dialect == each or (dialect is None and (len(tables) == 1 or each not in outline.foreign))
            if wanted and (variant is None or variant in outline.variants):
                root, hits = nearest_root(roots, texts)
                if hits:
                    near.append((hits, number, each, root))
    near.sort(key=lambda entry: -entry[0])
    ignored: Ignored = {}
    found: list[Detection] = []
    for hits, number, each, folded_root in near[:DETECTION_CANDIDATES]:
        # A pair that fewer names fit is not looked at where another explains them all.
        if hits == near[0][0] or not any(detection.is_complete for detection in found):
            root = _unfolded_root(folded, folded_root, outlines[number].texts[each])
            found += _detections(manifest, folded, tables[number], each, root, variant, ignored)
    return sorted(found, key=lambda detection: -detection.score)


def measured_sizes(manifest: Manifest, expansion: Expansion, dialect: str) -> dict[str, int]:
    """The sizes that only the file tells: each is that of the first tensor whose shape tells it."""
    found: dict[str, int] = {}
    for name, parameter in expansion.by_name[dialect].items():
        axes = [axis for axis in MEASURED if axis in parameter.axes[dialect].names and axis not in found]
        if axes and name in manifest:
            try:
                bound = parameter.axes[dialect].bind(manifest[name].shape, {**parameter.sizes, **found})
            except ValueError:
                continue
            found.update((axis, bound[axis]) for axis in axes)
    return found


def _named_classes(manifest: Manifest, table: Table, dialect: str, root: str) -> int | None:
    """The class count that names have in them, as in ``fc1000``; None where they have none."""
    words = table.words_of(dialect)
    for template in templates_of(table, dialect):
        if any(hole.name == CLASSES for hole in template.holes):
            pattern = re.compile(re.escape(root) + template.pattern(words))
            for match in filter(None, map(pattern.fullmatch, manifest)):
                return int(match[CLASSES])
    return None


def ignored_kind(name: str, globs: Mapping[str, Iterable[str]]) -> str | None:
    """The kind of ignore rule that a name falls under (``optimizer``, ``average``, ...), or None."""
    return next((kind for kind, patterns in globs.items() if _any_of(tuple(patterns)).match(name)), None)


@cache
def _any_of(globs: tuple[str, ...]) -> re.Pattern[str]:
    """One regular expression for many globs: a file may have a hundred thousand names."""
    return re.compile("|".join(map(translate, globs)) or "(?!)")


def _folded(manifest: Manifest) -> dict[str, list[str]]:
    """Names by their text with every number folded."""
    folded: dict[str, list[str]] = {}
    for name, spec in manifest.items():
        if spec.dtype not in OPAQUE:
            folded.setdefault(fold_digits(name), []).append(name)
    return folded


def _unfolded_root(folded: Mapping[str, list[str]], root: str, texts: Set[str]) -> str:
    """The most frequent real spelling of a folded root."""
    pattern = re.compile(re.escape(root).replace(FOLDED_NUMBER, "[0-9]{1,15}"))
    spellings: Counter[str] = Counter()
    for name, originals in folded.items():
        if name.startswith(root) and name[len(root) :] in texts:
            spellings.update(match.group() for match in map(pattern.match, originals) if match)
    return spellings.most_common(1)[0][0]


def _detections(
    manifest: Manifest,
    folded: Mapping[str, list[str]],
    table: Table,
    dialect: str,
    root: str,
    variant: str | None,
    ignored: Ignored,
) -> list[Detection]:
    """The variants whose indices agree best with those in the file's names: one, or several that count alike."""
    if variant is not None:
        return [_detection(manifest, table, dialect, root, variant, ignored)]
    present = _indices_in_names(folded, table, dialect, root)
    agreement: dict[str, float] = {}
    for name in table.variants:
        expected = _indices_of_variant(table, dialect, name)
        union = len(present | expected)
        agreement[name] = len(present & expected) / union if union else 1.0
    best = max(agreement.values())
    nearest = [name for name, share in agreement.items() if share == best]
    return [_detection(manifest, table, dialect, root, name, ignored) for name in nearest]


def _indices_in_names(
    folded: Mapping[str, list[str]], table: Table, dialect: str, root: str
) -> set[frozenset[tuple[str, int]]]:
    """Every combination of indices that occurs in the names, corrected for offsets."""
    words = table.words_of(dialect)
    found = set()
    for template in templates_of(table, dialect):
        offsets = {hole.name: hole.offset for hole in reversed(template.holes)}
        pattern = re.compile(re.escape(root) + template.pattern(words))
        for text in folded_texts(table, dialect, template):
            for name in folded.get(fold_digits(root) + text, ()):
                match = pattern.fullmatch(name)
                if match:
                    numbers = [(index, number) for index, number in match.groupdict().items() if index != CLASSES]
                    found.add(frozenset((index, int(number) - offsets[index]) for index, number in numbers))
    return found - {frozenset()}


def _indices_of_variant(table: Table, dialect: str, variant: str) -> set[frozenset[tuple[str, int]]]:
    """Every combination of indices that the names of a variant have: of an index that is an axis they tell nothing."""
    counts = {**table.sizes, **table.variant(variant)}
    used: dict[tuple[str, ...], set[frozenset[str]]] = {}
    for group in table.groups:
        cells = [row.cells[dialect] for row in group.rows]
        holes = (frozenset(hole.name for hole in cell.holes) for cell in cells if isinstance(cell, Template))
        used.setdefault(group.over, set()).update(each.intersection(group.over) for each in holes)
    found: set[frozenset[tuple[str, int]]] = set()
    for group in {group.over: group for group in table.groups}.values():
        for indices in combinations(table, group, counts):
            found.update(frozenset((index, indices[index]) for index in holes) for holes in used[group.over])
    return found - {frozenset()}


def _detection(manifest: Manifest, table: Table, dialect: str, root: str, variant: str, ignored: Ignored) -> Detection:
    named_classes = _named_classes(manifest, table, dialect, root)
    expansion = expand(table, variant, {dialect: root}, named_classes or DEFAULT_CLASSES)
    parameters = expansion.by_name[dialect]
    present = [name for name in parameters if name in manifest]
    measured = measured_sizes(manifest, expansion, dialect)
    mismatched = [name for name in present if not _fits(manifest, expansion, dialect, name, measured)]
    groups_present = {parameters[name].group for name in present}
    missing = [
        name
        for name, parameter in parameters.items()
        if name not in manifest and not (parameter.optional and parameter.group not in groups_present)
    ]
    unexpected = _unexplained((name for name in manifest if name not in parameters), manifest, table, dialect, ignored)
    evidence = [
        f"{len(present)} of {len(parameters)} names of {variant} ({dialect}) are in the file",
        f"scope in front: `{root}`" if root else "no scope in front of the names",
        f"the classifier has {measured[CLASSES]} classes" if CLASSES in measured else "there is no classifier",
    ]
    if EMBEDDING in measured:
        evidence.append(f"the embedding has {measured[EMBEDDING]} values")
    return Detection(
        table.family,
        variant,
        dialect,
        root,
        measured,
        named_classes,
        len(present) - len(mismatched),
        tuple(missing),
        tuple(unexpected),
        tuple(mismatched),
        tuple(evidence),
        expansion,
    )


def _unexplained(
    names: Iterable[str], manifest: Manifest, table: Table, dialect: str, ignored: Ignored
) -> Iterator[str]:
    """The names that no ignore rule of a dialect explains."""
    globs = tuple(glob for kinds in table.ignore[dialect].values() for glob in kinds)
    known = ignored.setdefault(globs, {})
    for name in names:
        if name not in known:
            known[name] = manifest[name].dtype in OPAQUE or _any_of(globs).match(name) is not None
        if not known[name]:
            yield name


def _fits(manifest: Manifest, expansion: Expansion, dialect: str, name: str, measured: Mapping[str, int]) -> bool:
    parameter = expansion.by_name[dialect][name]
    try:
        parameter.axes[dialect].bind(manifest[name].shape, {**parameter.sizes, **measured})
    except ValueError:
        return False
    return True


def _not_detected(manifest: Manifest, found: Sequence[Detection]) -> DetectError:
    if not found:
        return DetectError(
            f"no family knows any of the {len(manifest)} names",
            got=", ".join(fold_names(manifest)[:5]) or None,
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
