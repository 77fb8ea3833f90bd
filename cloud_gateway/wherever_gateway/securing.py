"""A gateway's certificate and keys, made or read as its start-up decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wherever_contracts.errors import SettingsError
from wherever_edge.oip.keys import KeyChecker, KeyStore
from wherever_edge.oip.listening import Asked, Protection, protection
from wherever_edge.oip.security import CERTIFICATE_NAME, ServerIdentity, fingerprint

_FIRST = "first"


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """How a gateway is to protect itself.

    Attributes:
        directory: where its keys and its self-made certificate are; without one there are none.
        tls: whether to speak TLS; None decides by where it listens, and so does `keys`.
        keys: whether calls need an API key.
        insecure: go without either off loopback, if `tls` or `keys` say so.
        certificate_file: a given certificate, with those between it and its root.
        key_file: its private key.
        show_first_key: when keys are needed and there is none, make one to be shown.
        reached_by: how others reach it where it listens on loopback alone; "" where nobody does.
    """

    directory: Path | None = None
    tls: bool | None = None
    keys: bool | None = None
    insecure: bool = False
    certificate_file: Path | None = None
    key_file: Path | None = None
    show_first_key: bool = False
    reached_by: str = ""


@dataclass(frozen=True, slots=True)
class Secured:
    """What a gateway protects itself with.

    Attributes:
        protection: what was decided.
        identity: who it is; None without TLS.
        certificate: the file that clients may be given.
        keys: its keys; None when it has no directory for them.
        first_key: a key that was made just now, to be shown once; "" for none.
    """

    protection: Protection
    identity: ServerIdentity | None = None
    certificate: Path | None = None
    keys: KeyChecker | None = None
    first_key: str = ""

    @property
    def fingerprint(self) -> str | None:
        """The SHA-256 of the certificate; None without TLS."""
        return fingerprint(self.identity.certificate_pem) if self.identity else None


def secure(addresses: Sequence[str], options: SecurityOptions) -> Secured:
    """Decide what a gateway at these addresses needs, and read or make it.

    Raises:
        SettingsError: what was asked for is not safe there, a file does not fit, or a key is
            needed and nobody would see the first one.
    """
    asked = Asked(
        tls=options.tls,
        keys=options.keys,
        certificate=options.certificate_file is not None or options.key_file is not None,
        insecure=options.insecure,
        reached_by=options.reached_by,
    )
    decided = protection(addresses, asked)
    identity, certificate = _identity(options, addresses) if decided.tls else (None, None)
    store = KeyStore(options.directory) if options.directory is not None else None
    first_key = _first_key(store, show=options.show_first_key) if decided.keys else ""
    keys = KeyChecker(store) if store is not None else None
    return Secured(decided, identity, certificate, keys, first_key)


def _identity(options: SecurityOptions, addresses: Sequence[str]) -> tuple[ServerIdentity, Path]:
    certificate, key = options.certificate_file, options.key_file
    if certificate is not None and key is not None:
        return ServerIdentity.load(certificate, key), certificate
    if certificate is not None or key is not None:
        raise SettingsError("a certificate and its key belong together: give both files")
    if options.directory is None:
        raise SettingsError("TLS needs a certificate, or a directory to keep a self-made one in")
    made = ServerIdentity.self_made(options.directory, addresses)
    return made, options.directory / CERTIFICATE_NAME


def _first_key(store: KeyStore | None, *, show: bool) -> str:
    """A key when there is none yet; "" when there is."""
    if store is None:
        raise SettingsError("API keys need a directory to be kept in")
    if any(not key.revoked for key in store.list()):
        return ""
    if not show:
        raise SettingsError(
            "calls need an API key here and there is none yet; make one with "
            f"`wherever gateway keys add NAME` (keys are kept in {store.directory})"
        )
    return store.add(_FIRST)
