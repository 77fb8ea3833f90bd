"""Which of the measured plans of one variant are best, and in what words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from wherever_contracts.durations import duration

if TYPE_CHECKING:
    from wherever_devices.measured import Measurement
    from wherever_devices.profiles import Objective

# What everybody would use without us: no other engine goes before it for being named first.
BASELINE = "onnxruntime"
# Costs that are this near to each other are equal: the difference may be chance.
EQUAL = 1.05

_WORDS = {"latency": "", "cpu_time": " of CPU time"}


def best_of_each(found: Iterable[Measurement], objective: Objective) -> list[Measurement]:
    """The best plan of each engine and device, the cheapest first.

    Of plans about as cheap as the cheapest of their engine, it is the one that takes the least CPU
    time; of ONNX Runtime it is the cheapest itself.
    """
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for each in found:
        groups.setdefault((each.plan.engine, each.plan.device), []).append(each)
    best = [_sparing(group, objective) for group in groups.values()]
    return sorted(best, key=lambda each: (each.cost_s(objective), each.plan))


def preferred_first(
    best: Sequence[Measurement], named_first: str, objective: Objective
) -> list[Measurement]:
    """The cheapest first; the engine that is named first keeps that place while it is as good.

    As good: at most 5 % behind the cheapest, and not behind ONNX Runtime at all.

    Args:
        best: plans, the cheapest first; at least one.
        named_first: the engine that the variant names first.
        objective: what counts.
    """
    baseline = [each.cost_s(objective) for each in best if each.plan.engine == BASELINE]
    limit_s = min([EQUAL * best[0].cost_s(objective), *baseline])
    for each in best:
        if each.plan.engine == named_first and each.cost_s(objective) <= limit_s:
            return [each, *(other for other in best if other is not each)]
    return list(best)


def comparison(each: Measurement, others: Sequence[Measurement], objective: Objective) -> str:
    """What a plan costs, against ONNX Runtime or else the next best: "measured 0.21 ms, ...".

    Args:
        each: the plan.
        others: the best plans of the other engines.
        objective: what counts.
    """
    cost_s = each.cost_s(objective)
    words = f"measured {duration(cost_s)}{_WORDS[objective]}"
    rivals = [other for other in others if other.plan.engine != each.plan.engine]
    rivals.sort(key=lambda other: (other.plan.engine != BASELINE, other.cost_s(objective)))
    if not rivals or not cost_s:
        return words
    ratio = rivals[0].cost_s(objective) / cost_s
    name = rivals[0].plan.engine
    if 1 / EQUAL <= ratio <= EQUAL:
        return f"{words}, as good as {name}"
    if ratio < 1:
        return f"{words}, {1 / ratio:.1f} x what {name} takes"
    return f"{words}, {name} takes {ratio:.1f} x that"


def _sparing(plans: Sequence[Measurement], objective: Objective) -> Measurement:
    cheapest = min(plans, key=lambda each: (each.cost_s(objective), each.plan))
    if cheapest.plan.engine == BASELINE:
        return cheapest
    limit_s = EQUAL * cheapest.cost_s(objective)
    equal = [each for each in plans if each.cost_s(objective) <= limit_s]
    return min(equal, key=lambda each: (each.cpu_s, each.plan))
