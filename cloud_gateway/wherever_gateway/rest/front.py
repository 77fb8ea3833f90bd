"""The REST front: the protocol over HTTP, beside gRPC and from the same service."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

from wherever_contracts.errors import SettingsError, missing_extra

if TYPE_CHECKING:
    import uvicorn

    from wherever_edge.oip.keys import KeyChecker
    from wherever_edge.oip.security import ServerIdentity
    from wherever_edge.oip.service import InferenceService
    from wherever_gateway.rest.app import Admin, RestApp
    from wherever_gateway.rest.repository import Repository

_BACKLOG = 512
_KEEP_ALIVE_S = 30

# what a stop takes when no request runs, and what it takes at most beside those that do
_LEAST_GRACE_S = 0.05
_STOPPING_S = 2.0


class RestFront:
    """Serves a service over HTTP/1.1, on a thread and an event loop of its own.

    Signals and logging are left to the program that it is part of.

    Args:
        service: answers the calls; its queue bounds those of every front together.
        ready: whether calls are taken.
        address: the address to listen on.
        port: the port; 0 takes any that is free.
        max_bytes: the largest body that is taken, also after it was decompressed.
        stall_s: how long a head may take, and a body may stand still, before it is given up.
        identity: speak TLS, as this server; None speaks plaintext.
        keys: the keys that there are; those who administer need one as soon as there is one.
        keys_needed: whether those who use models need one too.
        admin: what administrators may do, if anything.
        repository: lists, loads and unloads models, if anything does.
        others: the names of the models that other servers answer for, of those that are known.

    Attributes:
        port: the port that is listened on, once started.
    """

    def __init__(
        self,
        service: InferenceService,
        ready: Callable[[], bool],
        *,
        address: str,
        port: int,
        max_bytes: int,
        stall_s: float = 30.0,
        identity: ServerIdentity | None = None,
        keys: KeyChecker | None = None,
        keys_needed: bool = False,
        admin: Admin | None = None,
        repository: Repository | None = None,
        others: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.address = address
        self.port = port
        self._service = service
        self._ready = ready
        self._max_bytes = max_bytes
        self._stall_s = stall_s
        self._identity = identity
        self._keys = keys
        self._keys_needed = keys_needed
        self._admin = admin
        self._repository = repository
        self._others: Callable[[], Collection[str]] = others
        self._running: _Running | None = None

    def start(self) -> None:
        """Listen, and serve from now on.

        Raises:
            SettingsError: the address or port cannot be listened on.
            MissingExtraError: starlette or uvicorn is not installed.
        """
        try:
            app = self._make_app()
            server = _server(app, self._identity, self._stall_s)
        except ImportError as error:
            raise missing_extra("the HTTP front", "gateway") from error
        listener = listen(self.address, self.port)
        self.port = listener.getsockname()[1]
        thread = threading.Thread(
            target=server.run, args=([listener],), name="wherever-http", daemon=True
        )
        self._running = _Running(app, server, listener, thread)
        thread.start()

    def drain(self, grace_s: float) -> bool:
        """Take no more requests, let those that run end, and stop.

        Args:
            grace_s: how long they may take; those that take longer are answered with 503.

        Returns:
            True when every request ended in time.
        """
        if self._running is None:
            return True
        app, server, listener, thread = self._running
        grace_s = max(grace_s, _LEAST_GRACE_S)
        # uvicorn hands it to asyncio, which takes fractions
        server.config.timeout_graceful_shutdown = grace_s  # type: ignore[assignment]
        server.should_exit = True
        thread.join(grace_s + _STOPPING_S)
        # uvicorn leaves it open when it is told to stop before it has begun
        listener.close()
        return app.close()

    def _make_app(self) -> RestApp:
        from wherever_gateway.rest.app import RestApp  # noqa: PLC0415 (an extra, 110 ms)
        from wherever_gateway.rest.entrance import RestEntrance  # noqa: PLC0415

        return RestApp(
            self._service,
            self._ready,
            max_bytes=self._max_bytes,
            stall_s=self._stall_s,
            entrance=RestEntrance(self._keys, needed=self._keys_needed),
            admin=self._admin,
            repository=self._repository,
            others=self._others,
        )


class _Running(NamedTuple):
    app: RestApp
    server: uvicorn.Server
    listener: socket.socket
    thread: threading.Thread


def _server(app: RestApp, identity: ServerIdentity | None, stall_s: float) -> uvicorn.Server:
    import uvicorn  # noqa: PLC0415 (an extra, 110 ms)

    from wherever_gateway.rest.connection import patient  # noqa: PLC0415 (needs the extra)

    config = uvicorn.Config(
        app.asgi,
        interface="asgi3",
        loop="asyncio",
        http=patient(stall_s),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    # now, so that what is missing is missed here
    config.load()
    if identity is not None:
        from wherever_edge.oip.certificates import server_context  # noqa: PLC0415 (70 ms)

        config.ssl = server_context(identity)
    return uvicorn.Server(config)


def listen(address: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = min(found, key=lambda one: one[0] != socket.AF_INET)
        # with its protocol stated, or asyncio leaves Nagle's algorithm on: 40 ms for each answer
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(address, port, error) from error
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and socket.has_dualstack_ipv6():
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(where)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot_listen(address, port, error) from error
    return listener


def _cannot_listen(address: str, port: int, error: OSError) -> SettingsError:
    return SettingsError(
        f"cannot listen on {address}:{port} for HTTP: {error.strerror or error}; "
        "choose another address or port (0 takes any free port), or leave HTTP off"
    )
