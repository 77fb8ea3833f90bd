"""Which of two servers a call is sent to. Pure.

The less burdened one (see `wherever_edge.host_health.balance`). A server of which nothing is known
yet is taken to be as quick as the other, and not for what is usual at its distance: those of one
backend stand side by side, and one that is new would get no call before all others are crowded.
One that fails its calls would seem to be free at all times, so failures weigh on it too.
"""

from __future__ import annotations

from typing import NamedTuple

from wherever_edge.host_health.ejection import Standing
from wherever_edge.host_health.forecast import Forecast

_KNOWN = 1.0


class Bearing(NamedTuple):
    """What a server bears.

    Attributes:
        burden_s: how long one more call would take, with those on the way and the server's load.
        usual: how long one alone takes.
        standing: what came of its calls of late, each of which counts less as it ages.
    """

    burden_s: float
    usual: Forecast
    standing: Standing

    @property
    def is_known(self) -> bool:
        """Whether any call stands behind it."""
        return self.usual.samples >= _KNOWN


def lighter(one: Bearing, other: Bearing) -> bool:
    """Whether `one` bears less than `other`."""
    if one.is_known and other.is_known:
        return _weighed(one) < _weighed(other)
    return _times(one) < _times(other)


def _weighed(bearing: Bearing) -> float:
    """Its burden over the share of its calls that are answered, were one more to be."""
    success, calls = bearing.standing.success, bearing.standing.calls
    return bearing.burden_s * (calls + 1.0) / (success * calls + 1.0)


def _times(bearing: Bearing) -> float:
    """What it bears, in times of one call."""
    return _weighed(bearing) / bearing.usual.latency_s
