"""A round trip to our gateway against a bare gRPC call with the same bytes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import onnx
from gateway_process import Gateway
from harness import Row, interleaved
from onnx import TensorProto, helper

import wherever
from wherever_convert.builder import build_package
from wherever_edge.packages.store import Package

HERE = Path(__file__).parent
# (floats, rounds, calls a round, bar): 48 B and 600 KB of contents each way
SIZES = ((12, 60, 100, 1.5), (150_528, 40, 15, 1.4))


def rows() -> list[Row]:
    """`only_in_cloud` on a model that gives back what it gets, and an echo of bytes."""
    with tempfile.TemporaryDirectory() as directory, _echo_server() as bare:
        package = echo_package(Path(directory) / "echo")
        with Gateway(["--packages", str(package.root)]) as gateway:
            client = wherever.Client(gateways=[gateway.address], packages=[package.root])
            with client, grpc.insecure_channel(bare, options=_OPTIONS) as channel:
                return [_row(client, channel, *size) for size in SIZES]


_OPTIONS = [("grpc.max_receive_message_length", 1 << 26), ("grpc.max_send_message_length", 1 << 26)]


def _row(
    client: wherever.Client, channel: grpc.Channel, floats: int, rounds: int, calls: int, bar: float
) -> Row:
    echo = client.model("echo")
    values = np.linspace(0, 1, floats, dtype=np.float32)
    assert echo(values, mode="only_in_cloud").place == "cloud"
    contents = values.tobytes()
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/bare.Echo/Echo")
    assert ask(contents) == contents
    pair = interleaved(
        lambda: echo(values, mode="only_in_cloud"),
        lambda: ask(contents),
        rounds=rounds,
        calls=calls,
    )
    size = f"{len(contents)} B" if len(contents) < 1000 else f"{len(contents) // 1000} KB"
    return Row(
        f"`only_in_cloud` round trip, {size} each way",
        f"{pair.ours_s * 1e6:.0f} us, {pair.ratio:.2f} x",
        f"bare grpcio unary call {pair.reference_s * 1e6:.0f} us",
        f"<= {bar} x",
        pair.ratio <= bar,
    )


def echo_package(root: Path) -> Package:
    """A model that gives back what it gets."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "echo",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )
    root.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(root / "identity.onnx"))
    tensor = {"dtype": "float32", "shape": [-1]}
    return build_package(
        root,
        {
            "schema": "1.0",
            "name": "echo",
            "version": "1.0.0",
            "boundary": "anywhere",
            "reference": "identity",
            "signature": {
                "inputs": [{"name": "x", "kind": "tensor", **tensor}],
                "outputs": [{"name": "y", **tensor}],
                "value": {"kind": "tensors"},
            },
            "variants": [
                {
                    "id": "identity",
                    "format": "onnx",
                    "precision": "float32",
                    "files": [{"path": "identity.onnx"}],
                    "tensors": {
                        "inputs": [{"name": "x", **tensor}],
                        "outputs": [{"name": "y", **tensor}],
                    },
                }
            ],
        },
    )


@contextmanager
def _echo_server() -> Iterator[str]:
    command = [sys.executable, str(HERE / "bare_echo.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
