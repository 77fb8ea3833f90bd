"""Packages change under running calls: none fails, none is mixed of two versions."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import wherever
from wherever_contracts.errors import EngineError
from wherever_convert.builder import build_package
from wherever_devices.machine import probe
from wherever_edge.host import LocalHost
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
        assert len(client._local_host()._residents) == 1  # the old ones are let go of


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
