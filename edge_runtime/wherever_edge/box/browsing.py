"""Hearing of boxes by mDNS, in bounded memory whatever the network says."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from wherever_edge.box.adverts import SERVICE, Advert, Ignored, id_in, read_advert
from wherever_edge.box.interfaces import address_of
from wherever_edge.forking import loading

if TYPE_CHECKING:
    from zeroconf import ServiceBrowser, ServiceStateChange, Zeroconf

_LOG = logging.getLogger(__name__)

# what a network of a thousand machines says; a flood goes beyond
MAX_NAMES = 3000
MAX_BOXES = 1500
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 60.0


class Browser:
    """Listens for adverts until closed. Nothing is asked of a box, and none is connected to.

    Args:
        saw: called with each advert, new or changed, from a thread of the browser's.
        left: called with the id of a box that said goodbye.
        interface: listen on this interface alone, by its name or address; "" for all.
        wanted: ids of the only boxes that are of interest; None for all.
        max_names: start over when mDNS has told of more names than this, of whatever kind.
        max_boxes: start over when it has told of more boxes than this.
    """

    def __init__(
        self,
        saw: Callable[[Advert], None],
        left: Callable[[str], None],
        *,
        interface: str = "",
        wanted: Collection[str] | None = None,
        max_names: int = MAX_NAMES,
        max_boxes: int = MAX_BOXES,
    ) -> None:
        self._saw = saw
        self._left = left
        self._interface = interface
        self._wanted = wanted
        self._max_names = max_names
        self._max_boxes = max_boxes
        self._boxes = 0
        self._lock = threading.Lock()
        self._zeroconf: Zeroconf | None = None
        self._browser: ServiceBrowser | None = None
        self._closed = False
        self._pause_s = _FIRST_PAUSE_S
        self._resume_at = inf

    def start(self) -> None:
        """Begin to listen.

        Raises:
            SettingsError: there is no such interface.
            OSError: the interface takes no multicast.
        """
        with loading(), self._lock:
            if not self._closed:
                self._open()

    def tidy(self) -> None:
        """Start over, after a pause, when somebody floods the network; to be called now and then.

        Raises:
            SettingsError: there is no such interface any more.
            OSError: the interface takes no multicast.
        """
        if self._flooded():
            _LOG.info("mDNS told of %d boxes and too many names; starting over", self._boxes)
            self._stop()
            self._resume_at = monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        elif self._zeroconf is None and monotonic() >= self._resume_at:
            self._resume_at = inf
            self.start()

    def restart(self) -> None:
        """Listen and ask anew, on the interfaces that there are now; raises as `start` does."""
        self._stop()
        self.start()

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        self._stop()

    def _open(self) -> None:
        from zeroconf import (  # noqa: PLC0415 (77 ms)
            DNSQuestionType,
            IPVersion,
            ServiceBrowser,
            Zeroconf,
        )

        only: dict[str, Any] = {}
        if self._interface:
            only["interfaces"] = [address_of(self._interface)]
        self._zeroconf = Zeroconf(ip_version=IPVersion.V4Only, **only)
        # answers to one asker would reach only one of the programs here that listen: then it
        # takes a second until the next question
        self._browser = ServiceBrowser(
            self._zeroconf, SERVICE, handlers=[self._changed], question_type=DNSQuestionType.QM
        )

    def _flooded(self) -> bool:
        """Whether zeroconf holds more than it may; it keeps something of every box it heard of."""
        if self._zeroconf is None:
            return False
        too_many_names = len(self._zeroconf.cache.names()) > self._max_names
        return too_many_names or self._boxes > self._max_boxes

    def _stop(self) -> None:
        with self._lock:
            zeroconf, self._zeroconf = self._zeroconf, None
            browser, self._browser = self._browser, None
            self._boxes = 0
        if browser is not None:
            browser.cancel()
        if zeroconf is not None:
            zeroconf.close()

    def _changed(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        """Take zeroconf's call; an error that escaped here would end the browser's thread."""
        self._boxes += state_change.name == "Added"
        box_id = id_in(name)
        if not box_id or (self._wanted is not None and box_id not in self._wanted):
            return
        try:
            if state_change.name == "Removed":
                self._left(box_id)
            else:
                self._read(zeroconf, service_type, name)
        except Exception:  # noqa: BLE001 (the boundary: whatever the network sent)
            _LOG.debug("an advert was ignored", exc_info=True)

    def _read(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        """Pass on what is known of an instance; what is missing comes as another change."""
        from zeroconf import ServiceInfo  # noqa: PLC0415 (imported long ago)

        info = ServiceInfo(service_type, name)
        if not info.load_from_cache(zeroconf):
            return
        advert = read_advert(name, info.properties, info.parsed_addresses(), info.port)
        if isinstance(advert, Ignored):
            _LOG.debug("the advert of %s was ignored: %s", name, advert.why)
        else:
            self._saw(advert)
