"""A memory budget over models that together take three times as much, called at random."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness import Row
from onnx import TensorProto, helper, numpy_helper

from wherever_contracts.tensors import TensorSpec
from wherever_convert.builder import build_package
from wherever_devices.plans import RunPlan
from wherever_edge import plugins

BUDGET_MB = 150
BAR_MB = 165
_DATA = "WHEREVER_TEST_DATA"
# what each engine takes of the shared models; OpenVINO's own runtime leaves room for small ones
_SHARED = {
    "onnxruntime": (
        "FastestDet.onnx",
        "magika_fast_v2_1.onnx",
        "picodet_s_416_coco.onnx",
        "ultraface-RFB-320.onnx",
        "ultraface-slim-320.onnx",
        "yolox_nano.onnx",
    ),
    "openvino": (
        "FastestDet.onnx",
        "magika_fast_v2_1.onnx",
        "vww_96_float.tflite",
        "mobilenet_v1_0.25_224_float.tflite",
    ),
    "litert": (
        "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite",
        "mobilenet_v2_1.0_224_quant.tflite",
        "mobilenet_v1_0.25_224_float.tflite",
        "cifar10_resnet_large_float.tflite",
        "vww_96_float.tflite",
    ),
}
_LAYERS, _WIDTH = 4, 720


def rows() -> list[Row]:
    """One caller, and four at once."""
    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder)
        solo_mb = sum(_run(packages, "--only", name)["final_mb"] for name in build_all(packages))
        return [_row(callers, solo_mb, measure(packages, callers, 250)) for callers in (1, 4)]


def measure(packages: Path, callers: int, calls: int) -> dict[str, Any]:
    """Call all models at random within the budget, and each once without one.

    Args:
        packages: the directory of the packages.
        callers: threads that call.
        calls: of all of them together.
    """
    with tempfile.TemporaryDirectory() as folder:
        answers = str(Path(folder) / "answers.npz")
        free = _run(packages, "--calls", "0", "--write", answers)
        said = _run(
            packages,
            *("--budget-mb", str(BUDGET_MB), "--compare", answers),
            *("--callers", str(callers), "--calls", str(calls)),
        )
    return {**said, "together_mb": free["final_mb"]}


def build_all(root: Path) -> list[str]:
    """Packages of the shared models, where they are, and of made ones; their names."""
    data = os.environ.get(_DATA)
    shared = _SHARED if data else {}
    made = 10 if data else 24
    for number in range(made):
        model = _perceptron(number)
        build(root / f"made-{number}", model, "onnx", "onnxruntime")
    for engine, files in shared.items():
        for file in files:
            stem, _, suffix = file.rpartition(".")
            name = f"{stem.lower().replace('_', '-').replace('.', '-')}-{engine}"
            content = (Path(data or "") / "models" / file).read_bytes()
            build(root / name, content, suffix, engine)
    return sorted(path.name for path in root.iterdir())


def build(root: Path, model: bytes, file_format: str, engine: str) -> None:
    """A package whose signature is the model's own tensors."""
    plan = RunPlan(engine, "cpu", "float32", 1)
    opener = plugins.load("wherever.engines", engine)()
    session = opener.open([model], file_format=file_format, plan=plan)
    inputs, outputs = (
        [_entry(spec) for spec in side] for side in (session.inputs, session.outputs)
    )
    root.mkdir(parents=True)
    (root / f"model.{file_format}").write_bytes(model)
    build_package(
        root,
        {
            "name": root.name,
            "version": "1.0.0",
            "boundary": "anywhere",
            "reference": "only",
            "signature": {
                "inputs": [{**entry, "kind": "tensor"} for entry in inputs],
                "outputs": outputs,
                "value": {"kind": "tensors"},
            },
            "variants": [
                {
                    "id": "only",
                    "format": file_format,
                    "precision": session.facts.precision,
                    "files": [{"path": f"model.{file_format}"}],
                    "tensors": {"inputs": inputs, "outputs": outputs},
                    "needs": {"engines": [engine]},
                }
            ],
        },
    )


def _entry(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}


def _perceptron(seed: int) -> bytes:
    """A model of some layers, 8 MB."""
    given = np.random.default_rng(seed)
    weights = [
        given.normal(0, _WIDTH**-0.5, (_WIDTH, _WIDTH)).astype(np.float32) for _ in range(_LAYERS)
    ]
    nodes = [
        helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"x{layer + 1}"])
        for layer in range(_LAYERS)
    ]
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, [1, _WIDTH])],
        [helper.make_tensor_value_info(f"x{_LAYERS}", TensorProto.FLOAT, [1, _WIDTH])],
        [numpy_helper.from_array(array, f"w{layer}") for layer, array in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def _run(packages: Path, *arguments: str) -> dict[str, Any]:
    program = Path(__file__).with_name("random_callers.py")
    done = subprocess.run(
        [sys.executable, str(program), str(packages), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _row(callers: int, solo_mb: float, said: dict[str, Any]) -> Row:
    return Row(
        f"budget of {BUDGET_MB} MB over {said['models']} models, {callers} at a time: "
        "the process over its start",
        f"peak {said['peak_mb']:.0f} MB, {said['evictions']} put out, "
        f"{len(said['problems'])} failures, {said['calls_per_s']:.0f} calls/s",
        f"all at once without one: {said['together_mb']:.0f} MB; each alone: {solo_mb:.0f} MB",
        f"<= {BAR_MB} MB over >= {3 * BUDGET_MB} MB alone, 0 failures",
        said["peak_mb"] <= BAR_MB and solo_mb >= 3 * BUDGET_MB and not said["problems"],
    )


def main() -> None:
    """Measure once, and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--calls", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build_all(Path(folder))
        print(json.dumps(measure(Path(folder), given.callers, given.calls)))


if __name__ == "__main__":
    main()
