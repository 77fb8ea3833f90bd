"""Web servers that fork: every worker predicts on the device and in the cloud, and none hangs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

WORKERS = 4
MODES = {"device": "only_on_device", "cloud": "only_in_cloud"}

APPLICATION = """
import json, os, wherever

MODES = {"device": "only_on_device", "cloud": "only_in_cloud"}

def answers():
    found = {}
    for mode in MODES.values():
        receipt = wherever.predict("scales", [1, 1.2, 1], mode=mode).receipt
        found[receipt.place] = receipt.protocol
    return found

at_import = answers() if os.environ["AT_IMPORT"] == "yes" else {}

def app(environ, start_response):
    body = json.dumps({"pid": os.getpid(), "now": answers(), "at_import": at_import}).encode()
    start_response("200 OK", [("content-length", str(len(body)))])
    return [body]
"""


class Site:
    """A running gunicorn."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self._url = f"http://127.0.0.1:{port}/"

    def ask_every_worker(self) -> dict[int, list[dict[str, Any]]]:
        """What the workers said, each of them at least twice."""
        said: dict[int, list[dict[str, Any]]] = defaultdict(list)
        ends = time.monotonic() + 60
        with ThreadPoolExecutor(2 * WORKERS) as pool:
            while len(said) < WORKERS or min(map(len, said.values())) < 2:
                assert time.monotonic() < ends, f"only {len(said)} workers answered"
                for answer in pool.map(self._ask, range(2 * WORKERS)):
                    said[answer.pop("pid")].append(answer)
        return said

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def _ask(self, _: int) -> dict[str, Any]:
        answer = httpx.get(self._url, timeout=20, trust_env=False)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def start_site(tmp_path: Path, scales_package) -> Iterator[Callable[..., Site]]:
    """Starts gunicorn with an application that predicts through one gateway."""
    (tmp_path / "shop.py").write_text(APPLICATION)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        # gunicorn's control socket goes there, and its path must be short
        home = stack.enter_context(TemporaryDirectory(prefix="gu"))

        def start(gateway: str, *arguments: str, at_import: bool = False) -> Site:
            environment = {
                **os.environ,
                "HOME": home,
                "WHEREVER_GATEWAYS": gateway,
                "WHEREVER_PACKAGES": str(scales_package.root),
                "WHEREVER_REMOTE_TIMEOUT_S": "10",
                "AT_IMPORT": "yes" if at_import else "no",
            }
            command = [sys.executable, "-m", "gunicorn", "--chdir", str(tmp_path)]
            command += ["--workers", str(WORKERS), "--log-level", "warning"]
            command += ["--bind", f"fd://{listener.fileno()}", *arguments, "shop:app"]
            process = subprocess.Popen(
                command,
                env=environment,
                pass_fds=[listener.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.stderr.close)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return Site(process, listener.getsockname()[1])

        yield start


@pytest.mark.parametrize(
    ("arguments", "at_import", "parent", "worker"),
    [
        (["--preload"], True, "grpc", "rest"),
        (["--preload"], False, "", "grpc"),
        (["--preload", "--threads", "2"], True, "grpc", "rest"),
        ([], True, "grpc", "grpc"),
    ],
    ids=["used before the fork", "loaded before the fork", "threads", "loaded after the fork"],
)
def test_every_worker_predicts_on_the_device_and_in_the_cloud(
    start_site, start_gateway, scales_package, arguments, at_import, parent, worker
):
    gateway = start_gateway(scales_package.root, arguments=("--http", "--http-port", "0"))
    rest = gateway.ready["http"].rpartition(":")[2]
    address = f"grpc://{gateway.address}?rest={rest}"
    site = start_site(address, *arguments, at_import=at_import)
    said = site.ask_every_worker()
    assert len(said) == WORKERS
    for answers in said.values():
        for answer in answers:
            assert answer["now"] == {"device": "", "cloud": worker}
            assert answer["at_import"] == ({"device": "", "cloud": parent} if at_import else {})
    assert site.stop() == 0
    # gRPC's core has its own word about the fork
    complaints = [line for line in site.process.stderr if "fork_posix" not in line]
    assert not complaints


def test_a_forked_child_that_predicted_ends_as_any_process_does():
    """ONNX Runtime's thread for telemetry, which no child has, made children hang or abort."""
    program = """
import os, signal, sys, wherever
wherever.predict("digits", [0] * 64)
for use in (True, False):
    child = os.fork()
    if not child:
        signal.alarm(20)
        if use:
            wherever.predict("digits", [0] * 64)
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["0", "0"], done.stderr
