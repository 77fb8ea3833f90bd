"""Gateways and misbehaving servers, for real."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

import wherever
from wherever.cli import main
from wherever_edge.packages.store import Package

METHOD_SERVICE = "inference.GRPCInferenceService"


class GatewayProcess:
    """`wherever gateway` in a process of its own; keeps its port when started again."""

    def __init__(
        self, port: int, packages: tuple[Path, ...], arguments: tuple[str, ...] = ()
    ) -> None:
        self._packages = [part for path in packages for part in ("--packages", str(path))]
        self._arguments = arguments
        self._port = str(port)
        self.process: subprocess.Popen[str] | None = None
        self.ready: dict = {}

    def start(self) -> None:
        command = [sys.executable, "-m", "wherever", "gateway", "--json", "--no-http"]
        self.process = subprocess.Popen(
            [*command, "--grpc-port", self._port, *self._packages, *self._arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        assert line, f"the gateway ended with {self.process.wait()} before it was ready"
        self.ready = json.loads(line)

    @property
    def address(self) -> str:
        return self.ready["grpc"]

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)
        if number == signal.SIGSTOP:  # it may answer calls until it has really stopped
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self.process.stdout.close()
        self.process = None
        return code


@pytest.fixture
def start_gateway(free_port: Callable[[], int]) -> Iterator[Callable[..., GatewayProcess]]:
    """Starts a gateway for packages; it is ended with the test."""
    with ExitStack() as stack:

        def start(*packages: Path, arguments: tuple[str, ...] = ()) -> GatewayProcess:
            gateway = GatewayProcess(free_port(), packages, arguments)
            gateway.start()
            stack.callback(gateway.kill)
            return gateway

        yield start


@pytest.fixture(scope="module")
def digits_gateway(free_port: Callable[[], int]) -> Iterator[GatewayProcess]:
    """A gateway with the model that comes with the wheel; a module's tests share it."""
    gateway = GatewayProcess(free_port(), ())
    gateway.start()
    yield gateway
    gateway.kill()


@pytest.fixture
def connect(scales_package: Package) -> Iterator[Callable[..., wherever.Client]]:
    """Makes clients of gateways that have the package `scales`; they are closed with the test."""
    clients = []

    def make(*addresses, **arguments):
        client = wherever.Client(gateways=addresses, packages=[scales_package.root], **arguments)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def call_sync(client, value, **arguments):
    return client.predict("scales", value, **arguments)


def call_async(client, value, **arguments):
    return asyncio.run(client.apredict("scales", value, **arguments))


def call_mapped(client, value, **arguments):
    (prediction,) = client.model("scales").map([value], **arguments)
    return prediction


WAYS = {"call_sync": call_sync, "call_async": call_async, "call_mapped": call_mapped}


@pytest.fixture(params=WAYS)
def ask(request: pytest.FixtureRequest) -> Callable[..., wherever.Prediction]:
    """Has one input of `scales` answered: by a call, as a coroutine, or in a batch."""
    return WAYS[request.param]


@pytest.fixture
def serve_infer() -> Iterator[Callable[..., str]]:
    """Starts a gRPC server whose ModelInfer is the given function of bytes and context."""
    with ExitStack() as stack:

        def serve(infer: Callable[[bytes, grpc.ServicerContext], bytes]) -> str:
            server = grpc.server(ThreadPoolExecutor(4))
            handler = grpc.unary_unary_rpc_method_handler(infer)
            handlers = grpc.method_handlers_generic_handler(METHOD_SERVICE, {"ModelInfer": handler})
            server.add_generic_rpc_handlers((handlers,))
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            stack.callback(lambda: server.stop(0).wait())
            return f"127.0.0.1:{port}"

        yield serve


class Listener:
    """A TCP listener that accepts, counts what it reads, and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.connections = 0
        self.received = 0
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(65536):
                self.received += len(data)
        except OSError:
            return

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # or it would still accept one more
        self._accepting.join()
        self._socket.close()
        for connection in self._open:
            connection.close()


@pytest.fixture
def silent_listener() -> Iterator[Listener]:
    with closing(Listener()) as listener:
        yield listener


@pytest.fixture
def unused_address() -> Iterator[str]:
    """An address on which nobody listens, nor anybody else can meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


Http = tuple[int, dict[str, str], bytes]
SERVER_METADATA = json.dumps(
    {"name": "s", "version": "1", "extensions": ["binary_tensor_data"]}
).encode()


class HttpServer(ThreadingHTTPServer):
    """Answers POST by a function of (path, headers, body); GET /v2 as the protocol has it."""

    daemon_threads = True
    request_queue_size = 128  # of 5, more that connect at once wait for seconds: TCP tries again

    def __init__(
        self,
        answer: Callable[..., Http],
        said: Http = (200, {}, SERVER_METADATA),
        *,
        hangs_up: bool = False,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _HttpHandler)
        self.hangs_up = hangs_up
        self.answer = answer
        self.said = said
        self.posted: list[bytes] = []
        self.asked: list[str] = []
        self.address = f"127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """Clients that stop listening are part of the tests."""


class _HttpHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self._send(*self.server.said)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posted.append(body)
        self._send(*self.server.answer(self.path, self.headers, body))

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.server.hangs_up

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def serve_http() -> Iterator[Callable[..., HttpServer]]:
    """Starts servers whose answer to POST is the given function."""
    with ExitStack() as stack:

        def start(answer: Callable[..., Http], **arguments: Any) -> HttpServer:
            server = HttpServer(answer, **arguments)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            return server

        yield start


@pytest.fixture
def answered(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict]:
    """What a command prints with --json, when it exits with this code."""

    def command(*arguments, code=0):
        with pytest.raises(SystemExit) as caught:
            main([*map(str, arguments), "--json"])
        printed = capsys.readouterr()
        assert (caught.value.code or 0, printed.err) == (code, ""), printed
        return json.loads(printed.out)

    return command
