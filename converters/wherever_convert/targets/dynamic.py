"""Dynamic int8 in ONNX: the weights of matrix products in int8, ranges as they come."""

from __future__ import annotations

from wherever_convert.children import run_child
from wherever_convert.frameworks import framework
from wherever_convert.model_file import ModelFile
from wherever_convert.targets import CannotMakeError, Job, Made


def make(job: Job) -> Made:
    """Quantize the weights of matrix products, with a scale for each column.

    Raises:
        CannotMakeError: there are none, or most of the work is convolutions, which become several
            times slower this way.
        ConversionError: the quantizer failed; the message has its reason.
        MissingExtraError: onnx is not installed.
    """
    framework("onnx", "quantizing")
    output = job.scratch / "dynamic.onnx"
    orders = {
        "model": str(job.of.write(job.scratch, "float")[0]),
        "output": str(output),
    }
    made = run_child("dynamic", orders, job.scratch, "quantizing the model's weights")
    if made["refused"]:
        raise CannotMakeError(made["refused"])
    facts = {"method": "dynamic, weights with a scale for each column", "layers": made["layers"]}
    file = ModelFile("onnx", "int8", (output.read_bytes(),))
    # OpenVINO reads such files, and computes them in float
    return Made(file, facts, engines=("onnxruntime",))
