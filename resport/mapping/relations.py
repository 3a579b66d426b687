"""What a table claims of two dialects: whether networks with the same weights, one in each, compute the same.

Names and shapes can fit where the functions differ, and no table of names can tell. So each pair of dialects is
declared one of four things, with the reason in a sentence. ``convert`` prints what is not plainly equal, and ``verify``
says so where the forward passes contradict it. The declaration is about the networks that resport builds for the two
dialects; what a framework's own class does otherwise is said in ``[stock]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any, NamedTuple

RELATION_KEYS = frozenset({"pair", "among", "kind", "reason", "difference"})

EQUAL, TRANSFORMED, GRAPH, DIFFERENT = "equal", "transformed", "graph", "different"

RELATION_KINDS: Mapping[str, str] = {
    EQUAL: "compute the same",
    TRANSFORMED: "compute the same once values are transformed",
    GRAPH: "compute the same only where one of the networks is built otherwise",
    DIFFERENT: "do not compute the same",
}
"""The kinds, and what each says of the two networks."""


class Relation(NamedTuple):
    """What a table says of two of its dialects.

    Attributes:
        pair: the two dialects.
        kind: one of ``RELATION_KINDS``.
        reason: why, in a sentence.
        difference: measured size of the difference where they are not equal, relative to the outputs' range; or None.
    """

    pair: tuple[str, str]
    kind: str
    reason: str
    difference: float | None = None

    @property
    def is_same_function(self) -> bool:
        """Whether the two networks compute the same with converted weights."""
        return self.kind in (EQUAL, TRANSFORMED)

    @property
    def sentence(self) -> str:
        """All of it in a sentence."""
        size = "" if self.difference is None else f"; the outputs differ by about {self.difference:.2g} of their range"
        return f"{self.pair[0]} and {self.pair[1]} {RELATION_KINDS[self.kind]}: {self.reason}{size}"


def parse_relations(entries: Sequence[Mapping[str, Any]], dialects: Sequence[str]) -> tuple[Relation, ...]:
    """Read the ``[[relation]]`` entries of a table.

    A table may leave them all out; one that has any has one for each pair of its dialects. An entry with ``among`` in
    place of ``pair`` stands for every pair of the dialects that it lists; where the sides of ``pair`` are lists, it
    stands for each dialect of the one with each of the other.

    Args:
        entries: the entries; their keys and the kinds of their values are checked already.
        dialects: the table's.

    Raises:
        ValueError: an entry that is not complete, of no known kind or of unknown dialects; a pair that has none or two.
    """
    relations: dict[frozenset[str], Relation] = {}
    for number, entry in enumerate(entries, 1):
        for relation in _relations(number, entry, dialects):
            if frozenset(relation.pair) in relations:
                raise ValueError(f"relation {number}: {' and '.join(relation.pair)} have a relation already")
            relations[frozenset(relation.pair)] = relation
    for pair in combinations(dialects, 2):
        if relations and frozenset(pair) not in relations:
            raise ValueError(f"there is no [[relation]] of {' and '.join(pair)}")
    return tuple(relations.values())


def _relations(number: int, entry: Mapping[str, Any], dialects: Sequence[str]) -> Iterator[Relation]:
    """The relations that one entry stands for."""
    if "among" not in entry:
        sides = entry.get("pair", ())
        lists = [side if isinstance(side, list) else [side] for side in sides]
        for pair in product(*lists) if lists else [sides]:
            yield _relation(number, {**entry, "pair": pair}, dialects)
        return
    if "pair" in entry or len(set(entry["among"])) < 3:
        raise ValueError(f"relation {number}: `among` lists three dialects or more, and stands in place of `pair`")
    for pair in combinations(entry["among"], 2):
        yield _relation(number, {**entry, "pair": pair}, dialects)


def _relation(number: int, entry: Mapping[str, Any], dialects: Sequence[str]) -> Relation:
    for key in ("pair", "kind", "reason"):
        if not entry.get(key):
            raise ValueError(f"relation {number}: `{key}` is missing")
    pair, kind = entry["pair"], entry["kind"]
    if len(pair) != 2 or pair[0] == pair[1] or not {*pair} <= {*dialects}:
        raise ValueError(f"relation {number}: a pair is two of the dialects {', '.join(dialects)}, not {list(pair)}")
    if kind not in RELATION_KINDS:
        raise ValueError(f"relation {number}: `{kind}` is none of the kinds {', '.join(RELATION_KINDS)}")
    return Relation((pair[0], pair[1]), kind, entry["reason"], entry.get("difference"))
