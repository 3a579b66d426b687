"""The forward passes of one verification, in their order, and what follows from each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resport.verification.forward.forward import compare_forward
from resport.verification.forward.sizes import float32_sizes, input_sizes, probe_sizes, self_test_sizes
from resport.verification.mistakes.findings import Finding, SelfTestResult
from resport.verification.pairing import Pair, own_graphs, source_side, target_side
from resport.verification.probe import constant_vectors, run_probe
from resport.verification.references.recording import Recording
from resport.verification.report import ForwardResult, WeightsResult


@dataclass(frozen=True, slots=True)
class PassOptions:
    """Which passes are run; the attributes are arguments of ``verify``."""

    input_size: int | None = None
    batch_size: int = 2
    probe: bool | None = None
    is_thorough: bool = False
    is_self_tested: bool = False
    is_diagnosed: bool = True
    progress: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class PassResults:
    """What the passes found; the first attributes are those of ``VerificationReport``.

    Attributes:
        recording: the source's network, which kept what a reference stores.
        has_other_graphs: whether a graph was run that no table speaks of: a file's own, or one built with options.
    """

    forward: ForwardResult | None = None
    probe: ForwardResult | None = None
    self_test: SelfTestResult | None = None
    diagnosis: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    recording: Recording | None = None
    has_other_graphs: bool = False


def run_passes(pair: Pair, weights: WeightsResult, options: PassOptions) -> PassResults:
    """Run both networks: with the files' weights, and with random ones where those can hide something.

    Two networks that agree are put to the self-test where that is asked for; for two that differ an explanation is
    looked for.

    Args:
        pair: the two checkpoints.
        weights: the comparison of their tensors.
        options: which passes.
    """
    # To compare weights alone nothing of these is needed.
    from resport.verification.mistakes.diagnosis import diagnose
    from resport.verification.mistakes.self_test import run_self_test

    source, target = source_side(pair), target_side(pair)
    recording = Recording(source)
    is_described = source.graph is not None or target.graph is not None
    has_other_graphs = is_described or bool(pair.networks.build or pair.networks.build_source)
    sizes = input_sizes(options.input_size, source, target)
    forward = compare_forward(
        recording,
        target,
        sizes,
        float32_sizes=float32_sizes(options.input_size, sizes, source),
        batch_size=options.batch_size,
        is_thorough=options.is_thorough,
        progress=options.progress,
    )
    constant = constant_vectors(pair)
    is_probed = bool(constant) if options.probe is None else options.probe
    probe = None
    if is_probed:
        smaller = probe_sizes(sizes, source)
        probe = run_probe(pair, smaller, batch_size=options.batch_size, progress=options.progress)
    notes = [*own_graphs(pair), *_about_constants(constant, is_probed)]
    smallest = self_test_sizes(source) if len(sizes) > 1 else sizes
    self_test = None
    if options.is_self_tested and _is_equal(weights, forward, probe):
        self_test = run_self_test(pair, source, target, input_sizes=smallest, progress=options.progress)
    elif options.is_self_tested:
        notes.append("no self-test: mistakes are made on two networks that agree, and these differ")
    findings: tuple[Finding, ...] = ()
    if options.is_diagnosed:
        # Where the file's own weights show a difference they show more of it than random ones do.
        shown = forward if not forward.is_equal or probe is None else probe
        if not shown.is_equal:
            findings = diagnose(
                pair,
                source,
                target,
                shown,
                weights,
                input_sizes=smallest,
                progress=options.progress,
                is_probe=shown is not forward,
            )
    return PassResults(forward, probe, self_test, findings, tuple(notes), recording, has_other_graphs)


def _is_equal(weights: WeightsResult, *passes: ForwardResult | None) -> bool:
    return weights.is_equal and all(each is None or each.is_equal for each in passes)


def _about_constants(names: Sequence[str], is_probed: bool) -> tuple[str, ...]:
    """What weights that were never trained mean for the proof."""
    if not names:
        return ()
    what = "random weights were run as well" if is_probed else "random weights (--probe) would show them"
    return (
        f"{len(names)} vectors of the source hold one value throughout (`{names[0]}` is the first), "
        f"which hides exchanges of them; {what}",
    )
