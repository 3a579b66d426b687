"""The judged network on a bench: built and loaded once, run with other tensors, an edited graph or another reference.

A mistake, and the undoing of one, is a ``Change``. Runs are in float64 on small images, for there are many of them;
only the tensors that a change names are loaded anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from resport.architectures.graph_edits import Edit, Editor, PoolPadding, editor
from resport.conversion.stream import moved, stream
from resport.mapping import Plan, PlanOptions, plan_conversion
from resport.tensors import Manifest
from resport.verification.forward.end_points import relative_difference
from resport.verification.forward.forward import NetworkSide, random_images
from resport.verification.forward.networks import NetworkPool, Read
from resport.verification.mistakes.target_tensors import TargetTensor, describe_tensors
from resport.verification.pairing import Pair, source_side
from resport.verification.probe import probe_sides, random_source, widened

if TYPE_CHECKING:
    import numpy as np

SiteValue = float | int | PoolPadding
Outputs = Mapping[str, "np.ndarray"]
Align = Callable[[Outputs, Outputs], tuple[Outputs, Outputs]]


@dataclass(frozen=True, slots=True)
class Change:
    """What is otherwise than the files and the builders have it.

    Attributes:
        tensors: values of the target's tensors, by its builder's names.
        edits: values of sites of the target's graph, by site.
        options: what the source is read with in place of the conversion's own options.
        align: what is done to both sides' end points before they are compared.
    """

    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    edits: Mapping[str, SiteValue] = field(default_factory=dict)
    options: PlanOptions | None = None
    align: Align | None = None

    def then(self, other: Change) -> Change:
        """Both changes, the other one made last."""
        return Change(
            {**self.tensors, **other.tensors},
            {**self.edits, **other.edits},
            other.options or self.options,
            other.align or self.align,
        )


class Workbench:
    """Both sides of a pair, the target open and the source's outputs at hand. Use it as a context manager.

    Args:
        pair: the two checkpoints.
        source: the reference.
        target: what is judged.
        input_sizes: heights and widths of the images.
        limit: relative difference above which two end points differ.
        seed: of the images.
        batch_size: images in each pass.
        stored: gives the source's tensors by the file's names; the file's own if None.
        is_wide: compute what the plan makes of the source without rounding it to the target's dtype.
    """

    def __init__(
        self,
        pair: Pair,
        source: NetworkSide,
        target: NetworkSide,
        input_sizes: Sequence[int],
        *,
        limit: float,
        seed: int = 0,
        batch_size: int = 2,
        stored: Read | None = None,
        is_wide: bool = False,
    ) -> None:
        assert pair.source_detection is not None and pair.target_detection is not None
        self.pair = pair
        self.limit = limit
        self.tensors: dict[str, TargetTensor] = describe_tensors(pair.target_detection, pair.target.manifest)
        self.sides = (source, target)
        self._stored = stored or pair.source.read
        self._is_wide = is_wide
        self._batches = [random_images(size, batch_size, seed) for size in input_sizes]
        self._stack = ExitStack()
        self._changed: dict[str, np.ndarray] = {}
        self.reference = cache(self._reference)
        self._plan = cache(self._make_plan)

    def __enter__(self) -> Self:
        source, target = self.sides
        # The source is run again for each other reading of it that is tried.
        self._pool = source.pool or self._stack.enter_context(NetworkPool())
        network = self._stack.enter_context(target.open("float64"))
        network.load(target.read)
        self.editor: Editor = editor(network)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def value(self, name: str) -> np.ndarray:
        """The target's own value of a tensor, by its builder's name."""
        return self.sides[1].read(name)

    def expected(self, name: str, options: PlanOptions | None = None) -> np.ndarray:
        """What the plan makes of the source for one of the target's tensors.

        Args:
            name: the builder's name.
            options: of a conversion other than this one.
        """
        plan = self._plan(options or self.pair.options)
        file_name = self.tensors[name].file_name
        for move in plan.moves:
            targets = [spec.name for spec in move.targets]
            if file_name in targets:
                return moved(move, self._stored)[targets.index(file_name)]
        fill = next(fill for fill in plan.fills if fill.target.name == file_name)
        return next(array for _, array in stream(Plan((), Manifest([fill.target]), (fill,)), self._stored))

    def _make_plan(self, options: PlanOptions) -> Plan:
        source, target = self.pair.source_detection, self.pair.target_detection
        assert source is not None and target is not None
        plan = self.pair.plan
        if options != self.pair.options:
            expansion = source.expand({target.dialect: target.root}, target.named_classes or target.num_classes)
            plan = plan_conversion(self.pair.source.manifest, expansion, source.dialect, target.dialect, options)
        return widened(plan) if self._is_wide else plan

    def _reference(self, options: PlanOptions) -> list[dict[str, np.ndarray]]:
        """The source's end points, read as a conversion with some options would have read it."""
        pair = (
            self.pair
            if options == self.pair.options
            else replace(self.pair, options=options, plan=self._make_plan(options))
        )
        side = replace(self.sides[0], read=source_side(pair, self._stored).read, pool=self._pool)
        return side.run("float64", self._batches)

    def outputs(self, change: Change, only: Sequence[str] | None = None) -> list[dict[str, np.ndarray]]:
        """The target's end points with a change.

        Raises:
            OptionError: maps don't fit together with it.
        """
        self._load(change.tensors)
        target = self.sides[1]
        step = -1 if target.is_reversed else 1
        edits = [Edit(site, value) for site, value in change.edits.items()]
        batches = [batch[..., ::step].astype("float64") for batch in self._batches]
        return [self.editor.run(batch, edits, only) for batch in batches]

    def _load(self, tensors: Mapping[str, np.ndarray]) -> None:
        back = {name: self.value(name) for name in self._changed if name not in tensors}
        changed = {name: array for name, array in tensors.items() if self._changed.get(name) is not array}
        self.editor.assign({**back, **changed})
        self._changed = dict(tensors)

    def differences(self, change: Change, only: Sequence[str] | None = None) -> dict[str, float]:
        """The largest relative difference at each end point with a change, in network order.

        Raises:
            OptionError: maps don't fit together with it.
        """
        worst: dict[str, float] = {}
        references = self.reference(change.options or self.pair.options)
        for expected, actual in zip(references, self.outputs(change, only), strict=True):
            left, right = change.align(expected, actual) if change.align else (expected, actual)
            for name in left:
                if name in right:
                    worst[name] = max(worst.get(name, 0.0), relative_difference(left[name], right[name]))
        return worst

    def first_divergence(self, differences: Mapping[str, float]) -> str | None:
        """The first end point that differs."""
        return next((name for name, value in differences.items() if not value <= self.limit), None)

    @cached_property
    def site_values(self) -> dict[str, SiteValue]:
        """What the sites of the target's graph have, by name."""
        return {site.name: site.value for site in self.editor.sites.all}


@dataclass(frozen=True, slots=True)
class View:
    """The target as it is with a change."""

    bench: Workbench
    change: Change

    def value(self, name: str) -> np.ndarray:
        """The value of a tensor, by its builder's name."""
        return self.change.tensors[name] if name in self.change.tensors else self.bench.value(name)

    def site(self, name: str) -> SiteValue:
        """The value of a site."""
        return self.change.edits.get(name, self.bench.site_values[name])


def probing_bench(
    pair: Pair, source: NetworkSide, target: NetworkSide, input_sizes: Sequence[int], *, limit: float, seed: int = 0
) -> Workbench:
    """A bench with random, sensitive weights in place of the file's, moved as the file's were but in float64.

    Args:
        pair: the two checkpoints, of which names and shapes are taken.
        source: the reference.
        target: what is judged.
        input_sizes: heights and widths of the images.
        limit: relative difference above which two end points differ.
        seed: of weights and images.
    """
    virtual = replace(pair, plan=widened(pair.plan), options=replace(pair.options, dtype=None))
    made_source, made_target = probe_sides(pair, seed)
    return Workbench(
        virtual,
        replace(source, read=made_source.read),
        replace(target, read=made_target.read),
        input_sizes,
        limit=limit,
        seed=seed,
        stored=random_source(pair, seed),
        is_wide=True,
    )
