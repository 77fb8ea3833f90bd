"""An execution provider of ONNX Runtime other than the processor's, where it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [str(ROOT / folder) for folder in ("contracts", "device_profiles", "edge_runtime")]
PROGRAM = """
import json, sys
import numpy as np
from wherever_contracts.errors import EngineError
from wherever_devices.plans import RunPlan, departures
from wherever_edge.engines.onnxruntime import OnnxRuntimeEngine

engine = OnnxRuntimeEngine()
model = open(sys.argv[1], "rb").read()


def opened(device):
    plan = RunPlan("onnxruntime", device, "float32", 1)
    session = engine.open([model], file_format="onnx", plan=plan)
    return session, departures(plan, session.facts.ran)


session, departed = opened("openvino")
reference, _ = opened("cpu")
pixels = np.random.default_rng(0).uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)
ours, theirs = (each.run({"images": pixels})["output"] for each in (session, reference))
try:
    opened("cuda")
except EngineError as error:
    refused = str(error)
print(json.dumps({
    "devices": engine.devices(),
    "departed": departed,
    "provider": session.facts.provider,
    "device": session.facts.device,
    "off": float(np.abs(ours - theirs).max()),
    "refused": refused,
}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An interpreter that has the OpenVINO provider, and numpy alone beside it."""
    folder = tmp_path_factory.mktemp("providers")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "onnxruntime-openvino"], check=True)
    return python


@pytest.mark.timeout(600)
def test_a_provider_is_a_device_that_computes_in_float32_and_is_told(python, test_data):
    done = subprocess.run(
        [python, "-c", PROGRAM, str(test_data / "models/yolox_nano.onnx")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(SOURCES)},
    )
    told = json.loads(done.stdout)
    assert told["devices"] == ["cpu", "openvino"]
    assert told["departed"] == []
    assert told["device"] == "openvino"
    assert told["provider"].startswith("OpenVINOExecutionProvider")
    assert told["off"] < 1e-3, "bfloat16 would be off by some tenths"
    assert "it has: cpu, openvino" in told["refused"]
    assert "onnxruntime-gpu" in told["refused"]
