"""Running the REST front beside the gRPC server."""

from __future__ import annotations

import socket
import threading

import uvicorn
from starlette.applications import Starlette

from wherever_contracts.errors import SettingsError

_KEEP_ALIVE_S = 30
_BACKLOG = 512


class HttpServer:
    """Serves an application on a thread of its own.

    Args:
        app: the application.
        address: the address to listen on.
        port: the port; 0 takes any that is free.
        max_connections: requests in flight; more are answered 503 at once.

    Attributes:
        port: the port that is listened on.

    Raises:
        SettingsError: the address or port cannot be listened on.
    """

    def __init__(self, app: Starlette, *, address: str, port: int, max_connections: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._socket = socket.create_server((address, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {address}:{port} for HTTP: {error.strerror or error}; choose "
                "another port (--http-port; 0 takes any free one), or none (--no-http)"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=max_connections,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="wherever-http", daemon=True
        )

    def start(self) -> None:
        """Serve from now on."""
        self._thread.start()

    def drain(self, grace_s: float) -> None:
        """Take no more requests, let those that run end for at most `grace_s`, and stop."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_s))
        self._server.should_exit = True
        self._thread.join(grace_s + 1)
        self._socket.close()
