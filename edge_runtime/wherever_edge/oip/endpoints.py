"""Addresses of hosts, as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from wherever_contracts.errors import SettingsError

DEFAULT_PORT = 8001
DEFAULT_REST_PORT = 8000

_EXPECTED = (
    '"host", "host:port" (TLS off this machine), "grpcs://host:port" (TLS) or '
    '"grpc://host:port" (not encrypted); "https://host:port" or "http://host:port" for REST alone; '
    'an IPv6 address in brackets; behind gRPC\'s addresses "?rest=PORT" or "?rest=off"'
)
_ADDRESS = re.compile(
    r"(?:(?P<scheme>grpcs?|https?)://)?"
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/?\?rest=(?P<rest>off|[0-9]{1,5})|/)?"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a host listens, and whether the way there is encrypted.

    Attributes:
        host: a name or an IP address.
        port: of gRPC; of REST where gRPC is not spoken.
        tls: whether the way is encrypted, for both protocols.
        grpc: whether gRPC is spoken at all.
        rest: the port of REST; None for where it usually is, 0 for nowhere.
    """

    host: str
    port: int = DEFAULT_PORT
    tls: bool = True
    grpc: bool = True
    rest: int | None = None

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read an address.

        A bare `host:port` means TLS, except on this machine's own loopback addresses.

        Raises:
            SettingsError: it is no such address; the message says what one looks like.
        """
        match = _ADDRESS.fullmatch(text.strip())
        scheme = match["scheme"] if match else None
        grpc = scheme not in ("http", "https")
        if match is None or (match["rest"] and not grpc):
            raise SettingsError(f"{text!r} is not the address of a host; expected {_EXPECTED}")
        host = match["host"] or _ipv6(match["ipv6"], text)
        port = _port(match["port"] or (DEFAULT_PORT if grpc else DEFAULT_REST_PORT), text)
        tls = scheme in ("grpcs", "https") if scheme else not is_loopback(host)
        return cls(host, port, tls, grpc, _rest(match["rest"], text))

    @property
    def name(self) -> str:
        """`host:port`."""
        return f"{self._host}:{self.port}"

    @property
    def rest_ports(self) -> tuple[int, ...]:
        """Where REST may be: the port that was given, or the one before gRPC's, or gRPC's own."""
        if not self.grpc:
            return (self.port,)
        if self.rest is None:
            return (self.port - 1, self.port) if self.port > 1 else (self.port,)
        return (self.rest,) if self.rest else ()

    def url(self, port: int) -> str:
        """Where REST is, when it is at this port."""
        return f"{'https' if self.tls else 'http'}://{self._host}:{port}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        if not self.grpc:
            return self.url(self.port)
        rest = "" if self.rest is None else f"?rest={self.rest or 'off'}"
        return f"{'grpcs' if self.tls else 'grpc'}://{self.name}{rest}"


def is_loopback(host: str) -> bool:
    """True for `localhost`, 127.0.0.0/8 and ::1."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _port(text: str | int, address: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise SettingsError(f"{address!r}: expected a port from 1 to 65535, found {port}")
    return port


def _rest(text: str | None, address: str) -> int | None:
    if text is None:
        return None
    return 0 if text == "off" else _port(text, address)


def _ipv6(address: str, text: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        raise SettingsError(f"{text!r}: {address!r} is not an IPv6 address") from None
    return str(parsed)
