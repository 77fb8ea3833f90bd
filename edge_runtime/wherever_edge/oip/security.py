"""What makes a connection secure: who a server is, whom a client trusts, and the client's key."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass, field
from hashlib import sha256

from wherever_contracts.errors import SettingsError

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class ClientSecurity:
    """What a client brings to a connection. Its `repr` shows no key.

    Attributes:
        api_key: sent with every call, but never off loopback without TLS.
        ca_pem: the roots that certificates are checked against, instead of the system's.
        pinned_pem: the very certificate that the server has to show; wins over `ca_pem`.
        proxy: the HTTP proxy to go through, as "http://host:port"; None takes the environment's
            for what is as far as the cloud, and none for what is nearer.
    """

    api_key: str | None = field(default=None, repr=False)
    ca_pem: bytes | None = field(default=None, repr=False)
    pinned_pem: bytes | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """A server's certificate and its private key, both as PEM. Its `repr` shows no key."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


def fingerprint(certificate_pem: bytes) -> str:
    """The SHA-256 of the first certificate in a PEM, of its DER form, in lower-case hex.

    Raises:
        SettingsError: there is no certificate.
    """
    return sha256(_first_der(certificate_pem)).hexdigest()


def _first_der(pem: bytes) -> bytes:
    body = pem.partition(_BEGIN)[2].partition(_END)[0]
    try:
        der = b64decode(b"".join(body.split()), validate=True)
    except ValueError:
        der = b""
    if not der:
        raise SettingsError("there is no certificate in PEM form where one was expected")
    return der
