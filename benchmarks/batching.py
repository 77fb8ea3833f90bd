"""What calls gain by sharing runs: a perceptron whose weights are read once for many rows."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from harness import Row
from onnx import ModelProto, TensorProto, helper, numpy_helper, save
from onnxruntime.quantization import QuantType, quantize_dynamic

from wherever_contracts.tensors import Array
from wherever_contracts.wire.tensors import InferRequest, from_array
from wherever_convert.builder import build_package
from wherever_edge.builtin import digits_test_split
from wherever_edge.host import LocalHost
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.package import Package
from wherever_edge.packages.store import Store

CALLERS = 32
ROUNDS = 7
ROUND_S = 0.5
LAYERS = (784, 1024, 1024, 10)  # 7.4 MB of weights: 0.3 ms for a row
LARGER = (784, 2048, 2048, 10)  # 23 MB: 0.8 ms

Ask = Callable[[Array], object]


class Load(NamedTuple):
    """What many callers saw: answers a second, and seconds that 99 of 100 calls took at most."""

    rate: float
    p99_s: float


def rows() -> list[Row]:
    """Batching on against off: two sizes of weights, the tiny digits model, and over gRPC."""
    with tempfile.TemporaryDirectory() as scratch:
        store = Store([_package(Path(scratch) / "mlp", LAYERS).root])
        larger = Store([_package(Path(scratch) / "larger", LARGER).root])
        samples = np.random.default_rng(1).standard_normal((CALLERS, 784)).astype(np.float32)
        digits = digits_test_split()[0][:CALLERS].astype(np.float32)
        return [
            _row("MLP 784-1024-1024-10, float32", _on_device(store, "mlp", "float32", samples), 3),
            _row("the same in int8", _on_device(store, "mlp", "int8", samples), 0),
            _row("MLP 784-2048-2048-10, float32", _on_device(larger, "mlp", "float32", samples), 0),
            _row("the built-in digits (5 us)", _on_device(store, "digits", "", digits), 0),
            _row("the float32 MLP over gRPC", _over_grpc(store, samples), 0),
        ]


def _row(what: str, loads: tuple[Load, Load], bar: float) -> Row:
    on, off = loads
    ratio, slower = on.rate / off.rate, on.p99_s / off.p99_s
    return Row(
        f"{what}: {CALLERS} callers, batching on",
        f"{on.rate:.0f}/s, p99 {on.p99_s * 1e3:.1f} ms",
        f"off: {off.rate:.0f}/s, p99 {off.p99_s * 1e3:.1f} ms ({ratio:.2f} x, p99 {slower:.2f} x)",
        f">= {bar:g} x, p99 <= 2 x" if bar else "",
        ratio >= bar and slower <= 2 if bar else None,
    )


def _on_device(store: Store, model: str, variant: str, samples: Array) -> tuple[Load, Load]:
    """Callers of a host in their own process."""

    def ask_of(host: LocalHost) -> Ask:
        loaded = host.resolve(model, variant=variant)
        name = loaded.signature.inputs[0].name
        return lambda sample: loaded.answer({name: sample}, {})

    hosts = [LocalHost(store, distance="device", batching=on) for on in (True, False)]
    with closing(hosts[0]), closing(hosts[1]):
        return _compare(ask_of(hosts[0]), ask_of(hosts[1]), samples)


def _over_grpc(store: Store, samples: Array) -> tuple[Load, Load]:
    """Callers of a server in the same process: half of the work is the callers' own."""
    with _served(store, batching=True) as on, _served(store, batching=False) as off:
        return _compare(partial(_ask_remote, on), partial(_ask_remote, off), samples)


@contextmanager
def _served(store: Store, *, batching: bool) -> Iterator[RemoteHost]:
    host = LocalHost(store, distance="cloud", batching=batching)
    server = InferenceServer(host, port=0)
    server.start()
    with closing(host), closing(RemoteHost(Endpoint.parse(f"127.0.0.1:{server.port}"))) as remote:
        yield remote
        server.drain(1)


def _ask_remote(remote: RemoteHost, sample: Array) -> object:
    given = (from_array("features", sample),)
    request = InferRequest("mlp", "", "", {"variant": "float32"}, given, boundary="anywhere")
    return remote.infer(request, 10)


def _compare(on: Ask, off: Ask, samples: Array) -> tuple[Load, Load]:
    """The two take turns; the medians of their rounds."""
    for ask in (on, off):
        _load(ask, samples)
    loads = [(_load(on, samples), _load(off, samples)) for _ in range(ROUNDS)]
    return _median([pair[0] for pair in loads]), _median([pair[1] for pair in loads])


def _median(loads: list[Load]) -> Load:
    return Load(median(load.rate for load in loads), median(load.p99_s for load in loads))


def _load(ask: Ask, samples: Array) -> Load:
    """Callers that ask again as soon as they are answered, for a while."""
    begin = threading.Barrier(len(samples))

    def call(sample: Array) -> list[float]:
        begin.wait()
        ends = perf_counter() + ROUND_S
        took: list[float] = []
        while (started := perf_counter()) < ends:
            ask(sample)
            took.append(perf_counter() - started)
        return took

    started = perf_counter()
    with ThreadPoolExecutor(len(samples)) as pool:
        took = np.concatenate(list(pool.map(call, samples)))
    return Load(len(took) / (perf_counter() - started), float(np.quantile(took, 0.99)))


def _package(root: Path, layers: Sequence[int]) -> Package:
    """The perceptron in float32 and in int8."""
    root.mkdir()
    save(_perceptron(layers), root / "float32.onnx")
    logging.disable(logging.WARNING)  # it recommends a step that changes nothing here
    quantize_dynamic(root / "float32.onnx", root / "int8.onnx", weight_type=QuantType.QInt8)
    logging.disable(logging.NOTSET)
    return build_package(
        root,
        {
            "schema": "1.0",
            "name": "mlp",
            "version": "1.0.0",
            "boundary": "anywhere",
            "reference": "float32",
            "signature": {
                "inputs": [{"name": "features", "kind": "tensor", **_shape(LAYERS[0])}],
                "outputs": [{"name": "scores", **_shape(LAYERS[-1])}],
                "value": {"kind": "tensors"},
            },
            "variants": [_variant(precision) for precision in ("float32", "int8")],
        },
    )


def _variant(precision: str) -> dict[str, Any]:
    return {
        "id": precision,
        "format": "onnx",
        "precision": precision,
        "files": [{"path": f"{precision}.onnx"}],
        "tensors": {
            "inputs": [{"name": "x", **_shape(-1, LAYERS[0])}],
            "outputs": [{"name": "y", **_shape(-1, LAYERS[-1])}],
            "batch": True,
        },
        "pipeline": {
            "pre": [{"op": "reshape", "name": "features", "to": "x", "shape": [1, LAYERS[0]]}],
            "post": [{"op": "first_row", "name": "y", "to": "scores"}],
        },
    }


def _shape(*shape: int) -> dict[str, Any]:
    return {"dtype": "float32", "shape": list(shape)}


def _perceptron(layers: Sequence[int]) -> ModelProto:
    rng = np.random.default_rng(0)
    nodes, weights, given = [], [], "x"
    for number, (before, after) in enumerate(pairwise(layers)):
        weight = rng.standard_normal((before, after)) / before**0.5
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"w{number}"))
        last = number == len(layers) - 2
        made = "y" if last else f"h{number}"
        nodes.append(helper.make_node("MatMul", [given, f"w{number}"], [made]))
        if not last:
            nodes.append(helper.make_node("Relu", [made], [f"r{number}"]))
            given = f"r{number}"
    tensor = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    graph = helper.make_graph(
        nodes,
        "mlp",
        [tensor("x", shape=["rows", LAYERS[0]])],
        [tensor("y", shape=["rows", LAYERS[-1]])],
        weights,
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9)
