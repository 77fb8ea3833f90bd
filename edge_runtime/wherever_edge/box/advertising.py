"""Telling the site of a box by mDNS."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wherever_edge.box.adverts import SERVICE, Advert, coarse
from wherever_edge.box.interfaces import Reach

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, Zeroconf


class Beacon:
    """Advertises a box until closed.

    Args:
        advert: what to say.
        reach: through which interfaces.
    """

    def __init__(self, advert: Advert, reach: Reach) -> None:
        self._advert = advert
        self._reach = reach
        self._zeroconf: Zeroconf | None = None

    def start(self) -> None:
        """Begin; answers queries from now on.

        Raises:
            OSError: an interface takes no multicast.
        """
        from zeroconf import IPVersion, Zeroconf  # noqa: PLC0415 (77 ms)

        only = list(self._reach.interfaces)
        chosen: dict[str, Any] = {"interfaces": only} if only else {}
        self._zeroconf = Zeroconf(ip_version=IPVersion.V4Only, **chosen)
        # the id makes the name unique, so that no time is spent on asking who else has it
        with _as_os_errors():
            self._zeroconf.register_service(self._info(), cooperating_responders=True)

    def update(self, load: float, models: tuple[str, ...]) -> None:
        """Say how busy the box is and what it serves, if that has changed (the load by a step).

        Raises:
            OSError: it could not be said; the next change will be.
        """
        changed = self._advert._replace(load=coarse(load), models=models)
        if changed != self._advert and self._zeroconf is not None:
            self._advert = changed
            with _as_os_errors():
                self._zeroconf.update_service(self._info())

    def close(self) -> None:
        """Say goodbye, and stop."""
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is not None:
            zeroconf.close()

    def _info(self) -> ServiceInfo:
        from zeroconf import ServiceInfo  # noqa: PLC0415

        advert = self._advert
        return ServiceInfo(
            SERVICE,
            advert.instance,
            port=advert.port,
            properties=advert.txt,
            server=f"{advert.name}-{advert.id}.local.",
            parsed_addresses=list(advert.addresses),
        )


@contextmanager
def _as_os_errors() -> Generator[None]:
    from zeroconf import Error  # noqa: PLC0415

    try:
        yield
    except Error as error:
        raise OSError(f"mDNS failed: {type(error).__name__}: {error}") from error
