"""The box as one thing: packages, host, server, pairing and adverts, from start to end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wherever_contracts.errors import WhereverError
from wherever_contracts.wire.schema import BOX_SERVICE
from wherever_edge.box.advertising import Beacon
from wherever_edge.box.adverts import ID_CHARS, Advert
from wherever_edge.box.codes import Code
from wherever_edge.box.interfaces import Reach, reach_of
from wherever_edge.box.pairing import METHOD, PairingDesk, keys_directory
from wherever_edge.hosting import HostOptions, open_host
from wherever_edge.oip.client import MAX_BYTES
from wherever_edge.oip.keys import KeyChecker, KeyStore
from wherever_edge.oip.security import ServerIdentity, fingerprint
from wherever_edge.oip.server import InferenceServer
from wherever_edge.oip.serving import joined, load_models, serve_until_told
from wherever_edge.packages.store import Store
from wherever_edge.updates.watching import Watcher

if TYPE_CHECKING:
    from wherever_edge.host import LoadedVariant

_LOG = logging.getLogger(__name__)

DEFAULT_PORT = 8011

_TICK_S = 1.0
# how much the newest look at the queue counts in the load
_NEWEST = 0.3


@dataclass(frozen=True, slots=True)
class BoxOptions:
    """How a box is to run.

    Attributes:
        home: where its certificate, its keys and installed models are.
        name: what people call it.
        packages: where more models are.
        address: what to listen on.
        port: 0 takes any free port.
        interface: advertise through this network interface alone, by its name or address.
        advertise: tell the site by mDNS.
        host: how it uses its machine.
        grace_s: how long calls that run may take when the box stops.
        max_bytes: the largest message.
    """

    home: Path
    name: str
    packages: tuple[Path, ...] = ()
    address: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    interface: str = ""
    advertise: bool = True
    host: HostOptions = field(default_factory=HostOptions)
    grace_s: float = 10.0
    max_bytes: int = MAX_BYTES


class Box:
    """Serves the models of this machine to the devices that were paired with it.

    It speaks TLS with a certificate of its own making, and a call needs a key, on every address.

    Args:
        options: how to run.
        show: called with each new pairing code, but not with the first.

    Attributes:
        fingerprint: the SHA-256 of its certificate.
        code: the pairing code that was shown last.
        models: what is served, loaded.
        refused: what is not served, and why.
        advertising: why the site is not told of the box; "" while it is.
    """

    def __init__(self, options: BoxOptions, show: Callable[[Code], None]) -> None:
        self.options = options
        self._show = show
        directory = keys_directory(options.home)
        identity = ServerIdentity.self_made(directory)
        keys = KeyStore(directory)
        checker = KeyChecker(keys)
        self.fingerprint = fingerprint(identity.certificate_pem)
        self._desk = PairingDesk(options.name, self.fingerprint, keys, checker)
        self.code = self._desk.code
        self.host = open_host(
            Store.of_home(options.home, options.packages),
            distance="nearby",
            home=options.home,
            options=options.host,
        )
        self.models: list[LoadedVariant] = []
        self.refused: list[tuple[str, WhereverError]] = []
        self.advertising = "it was not asked to"
        self.server = InferenceServer(
            self.host,
            address=options.address,
            port=options.port,
            max_bytes=options.max_bytes,
            identity=identity,
            keys=checker,
            services={BOX_SERVICE: {METHOD: self._desk.pair}},
        )
        self._reach = reach_of(options.address, options.interface)
        self._beacon: Beacon | None = None
        self._watcher: Watcher | None = None
        self._stopping = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="wherever-box", daemon=True)

    def start(self) -> None:
        """Load the models, listen, and tell the site.

        Raises:
            WhereverError: there is no model to serve, or the port cannot be listened on.
        """
        self.models, self.refused = load_models(self.host)
        self.server.start()
        if self.options.advertise:
            self._advertise()
        seen = self.host.store.generation
        self._watcher = Watcher(self.options.home, self._updated, seen=seen)
        self._ticker.start()

    @property
    def id(self) -> str:
        """What tells this box from others: the beginning of its certificate's SHA-256."""
        return self.fingerprint[:ID_CHARS]

    @property
    def grpc(self) -> str:
        """Where gRPC is served, "host:port"."""
        return joined(self.options.address, self.server.port)

    @property
    def reach(self) -> Reach:
        """Where devices reach it, and where it says so."""
        return self._reach

    def drain(self) -> bool:
        """Say goodbye, let the calls that run end, and stop; True when all ended in time."""
        self._stopping.set()
        self._ticker.join()
        if self._watcher is not None:
            self._watcher.close()
        if self._beacon is not None:
            with suppress(OSError):
                self._beacon.close()
        done = self.server.drain(self.options.grace_s)
        if done:
            self.host.close()
        return done

    def _advertise(self) -> None:
        """Tell the site; a network that takes no multicast is no reason not to serve."""
        advert = Advert(
            self.id, self.options.name, self._reach.addresses, self.server.port, self._served()
        )
        beacon = Beacon(advert, self._reach)
        try:
            beacon.start()
        except OSError as error:
            self.advertising = str(error)
            return
        self._beacon, self.advertising = beacon, ""

    def _served(self) -> tuple[str, ...]:
        return tuple(f"{loaded.ran.model}@{loaded.ran.version}" for loaded in self.models)

    def _updated(self) -> None:
        """Go over to the packages of a signed update; calls that run are not disturbed."""
        for name, error in self.host.refresh():
            _LOG.warning("%s goes on with the version that it has: %s", name, error)
        self.models, self.refused = load_models(self.host)

    def _tick(self) -> None:
        """Keep the advert's load and the code on the screen up to date."""
        load = 0.0
        while not self._stopping.wait(_TICK_S):
            load += _NEWEST * (self.host.queue.load() - load)
            if self._beacon is not None:
                with suppress(OSError):
                    self._beacon.update(load, self._served())
            code = self._desk.code
            if code != self.code:
                self.code = code
                self._show(code)


def run(options: BoxOptions, ready: Callable[[Box], None], show: Callable[[Code], None]) -> bool:
    """Serve until the process is told to end (SIGTERM or Ctrl-C), then drain.

    Args:
        options: how to run.
        ready: called once everything is loaded and listens.
        show: called with each new pairing code, but not with the first.

    Returns:
        True when every call that was running ended in time.

    Raises:
        WhereverError: there is no model to serve, or the port cannot be listened on.
    """
    return serve_until_told(lambda: Box(options, show), ready)
