"""Which of several hosts of one place is asked first. Pure: the chance is passed in.

Two are drawn, and the one that is less burdened goes first. That spreads calls nearly as evenly as
asking the least burdened of all, and unlike it does not send everybody to the same host while news
of its load is old (M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE
TPDS 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def burden(latency_s: float, in_flight: int, load: float | None = None) -> float:
    """How long one more call is expected to take.

    Args:
        latency_s: how long a call is predicted to take.
        in_flight: how many are on the way to the host already.
        load: calls inside the host over as many as it runs at a time, if it said so lately; above
            1 they wait for each other.
    """
    return latency_s * (in_flight + 1) * max(1.0, load or 0.0)


def arrange(
    hosts: Sequence[T], burden_of: Callable[[T], float], chance: Callable[[], float]
) -> tuple[T, ...]:
    """The hosts in the order to ask them: the better of two drawn, the other, then the rest.

    Args:
        hosts: hosts of one place.
        burden_of: how long one more call is expected to take there; asked of the two alone.
        chance: a random number in [0, 1).
    """
    if len(hosts) < 2:
        return tuple(hosts)
    rest = list(hosts)
    drawn = [rest.pop(int(chance() * len(rest))) for _ in range(2)]
    drawn.sort(key=burden_of)
    return (*drawn, *rest)
