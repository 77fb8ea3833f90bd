"""Calls over our own stream against single calls: rates, and what one caller waits.

    python benchmarks/gateway/stream.py [--seconds 1.5] [--rounds 5] [--json FILE]

A gateway with keys and metrics in one process, one client in another, each on a core of its own
where there are two. Phases with the stream and without it take turns; the table has the median
and the best of each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from wherever_contracts.wire.tensors import InferRequest, from_array
from wherever_convert.builder import build_package
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.keys import KeyStore
from wherever_edge.oip.security import ClientSecurity

HERE = Path(__file__).parent
if str(HERE.parent) not in sys.path:
    sys.path.append(str(HERE.parent))

from gateway.peers_models import manifest  # noqa: E402 (found through the path above)

WIDTHS = {"tiny": (4, 3), "mlp": (512, 512, 512, 512, 10)}
# (model, calls in flight, whether by `start` or by threads that wait)
CASES = (
    ("tiny", 32, "start"),
    ("tiny", 32, "threads"),
    ("mlp", 32, "start"),
    ("mlp", 32, "threads"),
    ("tiny", 1, "threads"),
    ("mlp", 1, "threads"),
)
TIMEOUT_S = 20.0


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="Calls over our stream against single calls")
    parser.add_argument("--seconds", type=float, default=1.5, help="of one phase")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where the figures go, too")
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        _follow_orders(*arguments.client)
        return
    figures = measure(arguments.seconds, arguments.rounds)
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def measure(seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Every case with the stream and without it: `rates` in calls/s and `p50_us` of each phase."""
    cases: list[dict[str, Any]] = [
        {"model": model, "in_flight": n, "how": how, "stream": stream, "rates": [], "p50_us": []}
        for model, n, how in CASES
        for stream in (True, False)
    ]
    with (
        tempfile.TemporaryDirectory() as directory,
        _gateway(Path(directory)) as gateway,
        _client(*gateway) as order,
    ):
        for case in cases * (rounds + 1):  # the first round warms up
            what = {name: case[name] for name in ("model", "in_flight", "how", "stream")}
            said = order({**what, "seconds": seconds})
            case["rates"].append(said["rate"])
            case["p50_us"].append(said["p50_us"])
    return [{**case, "rates": case["rates"][1:], "p50_us": case["p50_us"][1:]} for case in cases]


def table(figures: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    lines = [
        "| model | in flight | by | calls/s: median | best | p50 us: median | best |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in figures:
        by = f"{'stream' if case['stream'] else 'single calls'}, {case['how']}"
        rate, best = statistics.median(case["rates"]), max(case["rates"])
        p50, least = statistics.median(case["p50_us"]), min(case["p50_us"])
        lines.append(
            f"| {case['model']} | {case['in_flight']} | {by} "
            f"| {rate:,.0f} | {best:,.0f} | {p50:,.0f} | {least:,.0f} |"
        )
    return "\n".join(lines)


@contextmanager
def _gateway(directory: Path) -> Generator[tuple[str, str]]:
    """A gateway on the first core: its address, and a key for it."""
    packages = [part for name in WIDTHS for part in ("--packages", _package(directory, name))]
    key = KeyStore(directory / "home" / "keys").add("bench")
    command = [sys.executable, "-m", "wherever", "gateway", "--json", "--no-http", "--keys"]
    command += ["--grpc-port", "0", "--metrics-port", "0", "--max-waiting", "64"]
    command += ["--home", str(directory / "home"), *packages]
    with _on_core(0):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["grpc"], key
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@contextmanager
def _client(address: str, key: str) -> Generator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """A client on the last core; gives a function that has it carry out a phase."""
    command = [sys.executable, __file__, "--client", address, key]
    with _on_core(-1):
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    assert process.stdin is not None
    assert process.stdout is not None
    to, out = process.stdin, process.stdout

    def order(what: dict[str, Any]) -> dict[str, Any]:
        print(json.dumps(what), file=to, flush=True)
        said: dict[str, Any] = json.loads(out.readline())
        return said

    try:
        yield order
    finally:
        to.close()
        process.wait(20)
        out.close()


@contextmanager
def _on_core(which: int) -> Generator[None]:
    """What starts within this runs on one core, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[which]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _follow_orders(address: str, key: str) -> None:
    """Carry out phases as they are told on standard input."""
    security = ClientSecurity(api_key=key)
    endpoint = Endpoint.parse(f"grpc://{address}?rest=off")
    hosts = {stream: RemoteHost(endpoint, security=security) for stream in (True, False)}
    for stream, host in hosts.items():
        for model in WIDTHS:
            host.infer(_request(model), TIMEOUT_S)
        if not stream:
            # no caller needs to choose, so nothing public does
            getattr(host, "_approach").chosen.streaming.of = _none  # noqa: B009
    for line in sys.stdin:
        what = json.loads(line)
        run = _started if what["how"] == "start" else _in_threads
        request = _request(what["model"])
        spent_s, times = run(hosts[what["stream"]], request, what["in_flight"], what["seconds"])
        times.sort()
        p50_us = times[len(times) // 2] * 1e6
        print(json.dumps({"rate": len(times) / spent_s, "p50_us": p50_us}), flush=True)


def _none(*_: object) -> None:
    """No stream, for any call."""


def _request(model: str) -> InferRequest:
    row = np.random.default_rng(7).normal(size=(1, WIDTHS[model][0])).astype(np.float32)
    return InferRequest(model, "", "", {}, (from_array("x", row),), boundary="anywhere")


def _started(
    host: RemoteHost, request: InferRequest, in_flight: int, seconds: float
) -> tuple[float, list[float]]:
    """Calls by `start`: each that ends begins the next."""
    times: list[float] = []
    running = [in_flight]
    ended = threading.Event()
    began = perf_counter()

    def begin() -> None:
        sent = perf_counter()

        def done(call: Any) -> None:
            call.result()
            times.append(perf_counter() - sent)
            if perf_counter() - began < seconds:
                begin()
                return
            running[0] -= 1
            if not running[0]:
                ended.set()

        host.start(request, TIMEOUT_S).add_done_callback(done)

    for _ in range(in_flight):
        begin()
    ended.wait(seconds + TIMEOUT_S)
    return perf_counter() - began, times


def _in_threads(
    host: RemoteHost, request: InferRequest, in_flight: int, seconds: float
) -> tuple[float, list[float]]:
    """Calls by threads, each of which waits for its answer."""
    times: list[float] = []
    began = perf_counter()

    def call() -> None:
        while (sent := perf_counter()) - began < seconds:
            host.infer(request, TIMEOUT_S)
            times.append(perf_counter() - sent)

    threads = [threading.Thread(target=call) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return perf_counter() - began, times


def _package(directory: Path, name: str) -> str:
    """A package with a network of dense layers."""
    widths = WIDTHS[name]
    given = np.random.default_rng(7)
    nodes: list[Any] = []
    weights: list[Any] = []
    value = "x"
    for at, (wide, high) in enumerate(pairwise(widths)):
        last = at == len(widths) - 2
        made = "y" if last else f"h{at}"
        weights += [
            numpy_helper.from_array(
                given.normal(0, 0.05, (high, wide)).astype(np.float32), f"w{at}"
            ),
            numpy_helper.from_array(np.zeros(high, np.float32), f"b{at}"),
        ]
        nodes.append(helper.make_node("Gemm", [value, f"w{at}", f"b{at}"], [made], transB=1))
        value = made
        if not last:
            nodes.append(helper.make_node("Relu", [made], [f"r{at}"]))
            value = f"r{at}"
    sides = [
        helper.make_tensor_value_info(side, TensorProto.FLOAT, ["n", width])
        for side, width in (("x", widths[0]), ("y", widths[-1]))
    ]
    graph = helper.make_graph(nodes, name, sides[:1], sides[1:], weights)
    root = directory / name
    root.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(root / "model.onnx"))
    build_package(root, manifest(name, widths[:1], widths[-1:]))
    return str(root)


if __name__ == "__main__":
    main()
