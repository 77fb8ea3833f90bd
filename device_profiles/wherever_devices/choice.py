"""In which order the variants of a model are tried on a machine, and how each would run. Pure.

What was measured decides between the plans of a variant, and between variants of equal quality;
what was not measured keeps the order in which the package's author named it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from wherever_devices.machine import EngineState, Machine, unable, unfit
from wherever_devices.plans import RunPlan, hardware_of
from wherever_devices.weighing import EQUAL, best_of_each, comparison, preferred_first

if TYPE_CHECKING:
    from wherever_contracts.manifest import Manifest, Variant
    from wherever_contracts.places import Place
    from wherever_devices.decision import Decision
    from wherever_devices.measured import Measurement
    from wherever_devices.profiles import Objective

# id of a variant -> what its plans were measured to cost
Measured: TypeAlias = "Mapping[str, Mapping[RunPlan, Measurement]]"

ABSENT = "its files are not on this machine"
# Figures of quality, as shares of 1, that are this near to each other are equal.
_SAME_QUALITY = 0.01


@dataclass(frozen=True, slots=True)
class Option:
    """One way to answer: a variant, and how it would run.

    Attributes:
        variant: the variant.
        plan: how it would run; None when nothing here could run it.
        unfit: why it is not to be tried, or "".
        why: what a measurement or the decision says of it, or "".
    """

    variant: Variant
    plan: RunPlan | None
    unfit: str = ""
    why: str = ""


class Row(NamedTuple):
    """A line of the table of plans: a plan of a variant, what it costs, and what became of it.

    Attributes:
        found: what was measured; None when nothing was.
        chosen: it is what answers first.
        note: why it is chosen, or why it cannot be.
    """

    variant: str
    plan: RunPlan | None
    found: Measurement | None
    chosen: bool
    note: str


def order_options(
    manifest: Manifest,
    *,
    present: Collection[str],
    machine: Machine,
    engines: Mapping[str, EngineState],
    threads: int,
    distance: Place,
    measured: Measured | None = None,
    decision: Decision | None = None,
) -> list[Option]:
    """Every way to answer for a model, the one to try first at the front.

    Variants meant for `distance` come first, in the manifest's order (at "cloud" the reference
    before them); of a variant, its engines in the order in which it names them, each with
    `threads` threads on the CPU.

    Measurements change that in two places. Of a variant, each engine runs by the plan that was
    measured to cost least of those that the decision allows, and the engine that costs least comes
    first; one that was not measured comes after those that were. The engine that the variant names
    first keeps its place unless another is at least 5 % better, or ONNX Runtime is better at all.
    Variants that state the same quality (within 0.01 of each other) as the first one that fits are
    ordered by what they cost. Where the decision prefers small ones, the one that costs least (or,
    when not all were measured, has the fewest bytes) comes first of all meant for `distance`.

    Args:
        manifest: the package's.
        present: ids of the variants whose files are here.
        machine: what there is.
        engines: the engines there are, by name.
        threads: threads of one run, where nothing was measured.
        distance: where the host stands.
        measured: id of a variant -> what its plans were measured to cost.
        decision: what the machine's profile allows and prefers; None for all of what was measured,
            by latency.
    """
    ways = _Ways(present, machine, engines, threads, measured or {}, decision)
    ordered = sorted(
        manifest.variants,
        key=lambda variant: distance == "cloud" and variant.id != manifest.reference,
    )
    meant = [ways.of(variant) for variant in ordered if distance in variant.places]
    others = [ways.of(variant) for variant in ordered if distance not in variant.places]
    # escalation counts on the reference, so that a gateway keeps it in front
    kept = int(distance == "cloud" and any(_id(group) == manifest.reference for group in meant))
    groups = [*meant[:kept], *ways.among_variants(meant[kept:]), *others]
    return [option for group in groups for option in group]


def admits(decision: Decision | None, variant: Variant, plan: RunPlan) -> bool:
    """True when a decision allows a plan for a variant; without one, everything is allowed."""
    return decision is None or (
        plan.threads <= decision.threads
        and hardware_of(plan.device) in decision.devices
        and plan.precision in precisions(decision, variant)
    )


def precisions(decision: Decision, variant: Variant) -> tuple[str, ...]:
    """What a variant may be computed in: its own precision, and what else a decision allows."""
    others = decision.precisions if variant.precision == "float32" else ()
    return tuple(dict.fromkeys((variant.precision, *others)))


def table(options: Sequence[Option], measured: Measured) -> list[Row]:
    """What was measured and what was chosen, in the order of the variants; cheapest plans first.

    Args:
        options: every way to answer, as `order_options` gave them.
        measured: what it was given.
    """
    chosen = next((each for each in options if each.plan is not None and not each.unfit), None)
    rows: list[Row] = []
    for variant_id in dict.fromkeys(option.variant.id for option in options):
        own = [option for option in options if option.variant.id == variant_id]
        rows += _rows(own, measured.get(variant_id, {}), chosen)
    return rows


@dataclass(frozen=True, slots=True)
class _Ways:
    """The ways to run the variants of a model here."""

    present: Collection[str]
    machine: Machine
    engines: Mapping[str, EngineState]
    threads: int
    measured: Measured
    decision: Decision | None

    def of(self, variant: Variant) -> list[Option]:
        """How a variant can run, the best way first; at least one, which may not fit."""
        if variant.id not in self.present:
            return [Option(variant, None, ABSENT)]
        reason = unfit(variant.needs, variant.format, self.machine, self.engines)
        if reason:
            return [Option(variant, None, reason)]
        declared = [
            Option(variant, self._plan(name, variant), why and f"{name} {why}")
            for name, why in unable(variant.needs, variant.format, self.engines).items()
        ]
        found = self.measured.get(variant.id)
        return self._by_cost(variant, declared, found) if found else declared

    def among_variants(self, groups: list[list[Option]]) -> list[list[Option]]:
        """Groups of the variants meant for one place, in the order in which to try them."""
        fitting = [group for group in groups if _first_fit(group)]
        if len(fitting) < 2:
            return groups
        small = self.decision is not None and self.decision.prefer_small
        ordered = self._smallest_first(fitting) if small else self._peers_by_cost(fitting)
        if ordered[0] is fitting[0]:
            return groups
        why = "the smallest variant is preferred now" if small else f"as good as {_id(fitting[0])}"
        better = list(takewhile(lambda group: not _first_fit(group), groups))
        rest = _without(groups, [*better, *fitting])
        return [*better, _with_reason(ordered[0], why), *ordered[1:], *rest]

    @property
    def _objective(self) -> Objective:
        return self.decision.objective if self.decision else "latency"

    def _plan(self, engine: str, variant: Variant) -> RunPlan:
        return RunPlan(engine, "cpu", variant.precision, self.threads)

    def _by_cost(
        self, variant: Variant, declared: list[Option], found: Mapping[RunPlan, Measurement]
    ) -> list[Option]:
        """The ways of a variant of which some plans were measured."""
        leading = list(takewhile(lambda option: option.unfit, declared))
        rest = [_told(option, found) for option in declared[len(leading) :]]
        names = [option.plan.engine for option in rest if option.plan]
        usable = [
            each
            for plan, each in found.items()
            if each.usable and plan.engine in names and admits(self.decision, variant, plan)
        ]
        best = best_of_each(usable, self._objective)
        if best:
            best = preferred_first(best, names[0], self._objective)
        measured = [
            Option(variant, each.plan, why=comparison(each, best, self._objective)) for each in best
        ]
        engines = {each.plan.engine for each in best}
        left = [option for option in rest if option.plan and option.plan.engine not in engines]
        return [*leading, *measured, *sorted(left, key=lambda option: bool(option.why))]

    def _cost_s(self, group: list[Option]) -> float | None:
        """What the first way of a variant that fits was measured to cost."""
        option = _first_fit(group)
        found = self.measured.get(_id(group), {})
        each = found.get(option.plan) if option and option.plan else None
        return each.cost_s(self._objective) if each and each.usable else None

    def _peers_by_cost(self, fitting: list[list[Option]]) -> list[list[Option]]:
        """Those as good as the first go by cost; the others stay behind them as they were."""
        first = fitting[0]
        first_s = self._cost_s(first)
        if first_s is None:
            return fitting
        costs = [
            (cost_s, position)
            for position, group in enumerate(fitting)
            if _same_quality(first[0].variant, group[0].variant)
            and (cost_s := self._cost_s(group)) is not None
        ]
        if first_s <= EQUAL * min(costs)[0]:
            return fitting
        peers = [fitting[position] for _, position in sorted(costs)]
        return [*peers, *_without(fitting, peers)]

    def _smallest_first(self, fitting: list[list[Option]]) -> list[list[Option]]:
        costs = [self._cost_s(group) for group in fitting]
        known = [cost_s for cost_s in costs if cost_s is not None]
        sizes = known if len(known) == len(fitting) else [_bytes(group) for group in fitting]
        order = sorted(range(len(fitting)), key=lambda position: sizes[position])
        return [fitting[position] for position in order]


def _told(option: Option, found: Mapping[RunPlan, Measurement]) -> Option:
    """The option, with what was found of its plan: wrong answers rule it out."""
    each = found.get(option.plan) if option.plan is not None else None
    if each is None or option.unfit:
        return option
    if each.wrong:
        return replace(option, unfit=f"{each.plan} gave other answers: {each.wrong}")
    return replace(option, why=each.failed)


def _rows(
    own: Sequence[Option], found: Mapping[RunPlan, Measurement], chosen: Option | None
) -> list[Row]:
    """The lines of one variant: what was measured, then the ways of which nothing is known."""
    ways = {option.plan: option for option in own}
    ordered = sorted(found.values(), key=lambda each: (not each.usable, each.latency_s, each.plan))
    rows = [
        Row(
            _id(own),
            each.plan,
            each,
            chosen is not None and ways.get(each.plan) is chosen,
            each.wrong or each.failed or (ways[each.plan].why if each.plan in ways else ""),
        )
        for each in ordered
    ]
    unknown = [option for option in own if option.plan not in found]
    return rows + [
        Row(_id(own), option.plan, None, option is chosen, option.unfit or option.why)
        for option in unknown
    ]


def _first_fit(group: Sequence[Option]) -> Option | None:
    return next((each for each in group if each.plan is not None and not each.unfit), None)


def _id(group: Sequence[Option]) -> str:
    return group[0].variant.id


def _bytes(group: Sequence[Option]) -> int:
    return sum(entry.bytes for entry in group[0].variant.files)


def _without(groups: Sequence[list[Option]], some: Sequence[list[Option]]) -> list[list[Option]]:
    dropped = {_id(group) for group in some}
    return [group for group in groups if _id(group) not in dropped]


def _with_reason(group: Sequence[Option], why: str) -> list[Option]:
    """The group, whose first way that fits says why it goes before others."""
    first = _first_fit(group)
    return [
        replace(each, why="; ".join(filter(None, (why, each.why)))) if each is first else each
        for each in group
    ]


def _same_quality(first: Variant, other: Variant) -> bool:
    """True when both state a figure on the same data, and all such figures are about equal."""
    theirs = {(each.dataset, each.metric): each.value for each in other.quality}
    gaps = [
        abs(each.value - theirs[each.dataset, each.metric])
        for each in first.quality
        if (each.dataset, each.metric) in theirs
    ]
    return first is other or (bool(gaps) and max(gaps) <= _SAME_QUALITY)
