"""Which channel to a host a call uses, and when it is replaced by another."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from wherever_contracts.errors import ClosedError
from wherever_edge.oip import forks
from wherever_edge.oip.link import Link

if TYPE_CHECKING:
    from wherever_edge.oip.endpoints import Endpoint
    from wherever_edge.oip.security import Way


# connections to a host that is away that are tried at a time
_MOST_SEEKING = 10
# that a connection was answered is worth as much as an answered probe for so long
_FOUND_FRESH_S = 2.0


class Links:
    """Hands out the channel for a call. Safe to use from many threads.

    Args:
        endpoint: where to.
        max_bytes: the largest message in either direction.
        way: whom to trust, the key to bring, and the proxy.

    Attributes:
        closed: True after `close`.
        pings: True once the peer allowed pings and was reached by a channel that sends them.
    """

    def __init__(self, endpoint: Endpoint, *, max_bytes: int, way: Way) -> None:
        self.closed = False
        self._endpoint = endpoint
        self._max_bytes = max_bytes
        self._way = way
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._link: Link | None = None
        self._coming: Link | None = None
        self._seeking: set[Link] = set()
        self._found_at = -math.inf
        self._when_found: set[Callable[[], object]] = set()
        self.pings = False

    def enter(self) -> Link:
        """The channel for a call that begins now; `leave` it when the call has ended.

        Raises:
            ClosedError: the connection was closed.
            ForkedError: a parent of this process had used the network.
        """
        forks.refuse_in_child()
        while True:
            link = self._link or self._first()
            if link.enter():
                return link
            self.renew(link)

    def closed_error(self) -> ClosedError:
        """The error of a call that comes too late."""
        return ClosedError(f"the connection to {self._endpoint.name} was closed")

    def renew(self, link: Link) -> None:
        """Let later calls use a new channel; calls on `link` go on."""
        with self._lock:
            if self._link is link:
                self._link = None
        link.retire()

    def retire(self) -> None:
        """The same for the channel in use, if there is one."""
        link = self._link
        if link is not None:
            self.renew(link)

    def seek(self) -> None:
        """Connect anew beside the channel in use, and go over to the new one if that works.

        Each of these connections has the time that a far host needs, and a new one is begun with
        every call of this: a host that is back is found at once, however long the earlier ones
        still wait for packets that were lost.
        """
        with self._lock:
            if self.closed or len(self._seeking) >= _MOST_SEEKING:
                return
            link = self._open(pings=self.pings)
            self._seeking.add(link)
        link.connect(lambda connected: self._found(link, connected=connected))

    def finds(self, timeout_s: float | None) -> bool:
        """Whether a connection that `seek` began reaches the host soon, or did lately.

        Each that does is told of once.

        Args:
            timeout_s: how long to wait while there are any; None: without a limit.
        """
        with self._change:
            self._change.wait_for(lambda: self._is_found() or not self._seeking, timeout_s)
            found, self._found_at = self._is_found(), -math.inf
            return found

    def heard(self) -> None:
        """The host answered a call or a question: that it was found before is no news any more."""
        self._found_at = -math.inf

    @contextmanager
    def until_found(self, happen: Callable[[], object]) -> Generator[None]:
        """Have something done if a connection that `seek` began reaches the host meanwhile."""
        with self._lock:
            self._when_found.add(happen)
        try:
            yield
        finally:
            with self._lock:
                self._when_found.discard(happen)

    def allow_pings(self) -> None:
        """Note that the peer allows pings, and go over to a channel that sends them.

        The new channel connects first, so that no call waits for it.
        """
        if self.pings:
            return
        with self._lock:
            if self.pings or self._coming is not None or self.closed:
                return
            coming = self._coming = self._open(pings=True)
        coming.connect(lambda connected: self._arrived(coming, connected=connected))

    def close(self) -> None:
        """Close; calls that run are cancelled."""
        with self._lock:
            self.closed = True
            links = (self._link, self._coming, *self._seeking)
            self._link = self._coming = None
            self._seeking = set()
            self._change.notify_all()
        for link in links:
            if link is not None:
                link.close()

    def _first(self) -> Link:
        with self._lock:
            if self.closed:
                raise self.closed_error()
            if self._link is None:
                self._link = self._open(pings=self.pings)
            return self._link

    def _open(self, *, pings: bool) -> Link:
        return Link(self._endpoint, max_bytes=self._max_bytes, pings=pings, way=self._way)

    def _is_found(self) -> bool:
        return monotonic() - self._found_at < _FOUND_FRESH_S

    def _found(self, link: Link, *, connected: bool) -> None:
        """Put a channel that reached the host in use; the others that seek it are dropped."""
        with self._lock:
            useless: set[Link] = {link} if link in self._seeking else set()
            waiting: tuple[Callable[[], object], ...] = ()
            self._seeking.discard(link)
            if useless and connected and not self.closed:
                useless = {*self._seeking, *filter(None, [self._link])}
                self._seeking, self._link, self._found_at = set(), link, monotonic()
                waiting = tuple(self._when_found)
            self._change.notify_all()
        for each in useless:
            each.retire()
        for happen in waiting:
            happen()

    def _arrived(self, link: Link, *, connected: bool) -> None:
        """Put the channel with pings in use, or drop it; the next answer brings another try."""
        with self._lock:
            ours = self._coming is link
            old: Link | None = link
            if ours:
                self._coming = None
                if connected:
                    old, self._link = self._link, link
                    self.pings = True
        if old is not None:
            old.retire()
