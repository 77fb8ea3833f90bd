"""The metrics' own listener: HTTP apart from the calls', for Prometheus and for curl."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from wherever_contracts.errors import SettingsError, missing_extra

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

PATH = "/metrics"
_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# who connects and says nothing is let go after this long
_SILENCE_S = 5.0
# how often it looks whether it is to end
_LOOK_S = 0.05
# pages that are written at a time; each takes a thread, and a copy of all numbers
_AT_A_TIME = 4


class MetricsListener:
    """Serves the numbers of a registry at `/metrics`, without a key. Made by `start_metrics`.

    Attributes:
        address: the address that it listens on.
        port: the port.
    """

    def __init__(self, server: _Server) -> None:
        self.address: str = str(server.server_address[0])
        self.port: int = server.server_address[1]
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(_LOOK_S,), name="wherever-metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Listen no more. May be called again."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def start_metrics(
    address: str,
    port: int,
    text: Callable[[], str] = str,
    *,
    collectors: Iterable[Collector] = (),
    process: bool = True,
) -> MetricsListener:
    """Serve metrics at `http://ADDRESS:PORT/metrics` from now on.

    Args:
        address: the address to listen on; there is no key, so think before it is more than
            loopback.
        port: the port; 0 takes any that is free.
        text: what to tell first, in the text format of Prometheus.
        collectors: what else to tell, such as a `HostCollector`.
        process: whether to tell what this process takes (memory, processor, files), too.

    Raises:
        SettingsError: the address or port cannot be listened on.
        MissingExtraError: prometheus-client is not installed.
    """
    try:
        # an extra, 22 ms
        from prometheus_client import generate_latest as write  # noqa: PLC0415

        registry = _registry(collectors, process=process)
    except ImportError as error:
        raise missing_extra("serving metrics", "gateway") from error
    try:
        return MetricsListener(_Server(address, port, lambda: text().encode() + write(registry)))
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {address}:{port} for metrics: {error.strerror or error}; "
            "choose another address or port (0 takes any free port)"
        ) from error


def _registry(collectors: Iterable[Collector], *, process: bool) -> CollectorRegistry:
    # an extra, 22 ms
    from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415

    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    if process:
        ProcessCollector(registry=registry)
    return registry


class _Server(ThreadingHTTPServer):
    """One thread for each page that is written; who comes too many is let go at once."""

    daemon_threads = True
    request_queue_size = 16

    def __init__(self, address: str, port: int, page: Callable[[], bytes]) -> None:
        self.page = page
        self._free = threading.BoundedSemaphore(_AT_A_TIME)
        family, _, _, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.address_family = family
        super().__init__((str(where[0]), int(where[1])), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of those who went away before they had their page."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _SILENCE_S

    def do_GET(self) -> None:
        if urlsplit(self.path).path != PATH:
            self.send_error(HTTPStatus.NOT_FOUND, explain=f"the metrics are at {PATH}")
            return
        page = cast("_Server", self.server).page()
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", _TYPE)
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def version_string(self) -> str:
        return "wherever"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's)
        """Scrapes come every few seconds, and are no news."""
