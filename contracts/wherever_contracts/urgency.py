"""How much a call can wait, as those who let calls wait see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from wherever_contracts.places import PRIORITIES, Priority


def _stays() -> bool:
    return False


class Urgency(NamedTuple):
    """Who waits for an answer, and how long.

    Attributes:
        priority: who goes first where calls have to wait.
        deadline: when the answer is of no use any more, on the clock of `time.perf_counter`; None:
            it never is.
        gone: True once nobody waits any more.
        tenant: on whose behalf it is; each has its share where calls have to wait.
        weight: how large that share is beside the others'.
    """

    priority: Priority = "interactive"
    deadline: float | None = None
    gone: Callable[[], bool] = _stays
    tenant: str = ""
    weight: float = 1.0


CALM = Urgency()


def most_urgent(urgencies: Sequence[Urgency]) -> Urgency:
    """What holds for calls that run together, of which there is at least one.

    They are as urgent as the most urgent of them, wait as long as the last of them does, and run
    on behalf of the tenant that has most of them, so that nobody pays for another's many.
    """
    if len(urgencies) == 1:
        return urgencies[0]
    calls = Counter([each.tenant for each in urgencies])
    payer = urgencies[0]
    if len(calls) > 1:
        payer = max(urgencies, key=lambda each: calls[each.tenant])
    deadlines = [each.deadline for each in urgencies if each.deadline is not None]
    return payer._replace(
        priority=min({each.priority for each in urgencies}, key=PRIORITIES.index),
        deadline=max(deadlines) if len(deadlines) == len(urgencies) else None,
        gone=lambda: all(each.gone() for each in urgencies),
    )
