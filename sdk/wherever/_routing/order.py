"""Which of the hosts that may answer goes first, and in which order the others follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from wherever._routing.forecast import Work
from wherever._routing.plan import Candidate, Plan
from wherever._routing.steps import Senses
from wherever._routing.timing import LATE, MUCH_FASTER, QUICK_S, SURE, USUAL
from wherever_contracts.durations import duration


def why_not_here(
    plan: Plan, senses: Senses, work: Callable[[str], Work], left_s: float | None
) -> str:
    """Why a call of mode "auto" should not begin on the device, its first choice; "": it should.

    Another host goes first where the device would miss the deadline and the other would not, or
    where the other is known to be much faster and the device is slow.

    Args:
        plan: the hosts, the device first.
        senses: what is known of them.
        work: what the call asks of a host for a variant.
        left_s: seconds until the answer is wanted; None: no deadline.
    """
    if plan.mode != "auto":
        return ""
    device, *others = plan.attempts
    here = senses.forecast(device, work(""), USUAL)
    if not here.samples or (here.latency_s < QUICK_S and not _late(here.latency_s, left_s)):
        return ""
    for other in others:
        there = senses.forecast(other, work(""), LATE)
        if _late(here.latency_s, left_s):
            if not _late(there.latency_s, left_s):
                return (
                    f"the device is expected to take {duration(here.latency_s)}, "
                    f"and {duration(left_s or 0.0)} is left"
                )
        elif there.samples >= SURE and here.latency_s > MUCH_FASTER * there.latency_s:
            return (
                f"the device is expected to take {duration(here.latency_s)}, "
                f"{other.host} {duration(there.latency_s)}"
            )
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
