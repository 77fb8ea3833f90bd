"""Through which network interfaces boxes are advertised and looked for."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

from wherever_contracts.errors import SettingsError
from wherever_edge.oip.endpoints import is_loopback

LOOPBACK = "127.0.0.1"
EVERY = ("0.0.0.0", "::")  # noqa: S104 (compared with, not bound to)


class Reach(NamedTuple):
    """Where a box is reached, and where it says so.

    Attributes:
        interfaces: the addresses of the interfaces that mDNS uses; empty for all.
        addresses: those that are advertised.
    """

    interfaces: tuple[str, ...]
    addresses: tuple[str, ...]


def reach_of(bound: str, interface: str) -> Reach:
    """Where a box that listens on `bound` is reached.

    Args:
        bound: the address it listens on; "0.0.0.0" or "::" for all.
        interface: only through this interface, by its name or address; "" for all.

    Raises:
        SettingsError: there is no such interface, or `bound` is no address.
    """
    if interface:
        return Reach(*(2 * ((address_of(interface),),)))
    if bound not in EVERY:
        address = LOOPBACK if bound == "localhost" else _parsed(bound)
        through = LOOPBACK if is_loopback(address) else address
        return Reach((through,) if ":" not in through else (), (address,))
    others = tuple(address for _, address in _interfaces() if not is_loopback(address))
    return Reach((), others) if others else Reach((LOOPBACK,), (LOOPBACK,))


def address_of(interface: str) -> str:
    """The IPv4 address of an interface that is named by its name or address.

    Raises:
        SettingsError: there is no such interface.
    """
    try:
        return str(ip_address(interface))
    except ValueError:
        pass
    known = _interfaces()
    for name, address in known:
        if name == interface:
            return address
    there = ", ".join(f"{name} ({address})" for name, address in known) or "none"
    raise SettingsError(f"there is no network interface {interface!r} (there are: {there})")


def _parsed(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:
        raise SettingsError(
            f"a box listens on an address, such as 0.0.0.0 for all, and not on {address!r}"
        ) from None


def _interfaces() -> list[tuple[str, str]]:
    """Name and address of every interface that has an IPv4 address."""
    import ifaddr  # noqa: PLC0415 (comes with zeroconf; only where boxes are used)

    return [
        (adapter.nice_name, ip.ip)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if isinstance(ip.ip, str)
    ]
