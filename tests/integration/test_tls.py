"""TLS between our client and our server: who is trusted, and what is sent to whom."""

from __future__ import annotations

import socket
import ssl
import stat
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wherever_contracts.errors import SettingsError, UnreachableError, UntrustedPeerError
from wherever_contracts.wire.tensors import InferRequest, from_array
from wherever_edge.host import LocalHost
from wherever_edge.oip.certificates import make_identity, server_context
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.keys import KeyChecker, KeyStore
from wherever_edge.oip.security import ClientSecurity, ServerIdentity, fingerprint
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store

NUMBERS = np.array([1, 3, 2], np.float32)
GIVEN = (from_array("numbers", NUMBERS),)
REQUEST = InferRequest("scales", "", "", {}, GIVEN, boundary="anywhere")
SECRET = b"not-for-strangers" * 100
SENSITIVE = InferRequest(
    "scales", "", SECRET.decode(), {"secret": SECRET.decode()}, (), boundary="anywhere"
)
KEY = "whv_aaaaaaaa_" + "s" * 52


@pytest.fixture(scope="module")
def identity() -> ServerIdentity:
    return make_identity(["localhost", "127.0.0.1"])


@pytest.fixture(scope="module")
def other() -> ServerIdentity:
    return make_identity(["localhost", "127.0.0.1"])


@pytest.fixture
def serve(scales_package) -> Iterator[Callable[..., InferenceServer]]:
    """Starts servers of the `scales` model; they are ended with the test."""
    with ExitStack() as stack:

        def start(
            identity: ServerIdentity | None, port: int = 0, keys: KeyChecker | None = None
        ) -> InferenceServer:
            host = LocalHost(Store([scales_package.root]), distance="cloud")
            server = InferenceServer(host, port=port, identity=identity, keys=keys)
            server.start()
            stack.callback(server.drain, 0)
            return server

        yield start


@pytest.fixture
def remote() -> Iterator[Callable[..., RemoteHost]]:
    """Makes hosts that go to a port of this machine; they are closed with the test."""
    with ExitStack() as stack:

        def make(port: int, address: str = "127.0.0.1", **security: object) -> RemoteHost:
            endpoint = Endpoint.parse(f"grpcs://{address}:{port}")
            host = RemoteHost(endpoint, security=ClientSecurity(**security))
            return stack.enter_context(closing(host))

        yield make


class Stranger:
    """Accepts TCP connections, speaks TLS when given a context, and keeps what it reads."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._context = context
        self.raw = bytearray()
        self.decrypted = bytearray()
        self._pool = ThreadPoolExecutor(16)
        self._pool.submit(self._accept)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._pool.submit(self._talk, connection)

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._shake(connection) if self._context else self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        while data := connection.recv(65536):
            self.raw += data
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    def _shake(self, connection: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_side=True)
        while data := connection.recv(65536):
            self.raw += data
            incoming.write(data)
            try:
                tls.do_handshake()
                self.decrypted += tls.read()
            except ssl.SSLWantReadError:
                pass
            finally:
                connection.sendall(outgoing.read())

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._pool.shutdown(wait=False)


def untrusted(host: RemoteHost, request: InferRequest = REQUEST) -> str:
    with pytest.raises(UntrustedPeerError) as caught:
        host.infer(request, 5)
    with pytest.raises(UntrustedPeerError):
        host.start(request, 5).result()
    with pytest.raises(UntrustedPeerError):
        host.probe(5)
    return str(caught.value)


# --- who is trusted ---


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_the_pinned_certificate_is_trusted_at_any_address(serve, remote, address):
    pinned = make_identity([])  # for no address at all
    host = remote(serve(pinned).port, address, pinned_pem=pinned.certificate_pem)
    assert host.infer(REQUEST, 5).model == "scales"
    host.probe(5)


def test_a_self_made_certificate_is_trusted_as_ca_file_at_any_address(serve, remote, other):
    kept = make_identity([])
    both = other.certificate_pem + kept.certificate_pem
    for given in (kept.certificate_pem, both):
        assert remote(serve(kept).port, ca_pem=given).infer(REQUEST, 5).model == "scales"


def test_another_certificate_than_the_pinned_one_is_not_trusted(serve, remote, identity, other):
    words = untrusted(remote(serve(other).port, pinned_pem=identity.certificate_pem))
    assert "CERTIFICATE_VERIFY_FAILED" in words
    assert "ca_file" in words
    words = untrusted(remote(serve(other).port, ca_pem=identity.certificate_pem))
    assert "CERTIFICATE_VERIFY_FAILED" in words


def test_a_self_made_certificate_is_not_trusted_unasked(serve, remote, identity):
    assert "ca_file" in untrusted(remote(serve(identity).port))


def test_the_system_roots_do_not_count_beside_a_pin(serve, remote, identity):
    authority = Authority()
    host = remote(serve(authority.issue("localhost")).port, pinned_pem=identity.certificate_pem)
    untrusted(host)


def test_a_certificate_that_changed_while_connected_is_not_trusted(serve, remote, identity, other):
    server = serve(identity)
    host = remote(server.port, pinned_pem=identity.certificate_pem)
    assert host.infer(REQUEST, 5).model == "scales"
    server.drain(0)
    serve(other, port=server.port)
    untrusted(host)


def test_an_expired_certificate_is_not_trusted(serve, remote):
    expired = make_identity(["127.0.0.1"], now=datetime.now(UTC) - timedelta(days=4000))
    words = untrusted(remote(serve(expired).port, pinned_pem=expired.certificate_pem))
    assert "certificate has expired" in words
    assert "clock" in words


class Authority:
    """Issues certificates, as a company's own authority does."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
        authority = x509.BasicConstraints(ca=True, path_length=None)
        made = self._builder(self._name, self._key).add_extension(authority, critical=True)
        self.pem = self._signed(made)

    def issue(self, name: str) -> ServerIdentity:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        made = self._builder(subject, key).add_extension(names, critical=False)
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return ServerIdentity(
            self._signed(made), key.private_bytes(serialization.Encoding.PEM, *form)
        )

    def _builder(self, subject: x509.Name, key) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        number = x509.random_serial_number()
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), number)
        return builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))

    def _signed(self, builder: x509.CertificateBuilder) -> bytes:
        made = builder.sign(self._key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)


def test_an_authority_is_trusted_for_the_names_that_it_certified(serve, remote):
    authority = Authority()
    port = serve(authority.issue("localhost")).port
    assert remote(port, "localhost", ca_pem=authority.pem).infer(REQUEST, 5).model == "scales"
    words = untrusted(remote(port, "127.0.0.1", ca_pem=authority.pem))
    assert "for other names" in words
    untrusted(remote(port, "localhost", ca_pem=Authority().pem))


def test_a_pin_may_be_of_a_certificate_that_an_authority_issued(serve, remote):
    issued = Authority().issue("gateway.example")
    host = remote(serve(issued).port, pinned_pem=issued.certificate_pem)
    assert host.infer(REQUEST, 5).model == "scales"


# --- what is sent ---


def test_a_stranger_with_another_certificate_reads_nothing_of_the_call(remote, identity, other):
    with closing(Stranger(server_context(other))) as stranger:
        words = untrusted(
            remote(stranger.port, pinned_pem=identity.certificate_pem, api_key=KEY), SENSITIVE
        )
    assert stranger.raw
    assert not stranger.decrypted
    assert SECRET[:17] not in stranger.raw
    assert KEY.encode() not in stranger.raw
    assert KEY not in words


def test_a_listener_without_tls_reads_nothing_of_the_call(remote, identity):
    with closing(Stranger()) as stranger:
        words = untrusted(
            remote(stranger.port, pinned_pem=identity.certificate_pem, api_key=KEY), SENSITIVE
        )
    assert "does not speak TLS" in words
    assert stranger.raw.startswith(b"\x16\x03")  # a handshake and nothing else
    assert SECRET[:17] not in stranger.raw
    assert KEY.encode() not in stranger.raw


def test_a_plain_server_of_ours_is_said_to_speak_no_tls(serve, remote, identity):
    words = untrusted(remote(serve(None).port, pinned_pem=identity.certificate_pem))
    assert "does not speak TLS" in words


def test_nobody_listening_is_unreachable_and_not_untrusted(remote, identity, unused_address):
    host = remote(int(unused_address.rpartition(":")[2]), pinned_pem=identity.certificate_pem)
    with pytest.raises(UnreachableError) as caught:
        host.infer(REQUEST, 5)
    assert type(caught.value) is UnreachableError


def test_nothing_older_than_tls_1_2_is_spoken(serve, identity):
    port = serve(identity).port
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):  # of how old that is
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    for one in (port, None):
        with ExitStack() as stack:
            stranger = stack.enter_context(closing(Stranger(server_context(identity))))
            address = ("127.0.0.1", one or stranger.port)
            connection = stack.enter_context(socket.create_connection(address, 5))
            with pytest.raises(OSError, match=r"SSL|EOF|reset"):
                context.wrap_socket(connection)


# --- keys on the way ---


def test_a_key_is_not_sent_off_loopback_without_tls():
    for address in ("grpc://192.0.2.1:8001", "grpc://gateway.example"):
        with pytest.raises(SettingsError, match="grpcs://") as caught:
            RemoteHost(Endpoint.parse(address), security=ClientSecurity(api_key=KEY))
        assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
def test_a_key_that_fits_no_header_is_refused_without_being_shown(key):
    if not key:
        key = "\x00"
    with pytest.raises(SettingsError) as caught:
        RemoteHost(Endpoint.parse("127.0.0.1"), security=ClientSecurity(api_key=key))
    assert key not in str(caught.value)


def test_no_key_shows_in_a_repr(identity):
    assert KEY not in repr(ClientSecurity(api_key=KEY))
    assert "PRIVATE" not in repr(identity)


def test_a_key_goes_through_a_proxy_only_when_it_is_encrypted(
    serve, remote, identity, silent_listener, monkeypatch, tmp_path
):
    monkeypatch.setenv("http_proxy", f"http://{silent_listener.address}")
    monkeypatch.delenv("no_proxy", raising=False)
    store = KeyStore(tmp_path)
    key = store.add("phone")
    port = serve(None, keys=KeyChecker(store)).port
    security = ClientSecurity(api_key=key, proxy=f"http://{silent_listener.address}")
    with closing(RemoteHost(Endpoint.parse(f"127.0.0.1:{port}"), security=security)) as host:
        assert host.infer(REQUEST, 5).model == "scales"
    assert silent_listener.connections == 0


def test_a_given_proxy_is_asked_for_a_tunnel_and_reads_nothing_in_it(serve, remote, identity):
    with closing(Tunnel()) as tunnel:
        host = remote(
            serve(identity).port,
            pinned_pem=identity.certificate_pem,
            proxy=f"http://127.0.0.1:{tunnel.port}",
        )
        assert host.infer(REQUEST, 5).model == "scales"
        assert bytes(tunnel.raw).startswith(b"CONNECT 127.0.0.1:")
        assert b"numbers" not in tunnel.raw


class Tunnel:
    """An HTTP proxy that knows CONNECT, and keeps what passes."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.raw = bytearray()
        self._pool = ThreadPoolExecutor(16)
        self._open: list[socket.socket] = []
        self._pool.submit(self._accept)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                self._pool.submit(self._connect, connection)

    def _connect(self, connection: socket.socket) -> None:
        asked = connection.recv(65536)
        self.raw += asked
        host, _, port = asked.split()[1].decode().rpartition(":")
        target = socket.create_connection((host, int(port)))
        self._open.append(target)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        self._pool.submit(self._pump, target, connection)
        self._pump(connection, target)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            self.raw += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for one in (self._socket, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._pool.shutdown()
        for one in (self._socket, *self._open):
            one.close()


# --- what a server's identity is ---


def test_an_identity_is_made_once_and_kept_for_its_owner_alone(tmp_path):
    made = ServerIdentity.self_made(tmp_path / "keys", ["gateway.example", "0.0.0.0"])
    assert ServerIdentity.self_made(tmp_path / "keys") == made
    assert stat.S_IMODE((tmp_path / "keys" / "server.pem").stat().st_mode) == 0o600
    assert (tmp_path / "keys" / "server.crt").read_bytes() == made.certificate_pem
    certificate = x509.load_pem_x509_certificate(made.certificate_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns = names.get_values_for_type(x509.DNSName)
    assert {"wherever.local", "gateway.example", "localhost", socket.gethostname()} <= set(dns)
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert "127.0.0.1" in addresses
    assert "0.0.0.0" not in addresses  # which is no address of anything
    years = (certificate.not_valid_after_utc - datetime.now(UTC)).days / 365
    assert 9.9 < years < 10.1
    assert isinstance(certificate.public_key().curve, ec.SECP256R1)
    assert fingerprint(made.certificate_pem) == certificate.fingerprint(hashes.SHA256()).hex()


def test_identities_made_at_the_same_time_are_one(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: ServerIdentity.self_made(tmp_path), range(16)))
    assert len(made) == 1
    assert {file.name for file in tmp_path.iterdir()} == {".lock", "server.pem", "server.crt"}


def test_a_given_certificate_and_key_are_loaded(tmp_path, identity):
    files = write(tmp_path, identity.certificate_pem, identity.key_pem)
    assert ServerIdentity.load(*files) == identity


def test_what_does_not_fit_together_is_refused_by_file(tmp_path, identity, other):
    expired = make_identity([], now=datetime.now(UTC) - timedelta(days=4000))
    wrong = {
        "is not that of": (identity.certificate_pem, other.key_pem),
        "expired on": (expired.certificate_pem, expired.key_pem),
        "no certificate": (b"nothing", identity.key_pem),
        "no private key": (identity.certificate_pem, b"nothing"),
    }
    for words, pems in wrong.items():
        with pytest.raises(SettingsError, match=words) as caught:
            ServerIdentity.load(*write(tmp_path, *pems))
        assert str(tmp_path) in str(caught.value)
    with pytest.raises(SettingsError, match=r"missing\.crt cannot be read"):
        ServerIdentity.load(tmp_path / "missing.crt", tmp_path / "key")


def write(directory: Path, certificate: bytes, key: bytes) -> tuple[Path, Path]:
    (directory / "crt").write_bytes(certificate)
    (directory / "key").write_bytes(key)
    return directory / "crt", directory / "key"


def test_a_directory_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(SettingsError, match="no certificate can be kept in"):
        ServerIdentity.self_made(tmp_path / "keys")


@pytest.mark.parametrize("pem", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAA==\n"])
def test_what_is_no_certificate_is_said_when_the_client_is_made(pem):
    for security in (ClientSecurity(ca_pem=pem), ClientSecurity(pinned_pem=pem)):
        with pytest.raises(SettingsError, match="certificate"):
            RemoteHost(Endpoint.parse("grpcs://localhost"), security=security)
    with pytest.raises(SettingsError, match="certificate"):
        fingerprint(pem)
