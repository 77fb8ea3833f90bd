"""`wherever gateway` as a process: what it says, what it refuses, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wherever_contracts.errors import AttemptError
from wherever_contracts.wire.tensors import InferRequest, from_array, to_array
from wherever_convert.builder import build_package
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint

# of a 64 x 64 product each; about a second
ROUNDS = 100_000


@pytest.fixture(scope="session")
def slow_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that multiplies a matrix as often as its input says, and gives that number back."""
    root = tmp_path_factory.mktemp("slow") / "slow"
    root.mkdir()
    (root / "slow.onnx").write_bytes(_slow_model())
    entry = {"name": "rounds", "dtype": "int64", "shape": []}
    done = {"name": "done", "dtype": "int64", "shape": []}
    variant = {
        "id": "loop",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "slow.onnx"}],
        "tensors": {"inputs": [entry], "outputs": [done]},
    }
    manifest = {
        "schema": "1.0",
        "name": "slow",
        "version": "1.0.0",
        "boundary": "anywhere",
        "reference": "loop",
        "signature": {
            "inputs": [{**entry, "kind": "tensor"}],
            "outputs": [done],
            "value": {"kind": "tensors"},
        },
        "variants": [variant],
    }
    return build_package(root, manifest).root


def _slow_model() -> bytes:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            helper.make_node("MatMul", ["matrix_in", "factor"], ["matrix_out"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("matrix_in", TensorProto.FLOAT, [64, 64]),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("matrix_out", TensorProto.FLOAT, [64, 64]),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Loop", ["rounds", "yes", "start"], ["end"], body=body),
            helper.make_node("ReduceSum", ["end"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
            helper.make_node("Cast", ["nothing"], ["nought"], to=TensorProto.INT64),
            helper.make_node("Add", ["rounds", "nought"], ["done"]),
        ],
        "slow",
        [helper.make_tensor_value_info("rounds", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("done", TensorProto.INT64, [])],
        [
            numpy_helper.from_array(np.array(True), "yes"),
            numpy_helper.from_array(np.eye(64, dtype=np.float32), "start"),
            numpy_helper.from_array(np.eye(64, dtype=np.float32), "factor"),
            numpy_helper.from_array(np.float32(0), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture
def remote() -> Iterator:
    hosts: list[RemoteHost] = []

    def make(address: str) -> RemoteHost:
        hosts.append(RemoteHost(Endpoint.parse(address)))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


def slowly(rounds: int) -> InferRequest:
    given = (from_array("rounds", np.array(rounds, np.int64)),)
    return InferRequest("slow", "", "", {}, given, boundary="anywhere")


def eventually_refused(host: RemoteHost) -> bool:
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        try:
            host.probe(1)
        except AttemptError:
            return True
    return False


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a gateway that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "wherever", "gateway", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **environment},
    )


def said(*arguments: str, **environment: str) -> tuple[str, str]:
    """First line and warnings of a gateway that is told to end once it is ready."""
    with subprocess.Popen(
        [sys.executable, "-m", "wherever", "gateway", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        line = process.stdout.readline()
        process.terminate()
        warnings = process.communicate(timeout=30)[1]
        assert process.returncode == 0, warnings
        return line, warnings


def test_one_json_line_says_where_it_serves_what(start_gateway, scales_package, echo_package):
    gateway = start_gateway(scales_package.root, echo_package.root)
    assert gateway.ready["models"] == [
        {"name": "echo", "version": "1.0.0", "variant": "identity"},
        {"name": "scales", "version": "1.0.0", "variant": "large"},
    ]
    assert gateway.ready["http"] is None
    assert gateway.ready["refused"] == []
    assert gateway.ready["pid"] == gateway.process.pid


def test_without_packages_it_serves_those_of_the_wheel_over_both_protocols(remote):
    with subprocess.Popen(
        [sys.executable, "-m", "wherever", "gateway", "--json", "--grpc-port=0", "--http-port=0"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        ready = json.loads(process.stdout.readline())
        with urllib.request.urlopen(f"http://{ready['http']}/v2/models/digits") as answer:
            assert json.load(answer)["name"] == "digits"
        remote(ready["grpc"]).probe(5)
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_for_people_one_line_says_the_same():
    line, warnings = said("--grpc-port=0", "--no-http")
    assert line.startswith("serving digits 1.0.0 on grpc://127.0.0.1:")
    assert "Ctrl-C" in line
    assert warnings == ""


def settle(host):
    """Wait until it stays with one connection, on which a later call arrives after earlier ones."""
    assert to_array(host.infer(slowly(1), 5).outputs[0]) == 1
    while not host.pings:
        time.sleep(0.01)


def test_calls_under_way_end_well_when_it_is_told_to_end(start_gateway, slow_package, remote):
    gateway = start_gateway(slow_package, arguments=("--threads", "2"))
    host = remote(gateway.address)
    settle(host)
    calls = [host.start(slowly(ROUNDS + number), 60) for number in range(8)]
    host.probe(5)  # answered: the calls before it on the connection have arrived
    gateway.send(signal.SIGTERM)
    answers = [to_array(call.result().outputs[0]).item() for call in calls]
    assert answers == [ROUNDS + number for number in range(8)]
    assert gateway.process.wait(timeout=10) == 0
    with pytest.raises(AttemptError):
        host.infer(slowly(1), 5)


def test_a_call_that_outlasts_the_grace_does_not_keep_it(start_gateway, slow_package, remote):
    gateway = start_gateway(slow_package, arguments=("--grace-s", "0.5"))
    host = remote(gateway.address)
    settle(host)
    call = host.start(slowly(10**9), 60)
    host.probe(5)
    started = time.monotonic()
    assert gateway.stop() == 1
    assert time.monotonic() - started < 5
    with pytest.raises(AttemptError):
        call.result()


def test_a_second_signal_ends_it_at_once(start_gateway, slow_package, remote):
    gateway = start_gateway(slow_package, arguments=("--grace-s", "60"))
    host = remote(gateway.address)
    settle(host)
    call = host.start(slowly(10**9), 60)
    host.probe(5)
    gateway.send(signal.SIGTERM)
    assert eventually_refused(host)  # the first signal was heard
    started = time.monotonic()
    assert gateway.stop() == 128 + signal.SIGTERM
    assert time.monotonic() - started < 5
    with pytest.raises(AttemptError):
        call.result()


def test_a_port_that_is_taken_is_said_in_a_sentence():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        for arguments in (
            ("--grpc-port", port, "--no-http"),
            ("--grpc-port", "0", "--http-port", port),
        ):
            done = run(*arguments)
            assert done.returncode == 1
            assert f"127.0.0.1:{port}" in done.stderr
            assert "Address already in use" in done.stderr
            assert "Traceback" not in done.stderr
            error = json.loads(run(*arguments, "--json").stdout)["error"]
            assert error["code"] == "settings"


def test_going_without_encryption_beyond_this_machine_comes_with_a_warning():
    asked = ("--host", "0.0.0.0", "--grpc-port=0", "--no-http", "--no-tls")
    line, warnings = said(*asked, "--insecure")
    assert "without encryption and keys" in warnings
    assert "grpc://0.0.0.0" in line
    done = run(*asked)
    assert done.returncode == 1
    assert "--insecure" in done.stderr


def test_a_damaged_package_is_named_and_keeps_no_other_from_being_served(
    scales_package, echo_package, tmp_path
):
    for package in (scales_package, echo_package):
        shutil.copytree(package.root, tmp_path / package.name)
    (tmp_path / "scales" / "large.onnx").write_bytes(b"damaged")
    arguments = ("--packages", str(tmp_path), "--grpc-port=0", "--no-http")
    line, warnings = said(*arguments)
    assert "echo 1.0.0" in line
    assert "not served" in warnings
    assert "large.onnx" in warnings
    ready = json.loads(said(*arguments, "--json")[0])
    assert [refused["code"] for refused in ready["refused"]]


def test_nothing_to_serve_is_an_error(tmp_path):
    done = run("--packages", str(tmp_path), "--grpc-port=0", "--no-http")
    assert done.returncode == 1
    assert "no model to serve" in done.stderr


def test_wrong_numbers_are_wrong_usage():
    for arguments in (("--grpc-port", "70000"), ("--threads", "0"), ("--max-waiting", "-1")):
        assert run(*arguments).returncode == 2


@pytest.fixture
def without_http(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which what serves HTTP is not installed."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules.update(starlette=None, uvicorn=None)\n"
    )
    return {"PYTHONPATH": str(tmp_path)}


def test_without_the_extra_it_serves_grpc_and_says_how_to_get_http(without_http):
    line, warnings = said("--grpc-port=0", "--json", **without_http)
    assert json.loads(line)["http"] is None
    assert "pip install 'wherever[gateway]'" in warnings


def test_without_the_extra_a_port_for_http_is_an_error(without_http):
    done = run("--grpc-port=0", "--http-port=0", **without_http)
    assert done.returncode == 1
    assert "pip install 'wherever[gateway]'" in done.stderr
