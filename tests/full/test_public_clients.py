"""Clients of others, unmodified and in environments of their own, against our gateway."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from PIL import Image

from wherever_edge.oip.keys import KeyStore
from wherever_edge.packages.store import BUILTIN

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
SCRIPTS = Path(__file__).parent / "public_clients"


@pytest.fixture(scope="module")
def gateway(scales_package, tmp_path_factory):
    """Addresses and an administrator's key of a gateway process that needs keys."""
    home = tmp_path_factory.mktemp("home")
    key = KeyStore(home / "keys").add("operator", "admin")
    command = [sys.executable, "-m", "wherever", "gateway", "--json", "--keys", "--home", str(home)]
    command += ["--grpc-port", "0", "--http-port", "0", "--packages", str(scales_package.root)]
    command += ["--packages", str(BUILTIN / "digits")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ready = json.loads(process.stdout.readline())
        yield ready["http"], ready["grpc"], f"Bearer {key}"
        process.terminate()


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("image") / "digit.png"
    Image.new("L", (8, 8), 255).save(path)
    return path


def held(python, script: str, gateway, picture) -> list[str]:
    command = [python, SCRIPTS / script, *gateway, picture]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_tritons_clients_over_http_and_grpc_sync_and_asyncio(gateway, picture, peer_python):
    python = peer_python("tritonclient", "tritonclient[grpc,http]==2.73.0")
    questions = ["health", "metadata", "repository", "statistics"]
    http = ["binary", "json", "gzip", "deflate", "image", "async", "refusal", *questions]
    grpc = ["gzip", "image", "stream", *questions]
    expected = [f"http {name}" for name in http] + [f"grpc {name}" for name in grpc]
    assert held(python, "triton_calls.py", gateway, picture) == [*expected, "asyncio"]


def test_kserves_clients_over_rest_and_grpc(gateway, picture, peer_python):
    python = peer_python("kserve", "kserve==0.21.0")
    rest = [f"rest {name}" for name in ("health", "json", "binary", "image")]
    grpc = [f"grpc {name}" for name in ("health", "typed", "raw", "image")]
    assert held(python, "kserve_calls.py", gateway, picture) == [*rest, *grpc]


def test_a_tool_finds_the_services_by_reflection(gateway):
    _, address, authorization = gateway
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    with grpc.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (told,) = stub.ServerReflectionInfo(
            iter([question]), metadata=(("authorization", authorization),), timeout=20
        )
    names = {service.name for service in told.list_services_response.service}
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names
