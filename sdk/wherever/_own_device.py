"""This device as a host of a client: what is loaded here, and why something is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

from wherever._route import NO_VIEWS, Views
from wherever._routing.plan import MODES
from wherever_contracts.errors import WhereverError
from wherever_edge.hosting import HostOptions, open_host

if TYPE_CHECKING:
    from wherever._settings import Settings
    from wherever_contracts.places import Mode, Place
    from wherever_edge.host import Loaded, LoadedVariant, LocalHost
    from wherever_edge.packages.store import Package, Store


class Here(NamedTuple):
    """How this device can answer for a model.

    Attributes:
        device: the variant that is loaded; None: there is none.
        unfit: why there is none, if the mode would use one.
        failed: it could not be loaded, and may be another time.
        views: what there is to know of how it answers.
    """

    device: LoadedVariant | None
    unfit: str
    failed: bool
    views: Views


_NOT_ASKED = Here(None, "", failed=False, views=NO_VIEWS)


class OwnDevice:
    """The local host of a client, opened when it is first needed. Safe to use from many threads.

    Args:
        settings: the client's.
        store: gives the packages.
    """

    def __init__(self, settings: Settings, store: Callable[[], Store]) -> None:
        self._settings = settings
        self._store = store
        self._lock = threading.RLock()
        self._host: LocalHost | None = None

    def load(self, package: Package, mode: Mode, places: Collection[Place] | None) -> Here:
        """The device's variant, or why there is none; not loaded when no plan could use it.

        Raises:
            SettingsError: no host can be opened as the settings say.
        """
        rule = MODES.get(mode)
        if rule is None or "device" not in rule.order or (places and "device" not in places):
            return _NOT_ASKED
        if not package.present():
            from wherever_edge.packages.catalogue import not_fetched  # noqa: PLC0415 (seldom)

            return _NOT_ASKED._replace(unfit=str(not_fetched(package)))
        host = self.open()
        try:
            loaded = host.resolve_package(package)
        except WhereverError as error:
            return _NOT_ASKED._replace(unfit=str(error), failed=True)
        views = Views(tuple(host.table(package)), host.reasons)
        return Here(loaded, "", failed=False, views=views)

    def open(self) -> LocalHost:
        """The host; opened now if it was not.

        Raises:
            SettingsError: it cannot be opened as the settings say.
        """
        with self._lock:
            if self._host is None:
                self._host = self._opened()
            return self._host

    def loaded(self) -> tuple[Loaded, ...]:
        """What was loaded here."""
        return () if self._host is None else tuple(self._host.loaded())

    def changed(self) -> bool:
        """Whether this machine is to be used otherwise than when that was last asked."""
        return self._host is not None and self._host.changed()

    def release(self, digests: Collection[str]) -> None:
        """Let go of packages that are not among those in use."""
        if self._host is not None:
            self._host.release(set(digests))

    def close(self) -> None:
        """Close every session."""
        if self._host is not None:
            self._host.close()

    def _opened(self) -> LocalHost:
        settings = self._settings
        options = HostOptions(
            profile=settings.profile,
            threads=settings.threads,
            memory_max_bytes=settings.memory_max_bytes,
            batching=settings.batching,
            isolation=settings.isolation,
            pinned=settings.pinned,
        )
        return open_host(self._store(), distance="device", home=settings.home, options=options)
