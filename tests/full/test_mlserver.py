"""MLServer, unmodified and in an environment of its own: asked directly, and behind our gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from wherever_contracts.errors import AttemptError, RefusedError, UnreachableError
from wherever_contracts.wire.tensors import InferRequest, from_array, from_bytes, to_array
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
MODELS = Path(__file__).parent / "mlserver_models"
NUMBERS = np.arange(12, dtype=np.float32).reshape(4, 3)
TEXTS = ["grüß Gott", "", "naïve"]


@pytest.fixture(scope="module")
def mlserver(peer_python, free_port, tmp_path_factory):
    """Ports of gRPC and REST of an MLServer with the models `doubled` and `capitals`."""
    # 1.7.1 does not start with the newer uvloop
    python = peer_python("mlserver", "mlserver==1.7.1", "uvloop==0.21.0")
    folder = tmp_path_factory.mktemp("mlserver")
    grpc_port, http_port, metrics_port = (free_port() for _ in range(3))
    settings = {"host": "127.0.0.1", "grpc_port": grpc_port, "http_port": http_port}
    settings |= {"metrics_port": metrics_port, "parallel_workers": 0, "debug": False}
    settings |= {"grpc_max_message_length": 64 * 1024 * 1024}
    (folder / "settings.json").write_text(json.dumps(settings))
    for name, runtime in (("doubled", "Doubled"), ("capitals", "Capitals")):
        (folder / name).mkdir()
        said = {"name": name, "implementation": f"runtimes.{runtime}"}
        said["parameters"] = {"version": "v3"}
        (folder / name / "model-settings.json").write_text(json.dumps(said))
    command = [python.parent / "mlserver", "start", folder]
    environment = {**os.environ, "PYTHONPATH": str(MODELS)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_until_ready(f"grpc://127.0.0.1:{grpc_port}?rest=off", process, folder / "log")
        yield grpc_port, http_port
    finally:
        process.terminate()
        process.wait(30)


def wait_until_ready(address: str, process: subprocess.Popen, log: Path) -> None:
    ends = time.monotonic() + 120
    with closing(RemoteHost(Endpoint.parse(address))) as host:
        while True:
            try:
                if host.model_ready("capitals", "", 2.0) and host.model_ready("doubled", "", 2.0):
                    return
            except AttemptError:
                assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < ends, log.read_text()[-4000:]
            time.sleep(0.1)


@pytest.fixture(scope="module")
def gateway(mlserver, tmp_path_factory):
    """Ports of gRPC and REST of a gateway before it, by a `gateway.toml`."""
    grpc_port, http_port = mlserver
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "gateway.toml").write_text(
        f"""
        [backends.over-grpc]
        endpoints = ["grpc://127.0.0.1:{grpc_port}?rest=off"]
        models = ["doubled", "capitals"]

        [backends.over-rest]
        endpoints = ["http://127.0.0.1:{http_port}"]
        models = {{ twice = "doubled", shouted = "capitals" }}
        """
    )
    command = [
        sys.executable,
        "-m",
        "wherever",
        "gateway",
        "--json",
        "--home",
        str(folder / "home"),
    ]
    command += ["--config", str(folder / "gateway.toml"), "--grpc-port", "0", "--http-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ready = json.loads(process.stdout.readline())
        yield tuple(int(ready[name].rpartition(":")[2]) for name in ("grpc", "http"))
        process.terminate()


WAYS = [
    "directly, over gRPC",
    "directly, over REST",
    "behind the gateway, over gRPC",
    "behind the gateway, over gRPC and then REST",
    "behind the gateway, over REST",
]


@pytest.fixture(params=WAYS)
def way(request, mlserver, gateway):
    """A host, and what the two models are called there."""
    grpc_at, http_at = mlserver if "directly" in request.param else gateway
    over_rest = request.param.endswith(", over REST")
    address = f"http://127.0.0.1:{http_at}" if over_rest else f"grpc://127.0.0.1:{grpc_at}?rest=off"
    names = ("twice", "shouted") if "then REST" in request.param else ("doubled", "capitals")
    with closing(RemoteHost(Endpoint.parse(address))) as host:
        yield host, *names


def call(model: str, *inputs, **parameters) -> InferRequest:
    return InferRequest(model, "", "mine", parameters, inputs, boundary="anywhere")


def test_tensors_of_numbers(way):
    host, doubled, _ = way
    for dtype in (np.float32, np.float64, np.int64, np.uint8):
        array = NUMBERS.astype(dtype)
        response = host.infer(call(doubled, from_array("x", array)), 20.0)
        assert (response.model, response.id) == (doubled, "mine")
        assert (response.outputs[0].name, response.outputs[0].datatype) == (
            "y",
            from_array("x", array).datatype,
        )
        np.testing.assert_array_equal(to_array(response.outputs[0]), 2 * array)


def test_a_tensor_of_megabytes(way):
    host, doubled, _ = way
    array = np.random.default_rng(0).random((8, 150_000), np.float32)
    response = host.infer(call(doubled, from_array("x", array)), 60.0)
    np.testing.assert_array_equal(to_array(response.outputs[0]), 2 * array)


def test_texts_by_content_type(way):
    host, _, capitals = way
    texts = from_bytes("text", [text.encode() for text in TEXTS], (3,), "str")
    response = host.infer(call(capitals, texts), 20.0)
    outputs = {each.name: to_array(each).ravel().tolist() for each in response.outputs}
    assert outputs["capitals"] == [text.upper().encode() for text in TEXTS]
    assert outputs["bytes"] == [len(text.encode()) for text in TEXTS]


def is_ready(host: RemoteHost, model: str) -> bool:
    try:
        return host.model_ready(model, "", 5.0)
    except AttemptError as error:  # over gRPC, MLServer has no status of its own for "not here"
        assert "not found" in str(error)
        return False


def test_what_it_is_and_whether_it_is_ready(way):
    host, doubled, _ = way
    host.probe(5.0)
    assert host.model_ready(doubled, "", 5.0)
    assert not is_ready(host, "nobody")
    metadata = host.model_metadata(doubled, "", 5.0)
    assert metadata.name == doubled
    with pytest.raises(RefusedError):
        host.model_metadata("nobody", "", 5.0)


def test_what_it_refuses_is_refused_with_its_words(way):
    host, doubled, _ = way
    with pytest.raises(AttemptError, match="eight rows are the most") as caught:
        host.infer(call(doubled, from_array("x", np.zeros((9, 1), np.float32))), 20.0)
    assert not isinstance(caught.value, UnreachableError)
    with pytest.raises(RefusedError, match="nobody"):
        host.infer(call("nobody", from_array("x", NUMBERS)), 20.0)
    # and it goes on
    assert host.infer(call(doubled, from_array("x", NUMBERS)), 20.0).outputs


def test_what_only_ours_understand_disturbs_nobody(way):
    host, doubled, _ = way
    said = {"signature": "s", "priority": "batch"}
    assert host.infer(call(doubled, from_array("x", NUMBERS), **said), 20.0).outputs
