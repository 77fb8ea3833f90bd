"""A gateway: packages, a host, and the fronts that lead to it, from start to drained."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from wherever_contracts.errors import SettingsError, WhereverError
from wherever_edge.host import LocalHost
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store

if TYPE_CHECKING:
    from wherever_gateway.rest import RestFront

MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What a gateway serves, and where.

    Attributes:
        packages: directories that are packages or hold some; none: the packages in the wheel.
        address: the address to listen on; the default is reached from this machine alone.
        grpc_port: the port for gRPC; 0 takes any that is free.
        http_port: the port for HTTP; 0 takes any that is free, None leaves HTTP off.
        threads: threads of one run of the engine.
        max_waiting: calls that may wait for their turn; more are refused at once.
        max_bytes: the largest message in either direction.
        unpack_into: where archives among the packages are unpacked.
    """

    packages: tuple[Path, ...] = ()
    address: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int | None = 8000
    threads: int | None = None
    max_waiting: int = 64
    max_bytes: int = MAX_BYTES
    unpack_into: Path | None = None


class Gateway:
    """Serves packages over gRPC and HTTP, from one host.

    Raises:
        SettingsError: a package that was named is refused, or there is nothing to serve.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        store = Store(
            settings.packages,
            builtin=not settings.packages,
            unpack_into=settings.unpack_into,
        )
        _refuse_bad_packages(store)
        self.host = LocalHost(store, distance="cloud", threads=settings.threads)
        self._grpc = InferenceServer(
            self.host,
            address=settings.address,
            port=settings.grpc_port,
            max_waiting=settings.max_waiting,
            max_bytes=settings.max_bytes,
        )
        self._http: RestFront | None = None

    @property
    def grpc_address(self) -> str:
        """ "host:port" of the gRPC front."""
        return _joined(self.settings.address, self._grpc.port)

    @property
    def http_address(self) -> str | None:
        """ "host:port" of the HTTP front, None when there is none."""
        return None if self._http is None else _joined(self.settings.address, self._http.port)

    def start(self) -> None:
        """Load every model, then listen.

        Raises:
            WhereverError: a model cannot be loaded, or a port is taken.
        """
        for package in self.host.store.list():
            self.host.resolve_package(package)
        self._grpc.start()
        if self.settings.http_port is not None:
            try:
                self._http = self._start_http(self.settings.http_port)
            except WhereverError:
                self._grpc.drain(0)
                raise

    def drain(self, grace_s: float) -> bool:
        """Take no more calls, let those that run end, and stop; True when all ended in time."""
        if self._http is not None:
            self._http.drain(grace_s)
        done = self._grpc.drain(grace_s)
        self.host.close()
        return done

    def _start_http(self, port: int) -> RestFront:
        from wherever_gateway.rest import RestFront  # noqa: PLC0415 (needs the gateway extra)

        front = RestFront(
            self._grpc.service,
            lambda: self._grpc.ready,
            address=self.settings.address,
            port=port,
            max_bytes=self.settings.max_bytes,
        )
        front.start()
        return front


def serve(gateway: Gateway, grace_s: float, announce: Callable[[Gateway], None]) -> bool:
    """Run until SIGTERM or SIGINT, then drain; a second signal stops at once.

    Args:
        gateway: not started yet.
        grace_s: how long running calls may take to end.
        announce: called once, when calls are taken.

    Returns:
        True when every call ended within the grace.
    """
    asked = threading.Event()

    def stop(number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise SystemExit(128 + number)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    gateway.start()
    announce(gateway)
    asked.wait()
    return gateway.drain(grace_s)


def _refuse_bad_packages(store: Store) -> None:
    refused = store.refused()
    if refused:
        path, error = refused[0]
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise SettingsError(f"package {path} is refused: {error}{more}")
    if not store.list():
        raise SettingsError("there is nothing to serve: no package was found")


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
