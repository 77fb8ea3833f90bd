"""What the REST front's server costs: its parser (h11, httptools) and its loop (asyncio, uvloop).

Every combination serves in a process of its own; one keep-alive connection asks each in turn, round
by round. Said are the processor's time in the server for each request, which other load on the
machine disturbs little, and the median time of an answer.

    python benchmarks/gateway/rest_front.py [--rounds 7] [--calls 400]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

PARSERS = ("h11", "httptools", "ours")  # ours: httptools, within bounds, one packet for an answer
LOOPS = ("asyncio", "uvloop")
_TICKS = os.sysconf("SC_CLK_TCK")


class Load(NamedTuple):
    """A request that is sent again and again."""

    name: str
    body: bytes
    headers: dict[str, str]
    calls: int


class Server:
    """A front in a process of its own, and a connection to it."""

    def __init__(self, parser: str, loop: str, package: Path) -> None:
        command = [sys.executable, __file__, "--serve", parser, loop, str(package)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline())
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self.taken: dict[str, list[float]] = {}
        self.processor: dict[str, list[float]] = {}

    def ask(self, load: Load) -> None:
        """Send a request as often as it says, and note what that took."""
        before, times = self._processor_s(), self.taken.setdefault(load.name, [])
        for _ in range(load.calls):
            started = perf_counter()
            path = "/v2/models/echo/infer"
            self._connection.request("POST", path, load.body, load.headers)
            answer = self._connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            times.append(perf_counter() - started)
        spent_s = (self._processor_s() - before) / load.calls
        self.processor.setdefault(load.name, []).append(spent_s)

    def close(self) -> None:
        """End it."""
        self._connection.close()
        self._process.terminate()
        self._process.wait(20)

    def _processor_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


def loads(calls: int) -> list[Load]:
    """Three numbers and 384 in JSON, and 600 KB as raw contents."""
    small, row = ([round(x, 6) for x in np.random.default_rng(0).normal(size=n)] for n in (3, 384))
    raw = np.random.default_rng(0).normal(size=150_000).astype(np.float32).tobytes()
    said = {"name": "x", "datatype": "FP32", "shape": [150_000]}
    asked = {"parameters": {"binary_data_size": len(raw)}}
    wanted = {"parameters": {"binary_data_output": True}}
    document = json.dumps({"inputs": [{**said, **asked}], **wanted}).encode()
    size = {"inference-header-content-length": str(len(document))}
    return [
        Load("3 numbers, JSON", _json(small), {}, calls),
        Load("384 numbers, JSON", _json(row), {}, calls),
        Load("600 KB, raw", document + raw, size, max(1, calls // 4)),
    ]


def serve(parser: str, loop: str, package: Path) -> None:
    """Serve one package until the process is ended."""
    import uvicorn

    from wherever_edge.host import LocalHost
    from wherever_edge.oip.service import InferenceService
    from wherever_edge.packages.store import Store
    from wherever_gateway.rest import front
    from wherever_gateway.rest.app import RestApp
    from wherever_gateway.rest.connection import patient
    from wherever_gateway.rest.entrance import RestEntrance

    host = LocalHost(Store([package]), distance="cloud")
    entrance = RestEntrance(None, needed=False)
    service = InferenceService(host, {})
    app = RestApp(service, lambda: True, max_bytes=1 << 26, stall_s=30, entrance=entrance)
    http = patient(30) if parser == "ours" else parser
    config = uvicorn.Config(
        app.asgi, http=http, loop=loop, lifespan="off", access_log=False, log_config=None
    )
    listener = front.listen("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run([listener])


def main() -> None:
    """Measure, and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--calls", type=int, default=400)
    arguments.add_argument("--serve", nargs=3, metavar=("PARSER", "LOOP", "PACKAGE"))
    chosen = arguments.parse_args()
    if chosen.serve:
        serve(chosen.serve[0], chosen.serve[1], Path(chosen.serve[2]))
        return
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from in_cloud import echo_package

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        package = echo_package(Path(folder) / "echo").root
        servers = {each: Server(*each, package) for each in product(PARSERS, LOOPS)}
        for server in servers.values():
            stack.callback(server.close)
        _warm(servers)
        for _ in range(chosen.rounds):
            for load, server in product(loads(chosen.calls), servers.values()):
                server.ask(load)
        print(_table(servers))


def _warm(servers: dict[tuple[str, str], Server]) -> None:
    for load, server in product(loads(40), servers.values()):
        server.ask(load)
    for server in servers.values():
        server.taken.clear()
        server.processor.clear()


def _table(servers: dict[tuple[str, str], Server]) -> str:
    names = [f"{parser}, {loop}" for parser, loop in servers]
    lines = ["| request | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for load in loads(1):
        cells = [
            f"{statistics.median(server.processor[load.name]) * 1e6:.0f} us "
            f"({statistics.median(server.taken[load.name]) * 1e6:.0f})"
            for server in servers.values()
        ]
        lines.append("| " + " | ".join([load.name, *cells]) + " |")
    return "\n".join(lines)


def _json(numbers: list[float]) -> bytes:
    entry = {"name": "x", "datatype": "FP32", "shape": [len(numbers)], "data": numbers}
    return json.dumps({"inputs": [entry]}).encode()


if __name__ == "__main__":
    main()
