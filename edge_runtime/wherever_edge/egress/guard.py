"""The last look before a call's bytes reach a socket.

The router plans no call beyond its boundary. This does not rely on it: what makes the message of a
call, for gRPC and for REST, asks here first, with the place of the host that it holds the
connection to. Nothing is blocked as long as the plans are right, so `BLOCKED` is to stay 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherever_contracts.errors import BlockedError
from wherever_contracts.places import WITHIN
from wherever_edge.counters import COUNTERS

if TYPE_CHECKING:
    from wherever_contracts.places import Boundary, Place

# the count of calls that were blocked; `wherever.status()` shows it
BLOCKED = "wherever_egress_blocked_total"


def check(boundary: Boundary, place: Place, host: str) -> None:
    """Let a call pass to a host that lies within its boundary.

    A boundary or a place that is not known here lets nothing pass.

    Args:
        boundary: how far the call's data may travel.
        place: the host's distance.
        host: what to call the host.

    Raises:
        BlockedError: the host lies beyond the boundary.
    """
    if place not in WITHIN.get(boundary, ()):
        COUNTERS.add(BLOCKED, place=place)
        raise BlockedError(
            f"a call with the boundary {boundary!r} was about to be sent to {host} ({place}); "
            "nothing of it was sent"
        )
