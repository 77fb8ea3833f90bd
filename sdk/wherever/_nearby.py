"""The boxes that this device is paired with: found, followed when they move, and watched.

A box is known by its certificate. It is asked at the address where it was last reached. When it
does not answer there, adverts say where else it may be, and it is asked there once it has shown
its certificate: whoever sends false adverts can make this device look, and nothing more.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from wherever._remotes import Remote
from wherever_contracts.errors import PairingError, UnreachableError, WhereverError
from wherever_edge.box.pins import FILE, Pins
from wherever_edge.forking import loading
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.security import ClientSecurity

if TYPE_CHECKING:
    from wherever._watch import Watch
    from wherever_edge.box.adverts import Advert
    from wherever_edge.box.pins import PinnedBox
    from wherever_edge.oip.endpoints import Endpoint

_LOG = logging.getLogger(__name__)

_EVERY_S = 1.0
# a box is probed beside the calls for so long after the last of them
_IN_USE_S = 30.0
# while a box is away, the network may have become another one
_LISTEN_ANEW_S = 30.0
_HANDSHAKE_S = 1.0
# calls that run on an old way have so long to end
_LINGER_S = 10.0
_MAX_HEARD = 64
_MAX_RUMOURS = 8


class Nearby:
    """The paired boxes of a client.

    Cheap to make: the boxes are read from the client's home, and nothing is connected. Without a
    paired box nothing ever is.

    Args:
        home: where state is kept.
        enabled: False leaves the boxes alone.
        interface: look for boxes on this network interface alone; None for all.
        max_bytes: the largest message.
        probe_timeout_s: how long a probe of a box's health may take.
        watch: what the boxes share with the client's other hosts.

    Attributes:
        remotes: box's name -> box. It never changes; a box that moves is the same `Remote`.
        problems: why paired boxes are not known; none when they are.
    """

    def __init__(
        self,
        home: Path,
        *,
        enabled: bool,
        interface: str | None,
        max_bytes: int,
        probe_timeout_s: float,
        watch: Watch,
    ) -> None:
        self.remotes: dict[str, Remote] = {}
        self.problems: tuple[str, ...] = ()
        self._home = home
        self._interface = interface or ""
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._boxes: dict[str, _Box] = {}
        for pinned in self._pinned() if enabled else ():
            box = _Box(pinned, max_bytes, probe_timeout_s, watch)
            self._boxes[pinned.id] = box
            self.remotes[pinned.name] = box.remote

    def start(self) -> None:
        """Begin to watch the boxes; called before the first call that may go to one."""
        if self._thread is not None or not self._boxes:
            return
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(
                    target=_watch,
                    args=(weakref.ref(self), self._closing, self._interface, set(self._boxes)),
                    name="wherever-nearby",
                    daemon=True,
                )
                self._thread.start()

    def close(self) -> None:
        """Stop watching, and close every connection."""
        with self._lock:
            self._closing.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_HANDSHAKE_S)
        for box in self._boxes.values():
            box.close()

    def tend(self, heard: Iterable[Advert]) -> bool:
        """Probe boxes that are in use, and look for those that are away.

        Args:
            heard: the adverts since the last time.

        Returns:
            True while a box is away.
        """
        for advert in heard:
            self._boxes[advert.id].note(advert)
        for box in self._boxes.values():
            if box.tend():
                self._remember(box)
        return any(box.away for box in self._boxes.values())

    def _pinned(self) -> tuple[PinnedBox, ...]:
        try:
            return Pins.load(self._home).boxes if (self._home / FILE).exists() else ()
        except (PairingError, OSError) as error:
            self.problems = (str(error),)
            return ()

    def _remember(self, box: _Box) -> None:
        """Keep a new address, so that the next process begins there."""
        with suppress(PairingError, OSError):
            Pins.load(self._home).moved(box.pinned.id, box.endpoint.name)


class _Box:
    """One paired box, and where it may be."""

    def __init__(
        self, pinned: PinnedBox, max_bytes: int, probe_timeout_s: float, watch: Watch
    ) -> None:
        self.pinned = pinned
        self.endpoint: Endpoint = pinned.endpoint
        self._max_bytes = max_bytes
        self._checked = False
        self._rumours: dict[Endpoint, None] = {}
        self._left: list[tuple[float, RemoteHost]] = []
        way = self._way(self.endpoint)
        self.remote = Remote(way, "nearby", probe_timeout_s, pinned.name, watch)

    @property
    def away(self) -> bool:
        """Whether it did not answer where it should be."""
        return self.remote.health.state == "open"

    def note(self, advert: Advert) -> None:
        """Note where an advert says that it is; the newest few of such rumours are kept."""
        with loading():
            from wherever_edge.box.finding import endpoints_of  # noqa: PLC0415 (only with adverts)

        for endpoint in endpoints_of(advert):
            self._rumours.pop(endpoint, None)
            self._rumours[endpoint] = None
        while len(self._rumours) > _MAX_RUMOURS:
            del self._rumours[next(iter(self._rumours))]

    def tend(self) -> bool:
        """Probe it, or follow one rumour of where it is; True when it was found elsewhere."""
        self._let_go(monotonic())
        if not self.away:
            self._probe()
        return self.away and bool(self._rumours) and self._follow()

    def close(self) -> None:
        self.remote.close()
        self._let_go(float("inf"))

    def _probe(self) -> None:
        """Probe it while it is in use, and once before it is.

        Before, without gRPC as long as all is well: gRPC would not survive a fork.
        """
        in_use = monotonic() - self.remote.asked_at < _IN_USE_S
        if not in_use and (self._checked or _is_there(self.pinned, self.endpoint)):
            self._checked = True
            return
        with suppress(WhereverError):
            self.remote.check()

    def _follow(self) -> bool:
        """Go to where the newest rumour says that it is, if it proves to be there."""
        endpoint = self._rumours.popitem()[0]
        if endpoint == self.endpoint or not _is_there(self.pinned, endpoint):
            return False
        left = self.remote.move(self._way(endpoint))
        self._left.append((monotonic() + _LINGER_S, left))
        self.endpoint = endpoint
        return True

    def _way(self, endpoint: Endpoint) -> RemoteHost:
        security = ClientSecurity(
            api_key=self.pinned.api_key, pinned_pem=self.pinned.certificate_pem.encode()
        )
        return RemoteHost(endpoint, max_bytes=self._max_bytes, place="nearby", security=security)

    def _let_go(self, now: float) -> None:
        due = [host for close_at, host in self._left if close_at <= now]
        self._left = [(close_at, host) for close_at, host in self._left if close_at > now]
        for host in due:
            host.close()


def _is_there(box: PinnedBox, endpoint: Endpoint) -> bool:
    """Whether the host at an endpoint proves to be the box; it is told nothing."""
    with loading():  # a child that is forked in the middle of it might find OpenSSL locked
        from wherever_edge.box.handshake import presented_certificate  # noqa: PLC0415 (seldom)

        try:
            certificate = presented_certificate(endpoint, _HANDSHAKE_S)
        except UnreachableError:
            return False
    return certificate.decode().split() == box.certificate_pem.split()


def _watch(
    nearby: weakref.ref[Nearby], closing: threading.Event, interface: str, ids: Collection[str]
) -> None:
    """Listen for adverts and tend the boxes until closed, or until nobody has them any more."""
    with loading():
        from wherever_edge.box.browsing import Browser  # noqa: PLC0415 (only with paired boxes)

    heard: queue.Queue[Advert] = queue.Queue(_MAX_HEARD)

    def saw(advert: Advert) -> None:
        with suppress(queue.Full):
            heard.put_nowait(advert)

    browser = Browser(saw, lambda _: None, interface=interface, wanted=ids)
    listening_since = -_LISTEN_ANEW_S
    away = True
    while (target := nearby()) is not None and not closing.is_set():
        try:
            if away and monotonic() - listening_since >= _LISTEN_ANEW_S:
                listening_since = monotonic()
                browser.restart()
            browser.tidy()
        except (WhereverError, OSError) as error:
            _LOG.info("boxes that move are not found: %s", error)
        away = target.tend([heard.get_nowait() for _ in range(heard.qsize())])
        del target
        closing.wait(_EVERY_S)
    browser.close()
