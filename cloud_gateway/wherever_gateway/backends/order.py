"""Which of two servers a call is sent to. Pure.

The less burdened one (see `wherever_edge.host_health.balance`). A server of which nothing is known
yet is taken to be as quick as the other, and not for what is usual at its distance: those of one
backend stand side by side, and one that is new would get no call before all others are crowded.
"""

from __future__ import annotations

from typing import NamedTuple

from wherever_edge.host_health.forecast import Forecast

_KNOWN = 1.0


class Bearing(NamedTuple):
    """What a server bears.

    Attributes:
        burden_s: how long one more call would take, with those on the way and the server's load.
        usual: how long one alone takes.
    """

    burden_s: float
    usual: Forecast

    @property
    def is_known(self) -> bool:
        """Whether any call stands behind it."""
        return self.usual.samples >= _KNOWN


def lighter(one: Bearing, other: Bearing) -> bool:
    """Whether `one` bears less than `other`."""
    if one.is_known == other.is_known:
        return one.burden_s < other.burden_s
    return _times(one) < _times(other) if one.is_known else _times(one) <= _times(other)


def _times(bearing: Bearing) -> float:
    """What it bears, in times of one call."""
    return bearing.burden_s / bearing.usual.latency_s
