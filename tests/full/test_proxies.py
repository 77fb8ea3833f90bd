"""Real proxies on the way: what does not let gRPC pass lets calls pass over REST."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

import wherever
from wherever_contracts.errors import AttemptError, UnreachableError
from wherever_contracts.wire.tensors import InferRequest, from_array, to_array
from wherever_edge.oip.certificates import make_identity
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.security import ClientSecurity
from wherever_gateway.gateway import Gateway, GatewayOptions

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

VALUES = np.arange(150_000, dtype=np.float32)
REQUEST = InferRequest("echo", "", "id", {}, (from_array("given", VALUES),), boundary="anywhere")


@pytest.fixture
def run() -> Iterator[Callable[..., None]]:
    """Runs a program beside the test, which goes on when the program listens at `port`."""
    with ExitStack() as stack:

        def start(port: int, *command: str) -> None:
            process = subprocess.Popen(command)
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
            ends = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                except OSError:
                    assert process.poll() is None, f"{command[0]} ended"
                    assert time.monotonic() < ends, f"{command[0]} does not listen"
                    time.sleep(0.02)
                else:
                    return

        yield start


@pytest.fixture(scope="module")
def gateway(echo_package) -> Iterator[Gateway]:
    gateway = Gateway(GatewayOptions((echo_package.root,), grpc_port=0, http_port=0))
    gateway.start()
    yield gateway
    gateway.drain()


def ask(address: str, security: ClientSecurity | None = None) -> str:
    """By which protocol the answers to two calls came; the values must have come back."""
    endpoint = Endpoint.parse(address)
    with closing(RemoteHost(endpoint, security=security or ClientSecurity())) as host:
        answers = [host.infer(REQUEST, 10), host.start(REQUEST, 10).result()]
        host.probe(5)
    assert all((to_array(answer.outputs[0]) == VALUES).all() for answer in answers)
    (protocol,) = {answer.protocol for answer in answers}
    return protocol


# --- a forward proxy ---


@pytest.fixture
def tinyproxy(run, debian, free_port, tmp_path) -> Callable[[str], str]:
    """Starts tinyproxy with a line of settings."""

    def start(setting: str) -> str:
        port = free_port()
        file = tmp_path / "tinyproxy.conf"
        file.write_text(
            f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nAllow 127.0.0.1\n"
            f'LogFile "{tmp_path / "tinyproxy.log"}"\nLogLevel Warning\n{setting}\n'
        )
        run(port, debian("tinyproxy", "tinyproxy"), "-d", "-c", str(file))
        return f"http://127.0.0.1:{port}"

    return start


NO_TUNNELS = "ConnectPort 1"


@pytest.mark.parametrize("named_by", ["environment", "setting"])
def test_a_forward_proxy_that_tunnels_nothing_is_passed_over_rest(
    gateway, tinyproxy, monkeypatch, named_by
):
    proxy = tinyproxy(NO_TUNNELS)
    if named_by == "environment":
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
    rest = gateway.http.rpartition(":")[2]
    security = ClientSecurity(proxy=proxy if named_by == "setting" else None)
    assert ask(f"grpc://{gateway.grpc}?rest={rest}", security) == "rest"


def test_a_forward_proxy_that_tunnels_is_passed_over_grpc(gateway, tinyproxy):
    assert ask(f"grpc://{gateway.grpc}", ClientSecurity(proxy=tinyproxy(""))) == "grpc"


def test_a_proxy_that_lets_nothing_pass_is_named_for_both_protocols(gateway, tinyproxy):
    proxy = tinyproxy(f'{NO_TUNNELS}\nUpstream http 127.0.0.1:1 "127.0.0.1"')
    with pytest.raises(AttemptError, match="over REST") as caught:
        ask(f"grpc://{gateway.grpc}?rest={gateway.http.rpartition(':')[2]}",
            ClientSecurity(proxy=proxy))  # fmt: skip
    assert isinstance(caught.value, UnreachableError)


def test_a_user_sees_rest_on_the_receipt(gateway, tinyproxy, monkeypatch, echo_package):
    monkeypatch.setenv("http_proxy", tinyproxy(NO_TUNNELS))
    monkeypatch.delenv("no_proxy", raising=False)
    rest = gateway.http.rpartition(":")[2]
    with wherever.Client(
        gateways=[f"grpc://{gateway.grpc}?rest={rest}"],
        packages=[echo_package.root],
        mode="only_in_cloud",
        remote_timeout_s=10,
    ) as client:
        answer = client.predict("echo", VALUES)
    assert answer.receipt.protocol == "rest"
    assert "over REST" in answer.explain()


# --- a reverse proxy ---

NGINX = """
daemon off;
{user}
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ }}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port} {listen};
    ssl_certificate {directory}/server.pem;
    ssl_certificate_key {directory}/server.pem;
    location / {{ proxy_pass http://{http}; proxy_http_version 1.1; }}
  }}
}}
"""


@pytest.fixture
def nginx(run, debian, free_port, gateway, tmp_path) -> Callable[[str], tuple[int, bytes]]:
    """Starts nginx in front of the gateway's REST; gives its port and certificate."""

    def start(listen: str) -> tuple[int, bytes]:
        port = free_port()
        identity = make_identity(["localhost"])
        (tmp_path / "server.pem").write_bytes(identity.certificate_pem + identity.key_pem)
        file: Path = tmp_path / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        places = {"directory": tmp_path, "port": port, "http": gateway.http}
        file.write_text(NGINX.format(user=user, listen=listen, **places))
        run(port, debian("nginx", "nginx-light"), "-c", str(file), "-p", str(tmp_path))
        return port, identity.certificate_pem

    return start


def test_a_reverse_proxy_for_http_1_1_is_passed_at_the_address_of_grpc(nginx):
    port, _ = nginx("")
    assert ask(f"grpc://127.0.0.1:{port}") == "rest"
    assert ask(f"http://127.0.0.1:{port}") == "rest"


@pytest.mark.parametrize("listen", ["ssl", "ssl http2"])
def test_a_reverse_proxy_that_ends_tls_is_passed_at_the_address_of_grpc(nginx, listen):
    port, certificate = nginx(listen)
    assert ask(f"grpcs://localhost:{port}", ClientSecurity(ca_pem=certificate)) == "rest"
    assert ask(f"https://localhost:{port}", ClientSecurity(pinned_pem=certificate)) == "rest"
