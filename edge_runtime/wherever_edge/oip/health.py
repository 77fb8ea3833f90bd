"""`grpc.health.v1.Health`: asking whether a server is well, once or for as long as one likes.

Answered here rather than by grpcio-health-checking, whose generated messages live in protobuf's
default pool and refuse to load beside an older protobuf, such as the one that Triton's client
pins. A watcher holds no thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, TypeAlias

from wherever_contracts.errors import OverloadedError
from wherever_contracts.wire import metadata
from wherever_contracts.wire.schema import INFERENCE_SERVICE

if TYPE_CHECKING:
    import grpc

# sends one message to a watcher; None ends the stream
Send: TypeAlias = Callable[[bytes | None], None]

_SERVICES = ("", INFERENCE_SERVICE)
_MAX_WATCHERS = 1000


class Health:
    """The state of a server.

    Args:
        executor: sends to the watchers, so that a slow one holds up nobody.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._lock = threading.Lock()
        self._status = metadata.SERVING
        self._watchers: set[_Watcher] = set()

    @property
    def serving(self) -> bool:
        """False once `stop` was called."""
        return self._status == metadata.SERVING

    def status(self, service: str) -> int:
        """The status of a service, "" for the server as a whole."""
        return self._status if service in _SERVICES else metadata.SERVICE_UNKNOWN

    def watch(self, service: str, context: grpc.ServicerContext, send: Send) -> None:
        """Send the status of `service` now and when the server stops.

        Raises:
            OverloadedError: there are too many watchers already.
        """
        watcher = _Watcher(send)
        with self._lock:
            if len(self._watchers) >= _MAX_WATCHERS:
                raise OverloadedError(f"{_MAX_WATCHERS} watchers are the most that are served")
            self._watchers.add(watcher)
        if not context.add_callback(lambda: self._watchers.discard(watcher)):
            self._watchers.discard(watcher)
        watcher.tell(self.status(service), last=not self.serving)

    def stop(self) -> None:
        """Say that the server takes no more calls, and end every watcher's stream."""
        with self._lock:
            self._status = metadata.NOT_SERVING
            watchers = list(self._watchers)
        for watcher in watchers:
            self._executor.submit(watcher.tell, metadata.NOT_SERVING, last=True)


class _Watcher:
    """One stream; gRPC takes one message at a time for it."""

    __slots__ = ("_ended", "_lock", "_send")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._ended = False

    def tell(self, status: int, *, last: bool) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = last
            self._send(metadata.encode_health(status))
            if last:
                self._send(None)
