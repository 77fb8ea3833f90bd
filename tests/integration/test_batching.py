"""Calls that wait share runs, through a real engine, a host and a server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from wherever_contracts.errors import OverloadedError
from wherever_contracts.receipts import Answer
from wherever_contracts.urgency import Urgency
from wherever_contracts.wire.tensors import InferRequest, from_array, to_array
from wherever_convert.builder import build_package
from wherever_edge.counters import COUNTERS
from wherever_edge.host import LoadedVariant, LocalHost
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.package import Package
from wherever_edge.packages.store import Store

WIDTH = 1024
CALLERS = 24


@pytest.fixture(scope="module")
def wide_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Four layers of 1024 by 1024: what takes long enough to wait for, and pays to share."""
    root = tmp_path_factory.mktemp("packages") / "wide"
    root.mkdir()
    weights = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    layers = [helper.make_node("MatMul", [f"h{n}", "w"], [f"h{n + 1}"]) for n in range(4)]
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", WIDTH])
        for name in ("h0", "h4")
    ]
    shrunk = numpy_helper.from_array(weights / np.float32(WIDTH**0.5), "w")
    graph = helper.make_graph(layers, "wide", tensors[:1], tensors[1:], [shrunk])
    opset = helper.make_opsetid("", 17)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=9), root / "wide.onnx")
    shape = {"dtype": "float32", "shape": [-1, WIDTH]}
    lone = {"dtype": "float32", "shape": [WIDTH]}
    return build_package(
        root,
        {
            "schema": "1.0",
            "name": "wide",
            "version": "1.0.0",
            "boundary": "anywhere",
            "reference": "only",
            "signature": {
                "inputs": [{"name": "given", "kind": "tensor", **lone}],
                "outputs": [{"name": "made", **lone}],
                "value": {"kind": "tensors"},
            },
            "variants": [
                {
                    "id": "only",
                    "format": "onnx",
                    "precision": "float32",
                    "files": [{"path": "wide.onnx"}],
                    "tensors": {
                        "inputs": [{"name": "h0", **shape}],
                        "outputs": [{"name": "h4", **shape}],
                        "batch": True,
                    },
                    "pipeline": {
                        "pre": [{"op": "reshape", "name": "given", "to": "h0", "shape": [1, -1]}],
                        "post": [{"op": "first_row", "name": "h4", "to": "made"}],
                    },
                }
            ],
        },
    )


@pytest.fixture
def host_of(wide_package: Package) -> Iterator[Callable[..., LocalHost]]:
    hosts: list[LocalHost] = []

    def make(**arguments: Any) -> LocalHost:
        store = Store([wide_package.root], builtin=False)
        hosts.append(LocalHost(store, **{"distance": "device", **arguments}))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


def samples(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, WIDTH)).astype(np.float32)


def batches() -> int:
    counted = COUNTERS.snapshot()
    return counted.get('wherever_batches_total{model="wide",variant="only"}', 0)


def ask_all(ask: Callable[[np.ndarray], np.ndarray], rounds: int = 20) -> float:
    """Many callers at once, each with its own rows; the largest difference from what is right."""
    rows = samples(CALLERS)
    begin = threading.Barrier(CALLERS)
    right = [ask(row) for row in rows]

    def call(number: int) -> float:
        begin.wait(30)
        return max(float(np.abs(ask(rows[number]) - right[number]).max()) for _ in range(rounds))

    with ThreadPoolExecutor(CALLERS) as pool:
        return max(pool.map(call, range(CALLERS)))


def asker(loaded: LoadedVariant) -> Callable[[np.ndarray], np.ndarray]:
    return lambda row: loaded.answer({"given": row}, {}).outputs["made"]


def test_callers_share_runs_and_each_gets_its_own_answer(host_of):
    ask = asker(host_of().resolve("wide"))
    before = batches()
    for _ in range(10):
        assert ask_all(ask) < 1e-4
        if batches() > before:
            return
    pytest.fail("no two calls shared a run")


def test_an_answer_says_how_many_rows_shared_its_run_here_and_over_the_wire(host_of, remote_of):
    loaded, remote = host_of().resolve("wide"), remote_of()
    rows: list[int] = []

    def ask(row: np.ndarray) -> np.ndarray:
        answer = loaded.answer({"given": row}, {})
        rows.append(answer.rows)
        return answer.outputs["made"]

    def ask_remote(row: np.ndarray) -> np.ndarray:
        given = (from_array("given", row),)
        request = InferRequest("wide", "", "", {}, given, boundary="anywhere")
        response = remote.infer(request, 30)
        rows.append(int(response.parameters.get("wherever_rows", 1)))
        return to_array(response.outputs[0])

    for asked in (ask, ask_remote):
        rows.clear()
        for _ in range(10):
            ask_all(asked)
            if max(rows) > 1:
                break
        assert 1 < max(rows) <= CALLERS
        assert min(rows) == 1, "alone, nothing is shared"


def test_nothing_is_shared_where_batching_is_off(host_of):
    before = batches()
    host = host_of(batching=False)
    assert ask_all(asker(host.resolve("wide")), rounds=5) < 1e-4
    assert batches() == before


def test_a_callers_own_batch_goes_through_the_same_line(host_of):
    loaded = host_of(runs=1).resolve("wide")
    rows = samples(5)
    answers = loaded.answer_many([{"given": row} for row in rows], {}, Urgency("batch"))
    for answer, row in zip(answers, rows, strict=True):
        assert isinstance(answer, Answer)
        assert answer.rows == 5
        alone = loaded.answer({"given": row}, {})
        assert alone.rows == 1
        assert np.abs(answer.outputs["made"] - alone.outputs["made"]).max() < 1e-4


def test_a_bounded_device_refuses_what_it_has_no_room_for(host_of):
    host = host_of(runs=1, max_waiting=0, batching=False)
    loaded = host.resolve("wide")
    asked = 0

    def refused() -> bool:
        nonlocal asked
        asked += 1
        try:
            loaded.answer({"given": samples(1)[0]}, {})
        except OverloadedError:
            return True
        return False

    assert host.queue.begin(None)
    assert refused()
    host.queue.end(None)
    assert not refused()
    assert host.queue.refused == 1


@pytest.fixture
def remote_of(host_of) -> Iterator[Callable[..., RemoteHost]]:
    opened: list[Any] = []

    def make(**arguments: Any) -> RemoteHost:
        server = InferenceServer(host_of(distance="cloud", **arguments), port=0)
        server.start()
        remote = RemoteHost(Endpoint.parse(f"127.0.0.1:{server.port}"))
        opened.append((remote, server))
        return remote

    yield make
    for remote, server in opened:
        with closing(remote):
            server.drain(5)


def test_callers_of_a_server_share_runs_of_a_model_and_of_its_bare_tensors(remote_of):
    remote = remote_of()

    def ask(row: np.ndarray) -> np.ndarray:
        given = (from_array("given", row),)
        request = InferRequest("wide", "", "", {}, given, boundary="anywhere")
        return to_array(remote.infer(request, 30).outputs[0])

    def ask_raw(row: np.ndarray) -> np.ndarray:
        given = (from_array("h0", row[None]),)
        request = InferRequest("wide--only", "", "", {}, given, boundary="anywhere")
        return to_array(remote.infer(request, 30).outputs[0])[0]

    assert ask_all(ask, rounds=10) < 1e-4
    assert ask_all(ask_raw, rounds=10) < 1e-4


def test_an_answer_tells_how_long_it_waited_and_a_foreign_priority_changes_nothing(remote_of):
    remote = remote_of()
    for priority in ("background", 7, "whatever"):
        given = (from_array("given", samples(1)[0]),)
        request = InferRequest("wide", "", "", {"priority": priority}, given, boundary="anywhere")
        response = remote.infer(request, 30)
        assert response.parameters["wherever_queue_s"] == 0.0
        assert response.parameters["wherever_engine_s"] > 0.0
