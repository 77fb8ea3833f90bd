"""ONNX in float16: half the size, for graphics processors; float32 where numbers are too large."""

from __future__ import annotations

from wherever_convert.children import run_child
from wherever_convert.frameworks import framework
from wherever_convert.model_file import ModelFile
from wherever_convert.targets import Job, Made
from wherever_convert.targets.likeness import refuse_unlike


def make(job: Job) -> Made:
    """Convert the float model; inputs and outputs stay float32.

    Raises:
        CannotMakeError: its answers are more than 1 % off.
        ConversionError: the converter failed; the message has its reason.
        MissingExtraError: onnx is not installed.
    """
    framework("onnx", "converting to float16")
    output = job.scratch / "float16.onnx"
    orders = {
        "model": str(job.of.write(job.scratch, "float")[0]),
        "samples": str(job.bench.inputs()),
        "output": str(output),
    }
    made = run_child("float16", orders, job.scratch, "converting the model to float16")
    file = ModelFile("onnx", "float16", (output.read_bytes(),))
    facts = {
        "method": "float16, inputs and outputs float32",
        "float": made["floats"],
        "gap": refuse_unlike(job, file),
    }
    return Made(file, facts)
