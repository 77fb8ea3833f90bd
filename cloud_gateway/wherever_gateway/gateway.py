"""The gateway as one thing: packages, host, gRPC and REST, from start to graceful end."""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import WhereverError
from wherever_edge.cli import error_data
from wherever_edge.counters import COUNTERS
from wherever_edge.hosting import HostOptions, open_host
from wherever_edge.oip.client import MAX_BYTES
from wherever_edge.oip.server import InferenceServer
from wherever_edge.oip.serving import joined, load_models, serve_until_told
from wherever_edge.packages.store import Store
from wherever_edge.updates.watching import Watcher
from wherever_gateway.securing import SecurityOptions, secure

if TYPE_CHECKING:
    from wherever_edge.host import LoadedVariant
    from wherever_gateway.rest import RestFront


_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """How a gateway is to run.

    Attributes:
        packages: where models are; the wheel's own when there are none.
        address: what to listen on.
        grpc_port: 0 takes any free port.
        http_port: 0 takes any free port, None serves no HTTP.
        host: how it uses its machine.
        grace_s: how long calls that run may take when the gateway stops.
        max_bytes: the largest message.
        home: where archives are unpacked, and where signed updates put their packages, which are
            served too, and followed while it runs; None for neither.
        security: how it is to protect itself.
    """

    packages: tuple[Path, ...] = ()
    address: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int | None = 8000
    host: HostOptions = field(default_factory=HostOptions)
    grace_s: float = 10.0
    max_bytes: int = MAX_BYTES
    home: Path | None = None
    security: SecurityOptions = field(default_factory=SecurityOptions)


class Gateway:
    """Serves every model of its packages.

    Raises:
        SettingsError: it may not listen there as its options say.

    Attributes:
        secured: its certificate and keys.
        models: what is served, loaded: the reference variant of each package if it can run here.
        refused: what is not served, and why.
    """

    def __init__(self, options: GatewayOptions) -> None:
        self.options = options
        self.secured = secure([options.address], options.security)
        self.host = open_host(
            _store(options), distance="cloud", home=options.home, options=options.host
        )
        self.models: list[LoadedVariant] = []
        self.refused: list[tuple[str, WhereverError]] = []
        self.server = InferenceServer(
            self.host,
            address=options.address,
            port=options.grpc_port,
            max_bytes=options.max_bytes,
            identity=self.secured.identity,
            keys=self.secured.keys,
            keys_needed=self.secured.protection.keys,
        )
        self._reloading = threading.Lock()
        self._watcher: Watcher | None = None
        self._http: RestFront | None = None

    def start(self) -> None:
        """Load the models, then listen.

        Raises:
            WhereverError: there is no model to serve, or a port cannot be listened on.
        """
        self.models, self.refused = load_models(self.host)
        self.server.start()
        if self.options.home is not None:
            seen = self.host.store.generation
            self._watcher = Watcher(self.options.home, self.reload, seen=seen)
        if self.options.http_port is not None:
            self._http = self._start_http(self.options.http_port)

    @property
    def grpc(self) -> str:
        """Where gRPC is served, "host:port"."""
        return joined(self.options.address, self.server.port)

    @property
    def http(self) -> str | None:
        """Where HTTP is served, "host:port"; None when it is not."""
        return joined(self.options.address, self._http.port) if self._http is not None else None

    def status(self) -> dict[str, Any]:
        """What is served and how busy it is, as plain data."""
        queue = self.host.queue
        return {
            **self.served(),
            "tls": self.secured.protection.tls,
            "keys": self.secured.protection.keys,
            "calls": {
                "working": queue.working,
                "waiting": queue.waiting,
                "refused": queue.refused,
                "dropped": queue.dropped,
            },
            "loaded": [
                {**loaded._asdict(), "plan": str(loaded.plan)} for loaded in self.host.loaded()
            ],
            "counts": COUNTERS.snapshot(),
            "pid": os.getpid(),
        }

    def reload(self) -> dict[str, Any]:
        """Look for packages again, and serve what is there now; calls that run are not disturbed.

        Returns:
            What is served, as plain data.

        Raises:
            ModelNotFoundError: there is nothing to serve any more.
        """
        with self._reloading:
            for name, error in self.host.refresh():
                _LOG.warning("%s goes on with the version that it has: %s", name, error)
            self.models, self.refused = load_models(self.host)
        return self.served()

    def served(self) -> dict[str, Any]:
        """The models, and what is not served and why, as plain data."""
        models = [
            {"name": m.ran.model, "version": m.ran.version, "variant": m.ran.variant}
            for m in self.models
        ]
        refused = [{"what": what, **error_data(error)} for what, error in self.refused]
        return {"models": models, "refused": refused}

    def drain(self) -> bool:
        """Take no more calls, let those that run end, and stop; True when all ended in time."""
        if self._watcher is not None:
            self._watcher.close()
        grace_s = self.options.grace_s
        with ThreadPoolExecutor(1) as pool:
            if self._http is not None:
                pool.submit(self._http.drain, grace_s)
            self.server.drain(grace_s)
        # asked when all have stopped, because the calls of all pass the same queue
        done = self.host.queue.inside == 0
        if done:
            self.host.close()
        return done

    def _start_http(self, port: int) -> RestFront:
        from wherever_gateway.rest import RestFront  # noqa: PLC0415 (not every gateway has HTTP)

        http = RestFront(
            self.server.service,
            lambda: self.server.ready,
            address=self.options.address,
            port=port,
            max_bytes=self.options.max_bytes,
            identity=self.secured.identity,
            keys=self.secured.keys,
            keys_needed=self.secured.protection.keys,
            admin=None if self.secured.protection.exposed else self,
        )
        http.start()
        return http


def _store(options: GatewayOptions) -> Store:
    home = options.home
    return Store(
        options.packages,
        builtin=not options.packages,
        unpack_into=None if home is None else home / "unpacked",
        signed=None if home is None else home / "signed",
    )


def has_http() -> bool:
    """Whether the extra that serves HTTP is installed."""
    return all(importlib.util.find_spec(name) for name in ("starlette", "uvicorn"))


def run(options: GatewayOptions, ready: Callable[[Gateway], None]) -> bool:
    """Serve until the process is told to end (SIGTERM or Ctrl-C), then drain.

    A second signal ends the process at once.

    Args:
        options: how to run.
        ready: called once everything is loaded and listens.

    Returns:
        True when every call that was running ended in time.

    Raises:
        WhereverError: there is no model to serve, or a port cannot be listened on.
    """
    return serve_until_told(lambda: Gateway(options), ready)
