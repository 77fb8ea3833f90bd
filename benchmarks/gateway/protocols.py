"""What a call takes by protocol and by the size of its answer: embeddings of 384 floats.

    python benchmarks/gateway/protocols.py [--rounds 9] [--plot docs/images/protocols.svg]

A gateway in a process of its own answers with 1 to 1,024 rows (1.5 KB to 1.5 MB) from 8 floats for
each; the model takes microseconds. One caller asks over each protocol in turn, round by round; the
figures are medians. Triton's client is unmodified and speaks the protocol's public forms; ours
speaks gRPC with its own codec, and the stream of calls.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import grpc
import numpy as np
import onnx
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from onnx import TensorProto, helper, numpy_helper

from wherever_contracts.tensors import Array
from wherever_contracts.wire.messages import decode_response, encode_request
from wherever_contracts.wire.tensors import InferRequest, from_array, to_array
from wherever_convert.builder import build_package
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from gateway.peers_models import manifest  # noqa: E402
from gateway_process import Gateway  # noqa: E402 (beside this folder)

GIVEN, MADE = 8, 384
ROWS = (1, 4, 16, 64, 256, 1024)
INFER = "/inference.GRPCInferenceService/ModelInfer"

Ask: TypeAlias = Callable[[Array], Array]
Seconds: TypeAlias = dict[str, list[float]]


def main() -> None:
    """Measure, print the table, and draw it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=100, help="calls of one row in a round")
    parser.add_argument("--plot", type=Path, help="where to put the picture (SVG or PNG)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["WHEREVER_HOME"] = scratch
        taken = measure(_package(Path(scratch) / "embed"), arguments.rounds, arguments.calls)
    print(table(taken))
    if arguments.plot:
        draw(taken, arguments.plot)


def measure(package: Path, rounds: int, calls: int) -> Seconds:
    """Seconds for a call, by protocol: one figure for each number of rows in `ROWS`."""
    served = ["--packages", str(package), "--http-port", "0"]
    with Gateway(served, http=True) as gateway, _ways(gateway) as ways:
        taken: Seconds = {way: [] for way in ways}
        for rows in ROWS:
            fewer = max(5, calls // max(1, rows // 16))
            for way, seconds in _interleaved(ways, rows, rounds, fewer).items():
                taken[way].append(statistics.median(seconds))
    return taken


def table(taken: Mapping[str, Sequence[float]]) -> str:
    """Milliseconds for a call, as Markdown."""
    sizes = "".join(f" {rows:,} |" for rows in ROWS)
    lines = [f"| rows of {MADE} floats |{sizes}", "|---" * (len(ROWS) + 1) + "|"]
    lines += [
        f"| {way} |" + "".join(f" {each * 1e3:.2f} |" for each in seconds)
        for way, seconds in taken.items()
    ]
    return "\n".join(lines)


def draw(taken: Mapping[str, Sequence[float]], file: Path) -> None:
    """The same as a picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "protocols", "font.size": 9})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for way, seconds in taken.items():
        axes.plot(ROWS, [each * 1e3 for each in seconds], marker="o", markersize=3, label=way)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(ROWS, [f"{rows:,}" for rows in ROWS])
    axes.set_xlabel(f"rows of {MADE} floats in the answer")
    axes.set_ylabel("milliseconds for a call, median")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None})


def _interleaved(ways: Mapping[str, Ask], rows: int, rounds: int, calls: int) -> Seconds:
    given = np.random.default_rng(rows).standard_normal((rows, GIVEN), np.float32)
    answers = [ask(given) for ask in ways.values()]
    for answer in answers:
        assert answer.shape == (rows, MADE)
        assert np.allclose(answer, answers[0], atol=1e-5)
    taken: Seconds = {way: [] for way in ways}
    for _ in range(rounds):
        for way, ask in ways.items():
            for _ in range(calls):
                started = perf_counter()
                ask(given)
                taken[way].append(perf_counter() - started)
    return taken


@contextmanager
def _ways(gateway: Gateway) -> Iterator[dict[str, Ask]]:
    address, web = gateway.address, gateway.ready["http"]
    with (
        closing(triton_http.InferenceServerClient(web)) as http,
        closing(triton_grpc.InferenceServerClient(address)) as unary,
        grpc.insecure_channel(address, options=_LARGE) as channel,
        closing(RemoteHost(Endpoint.parse(address))) as remote,
    ):
        yield {
            "REST JSON, Triton's client": _rest(http, binary=False),
            "REST binary, Triton's client": _rest(http, binary=True),
            "gRPC, Triton's client": _unary(unary),
            "gRPC, our codec": _own(channel),
            "stream, our client": lambda given: _first(remote.infer(_request(given), 30)),
        }


_LARGE = [("grpc.max_receive_message_length", 1 << 26)]


def _rest(client: Any, *, binary: bool) -> Ask:
    wanted = [triton_http.InferRequestedOutput("y", binary_data=binary)]

    def ask(given: Array) -> Array:
        tensor = triton_http.InferInput("x", given.shape, "FP32")
        tensor.set_data_from_numpy(given, binary_data=binary)
        answer: Array = client.infer("embed", [tensor], outputs=wanted).as_numpy("y")
        return answer

    return ask


def _unary(client: Any) -> Ask:
    def ask(given: Array) -> Array:
        tensor = triton_grpc.InferInput("x", given.shape, "FP32")
        tensor.set_data_from_numpy(given)
        answer: Array = client.infer("embed", [tensor]).as_numpy("y")
        return answer

    return ask


def _own(channel: grpc.Channel) -> Ask:
    stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER)
    return lambda given: _first(decode_response(stub(encode_request(_request(given)))))


def _request(given: Array) -> InferRequest:
    tensors = (from_array("x", given),)
    return InferRequest("embed", "", "", {}, tensors, boundary="anywhere")


def _first(response: Any) -> Array:
    return to_array(response.outputs[0])


def _package(root: Path) -> Path:
    """The model that embeds."""
    weights = np.random.default_rng(7).standard_normal((GIVEN, MADE)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        "embed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", GIVEN])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", MADE])],
        [numpy_helper.from_array(weights, "W")],
    )
    root.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(root / "model.onnx"))
    build_package(root, manifest("embed", (GIVEN,), (MADE,)))
    return root


if __name__ == "__main__":
    main()
