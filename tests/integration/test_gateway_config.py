"""A gateway that runs by a `gateway.toml`: what it follows, what it refuses, and how it is told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Queue

import numpy as np
import pytest

from wherever_contracts.errors import ForbiddenError, OverloadedError, RefusedError
from wherever_contracts.wire.tensors import InferRequest, from_array, to_array
from wherever_convert.builder import build_package
from wherever_edge.host import LocalHost
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.keys import KeyStore
from wherever_edge.oip.security import ClientSecurity
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store
from wherever_gateway.config.loading import load_config
from wherever_gateway.gateway import Gateway
from wherever_gateway.options import GatewayOptions, options_of

WHEREVER = (sys.executable, "-m", "wherever", "gateway")
HEAD = """
[listen]
grpc_port = 0
http_port = "off"
metrics_port = 0
[keys]
needed = true
[serving]
packages = ["packages"]
"""


class Configured:
    """A gateway with a file, keys and a service manager that listens."""

    def __init__(self, root: Path) -> None:
        self.file = root / "gateway.toml"
        self.packages = root / "packages"
        self.home = root / "home"
        self.keys = {name: KeyStore(self.home / "keys").add(name) for name in ("shop-1", "lab")}
        self.said: Queue[str] = Queue()
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(root / "notify"))
        self.told.settimeout(30)
        self._environment = {
            **os.environ,
            "WHEREVER_HOME": str(self.home),
            "NOTIFY_SOCKET": str(root / "notify"),
        }

    def start(self) -> None:
        command = (*WHEREVER, "--config", str(self.file), "--json")
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.ready = json.loads(self.process.stdout.readline())

    def _read(self) -> None:
        for line in self.process.stderr:
            if not line.startswith("{"):  # the log of calls
                self.said.put(line)

    def write(self, text: str) -> None:
        self.file.write_text(HEAD + text)

    def reload(self, text: str) -> str:
        """What it says to a file that says this."""
        self.write(text)
        self.process.send_signal(signal.SIGHUP)
        return self.said.get(timeout=30)

    def client(self, key: str) -> RemoteHost:
        security = ClientSecurity(api_key=self.keys[key])
        return RemoteHost(Endpoint.parse(self.ready["grpc"]), security=security)

    def heard(self) -> list[str]:
        return self.told.recv(4096).decode().splitlines()

    def close(self) -> None:
        self.told.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def add_version(package, directory: Path, version: str) -> None:
    """The package once more, under another version."""
    shutil.copytree(package.root, directory / version)
    manifest = json.loads((directory / version / "model.json").read_text())
    build_package(directory / version, {**manifest, "version": version})


def call(version: str = "") -> InferRequest:
    given = (from_array("given", np.arange(3, dtype=np.float32)),)
    return InferRequest("echo", version, "", {}, given, boundary="anywhere")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, echo_package) -> Iterator[Configured]:
    """One for all tests here, each of which leaves it with a file of its own."""
    root = tmp_path_factory.mktemp("configured")
    with closing(Configured(root)) as gateway:
        gateway.packages.mkdir()
        add_version(echo_package, gateway.packages, "1.0.0")
        gateway.write("")
        gateway.start()
        assert gateway.heard()[0] == "READY=1"
        yield gateway


@pytest.fixture
def reloaded(gateway):
    """Reloads the file, which has to be followed, and reads what the service manager hears."""

    def reload(text: str) -> str:
        said = gateway.reload(text)
        assert said.startswith("reloaded: "), said
        gateway.heard()
        gateway.heard()
        return said

    return reload


def test_what_tenants_may_do_changes_while_it_runs(gateway, reloaded):
    with closing(gateway.client("shop-1")) as shop, closing(gateway.client("lab")) as lab:
        reloaded('[tenants."shop-*"]\nmodels = []')
        with pytest.raises(ForbiddenError, match="'shop-1' may not use the model 'echo'"):
            shop.infer(call(), 10)
        lab.infer(call(), 10)
        assert 'tenants."shop-*"' in reloaded(
            '[tenants."shop-*"]\nquotas = [{requests = "1/hour"}]\n[tenants.default]\nmodels = []'
        )
        shop.infer(call(), 10)
        with pytest.raises(OverloadedError, match="quota of the API key 'shop-1'"):
            shop.infer(call(), 10)
        with pytest.raises(ForbiddenError):
            lab.infer(call(), 10)
        reloaded("")
        shop.infer(call(), 10)
        lab.infer(call(), 10)


def test_a_file_that_is_wrong_changes_nothing_and_is_said(gateway, reloaded):
    reloaded("[tenants.lab]\nmodels = []")
    for wrong, words in (
        ("[tenants.lab]\nmodles = ['*']", "did you mean 'models'?"),
        ("[tenants.lab\n", "this is not TOML"),
        ("[tenants.lab]\n[backends.b]\nendpoints=['h']\nmodels=['m']\nca_file='none'", "none"),
    ):
        said = gateway.reload(wrong)
        assert said.startswith("warning: not reloaded, and everything goes on as it was: "), said
        assert words in said
        assert gateway.heard()[0] == "RELOADING=1"
        assert gateway.heard()[0] == "READY=1"
        with closing(gateway.client("lab")) as lab, pytest.raises(ForbiddenError):
            lab.infer(call(), 10)
    gateway.file.write_text(HEAD.replace('"packages"', '"nowhere"'))
    gateway.process.send_signal(signal.SIGHUP)
    assert "nowhere is not there" in gateway.said.get(timeout=30)
    gateway.heard(), gateway.heard()
    reloaded("")


@pytest.fixture
def behind(scales_package) -> Iterator[str]:
    """A server with another model, and its address."""
    host = LocalHost(Store([scales_package.root], builtin=False), distance="cloud", runs=2)
    server = InferenceServer(host, port=0)
    server.start()
    yield f"grpc://127.0.0.1:{server.port}"
    server.drain(0)
    host.close()


def test_backends_come_and_go_while_it_runs(gateway, reloaded, behind):
    given = (from_array("numbers", np.array([0, 9, 0], np.float32)),)
    asked = InferRequest("weights", "", "", {}, given, boundary="anywhere")
    backend = f'[backends.near]\nendpoints = ["{behind}"]\nmodels = {{weights = "scales"}}\n'
    with closing(gateway.client("lab")) as lab:
        with pytest.raises(RefusedError):
            lab.infer(asked, 10)
        assert reloaded(backend) == "reloaded: backends.near\n"
        assert to_array(lab.infer(asked, 10).outputs[0]).argmax() == 1
        reloaded(f'{backend}[tenants.lab]\nboundary = "site"')
        with pytest.raises(ForbiddenError, match="site"):
            lab.infer(asked, 10)
        reloaded(f'{backend}place = "nearby"\n[tenants.lab]\nboundary = "site"')
        assert to_array(lab.infer(asked, 10).outputs[0]).argmax() == 1
        reloaded("")
        with pytest.raises(RefusedError):
            lab.infer(asked, 10)


def test_models_come_and_go_with_the_places_where_packages_are(gateway, reloaded, scales_package):
    given = (from_array("numbers", np.array([0, 9, 0], np.float32)),)
    asked = InferRequest("scales", "", "", {}, given, boundary="anywhere")

    def served_from(*packages: str) -> str:
        gateway.file.write_text(HEAD.replace('["packages"]', json.dumps(packages)))
        gateway.process.send_signal(signal.SIGHUP)
        said = gateway.said.get(timeout=30)
        gateway.heard(), gateway.heard()
        return said

    with closing(gateway.client("lab")) as lab:
        assert served_from("packages", str(scales_package.root)) == "reloaded: serving.packages\n"
        assert to_array(lab.infer(asked, 10).outputs[0]).argmax() == 1
        served_from(str(scales_package.root))
        with pytest.raises(RefusedError, match="no model 'echo'"):
            lab.infer(call(), 10)
        assert "nowhere is not there" in served_from("nowhere")
        assert to_array(lab.infer(asked, 10).outputs[0]).argmax() == 1
        reloaded("")
        lab.infer(call(), 10)
        with pytest.raises(RefusedError, match="no model 'scales'"):
            lab.infer(asked, 10)


def test_what_waits_for_a_restart_is_said(gateway, reloaded):
    said = reloaded("[tenants.lab]\n[tls]\nenabled = true\n[state]\nusage_every_s = 1")
    assert said == "reloaded: tenants.lab; at the next start: tls.enabled, state.usage_every_s\n"
    assert reloaded("") == "reloaded: tenants.lab\n"
    assert reloaded("") == "reloaded: nothing changed\n"


def test_no_call_is_lost_while_everything_changes_under_load(gateway, reloaded, echo_package):
    wanted, failures, answers = threading.Event(), [], [0] * 4

    def ask(number: int) -> None:
        with closing(gateway.client(("shop-1", "lab")[number % 2])) as host:
            while not wanted.is_set():
                try:
                    given = to_array(host.infer(call(), 30).outputs[0])
                    assert given.tolist() == [0, 1, 2]
                    answers[number] += 1
                except Exception as error:
                    failures.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 7):
        add_version(echo_package, gateway.packages, f"1.0.{number}")
        before = list(answers)
        reloaded(
            f'[models."e*"]\nmax_queue_delay_ms = {number % 2}\nmax_batch = {number + 1}\n'
            f'[tenants."shop-*"]\nweight = {number}.0\n'
            f'[[tenants."shop-*".quotas]]\nrequests = "{10**6 + number}/second"\nconcurrency = 64\n'
        )
        while any(now == then for now, then in zip(answers, before, strict=True)) and not failures:
            wanted.wait(0.005)
    wanted.set()
    for thread in threads:
        thread.join()
    assert failures == []
    with closing(gateway.client("lab")) as host:
        assert host.infer(call(), 10).version == "1.0.6"
    reloaded("")


def test_at_its_end_it_says_so_and_writes_down_what_was_used(gateway):
    with closing(gateway.client("lab")) as host:
        host.infer(call(), 10)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.heard()[0] == "STOPPING=1"
    assert gateway.process.wait(timeout=30) == 0
    done = subprocess.run(
        [*WHEREVER, "usage", "--json", "--home", str(gateway.home)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "lab" in done.stdout
    assert "shop-1" in done.stdout


def post(address: str, path: str, key: str) -> tuple[int, dict]:
    request = urllib.request.Request(f"http://{address}{path}", method="POST")
    request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_administrators_reload_over_http_and_are_told_what_changed(tmp_path):
    file = tmp_path / "gateway.toml"
    keys = KeyStore(tmp_path / "home" / "keys")
    admin, user = keys.add("root", "admin"), keys.add("lab")
    file.write_text(HEAD.replace('"off"', "0").replace('packages = ["packages"]', ""))
    home = tmp_path / "home"
    config = load_config(file, {}, home)
    options = options_of(config, home, show_first_key=False)
    gateway = Gateway(replace(options, reread=partial(load_config, file, {}, home)))
    gateway.start()
    try:
        path = "/v1/admin/reload"
        assert post(gateway.http, path, user)[0] == 403
        file.write_text(file.read_text() + "[tenants.lab]\nweight = 2.0\n[tls]\nenabled = true\n")
        status, said = post(gateway.http, path, admin)
        assert (status, said["changed"], said["at_restart"]) == (
            200,
            ["tenants.lab"],
            ["tls.enabled"],
        )
        file.write_text("x = 1")
        status, said = post(gateway.http, path, admin)
        assert (status, "line 1: x: there is no such key" in said["error"]) == (409, True)
        assert gateway.config.tenants["lab"].weight == 2
        assert gateway.status()["backends"] == {}
    finally:
        assert gateway.drain()


@pytest.mark.parametrize("fails", ["server", "_http"])
def test_a_front_that_fails_at_its_end_keeps_the_other_from_nothing(
    scales_package, monkeypatch, caplog, fails
):
    gateway = Gateway(GatewayOptions((scales_package.root,), grpc_port=0, http_port=0))
    gateway.start()
    ports = [int(address.rpartition(":")[2]) for address in (gateway.grpc, gateway.http)]
    drain = getattr(gateway, fails).drain

    def fail(grace_s):
        drain(grace_s)
        raise RuntimeError("it broke")

    monkeypatch.setattr(getattr(gateway, fails), "drain", fail)
    assert not gateway.drain()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
    assert "failed while it was drained" in caplog.text
    assert "it broke" in caplog.text


def test_options_win_over_the_file(tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text('[listen]\naddress = "0.0.0.0"\ngrpc_port = 1\n[keys]\nneeded = true')
    arguments = ("--config", str(file), "--host", "127.0.0.1", "--grpc-port=0", "--no-http")
    command = (*WHEREVER, *arguments, "--metrics-port=0", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ready = json.loads(process.stdout.readline())
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert ready["grpc"].startswith("127.0.0.1:")
    assert not ready["grpc"].endswith(":1")
    assert (ready["http"], ready["keys"]) == (None, True)
    assert ready["metrics"].startswith("127.0.0.1:")


@pytest.mark.parametrize(
    "unsafe",
    [
        'address = "0.0.0.0"\n[keys]\nneeded = false',
        'trusted_proxies = ["10.0.0.1"]\n[keys]\nneeded = false',
        'metrics_address = "0.0.0.0"\n[keys]\nneeded = false',
    ],
)
def test_it_does_not_start_without_keys_where_others_reach_it(tmp_path, answered, unsafe):
    file = tmp_path / "gateway.toml"
    file.write_text(f"[listen]\ngrpc_port = 0\nhttp_port = 0\nmetrics_port = 0\n{unsafe}")
    error = answered("gateway", "--config", file, code=1)["error"]
    assert "keys are needed" in error["message"]
    assert "insecure" in error["message"]
    assert [fault[0] for fault in error["faults"]] == ["listen.address"]
