"""Packages change under running calls: none fails, none is mixed of two versions."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import wherever
from wherever_contracts.errors import EngineError
from wherever_convert.builder import build_package
from wherever_devices.machine import probe
from wherever_edge.host import LocalHost
from wherever_edge.memory import resident_bytes
from wherever_edge.packages.store import Store

CALLERS = 8
SWAPS = 20


def build(root: Path, version: int, *, damaged: bool = False) -> Path:
    """A model that answers with its version: from the engine, and from its labels."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "version"], ["y"])],
        "adds",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(np.array([[0, version]], np.float32), "version")],
    )
    root.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    data = b"not a model" if damaged else model.SerializeToString()
    (root / "adds.onnx").write_bytes(data)
    shape = {"dtype": "float32", "shape": [1, 2]}
    build_package(
        root,
        {
            "name": "adds",
            "version": f"{version}.0.0",
            "boundary": "device",
            "reference": "adds",
            "signature": {
                "inputs": [{"name": "x", "kind": "tensor", "dtype": "float32", "shape": [2]}],
                "outputs": [{"name": "scores", "dtype": "float32", "shape": [2]}],
                "value": {
                    "kind": "label",
                    "scores": "scores",
                    "labels": ["none", f"version {version}"],
                },
            },
            "variants": [
                {
                    "id": "adds",
                    "format": "onnx",
                    "precision": "float32",
                    "files": [{"path": "adds.onnx"}],
                    "tensors": {
                        "inputs": [{"name": "x", **shape}],
                        "outputs": [{"name": "y", **shape}],
                    },
                    "pipeline": {
                        "pre": [{"op": "reshape", "name": "x", "shape": [1, 2]}],
                        "post": [{"op": "first_row", "name": "y", "to": "scores"}],
                    },
                }
            ],
        },
    )
    return root


def seen(prediction) -> tuple[str, str, float]:
    """The version that a prediction says, in three independent ways."""
    said = prediction.receipt.version.partition(".")[0]
    return said, prediction.value.removeprefix("version "), float(prediction.outputs["scores"][1])


def test_versions_swap_under_eight_callers_without_a_failed_or_a_mixed_answer(tmp_path):
    build(tmp_path / "1", 1)
    stop, problems, counts = threading.Event(), [], [0] * CALLERS
    with wherever.Client(packages=[tmp_path]) as client:
        adds = client.model("adds")

        def call(caller: int) -> None:
            newest = 0
            while not stop.is_set():
                try:
                    said, label, number = seen(adds(np.zeros(2, np.float32)))
                except Exception as error:
                    problems.append(error)
                    return
                if not (said == label and float(said) == number and int(said) >= newest):
                    problems.append((said, label, number, newest))
                newest = int(said)
                counts[caller] += 1

        callers = [threading.Thread(target=call, args=(n,)) for n in range(CALLERS)]
        for caller in callers:
            caller.start()
        for version in range(2, SWAPS + 2):
            build(tmp_path / str(version), version)
            assert client.refresh() == []
        stop.set()
        for caller in callers:
            caller.join()
        assert problems == []
        assert min(counts) > 0
        assert adds.version == f"{SWAPS + 1}.0.0"
        assert len(client._own.open()._residents) == 1  # the old ones are let go of


def test_a_newer_version_that_does_not_load_leaves_the_old_one_serving(tmp_path):
    build(tmp_path / "1", 1)
    with wherever.Client(packages=[tmp_path]) as client:
        adds = client.model("adds")
        adds(np.zeros(2, np.float32))
        build(tmp_path / "2", 2, damaged=True)
        ((name, error),) = client.refresh()
        assert name == "adds"
        assert isinstance(error, EngineError)
        assert adds(np.zeros(2, np.float32)).receipt.version == "1.0.0"
        build(tmp_path / "3", 3)
        assert client.refresh() == []
        assert adds(np.zeros(2, np.float32)).receipt.version == "3.0.0"


def test_a_host_swaps_what_its_names_mean_and_keeps_what_was_asked_for_by_version(tmp_path):
    build(tmp_path / "1", 1)
    host = LocalHost(Store([tmp_path], builtin=False), distance="cloud", machine=probe())
    assert host.resolve("adds").ran.version == "1.0.0"
    assert host.resolve("adds", "1.0.0").ran.version == "1.0.0"
    build(tmp_path / "2", 2)
    assert host.refresh() == []
    assert host.resolve("adds").ran.version == "2.0.0"
    assert host.resolve("adds", "1.0.0").ran.version == "1.0.0"


def test_a_package_that_has_gone_goes_on_serving_from_memory(tmp_path):
    root = build(tmp_path / "1", 1)
    with wherever.Client(packages=[tmp_path]) as client:
        adds = client.model("adds")
        adds(np.zeros(2, np.float32))
        for path in root.iterdir():
            path.unlink()
        root.rmdir()
        ((name, error),) = client.refresh()
        assert (name, error.code) == ("adds", "model_not_found")
        assert adds(np.zeros(2, np.float32)).receipt.version == "1.0.0"


class InTurns:
    """Two versions that take turns under one path."""

    def __init__(self, root: Path) -> None:
        self._shown, self._hidden = build(root / "adds", 1), build(root / ".adds", 2)

    def swap(self) -> None:
        between = self._shown.with_name(".between")
        self._shown.rename(between)
        self._hidden.rename(self._shown)
        between.rename(self._hidden)


@pytest.mark.parametrize("swaps", [100, pytest.param(1000, marks=pytest.mark.full)])
def test_swaps_in_place_fail_no_call_mix_no_answer_and_free_each_session(tmp_path, swaps):
    versions = InTurns(tmp_path)
    host = LocalHost(Store([tmp_path], builtin=False), distance="device", threads=1)
    stop, problems, counts = threading.Event(), [], [0] * CALLERS

    def call(caller: int) -> None:
        while not stop.is_set():
            try:
                answer = host.resolve("adds").answer({"x": np.zeros(2, np.float32)}, {})
                said = f"{answer.outputs['scores'][1]:.0f}.0.0"
                problems.extend([answer] * (said != answer.ran.version))
            except Exception as error:
                problems.append(error)
            counts[caller] += 1

    assert host.resolve("adds").ran.version == "1.0.0"
    callers = [threading.Thread(target=call, args=(n,)) for n in range(CALLERS)]
    for caller in callers:
        caller.start()
    freed, started = [], 0
    for swap in range(swaps):
        freed.append(host._residents.all()[0]._held.gone)
        versions.swap()
        assert host.refresh() == []
        assert host.resolve("adds").ran.version == f"{2 - swap % 2}.0.0"
        if swap == swaps // 2:
            started = resident_bytes()
    grown = resident_bytes() - started
    stop.set()
    for caller in callers:
        caller.join()
    assert problems == []
    assert min(counts) > 0
    assert all(gone.wait(10) for gone in freed)
    assert grown < 8_000_000  # in the second half


def test_a_swap_lets_a_call_that_runs_end_with_the_session_that_it_began_with(tmp_path):
    versions = InTurns(tmp_path)
    host = LocalHost(Store([tmp_path], builtin=False), distance="device", threads=1)
    old = host.resolve("adds")
    gone = old.resident._held.gone
    versions.swap()
    assert host.refresh() == []
    assert old.answer({"x": np.zeros(2, np.float32)}, {}).outputs["scores"][1] == 1
    assert not gone.is_set()
    del old
    assert gone.is_set()
    assert host.resolve("adds").ran.version == "2.0.0"


def test_versions_side_by_side_keep_answering_while_the_name_swaps(tmp_path):
    for version in (1, 2):
        build(tmp_path / str(version), version)
    host = LocalHost(Store([tmp_path], builtin=False), distance="device", threads=1)
    loaded = {version: host.resolve(f"adds@{version}.0.0") for version in (1, 2)}
    for newest in range(3, 6):
        build(tmp_path / str(newest), newest)
        assert host.refresh() == []
        assert host.resolve("adds").ran.version == f"{newest}.0.0"
        for version, variant in loaded.items():
            assert host.resolve(f"adds@{version}.0.0") is variant
            answer = variant.answer({"x": np.zeros(2, np.float32)}, {})
            assert answer.outputs["scores"][1] == version
    assert {known.version for known in host.loaded()} == {"1.0.0", "2.0.0", "5.0.0"}
