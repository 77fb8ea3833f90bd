"""Which of the two protocols the calls to one host use. Decides alone: no clock, no sockets.

- gRPC is asked first. REST is asked when gRPC gives no answer; whatever answers is kept.
- A host that is reached over REST is asked for gRPC again once in a while, beside the calls.
- A host that has spoken gRPC goes over to REST only when its probes fail again and again over
  gRPC while REST is well: a server that starts anew may have its HTTP ready a little earlier.
- Nobody decides here about a peer that is not trusted: that ends the search at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

Protocol: TypeAlias = Literal["grpc", "rest"]

# how often a host that is reached over REST is asked for gRPC
ASK_GRPC_EVERY_S = 60.0

# so many probes, over so long a time, have to fail over gRPC alone
BEATEN_TIMES = 3
BEATEN_FOR_S = 3.0

# the longest that one asking takes while there is another one to try
LONGEST_ASKING_S = 5.0


class Transport:
    """The choice for one host. The caller sees to it that one thread at a time uses it.

    Args:
        grpc: whether gRPC can be spoken at all.
        rest: whether REST can be.

    Attributes:
        chosen: what calls use; None when that has to be found out.
    """

    def __init__(self, *, grpc: bool, rest: bool) -> None:
        grpc_first: tuple[Protocol, ...] = ("grpc",) if grpc else ()
        self._possible: tuple[Protocol, ...] = (*grpc_first, "rest") if rest else grpc_first
        self.chosen: Protocol | None = "grpc" if self._possible == ("grpc",) else None
        self._asked_at = float("-inf")
        self._beaten_at: list[float] = []

    @property
    def order(self) -> tuple[Protocol, ...]:
        """What to ask, in this order, when nothing is chosen."""
        return self._possible

    def reached(self, protocol: Protocol, now: float) -> None:
        """The host answered over `protocol`, after whatever stands before it did not."""
        self.chosen = protocol
        self._beaten_at.clear()
        if protocol == "rest":
            self._asked_at = now

    def lost(self) -> None:
        """The host is not reached over what was chosen: look for a way again."""
        if self._possible != ("grpc",):
            self.chosen = None

    def beaten(self, now: float) -> None:
        """A probe failed over gRPC, and REST is well."""
        self._beaten_at.append(now)
        enough = len(self._beaten_at) >= BEATEN_TIMES
        if enough and now - self._beaten_at[0] >= BEATEN_FOR_S:
            self.reached("rest", now)

    def well(self) -> None:
        """A probe over gRPC was answered."""
        self._beaten_at.clear()

    def take_turn(self, now: float) -> bool:
        """Whether to ask for gRPC again now; True once for each turn."""
        due = self.chosen == "rest" and now - self._asked_at >= ASK_GRPC_EVERY_S
        if due and "grpc" in self._possible:
            self._asked_at = now
            return True
        return False


def share(left_s: float | None, *, more_to_ask: bool) -> float:
    """How long one asking may take.

    A firewall that drops packets lets the first asking run into its limit, so half of the time is
    kept for the next one.

    Args:
        left_s: what is left of the call's time, None for no limit.
        more_to_ask: whether another one follows if this one fails.
    """
    if left_s is None:
        return LONGEST_ASKING_S
    return min(left_s / 2, LONGEST_ASKING_S) if more_to_ask else left_s


def ports_to_ask(ports: Sequence[int], grpc_port: int, *, silent: bool) -> tuple[int, ...]:
    """Where to look for REST, in this order.

    Args:
        ports: where it may be.
        grpc_port: where gRPC was asked for.
        silent: whether nothing at all came from there. Then it is not asked again, while there is
            another one; otherwise it comes first: a proxy for HTTP/1.1 may stand there.
    """
    others = tuple(port for port in ports if port != grpc_port)
    if silent:
        return others or tuple(ports)
    return tuple(port for port in ports if port == grpc_port) + others
