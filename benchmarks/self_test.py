"""``python -m benchmarks.self_test``: every known mistake made on one network of each family, and who catches it.

For each pair of networks one mistake of each kind is made on the converted weights or on the graph that takes them.
The table says whether the forward check of ``resport verify`` catches it, by how much, and what the diagnosis calls it
from the forward passes alone; beside that stand the verdicts of checks that migration scripts use, on the outputs of
the same two networks. ``--seeds N`` runs N clean conversions of random weights through both networks and counts alarms.

What was measured is kept in a JSON file, pair by pair, and written as a page with ``--page``. Frameworks don't give
their memory back, so each pair has a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import resport
from resport.conversion import initialize
from resport.formats import open_reader
from resport.mapping import PlanOptions, shipped_tables
from resport.verification.forward.end_points import relative_difference
from resport.verification.forward.forward import FORWARD_FLOAT64_LIMIT, compare_forward
from resport.verification.forward.networks import NetworkPool
from resport.verification.forward.sizes import self_test_sizes
from resport.verification.mistakes.findings import MutantResult
from resport.verification.mistakes.kinds import KINDS
from resport.verification.mistakes.self_test import (
    FORWARD,
    HIDDEN,
    PROBE,
    Mutant,
    is_sure,
    judge_mutant,
    make_mutants,
)
from resport.verification.mistakes.workbench import Change, Workbench, probing_bench
from resport.verification.pairing import NetworkOptions, Pair, paired, source_side, target_side
from tests.tiny import write_values

N_CLASSES = 11
EMBEDDING = 128
SHADOW = "/ExponentialMovingAverage"
OUTPUTS = ("logits", "Bottleneck")
SNR_DECIBELS = 12.0
USUAL_CHECKS = ("sorted SNR", "top-1", "cosine", "NMSE", "atol 1e-3", "max/ref 1e-5")
RESULTS = Path("benchmarks") / "self_test.json"
START, END = "<!-- measured -->\n", "<!-- end -->\n"


@dataclass(frozen=True, slots=True)
class Case:
    """One pair of networks.

    Attributes:
        variant: the network.
        dialects: of the source and of the target.
        options: of the conversion.
        has_shadows: whether the source keeps moving averages.
        build_source: options of the source's builder.
    """

    variant: str
    dialects: tuple[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    has_shadows: bool = False
    build_source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the page calls it."""
        options = "".join(f" --{name.replace('_', '-')}" for name in self.options)
        return f"{self.variant}, {self.dialects[0]} to {self.dialects[1]}{options}"


CASES = (
    Case("resnet_v2_50", ("slim", "keras"), {"drop_background": True}, has_shadows=True),
    Case("resnet_v1_50", ("slim", "keras")),
    Case("inception_resnet_v1", ("slim", "keras"), {"ema": True}, has_shadows=True),
    Case("resnet_scale_101", ("keras", "resnet_v1_keras"), {"fold": True}, build_source={"pool1": "same"}),
    Case("preact_resnet_50", ("tensorpack", "tensorpack")),
    Case("se_resnet_50", ("tensorpack", "keras")),
    Case("resnext50_32x4d", ("tensorpack", "slim")),
    Case("se_resnext50_32x4d", ("keras", "slim")),
    Case("resnext29_8x64d", ("taki", "slim")),
    Case("se_resnext29_8x64d", ("taki", "slim")),
)


@contextmanager
def made_pair(case: Case, folder: Path, seed: int = 0) -> Iterator[Pair]:
    """Random weights and their conversion."""
    source, target = folder / "source.safetensors", folder / "target.safetensors"
    extra = {"embedding_size": EMBEDDING} if case.variant.startswith("inception") else {}
    initialize(case.variant, source, dialect=case.dialects[0], num_classes=N_CLASSES, seed=seed, **extra)
    if case.has_shadows:
        with open_reader(source) as reader:
            values = {name: reader.read(name) for name in reader.manifest}
        source.unlink()
        write_values(source, values | {f"{name}{SHADOW}": value * 1.01 for name, value in values.items()})
    resport.convert(source, target, to=case.dialects[1], variant=case.variant, **case.options)
    with open_reader(source) as reference, open_reader(target) as judged:
        pair = paired(reference, judged, PlanOptions(**case.options), shipped_tables(), case.variant)
        yield replace(pair, networks=NetworkOptions(build_source=case.build_source))


def measure(case: Case, seed: int) -> dict[str, Any]:
    """All mutants of one pair, judged by every check."""
    rows: dict[str, MutantResult] = {}
    passed: dict[str, list[str]] = {}
    reasons: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, made_pair(case, Path(folder)) as pair:
        source, target = source_side(pair), target_side(pair)
        sizes = self_test_sizes(source)
        limit = FORWARD_FLOAT64_LIMIT
        with Workbench(pair, source, target, sizes, limit=limit, seed=seed) as bench:
            for kind, mutant in make_mutants(bench, list(KINDS), seed):
                print(case.variant, kind, file=sys.stderr, flush=True)
                if isinstance(mutant, Mutant):
                    rows[kind], passed[kind] = judged(bench, mutant, FORWARD)
                elif mutant != HIDDEN:
                    reasons[kind] = mutant
        rest = [kind for kind in KINDS if kind not in reasons and not is_sure(rows.get(kind))]
        if rest:
            with probing_bench(pair, source, target, sizes, limit=FORWARD_FLOAT64_LIMIT, seed=seed) as bench:
                for kind, mutant in make_mutants(bench, rest, seed):
                    if isinstance(mutant, Mutant):
                        result, passed_by = judged(bench, mutant, PROBE)
                        if kind not in rows or result.margin > rows[kind].margin:
                            rows[kind], passed[kind] = result, passed_by
                    elif kind not in rows:
                        reasons[kind] = mutant
    ordered = [
        {**rows[kind].to_dict(), "margin": str(rows[kind].margin), "passed_by": passed[kind]}
        for kind in KINDS
        if kind in rows
    ]
    return {"title": case.title, "limit": limit, "sizes": list(sizes), "rows": ordered, "not_applicable": reasons}


def judged(bench: Workbench, mutant: Mutant, check: str) -> tuple[MutantResult, list[str]]:
    """One mutant: our verdict with our name for it, and which of the usual checks pass the network's outputs."""
    usual = usual_verdicts(bench, mutant.change)
    return judge_mutant(bench, mutant, check, diagnose=True), [name for name, passed in usual.items() if passed]


def usual_verdicts(bench: Workbench, change: Change) -> dict[str, bool]:
    """Whether each of the usual checks passes the network's first batch of outputs."""
    expected, actual = bench.reference(bench.pair.options)[0], bench.outputs(change)[0]
    name = next(name for name in OUTPUTS if name in expected)
    return dict(zip(USUAL_CHECKS, _passed(expected[name], actual[name]), strict=True))


def _passed(expected: np.ndarray, actual: np.ndarray) -> list[bool]:
    if expected.shape != actual.shape or not np.isfinite(actual).all():
        return [False] * len(USUAL_CHECKS)
    sorted_noise = np.sort(actual, axis=None) - np.sort(expected, axis=None)
    snr = 10 * np.log10(np.mean(expected**2) / (np.mean(sorted_noise**2) + 1e-7))
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1)
    return [
        bool(snr > SNR_DECIBELS),
        bool((expected.argmax(-1) == actual.argmax(-1)).all()),
        bool(((expected * actual).sum(1) / lengths >= 0.99).all()),
        bool(np.sum((expected - actual) ** 2) / np.sum(expected**2) < 1e-2),
        bool(np.abs(expected - actual).max() <= 1e-3),
        relative_difference(expected, actual) < 1e-5,
    ]


def clean_seeds(case: Case, count: int) -> dict[str, Any]:
    """Clean conversions of random weights, each with images of its own: the largest differences, and the alarms."""
    worst64 = worst_ratio = 0.0
    alarms = 0
    with tempfile.TemporaryDirectory() as folder, made_pair(case, Path(folder)) as pair, NetworkPool() as pool:
        source, target = source_side(pair), target_side(pair)
        sizes = self_test_sizes(source)
        for seed in range(count):
            bench = probing_bench(pair, source, target, sizes, limit=FORWARD_FLOAT64_LIMIT, seed=seed)
            one, other = (replace(side, pool=pool) for side in bench.sides)
            result = compare_forward(one, other, sizes, float32_sizes=sizes, seed=seed)
            alarms += not result.is_equal
            worst64 = max(worst64, *(point.max_rel_diff for point in result.float64))
            worst_ratio = max(worst_ratio, result.ratio)
            print(f"seed {seed}: {worst64:.1e}, {worst_ratio:.2f}, {alarms} alarms", file=sys.stderr, flush=True)
    return {"title": case.title, "seeds": count, "alarms": alarms, "float64": worst64, "ratio": worst_ratio}


def page(results: Mapping[str, Any]) -> str:
    """The measured part of docs/self_test.md."""
    lines = []
    for case in CASES:
        if case.variant in results:
            lines += _case_lines(results[case.variant])
    clean = results.get("clean")
    if clean:
        lines += [
            "## Clean conversions",
            "",
            f"{clean['seeds']} conversions of {clean['title']}, each with random weights and images of its own: "
            f"**{clean['alarms']} alarms**. The largest difference in float64 was {clean['float64']:.1e} (limit 1e-9), "
            f"in float32 {clean['ratio']:.2f} times the noise floor (limit 10).",
            "",
        ]
    return "\n".join(lines)


def _case_lines(result: Mapping[str, Any]) -> list[str]:
    rows = result["rows"]
    named = sum(row["diagnosed"] == row["kind"] for row in rows)
    passes = ", ".join(f"{check} {sum(check in row['passed_by'] for row in rows)}" for check in USUAL_CHECKS)
    lines = [
        f"## {result['title']}",
        "",
        f"{len(rows)} mistakes, {sum(row['caught'] for row in rows)} caught, {named} named. "
        f"How many the usual checks pass: {passes}.",
        "",
        "| mistake | caught by | margin | first difference | named | passed by |",
        "| --- | --- | --: | --- | --- | --- |",
    ]
    for row in rows:
        name = "yes" if row["diagnosed"] == row["kind"] else row["diagnosed"] or "no"
        margin = float(row["margin"])
        text = "infinite" if margin == float("inf") else f"{margin:.1e}"
        caught = row["check"] if row["caught"] else "**missed**"
        first = f"`{row['first_divergence']}`" if row["first_divergence"] else ""
        lines.append(f"| {row['kind']} | {caught} | {text} | {first} | {name} | {', '.join(row['passed_by'])} |")
    reasons = "; ".join(f"{kind}: {reason}" for kind, reason in result["not_applicable"].items())
    return [*lines, "", f"No place for: {reasons}.", ""]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, keep it, and write the page."""
    parser = argparse.ArgumentParser(prog="benchmarks.self_test", description=__doc__)
    parser.add_argument("--variant", action="append", help="measure this pair alone (repeatable)")
    parser.add_argument("--seed", type=int, default=0, help="chooses the places of the mistakes")
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="clean conversions; 0 for none")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="where figures are kept")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables into this page")
    parser.add_argument("--one", choices=[case.variant for case in CASES], help=argparse.SUPPRESS)
    parser.add_argument("--clean", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        case = next(case for case in CASES if case.variant == options.one)
        print(json.dumps(clean_seeds(case, options.seeds) if options.clean else measure(case, options.seed)))
        return
    results = json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {}
    wanted = options.variant or [case.variant for case in CASES]
    runs = {name: ["--one", name, "--seed", str(options.seed)] for name in wanted}
    if options.seeds:
        runs["clean"] = ["--one", CASES[0].variant, "--clean", "--seeds", str(options.seeds)]
    for key, command in runs.items():
        run = subprocess.run(
            [sys.executable, "-m", "benchmarks.self_test", *command], stdout=subprocess.PIPE, text=True, check=True
        )
        results[key] = json.loads(run.stdout.splitlines()[-1])
        options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.page:
        text = options.page.read_text(encoding="utf-8")
        head, tail = text[: text.index(START) + len(START)], text[text.index(END) :]
        options.page.write_text(f"{head}\n{page(results)}\n{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
