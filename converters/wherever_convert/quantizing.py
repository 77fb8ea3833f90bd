"""Making the int8 variant, in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from wherever_convert.children import run_child
from wherever_convert.frameworks import framework
from wherever_convert.model_file import ModelFile

if TYPE_CHECKING:
    from wherever_convert.targets import Job, Made

Method: TypeAlias = Literal["minmax", "entropy", "percentile"]
METHODS: tuple[Method, ...] = ("minmax", "entropy", "percentile")
NOTHING = "nothing in it has weights that int8 could hold (no convolution or matrix product)"


def quantized(job: Job) -> Made | None:
    """Quantize a float ONNX model, statically, with a scale for each channel.

    Returns:
        The file; None when there is nothing to quantize.

    Raises:
        ConversionError: the quantizer failed; the message has its reason.
        MissingExtraError: onnx is not installed.
    """
    from wherever_convert.targets import Made  # noqa: PLC0415 (a cycle)

    framework("onnx", "quantizing")
    (path,) = job.of.write(job.scratch, "float")
    orders = {
        "model": str(path),
        "output": str(job.scratch / "int8.onnx"),
        "samples": str(job.bench.inputs()),
        "method": job.method,
    }
    made = run_child("quantize", orders, job.scratch, "quantizing the model")
    if not made["quantized"]:
        return None
    data = (job.scratch / "int8.onnx").read_bytes()
    facts = {"method": "static, QDQ, a scale for each channel", "ranges": job.method}
    return Made(ModelFile("onnx", "int8", (data,)), facts)
