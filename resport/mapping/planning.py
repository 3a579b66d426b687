"""Plan a conversion through a table: match the expansion of a variant with the manifest of a source, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from resport.dtypes import FLOATING, OPAQUE
from resport.errors import PlanError
from resport.mapping.detection import ignored_kind, measured_sizes
from resport.mapping.expansion import ConcreteFold, Expansion, Parameter
from resport.mapping.folding import fold_names, shortened
from resport.mapping.layer_order import layer_of
from resport.mapping.ops import GATHERED
from resport.mapping.plan import Adjustment, Check, Fill, Ignored, Move, Plan, PlanOptions, ignore_rule, stored
from resport.mapping.tables import CLASSES, MEASURED, RGB
from resport.tensors import Manifest, TensorSpec


def plan_conversion(
    source: Manifest,
    expansion: Expansion,
    source_dialect: str,
    target_dialect: str,
    options: PlanOptions | None = None,
) -> Plan:
    """Plan a conversion from one dialect to another.

    Args:
        source: names, shapes and dtypes of what is there.
        expansion: the table expanded for the variant.
        source_dialect: whose names the source has.
        target_dialect: whose names the target gets.
        options: what to change or leave out.

    Returns:
        The plan; source and target are accounted for to the last tensor.

    Raises:
        PlanError: with all problems: missing, unexpected and mismatched tensors, and what cannot be filled.
    """
    planner = _Planner(source, expansion, source_dialect, target_dialect, options or PlanOptions())
    planner.match()
    planner.leftovers()
    plan = planner.plan()
    problems = planner.problems()
    if problems:
        raise PlanError(
            f"{expansion.variant} ({source_dialect} to {target_dialect}) does not fit, nothing was written",
            problems=problems,
            by_kind=planner.by_kind(),
            hint=planner.hint(),
        )
    return plan


@dataclass
class _Planner:
    """One conversion being planned: what was matched so far and what went wrong."""

    source: Manifest
    expansion: Expansion
    source_dialect: str
    target_dialect: str
    options: PlanOptions
    moves: dict[str, Move] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    shadowed: dict[str, None] = field(default_factory=dict)
    target_sizes: dict[str, dict[str, tuple[int, str]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    measured: dict[str, int] = field(default_factory=dict)
    has_rgb: bool = False

    def __post_init__(self) -> None:
        suffix = self.expansion.table.shadow.get(self.source_dialect, "")
        self.shadow_suffix = suffix if self.options.ema else ""

    def match(self) -> None:
        """Go through the parameters: each becomes a move, a check or a fill."""
        self.measured = measured_sizes(self.source, self.expansion, self.source_dialect)
        present = self.groups_present()
        deferred: list[Parameter] = []
        for parameter in self.expansion.parameters:
            if parameter.optional and parameter.group not in present:
                continue
            if parameter.names[self.source_dialect]:
                self.match_tensor(parameter)
            elif parameter.names[self.target_dialect]:
                deferred.append(parameter)
        for parameter in deferred:
            self.fill(parameter)

    def groups_present(self) -> set[int]:
        """Groups of which the source has at least one tensor, or its moving average where that is asked for."""
        by_name = self.expansion.by_name[self.source_dialect]
        return {
            parameter.group
            for name, parameter in by_name.items()
            if name in self.source or (self.shadow_suffix and name + self.shadow_suffix in self.source)
        }

    def match_tensor(self, parameter: Parameter) -> None:
        """Plan a parameter that the source dialect has as a tensor."""
        names = parameter.names[self.source_dialect]
        targets = parameter.names[self.target_dialect]
        if self.options.ignore:
            rules = {name: self.ignored_by(name, targets) for name in names}
            self.ignored.update((name, rule) for name, rule in rules.items() if rule and name in self.source)
            if any(rules.values()):
                return
        specs = [self.spec_of(name) for name in names]
        absent = [name for name, spec in zip(names, specs, strict=True) if spec is None]
        self.missing.extend(absent)
        sizes = self.bind(parameter, [spec for spec in specs if spec is not None])
        if absent or sizes is None:
            return
        found = [spec for spec in specs if spec is not None]
        opaque = [spec for spec in found if spec.dtype in OPAQUE]
        if opaque:
            self.mismatched.extend(f"{spec.name}: expected numbers, got a {spec.dtype}" for spec in opaque)
            return
        if len({spec.dtype for spec in found}) > 1:
            self.other.append(f"{names[0]} and its fellows have different dtypes: {', '.join(s.dtype for s in found)}")
            return
        if targets:
            self.add_move(parameter, found, sizes)
        else:
            self.add_checks(parameter, names)

    def ignored_by(self, name: str, targets: Iterable[str]) -> str | None:
        rules = (ignore_rule(each, self.options.ignore) for each in (name, *targets))
        return next((rule for rule in rules if rule), None)

    def spec_of(self, name: str) -> TensorSpec | None:
        """The spec of the tensor to read for a name: its moving average's where that is asked for and there."""
        spec = self.source.get(name)
        shadow = name + self.shadow_suffix
        if self.shadow_suffix and shadow in self.source:
            self.shadowed.setdefault(name)
            self.used.add(shadow)
            if spec is not None:
                self.ignored[name] = "--ema takes its moving average"
            return self.source[shadow]
        if spec is not None:
            self.used.add(name)
        return spec

    def bind(self, parameter: Parameter, specs: Iterable[TensorSpec]) -> dict[str, int] | None:
        """The sizes of a parameter's axes, or None (and a problem) where a shape doesn't fit."""
        axes = parameter.axes[self.source_dialect]
        known = {**parameter.sizes, **self.measured}
        sizes: dict[str, int] | None = known
        for spec in specs:
            try:
                # Tensors that are stacked must agree: each is held against the sizes of those before it.
                bound = axes.bind(spec.shape, sizes or known)
            except ValueError as error:
                expected = parameter.shape(self.source_dialect, self.measured)
                self.mismatched.append(
                    f"{spec.name}: expected {expected or f'axes `{axes}`'}, got {spec.shape} ({error})"
                )
                sizes = None
            else:
                sizes = {**known, **bound} if sizes is not None else None
        return sizes

    def add_move(self, parameter: Parameter, specs: list[TensorSpec], sizes: Mapping[str, int]) -> None:
        adjustments: list[Adjustment] = []
        sizes = dict(sizes)
        axes = parameter.axes[self.source_dialect]
        if self.options.drop_background and CLASSES in axes.names:
            adjustments.append(Adjustment("drop_background", axis=axes.position(CLASSES)))
            sizes[CLASSES] -= 1
        if self.options.swap_rgb and RGB in axes.names:
            adjustments.append(Adjustment("swap_rgb", axis=axes.position(RGB)))
            self.has_rgb = True
        move = parameter.move(self.source_dialect, self.target_dialect, sizes)
        shape = parameter.axes[self.target_dialect].shape(sizes)
        if shape is None:
            self.other.append(f"{specs[0].name}: the shape of {parameter.names[self.target_dialect][0]} cannot be told")
            return
        targets = tuple(
            stored(TensorSpec(name, shape, specs[0].dtype), self.options.dtype)
            for name in parameter.names[self.target_dialect]
        )
        sources = tuple(spec.name for spec in specs)
        planned = Move(sources, targets, None if move.is_identity else move, tuple(adjustments))
        for target in targets:
            self.moves[target.name] = planned
            self.remember_sizes(parameter, target, sizes)

    def remember_sizes(self, parameter: Parameter, target: TensorSpec, sizes: Mapping[str, int]) -> None:
        """Keep the sizes of a layer's axes: a constant of the same layer takes its own from them."""
        layer = self.target_sizes.setdefault(layer_of(target.name), {})
        for axis in parameter.axes[self.target_dialect].names:
            layer.setdefault(axis, (sizes[axis], target.dtype))

    def add_checks(self, parameter: Parameter, names: Iterable[str]) -> None:
        value = parameter.constants[self.target_dialect]
        self.checks.extend(Check(self.read_as(name), value, foldable=False) for name in names)

    def fill(self, parameter: Parameter) -> None:
        """Plan target tensors that are a constant in the source dialect; their layer's other tensors give sizes."""
        axes = parameter.axes[self.target_dialect]
        for name in parameter.names[self.target_dialect]:
            if ignore_rule(name, self.options.ignore):
                continue
            layer = self.target_sizes.get(layer_of(name), {})
            of_layer = {axis: size for axis, (size, _) in layer.items()}
            sizes = {**of_layer, **parameter.sizes}
            sizes.update((axis, of_layer[axis]) for axis in MEASURED if axis in of_layer)
            shape = axes.shape(sizes)
            if shape is None:
                self.other.append(f"{name} is a constant, and no other tensor of its layer tells its shape")
                continue
            dtypes = (*(dtype for _, dtype in layer.values()), *(spec.dtype for spec in self.target_specs()))
            dtype = next((dtype for dtype in dtypes if dtype in FLOATING), "float32")
            self.fills.append(Fill(TensorSpec(name, shape, dtype), parameter.constants[self.source_dialect]))

    def target_specs(self) -> Iterator[TensorSpec]:
        """The specs of the targets that were planned so far."""
        return (target for move in self.moves.values() for target in move.targets)

    def leftovers(self) -> None:
        """Account for the source tensors that no parameter took."""
        globs = self.expansion.table.ignore[self.source_dialect]
        for name, spec in self.source.items():
            if name in self.used or name in self.ignored:
                continue
            rule = f"{spec.dtype}s are no weights" if spec.dtype in OPAQUE else ignored_kind(name, globs)
            rule = rule or ignore_rule(name, self.options.ignore)
            if rule:
                self.ignored[name] = rule
            else:
                self.unexpected.append(name)
        if self.options.ema and not self.shadowed:
            self.other.append("--ema was asked for, and there is no moving average of any variable")
        if self.options.drop_background and self.measured.get(CLASSES, 0) < 2:
            what = "no class beside the background" if CLASSES in self.measured else "no classifier"
            self.other.append(f"--drop-background was asked for, and there is {what}")
        if self.options.swap_rgb and not self.has_rgb:
            self.other.append("--swap-rgb was asked for, and no tensor has an axis of colours")
        if not self.moves and not self.missing:
            self.other.append("no tensor would be moved")

    def plan(self) -> Plan:
        """The plan of what was matched."""
        possible = self.folds() if self.checks or self.options.fold else {}
        foldable = {operand for each in possible.values() for fold in each for operand in fold.operands}
        folds = possible if self.options.fold else {}
        fills = {fill.target.name: fill for fill in self.fills}
        specs = {target.name: target for move in self.moves.values() for target in move.targets}
        specs.update({name: fill.target for name, fill in fills.items()})
        ordered = [name for name in self.expansion.names(self.target_dialect) if name in specs]
        moves = dict.fromkeys(self.moves[name] for name in ordered if name in self.moves)
        return Plan(
            moves=tuple(_adjusted(move, folds) for move in moves),
            targets=Manifest(specs[name] for name in ordered),
            fills=tuple(fills[name] for name in ordered if name in fills),
            checks=tuple(
                Check(check.source, check.value, check.source in foldable)
                for check in self.checks
                if not (self.options.fold and check.source in foldable)
            ),
            ignored=tuple(Ignored(name, self.ignored[name]) for name in self.source if name in self.ignored),
            shadowed=tuple(self.shadowed),
            family=self.expansion.table.family,
            variant=self.expansion.variant,
            source_dialect=self.source_dialect,
            target_dialect=self.target_dialect,
        )

    def folds(self) -> dict[str, list[Adjustment]]:
        """The folds that can be carried out, by the name of the tensor that stays."""
        checked = {check.source for check in self.checks}
        moved = {move.sources[0] for move in self.moves.values() if len(move.sources) == 1}
        folds: dict[str, list[Adjustment]] = {}
        shift = self.epsilon_shift()
        for fold in self.expansion.folds:
            into, operands = self.read_as(fold.into), tuple(map(self.read_as, fold.operands))
            # A tensor that goes nowhere itself takes nothing along, and what is stacked has no fold of its own.
            if fold.dialect != self.source_dialect or into not in moved or not checked.issuperset(operands):
                continue
            taken = folds.get(into)
            if taken and fold.op in GATHERED and taken[-1].op == fold.op:
                taken[-1] = Adjustment(fold.op, (*taken[-1].operands, *operands))
            elif operands:
                folds.setdefault(into, []).append(Adjustment(fold.op, operands, self.fold_axis(fold)))
            elif shift:
                folds.setdefault(into, []).append(Adjustment(fold.op, value=shift))
        return folds

    def fold_axis(self, fold: ConcreteFold) -> int | None:
        """Which axis of the tensor that stays a fold acts along; None of one that acts along none."""
        if fold.axis is None:
            return None
        return self.expansion.by_name[self.source_dialect][fold.into].axes[self.source_dialect].position(fold.axis)

    def epsilon_shift(self) -> float:
        """The source's epsilon less the target's; 0 where the table doesn't tell both."""
        epsilon = self.expansion.table.epsilon
        if self.source_dialect not in epsilon or self.target_dialect not in epsilon:
            return 0.0
        return epsilon[self.source_dialect] - epsilon[self.target_dialect]

    def read_as(self, name: str) -> str:
        """The tensor that is read for a name: itself, or its moving average."""
        return name + self.shadow_suffix if name in self.shadowed else name

    def problems(self) -> list[str]:
        """All problems, by kind."""
        source = f"the {self.source_dialect} names of {self.expansion.variant}"
        sections = {
            f"missing, {len(self.missing)} of {source}:": shortened(fold_names(self.missing)),
            f"unexpected, {len(self.unexpected)} that {self.expansion.table.family} has no row for:": shortened(
                fold_names(self.unexpected)
            ),
            f"mismatched, {len(self.mismatched)} whose shape does not fit:": shortened(self.mismatched),
            "and:": shortened(self.other),
        }
        return [line for heading, lines in sections.items() if lines for line in (heading, *(f"  {x}" for x in lines))]

    def by_kind(self) -> dict[str, list[str]]:
        """All problems, nothing folded."""
        return {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "mismatched": self.mismatched,
            "other": self.other,
        }

    def hint(self) -> str | None:
        if self.missing or self.unexpected:
            return "`--ignore GLOB` leaves tensors out by name, and the report lists them"
        return None


def _adjusted(move: Move, folds: Mapping[str, Sequence[Adjustment]]) -> Move:
    added = tuple(fold for name in move.sources for fold in folds.get(name, ()))
    return Move(move.sources, move.targets, move.axes, (*added, *move.adjustments)) if added else move
