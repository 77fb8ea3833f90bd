"""What the hosts of one caller share: a budget, a comparison, and probes while it is quiet."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from random import random
from time import monotonic
from typing import TYPE_CHECKING

from wherever_contracts.errors import AttemptError
from wherever_edge.counters import COUNTERS
from wherever_edge.host_health.ejection import outlier
from wherever_edge.host_health.tokens import RetryTokens

if TYPE_CHECKING:
    from wherever_contracts.errors import WhereverError
    from wherever_edge.host_health.forecast import Work
    from wherever_edge.tending.host import TendedHost

# A host counts as used for so long after it was last sent a call.
IN_USE_S = 30.0
# One that is used is probed when nothing was heard of it for so long.
QUIET_S = 3.0
# The hosts of a place are compared so often at most.
COMPARE_S = 1.0
_LEAST_PAUSE_S = 0.05
# A probe that runs is waited for so long at most.
_JOIN_S = 1.0


class Watch:
    """Watches over hosts that do the same work. Safe to use from many threads.

    While a host is used, a probe keeps what is known of it fresh whenever calls do not; one thread
    sees to all hosts, and there is none before the first call, or when nothing is used. A host to
    which each byte costs is not probed while it is quiet.

    Args:
        tokens: the budget for extra attempts.
        quiet_s: a host that is used is probed when nothing was heard of it for so long.
        on_back: called from another thread when a host is found well again that was shut out.
    """

    def __init__(
        self,
        tokens: RetryTokens | None = None,
        *,
        quiet_s: float = QUIET_S,
        on_back: Callable[[], None] | None = None,
    ) -> None:
        self.tokens = tokens or RetryTokens()
        self._quiet_s = quiet_s
        self._on_back = on_back
        self._hosts: list[weakref.ref[TendedHost]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._compare_at = 0.0

    def join(self, host: TendedHost) -> None:
        """Watch over one more host."""
        with self._lock:
            self._hosts.append(weakref.ref(host))

    def leave(self, host: TendedHost) -> None:
        """Watch over a host no more."""
        with self._lock:
            self._hosts = [each for each in self._hosts if each() not in (None, host)]

    def in_use(self) -> None:
        """A call is sent: keep the hosts that are used fresh from now on."""
        if self._thread is None and not self._closing.is_set():
            with self._lock:
                if self._thread is None:
                    thread = threading.Thread(
                        target=_keep_fresh,
                        args=(weakref.ref(self), self._closing),
                        name="wherever-quiet",
                        daemon=True,
                    )
                    with suppress(RuntimeError):  # no thread is to be had; the next call tries
                        thread.start()
                        self._thread = thread

    def answered(self, host: TendedHost, work: Work) -> None:
        """A call to `host` was answered."""
        self.tokens.answered()
        self._compare(host, work)

    def failed(self, host: TendedHost, work: Work, error: WhereverError) -> None:
        """A call to `host` failed."""
        if isinstance(error, AttemptError):
            if error.retryable or error.retry_after_s == math.inf:
                self.tokens.failed()
            self._compare(host, work)

    def came_back(self) -> None:
        """A host was shut out, and is found well again."""
        if self._on_back is not None and not self._closing.is_set():
            self._on_back()

    def close(self) -> None:
        """Stop; the hosts themselves are closed by those who have them."""
        self._closing.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_S)

    def tend(self) -> float | None:
        """Probe the hosts that are used and were quiet; returns when to look again, in seconds.

        None, when none is used any more: then the thread that asks ends.
        """
        with self._lock:
            hosts = [host for each in self._hosts if (host := each()) is not None]
            used = [each for each in hosts if monotonic() - each.asked_at < IN_USE_S]
            if not used:
                self._thread = None
                return None
        free = [each for each in used if not each.costs]
        for host in free:
            if host.quiet_s() >= self._quiet_s:
                host.check()
        quietest_s = max((host.quiet_s() for host in free), default=0.0)
        return min(self._quiet_s, max(_LEAST_PAUSE_S, self._quiet_s - quietest_s))

    def ended(self, thread: threading.Thread) -> None:
        """Note that the thread that saw to the hosts has ended; the next call begins another."""
        with self._lock:
            if self._thread is thread:
                self._thread = None

    def _compare(self, host: TendedHost, work: Work) -> None:
        """Leave a host out that does much worse at this work than the others of its place."""
        if len(self._hosts) < 2 or monotonic() < self._compare_at:
            return
        self._compare_at = monotonic() + COMPARE_S
        known = (each() for each in self._hosts)
        peers = [each for each in known if each is not None and each.place == host.place]
        found = outlier([each.standing(work) for each in peers])
        if found is not None:
            position, why = found
            peers[position].eject(why, random())  # noqa: S311 (no secret)
            COUNTERS.add("wherever_ejections_total", host=peers[position].name)


def _keep_fresh(watch: weakref.ref[Watch], closing: threading.Event) -> None:
    """Probe quiet hosts until none is used, the watch is closed, or nobody has it any more."""
    try:
        while (target := watch()) is not None:
            pause_s = target.tend()
            del target
            if pause_s is None or closing.wait(pause_s):
                return
    finally:
        target = watch()
        if target is not None:
            target.ended(threading.current_thread())
