"""What a box says about itself by mDNS. Pure.

An advert is a hint about where to look, never a proof of who is there: anybody on the network can
send one. So it is read without trust and within bounds, and a box is believed only after it has
shown the certificate that it was paired with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, TypeAlias

SERVICE = "_wherever._tcp.local."
VERSION = "1"
ID_CHARS = 16
MAX_NAME_CHARS = 40
MAX_ADDRESSES = 4

# one string of a TXT record holds so many bytes, with its key and the "="
_MAX_STRING_BYTES = 255
_MAX_STRINGS = 16
_LOAD_STEPS = 4

_NAME = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9_-]{{0,{MAX_NAME_CHARS - 1}}})")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_INSTANCE = re.compile(rf"(?P<name>.+)-(?P<id>[0-9a-f]{{{ID_CHARS}}})\.{re.escape(SERVICE)}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}@[0-9A-Za-z.+-]{1,64}")
_COUNT = re.compile(r"[0-9]{1,6}")
_LOAD = re.compile(r"[01](\.[0-9]{1,4})?")

Txt: TypeAlias = Mapping[bytes, bytes | None]


class Advert(NamedTuple):
    """A box as it describes itself.

    Attributes:
        id: the first 16 hex digits of its certificate's SHA-256.
        name: what people call it.
        addresses: where it is reached, at most four.
        port: its gRPC port.
        models: what it serves, each "name@version"; the first ones when there are many.
        unlisted: how many models more it serves.
        load: how busy it is, from 0 to 1 in steps of a quarter.
    """

    id: str
    name: str
    addresses: tuple[str, ...]
    port: int
    models: tuple[str, ...] = ()
    unlisted: int = 0
    load: float = 0.0

    @property
    def instance(self) -> str:
        """The name under which mDNS knows it."""
        return f"{self.name}-{self.id}.{SERVICE}"

    @property
    def txt(self) -> dict[str, str]:
        """The TXT record."""
        models, unlisted = _fitting(self.models, self.unlisted)
        return {
            "v": VERSION,
            "id": self.id,
            "name": self.name,
            "models": models,
            "more": str(unlisted),
            "load": f"{coarse(self.load):g}",
        }


class Ignored(NamedTuple):
    """An advert that is none, and why."""

    why: str


class _NoAdvertError(ValueError):
    """What came is no advert of a box."""


def read_advert(
    instance: str, txt: Txt, addresses: Sequence[str], port: int | None
) -> Advert | Ignored:
    """Read what came by mDNS, whatever it is; nothing is raised.

    Args:
        instance: the full name of the service's instance.
        txt: its TXT record.
        addresses: its addresses; those that cannot be a box's are left out.
        port: its port.
    """
    try:
        return _read(instance, _fields(txt), _usable(addresses), port or 0)
    except _NoAdvertError as error:
        return Ignored(str(error))


def id_in(instance: str) -> str:
    """The id that the name of an instance carries; "" when it is not that of a box."""
    label = _INSTANCE.fullmatch(instance)
    return label["id"] if label else ""


def is_name(text: str) -> bool:
    """Whether a box can have this name: up to 40 letters, digits, "-" and "_"."""
    return _NAME.fullmatch(text) is not None


def name_from(text: str) -> str:
    """A name for a box out of a host's name; "box" when nothing of it can be used."""
    first = _NOT_IN_NAMES.sub("-", text.partition(".")[0]).strip("-_")
    return first[:MAX_NAME_CHARS] or "box"


def coarse(load: float) -> float:
    """A load in steps of a quarter, so that adverts seldom change."""
    return round(min(1.0, max(0.0, load)) * _LOAD_STEPS) / _LOAD_STEPS


def _read(
    instance: str, fields: Mapping[str, str], addresses: tuple[str, ...], port: int
) -> Advert:
    label = _INSTANCE.fullmatch(instance)
    if label is None or not is_name(label["name"]):
        raise _NoAdvertError("its name is not that of a box")
    said = tuple(map(fields.get, ("v", "id", "name")))
    if said != (VERSION, label["id"], label["name"]):
        raise _NoAdvertError("it has another version, id or name than its instance")
    if not addresses or not 0 < port < 65536:
        raise _NoAdvertError("it has no port, or no address that a box can have")
    models, unlisted, load = _figures(fields)
    return Advert(label["id"], label["name"], addresses, port, models, unlisted, load)


def _fields(txt: Txt) -> dict[str, str]:
    if len(txt) > _MAX_STRINGS:
        raise _NoAdvertError(f"it has {len(txt)} fields and {_MAX_STRINGS} are the most")
    if any(len(key) + len(value or b"") > _MAX_STRING_BYTES for key, value in txt.items()):
        raise _NoAdvertError("a field is too long")
    try:
        return {key.decode("ascii"): (value or b"").decode("ascii") for key, value in txt.items()}
    except UnicodeDecodeError:
        raise _NoAdvertError("a field is not text") from None


def _figures(fields: Mapping[str, str]) -> tuple[tuple[str, ...], int, float]:
    models = tuple(filter(None, fields.get("models", "").split(",")))
    more, load = fields.get("more", "0"), fields.get("load", "0")
    if not all(map(_MODEL.fullmatch, models)):
        raise _NoAdvertError("its list of models is damaged")
    if not _COUNT.fullmatch(more) or not _LOAD.fullmatch(load):
        raise _NoAdvertError("its figures are damaged")
    return models, int(more), coarse(float(load))


def _usable(addresses: Sequence[str]) -> tuple[str, ...]:
    """The addresses that one host can have, those off this machine first."""
    parsed = [address for text in addresses if (address := _unicast(text)) is not None]
    parsed.sort(key=lambda address: address.is_loopback)
    return tuple(dict.fromkeys(map(str, parsed)))[:MAX_ADDRESSES]


def _unicast(text: str) -> IPv4Address | IPv6Address | None:
    """The address, unless it is none or means many hosts, none, or one only with its interface."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if address.is_multicast or address.is_unspecified or address.is_reserved:
        return None
    return None if address.version == 6 and address.is_link_local else address


def _fitting(models: Iterable[str], unlisted: int) -> tuple[str, int]:
    """As many models as one string holds, and how many are left out."""
    kept: list[str] = []
    room = _MAX_STRING_BYTES - len("models=") + 1
    for model in models:
        room -= len(model) + 1
        if room < 0:
            unlisted += 1
        else:
            kept.append(model)
    return ",".join(kept), unlisted
