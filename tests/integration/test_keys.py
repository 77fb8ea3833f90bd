"""A gateway's keys and certificate, as a process: who is let in, who is not, and what is shown."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

import wherever
from wherever_contracts.errors import NoRouteError, NotAllowedError
from wherever_contracts.wire import metadata
from wherever_contracts.wire.schema import HEALTH_SERVICE, INFERENCE_SERVICE
from wherever_contracts.wire.tensors import InferRequest, from_array
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.keys import KeyStore
from wherever_edge.oip.security import ClientSecurity, fingerprint

NUMBERS = (from_array("numbers", np.ones(3, np.float32)),)
REQUEST = InferRequest("scales", "", "", {}, NUMBERS, boundary="anywhere")
BODY = {"inputs": [{"name": "numbers", "datatype": "FP32", "shape": [3], "data": [1, 3, 2]}]}
ANYWHERE = ("--host", "0.0.0.0")
NOTICED_S = 5.0


class Secured:
    """A gateway that listens on every address, and its home."""

    def __init__(
        self, process: subprocess.Popen[str], packages: Path, home: Path, log: Path
    ) -> None:
        self.packages = packages
        self.process = process
        self.store = KeyStore(home / "keys")
        self.log = log
        self.ready = json.loads(process.stdout.readline())
        self.certificate = Path(self.ready["certificate"] or os.devnull).read_bytes()
        scheme = "https" if self.ready["tls"] else "http"
        self.url = f"{scheme}://localhost:{self.ready['http'].rpartition(':')[2]}"
        self.port = self.ready["grpc"].rpartition(":")[2]
        context = ssl.create_default_context()
        if self.certificate:
            context.load_verify_locations(cadata=self.certificate.decode())
        self.http = httpx.Client(base_url=self.url, verify=context, timeout=10, trust_env=False)

    def remote(self, key: str | None) -> RemoteHost:
        security = ClientSecurity(api_key=key, pinned_pem=self.certificate or None)
        scheme = "grpcs" if self.ready["tls"] else "grpc"
        endpoint = Endpoint.parse(f"{scheme}://localhost:{self.port}")
        return RemoteHost(endpoint, security=security, place="nearby")

    def channel(self) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(self.certificate)
        return grpc.secure_channel(f"localhost:{self.port}", credentials)

    def lets_in(self, key: str | None) -> bool:
        """Whether calls with this key are answered, over both protocols."""
        return self._answers_rest(key) and self._answers_grpc(key)

    def keeps_out(self, key: str | None) -> bool:
        """Whether calls with this key are refused, over both protocols."""
        return not (self._answers_rest(key) or self._answers_grpc(key))

    def _answers_rest(self, key: str | None) -> bool:
        answer = self.http.post("/v2/models/scales/infer", json=BODY, headers=bearer(key))
        assert answer.status_code in (200, 401), answer.text
        return answer.status_code == 200

    def _answers_grpc(self, key: str | None) -> bool:
        with closing(self.remote(key)) as host:
            try:
                return host.infer(REQUEST, 10).model == "scales"
            except NotAllowedError:
                return False

    def status(self, path: str, key: str | None = None, method: str = "GET", **more: str) -> int:
        return self.http.request(method, path, headers={**bearer(key), **more}).status_code

    def close(self) -> str:
        """End it; everything that it ever said."""
        self.http.close()
        self.process.terminate()
        said, _ = self.process.communicate(timeout=30)
        return json.dumps(self.ready) + said + self.log.read_text()


@pytest.fixture(scope="module")
def start(scales_package, tmp_path_factory) -> Iterator[Callable[..., Secured]]:
    """Starts gateways, each with a home of its own unless one is given."""
    started: list[Secured] = []

    def make(*arguments: str, home: Path | None = None) -> Secured:
        home = home or tmp_path_factory.mktemp("home")
        log = tmp_path_factory.mktemp("log") / "stderr"
        command = [sys.executable, "-m", "wherever", "gateway", "--json", "--home", str(home)]
        ports = ("--grpc-port=0", "--http-port=0", "--packages", str(scales_package.root))
        with log.open("w") as opened:
            process = subprocess.Popen(
                [*command, *ports, *arguments], stdout=subprocess.PIPE, stderr=opened, text=True
            )
        started.append(Secured(process, scales_package.root, home, log))
        return started[-1]

    yield make
    for gateway in started:
        if gateway.process.poll() is None:
            gateway.close()


@pytest.fixture(scope="module")
def gateway(start) -> Secured:
    return start(*ANYWHERE)


def bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}


def eventually(wanted: Callable[[], bool]) -> bool:
    until = time.monotonic() + NOTICED_S
    while not wanted():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wherever", "gateway", "keys", *arguments, "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
    )


# --- off loopback ---


def test_off_loopback_it_speaks_tls_and_shows_the_first_key_once(gateway):
    assert (gateway.ready["tls"], gateway.ready["keys"]) == (True, True)
    assert gateway.ready["fingerprint"] == fingerprint(gateway.certificate)
    assert gateway.lets_in(gateway.ready["first_key"])
    assert [key.name for key in gateway.store.list()] == ["first"]


def test_no_key_and_a_wrong_key_are_refused_over_both_protocols(gateway):
    assert gateway.keeps_out(None)
    assert gateway.keeps_out("whv_aaaaaaaa_" + "b" * 52)
    refused = gateway.http.get("/v2/models/scales")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.headers["wherever-code"] == "not_allowed"
    assert "authorization: Bearer" in refused.json()["error"]


def test_every_way_in_needs_a_key_but_asking_whether_it_is_well(gateway):
    for path in ("/v2", "/v2/models/scales", "/v2/models/scales/ready", "/v1/admin/status"):
        assert gateway.status(path) == 401
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert gateway.status(path) == 200
    with gateway.channel() as channel:
        for method in ("ServerLive", "ServerReady"):
            ask = channel.unary_unary(f"/{INFERENCE_SERVICE}/{method}")
            assert ask(b"", timeout=5) == b"\x08\x01"
    with closing(gateway.remote(None)) as host:
        host.probe(5)
        for ask in (host.server_metadata, lambda: host.model_metadata("scales")):
            with pytest.raises(NotAllowedError):
                ask()
    with closing(gateway.remote(gateway.ready["first_key"])) as host:
        assert host.server_metadata(5).name == "wherever"
        assert host.model_metadata("scales", timeout_s=5).name == "scales"


def test_watching_its_health_needs_a_key(gateway):
    with gateway.channel() as channel:
        watch = channel.unary_stream(f"/{HEALTH_SERVICE}/Watch")
        with pytest.raises(grpc.RpcError) as caught:
            next(watch(metadata.encode_health_request(), timeout=5))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_large_call_without_a_key_is_refused_and_the_next_one_is_answered(gateway):
    big = from_array("numbers", np.zeros(4_000_000, np.float32))
    with closing(gateway.remote(None)) as host, pytest.raises(NotAllowedError):
        host.infer(InferRequest("scales", "", "", {}, (big,), boundary="anywhere"), 10)
    refused = gateway.http.post("/v2/models/scales/infer", content=b"x" * 16_000_000)
    assert refused.status_code == 401
    assert gateway.lets_in(gateway.ready["first_key"])


def test_keys_are_added_and_revoked_while_it_runs(gateway):
    key = gateway.store.add("phone")
    assert eventually(lambda: gateway.lets_in(key))
    gateway.store.revoke("phone")
    assert eventually(lambda: gateway.keeps_out(key))


def test_a_client_that_was_connected_is_refused_once_its_key_is_revoked(gateway):
    key = gateway.store.add("tablet")
    with closing(gateway.remote(key)) as host:
        assert eventually(lambda: gateway.lets_in(key))
        host.infer(REQUEST, 10)
        gateway.store.revoke("tablet")
        assert eventually(lambda: gateway.keeps_out(key))
        with pytest.raises(NotAllowedError, match="was revoked on"):
            host.infer(REQUEST, 10)


def test_plain_http_and_plain_grpc_get_no_answer(gateway):
    with pytest.raises(httpx.HTTPError):
        httpx.get(gateway.url.replace("https", "http") + "/v2/health/live", trust_env=False)
    channel = grpc.insecure_channel(f"localhost:{gateway.port}")
    with channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(f"/{HEALTH_SERVICE}/Check")(b"", timeout=2)


def test_an_http_client_that_does_not_know_the_certificate_refuses(gateway):
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{gateway.url}/v2/health/live", trust_env=False)


# --- the client ---


def client_of(gateway: Secured, key: str | None) -> wherever.Client:
    return wherever.Client(
        [f"grpcs://localhost:{gateway.port}"],
        packages=[gateway.packages],
        api_key=key,
        ca_file=gateway.ready["certificate"],
        mode="only_in_cloud",
    )


def test_a_client_brings_its_key_and_trusts_the_certificate_in_a_file(gateway):
    key = gateway.ready["first_key"]
    with client_of(gateway, key) as client:
        prediction = client.predict("scales", np.array([1, 3, 2], np.float32))
        assert prediction.place == "cloud"
        shown = repr(client.settings) + repr(client.status()) + repr(prediction)
    assert key not in shown


def test_a_client_whose_key_is_not_known_says_what_it_lacks(gateway):
    wrong = "whv_aaaaaaaa_" + "b" * 52
    with client_of(gateway, wrong) as client, pytest.raises(NoRouteError) as caught:
        client.predict("scales", np.array([1, 3, 2], np.float32))
    assert isinstance(caught.value.causes[0], NotAllowedError)
    assert "not known" in str(caught.value)
    assert wrong not in "".join(traceback.format_exception(caught.value))


# --- administrative calls ---


def test_administrative_calls_need_an_admin_key(gateway):
    use, admin = gateway.store.add("caller"), gateway.store.add("owner", "admin")
    assert eventually(lambda: gateway.lets_in(use))
    for method, path in (("GET", "/v1/admin/status"), ("POST", "/v1/admin/reload")):
        assert gateway.status(path, None, method) == 401
        assert gateway.status(path, use, method) == 403
        assert gateway.status(path, admin, method) == 200
    assert gateway.lets_in(admin)
    said = gateway.http.get("/v1/admin/status", headers=bearer(admin)).json()
    assert [model["name"] for model in said["models"]] == ["scales"]
    assert (said["tls"], said["keys"], said["calls"]["working"]) == (True, True, 0)
    (loaded,) = said["loaded"]
    assert (loaded["model"], loaded["in_memory"]) == ("scales", True)
    assert loaded["plan"].startswith("onnxruntime on cpu, float32")
    assert isinstance(said["counts"], dict)


def test_a_reload_serves_packages_that_came_later(start, build_scales, tmp_path):
    shelf = tmp_path / "shelf"
    build_scales(shelf / "scales")
    gateway = start("--packages", str(shelf))
    build_scales(shelf / "later", name="later")
    assert gateway.status("/v2/models/later") == 404
    reloaded = gateway.http.post("/v1/admin/reload")
    assert {model["name"] for model in reloaded.json()["models"]} == {"scales", "later"}
    answer = gateway.http.post("/v2/models/later/infer", json=BODY)
    assert answer.status_code == 200, answer.text


def test_on_loopback_administration_is_open_until_there_is_a_key_but_never_to_web_pages(start):
    gateway = start()
    assert (gateway.ready["tls"], gateway.ready["keys"]) == (False, False)
    assert gateway.status("/v1/admin/status") == 200
    assert gateway.status("/v1/admin/reload", method="POST", origin="http://evil.test") == 403
    use, admin = gateway.store.add("caller"), gateway.store.add("owner", "admin")
    assert eventually(lambda: gateway.status("/v1/admin/status") == 401)
    assert gateway.status("/v1/admin/status", use) == 403
    assert gateway.status("/v1/admin/status", admin) == 200
    assert gateway.lets_in(None)


def test_a_gateway_that_is_open_to_all_is_administered_by_nobody(start):
    gateway = start(*ANYWHERE, "--no-tls", "--insecure")
    admin = gateway.store.add("owner", "admin")
    assert gateway.lets_in(None)
    for method, path in (("GET", "/v1/admin/status"), ("POST", "/v1/admin/reload")):
        assert gateway.status(path, None, method) == 404
        assert gateway.status(path, admin, method) == 404


def test_keys_can_be_asked_for_on_loopback(start):
    gateway = start("--keys")
    assert (gateway.ready["tls"], gateway.ready["keys"]) == (False, True)
    assert gateway.keeps_out(None)
    assert gateway.lets_in(gateway.ready["first_key"])


# --- start-up ---


def test_a_second_start_keeps_certificate_and_keys_and_shows_none(start, tmp_path):
    first = start(*ANYWHERE, home=tmp_path)
    key = first.ready["first_key"]
    first.close()
    second = start(*ANYWHERE, home=tmp_path)
    assert second.ready["fingerprint"] == first.ready["fingerprint"]
    assert "first_key" not in second.ready
    assert second.lets_in(key)


def test_without_anybody_to_show_it_to_no_key_is_made(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "wherever", "gateway", *ANYWHERE, "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "wherever gateway keys add NAME" in done.stderr
    assert KeyStore(tmp_path / "keys").list() == []


def test_half_a_certificate_is_refused(tmp_path):
    arguments = ("--tls-cert", str(tmp_path / "crt"), "--home", str(tmp_path), "--grpc-port=0")
    done = subprocess.run(
        [sys.executable, "-m", "wherever", "gateway", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "give both files" in done.stderr


def test_nothing_that_it_ever_says_has_a_key_but_the_ready_line_that_made_it(start):
    gateway = start(*ANYWHERE)
    first = gateway.ready.pop("first_key")
    phone = gateway.store.add("phone")
    assert eventually(lambda: gateway.lets_in(phone))
    gateway.status("/v1/admin/status", phone)
    gateway.status("/nowhere", phone)
    gateway.store.revoke("phone")
    assert eventually(lambda: gateway.keeps_out(phone))
    said = gateway.close() + gateway.store.file.read_text()
    for key in (first, phone):
        assert key.split("_")[2] not in said


# --- the command ---


def test_the_command_adds_lists_and_revokes(tmp_path):
    added = command(tmp_path, "add", "phone")
    assert added.stdout.startswith("whv_")
    assert added.stdout.count("\n") == 1
    assert "shown once" in added.stderr
    made = json.loads(command(tmp_path, "add", "owner", "--role", "admin", "--json").stdout)
    assert made["key"].startswith("whv_")
    listed = command(tmp_path, "list")
    assert "phone" in listed.stdout
    assert added.stdout.strip().split("_")[2] not in listed.stdout
    assert json.loads(command(tmp_path, "revoke", "phone", "--json").stdout)["revoked"]
    keys = json.loads(command(tmp_path, "list", "--json").stdout)["keys"]
    assert [(key["name"], key["role"], bool(key["revoked"])) for key in keys] == [
        ("phone", "use", True),
        ("owner", "admin", False),
    ]


def test_what_the_command_cannot_do_is_said_in_a_sentence(tmp_path):
    assert "there is no key yet" in command(tmp_path, "list").stdout
    for arguments, words in ((("add",), "add NAME"), (("revoke", "phone"), "no key 'phone'")):
        done = command(tmp_path, *arguments)
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr
