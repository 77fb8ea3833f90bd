"""What a remote call costs for all that is remembered of its host."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from harness import Row, interleaved

from wherever_edge.host_health.forecast import Traffic, Work
from wherever_edge.host_health.health import HostHealth

WORK = Work("digits", "large", 600)
ELAPSED_S = 0.03
TRAFFIC = Traffic(WORK, 200, ELAPSED_S, 0.001, 0.002)


def rows() -> list[Row]:
    """Leave, ticket and answer of one call, against what the cost model alone takes of it."""
    health, other = HostHealth("cloud"), HostHealth("cloud")
    times = (number / 10 for number in count())

    def learn() -> None:
        now = next(times)
        other.cost.answered(TRAFFIC, now)

    pair = interleaved(_calls(health), learn, rounds=60, calls=500)
    return [
        Row(
            "admission, ticket and what is learned of a remote call",
            f"{pair.ours_s * 1e6:.1f} us",
            f"of it the cost model {pair.reference_s * 1e6:.1f} us",
            "< 20 us",
            pair.ours_s < 20e-6,
        )
    ]


def _calls(health: HostHealth) -> Callable[[], None]:
    times = (number / 10 for number in count())

    def call() -> None:
        now = next(times)
        health.admit(now)
        health.answered(health.began(WORK, now), TRAFFIC, now + ELAPSED_S)

    return call
