"""Downloads from a real server that cuts, changes, lies, stalls and leads astray."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from wherever_contracts.errors import DigestError, DownloadError
from wherever_edge.downloads import Patience, download

DATA = bytes(range(256)) * 2048
SHA256 = hashlib.sha256(DATA).hexdigest()
QUICK = Patience(connect_s=5, read_s=5, attempts=4, backoff_s=0.001)


class Server:
    """Answers with what `data` and the switches say, and remembers what it was asked."""

    def __init__(self) -> None:
        self.data = DATA
        self.etag = '"one"'
        self.ranges = True
        self.status: list[int] = []
        self.cut_at: list[int] = []
        self.moved_to: list[str] = []
        self.extra_headers: dict[str, str] = {}
        self.stated_length: int | None = -1
        self.before_body: Callable[[], None] = lambda: None
        self.asked: list[dict[str, str]] = []
        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._httpd.daemon_threads = True
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._httpd.server_port}/model.bin"

    def close(self) -> None:
        self._httpd.shutdown()
        self._thread.join()
        self._httpd.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append({name.lower(): value for name, value in handler.headers.items()})
        if self.status:
            handler.send_response(self.status.pop(0))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        elif self.moved_to:
            handler.send_response(302)
            handler.send_header("Location", self.moved_to.pop(0))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            self._send(handler)

    def _send(self, handler: BaseHTTPRequestHandler) -> None:
        start = self._start(handler)
        body = self.data[start:]
        handler.send_response(206 if start else 200)
        if start:
            whole = len(self.data)
            handler.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        length = len(body) if self.stated_length == -1 else self.stated_length
        if length is not None:
            handler.send_header("Content-Length", str(length))
        for name, value in self.extra_headers.items():
            handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        self.before_body()
        cut = self.cut_at.pop(0) if self.cut_at else None
        handler.wfile.write(body[: None if cut is None else cut - start])
        handler.close_connection = True

    def _start(self, handler: BaseHTTPRequestHandler) -> int:
        wanted = handler.headers.get("Range")
        validator = handler.headers.get("If-Range", self.etag)
        if wanted is None or not self.ranges or validator != self.etag:
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "model.bin"


def fetch(url: str, target: Path, **given: object) -> Path:
    arguments = {
        "sha256": SHA256,
        "size": len(DATA),
        "max_bytes": 2 * len(DATA),
        "patience": QUICK,
        **given,
    }
    return download(url, target, **arguments)  # type: ignore[arg-type]


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_arrives_whole_and_nothing_else_stays(server: Server, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []

    assert fetch(server.url, target, progress=lambda *now: seen.append(now)) == target

    assert target.read_bytes() == DATA
    assert names(target) == ["model.bin"]
    assert seen[0] == (0, len(DATA))
    assert seen[-1] == (len(DATA), len(DATA))
    assert seen == sorted(seen)
    assert server.asked[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize("cuts", [[1], [100_000], [len(DATA) - 1], [1000, 200_000, 300_000]])
def test_a_cut_download_goes_on_where_it_was_cut(
    server: Server, target: Path, cuts: list[int]
) -> None:
    server.cut_at = list(cuts)

    fetch(server.url, target)

    assert target.read_bytes() == DATA
    asked = [each.get("range") for each in server.asked]
    assert asked == [None, *(f"bytes={cut}-" for cut in cuts)]
    assert {each.get("if-range") for each in server.asked[1:]} == {server.etag}


def test_the_next_call_goes_on_where_the_last_one_gave_up(server: Server, target: Path) -> None:
    server.cut_at = [100_000]
    with pytest.raises(DownloadError) as failed:
        fetch(server.url, target, patience=Patience(attempts=1))
    assert failed.value.retryable
    assert names(target) == ["model.bin.partial", "model.bin.partial.json"]

    seen: list[int] = []
    fetch(server.url, target, progress=lambda done, _: seen.append(done))

    assert server.asked[-1]["range"] == "bytes=100000-"
    assert seen[0] == 100_000
    assert target.read_bytes() == DATA


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, target: Path) -> None:
    server.data, server.etag, server.cut_at = bytes(len(DATA)), '"old"', [100_000]
    with pytest.raises(DownloadError):
        fetch(server.url, target, sha256=None, size=None, patience=Patience(attempts=1))
    server.data, server.etag = DATA, '"new"'

    fetch(server.url, target, sha256=None, size=None)

    assert server.asked[-1]["if-range"] == '"old"'
    assert target.read_bytes() == DATA


def test_what_was_kept_of_other_bytes_is_thrown_away_by_its_digest(
    server: Server, target: Path
) -> None:
    server.data, server.etag, server.cut_at = bytes(len(DATA)), "", [100_000]
    with pytest.raises(DownloadError):
        fetch(server.url, target, patience=Patience(attempts=1))
    server.data = DATA

    fetch(server.url, target)

    assert [each.get("range") for each in server.asked] == [None, "bytes=100000-", None]
    assert target.read_bytes() == DATA


def test_without_digest_and_validator_it_starts_anew(server: Server, target: Path) -> None:
    server.etag, server.cut_at = "", [100_000]

    fetch(server.url, target, sha256=None, size=None)

    assert [each.get("range") for each in server.asked] == [None, None]
    assert target.read_bytes() == DATA


def test_a_server_that_ignores_range_sends_all_of_it_again(server: Server, target: Path) -> None:
    server.ranges, server.cut_at = False, [100_000]

    fetch(server.url, target)

    assert server.asked[1]["range"] == "bytes=100000-"
    assert target.read_bytes() == DATA


def test_another_range_than_asked_for_starts_anew(server: Server, target: Path) -> None:
    server.cut_at = [100_000, 100_000]
    server.extra_headers = {"Content-Range": "bytes 5-9/10"}
    with pytest.raises(DownloadError):
        fetch(server.url, target, patience=Patience(attempts=1))
    note = target.with_name("model.bin.partial.json")
    assert json.loads(note.read_text())["validator"] == '"one"'

    with pytest.raises(DownloadError):
        fetch(server.url, target, patience=Patience(attempts=1))

    assert not note.exists()


def test_a_partial_file_longer_than_the_file_is_dropped(server: Server, target: Path) -> None:
    server.cut_at = [100_000]
    with pytest.raises(DownloadError):
        fetch(server.url, target, patience=Patience(attempts=1))
    target.with_name("model.bin.partial").write_bytes(DATA + DATA)
    server.status = [416]

    fetch(server.url, target)

    assert target.read_bytes() == DATA


def test_a_complete_partial_file_is_used_without_asking(server: Server, target: Path) -> None:
    server.cut_at = [100_000]
    with pytest.raises(DownloadError):
        fetch(server.url, target, patience=Patience(attempts=1))
    target.with_name("model.bin.partial").write_bytes(DATA)
    asked = len(server.asked)

    fetch(server.url, target)

    assert len(server.asked) == asked
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_a_server_in_trouble_is_asked_again(server: Server, target: Path, status: int) -> None:
    server.status = [status, status]

    fetch(server.url, target)

    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410, 501])
def test_a_server_that_says_no_is_asked_once(server: Server, target: Path, status: int) -> None:
    server.status = [status] * 4

    with pytest.raises(DownloadError, match=f"the server says {status}") as refused:
        fetch(server.url, target)

    assert len(server.asked) == 1
    assert not refused.value.retryable


def test_the_number_of_tries_is_bounded(server: Server, target: Path) -> None:
    server.status = [503] * 100

    with pytest.raises(DownloadError, match="503") as failed:
        fetch(server.url, target)

    assert len(server.asked) == QUICK.attempts
    assert failed.value.retryable


def test_wrong_bytes_are_refused_and_leave_nothing(server: Server, target: Path) -> None:
    server.data = bytes(len(DATA))

    with pytest.raises(DigestError, match=SHA256):
        fetch(server.url, target)

    assert names(target) == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("change", [-1, 1])
def test_another_length_than_is_known_is_refused_before_the_first_byte(
    server: Server, target: Path, change: int
) -> None:
    with pytest.raises(DigestError, match="bytes"):
        fetch(server.url, target, size=len(DATA) + change)

    assert not target.parent.exists()


def test_too_large_a_file_is_refused_before_the_first_byte(server: Server, target: Path) -> None:
    with pytest.raises(DownloadError, match="more than the 1000 bytes") as refused:
        fetch(server.url, target, sha256=None, size=None, max_bytes=1000)

    assert not refused.value.retryable
    assert not target.parent.exists()


def test_a_server_that_states_no_length_is_stopped_at_the_limit(
    server: Server, target: Path
) -> None:
    server.stated_length = None

    with pytest.raises(DownloadError, match="more than the 1000 bytes"):
        fetch(server.url, target, sha256=None, size=None, max_bytes=1000)

    assert names(target) == []


def test_a_server_that_sends_more_than_is_known_is_stopped(server: Server, target: Path) -> None:
    server.stated_length = None

    with pytest.raises(DigestError, match="more than 1000 bytes"):
        fetch(server.url, target, size=1000)

    assert names(target) == []


def test_a_server_that_sends_less_than_it_states_is_not_believed(
    server: Server, target: Path
) -> None:
    server.stated_length, server.ranges = len(DATA) + 1000, False

    with pytest.raises(DownloadError) as failed:
        fetch(server.url, target, sha256=None, size=None)

    assert failed.value.retryable
    assert len(server.asked) == QUICK.attempts
    assert not target.exists()


def test_packed_bytes_are_refused(server: Server, target: Path) -> None:
    server.extra_headers = {"Content-Encoding": "gzip"}

    with pytest.raises(DownloadError, match="packs what it sends"):
        fetch(server.url, target)


def test_a_server_that_stalls_is_left(server: Server, target: Path) -> None:
    released = threading.Event()
    server.before_body = lambda: (released.wait(20), None)[1]
    try:
        with pytest.raises(DownloadError) as failed:
            fetch(server.url, target, patience=Patience(read_s=0.1, attempts=1))
    finally:
        released.set()
    assert failed.value.retryable


def test_a_server_that_drips_is_left(server: Server, target: Path) -> None:
    patience = Patience(window_s=0, min_bytes_per_s=1e12, attempts=1)

    with pytest.raises(DownloadError, match="the server sent"):
        fetch(server.url, target, patience=patience)

    assert "model.bin.partial" in names(target)


def test_the_time_for_everything_is_bounded(server: Server, target: Path) -> None:
    server.status = [503] * 1000
    patience = Patience(total_s=0.3, attempts=1000, backoff_s=0.01)

    with pytest.raises(DownloadError):
        fetch(server.url, target, patience=patience)

    assert 1 <= len(server.asked) < 1000


def test_redirects_are_followed_a_few_times(server: Server, target: Path) -> None:
    server.moved_to = ["/elsewhere", server.url]

    fetch(server.url, target)

    assert target.read_bytes() == DATA


def test_endless_redirects_end(server: Server, target: Path) -> None:
    server.moved_to = ["/again"] * 50

    with pytest.raises(DownloadError, match="redirected more than 5 times"):
        fetch(server.url, target)


@pytest.mark.parametrize("there", ["file:///etc/passwd", "ftp://example.org/x", "gopher://x/"])
def test_a_redirect_to_another_kind_of_address_is_refused(
    server: Server, target: Path, there: str
) -> None:
    server.moved_to = [there]

    with pytest.raises(DownloadError):
        fetch(server.url, target)

    assert not target.parent.exists()


def test_a_callers_headers_go_to_no_other_host(server: Server, target: Path) -> None:
    other = Server()
    try:
        server.moved_to = [other.url]
        fetch(server.url, target, headers={"Authorization": "Bearer secret"})
    finally:
        other.close()

    assert server.asked[0]["authorization"] == "Bearer secret"
    assert "authorization" not in other.asked[0]


def test_a_proxy_is_asked_when_one_is_given(server: Server, target: Path) -> None:
    proxy = server.url.removesuffix("/model.bin")

    fetch("http://models.invalid/model.bin", target, proxy=proxy)

    assert server.asked[0]["host"] == "models.invalid"


def test_a_proxy_of_the_environment_is_asked(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/model.bin"))

    fetch("http://models.invalid/model.bin", target)

    assert server.asked[0]["host"] == "models.invalid"


def test_a_proxy_with_a_wrong_address_is_named(server: Server, target: Path) -> None:
    with pytest.raises(DownloadError, match="proxy"):
        fetch(server.url, target, proxy="nonsense://x")


def test_no_server_is_an_error_that_may_pass(target: Path) -> None:
    closed = Server()
    closed.close()

    with pytest.raises(DownloadError) as failed:
        fetch(closed.url, target)

    assert failed.value.retryable


def test_secrets_in_an_address_are_not_repeated(server: Server, target: Path) -> None:
    server.status = [403]
    url = server.url.replace("http://", "http://user:hunter2@") + "?signature=s3cret"

    with pytest.raises(DownloadError) as refused:
        fetch(url, target)

    assert "hunter2" not in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_file_of_this_machine_is_copied_and_checked(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "with space.bin"
    source.write_bytes(DATA)

    fetch(source.as_uri(), target)

    assert target.read_bytes() == DATA
    with pytest.raises(DigestError):
        fetch(source.as_uri(), target, sha256="0" * 64)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("there", ["nothing", "."])
def test_a_file_address_of_no_file_is_refused(tmp_path: Path, target: Path, there: str) -> None:
    with pytest.raises(DownloadError) as refused:
        fetch((tmp_path / there).as_uri(), target)

    assert not refused.value.retryable


def test_a_file_that_is_there_stays_until_the_new_one_is_whole(
    server: Server, target: Path
) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    server.data = bytes(len(DATA))
    with pytest.raises(DigestError):
        fetch(server.url, target)
    assert target.read_bytes() == b"old"

    server.data = DATA
    fetch(server.url, target)

    assert target.read_bytes() == DATA


def test_a_file_for_which_there_is_no_room_is_not_begun(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))

    with pytest.raises(DownloadError, match=r"no room in .*: 524288 bytes to come, 1000 free"):
        fetch(server.url, target)

    assert not target.with_name("model.bin.partial").exists()


def test_a_place_that_cannot_be_written_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(DownloadError) as refused:
        fetch(server.url, tmp_path / "file" / "model.bin")

    assert not refused.value.retryable


def test_a_server_that_nobody_vouches_for_is_left_at_once(target: Path, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_made(tmp_path / "both.pem"))
    accepted = 0
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            nonlocal accepted
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                accepted += 1
                with connection, suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(DownloadError, match="certificate") as refused:
            fetch(f"https://localhost:{listening.getsockname()[1]}/model.bin", target)
    assert not refused.value.retryable
    assert accepted == 1


def self_made(path: Path) -> Path:
    """A key and a certificate that it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(
        key.private_bytes(pem, form, serialization.NoEncryption()) + certificate.public_bytes(pem)
    )
    return path


FULL_DISK = """
import resource, sys
from pathlib import Path
from wherever_contracts.errors import DownloadError
from wherever_edge.downloads import download
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    download(sys.argv[1], Path(sys.argv[2]), max_bytes=10_000_000)
except DownloadError as error:
    print(error.retryable, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file sizes cannot be limited on Windows")
def test_a_full_disk_is_said_plainly_and_what_came_is_kept(server: Server, target: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, server.url, str(target)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert said.startswith("False")
    assert "no room left" in said
    partial = target.with_name("model.bin.partial")
    assert partial.stat().st_size == 100_000

    fetch(server.url, target, sha256=None, size=None)

    assert server.asked[-1]["range"] == "bytes=100000-"
    assert target.read_bytes() == DATA
