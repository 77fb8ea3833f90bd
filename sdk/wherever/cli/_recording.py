"""What happened during a stream of calls, and the same cut into slices of time. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

Where: TypeAlias = Literal["device", "cloud", "kept", "failed"]
GatewayState: TypeAlias = Literal["up", "killed", "starting", "frozen", "waking"]

WHERES: tuple[Where, ...] = ("device", "cloud", "kept", "failed")


class Call(NamedTuple):
    """One call of the stream.

    Attributes:
        at_s: when it began, in seconds from the start of the stream.
        took_s: how long it took.
        where: "device": the device was sure; "cloud": it was not, and the gateway answered;
            "kept": it was not, and no gateway could be asked; "failed": no answer.
        right: whether the answer was the truth.
    """

    at_s: float
    took_s: float
    where: Where
    right: bool


class Mark(NamedTuple):
    """Something done to the gateway, or seen of it, at one moment."""

    at_s: float
    text: str
    state: GatewayState


@dataclass(slots=True)
class Recording:
    """Calls and marks, in the order of time."""

    calls: list[Call] = field(default_factory=list[Call])
    marks: list[Mark] = field(default_factory=list[Mark])

    @property
    def end_s(self) -> float:
        """When the last thing recorded ended."""
        last_call = self.calls[-1].at_s + self.calls[-1].took_s if self.calls else 0.0
        return max(last_call, self.marks[-1].at_s if self.marks else 0.0)

    def count(self, where: Where) -> int:
        """How many calls ended so."""
        return sum(call.where == where for call in self.calls)

    def state_at(self, at_s: float) -> GatewayState:
        """What the gateway was doing at that moment; up before the first mark."""
        state: GatewayState = "up"
        for mark in self.marks:
            if mark.at_s > at_s:
                break
            state = mark.state
        return state


def slices(calls: Iterable[Call], slice_s: float, n: int) -> dict[Where, list[int]]:
    """How many calls began in each of `n` slices of time, by where they were answered."""
    counts: dict[Where, list[int]] = {where: [0] * n for where in WHERES}
    for call in calls:
        counts[call.where][min(int(call.at_s / slice_s), n - 1)] += 1
    return counts


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed; 0 of none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
