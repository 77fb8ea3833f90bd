"""Models share a memory budget: who was used longest ago leaves, really, and comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from wherever_contracts.errors import EngineError, ModelNotFoundError
from wherever_convert.builder import build_package
from wherever_edge.counters import COUNTERS
from wherever_edge.host import LocalHost
from wherever_edge.packages.store import Store

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MB = 1_000_000
WIDTH = 1000


def build(root: Path, name: str, *, version: str = "1.0.0", needs: int = 0, layers: int = 2):
    """A model that multiplies by its number, in matrices of 4 MB."""
    factor = float(name.rpartition("-")[2])
    weights = [np.eye(WIDTH, dtype=np.float32) * (1 if n else factor) for n in range(layers)]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [f"x{n}", f"w{n}"], [f"x{n + 1}"]) for n in range(layers)],
        "times",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, [1, WIDTH])],
        [numpy_helper.from_array(array, f"w{n}") for n, array in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder = root / f"{name}@{version}"
    folder.mkdir(parents=True)
    (folder / "times.onnx").write_bytes(model.SerializeToString())
    shape = {"dtype": "float32", "shape": [1, WIDTH]}
    return build_package(
        folder,
        {
            "name": name,
            "version": version,
            "boundary": "anywhere",
            "reference": "times",
            "signature": {
                "inputs": [{"name": "x0", "kind": "tensor", **shape}],
                "outputs": [{"name": f"x{layers}", **shape}],
                "value": {"kind": "tensors"},
            },
            "variants": [
                {
                    "id": "times",
                    "format": "onnx",
                    "precision": "float32",
                    "files": [{"path": "times.onnx"}],
                    "tensors": {
                        "inputs": [{"name": "x0", **shape}],
                        "outputs": [{"name": f"x{layers}", **shape}],
                    },
                    "needs": {"memory_bytes": needs},
                }
            ],
        },
    )


@pytest.fixture
def host_of(tmp_path):
    """A host with a budget, over models that multiply by 1, 2, ..."""

    def make(count: int, budget_mb: int | None) -> LocalHost:
        for number in range(1, count + 1):
            build(tmp_path, f"times-{number}")
        store = Store([tmp_path], builtin=False)
        max_bytes = None if budget_mb is None else budget_mb * MB
        host = LocalHost(store, distance="device", threads=1, memory_max_bytes=max_bytes)
        hosts.append(host)
        return host

    hosts: list[LocalHost] = []
    yield make
    for host in hosts:
        host.close()


def times(host: LocalHost, number: int) -> float:
    outputs = host.resolve(f"times-{number}").answer({"x0": ONES}, {}).outputs
    (array,) = outputs.values()
    assert array.min() == array.max()
    return float(array.max())


ONES = np.ones((1, WIDTH), np.float32)


def inside(host: LocalHost) -> set[str]:
    return {known.model for known in host.loaded() if known.in_memory}


@pytest.mark.full
def test_25_models_called_at_random_by_4_threads_keep_within_their_budget(test_data):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "memory.py", "--callers", "4", "--calls", "120"],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "WHEREVER_TEST_DATA": str(test_data)},
    )
    said = json.loads(done.stdout)
    assert said["problems"] == []
    assert said["peak_mb"] <= 165  # of a budget of 150, as the kernel saw it
    assert said["together_mb"] >= 450
    assert said["evictions"] > 0


def test_what_was_used_longest_ago_leaves_and_comes_back_when_it_is_asked(host_of):
    host = host_of(4, 1)  # nothing fits beside another
    before = COUNTERS.snapshot()
    for number in (1, 2, 3, 4, 1):
        assert times(host, number) == number
        assert inside(host) == {f"times-{number}"}
    key = 'wherever_evictions_total{model="times-1",variant="times"}'
    assert COUNTERS.snapshot()[key] == before.get(key, 0) + 1


def test_without_a_budget_nothing_leaves(host_of):
    host = host_of(4, None)
    for number in (1, 2, 3, 4):
        assert times(host, number) == number
    assert len(inside(host)) == 4


def test_a_pinned_model_stays_and_leaves_once_it_is_unpinned(host_of):
    host = host_of(3, 1)
    host.pin("times-1")
    for number in (2, 3, 2):
        assert times(host, number) == number
        assert inside(host) == {"times-1", f"times-{number}"}
    assert {known.model for known in host.loaded() if known.pinned} == {"times-1"}
    host.unpin("times-1")
    assert times(host, 3) == 3
    assert inside(host) == {"times-3"}
    with pytest.raises(ModelNotFoundError):
        host.pin("times-9")


def test_when_the_process_grows_while_models_run_the_others_leave(host_of):
    host = host_of(3, 150)
    for number in (1, 2, 3):
        assert times(host, number) == number
    assert len(inside(host)) == 3
    ballast = np.ones(25 * MB)
    host._residents._room.due_s = 0.0
    assert times(host, 1) == 1
    assert inside(host) == {"times-1"}
    del ballast


def test_a_variant_that_needs_more_than_the_budget_is_refused_with_both_figures(tmp_path):
    package = build(tmp_path, "times-1", needs=600 << 20)
    store = Store([tmp_path], builtin=False)
    host = LocalHost(store, distance="device", memory_max_bytes=500 << 20)
    with pytest.raises(EngineError, match="needs 600 MiB of memory, the models' budget is 500 MiB"):
        host.resolve("times-1")
    ((variant, unfit),) = host.choices(package)
    assert variant.id == "times"
    assert "budget" in unfit


def test_a_run_ends_with_the_session_that_it_began_with(host_of):
    host = host_of(2, None)
    resident = host.resolve("times-1").resident
    begun, go_on = threading.Event(), threading.Event()

    def steps():
        held = resident._held
        begun.set()
        go_on.wait(10)
        return held.session.run({"x0": ONES})

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(steps)
        begun.wait(10)
        gone = resident.put_out()
        assert not gone.is_set()
        assert resident.session is None
        go_on.set()
        (array,) = running.result().values()
    assert array[0, 0] == 1
    assert gone.wait(10)
    assert times(host, 1) == 1


def test_many_threads_that_need_what_has_left_bring_it_back_once(host_of):
    host = host_of(6, None)
    loaded = [host.resolve(f"times-{number}") for number in range(1, 7)]
    for each in loaded:
        each.resident.put_out()
    opened: list[str] = []
    for each in loaded:
        each.resident._open = counted(each.resident._open, opened, each.package.name)
    together = threading.Barrier(12)

    def ask(caller: int) -> list[float]:
        together.wait()
        order = np.random.default_rng(caller).permutation(6)
        return [times(host, number + 1) - number for number in order]

    with ThreadPoolExecutor(12) as pool:
        assert all(found == [1] * 6 for found in pool.map(ask, range(12)))
    assert sorted(opened) == sorted(each.package.name for each in loaded)


def counted(function, calls, name):
    def call():
        calls.append(name)
        return function()

    return call


def test_a_load_that_failed_is_tried_again(host_of):
    host = host_of(1, None)
    engines, host._engines = host._engines, Failing(host._engines)
    with pytest.raises(EngineError, match="no memory left"):
        host.resolve("times-1")
    assert host.loaded() == []
    host._engines = engines
    assert times(host, 1) == 1


class Failing:
    """Engines that have no memory for sessions."""

    def __init__(self, engines) -> None:
        self.states = engines.states

    def open(self, *_):
        raise EngineError("onnxruntime cannot load the model: no memory left")


def test_what_could_not_be_opened_again_stays(host_of, tmp_path):
    host = host_of(2, 1)
    assert times(host, 1) == 1
    (tmp_path / "times-1@1.0.0/times.onnx").unlink()
    assert times(host, 2) == 2
    assert times(host, 1) == 1
    assert "times-1" in inside(host)


def test_the_memory_of_a_worker_process_counts_and_comes_back_with_its_end(tmp_path):
    for number in (1, 2):
        build(tmp_path, f"times-{number}")
    store = Store([tmp_path], builtin=False)
    host = LocalHost(store, distance="device", memory_max_bytes=20 * MB, isolation="process")
    with closing(host):
        assert times(host, 1) == 1
        (pid,) = host.resolve("times-1").session.pids
        assert host.loaded()[0].held_bytes > 20 * MB
        assert times(host, 2) == 2
        assert inside(host) == {"times-2"}
        assert not Path(f"/proc/{pid}").exists()
        assert times(host, 1) == 1


def test_versions_live_side_by_side_and_each_counts(tmp_path):
    for version in ("1.0.0", "2.0.0"):
        build(tmp_path, "times-3", version=version)
    host = LocalHost(Store([tmp_path], builtin=False), distance="device", memory_max_bytes=MB)
    for version in ("1.0.0", "2.0.0", "1.0.0"):
        loaded = host.resolve(f"times-3@{version}")
        assert loaded.answer({"x0": ONES}, {}).ran.version == version
        (here,) = [known for known in host.loaded() if known.in_memory]
        assert here.version == version
        assert here.held_bytes >= 0
    assert {known.version for known in host.loaded()} == {"1.0.0", "2.0.0"}


def test_closing_a_host_frees_its_sessions(host_of):
    host = host_of(3, None)
    for number in (1, 2, 3):
        times(host, number)
    freed = [resident._held.gone for resident in host._residents.all()]
    host.close()
    assert [event.is_set() for event in freed] == [True] * 3
