"""Five times as many calls as can be answered, of a heavy tenant, beside a few of a light one.

    python benchmarks/gateway/overload.py [--seconds 60] [--times 5] [--scheduling batch] [--json]

The gateway and the heavy tenant are processes of their own, which share the cores: a thousand calls
a second take more of them than the calls of the peak that the overload is compared with.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import IO, Any, TypeAlias

import grpc
import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, save

from wherever_contracts.wire.messages import encode_request
from wherever_contracts.wire.tensors import InferRequest, from_array
from wherever_convert.builder import build_package
from wherever_edge.oip.keys import KeyChecker, KeyStore

BENCHMARKS = Path(__file__).parents[1]
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from gateway.peers_models import manifest  # noqa: E402 (found through the path above)

HEAVY, LIGHT = "heavy", "light"
LIGHT_EVERY_S = 0.2
CALLERS = (2, 3, 4, 6, 8)
# half of the cores are for what is not the engine: the gateway around it, and those who call
RUNS = max(1, (os.cpu_count() or 1) // 2)
SIDE = 48
# output channels and stride of each convolution: about 6 ms on one core
CONVOLUTIONS = ((48, 2), (96, 1), (192, 1), (192, 2), (192, 1), (192, 1), (192, 1))

# how Linux schedules the gateway: as any program, or so that its threads do not interrupt others
SCHEDULINGS = ("usual", "batch")

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_PUSHBACK = "grpc-retry-pushback-ms"
_NO_LIMITS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_PATIENCE_S = 30.0
_UNSENT_MOST = 4096

Metadata: TypeAlias = tuple[tuple[str, str], ...]
# strings, because grpcio's classes are generic in its stubs alone
Call: TypeAlias = "grpc.Future[bytes]"
Infer: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"


@dataclass(frozen=True)
class Seen:
    """What a tenant saw.

    Attributes:
        answered: calls that were answered.
        refused: calls that were refused with a time to come again.
        failed: calls that ended in any other way, by their statuses.
        sent: calls that were sent.
        seconds: how long it sent.
        p50_ms: of the calls that were answered.
        p99_ms: the same.
        refusal_p99_ms: of those that were refused.
        pushback_ms: the median of the times to come again.
    """

    answered: int
    refused: int
    failed: dict[str, int]
    sent: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refusal_p99_ms: float = 0.0
    pushback_ms: float = 0.0

    @property
    def goodput(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        callers: how many callers, each with one call at a time, the peak has.
        peak: what they saw.
        alone: what the light tenant saw alone.
        heavy: what the heavy tenant saw in the overload.
        light: what the light tenant saw in the overload.
        memory_mib: resident memory of the gateway, second by second, in the overload.
    """

    callers: int
    peak: Seen
    alone: Seen
    heavy: Seen
    light: Seen
    memory_mib: list[float]

    @property
    def goodput_kept(self) -> float:
        """Answers of both tenants in the overload, over those at the peak."""
        both = self.heavy.answered + self.light.answered
        return both / self.heavy.seconds / self.peak.goodput

    @property
    def slower(self) -> float:
        """The 99th percentile of the calls that were let in, over that at the peak."""
        return self.heavy.p99_ms / self.peak.p99_ms

    @property
    def light_slower(self) -> float:
        """The light tenant's median, over that when it is alone."""
        return self.light.p50_ms / self.alone.p50_ms

    @property
    def memory_grew(self) -> float:
        """The median of the last third of the memory over that of the first."""
        third = len(self.memory_mib) // 3
        return statistics.median(self.memory_mib[-third:]) / statistics.median(
            self.memory_mib[:third]
        )

    def table(self) -> str:
        """The result as a Markdown table."""
        rows = [
            ("goodput over the peak's", f"{self.goodput_kept:.2f}", ">= 0.90"),
            ("p99 of accepted calls over the peak's", f"{self.slower:.2f}", "<= 2"),
            ("memory, last third over first", f"{self.memory_grew:.3f}", "flat"),
            ("the light tenant's median over alone", f"{self.light_slower:.2f}", "<= 1.5"),
        ]
        seen = [
            (f"peak ({self.callers} callers)", self.peak),
            ("light, alone", self.alone),
            ("heavy, overload", self.heavy),
            ("light, overload", self.light),
        ]
        lines = ["| what | measured | bar |", "|---|---|---|"]
        lines += [f"| {what} | {value} | {bar} |" for what, value, bar in rows]
        lines += [
            "",
            "| who | sent/s | done/s | refused | other | p50, p99 ms | refused p99 | retry in |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {who} | {each.sent / each.seconds:.0f} | {each.goodput:.0f} | {each.refused} "
            f"| {each.failed or 0} | {each.p50_ms:.1f}, {each.p99_ms:.1f} "
            f"| {each.refusal_p99_ms:.1f} ms | {each.pushback_ms:.0f} ms |"
            for who, each in seen
        ]
        return "\n".join(lines)


class Tally:
    """Collects how calls ended. Safe to use from many threads."""

    def __init__(self) -> None:
        self._ends: list[tuple[str, float, float]] = []
        self._began = perf_counter()
        self.sent = 0

    def end(self, started: float, call: Call) -> None:
        """A call is over."""
        took_s = perf_counter() - started
        error = call.exception()
        if error is None:
            self._ends.append(("", took_s, 0.0))
            return
        trailing = dict(error.trailing_metadata() or ()) if isinstance(error, grpc.Call) else {}
        status = error.code().name if isinstance(error, grpc.Call) else type(error).__name__
        if status == "RESOURCE_EXHAUSTED" and _PUSHBACK not in trailing:
            status = "RESOURCE_EXHAUSTED without a pushback"
        self._ends.append((status, took_s, float(trailing.get(_PUSHBACK, 0))))

    def seen(self, seconds: float) -> Seen:
        """What there was."""
        ends = list(self._ends)
        answered = [took_s for status, took_s, _ in ends if not status]
        refused = [each for each in ends if each[0] == "RESOURCE_EXHAUSTED"]
        failed: dict[str, int] = {}
        for status, _, _ in ends:
            if status not in ("", "RESOURCE_EXHAUSTED"):
                failed[status] = failed.get(status, 0) + 1
        return Seen(
            len(answered),
            len(refused),
            failed,
            self.sent,
            seconds,
            _quantile_ms(answered, 0.5),
            _quantile_ms(answered, 0.99),
            _quantile_ms([took_s for _, took_s, _ in refused], 0.99),
            statistics.median([pushback for _, _, pushback in refused]) if refused else 0.0,
        )


def measure(
    seconds: float = 60.0,
    times: float = 5.0,
    *,
    settle_s: float = 2.0,
    runs: int = RUNS,
    callers: Sequence[int] = CALLERS,
    scheduling: str = "usual",
) -> Result:
    """Measure the light tenant alone, the peak, and then the overload for so many seconds.

    Args:
        seconds: how long the overload lasts.
        times: how many times as many calls come as were answered at the peak.
        settle_s: how long each load goes on before it is looked at.
        runs: runs of the engine at a time.
        callers: where the peak is looked for: callers with one call at a time each.
        scheduling: how the gateway is scheduled, at the peak as in the overload; see `SCHEDULINGS`.
    """
    with (
        tempfile.TemporaryDirectory() as scratch,
        _gateway(Path(scratch), runs, scheduling) as (pid, address, keys),
        _heavy(address, keys[HEAVY]) as order,
    ):
        ask = partial(_light, address, keys[LIGHT])
        ask(1.0)
        alone = ask(max(4.0, seconds / 6))
        most = _most_fruitful(order, callers, max(2.0, seconds / 15))
        peak = order("closed", most, max(4.0, seconds / 4), settle_s)
        with ThreadPoolExecutor(2) as pool:
            capacity = max(peak.goodput, runs * 1000 / alone.p50_ms)
            heavy = pool.submit(order, "open", times * capacity, seconds, settle_s)
            sleep(settle_s)
            memory = pool.submit(_memory, pid, seconds)
            light = ask(seconds)
            return Result(most, peak, alone, heavy.result(), light, memory.result())


def _most_fruitful(order: Callable[..., Seen], callers: Sequence[int], seconds: float) -> int:
    """With how many callers most calls are answered."""
    if len(callers) == 1:
        return callers[0]
    found = {number: order("closed", number, seconds, 1.0).goodput for number in callers}
    return max(found, key=lambda number: found[number])


def _light(address: str, key: str, seconds: float) -> Seen:
    """A few calls a second, one at a time."""
    tally = Tally()
    with grpc.insecure_channel(address, options=_NO_LIMITS) as channel:
        infer: Infer = channel.unary_unary(_INFER)
        message, metadata = _message(), _metadata(key)
        ends = monotonic() + seconds
        while monotonic() < ends:
            started = perf_counter()
            tally.sent += 1
            call = infer.future(message, timeout=_PATIENCE_S, metadata=metadata)
            call.exception()
            tally.end(started, call)
            sleep(LIGHT_EVERY_S)
    return tally.seen(seconds)


@contextmanager
def _heavy(address: str, key: str) -> Iterator[Callable[..., Seen]]:
    """The heavy tenant, a process; gives what orders a load of it: how, how much, seconds."""
    with _child("--heavy", address, key) as (_, orders, answers):

        def order(how: str, amount: float, seconds: float, settle_s: float) -> Seen:
            orders.write(json.dumps([how, amount, seconds, settle_s]) + "\n")
            orders.flush()
            return Seen(**json.loads(answers.readline()))

        yield order


def _serve_orders(address: str, key: str) -> None:
    """Be the heavy tenant."""
    with grpc.insecure_channel(address, options=_NO_LIMITS) as channel:
        infer: Infer = channel.unary_unary(_INFER)
        message, metadata = _message(), _metadata(key)

        def start(tally: Tally) -> Call:
            started = perf_counter()
            tally.sent += 1
            call = infer.future(message, timeout=_PATIENCE_S, metadata=metadata)
            call.add_done_callback(partial(tally.end, started))
            return call

        for line in sys.stdin:
            how, amount, seconds, settle_s = json.loads(line)
            load = _closed if how == "closed" else _open
            load(start, amount, settle_s, Tally())
            tally = Tally()
            load(start, amount, seconds, tally)
            print(json.dumps(asdict(tally.seen(seconds))), flush=True)


def _closed(start: Callable[[Tally], Call], callers: float, seconds: float, tally: Tally) -> None:
    """So many callers, each with one call at a time."""
    ends = monotonic() + seconds

    def call() -> None:
        while monotonic() < ends:
            start(tally).exception()

    with ThreadPoolExecutor(int(callers)) as pool:
        for each in [pool.submit(call) for _ in range(int(callers))]:
            each.result()


def _open(start: Callable[[Tally], Call], rate: float, seconds: float, tally: Tally) -> None:
    """So many calls a second, whatever becomes of them."""
    began = monotonic()
    open_calls = threading.Semaphore(_UNSENT_MOST)
    number = 0
    while (now := monotonic()) < began + seconds:
        due = int((now - began) * rate)
        for _ in range(due - number):
            open_calls.acquire()
            start(tally).add_done_callback(lambda _: open_calls.release())
        number = due
        sleep(0.001)


def _memory(pid: int, seconds: float) -> list[float]:
    """Resident memory of a process in MiB, a few times a second."""
    samples: list[float] = []
    ends = monotonic() + seconds
    page = os.sysconf("SC_PAGE_SIZE")
    while monotonic() < ends:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        samples.append(pages * page / 2**20)
        sleep(0.25)
    return samples


@contextmanager
def _gateway(
    scratch: Path, runs: int, scheduling: str
) -> Iterator[tuple[int, str, dict[str, str]]]:
    """A gateway in a process: its id, its address, and a key for each tenant."""
    keys = {name: KeyStore(scratch / "keys").add(name) for name in (HEAVY, LIGHT)}
    _package(scratch / "packages" / "cnn")
    arguments = ("--serve", str(scratch), "--runs", str(runs), "--scheduling", scheduling)
    with _child(*arguments) as (pid, _, answers):
        yield pid, answers.readline().strip(), keys


def _serve(scratch: Path, runs: int, scheduling: str) -> None:
    """Be the gateway until told to end."""
    if scheduling == "batch":
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    from wherever_edge.host import LocalHost
    from wherever_edge.oip.server import InferenceServer
    from wherever_edge.packages.store import Store
    from wherever_gateway.state.state import State
    from wherever_gateway.tenants.admission import Tenants
    from wherever_gateway.tenants.rules import Rules

    store = Store([scratch / "packages"], builtin=False)
    host = LocalHost(store, distance="cloud", runs=runs)
    rules = Rules()
    server = InferenceServer(
        host,
        port=0,
        keys=KeyChecker(KeyStore(scratch / "keys")),
        admission=Tenants(lambda: rules, State(None)),
    )
    host.resolve("cnn")
    server.start()
    print(f"127.0.0.1:{server.port}", flush=True)
    signal.sigwait({signal.SIGTERM})
    server.drain(1)


@contextmanager
def _child(*arguments: str) -> Iterator[tuple[int, IO[str], IO[str]]]:
    """This program again, in another role."""
    process = subprocess.Popen(
        [sys.executable, __file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.pid, process.stdin, process.stdout
    finally:
        process.stdin.close()
        process.terminate()
        process.wait(20)
        process.stdout.close()


def _message() -> bytes:
    values = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    return encode_request(InferRequest("cnn", "", "", {}, (from_array("x", values),)))


def _metadata(key: str) -> Metadata:
    return (("authorization", f"Bearer {key}"),)


def _quantile_ms(seconds: Sequence[float], part: float) -> float:
    return float(np.quantile(seconds, part)) * 1000 if len(seconds) else 0.0


def _package(root: Path) -> None:
    root.mkdir(parents=True)
    save(_network(), root / "model.onnx")
    build_package(root, manifest("cnn", (3, SIDE, SIDE), CONVOLUTIONS[-1][:1]))


def _network() -> ModelProto:
    """Convolutions, each followed by a ReLU, and the mean of what is left."""
    rng = np.random.default_rng(0)
    nodes, weights, given, before = [], [], "x", 3
    for number, (channels, stride) in enumerate(CONVOLUTIONS):
        shape = (channels, before, 3, 3)
        values = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{number}"))
        nodes.append(
            helper.make_node(
                "Conv",
                [given, f"w{number}"],
                [f"c{number}"],
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
                strides=[stride, stride],
            )
        )
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        given, before = f"r{number}", channels
    nodes.append(helper.make_node("GlobalAveragePool", [given], ["mean"]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["y"]))
    tensor = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    graph = helper.make_graph(
        nodes,
        "cnn",
        [tensor("x", shape=["rows", 3, SIDE, SIDE])],
        [tensor("y", shape=["rows", before])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the overload lasts")
    parser.add_argument("--times", type=float, default=5.0, help="calls over capacity")
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of the engine at a time")
    parser.add_argument("--scheduling", choices=SCHEDULINGS, default="usual", help="the gateway's")
    parser.add_argument("--json", action="store_true", help="print plain data")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--heavy", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        _serve(Path(arguments.serve), arguments.runs, arguments.scheduling)
    elif arguments.heavy:
        _serve_orders(*arguments.heavy)
    else:
        result = measure(
            arguments.seconds,
            arguments.times,
            runs=arguments.runs,
            scheduling=arguments.scheduling,
        )
        data: dict[str, Any] = asdict(result)
        print(json.dumps(data) if arguments.json else result.table())


if __name__ == "__main__":
    main()
