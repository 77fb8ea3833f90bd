"""How long this device takes, learned in passing."""

from __future__ import annotations

from wherever_edge.host_health.cost import DeviceCost
from wherever_edge.host_health.forecast import Forecast, Work

AT_ONCE_S = 0.002
"""A device that is done sooner answers in the caller's own thread, also while others are asked."""

# What the slowest recent answer of a quick device counts for, one answer later.
_FADING = 0.95
# What it takes does not depend on what would travel.
_ONE_ROW = Work("")


class DevicePace:
    """How long this device takes for a call; what is quick is known by its slowest answer alone.

    Args:
        prior_s: how long it took when that was measured, in seconds; 0: that is not known.
    """

    __slots__ = ("_cost", "_slowest_s")

    def __init__(self, prior_s: float) -> None:
        self._cost = DeviceCost(prior_s)
        self._slowest_s = 0.0

    def took(self, elapsed_s: float, now: float) -> None:
        """It answered, or failed."""
        faded_s = self._slowest_s * _FADING
        self._slowest_s = elapsed_s if elapsed_s > faded_s else faded_s  # noqa: FURB136 (hot path)
        if elapsed_s >= AT_ONCE_S:
            self._cost.answered(_ONE_ROW, elapsed_s, now)

    def forecast(self, quantile: float, now: float) -> Forecast:
        """How long it will take."""
        if 0.0 < self._slowest_s < AT_ONCE_S:
            return Forecast(self._slowest_s, 1.0)
        return self._cost.forecast(_ONE_ROW, quantile, now)
