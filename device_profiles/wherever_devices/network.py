"""Whether a way leads out of this machine, and what it costs; cheap enough to ask beside calls.

On Linux the kernel's routing tables and the state of the interfaces in them are read, in less than
0.1 ms. Other systems tell the standard library none of it: there nothing is known. Of Linux only
NetworkManager knows all metered links, behind D-Bus: here a link is known to be metered when the
way out is a mobile modem.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

# RFC 2863's states in which nothing passes. A tunnel or a plain driver says "unknown", and passes.
_DOWN = frozenset({"down", "lowerlayerdown", "notpresent"})
_LOOPBACK = "lo"
# Of a route (linux/route.h): what is sent there is refused.
_REJECTED = 0x0200
_DEFAULT = "00000000"
_MULTICAST = "ff"
# Routers have a million; the first of them tell what is asked here.
_MOST_ROUTES = 512


class Network(NamedTuple):
    """How this machine is connected; None is "not known".

    Attributes:
        offline: no interface but loopback is up, or none that is has a route.
        metered: whether the way out costs by the byte.
    """

    offline: bool | None = None
    metered: bool | None = None


class Route(NamedTuple):
    """A way out of the machine.

    Attributes:
        interface: over which it leads.
        default: it leads everywhere.
        metric: of several that lead to the same place the lowest is taken.
    """

    interface: str
    default: bool
    metric: int


def network_now(root: Path = Path("/")) -> Network:
    """Look whether and how this machine is connected.

    Args:
        root: where the `proc` and `sys` file systems are mounted.
    """
    base = str(root).rstrip("/")
    lines = _lines(f"{base}/proc/net/route")
    if lines is None:
        return Network()
    found = list(routes(lines))
    return Network(_is_offline(base, found), _is_metered(base, found))


def routes(lines: Iterable[str]) -> Iterator[Route]:
    """The routes of `/proc/net/route` (IPv4) that lead out; what is torn is left out."""
    for line in lines:
        row = line.split()
        if len(row) > 6 and row[6].isdigit() and _leads_out(row[0], row[3]):
            yield Route(row[0], row[1] == _DEFAULT, int(row[6]))


def routes_6(lines: Iterable[str]) -> Iterator[str]:
    """The interfaces of those routes of `/proc/net/ipv6_route` that lead out to one host each."""
    for line in lines:
        row = line.split()
        if len(row) > 9 and not row[0].startswith(_MULTICAST) and _leads_out(row[9], row[8]):
            yield row[9]


def _leads_out(interface: str, flags: str) -> bool:
    try:
        return interface != _LOOPBACK and not int(flags, 16) & _REJECTED
    except ValueError:
        return False


def _is_offline(base: str, found: Iterable[Route]) -> bool | None:
    tried = dict.fromkeys(route.interface for route in found)
    if any(_is_up(base, name) for name in tried):
        return False
    others = dict.fromkeys(routes_6(_lines(f"{base}/proc/net/ipv6_route") or ()))
    if any(_is_up(base, name) for name in others):
        return False
    return None if _routes_elsewhere(base) else True


def _is_up(base: str, interface: str) -> bool:
    return "".join(_lines(f"{base}/sys/class/net/{interface}/operstate") or ()).strip() not in _DOWN


def _routes_elsewhere(base: str) -> bool:
    """Whether there may be routes that the tables do not show, as those of a VRF device."""
    folder = Path(f"{base}/sys/class/net")
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return True
    return _LOOPBACK not in names or any(_is_of(base, name, "vrf") for name in names)


def _is_metered(base: str, found: Iterable[Route]) -> bool | None:
    """True when the default route leads over a mobile modem."""
    ways = [(route.metric, route.interface) for route in found if route.default]
    return True if ways and _is_of(base, min(ways)[1], "wwan") else None


def _is_of(base: str, interface: str, kind: str) -> bool:
    uevent = _lines(f"{base}/sys/class/net/{interface}/uevent") or ()
    return f"DEVTYPE={kind}" in map(str.strip, uevent)


def _lines(path: str) -> list[str] | None:
    try:
        with open(path, errors="replace") as file:  # noqa: PTH123 (a Path costs as much as the read)
            return list(islice(file, _MOST_ROUTES))
    except OSError:
        return None
