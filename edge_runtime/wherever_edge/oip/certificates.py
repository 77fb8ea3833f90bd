"""Certificates: making one for a server of ours, keeping it, and reading those that are given.

Imports cryptography; `wherever_edge.oip.security` imports it where it is needed.
"""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wherever_contracts.errors import SettingsError
from wherever_edge.oip.security import CERTIFICATE_NAME, SELF_MADE_NAME, ServerIdentity
from wherever_edge.private_files import create_private, locked, write_private

# one file holds both, so that there is never one without the other
KEPT_NAME = "server.pem"

_VALID = timedelta(days=3650)
# clocks of small devices run behind
_BACKDATED = timedelta(days=1)
_MAX_BYTES = 1 << 20


def make_identity(names: Iterable[str], now: datetime | None = None) -> ServerIdentity:
    """A new key (EC P-256) and its self-signed certificate, valid for ten years.

    Args:
        names: host names and addresses that clients may use, beside `SELF_MADE_NAME`.
        now: the time that it is made at.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _unsigned(key.public_key(), names, now or datetime.now(UTC))
    return ServerIdentity(_as_pem([certificate.sign(key, hashes.SHA256())]), _key_pem(key))


def kept_identity(directory: Path, names: Iterable[str]) -> ServerIdentity:
    """`ServerIdentity.self_made`, described there."""
    kept = directory / KEPT_NAME
    try:
        with locked(directory):
            if not kept.exists():
                made = make_identity([*names, *machine_names()])
                write_private(kept, made.certificate_pem + made.key_pem)
            identity = load_identity(kept, kept)
            _show(directory / CERTIFICATE_NAME, identity.certificate_pem)
    except OSError as error:
        words = error.strerror or str(error)
        raise SettingsError(f"no certificate can be kept in {directory}: {words}") from error
    return identity


def load_identity(certificate_file: Path, key_file: Path) -> ServerIdentity:
    """`ServerIdentity.load`, described there."""
    chain, key_pem = _read(certificate_file), _read(key_file)
    certificates = _certificates(chain, str(certificate_file))
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise SettingsError(
            f"{key_file} has no private key in PEM form that needs no password"
        ) from error
    if key.public_key() != certificates[0].public_key():
        raise SettingsError(
            f"the key in {key_file} is not that of the certificate in {certificate_file}; "
            "the server's own certificate has to be the first in its file"
        )
    _refuse_expired(certificates[0], certificate_file)
    return ServerIdentity(_as_pem(certificates), _key_pem(key))


def server_context(identity: ServerIdentity) -> ssl.SSLContext:
    """What an HTTPS server needs to speak TLS as `identity`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.TemporaryDirectory() as directory:  # which only its owner can look into
        file = Path(directory, KEPT_NAME)
        create_private(file, identity.certificate_pem + identity.key_pem)
        context.load_cert_chain(file)
    return context


def name_of(pem: bytes) -> str | None:
    """A name that the first certificate in a PEM is for, ours if it has it.

    Raises:
        SettingsError: there is no certificate.
    """
    return _preferred(_names(_certificates(pem, "the pinned certificate")[0]))


def common_name_of_servers(pem: bytes) -> str | None:
    """A name that all certificates in a PEM share when they are servers' own, else None.

    Raises:
        SettingsError: there is no certificate.
    """
    certificates = _certificates(pem, "ca_file")
    if any(map(_is_authority, certificates)):
        return None
    return SELF_MADE_NAME if all(SELF_MADE_NAME in _names(c) for c in certificates) else None


def machine_names() -> list[str]:
    """The names and addresses under which this machine may be reached."""
    import ifaddr  # noqa: PLC0415 (only where a certificate is made)

    name = socket.gethostname()
    found = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    # an IPv6 address comes with its scope; those of one link alone are no names for others
    addresses = [
        ip if isinstance(ip, str) else ip[0] for ip in found if isinstance(ip, str) or not ip[2]
    ]
    return [name, f"{name.partition('.')[0]}.local", "localhost", *addresses]


def _unsigned(
    key: ec.EllipticCurvePublicKey, names: Iterable[str], made: datetime
) -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SELF_MADE_NAME)])
    digest = x509.SubjectKeyIdentifier.from_public_key(key)
    issuer_digest = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(digest)
    return (
        x509.CertificateBuilder(name, name, key, x509.random_serial_number())
        .not_valid_before(made - _BACKDATED)
        .not_valid_after(made + _VALID)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        # nothing that this key signs is to be trusted
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(digest, critical=False)
        .add_extension(issuer_digest, critical=False)
    )


def _general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """Each name once, ours first; names that no certificate can carry are left out."""
    found: dict[x509.GeneralName, None] = {x509.DNSName(SELF_MADE_NAME): None}
    for name in names:
        try:
            address = ip_address(name)
            if not address.is_unspecified:
                found[x509.IPAddress(address)] = None
        except ValueError:
            if name and name.isascii():
                found[x509.DNSName(name)] = None
    return list(found)


def _show(file: Path, certificate_pem: bytes) -> None:
    """Lay the certificate alone beside its key, for copying to clients."""
    if not file.exists() or file.read_bytes() != certificate_pem:
        write_private(file, certificate_pem)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_BYTES)
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror or error}") from error


def _certificates(pem: bytes, where: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise SettingsError(
            f"{where} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
        ) from error


def _as_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def _key_pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _refuse_expired(certificate: x509.Certificate, file: Path) -> None:
    until = certificate.not_valid_after_utc
    if until < datetime.now(UTC):
        raise SettingsError(
            f"the certificate in {file} expired on {until:%Y-%m-%d}; put a new one in its place"
        )


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    return [*found.get_values_for_type(x509.DNSName), *addresses]


def _preferred(names: list[str]) -> str | None:
    if SELF_MADE_NAME in names:
        return SELF_MADE_NAME
    return next((name.replace("*", "a", 1) for name in names), None)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return True  # it does not say that it is none
