"""Random valid tables, written as TOML, with what they must expand to worked out beside them."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from hypothesis import strategies as st

DIALECTS = ("a", "b", "c")
AXES = ("h", "w", "i", "o")
SEPARATORS = ("/", ".", "_", "(x)", "+$", "é/")
VARIANTS = ("net_1", "net_2")


@dataclass
class RandomTable:
    """A table as TOML, and its names.

    Attributes:
        text: the TOML.
        names: by variant and dialect the names that it must expand to, in any order.
    """

    text: str
    names: dict[str, dict[str, list[str]]] = field(default_factory=dict)


@st.composite
def counts(draw: st.DrawFn) -> dict[str, object]:
    """Counts of a variant: ``u`` may go by ``b``, and so may the number of paths ``g``."""
    number = st.integers(1, 3)
    dependent = number | st.lists(number, min_size=1, max_size=3)
    return {"b": draw(st.integers(1, 3)), "u": draw(dependent), "g": draw(dependent)}


@st.composite
def axis_strings(draw: st.DrawFn, names: list[str]) -> str:
    """The axes in any order, some joined, some of size one between them."""
    tokens: list[str] = []
    waiting = list(draw(st.permutations(names)))
    while waiting:
        n_joined = draw(st.integers(1, len(waiting))) if draw(st.booleans()) else 1
        joined, waiting = waiting[:n_joined], waiting[n_joined:]
        tokens.append(joined[0] if n_joined == 1 else f"({' '.join(joined)})")
        if draw(st.integers(0, 3)) == 0:
            tokens.append("1")
    return " ".join(tokens)


@st.composite
def cells(draw: st.DrawFn, tag: str, holes: list[str]) -> str:
    """A name of its own with holes in any order, each with an offset or none, none beside another."""
    text = f"{tag}{draw(st.sampled_from(SEPARATORS))}"
    for hole in draw(st.permutations(holes)):
        offset = "" if hole == "word" else draw(st.sampled_from(["", "+1", "-1", "+7"]))
        text += f"{{{hole}{offset}}}{draw(st.sampled_from(SEPARATORS))}"
    return f"{text}w"


@st.composite
def tables(draw: st.DrawFn) -> RandomTable:
    """A table of three dialects with one to four groups."""
    variants = {name: draw(counts()) for name in VARIANTS}
    n_words = draw(st.integers(1, 3))
    words = {d: draw(st.permutations([f"{d}{letter}" for letter in "xyz"[:n_words]])) for d in DIALECTS}
    roots = {d: draw(st.sampled_from(["", "scope/", "{variant}/", "{variant}."])) for d in DIALECTS}
    table = RandomTable("", {name: {d: [] for d in DIALECTS} for name in variants})
    entries, groups = [], []
    for number in range(draw(st.integers(1, 4))):
        over = draw(st.sampled_from([[], ["b"], ["b", "u"], ["b", "g"], ["b", "u", "g"]]))
        rows = []
        for row in range(draw(st.integers(1, 3))):
            name = f"x{number}_{row}"
            entry, line, templates = draw(random_rows(name, over))
            entries.append(entry)
            rows.append(line)
            _add_names(table, templates, over, variants, words, roots)
        optional = "optional = true\n" if draw(st.booleans()) else ""
        groups.append(f"[[group]]\nover = {over!r}\n{optional}rows = [\n{''.join(rows)}]\n")
    table.text = "\n".join(
        [
            'family = "random"',
            'columns = ["a", "b", "c", "axes"]',
            "[variants]",
            *(f"{name} = {{ b = {c['b']}, u = {c['u']}, g = {c['g']} }}" for name, c in variants.items()),
            "[root]",
            *(f'{dialect} = "{root}"' for dialect, root in roots.items()),
            "[words.word]",
            *(f"{dialect} = {list(spellings)!r}" for dialect, spellings in words.items()),
            "[axes]",
            *entries,
            *groups,
        ]
    )
    return table


@st.composite
def random_rows(draw: st.DrawFn, name: str, over: list[str]) -> tuple[str, str, dict[str, str]]:
    """A row with an entry of ``[axes]`` of its own: both as TOML, and the cells that are names."""
    axes = draw(st.lists(st.sampled_from(AXES), unique=True, max_size=4))
    sizes = {axis: draw(st.integers(1, 3)) for axis in axes}
    fanned = {d: "g" in over and draw(st.booleans()) for d in DIALECTS}
    if "g" in over and not any(fanned.values()):
        fanned[draw(st.sampled_from(DIALECTS))] = True
    has_word = draw(st.booleans())
    templates, strings = {}, {}
    for dialect in DIALECTS:
        holes = [index for index in over if index != "g" or fanned[dialect]] + ["word"] * has_word
        templates[dialect] = draw(cells(f"{dialect}{name}", holes))
        strings[dialect] = draw(axis_strings(axes + ["g"] * ("g" in over and not fanned[dialect])))
    texts = dict(templates)
    constant = draw(st.sampled_from([None, None, *DIALECTS]))
    still_fanned = any(fanned[dialect] for dialect in DIALECTS if dialect != constant) or "g" not in over
    if constant and still_fanned:
        texts[constant] = draw(st.sampled_from(["=0", "=1", "=-2.5"]))
        del templates[constant]
    # Sizes are given in the order of the first dialect's axes; that of the paths by its name.
    order = re.findall("[a-z]+", strings["a"])
    given = " ".join([name, *(str(sizes.get(axis, axis)) for axis in order)])
    told = [f'{dialect} = "{string}"' for dialect, string in strings.items()]
    if axes and "g" not in order and draw(st.booleans()):
        given = name
        told.append(f"sizes = {{ {', '.join(f'{axis} = {size}' for axis, size in sizes.items())} }}")
    row = ", ".join(f'"{text}"' for text in (*texts.values(), given))
    return f"{name} = {{ {', '.join(told)} }}", f"  [{row}],\n", templates


def _add_names(
    table: RandomTable,
    templates: dict[str, str],
    over: list[str],
    variants: dict[str, dict[str, object]],
    words: dict[str, list[str]],
    roots: dict[str, str],
) -> None:
    """The names of a row, worked out without the package: every combination, each once."""
    for variant, counted in variants.items():
        for dialect, template in templates.items():
            spellings = words[dialect] if "{word}" in template else [""]
            found = {
                _spelled(roots[dialect] + template, {**numbers, "word": word, "variant": variant})
                for numbers in _numbers(over, counted)
                for word in spellings
            }
            table.names[variant][dialect].extend(found)


def _numbers(over: list[str], counted: dict[str, object]) -> list[dict[str, int]]:
    found = []
    for b in range(1, counted["b"] + 1) if "b" in over else [1]:
        limits = {index: _at(counted[index], b) for index in over if index != "b"}
        for rest in itertools.product(*(range(1, limit + 1) for limit in limits.values())):
            found.append({"b": b, **dict(zip(limits, rest, strict=True))})
    return found


def _at(count: object, b: int) -> int:
    return count[min(b, len(count)) - 1] if isinstance(count, list) else count


def _spelled(template: str, values: dict[str, object]) -> str:
    def fill(match: re.Match[str]) -> str:
        value = values[match[1]]
        return str(value + int(match[2] or 0)) if isinstance(value, int) else value

    return re.sub(r"\{([a-z]+)([+-]\d)?\}", fill, template)
