"""The port that a gRPC server listens on."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import grpc

from wherever_contracts.errors import SettingsError

if TYPE_CHECKING:
    from wherever_edge.oip.security import ServerIdentity


def listen(server: grpc.Server, address: str, port: int, identity: ServerIdentity | None) -> int:
    """Have a server listen.

    Args:
        server: it has not started.
        address: the address to listen on.
        port: the port; 0 takes any that is free.
        identity: speak TLS, as this server; None speaks plaintext.

    Returns:
        The port.

    Raises:
        SettingsError: it cannot be listened on; the message has the system's reason.
    """
    host = f"[{address}]" if ":" in address else address
    try:
        if identity is None:
            bound = server.add_insecure_port(f"{host}:{port}")
        else:
            pair = (identity.key_pem, identity.certificate_pem)
            credentials = grpc.ssl_server_credentials([pair])
            bound = server.add_secure_port(f"{host}:{port}", credentials)
    except RuntimeError:
        bound = 0
    if not bound:
        raise SettingsError(f"cannot listen on {host}:{port}: {_why_not(address, port)}")
    return bound


def _why_not(address: str, port: int) -> str:
    """What the system says when asked for the address directly; gRPC keeps it to itself."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(where)
    except OSError as error:
        return f"{error.strerror}; choose another address or port (0 takes any free port)"
    return "it was taken a moment ago; try again, or choose another port (0 takes any free one)"
