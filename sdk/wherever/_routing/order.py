"""Which of the hosts that may answer goes first, and in which order the others follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from wherever._routing.plan import Candidate, Plan
from wherever._routing.steps import Senses
from wherever._routing.timing import EARLY, QUICK_S, SURE, USUAL
from wherever_contracts.durations import duration
from wherever_edge.host_health.forecast import Forecast, Work

# what the device takes does not depend on what would travel
_ANY = Work("")


def why_not_here(
    plan: Plan, senses: Senses, work: Callable[[str], Work], left_s: float | None
) -> str:
    """Why a call of mode "auto" should not begin on the device, its first choice; "": it should.

    Another host goes first where the device would miss the deadline and the other would not, or
    where the device is slow and the other is expected to answer sooner. A host of which
    little is known yet is tried now and then, as the budget for extra attempts allows, when it
    might be the faster one: nobody learns of a host that is never asked. To be faster is no reason
    where each byte costs.

    Args:
        plan: the hosts, the device first.
        senses: what is known of them.
        work: what the call asks of a host for a variant.
        left_s: seconds until the answer is wanted; None: no deadline.
    """
    if plan.mode != "auto":
        return ""
    here = senses.forecast(plan.attempts[0], _ANY, USUAL)
    late = left_s is not None and here.latency_s > left_s
    if not here.samples or (here.latency_s < QUICK_S and not late):
        return ""
    others = plan.attempts[1:]
    why = (
        (_in_time if late else _sooner)(senses, other, work(""), here, left_s) for other in others
    )
    return next(filter(None, why), "")


def _in_time(
    senses: Senses, other: Candidate, work: Work, here: Forecast, left_s: float | None
) -> str:
    if left_s is None or _late(senses.forecast(other, work, USUAL).latency_s, left_s):
        return ""
    expected, left = duration(here.latency_s), duration(left_s)
    return f"the device is expected to take {expected}, and {left} is left"


def _sooner(
    senses: Senses, other: Candidate, work: Work, here: Forecast, left_s: float | None
) -> str:
    if senses.costs(other):
        return ""
    there = senses.forecast(other, work, USUAL)
    expected = f"the device is expected to take {duration(here.latency_s)}"
    if there.latency_s < here.latency_s:
        return f"{expected}, {other.host} {duration(there.latency_s)}"
    early = senses.forecast(other, work, EARLY)
    unknown = early.samples < SURE and early.latency_s < here.latency_s
    if unknown and not _late(early.latency_s, left_s) and senses.spend():
        return f"{expected}, and {other.host} may be faster; too little is known of it"
    return ""


def in_turn(plan: Plan, senses: Senses, work: Work) -> list[Candidate]:
    """The remote hosts of a plan in the order to ask them: its places, each arranged by load."""
    remotes = [candidate for candidate in plan.attempts if candidate.place != "device"]
    if len(remotes) < 2:
        return remotes
    groups = groupby(remotes, lambda candidate: candidate.place)
    return [host for _, group in groups for host in _arranged(list(group), senses, work)]


def _arranged(group: Sequence[Candidate], senses: Senses, work: Work) -> Sequence[Candidate]:
    return group if len(group) == 1 else senses.arrange(group, work)


def _late(latency_s: float, left_s: float | None) -> bool:
    return left_s is not None and latency_s > left_s
