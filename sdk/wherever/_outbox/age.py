"""How old something is, whatever the clock does. Pure: the time is passed in.

The wall clock alone cannot say it: a device without a battery begins in 1970 and leaps when the
network comes; clocks are set wrong, and right again. Within one boot the time since then is known
exactly. Across boots only the wall clock knows it, and it is believed once it has run steadily for
a while since it was first looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# How long a wall clock must run steadily before an age across boots is taken from it, and by how
# much it may be corrected meanwhile.
STEADY_S = 600.0
CORRECTION_S = 60.0
# 2025-01-01: a clock that says less had not been set yet.
NOT_SET_BEFORE_S = 1_735_689_600.0


class Stamp(NamedTuple):
    """A moment.

    Attributes:
        wall_s: seconds since 1970 by the wall clock, right or wrong.
        up_s: seconds since the machine was started; of use only when `boot` is known.
        boot: which start of the machine; "": not known.
    """

    wall_s: float
    up_s: float
    boot: str


@dataclass(slots=True)
class Ages:
    """Ages of what was stamped in this boot or another.

    Attributes:
        steady_since: the moment since which the wall clock was seen to run steadily.
    """

    steady_since: Stamp | None = None

    def age_s(self, since: Stamp, now: Stamp) -> float:
        """Seconds from `since` to `now`; too few where that is not certain, never too many.

        What was stamped in another boot is as old as this boot, at least; and as old as the wall
        clock says once that is believed, if it had been set when the stamp was made.
        """
        steady = self._is_steady(now)
        if since.boot and since.boot == now.boot:
            return max(0.0, now.up_s - since.up_s)
        least_s = now.up_s if since.boot and now.boot else 0.0
        if not steady or since.wall_s < NOT_SET_BEFORE_S:
            return least_s
        return max(least_s, now.wall_s - since.wall_s)

    def _is_steady(self, now: Stamp) -> bool:
        start = self.steady_since
        if start is None or start.boot != now.boot:
            self.steady_since = start = now
        ran_s = now.up_s - start.up_s
        if abs(now.wall_s - start.wall_s - ran_s) > CORRECTION_S:
            self.steady_since = now
            return False
        return ran_s >= STEADY_S
