"""What the remote hosts of a client share: a budget, a comparison, probes, and the network."""

from __future__ import annotations

from collections.abc import Callable

from wherever._surroundings import Surroundings
from wherever_edge.host_health.tokens import RetryTokens
from wherever_edge.tending import watch


class Watch(watch.Watch):
    """Watches over the hosts of one client. Safe to use from many threads.

    Args:
        tokens: the budget for extra attempts.
        surroundings: this device's network.
        quiet_s: a host that is used is probed when nothing was heard of it for so long.
        on_back: called from another thread when a host is found well again that was shut out.
    """

    def __init__(
        self,
        tokens: RetryTokens | None = None,
        surroundings: Surroundings | None = None,
        *,
        quiet_s: float = watch.QUIET_S,
        on_back: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(tokens, quiet_s=quiet_s, on_back=on_back)
        self.surroundings = surroundings or Surroundings()
