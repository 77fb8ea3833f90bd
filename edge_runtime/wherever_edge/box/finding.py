"""Looking for boxes: who is there, which of them are paired, and where one of them is."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from wherever_contracts.errors import PairingError, UnreachableError
from wherever_edge.box.adverts import Advert, is_name
from wherever_edge.box.browsing import Browser
from wherever_edge.box.codes import box_id, identity_of
from wherever_edge.box.handshake import presented_certificate
from wherever_edge.box.sightings import Sighting, Sightings
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.security import fingerprint

if TYPE_CHECKING:
    from wherever_edge.box.codes import Code
    from wherever_edge.box.pins import PinnedBox

State: TypeAlias = Literal["paired", "not paired", "CHANGED"]

DEFAULT_PORT = 8011
# endpoints of one name that are tried; more are a flood
_MAX_TRIED = 16
_HANDSHAKE_S = 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """A box that says to be on this network.

    Attributes:
        name: what it calls itself.
        id: the beginning of its certificate's SHA-256, as it says.
        address: "host:port".
        models: what it serves, each "name@version".
        unlisted: how many models more.
        load: how busy it is, from 0 to 1.
        state: "paired"; "not paired"; or "CHANGED" when a box was paired under this name that had
            another certificate.
    """

    name: str
    id: str
    address: str
    models: tuple[str, ...]
    unlisted: int
    load: float
    state: State

    @property
    def models_text(self) -> str:
        """The models for a person."""
        more = (f"and {self.unlisted} more",) if self.unlisted else ()
        return ", ".join((*self.models, *more)) or "no models"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def judge(advert: Advert, paired: Sequence[PinnedBox]) -> Found:
    """What an advert means to a device that is paired with some boxes."""
    state: State = "not paired"
    if any(box.id == advert.id for box in paired):
        state = "paired"
    elif any(box.name == advert.name for box in paired):
        state = "CHANGED"
    address = endpoints_of(advert)[0].name
    return Found(
        advert.name, advert.id, address, advert.models, advert.unlisted, advert.load, state
    )


def endpoints_of(advert: Advert) -> list[Endpoint]:
    """Where an advert says that the box is."""
    return [Endpoint(address, advert.port, tls=True, rest=0) for address in advert.addresses]


def find(timeout_s: float, *, interface: str = "", paired: Collection[str] = ()) -> list[Sighting]:
    """Listen for a while, and list the boxes that were heard of.

    Args:
        timeout_s: how long.
        interface: on this network interface alone; "" for all.
        paired: ids of the boxes that always have room in the list.

    Raises:
        SettingsError: there is no such interface.
        OSError: the interface takes no multicast.
    """
    sightings = Sightings(paired)
    lock = threading.Lock()

    def saw(advert: Advert) -> None:
        with lock:
            sightings.saw(advert, monotonic())

    def left(gone: str) -> None:
        with lock:
            sightings.left(gone)

    browser = Browser(saw, left, interface=interface)
    browser.start()
    threading.Event().wait(timeout_s)
    browser.close()
    return sightings.list()


def locate(box: str, code: Code, *, timeout_s: float, interface: str = "") -> Endpoint:
    """Where the box is that people call `box` and that shows `code`.

    Args:
        box: its name, or where it is.
        code: what it shows; hosts of that name with another certificate are passed by.
        timeout_s: how long to look for a name.
        interface: on this network interface alone; "" for all.

    Raises:
        PairingError: no box of that name has the certificate that the code stands for.
        SettingsError: it is neither a name nor an address.
    """
    if not is_name(box):
        return _endpoint(box)
    heard: queue.Queue[Advert] = queue.Queue(_MAX_TRIED)

    def saw(advert: Advert) -> None:
        if advert.name == box and not heard.full():
            heard.put_nowait(advert)

    browser = Browser(saw, lambda _: None, interface=interface)
    browser.start()
    try:
        return _first_true(box, heard, code, monotonic() + timeout_s)
    finally:
        browser.close()


def _first_true(box: str, heard: queue.Queue[Advert], code: Code, until: float) -> Endpoint:
    """The first endpoint that has the certificate of `code`."""
    strangers = 0
    while (left_s := until - monotonic()) > 0:
        try:
            advert = heard.get(timeout=left_s)
        except queue.Empty:
            break
        if advert.id == box_id(code):
            for endpoint in endpoints_of(advert):
                if _shows(endpoint, code):
                    return endpoint
        strangers += 1
    if strangers:
        raise PairingError(
            f"none of the boxes called {box!r} has the certificate that the code stands for ("
            f"adverts heard: {strangers}); was the code typed as the box shows it? Nothing was sent"
        )
    raise PairingError(
        f"no box {box!r} was found; `wherever discover` lists those of this network, and "
        "host:port can be given instead of a name"
    )


def _shows(endpoint: Endpoint, code: Code) -> bool:
    try:
        certificate = presented_certificate(endpoint, _HANDSHAKE_S)
    except UnreachableError:
        return False
    return identity_of(fingerprint(certificate)) == code.identity


def _endpoint(text: str) -> Endpoint:
    bare = text.removeprefix("grpcs://")
    address = bare if re.search(r":[0-9]+$", bare) else f"{bare}:{DEFAULT_PORT}"
    return Endpoint.parse(f"grpcs://{address}?rest=off")
