"""What settings give access to: packages on this machine, and hosts with whom to trust there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherever_contracts.errors import SettingsError
from wherever_edge.oip.security import ClientSecurity
from wherever_edge.packages.store import Store

if TYPE_CHECKING:
    from wherever._settings import Settings


class Target(NamedTuple):
    """A host to be asked.

    Attributes:
        name: what the client calls it.
        address: where it is, as a person would write it.
        security: what is brought to it.
    """

    name: str
    address: str
    security: ClientSecurity


def open_store(settings: Settings) -> Store:
    """The packages that the settings name, and those that were added or came as signed updates."""
    return Store.of_home(settings.home, settings.packages)


def gateway_security(settings: Settings) -> ClientSecurity:
    """What the settings bring to a connection with a gateway.

    Raises:
        SettingsError: the file of certificates cannot be read.
    """
    ca_pem = None
    if settings.ca_file is not None:
        try:
            ca_pem = settings.ca_file.read_bytes()
        except OSError as error:
            raise SettingsError(f"ca_file {settings.ca_file}: {error.strerror}") from error
    key = settings.api_key.get_secret_value() if settings.api_key else None
    return ClientSecurity(api_key=key, ca_pem=ca_pem, proxy=settings.proxy)


def box_targets(settings: Settings) -> list[Target]:
    """The paired boxes, where they were last reached.

    Raises:
        PairingError: the file of paired boxes is damaged.
    """
    from wherever_edge.box.pins import Pins  # noqa: PLC0415 (only who asks pays for it)

    return [
        Target(
            box.name,
            str(box.endpoint),
            ClientSecurity(api_key=box.api_key, pinned_pem=box.certificate_pem.encode()),
        )
        for box in (Pins.load(settings.home).boxes if settings.nearby else ())
    ]


def gateway_targets(settings: Settings) -> list[Target]:
    """The gateways, in their order; an address that cannot be read is its own name.

    Raises:
        SettingsError: the file of certificates cannot be read.
    """
    security = gateway_security(settings)
    return [Target(text, text, security) for text in settings.gateways]
