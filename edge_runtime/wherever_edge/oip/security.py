"""What makes a connection secure: who a server is, whom a client trusts, and the client's key.

Nothing here imports cryptography before a certificate has to be made or read.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wherever_contracts.errors import SettingsError
from wherever_edge.oip.endpoints import is_loopback

if TYPE_CHECKING:
    from wherever_edge.oip.endpoints import Endpoint

# a name that every self-made certificate carries: clients that pin it ask for it, because the
# addresses of a machine change and a certificate does not
SELF_MADE_NAME = "wherever.local"

# the file in which a self-made certificate lies beside its key, for copying to clients
CERTIFICATE_NAME = "server.crt"

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


class Trust(NamedTuple):
    """What a server's certificate is checked against.

    Attributes:
        roots_pem: the only roots that count; None means the system's.
        server_name: the name that the certificate has to carry; None means the endpoint's host.
    """

    roots_pem: bytes | None = None
    server_name: str | None = None


class Way(NamedTuple):
    """How a client goes to one endpoint.

    Attributes:
        authorization: the header that is sent with every call.
        trust: what the server's certificate is checked against.
        proxied: whether a proxy may be used.
        proxy: which; None means the environment's, if any.
    """

    authorization: str | None
    trust: Trust
    proxied: bool
    proxy: str | None


@dataclass(frozen=True, slots=True)
class ClientSecurity:
    """What a client brings to a connection. Its `repr` shows no key.

    Attributes:
        api_key: sent with every call, but never off loopback without TLS.
        ca_pem: what certificates are checked against, instead of the system's roots. When it holds
            nothing but certificates of servers, such as self-made ones, each is trusted itself.
        pinned_pem: the very certificate that the server has to show; wins over `ca_pem`.
        proxy: the HTTP proxy to go through, as "http://host:port"; None takes the environment's
            for what is as far as the cloud, and none for what is nearer.
    """

    api_key: str | None = field(default=None, repr=False)
    ca_pem: bytes | None = field(default=None, repr=False)
    pinned_pem: bytes | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)

    def way_to(self, endpoint: Endpoint, *, proxied: bool) -> Way:
        """How to go to an endpoint.

        A key that is not encrypted goes through no proxy, which could read it.

        Args:
            endpoint: where to.
            proxied: whether it is far enough for a proxy that the environment names.

        Raises:
            SettingsError: the key would travel in the clear, or something given is not what it
                should be.
        """
        authorization = self.authorization(endpoint)
        proxied = (proxied or self.proxy is not None) and (endpoint.tls or authorization is None)
        trust = self.trust() if endpoint.tls else Trust()
        return Way(authorization, trust, proxied, self.proxy)

    def authorization(self, endpoint: Endpoint) -> str | None:
        """The `authorization` header of calls to an endpoint; None when there is no key.

        Raises:
            SettingsError: the key would travel in the clear, or cannot be part of a header.
        """
        if self.api_key is None:
            return None
        if not endpoint.tls and not is_loopback(endpoint.host):
            raise SettingsError(
                f"an API key is not sent to {endpoint}, where everybody on the way could read it; "
                f"write {replace(endpoint, tls=True)}, or leave api_key out"
            )
        if not (self.api_key.isascii() and self.api_key.isprintable()) or " " in self.api_key:
            raise SettingsError(
                "the API key (api_key) has characters that no key has; give the one line that "
                "`wherever gateway keys add` printed"
            )
        return f"Bearer {self.api_key}"

    def trust(self) -> Trust:
        """What the server's certificate is checked against.

        Raises:
            SettingsError: what was given is no certificate.
        """
        if self.pinned_pem is None and self.ca_pem is None:
            return Trust()
        from wherever_edge.oip import certificates  # noqa: PLC0415 (cryptography, 70 ms)

        if self.pinned_pem is not None:
            return Trust(self.pinned_pem, certificates.name_of(self.pinned_pem))
        return Trust(self.ca_pem, certificates.common_name_of_servers(self.ca_pem or b""))


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """A server's certificate, with those between it and its root, and its private key, as PEM.

    Its `repr` shows no key.
    """

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)

    @classmethod
    def load(cls, certificate_file: Path, key_file: Path) -> ServerIdentity:
        """The identity in two PEM files.

        Raises:
            SettingsError: a file cannot be read, they do not belong together, or the certificate
                has expired; the message names the file.
        """
        from wherever_edge.oip import certificates  # noqa: PLC0415 (cryptography, 70 ms)

        return certificates.load_identity(certificate_file, key_file)

    @classmethod
    def self_made(cls, directory: Path, names: Iterable[str] = ()) -> ServerIdentity:
        """The identity kept in a directory; made and kept there when there is none.

        Processes that ask at the same time get the same one.

        Args:
            directory: where it is kept; only its owner can read the key.
            names: names and addresses, beside those of this machine, that clients may use.

        Raises:
            SettingsError: the directory cannot be used, or what is there is damaged.
        """
        from wherever_edge.oip import certificates  # noqa: PLC0415 (cryptography, 70 ms)

        return certificates.kept_identity(directory, names)


def fingerprint(certificate_pem: bytes) -> str:
    """The SHA-256 of the first certificate in a PEM, of its DER form, in lower-case hex.

    Raises:
        SettingsError: there is no certificate.
    """
    return sha256(_first_der(certificate_pem)).hexdigest()


def _first_der(pem: bytes) -> bytes:
    body, end, _ = pem.partition(_BEGIN)[2].partition(_END)
    try:
        der = b64decode(b"".join(body.split()), validate=True)
    except ValueError:
        der = b""
    if not (der and end):
        raise SettingsError("there is no certificate in PEM form where one was expected")
    return der
