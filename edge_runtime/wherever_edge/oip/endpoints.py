"""Addresses of hosts, as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from wherever_contracts.errors import SettingsError

DEFAULT_PORT = 8001

_EXPECTED = (
    '"host", "host:port" (TLS off this machine), "grpcs://host:port" (TLS) or '
    '"grpc://host:port" (not encrypted); an IPv6 address in brackets'
)
_ADDRESS = re.compile(
    r"(?:(?P<scheme>grpcs?)://)?"
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a host listens, and whether the way there is encrypted."""

    host: str
    port: int = DEFAULT_PORT
    tls: bool = True

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read an address.

        A bare `host:port` means TLS, except on this machine's own loopback addresses.

        Raises:
            SettingsError: it is no such address; the message says what one looks like.
        """
        match = _ADDRESS.fullmatch(text.strip())
        if match is None:
            raise SettingsError(f"{text!r} is not the address of a host; expected {_EXPECTED}")
        host = match["host"] or _ipv6(match["ipv6"], text)
        port = int(match["port"] or DEFAULT_PORT)
        if not 0 < port < 65536:
            raise SettingsError(f"{text!r}: expected a port from 1 to 65535, found {port}")
        scheme = match["scheme"]
        return cls(host, port, scheme == "grpcs" if scheme else not is_loopback(host))

    @property
    def name(self) -> str:
        """`host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'grpcs' if self.tls else 'grpc'}://{self.name}"


def is_loopback(host: str) -> bool:
    """True for `localhost`, 127.0.0.0/8 and ::1."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _ipv6(address: str, text: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        raise SettingsError(f"{text!r}: {address!r} is not an IPv6 address") from None
    return str(parsed)
