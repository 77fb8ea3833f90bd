"""A registry made by the real commands' code, and a static web server that can be made to fail."""

from __future__ import annotations

import functools
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wherever_contracts.errors import UpdateError
from wherever_convert.builder import build_with_golden
from wherever_edge.packages.package import Package, open_directory
from wherever_edge.packages.store import Store
from wherever_edge.transfer import Patience
from wherever_edge.updates.agent import UpdateAgent
from wherever_gateway.registry.repository import Repository

HASTY = Patience(connect_s=2.0, read_s=0.3, total_s=1.0, attempts=2, backoff_s=0.001, window_s=0.2)


class StaticServer:
    """Serves a directory, with ranges. What is set here bends what it sends.

    `bend` changes the bytes of a file; `budget` is how many bytes of bodies it sends before every
    connection breaks; `stall` is how many bytes of a body it sends before it sends no more; what
    is asked for a path that `endless` is part of has no end; `moved_to` is another server.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bend: Callable[[str, bytes], bytes] = lambda _, data: data
        self.budget: int | None = None
        self.stall: int | None = None
        self.endless = ""
        self.header = ""
        self.moved_to = ""
        self.sent = 0
        self.asked: list[str] = []
        self.released = threading.Event()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def heal(self) -> None:
        """Serve what is there, from now on."""
        self.bend, self.budget, self.stall = (lambda _, data: data), None, None
        self.endless = self.header = self.moved_to = ""
        self.released.set()
        self.released = threading.Event()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        if self.moved_to:
            handler.send_response(302)
            handler.send_header("Location", self.moved_to + handler.path)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        path = self.directory / handler.path.lstrip("/")
        if not path.is_file():
            handler.send_error(404)
            return
        data = self.bend(handler.path, path.read_bytes())
        start = int((re.findall(r"bytes=(\d+)-", handler.headers.get("Range", "")) or [0])[0])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.header:
            handler.send_header("X-Huge", self.header)
        if self.endless and self.endless in handler.path:
            self._send_for_ever(handler, data)
            return
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        self._send(handler, data[start:])

    def _send_for_ever(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.close_connection = True
        handler.end_headers()
        with suppress(OSError):
            handler.wfile.write(body)
            while True:
                handler.wfile.write(bytes(65536))

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        with self._lock:
            allowed = len(body) if self.budget is None else min(len(body), self.budget - self.sent)
            self.sent += allowed
        with suppress(OSError):
            handler.wfile.write(body[: allowed if self.stall is None else self.stall])
        if self.stall is not None:
            handler.wfile.flush()
            self.released.wait(10)
        if allowed < len(body) or self.stall is not None:
            handler.close_connection = True

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class Fleet:
    """A central team with a registry, and a device that follows it."""

    def __init__(self, root: Path, home: Path, build: Callable[[str, str], Path]) -> None:
        self.root = root
        self.home = home
        self._build = build
        self.repository = Repository(root / "repo", root / "keys")
        self.first_root = self.repository.create(expires_days=30)
        self.server = StaticServer(root / "repo")

    def build(self, version: str, *, name: str = "scales") -> Package:
        """A package of that version, with golden samples."""
        folder = self.root / f"{name}-{version}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._build(name, version), folder)
        return open_directory(folder)

    def publish(self, version: str, channel: str = "stable", *, name: str = "scales") -> Any:
        """Publish a version, in a channel."""
        package = self.build(version, name=name)
        self.repository.publish(package, channel)
        return package

    def agent(self, **arguments: Any) -> UpdateAgent:
        """The device's agent; it was given the root."""
        given = {"root": self.first_root.read_bytes(), "patience": HASTY, **arguments}
        return UpdateAgent(self.home, self.server.url, metadata_patience=HASTY, **given)

    def update(self, *names: str, **arguments: Any) -> Any:
        """One round for `scales`, or for other names."""
        return self.agent(**arguments).update(names or ("scales",))

    def store(self) -> Store:
        """What the device's client would look at."""
        return Store(signed=self.home / "signed")

    def serves(self, name: str = "scales") -> str:
        """The version that the device serves, checked to the last byte."""
        package = self.store().get(name)
        assert package.trust == "signed"
        package.verify()
        return package.version

    def refusal(self) -> str:
        """The kind of error of a round that has to fail."""
        try:
            report = self.update()
        except UpdateError as error:
            return error.kind
        (refused,) = report.refused
        return refused.kind


@pytest.fixture(scope="session")
def proven_scales(
    tmp_path_factory: pytest.TempPathFactory, build_scales: Callable[..., Package]
) -> Callable[[str, str], Path]:
    """Builds the `scales` package with golden samples, each name and version once."""

    @functools.cache
    def build(name: str, version: str) -> Path:
        plain = build_scales(tmp_path_factory.mktemp("proven") / name, name=name, version=version)
        described = json.loads((plain.root / "model.json").read_bytes())
        return build_with_golden(plain.root, described, [np.array([3, 1, 2], "f4")]).root

    return build


@pytest.fixture
def second_server(fleet: Fleet) -> Iterator[StaticServer]:
    """Another server of the same registry."""
    server = StaticServer(fleet.root / "repo")
    yield server
    server.close()


@pytest.fixture
def fleet(tmp_path: Path, proven_scales: Callable[[str, str], Path]) -> Iterator[Fleet]:
    """A registry with scales 1.0.0 in stable, and a device that has it."""
    made = Fleet(tmp_path, tmp_path / "home", proven_scales)
    made.publish("1.0.0")
    made.update()
    assert made.serves() == "1.0.0"
    yield made
    made.server.close()
