"""What it costs to run an engine in a worker process, and what happens when workers are killed."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
import onnx
from harness import Pair, Row, interleaved
from onnx import TensorProto, helper, numpy_helper

from wherever_contracts.errors import WhereverError
from wherever_contracts.manifest import Variant
from wherever_convert.builder import build_package
from wherever_devices.plans import RunPlan
from wherever_edge.engines.engine import Resources
from wherever_edge.engines.installed import InstalledEngines
from wherever_edge.host import LocalHost
from wherever_edge.isolation.engines import IsolatedEngines
from wherever_edge.loaded import LoadedVariant
from wherever_edge.packages.store import Package, Store

ADDED_S = 150e-6
BYTES_600K = 600_000
KILLS = 50  # of each of two packages
CALLERS = 4
HANG_S, RESTART_S = 1.0, 2.0
SHAPE: dict[str, Any] = {"dtype": "float32", "shape": [-1, -1]}


def rows() -> list[Row]:
    """The added cost of a call, and killed workers under load."""
    return [*_cost_rows(), *_kill_rows()]


def _cost_rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        package = _package(Path(folder) / "mean", "ReduceMean", ["onnxruntime"])
        (variant,) = package.manifest.variants
        files = [package.read(entry) for entry in variant.files]
        small, large = (_pair(variant, files, count) for count in (16, BYTES_600K // 4))
    return [
        _cost_row("a call into a worker process, input of 600 KB", large, "<= 150 us added"),
        _cost_row("the same, input of 64 bytes", small, ""),
    ]


def _pair(variant: Variant, files: list[bytes], count: int) -> Pair:
    plan = RunPlan("onnxruntime", "cpu", "float32", 1)
    feed = {"x": np.random.default_rng(0).random((1, count), np.float32)}
    own = InstalledEngines().open(plan, variant.format, files, Resources())
    with closing(IsolatedEngines().open(plan, variant.format, files, Resources())) as isolated:
        np.testing.assert_array_equal(isolated.run(feed)["y"], own.run(feed)["y"])
        return interleaved(lambda: isolated.run(feed), lambda: own.run(feed), rounds=100, calls=30)


def _cost_row(what: str, pair: Pair, bar: str) -> Row:
    return Row(
        what,
        f"{pair.ours_s * 1e6:.0f} us, {pair.added_s * 1e6:.0f} us added",
        f"in this process {pair.reference_s * 1e6:.0f} us",
        bar,
        pair.added_s <= ADDED_S if bar else None,
    )


def _kill_rows() -> list[Row]:
    engines = ["onnxruntime"], ["onnxruntime", "openvino"]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        packages = [_package(Path(folder) / str(len(e)), "Add", e) for e in engines]
        return list(pool.map(_hounded, packages, engines))


def _hounded(package: Package, engines: list[str]) -> Row:
    """Calls from several threads while the worker is killed again and again."""
    store = Store([package.root], builtin=False)
    host = LocalHost(store, distance="device", isolation="process", threads=1)
    with closing(host), ThreadPoolExecutor(CALLERS) as pool:
        loaded = host.resolve(package.name)
        done = threading.Event()
        callers = [pool.submit(_call, loaded, seed, done) for seed in range(CALLERS)]
        try:
            longest_back_s = max(_kill(loaded, number) for number in _signals())
        finally:
            done.set()
        took_s = sorted(itertools.chain.from_iterable(each.result()[0] for each in callers))
        failed = sum(each.result()[1] for each in callers)
        wrong = sum(each.result()[2] for each in callers)
    p99_s = took_s[int(len(took_s) * 0.99)]
    return Row(
        f"worker killed {KILLS} times (SIGKILL, SIGSEGV, SIGSTOP), {' and '.join(engines)}",
        f"{failed} failed and {wrong} wrong of {len(took_s)} calls, p99 {p99_s * 1e3:.1f} ms, "
        f"longest {took_s[-1]:.2f} s, back after at most {longest_back_s:.2f} s",
        f"{CALLERS} callers, hang limit {HANG_S:.0f} s",
        f"0, 0, p99 <= {HANG_S:.0f} s + restart (<= {RESTART_S:.0f} s)",
        not failed and not wrong and p99_s <= HANG_S + RESTART_S,
    )


def _signals() -> list[int]:
    every = itertools.cycle((signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP))
    return list(itertools.islice(every, KILLS))


def _kill(loaded: LoadedVariant, number: int) -> float:
    """Kill the worker; returns after which time another one was there."""
    (pid,) = loaded.session.pids
    os.kill(pid, number)
    started = perf_counter()
    while loaded.session.pids in {(), (pid,)}:
        sleep(0.002)
    back_s = perf_counter() - started
    sleep(0.05)
    return back_s - (HANG_S if number == signal.SIGSTOP else 0.0)


def _call(loaded: LoadedVariant, seed: int, done: threading.Event) -> tuple[list[float], int, int]:
    draw = np.random.default_rng(seed)
    took_s: list[float] = []
    failed = wrong = 0
    while not done.is_set():
        given = draw.random(draw.integers(1, 20_000), np.float32)
        started = perf_counter()
        try:
            outputs = loaded.answer({"given": given}, {}).outputs
            wrong += not np.array_equal(outputs["made"], given + 1)
        except WhereverError:
            failed += 1
        took_s.append(perf_counter() - started)
    return took_s, failed, wrong


def _package(root: Path, operation: str, engines: list[str]) -> Package:
    root.mkdir()
    onnx.save(_model(operation), str(root / "model.onnx"))
    variant = {
        "id": "only",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "model.onnx"}],
        "needs": {"engines": engines},
        "tensors": {
            "inputs": [{"name": "x", **SHAPE}],
            "outputs": [{"name": "y", **SHAPE}],
            "batch": True,
        },
        "pipeline": {
            "pre": [{"op": "reshape", "name": "given", "to": "x", "shape": [1, -1]}],
            "post": [{"op": "first_row", "name": "y", "to": "made"}],
        },
    }
    signature = {
        "inputs": [{"name": "given", "kind": "tensor", "dtype": "float32", "shape": [-1]}],
        "outputs": [{"name": "made", "dtype": "float32", "shape": [-1]}],
        "value": {"kind": "tensors"},
    }
    return build_package(
        root,
        {
            "schema": "1.0",
            "name": "isolated",
            "version": "1.0.0",
            "boundary": "anywhere",
            "reference": "only",
            "signature": signature,
            "variants": [variant],
        },
    )


def _model(operation: str) -> onnx.ModelProto:
    if operation == "ReduceMean":
        node = helper.make_node(operation, ["x"], ["y"], axes=[1])
    else:
        node = helper.make_node(operation, ["x", "one"], ["y"])
    graph = helper.make_graph(
        [node],
        "isolated",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "m"])],
        [numpy_helper.from_array(np.array(1, np.float32), "one")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


if __name__ == "__main__":
    for row in rows():
        print(row)
