"""What a server has to protect, decided from where it listens and what it was told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wherever_contracts.errors import SettingsError
from wherever_edge.oip.endpoints import is_loopback


@dataclass(frozen=True, slots=True)
class Asked:
    """What a server was told about its protection; None means what is usual.

    Attributes:
        tls: whether to speak TLS.
        keys: whether calls need an API key.
        certificate: whether a certificate was given.
        insecure: whether it may go without either off loopback.
        reached_by: how others reach what listens on loopback alone, such as "a trusted proxy";
            calls need a key then. "" where nobody else does.
    """

    tls: bool | None = None
    keys: bool | None = None
    certificate: bool = False
    insecure: bool = False
    reached_by: str = ""


@dataclass(frozen=True, slots=True)
class Protection:
    """What a server does.

    Attributes:
        tls: it speaks TLS.
        keys: calls need an API key.
        warning: what its owner should know; "" for nothing.
    """

    tls: bool
    keys: bool
    warning: str = ""

    @property
    def exposed(self) -> bool:
        """Whether others reach it without what is needed there; it is not administered then."""
        return bool(self.warning)


def protection(addresses: Sequence[str], asked: Asked) -> Protection:
    """What a server does that listens on these addresses.

    On loopback alone nothing is needed, and keys are where others reach it all the same. Elsewhere
    TLS and keys are, unless its owner takes the risk by name; and a key is never taken where
    everybody on the way could read it.

    Raises:
        SettingsError: what was asked for is not safe there, or contradicts itself.
    """
    if asked.certificate and asked.tls is False:
        raise SettingsError("a certificate was given and TLS turned off; leave one of them out")
    if all(map(is_loopback, addresses)):
        return _on_loopback(asked)
    where = ", ".join(address for address in addresses if not is_loopback(address))
    return _off_loopback(where, asked)


def _on_loopback(asked: Asked) -> Protection:
    tls, by = bool(asked.tls or asked.certificate), asked.reached_by
    if not by or asked.keys is not False:
        return Protection(tls=tls, keys=bool(asked.keys or by))
    if not asked.insecure:
        raise SettingsError(
            f"it is reached by {by}, so API keys are needed although it listens on this machine "
            "alone; leave keys on, or say --insecure to go without them"
        )
    return Protection(tls, keys=False, warning=f"it is reached by {by}: without keys")


def _off_loopback(where: str, asked: Asked) -> Protection:
    tls = asked.tls is not False
    keys = asked.keys is not False and (tls or asked.keys is True)
    if not tls and asked.keys:
        raise SettingsError(f"on {where} keys need TLS, or whoever sees a call has its key")
    if tls and keys:
        return Protection(tls=True, keys=True)
    lacking = "keys" if tls else "encryption and keys"
    if not asked.insecure:
        raise SettingsError(
            f"{where} is reached from other machines, so TLS and API keys are needed there; listen "
            f"on 127.0.0.1, or say --insecure to go without {lacking}"
        )
    warning = f"whoever reaches {where} can send calls and read the answers: without {lacking}"
    return Protection(tls, keys, warning)
